/* refusal: why a request has no answer, as OpenAI's errors say it. Any thread. */
#ifndef BACKPLANE_OPENAI_REFUSAL_H
#define BACKPLANE_OPENAI_REFUSAL_H

#include <backplane/plugin.h>
#include <jansson.h>
#include <stdbool.h>

typedef struct refusal {
    const char *type, *code; /* code may be NULL */
    char param[96];          /* "" is none */
    char message[600];
} refusal;

/* An invalid request. Always false. */
bool refuse(refusal *why, const char *param, const char *code, const char *format, ...) BP_PRINTF(4, 5);
bool refuse_memory(refusal *why);
/* A request that the engine did not take. */
void refuse_status(refusal *why, const bp_error *error);
/* Names the field of `body` that the reason is about, where its message begins with that field's name. */
void refuse_blame(refusal *why, const json_t *body);
/* One that it took, and that failed: where the device is at fault, this answer is lost and the next may be refused. */
void refuse_failure(refusal *why, const bp_error *error);

/* {"message", "type", "param", "code"}; NULL when out of memory. Texts that were cut or quoted inside a character are
 * mended. */
json_t *refusal_json(const refusal *why);

#endif
