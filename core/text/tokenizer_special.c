/* tokenizer_special: special tokens in text.
 *
 * Leftmost-longest, as HF's `tokenizers` searches: at each place the longest spelling that is allowed there. Control
 * tokens need every byte of theirs marked; user-defined tokens are part of the text's own alphabet and always match.
 * The spellings are sorted, so one search narrows a range byte by byte and costs at most TOKENIZER_MAX_SPECIAL steps. */
#include "base/error.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

static int compare_specials(const void *a, const void *b)
{
    const special_token *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->length < y->length ? x->length : y->length);
    if (order == 0)
        order = x->length < y->length ? -1 : x->length > y->length;
    return order ? order : x->id < y->id ? -1 : 1;
}

static bool is_candidate(const tokenizer *t, uint32_t id)
{
    return (t->types[id] == TOKEN_CONTROL || t->types[id] == TOKEN_USER_DEFINED) && t->offsets[id + 1] > t->offsets[id];
}

bp_status special_build(tokenizer *t, bp_error *error)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->count; i++)
        count += is_candidate(t, i);
    t->specials = arena_array(t->memory, (size_t)count + 1, sizeof *t->specials);
    if (!t->specials)
        return error_set(error, BP_ENOMEM, "out of memory for %u special tokens", count);
    for (uint32_t i = 0; i < t->count; i++) {
        if (!is_candidate(t, i))
            continue;
        uint32_t length = t->offsets[i + 1] - t->offsets[i];
        if (length > TOKENIZER_MAX_SPECIAL)
            return error_set(error, BP_EINVAL, "special token %u of the vocabulary has %u bytes, over the limit of %d", i,
                             length, TOKENIZER_MAX_SPECIAL);
        t->specials[t->special_count++] =
            (special_token){(int32_t)i, length, (const unsigned char *)t->pool + t->offsets[i]};
    }
    qsort(t->specials, count, sizeof *t->specials, compare_specials);
    uint32_t next = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        t->special_first[byte] = next;
        while (next < count && t->specials[next].bytes[0] == byte)
            next++;
    }
    t->special_first[256] = next;
    return BP_OK;
}

/* The first of specials[low, high) whose byte at `depth` is at least `byte`; all of them share the bytes before it. One
 * that ends there sorts first. */
static uint32_t lower_bound(const special_token *specials, uint32_t low, uint32_t high, uint32_t depth, unsigned byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (specials[middle].length <= depth || specials[middle].bytes[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const special_token *special_at(const tokenizer *t, const char *text, size_t bytes, size_t at, bool all_marked,
                                const unsigned char *mask)
{
    unsigned byte = (unsigned char)text[at];
    uint32_t low = t->special_first[byte], high = t->special_first[byte + 1], depth = 1;
    const special_token *best = NULL;
    bool marked = all_marked || (mask && mask[at]);
    while (low < high) {
        for (; low < high && t->specials[low].length == depth; low++) {
            bool allowed = marked || t->types[t->specials[low].id] == TOKEN_USER_DEFINED;
            if (allowed && (!best || best->length < depth))
                best = &t->specials[low];
        }
        if (low == high || at + depth == bytes)
            break;
        byte = (unsigned char)text[at + depth];
        marked = marked && (all_marked || mask[at + depth]);
        low = lower_bound(t->specials, low, high, depth, byte);
        high = lower_bound(t->specials, low, high, depth, byte + 1);
        depth++;
    }
    return best;
}
