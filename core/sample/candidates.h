/* candidates: the tokens that can still be drawn, and the stages that thin them out.
 *
 * The list is made of the tokens within some distance of the highest logit, in ascending order of token, and stays in that
 * order: nothing is sorted. A stage that keeps the nearest tokens finds the distance at which it ends by counting into
 * buckets of the distance's bits, eleven or ten at a time, and then drops what lies beyond.
 *
 * Invariants:
 *   K1  tokens ascend strictly, and every weight is above 0.
 *   K2  mass is the sum of the weights. */
#ifndef BACKPLANE_SAMPLE_CANDIDATES_H
#define BACKPLANE_SAMPLE_CANDIDATES_H

#include "sample/row.h"

typedef struct candidate {
    uint64_t weight;
    float distance;
    uint32_t token;
} candidate;

typedef struct candidates {
    candidate *items;
    uint32_t count, capacity;
    uint64_t mass;
} candidates;

/* A zeroed candidates is empty and valid. */
void candidates_clear(candidates *c);

/* Makes the list of all tokens of the row with a weight whose distance is at most `reach` (+0 or above). False when out of
 * memory. */
bool candidates_gather(candidates *c, const row *r, float slope, float reach);

enum { CANDIDATES_BY_WEIGHT, CANDIDATES_BY_COUNT };
/* Keeps the fewest candidates nearest to `centre` (by |distance - centre|, then token) that together weigh, or number, at
 * least `target`; target is 1 … mass, or 1 … count. */
void candidates_keep(candidates *c, int by, float centre, uint64_t target);

/* Keeps those at most `reach` farther than the nearest one. */
void candidates_limit(candidates *c, float reach);

/* Their mean distance, weighed: the centre of locally typical sampling. */
float candidates_centre(const candidates *c);

/* The first token at which the cumulative weight is above floor(random · mass / 2^64). The list is not empty. */
uint32_t candidates_draw(const candidates *c, uint64_t random);

#endif
