/* vectors: a request of many inputs, each of which is a vector of the engine's: the loop of /v1/embeddings and /v1/rerank.
 *
 * Inputs are submitted as others end, so that a request of thousands does not fill the model's queue; a full queue is waited
 * for while inputs of this request are in it. One thread. */
#ifndef BACKPLANE_HTTP_VECTORS_H
#define BACKPLANE_HTTP_VECTORS_H

#include "http/http.h"

typedef struct vectors {
    exchange *exchange;
    bp_request *request;
    uint32_t count;     /* of inputs */
    void *user;
    void (*choose)(void *user, uint32_t index);                     /* makes the input of that number the request's */
    bool (*keep)(void *user, uint32_t index, const bp_event *event); /* its EMBEDDING; false: out of memory */
    void (*blame)(void *user, const bp_error *error, refusal *why);  /* why an input was not taken */

    bp_stream **streams; /* [count]; NULL before it is submitted and after it ended */
    uint32_t submitted, running;
    refusal why;
} vectors;

enum { VECTORS_DONE, VECTORS_REFUSED, VECTORS_GONE }; /* every input was kept; `why`; the client left */
int vectors_run(vectors *v);
/* Releases what runs. */
void vectors_clear(vectors *v);
/* Finishes a response where there is none: refused, or nobody to have it. */
void vectors_reply(vectors *v, int end);

#endif
