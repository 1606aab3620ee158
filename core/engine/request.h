/* request: everything of one request from submission to its last event; what a frontend holds as bp_stream.
 *
 * Invariants:
 *   Q1  Two references at most: the reader's, until release(), and the engine's, until the last event. The last one to go
 *       frees it.
 *   Q2  `outcome` is set once, by whatever ends the request first; request_end turns it into the stream's last event.
 *   Q3  Everything the loop needs for a token is allocated in request_new, but for long text.
 *
 * Threads: the loop's, except request_new, request_drop and the reader's stream_next. */
#ifndef BACKPLANE_ENGINE_REQUEST_H
#define BACKPLANE_ENGINE_REQUEST_H

#include "engine/answer.h"
#include "engine/loaded.h"
#include "engine/sequence.h"

struct lane;

typedef struct request_outcome {
    uint32_t kind;   /* 0 while it runs, then BP_EVENT_DONE or BP_EVENT_ERROR */
    uint32_t finish; /* DONE: BP_FINISH_… */
    bp_error error;  /* ERROR */
} request_outcome;

struct bp_stream {
    sequence sequence; /* first: request_of */
    atomic_uint references;
    struct lane *lane;
    void (*let_go)(void *held); /* called with `held` once nothing of the request is left; NULL at first */
    void *held;
    const tokenizer *tokenizer;
    sampler *sampler;
    constraint *constraint; /* NULL: the answer may be any text */
    answer answer;
    stream events;
    bool ignore_eos, announced;
    int32_t *stop_tokens;
    char *salt; /* NULL or a copy */
    uint32_t stop_token_count;
    uint32_t answer_limit, generated; /* tokens */
    float *vector;                    /* [vector_width] of a request for one, else NULL */
    uint32_t vector_width;
    bool sigmoid;                     /* … of its one number is what is wanted */
    bool cut_unit_vector;             /* it is less than what the model gives, and to be of length 1 as that was */
    uint64_t submitted_at, first_token_at;
    request_outcome outcome;
};

static inline bp_stream *request_of(sequence *q)
{
    return (bp_stream *)q;
}

/* Refuses, without a model, what no model could take. */
bp_status request_check(const bp_request *request, bp_error *error);

/* With one reference, the reader's. `prompt` is copied. BP_ECONTEXT if it leaves no room in the context. */
bp_status request_new(const loaded *l, const bp_request *request, const token_list *prompt, uint64_t now, bp_stream **out,
                      bp_error *error);
void request_share(bp_stream *r); /* one more reference */
void request_drop(bp_stream *r);  /* NULL is fine */

/* The START event, on the first call. */
void request_announce(bp_stream *r);
/* What a step gave for a token: a row of logits or, where that is NULL, the highest of them and whose it is. */
typedef struct request_row {
    const float *logits;
    int32_t token;
    float top;
} request_row;
/* Whether the highest logit alone decides the next token. */
bool request_is_greedy(const bp_stream *r);
/* Chooses the token at `position`, the next one, and publishes it. False when the request is over; else *token is set. */
bool request_accept(bp_stream *r, const request_row *row, uint32_t position, uint64_t now, int32_t *token);
/* Sets the outcome unless there is one. */
void request_fail(bp_stream *r, const bp_error *why);
/* The last event. True if it is an error. */
bool request_end(bp_stream *r, uint64_t now);

#endif
