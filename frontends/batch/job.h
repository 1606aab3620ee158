/* job: one line of the input on its way to a line of the output.
 *
 * Threads: one. */
#ifndef BACKPLANE_BATCH_JOB_H
#define BACKPLANE_BATCH_JOB_H

#include "common/text.h"
#include "openai/calls.h"

typedef struct job {
    uint64_t line;
    json_t *json; /* NULL: the line was none */
    const char *custom_id; /* NULL: none */
    openai_request body;

    /* What the line asks the engine for, one request after the other: one, or one for each input of embeddings. */
    bp_stream **streams;            /* [count]; those of [ended, started) run */
    uint32_t count, started, ended;
    text answer;
    calls calls;
    char seed[32];    /* of the ids of calls: nothing but the line's number */
    json_t *logprobs; /* NULL: not asked for */
    json_t *prompt;   /* likewise, of the prompt's tokens */
    json_t *echo;     /* the prompt's text; NULL: not asked for */
    json_t *data;     /* of embeddings: those that are there */
    uint64_t input_tokens;
    bool done;        /* `result` is a whole line */
    bool refused;     /* … and says why there is no answer */
    text result;
} job;

void job_clear(job *j); /* leaves a zeroed job; what runs is not released */

/* Reads a line into a zeroed job and over defaults of the model that it names, or `model`. False: refused, with as much of
 * custom_id as there is. */
bool job_parse(job *j, const char *line, size_t bytes, const bp_engine_api *api, bp_engine *engine, const char *model,
               refusal *why);

/* The prompt's text, of a line that wants it before its answer. For a prompt of tokens the model is asked, which is in memory as long as
 * a stream of the job is held. False when out of memory. */
bool job_echo(job *j, const bp_engine_api *api, bp_engine *engine);
/* Each makes `result`; false when out of memory. */
bool job_answer(job *j, const bp_event *last);
bool job_answer_embeddings(job *j);
bool job_refuse(job *j, const refusal *why);
/* Adds a token to `logprobs` or to `prompt`, a vector to `data`. */
bool job_add_logprob(job *j, const bp_event *event);
bool job_add_embedding(job *j, const bp_event *event);

#endif
