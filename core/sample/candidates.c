#include "sample/candidates.h"

#include "sample/random.h"
#include "sample/weight.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 11 };

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

/* Without branches that a processor would guess wrong: what does not stay is overwritten by the next. */
static void push_group(candidates *c, const float *distances, const uint64_t *weights, float reach, uint32_t first)
{
    candidate *to = c->items + c->count;
    uint64_t mass = 0;
    for (uint32_t i = 0; i < SCAN_GROUP; i++) {
        uint64_t stays = (distances[i] <= reach) & (weights[i] > 0);
        *to = (candidate){.weight = weights[i], .distance = distances[i], .token = first + i};
        to += stays;
        mass += weights[i] & (0 - stays);
    }
    c->count = (uint32_t)(to - c->items);
    c->mass += mass;
}

bool candidates_gather(candidates *c, const row *r, float slope, float reach)
{
    float buffer[ROW_BLOCK], distances[ROW_BLOCK];
    uint64_t weights[ROW_BLOCK];
    uint32_t n, blocks = row_blocks(r);
    c->count = 0;
    c->mass = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        if (!row_reaches(r, b, slope, reach))
            continue;
        const float *logits = row_block(r, b, buffer, &n);
        row_distances(r, logits, n, slope, distances);
        r->scan->weights(distances, weights);
        if (!reserve(c))
            return false;
        uint32_t groups = r->scan->groups_within(distances, reach);
        for (uint32_t g = 0; groups >> g; g++)
            if (groups >> g & 1)
                push_group(c, distances + g * SCAN_GROUP, weights + g * SCAN_GROUP, reach, b * ROW_BLOCK + g * SCAN_GROUP);
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

/* Loops over candidates have no branches: whether one stays is as good as random. */

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
            amounts[key >> shift & last] += amount_of(&c->items[i], by) & (0 - (uint64_t)((key & known) == prefix));
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
    uint64_t amount, mass = 0;
    uint32_t last = last_key(c, by, centre, target, &amount);
    candidate *to = c->items;
    for (const candidate *from = c->items, *end = from + c->count; from < end; from++) {
        candidate item = *from;
        uint32_t key = key_of(&item, centre);
        uint64_t tied = key == last, stays = (key < last) | (tied & (amount < target));
        amount += amount_of(&item, by) & (0 - tied); /* beyond the target it only has to stay there */
        *to = item;
        to += stays;
        mass += item.weight & (0 - stays);
    }
    c->count = (uint32_t)(to - c->items);
    c->mass = mass;
}

void candidates_limit(candidates *c, float reach)
{
    float nearest = INFINITY;
    for (uint32_t i = 0; i < c->count; i++)
        nearest = c->items[i].distance < nearest ? c->items[i].distance : nearest;
    uint64_t mass = 0;
    candidate *to = c->items;
    for (const candidate *from = c->items, *end = from + c->count; from < end; from++) {
        candidate item = *from;
        uint64_t stays = item.distance - nearest <= reach;
        *to = item;
        to += stays;
        mass += item.weight & (0 - stays);
    }
    c->count = (uint32_t)(to - c->items);
    c->mass = mass;
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
