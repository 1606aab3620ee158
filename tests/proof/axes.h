/* axes: the scripts of the proof, each what one kind of circumstance can do to a sequence.
 *
 * A walk runs all of them, on a share of their values: `share` of `shares`, of which every value belongs to one. One share of
 * one is everything. */
#ifndef PROOF_AXES_H
#define PROOF_AXES_H

#include "walk.h"

typedef struct share {
    uint32_t number, of;
} share;

/* Stops at the first difference; w->trouble says which. */
void axes_run(walk *w, share mine);

/* The values that a whole run must visit. */
void axes_want(void);

/* A walk of one of at most AXES_FAST shares meets the largest batches too. */
enum { AXES_BATCHES = 64, AXES_CHUNKS = 44, AXES_DRAFT = 16, AXES_FAST = 16 };

#endif
