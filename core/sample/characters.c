#include "sample/characters.h"

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SURROGATE_FIRST = 0xD800, SURROGATE_LAST = 0xDFFF };

void characters_clear(characters *c)
{
    free(c->ranges);
    *c = (characters){0};
}

bool characters_add(characters *c, uint32_t from, uint32_t to)
{
    if (c->count == c->capacity) {
        uint32_t capacity = c->capacity ? c->capacity * 2 : 16;
        character_range *larger = capacity > CHARACTERS_MOST_RANGES ? NULL : realloc(c->ranges, capacity * sizeof *larger);
        if (!larger)
            return false;
        c->ranges = larger;
        c->capacity = capacity;
    }
    c->ranges[c->count++] = (character_range){from, to};
    return true;
}

bool characters_add_all(characters *c, const characters *other)
{
    for (uint32_t i = 0; i < other->count; i++)
        if (!characters_add(c, other->ranges[i].from, other->ranges[i].to))
            return false;
    return true;
}

static int compare(const void *a, const void *b)
{
    const character_range *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

void characters_sort(characters *c)
{
    uint32_t kept = 0;
    if (c->count)
        qsort(c->ranges, c->count, sizeof *c->ranges, compare);
    for (uint32_t i = 0; i < c->count; i++) {
        character_range next = c->ranges[i];
        if (kept && next.from <= c->ranges[kept - 1].to + 1) {
            if (next.to > c->ranges[kept - 1].to)
                c->ranges[kept - 1].to = next.to;
        } else {
            c->ranges[kept++] = next;
        }
    }
    c->count = kept;
}

bool characters_negate(characters *c)
{
    characters out = {0};
    uint32_t from = 0;
    bool good = true;
    if (!characters_add(c, SURROGATE_FIRST, SURROGATE_LAST))
        return false;
    characters_sort(c);
    for (uint32_t i = 0; i < c->count && good; i++) {
        if (c->ranges[i].from > from)
            good = characters_add(&out, from, c->ranges[i].from - 1);
        from = c->ranges[i].to + 1;
    }
    if (from <= CHARACTER_LAST)
        good = good && characters_add(&out, from, CHARACTER_LAST);
    characters_clear(c);
    *c = out;
    return good;
}

/* --- UTF-8 ------------------------------------------------------------------------------------------------------------- */

/* Characters whose encodings have the same length and differ as a run of bytes at each place: from[i] … to[i]. */
static expression run_of(rules *r, const char *from, const char *to, size_t length)
{
    expression e = RULES_EMPTY;
    for (size_t i = 0; i < length; i++) {
        byte_set set = {0};
        byte_set_add(&set, (unsigned char)from[i], (unsigned char)to[i]);
        e = rules_sequence(r, e, rules_bytes(r, &set));
    }
    return e;
}

/* Cuts a range into runs: where the encodings' lengths change, and where a later byte does not go from 80 to BF. */
static expression range_of(rules *r, uint32_t from, uint32_t to)
{
    static const uint32_t lasts[] = {0x7F, 0x7FF, 0xFFFF};
    for (size_t i = 0; i < 3; i++)
        if (from <= lasts[i] && to > lasts[i])
            return rules_choice(r, range_of(r, from, lasts[i]), range_of(r, lasts[i] + 1, to));
    for (uint32_t bits = 6; from > 0x7F && bits <= 18; bits += 6) {
        uint32_t low = (1u << bits) - 1;
        if ((from & ~low) == (to & ~low))
            break;
        if (from & low)
            return rules_choice(r, range_of(r, from, from | low), range_of(r, (from | low) + 1, to));
        if ((to & low) != low)
            return rules_choice(r, range_of(r, from, (to & ~low) - 1), range_of(r, to & ~low, to));
    }
    char first[4], last[4];
    size_t length = utf8_encode((int32_t)from, first);
    utf8_encode((int32_t)to, last);
    return run_of(r, first, last, length);
}

static expression add_range(rules *r, expression e, uint32_t from, uint32_t to)
{
    if (from <= SURROGATE_LAST && to >= SURROGATE_FIRST) {
        if (from < SURROGATE_FIRST)
            e = rules_choice(r, e, range_of(r, from, SURROGATE_FIRST - 1));
        return to > SURROGATE_LAST ? rules_choice(r, e, range_of(r, SURROGATE_LAST + 1, to)) : e;
    }
    return rules_choice(r, e, range_of(r, from, to));
}

/* All single bytes in one set, the rest beside it. */
static expression expression_of(rules *r, const characters *c)
{
    byte_set ascii = {0};
    expression rest = RULES_NEVER;
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t from = c->ranges[i].from, to = c->ranges[i].to;
        if (from <= 0x7F)
            byte_set_add(&ascii, from, to < 0x7F ? to : 0x7F);
        if (to > 0x7F)
            rest = add_range(r, rest, from > 0x80 ? from : 0x80, to);
    }
    return rules_choice(r, rules_bytes(r, &ascii), rest);
}

expression characters_expression(rules *r, characters *c)
{
    characters_sort(c);
    return expression_of(r, c);
}

/* --- in a JSON string ---------------------------------------------------------------------------------------------------- */

static expression escaped(rules *r, uint32_t character)
{
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char out[8] = {'\\'};
    for (size_t i = 0; i + 1 < sizeof shorts; i += 2) {
        if ((unsigned char)shorts[i] == character) {
            out[1] = shorts[i + 1];
            return rules_literal(r, out, 2);
        }
    }
    snprintf(out, sizeof out, "\\u%04x", character);
    return rules_literal(r, out, 6);
}

static bool must_escape(uint32_t character)
{
    return character < 0x20 || character == '"' || character == '\\';
}

expression characters_json(rules *r, characters *c)
{
    characters plain = {0};
    expression e = RULES_NEVER;
    bool good = true;
    characters_sort(c);
    for (uint32_t i = 0; i < c->count && good; i++) {
        uint32_t from = c->ranges[i].from, to = c->ranges[i].to;
        for (; from <= '\\' && from <= to; from++) {
            if (must_escape(from))
                e = rules_choice(r, e, escaped(r, from));
            else
                good = good && characters_add(&plain, from, from);
        }
        good = good && (from > to || characters_add(&plain, from, to));
    }
    if (good)
        e = rules_choice(r, characters_expression(r, &plain), e);
    else
        rules_fail(r, BP_ENOMEM, "no memory for a set of characters");
    characters_clear(&plain);
    return e;
}
