/* job: one line of the input on its way to a line of the output.
 *
 * Threads: one. Texts of `request` point into `json`, `kept` and the arrays here, and live as long as the job. */
#ifndef BACKPLANE_BATCH_JOB_H
#define BACKPLANE_BATCH_JOB_H

#include "common/text.h"
#include <backplane/engine.h>
#include <jansson.h>

/* Why a line has no answer, as OpenAI's errors say it. */
typedef struct refusal {
    const char *type, *code; /* code may be NULL */
    char param[96];          /* "" is none */
    char message[600];
} refusal;

typedef struct job {
    uint64_t line;
    json_t *json; /* NULL: the line was none */
    json_t *kept; /* array of strings that the request needs and the line does not have as such */
    const char *custom_id; /* NULL: none */
    bool chat;             /* messages, else prompt */
    bp_request request;
    bp_message *messages;
    const char **stops;
    bp_logit_bias *biases;
    int32_t *tokens;

    bp_stream *stream;
    text answer;
    json_t *logprobs; /* NULL: not asked for */
    bool done;        /* `result` is a whole line */
    bool refused;     /* … and says why there is no answer */
    text result;
} job;

void job_clear(job *j); /* leaves a zeroed job; the stream is not released */

/* Reads a line into a zeroed job and over defaults of the model that it names, or `model`. False: refused, with as much of
 * custom_id as there is. */
bool job_parse(job *j, const char *line, size_t bytes, const bp_engine_api *api, bp_engine *engine, const char *model,
               refusal *why);
/* The same fields one by one (request_fields.c). */
bool job_read_field(job *j, const char *name, json_t *value, refusal *why);

bool refuse(refusal *why, const char *param, const char *code, const char *format, ...) BP_PRINTF(4, 5); /* false */
void refuse_status(refusal *why, const bp_error *error);

/* Each makes `result`; false when out of memory. */
bool job_answer(job *j, const bp_event *last);
bool job_refuse(job *j, const refusal *why);
/* Adds a token to `logprobs`. */
bool job_add_logprob(job *j, const bp_event *event);

#endif
