/* scan: the loops over a block of logits that all passes over a vocabulary are made of. Compiled for each instruction set
 * (base/wide.h): integers, and floats rounded one operation at a time, so every set gives the same. */
#ifndef BACKPLANE_SAMPLE_SCAN_H
#define BACKPLANE_SAMPLE_SCAN_H

#include "base/wide.h"

#include <stdbool.h>
#include <stdint.h>

enum { SCAN_BLOCK = 256, SCAN_GROUP = 16, SCAN_REACHES = 4 };

/* Distances at which weights are also added up apart: what is near enough is then known before it is gathered. */
#define SCAN_REACH_VALUES {8.0f, 11.0f, 14.0f, 18.0f}

typedef struct scan {
    /* The highest of n logits. *nan becomes true if one is NaN, and then the result means nothing. */
    float (*highest)(const float *logits, uint32_t n, bool *nan);
    bool (*any_above)(const float *logits, uint32_t n, float floor);
    /* out[i] = (top - logits[i]) * slope */
    void (*distances)(const float *logits, uint32_t n, float top, float slope, float *out);
    /* Bit g: one of the distances [16g, 16g + 16) is at most `reach`; all are at least 0. */
    uint32_t (*groups_within)(const float distances[SCAN_BLOCK], float reach);
    void (*weights)(const float distances[SCAN_BLOCK], uint64_t out[SCAN_BLOCK]);
    /* The sum of n tokens' weights. */
    uint64_t (*weigh)(const float *logits, uint32_t n, float top, float slope);
    /* The same, and near[j] grows by the weights of those at most SCAN_REACH_VALUES[j] away. */
    uint64_t (*weigh_near)(const float *logits, uint32_t n, float top, float slope, uint64_t near[SCAN_REACHES]);
} scan;

/* `set` is one that this processor has. */
const scan *scan_of(wide_set set);

extern const scan scan_baseline, scan_avx2, scan_avx512;

#endif
