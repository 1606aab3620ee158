/* row: one row of logits, read a block at a time with a request's changes applied.
 *
 * The row itself is never copied as a whole: a block that has nothing to change is read where it lies. Every pass over the
 * vocabulary is here or in candidates.c, in loops that compilers vectorise.
 *
 * Invariants, once row_open has returned BP_OK:
 *   R1  No logit is NaN. +infinity counts as FLT_MAX (`infinite` is set, and blocks come with it replaced).
 *   R2  top is finite, is the highest changed logit, and best is the lowest token that has it. */
#ifndef BACKPLANE_SAMPLE_ROW_H
#define BACKPLANE_SAMPLE_ROW_H

#include "sample/changes.h"

enum { ROW_SECTIONS = 64 };

typedef struct row {
    const float *logits; /* [count] */
    uint32_t count, best;
    const changes *changes; /* NULL: none */
    float top;
    bool infinite;
} row;

/* Weights of each of ROW_SECTIONS runs of neighbouring blocks: where in the row a cumulative weight lies. */
typedef struct row_mass {
    uint64_t total, sections[ROW_SECTIONS];
} row_mass;

/* Finds the highest logit. Borrows its arguments. BP_EINTERNAL: NaN, or no token above -infinity. */
bp_status row_open(row *r, const float *logits, uint32_t count, const changes *applied, bp_error *error);

static inline uint32_t row_blocks(const row *r)
{
    return (r->count + ROW_BLOCK - 1) / ROW_BLOCK;
}

/* The changed logits of a block: a pointer into the row, or `buffer`. *count is set to how many there are. */
const float *row_block(const row *r, uint32_t block, float buffer[ROW_BLOCK], uint32_t *count);

/* distances[i] = (top - logits[i]) · slope: how far token i is from the highest, in natural units of log-probability;
 * infinity beyond `count`. */
void row_distances(const row *r, const float *logits, uint32_t count, float slope, float distances[ROW_BLOCK]);

/* The weights of all tokens, by section. */
void row_weigh(const row *r, float slope, row_mass *out);

/* The token that `random` draws from the whole row: the first, in ascending order, at which the cumulative weight is above
 * floor(random · total / 2^64). */
uint32_t row_draw(const row *r, float slope, const row_mass *mass, uint64_t random);

#endif
