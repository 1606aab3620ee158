#include "sample/candidates.h"

#include "sample/random.h"
#include "sample/weight.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 16, BUCKETS = 1 << 11 };

void candidates_clear(candidates *c)
{
    free(c->items);
    *c = (candidates){0};
}

/* Room for one more block, and for the one beyond that push_group writes. */
static bool reserve(candidates *c)
{
    if (c->capacity - c->count > ROW_BLOCK)
        return true;
    uint32_t capacity = c->capacity ? c->capacity * 2 : 4 * ROW_BLOCK; /* at most twice WEIGHT_TOKENS */
    candidate *larger = realloc(c->items, capacity * sizeof *larger);
    if (!larger)
        return false;
    c->items = larger;
    c->capacity = capacity;
    return true;
}

static bool any_within(const float *distances, uint32_t n, float reach)
{
    int32_t any = 0, limit = weight_bits(reach);
    for (uint32_t i = 0; i < n; i++)
        any |= weight_bits(distances[i]) <= limit;
    return any != 0;
}

/* Without branches that a processor would guess wrong: what does not stay is overwritten by the next. */
static void push_group(candidates *c, const float distances[GROUP], float reach, uint32_t first)
{
    uint64_t weights[GROUP];
    for (int i = 0; i < GROUP; i++)
        weights[i] = weight_of(distances[i]);
    for (uint32_t i = 0; i < GROUP; i++) {
        bool stays = distances[i] <= reach && weights[i] > 0;
        c->items[c->count] = (candidate){.weight = weights[i], .distance = distances[i], .token = first + i};
        c->count += stays;
        c->mass += stays ? weights[i] : 0;
    }
}

bool candidates_gather(candidates *c, const row *r, float slope, float reach)
{
    float buffer[ROW_BLOCK], distances[ROW_BLOCK];
    uint32_t n, blocks = row_blocks(r);
    c->count = 0;
    c->mass = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        const float *logits = row_block(r, b, buffer, &n);
        row_distances(r, logits, n, slope, distances);
        if (!any_within(distances, ROW_BLOCK, reach))
            continue;
        if (!reserve(c))
            return false;
        for (uint32_t g = 0; g < n; g += GROUP)
            if (any_within(distances + g, GROUP, reach))
                push_group(c, distances + g, reach, b * ROW_BLOCK + g);
    }
    return true;
}

/* Non-negative floats order as their bits do. */
static uint32_t key_of(const candidate *item, float centre)
{
    float key = fabsf(item->distance - centre);
    uint32_t bits;
    memcpy(&bits, &key, sizeof bits);
    return bits;
}

static uint64_t amount_of(const candidate *item, int by)
{
    return by == CANDIDATES_BY_COUNT ? 1 : item->weight;
}

/* The key of the last candidate that is kept. *below becomes the amount of all with a smaller key. */
static uint32_t last_key(const candidates *c, int by, float centre, uint64_t target, uint64_t *below)
{
    static const struct { uint32_t shift, buckets; } levels[] = {{20, 1 << 11}, {10, 1 << 10}, {0, 1 << 10}};
    uint64_t amounts[BUCKETS];
    uint32_t prefix = 0, known = 0; /* of the key, and which of its bits */
    *below = 0;
    for (int l = 0; l < 3; l++) {
        uint32_t shift = levels[l].shift, last = levels[l].buckets - 1, j = 0;
        memset(amounts, 0, levels[l].buckets * sizeof *amounts);
        for (uint32_t i = 0; i < c->count; i++) {
            uint32_t key = key_of(&c->items[i], centre);
            if ((key & known) == prefix)
                amounts[key >> shift & last] += amount_of(&c->items[i], by);
        }
        while (j < last && *below + amounts[j] < target)
            *below += amounts[j++];
        prefix |= j << shift;
        known |= last << shift;
    }
    return prefix;
}

void candidates_keep(candidates *c, int by, float centre, uint64_t target)
{
    uint64_t amount;
    uint32_t last = last_key(c, by, centre, target, &amount), kept = 0;
    c->mass = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        candidate item = c->items[i];
        uint32_t key = key_of(&item, centre);
        if (key > last || (key == last && amount >= target))
            continue;
        if (key == last)
            amount += amount_of(&item, by);
        c->items[kept++] = item;
        c->mass += item.weight;
    }
    c->count = kept;
}

void candidates_limit(candidates *c, float reach)
{
    float nearest = INFINITY;
    for (uint32_t i = 0; i < c->count; i++)
        nearest = c->items[i].distance < nearest ? c->items[i].distance : nearest;
    uint32_t kept = 0;
    c->mass = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        candidate item = c->items[i];
        if (item.distance - nearest > reach)
            continue;
        c->items[kept++] = item;
        c->mass += item.weight;
    }
    c->count = kept;
}

/* Products are rounded to integers before they are added, so the sum is exact. */
float candidates_centre(const candidates *c)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        double product = (double)c->items[i].weight * (double)c->items[i].distance + 0x1p+52;
        uint64_t bits;
        memcpy(&bits, &product, sizeof bits);
        sum += bits - ((uint64_t)0x433 << 52);
    }
    return (float)((double)sum / (double)c->mass);
}

uint32_t candidates_draw(const candidates *c, uint64_t random)
{
    uint64_t point = random_below(random, c->mass);
    uint32_t i = 0;
    while (i + 1 < c->count && point >= c->items[i].weight)
        point -= c->items[i++].weight;
    return c->items[i].token;
}
