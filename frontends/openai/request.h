/* request: the JSON body of a chat or text completion, or of embeddings, as a bp_request. What each field may be is one table in fields.c.
 *
 * Texts of `request` point into the body and into what is kept here; both live until openai_request_clear. A field that is
 * known and cannot be honoured is refused by name wherever leaving it out could change the answer. Any thread, one at a
 * time per request. */
#ifndef BACKPLANE_OPENAI_REQUEST_H
#define BACKPLANE_OPENAI_REQUEST_H

#include "common/text.h"
#include "openai/refusal.h"

#include <backplane/engine.h>

enum { OPENAI_CHAT = 1 << 0, OPENAI_TEXT = 1 << 1, OPENAI_EMBEDDING = 1 << 2 }; /* which endpoint the body is for */

typedef struct openai_prompt {
    const char *text; /* NULL: `tokens` are set */
    size_t bytes;
    const int32_t *tokens;
    size_t count;
} openai_prompt;

typedef struct openai_request {
    unsigned kind;      /* OPENAI_… */
    bp_request request; /* of a text completion or embeddings: with the first prompt */
    bool logprobs, stream, include_usage, echo;
    bool base64;            /* of embeddings: the encoding_format */
    bool no_tools;          /* the tools that there are may not be called, and the model is not told of them */
    uint32_t answers;       /* to each prompt: n */
    uint32_t candidates;    /* of which these are the best; as many where nothing is chosen: best_of */
    openai_prompt *prompts; /* [prompt_count], of a text completion, and the inputs of embeddings */
    uint32_t prompt_count;
    const char *shaped_by;  /* the field that shapes the answer: its grammar's, NULL where there is none */

    json_t *body, *kept; /* kept: strings that the body does not have as such */
    bp_message *messages;
    const char **stops;
    bp_logit_bias *biases;
    int32_t *tokens, *stop_tokens;
} openai_request;

/* Takes a reference to `body`, an object, and reads it over the defaults of the model that it names, or `model` (NULL: the
 * only one). `strict`: unknown fields are refused as well. False: refused; the request is cleared either way. */
bool openai_request_read(openai_request *r, json_t *body, unsigned kind, bool strict, const bp_engine_api *api,
                         bp_engine *engine, const char *model, refusal *why);
void openai_request_clear(openai_request *r); /* leaves a zeroed one */
/* Why the engine refused the request: an error of its grammar names the field that brought it. */
void openai_request_refused(const openai_request *r, const bp_error *error, refusal *why);
/* Why its answer failed, likewise. */
void openai_request_failed(const openai_request *r, const bp_error *error, refusal *why);
/* Makes the prompt of that number the request's. */
void openai_request_choose(openai_request *r, uint32_t prompt);
/* Why the engine did not take the request as it was submitted, with the field that is to blame. */
void openai_request_blame(const openai_request *r, const bp_engine_api *api, bp_engine *engine, const bp_error *error,
                          refusal *why);
/* Appends the text of that prompt; false when out of memory, or where the model that spells its tokens is gone. */
bool openai_request_echo(const openai_request *r, uint32_t prompt, const bp_engine_api *api, bp_engine *engine, text *out);

/* A field of an object; NULL where it is null or not there. */
json_t *openai_given(const json_t *body, const char *name);
/* A string that holds no NUL; NULL where it is none. */
const char *openai_string(const json_t *value);
/* fields.c */
bool openai_read_field(openai_request *r, const char *name, json_t *value, bool strict, refusal *why);
/* messages.c */
bool openai_read_messages(openai_request *r, json_t *value, refusal *why);
/* A string that lives as long as the request; NULL when out of memory or not UTF-8. */
const char *openai_keep(openai_request *r, const char *bytes, size_t count);
const char *openai_keep_json(openai_request *r, const json_t *value);

#endif
