#include "sample/row.h"

#include "base/error.h"
#include "sample/random.h"
#include "sample/weight.h"

#include <float.h>
#include <math.h>
#include <string.h>

const float *row_block(const row *r, uint32_t block, float buffer[ROW_BLOCK], uint32_t *count)
{
    uint32_t start = block * ROW_BLOCK, left = r->count - start;
    uint32_t n = *count = left < ROW_BLOCK ? left : ROW_BLOCK;
    const float *logits = r->logits + start;
    bool touched = changes_touch(r->changes, block);
    if (!touched && !r->infinite)
        return logits;
    memcpy(buffer, logits, n * sizeof *buffer);
    for (uint32_t i = 0; r->infinite && i < n; i++)
        buffer[i] = buffer[i] < FLT_MAX ? buffer[i] : FLT_MAX;
    if (touched)
        changes_apply(r->changes, block, buffer);
    return buffer;
}

/* The highest of n logits. *nan becomes true if one is NaN, and then the result means nothing. */
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

static bp_status scan(row *r, bp_error *error)
{
    float buffer[ROW_BLOCK];
    uint32_t n, best_block = 0, blocks = row_blocks(r);
    r->top = -INFINITY;
    for (uint32_t b = 0; b < blocks; b++) {
        const float *logits = row_block(r, b, buffer, &n);
        bool nan;
        float top = highest(logits, n, &nan);
        if (nan) {
            uint32_t i = 0;
            while (i + 1 < n && logits[i] == logits[i])
                i++;
            return error_set(error, BP_EINTERNAL, "the model gave NaN as the logit of token %u", b * ROW_BLOCK + i);
        }
        if (top > r->top) {
            r->top = top;
            best_block = b;
        }
    }
    const float *logits = row_block(r, best_block, buffer, &n);
    uint32_t i = 0;
    while (i + 1 < n && logits[i] != r->top)
        i++;
    r->best = best_block * ROW_BLOCK + i;
    return BP_OK;
}

bp_status row_open(row *r, const float *logits, uint32_t count, const changes *applied, bp_error *error)
{
    *r = (row){.logits = logits, .count = count, .changes = applied};
    bp_status status = scan(r, error);
    if (status == BP_OK && r->top == INFINITY) {
        r->infinite = true;
        status = scan(r, error);
    }
    if (status == BP_OK && r->top == -INFINITY)
        status = error_set(error, BP_EINTERNAL, "the model gave no token a logit above -infinity");
    return status;
}

void row_distances(const row *r, const float *logits, uint32_t count, float slope, float distances[ROW_BLOCK])
{
    float top = r->top;
    for (uint32_t i = 0; i < count; i++)
        distances[i] = (top - logits[i]) * slope;
    for (uint32_t i = count; i < ROW_BLOCK; i++)
        distances[i] = INFINITY;
}

static uint64_t weigh(const float *logits, uint32_t count, float top, float slope)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += weight_of((top - logits[i]) * slope);
    return sum;
}

static uint32_t blocks_of_section(const row *r)
{
    return (row_blocks(r) + ROW_SECTIONS - 1) / ROW_SECTIONS;
}

void row_weigh(const row *r, float slope, row_mass *out)
{
    float buffer[ROW_BLOCK];
    uint32_t n, blocks = row_blocks(r), each = blocks_of_section(r);
    *out = (row_mass){0};
    for (uint32_t b = 0; b < blocks; b++) {
        const float *logits = row_block(r, b, buffer, &n);
        out->sections[b / each] += weigh(logits, n, r->top, slope);
    }
    for (int s = 0; s < ROW_SECTIONS; s++)
        out->total += out->sections[s];
}

uint32_t row_draw(const row *r, float slope, const row_mass *mass, uint64_t random)
{
    float buffer[ROW_BLOCK];
    uint64_t point = random_below(random, mass->total);
    uint32_t section = 0, n;
    while (section < ROW_SECTIONS - 1 && point >= mass->sections[section])
        point -= mass->sections[section++];
    uint32_t each = blocks_of_section(r), blocks = row_blocks(r);
    for (uint32_t b = section * each; b < blocks; b++) {
        const float *logits = row_block(r, b, buffer, &n);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t weight = weight_of((r->top - logits[i]) * slope);
            if (point < weight)
                return b * ROW_BLOCK + i;
            point -= weight;
        }
    }
    return r->best; /* not reached: the point is below the total */
}
