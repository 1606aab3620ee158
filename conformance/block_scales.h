/* block_scales: gives a weight block of random bytes scales that make its elements as large as a trained weight's. */
#ifndef TEST_BLOCK_SCALES_H
#define TEST_BLOCK_SCALES_H

#include <backplane/program.h>
#include <stdbool.h>
#include <stddef.h>

#include "../plugins/cpu/kernels/half.h"

typedef struct block_place {
    uint32_t dtype;
    size_t at;          /* of the f16 scale; a minimum is next to it */
    float steps;        /* the largest element in units of the scale */
    float minimum_steps; /* 0 where there is no minimum */
} block_place;

static const block_place block_places[] = {
    {BP_Q8_0, 0, 127, 0},      {BP_Q4_0, 0, 8, 0},        {BP_Q4_1, 0, 8, 1},          {BP_Q5_0, 0, 16, 0},
    {BP_Q5_1, 0, 16, 1},       {BP_IQ4_NL, 0, 127, 0},    {BP_Q4_K, 0, 15 * 63, 63},   {BP_Q5_K, 0, 31 * 63, 63},
    {BP_Q6_K, 208, 32 * 128, 0}, {BP_Q3_K, 108, 4 * 32, 0}, {BP_Q2_K, 80, 3 * 15, 15},
};

/* Elements of about `size`, its sign included; minima of about `minimum`. False for a type that has no blocks. */
static inline bool block_set_scales(uint32_t dtype, uint8_t *block, float size, float minimum)
{
    if (dtype == BP_MXFP4) {
        float magnitude = size < 0 ? -size : size;
        block[0] = (uint8_t)((math_bits(magnitude / 6) >> 23) + 1); /* the power of two below, in steps of a half */
        return true;
    }
    for (size_t i = 0; i < sizeof block_places / sizeof *block_places; i++) {
        const block_place *p = &block_places[i];
        if (p->dtype != dtype)
            continue;
        uint16_t half = half_from_float(size / p->steps);
        memcpy(block + p->at, &half, sizeof half);
        half = half_from_float(p->minimum_steps > 0 ? minimum / p->minimum_steps : 0);
        if (p->minimum_steps > 0)
            memcpy(block + p->at + 2, &half, sizeof half);
        return true;
    }
    return false;
}

#endif
