/* scan: loops without branches, which compilers vectorise. They choose between integers, because choices between floats are
 * not vectorised: comparing floats may trap. */
#include "sample/scan.h"

#include "sample/weight.h"

static float highest(const float *logits, uint32_t n, bool *nan)
{
    int32_t top = INT32_MIN, bad = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t bits = weight_bits(logits[i]), magnitude = bits & INT32_MAX;
        int32_t key = bits ^ (bits >> 31 & INT32_MAX); /* orders as the floats do, and -0 just below 0 */
        top = key > top ? key : top;
        bad |= magnitude > 0x7f800000;
    }
    *nan = bad != 0;
    top ^= top >> 31 & INT32_MAX;
    float z;
    memcpy(&z, &top, sizeof z);
    return z;
}

static bool any_above(const float *logits, uint32_t n, float floor)
{
    int32_t any = 0;
    for (uint32_t i = 0; i < n; i++)
        any |= logits[i] > floor;
    return any != 0;
}

static void distances(const float *restrict logits, uint32_t n, float top, float slope, float *restrict out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = (top - logits[i]) * slope;
}

static uint32_t groups_within(const float *near, float reach)
{
    uint32_t groups = 0;
    int32_t limit = weight_bits(reach);
    for (int g = 0; g < SCAN_BLOCK / SCAN_GROUP; g++) {
        int32_t nearest = INT32_MAX;
        for (int i = 0; i < SCAN_GROUP; i++) {
            int32_t bits = weight_bits(near[g * SCAN_GROUP + i]);
            nearest = bits < nearest ? bits : nearest;
        }
        groups |= (uint32_t)(nearest <= limit) << g;
    }
    return groups;
}

static void weights(const float *restrict near, uint64_t *restrict out)
{
    for (int i = 0; i < SCAN_BLOCK; i++)
        out[i] = weight_of(near[i]);
}

static uint64_t weigh(const float *logits, uint32_t n, float top, float slope)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += weight_of((top - logits[i]) * slope);
    return sum;
}

/* All ones where bits <= limit, both of floats that are at least 0. */
static inline uint64_t mask_within(int32_t bits, int32_t limit)
{
    return (uint64_t)(int64_t)((bits - limit - 1) >> 31);
}

static uint64_t weigh_near(const float *logits, uint32_t n, float top, float slope, uint64_t near[SCAN_REACHES])
{
    static const float reaches[SCAN_REACHES] = SCAN_REACH_VALUES;
    int32_t a = weight_bits(reaches[0]), b = weight_bits(reaches[1]), c = weight_bits(reaches[2]),
            d = weight_bits(reaches[3]);
    uint64_t sum = 0, sum_a = 0, sum_b = 0, sum_c = 0, sum_d = 0;
    for (uint32_t i = 0; i < n; i++) {
        float distance = (top - logits[i]) * slope;
        int32_t bits = weight_bits(distance);
        uint64_t weight = weight_of(distance);
        sum += weight;
        sum_a += weight & mask_within(bits, a);
        sum_b += weight & mask_within(bits, b);
        sum_c += weight & mask_within(bits, c);
        sum_d += weight & mask_within(bits, d);
    }
    near[0] += sum_a;
    near[1] += sum_b;
    near[2] += sum_c;
    near[3] += sum_d;
    return sum;
}

const scan WIDE(scan) = {highest, any_above, distances, groups_within, weights, weigh, weigh_near};
