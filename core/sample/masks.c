#include "sample/masks.h"

#include "base/error.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define NO_SLOT UINT32_MAX

enum { SHORT = 16 }; /* bytes of a short token */

typedef enum part { PART_WHOLE, PART_WITH_ENDS, PART_SHORT } part; /* without and with tokens that end; short tokens alone */

typedef struct slot {
    uint64_t machine;
    uint32_t age, state, next; /* next: of its bucket */
    part part;
    bool asked; /* since the hand went by */
} slot;

struct masks {
    token_source source;
    size_t words;           /* of a mask */
    token_trie few, rest, longer; /* short tokens; those that are not plain; long tokens */
    uint64_t *plain, *ends; /* [words]; plain: of short ones */
    uint32_t depth;         /* bytes of the longest token */
    slot *slots;            /* [capacity] */
    uint64_t **bits;        /* [capacity]; NULL until first used */
    uint32_t *buckets;      /* [bucket_mask + 1] slot, or NO_SLOT */
    uint32_t capacity, used, hand, bucket_mask;
    uint32_t *walk_states, *walk_ends; /* [depth + 1] */
};

static bp_status no_memory(bp_error *error)
{
    return error_set(error, BP_ENOMEM, "no memory for the tokens that a grammar allows");
}

static void set_bit(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= (uint64_t)1 << (i % 64);
}

/* --- the walk ------------------------------------------------------------------------------------------------------------------ */

/* Sets the bits of the trie's tokens whose text leads on from `state`. */
static bp_status walk(masks *k, const token_trie *t, machine *m, uint32_t state, uint64_t *bits, bp_error *error)
{
    uint32_t *states = k->walk_states, *ends = k->walk_ends, depth = 0;
    machine_table known = machine_look(m);
    states[0] = state;
    ends[0] = t->node_count;
    for (uint32_t i = 0; i < t->node_count;) {
        while (i >= ends[depth])
            depth--;
        uint32_t size = t->edges[i] >> 8;
        unsigned char byte = (unsigned char)t->edges[i];
        uint32_t next = machine_known(&known, states[depth], byte);
        if (next == MACHINE_UNKNOWN) {
            bp_status status = machine_next(m, states[depth], byte, &next, error);
            if (status != BP_OK)
                return status;
            known = machine_look(m);
        }
        if (next == MACHINE_DEAD) {
            i += size;
            continue;
        }
        for (uint32_t j = t->first[i]; j < t->first[i + 1]; j++)
            set_bit(bits, t->tokens[j]);
        if (size > 1) {
            states[++depth] = next;
            ends[depth] = i + size;
        }
        i++;
    }
    return BP_OK;
}

/* Whether every byte from … to leads on from `state` and, `more` continuation bytes later, back to `home`. */
static bp_status returns(machine *m, uint32_t state, unsigned from, unsigned to, int more, uint32_t home, bool *out, bp_error *error)
{
    uint32_t last = MACHINE_UNKNOWN;
    for (unsigned b = from; *out && b <= to; b++) {
        uint32_t next;
        bp_status status = machine_next(m, state, (unsigned char)b, &next, error);
        if (status != BP_OK)
            return status;
        if (next == last)
            continue;
        last = next;
        if (more == 0 || next == MACHINE_DEAD)
            *out = next == home && next != MACHINE_DEAD;
        else
            status = returns(m, next, 0x80, 0xBF, more - 1, home, out, error);
        if (status != BP_OK)
            return status;
    }
    return BP_OK;
}

/* Whether the state stays what it is for every plain character: Unicode 15, table 3-7. */
static bp_status absorbs_plain(machine *m, uint32_t state, bool *out, bp_error *error)
{
    static const struct { uint8_t lead_from, lead_to, second_from, second_to; int more; } rows[] = {
        {' ', '!', 0, 0, 0}, {'#', '[', 0, 0, 0}, {']', 0x7F, 0, 0, 0}, {0xC2, 0xDF, 0x80, 0xBF, 1}, {0xE0, 0xE0, 0xA0, 0xBF, 2},
        {0xE1, 0xEC, 0x80, 0xBF, 2}, {0xED, 0xED, 0x80, 0x9F, 2}, {0xEE, 0xEF, 0x80, 0xBF, 2}, {0xF0, 0xF0, 0x90, 0xBF, 3},
        {0xF1, 0xF3, 0x80, 0xBF, 3}, {0xF4, 0xF4, 0x80, 0x8F, 3}};
    bp_status status = BP_OK;
    *out = true;
    for (size_t i = 0; status == BP_OK && *out && i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].more == 0) {
            status = returns(m, state, rows[i].lead_from, rows[i].lead_to, 0, state, out, error);
            continue;
        }
        for (unsigned lead = rows[i].lead_from; status == BP_OK && *out && lead <= rows[i].lead_to; lead++) {
            uint32_t next;
            status = machine_next(m, state, (unsigned char)lead, &next, error);
            if (status == BP_OK)
                status = returns(m, next, rows[i].second_from, rows[i].second_to, rows[i].more - 1, state, out, error);
        }
    }
    return status;
}

/* Short tokens. */
static bp_status work_out(masks *k, machine *m, uint32_t state, uint64_t *bits, bp_error *error)
{
    bool plain = false;
    bp_status status = absorbs_plain(m, state, &plain, error);
    if (status != BP_OK)
        return status;
    if (plain)
        memcpy(bits, k->plain, k->words * sizeof *bits);
    else
        memset(bits, 0, k->words * sizeof *bits);
    return walk(k, plain ? &k->rest : &k->few, m, state, bits, error);
}

/* --- what is kept --------------------------------------------------------------------------------------------------------------- */

static uint32_t bucket_of(const masks *k, const slot *s)
{
    uint64_t hash = (s->machine * 0x9E3779B97F4A7C15u ^ ((uint64_t)s->age << 34 | (uint64_t)s->state << 2 | s->part)) *
                    0xD6E8FEB86659FD93u;
    return (uint32_t)(hash >> 40) & k->bucket_mask;
}

static uint32_t find(const masks *k, const slot *key)
{
    uint32_t i = k->buckets[bucket_of(k, key)];
    for (; i != NO_SLOT; i = k->slots[i].next) {
        const slot *s = &k->slots[i];
        if (s->machine == key->machine && s->age == key->age && s->state == key->state && s->part == key->part)
            return i;
    }
    return NO_SLOT;
}

static void unlink_slot(masks *k, uint32_t i)
{
    uint32_t *at = &k->buckets[bucket_of(k, &k->slots[i])];
    while (*at != i)
        at = &k->slots[*at].next;
    *at = k->slots[i].next;
}

/* A slot that nobody asked for lately, out of its bucket; NO_SLOT when out of memory. */
static uint32_t make_room(masks *k)
{
    if (k->used < k->capacity) {
        k->bits[k->used] = malloc(k->words * sizeof **k->bits);
        return k->bits[k->used] ? k->used++ : NO_SLOT;
    }
    while (k->slots[k->hand].asked) {
        k->slots[k->hand].asked = false;
        k->hand = (k->hand + 1) % k->capacity;
    }
    uint32_t i = k->hand;
    k->hand = (k->hand + 1) % k->capacity;
    unlink_slot(k, i);
    return i;
}

/* Links a slot under its key. One without a use, after a failure, is under machine 0, which nobody asks for. */
static void link_slot(masks *k, uint32_t i, const slot *key)
{
    k->slots[i] = *key;
    uint32_t bucket = bucket_of(k, key);
    k->slots[i].next = k->buckets[bucket];
    k->buckets[bucket] = i;
}

/* A slot for a key that is not there, whose bits are for the caller to set; NO_SLOT when out of memory. */
static uint32_t take_slot(masks *k, const slot *key)
{
    uint32_t i = make_room(k);
    if (i != NO_SLOT)
        link_slot(k, i, key);
    return i;
}

/* A slot whose bits could not be worked out goes where nobody asks. */
static void spoil_slot(masks *k, uint32_t i)
{
    unlink_slot(k, i);
    link_slot(k, i, &(slot){0});
}

/* The mask of short tokens, which may be one of earlier. */
static bp_status get_short(masks *k, machine *m, const slot *whole, uint32_t state, const uint64_t **out, bp_error *error)
{
    slot key = *whole;
    key.part = PART_SHORT;
    bp_status status = machine_near(m, state, SHORT, &key.state, error);
    if (status != BP_OK)
        return status;
    uint32_t i = find(k, &key);
    if (i == NO_SLOT) {
        i = take_slot(k, &key);
        if (i == NO_SLOT)
            return no_memory(error);
        status = work_out(k, m, key.state, k->bits[i], error);
        if (status != BP_OK)
            spoil_slot(k, i);
    }
    k->slots[i].asked = true;
    *out = k->bits[i];
    return status;
}

bp_status masks_get(masks *k, machine *m, uint64_t machine_number, uint32_t state, bool with_ends, const uint64_t **out,
                    bp_error *error)
{
    const uint64_t *few = NULL;
    slot key = {.machine = machine_number, .age = machine_age(m), .part = with_ends ? PART_WITH_ENDS : PART_WHOLE, .asked = true};
    bp_status status = machine_near(m, state, k->depth, &key.state, error);
    uint32_t i = status == BP_OK ? find(k, &key) : NO_SLOT;
    if (status == BP_OK && i == NO_SLOT) {
        status = get_short(k, m, &key, key.state, &few, error);
        i = status == BP_OK ? take_slot(k, &key) : NO_SLOT;
        if (status == BP_OK && i == NO_SLOT)
            status = no_memory(error);
        if (status == BP_OK) {
            if (k->bits[i] != few) /* their slot may just have made room */
                memcpy(k->bits[i], few, k->words * sizeof **k->bits);
            status = walk(k, &k->longer, m, key.state, k->bits[i], error);
            for (size_t w = 0; with_ends && machine_may_end(m, key.state) && w < k->words; w++)
                k->bits[i][w] |= k->ends[w];
            if (status != BP_OK)
                spoil_slot(k, i);
        }
    }
    if (status != BP_OK)
        return status;
    k->slots[i].asked = true;
    *out = k->bits[i];
    return BP_OK;
}

const char *masks_text(const masks *k, uint32_t token, uint32_t *length)
{
    return token < k->source.count ? k->source.text(k->source.user, token, length) : NULL;
}

bool masks_ends(const masks *k, uint32_t token)
{
    return token < k->source.count && (k->ends[token / 64] >> (token % 64) & 1);
}

/* --- life ------------------------------------------------------------------------------------------------------------------------ */

/* Whole characters that mean nothing in a JSON string: see absorbs_plain. */
static bool is_plain(const char *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if ((unsigned char)bytes[i] < ' ' || bytes[i] == '"' || bytes[i] == '\\')
            return false;
    return utf8_valid(bytes, length);
}

/* Which tokens end, and which go into which trie. */
typedef struct kinds {
    uint64_t *few, *rest, *longer;
} kinds;

static void sort_tokens(masks *k, const kinds *to)
{
    for (uint32_t token = 0; token < k->source.count; token++) {
        uint32_t length = 0;
        const char *bytes = k->source.text(k->source.user, token, &length);
        if (k->source.ends(k->source.user, token))
            set_bit(k->ends, token);
        if (!bytes || length == 0)
            continue;
        k->depth = length > k->depth ? length : k->depth;
        set_bit(length > SHORT ? to->longer : to->few, token);
        if (length <= SHORT)
            set_bit(is_plain(bytes, length) ? k->plain : to->rest, token);
    }
}

static bool init_slots(masks *k, size_t bytes)
{
    size_t capacity = bytes / (k->words * sizeof(uint64_t)), buckets = 16;
    k->capacity = capacity < MASKS_FEWEST ? MASKS_FEWEST : capacity > 1 << 20 ? 1 << 20 : (uint32_t)capacity;
    while (buckets < k->capacity)
        buckets *= 2;
    k->bucket_mask = (uint32_t)buckets - 1;
    k->slots = calloc(k->capacity, sizeof *k->slots);
    k->bits = calloc(k->capacity, sizeof *k->bits);
    k->buckets = malloc(buckets * sizeof *k->buckets);
    if (k->buckets)
        memset(k->buckets, 0xFF, buckets * sizeof *k->buckets);
    return k->slots && k->bits && k->buckets;
}

bp_status masks_new(const token_source *source, size_t bytes, masks **out, bp_error *error)
{
    masks *k = calloc(1, sizeof *k);
    if (!k)
        return no_memory(error);
    k->source = *source;
    k->words = ((size_t)source->count + 255) / 256 * 4; /* whole blocks of a row */
    kinds to = {calloc(k->words, 8), calloc(k->words, 8), calloc(k->words, 8)};
    k->plain = calloc(k->words, sizeof *k->plain);
    k->ends = calloc(k->words, sizeof *k->ends);
    bool enough = to.few && to.rest && to.longer && k->plain && k->ends && init_slots(k, bytes);
    bp_status status = enough ? BP_OK : no_memory(error);
    if (enough)
        sort_tokens(k, &to);
    if (status == BP_OK)
        status = token_trie_build(source, to.few, &k->few, error);
    if (status == BP_OK)
        status = token_trie_build(source, to.rest, &k->rest, error);
    if (status == BP_OK)
        status = token_trie_build(source, to.longer, &k->longer, error);
    free(to.few);
    free(to.rest);
    free(to.longer);
    if (status == BP_OK) {
        k->walk_states = malloc(((size_t)k->depth + 1) * sizeof *k->walk_states);
        k->walk_ends = malloc(((size_t)k->depth + 1) * sizeof *k->walk_ends);
        status = k->walk_states && k->walk_ends ? BP_OK : no_memory(error);
    }
    if (status != BP_OK) {
        masks_free(k);
        return status;
    }
    *out = k;
    return BP_OK;
}

void masks_free(masks *k)
{
    if (!k)
        return;
    for (uint32_t i = 0; i < k->used; i++)
        free(k->bits[i]);
    token_trie_clear(&k->few);
    token_trie_clear(&k->rest);
    token_trie_clear(&k->longer);
    free(k->plain);
    free(k->ends);
    free(k->slots);
    free(k->bits);
    free(k->buckets);
    free(k->walk_states);
    free(k->walk_ends);
    free(k);
}
