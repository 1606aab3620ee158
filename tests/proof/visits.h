/* visits: which values of which axis really happened, counted where they happen.
 *
 * A proof is worth what it visited: every axis names the values it must have met, and the end of a run says what is missing. */
#ifndef PROOF_VISITS_H
#define PROOF_VISITS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum axis {
    AXIS_BATCH,      /* sequences of a step */
    AXIS_ROW,        /* place of ours among them */
    AXIS_NEIGHBOUR,  /* 0 NaN beside it, 1 infinity, 2 stale NaN in its pages, 3 prefill beside decode */
    AXIS_CHUNK,      /* tokens of a prefill step */
    AXIS_HIT,        /* cached tokens that a sequence begins with */
    AXIS_SHARE,      /* 0 pages shared, 1 the last one copied */
    AXIS_PREEMPT,    /* tokens that were lost and computed again */
    AXIS_DRAFT,      /* rows of one sequence of which some are rejected */
    AXIS_ACCEPT,     /* how many were accepted */
    AXIS_THREADS,
    AXIS_ISA,        /* 0 generic, 1 avx2, 2 avx512 */
    AXIS_PAGE,       /* log2 of a page's tokens */
    AXIS_KV,         /* type of the cache */
    AXIS_POSITION,   /* positions compared */
    AXIS_RESTART,    /* a process of its own */
    AXIS_MAPPING,    /* 0 mapped, 1 read */
    AXIS_COUNT
} axis;

enum { VISITS_VALUES = 640 };

void visit(axis a, uint32_t value);
/* The values from..to (and each `step`-th only) must be visited before the end. */
void visits_want(axis a, uint32_t from, uint32_t to, uint32_t step);
/* Prints a line an axis; false if a wanted value was never visited. */
bool visits_report(void);

#endif
