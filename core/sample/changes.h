/* changes: what a request changes in the logits before it samples: biases and penalties, per token.
 *
 * Only tokens that are changed have an entry, found through the block of ROW_BLOCK tokens that they lie in, so that a step
 * costs nothing for the rest of the vocabulary. Counts are kept as tokens come and, with a window, leave it.
 *
 * Invariants:
 *   C1  heads is NULL until the first entry is made; heads[token / ROW_BLOCK] - 1 is the first of its block's list.
 *   C2  an entry's count is how often its token is among the last `window` accepted ones (all, if window is 0).
 *   C3  history holds the last min(accepted, window) tokens; accepted % window is the oldest once it is full.
 *   C4  An impossible token (-infinity) stays impossible and a possible one possible: results are cut to finite numbers. */
#ifndef BACKPLANE_SAMPLE_CHANGES_H
#define BACKPLANE_SAMPLE_CHANGES_H

#include <backplane/engine.h>
#include <stdbool.h>

enum { ROW_BLOCK = 256 };

typedef struct change {
    uint32_t token, count, next; /* next: index + 1 of the next entry of the block, 0 at the end */
    float bias;
} change;

typedef struct changes {
    uint32_t vocab_size;
    float repetition, frequency, presence;
    bool penalties;
    uint32_t *heads; /* [blocks of the vocabulary] */
    change *entries;
    uint32_t entry_count, entry_capacity;
    int32_t *history;
    uint32_t history_capacity, window;
    uint64_t accepted;
} changes;

/* A zeroed changes is empty and valid. Checks the biases: their tokens, and that each is -100 … 100. */
bp_status changes_init(changes *c, const bp_sampling *parameters, uint32_t vocab_size, bp_error *error);
void changes_clear(changes *c);

/* Counts a token of the prompt or the answer. Errors: BP_EINVAL outside the vocabulary, BP_ENOMEM. */
bp_status changes_accept(changes *c, int32_t token, bp_error *error);

/* Whether any token of this block has an entry. */
static inline bool changes_touch(const changes *c, uint32_t block)
{
    return c && c->heads && c->heads[block];
}

/* Changes the logits of a block's tokens in place: `logits` [tokens of the block]. */
void changes_apply(const changes *c, uint32_t block, float *logits);

#endif
