/* row: one row of logits, read a block at a time with a request's changes applied.
 *
 * The row itself is never copied as a whole: a block that has nothing to change is read where it lies. The first pass leaves
 * each block's highest logit in `tops`, so that later ones visit only blocks in which there is something to find. Every pass
 * is made of the loops of scan.h.
 *
 * Invariants, once row_open has returned BP_OK:
 *   R1  No logit of a block that has an allowed token is NaN. +infinity counts as FLT_MAX (`infinite` is set, and blocks come with it replaced).
 *   R2  top is finite, is the highest changed logit, and best is the lowest token that has it.
 *   R3  tops[b] is the highest changed logit of block b. */
#ifndef BACKPLANE_SAMPLE_ROW_H
#define BACKPLANE_SAMPLE_ROW_H

#include "sample/changes.h"
#include "sample/scan.h"

enum { ROW_SECTIONS = 64 };
_Static_assert((int)ROW_BLOCK == (int)SCAN_BLOCK, "a scan goes over whole blocks");

/* What rows are read with, kept from one to the next. */
typedef struct row_tools {
    const scan *scan;
    float *tops; /* [row_blocks of the vocabulary] */
} row_tools;

typedef struct row {
    const float *logits; /* [count] */
    uint32_t count, best;
    const changes *changes; /* NULL: none */
    const uint64_t *allowed; /* NULL: all; else bit t of word t / 64 for token t, in whole blocks */
    const scan *scan;
    float *tops;
    float top;
    bool infinite;
} row;

/* Weights of each of ROW_SECTIONS runs of neighbouring blocks: where in the row a cumulative weight lies. */
typedef struct row_mass {
    uint64_t total, sections[ROW_SECTIONS];
} row_mass;

static inline uint32_t row_blocks_of(uint32_t count)
{
    return (count + ROW_BLOCK - 1) / ROW_BLOCK;
}
static inline uint32_t row_blocks(const row *r)
{
    return row_blocks_of(r->count);
}

/* Finds the highest logits. Borrows its arguments; one row at a time has the tools. A token that is not allowed has -infinity.
 * BP_EINTERNAL: NaN in a block with an allowed token, or no token above -infinity. */
bp_status row_open(row *r, const float *logits, uint32_t count, const changes *applied, const uint64_t *allowed,
                   const row_tools *tools, bp_error *error);

/* Whether a token of the block is at most `reach` from the highest: distances are monotonic in the logit, rounding included. */
static inline bool row_reaches(const row *r, uint32_t block, float slope, float reach)
{
    return (r->top - r->tops[block]) * slope <= reach;
}

/* The changed logits of a block: a pointer into the row, or `buffer`. *count is set to how many there are. */
const float *row_block(const row *r, uint32_t block, float buffer[ROW_BLOCK], uint32_t *count);

/* distances[i] = (top - logits[i]) · slope: how far token i is from the highest, in natural units of log-probability;
 * infinity beyond `count`. */
void row_distances(const row *r, const float *logits, uint32_t count, float slope, float distances[ROW_BLOCK]);

/* A distance at which at least k tokens lie that have a weight; WEIGHT_REACH where k is too many to say. */
float row_reach(const row *r, float slope, uint32_t k);

/* The weights of all tokens, by section. */
void row_weigh(const row *r, float slope, row_mass *out);

/* The weight of all tokens, and in near[j] that of those at most SCAN_REACH_VALUES[j] from the highest. */
uint64_t row_weigh_near(const row *r, float slope, uint64_t near[SCAN_REACHES]);

/* The token that `random` draws from the whole row: the first, in ascending order, at which the cumulative weight is above
 * floor(random · total / 2^64). */
uint32_t row_draw(const row *r, float slope, const row_mass *mass, uint64_t random);

#endif
