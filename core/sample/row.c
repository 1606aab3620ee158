#include "sample/row.h"

#include "base/error.h"
#include "sample/random.h"
#include "sample/weight.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { WORDS = ROW_BLOCK / 64 };

/* How much of a block is allowed: none of it, some, or all. */
typedef enum share { SHARE_NONE, SHARE_SOME, SHARE_ALL } share;

static share share_of(const row *r, uint32_t block, uint32_t count)
{
    if (!r->allowed)
        return SHARE_ALL;
    const uint64_t *words = r->allowed + (size_t)block * WORDS;
    uint64_t any = 0, all = ~(uint64_t)0;
    for (int w = 0; w < WORDS; w++) {
        any |= words[w];
        all &= words[w];
    }
    return !any ? SHARE_NONE : count == ROW_BLOCK && all == ~(uint64_t)0 ? SHARE_ALL : SHARE_SOME;
}

static void forbid(const row *r, uint32_t block, uint32_t count, float *logits)
{
    const uint64_t *words = r->allowed + (size_t)block * WORDS;
    for (uint32_t i = 0; i < count; i++)
        logits[i] = words[i / 64] >> (i % 64) & 1 ? logits[i] : -INFINITY;
}

const float *row_block(const row *r, uint32_t block, float buffer[ROW_BLOCK], uint32_t *count)
{
    uint32_t start = block * ROW_BLOCK, left = r->count - start;
    uint32_t n = *count = left < ROW_BLOCK ? left : ROW_BLOCK;
    const float *logits = r->logits + start;
    bool touched = changes_touch(r->changes, block), whole = share_of(r, block, n) == SHARE_ALL;
    if (!touched && !r->infinite && whole)
        return logits;
    memcpy(buffer, logits, n * sizeof *buffer);
    for (uint32_t i = 0; r->infinite && i < n; i++)
        buffer[i] = buffer[i] < FLT_MAX ? buffer[i] : FLT_MAX;
    if (touched)
        changes_apply(r->changes, block, buffer);
    if (!whole)
        forbid(r, block, n, buffer);
    return buffer;
}

static bp_status find_highest(row *r, bp_error *error)
{
    float buffer[ROW_BLOCK];
    uint32_t n, best_block = 0, blocks = row_blocks(r);
    r->top = -INFINITY;
    for (uint32_t b = 0; b < blocks; b++) {
        r->tops[b] = -INFINITY;
        if (share_of(r, b, ROW_BLOCK) == SHARE_NONE)
            continue;
        const float *logits = row_block(r, b, buffer, &n);
        bool nan;
        float top = r->scan->highest(logits, n, &nan);
        if (nan) {
            uint32_t i = 0;
            while (i + 1 < n && logits[i] == logits[i])
                i++;
            return error_set(error, BP_EINTERNAL, "the model gave NaN as the logit of token %u", b * ROW_BLOCK + i);
        }
        r->tops[b] = top;
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

bp_status row_open(row *r, const float *logits, uint32_t count, const changes *applied, const uint64_t *allowed,
                   const row_tools *tools, bp_error *error)
{
    *r = (row){.logits = logits, .count = count, .changes = applied, .allowed = allowed, .scan = tools->scan, .tops = tools->tops};
    bp_status status = find_highest(r, error);
    if (status == BP_OK && r->top == INFINITY) {
        r->infinite = true;
        status = find_highest(r, error);
    }
    if (status == BP_OK && r->top == -INFINITY)
        status = error_set(error, BP_EINTERNAL, "the model gave no %s a logit above -infinity",
                           allowed ? "token that its grammar allows" : "token");
    return status;
}

void row_distances(const row *r, const float *logits, uint32_t count, float slope, float distances[ROW_BLOCK])
{
    r->scan->distances(logits, count, r->top, slope, distances);
    for (uint32_t i = count; i < ROW_BLOCK; i++)
        distances[i] = INFINITY;
}

/* The k highest of tops stand in a heap, the lowest of them first. */
float row_reach(const row *r, float slope, uint32_t k)
{
    enum { MOST = 256 };
    float heap[MOST];
    uint32_t blocks = row_blocks(r);
    if (k > MOST || k > blocks)
        return WEIGHT_REACH;
    for (uint32_t i = 0; i < k; i++)
        heap[i] = -INFINITY;
    for (uint32_t b = 0; b < blocks; b++) {
        float top = r->tops[b];
        if (!(top > heap[0]))
            continue;
        uint32_t i = 0, child;
        for (; (child = 2 * i + 1) < k; i = child) {
            child += child + 1 < k && heap[child + 1] < heap[child];
            if (heap[child] >= top)
                break;
            heap[i] = heap[child];
        }
        heap[i] = top;
    }
    float reach = (r->top - heap[0]) * slope;
    return weight_of(reach) > 0 ? reach : WEIGHT_REACH;
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
        if (!row_reaches(r, b, slope, WEIGHT_REACH))
            continue;
        const float *logits = row_block(r, b, buffer, &n);
        out->sections[b / each] += r->scan->weigh(logits, n, r->top, slope);
    }
    for (int s = 0; s < ROW_SECTIONS; s++)
        out->total += out->sections[s];
}

uint64_t row_weigh_near(const row *r, float slope, uint64_t near[SCAN_REACHES])
{
    float buffer[ROW_BLOCK];
    uint32_t n, blocks = row_blocks(r);
    uint64_t total = 0;
    memset(near, 0, SCAN_REACHES * sizeof *near);
    for (uint32_t b = 0; b < blocks; b++) {
        if (!row_reaches(r, b, slope, WEIGHT_REACH))
            continue;
        const float *logits = row_block(r, b, buffer, &n);
        total += r->scan->weigh_near(logits, n, r->top, slope, near);
    }
    return total;
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
        uint64_t block = r->scan->weigh(logits, n, r->top, slope);
        if (point >= block) {
            point -= block;
            continue;
        }
        for (uint32_t i = 0; i < n; i++) {
            uint64_t weight = weight_of((r->top - logits[i]) * slope);
            if (point < weight)
                return b * ROW_BLOCK + i;
            point -= weight;
        }
    }
    return r->best; /* not reached: the point is below the total */
}
