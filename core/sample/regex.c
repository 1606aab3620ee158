#include "sample/regex.h"

#include "base/utf8.h"
#include "sample/characters.h"

#include <string.h>

typedef struct parser {
    rules *rules;
    const char *what, *begin, *at, *end;
    unsigned flags;
    uint32_t depth;
} parser;

static expression fail(const parser *p, const char *why)
{
    return rules_fail(p->rules, BP_EINVAL, "%.200s: the regular expression has, at byte %zu, %s", p->what,
                      (size_t)(p->at - p->begin), why);
}

static bool failed(const parser *p)
{
    return p->rules->failure.code != 0;
}

/* Whether the next character is one of these. */
static bool before(const parser *p, const char *these)
{
    return p->at < p->end && *p->at && strchr(these, *p->at);
}

static bool take(parser *p, const char *text)
{
    size_t length = strlen(text);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, text, length) != 0)
        return false;
    p->at += length;
    return true;
}

/* One character of UTF-8; the text is not at its end. */
static uint32_t take_character(parser *p)
{
    int32_t code;
    size_t length = utf8_decode(p->at, (size_t)(p->end - p->at), &code);
    if (code < 0)
        fail(p, "bytes that are not UTF-8");
    p->at += length;
    return code < 0 ? 0 : (uint32_t)code;
}

/* --- escapes -------------------------------------------------------------------------------------------------------------- */

static bool take_hex(parser *p, int digits, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++) {
        char c = p->at < p->end ? *p->at : 0, lower = (char)(c | 32);
        bool digit = c >= '0' && c <= '9', letter = lower >= 'a' && lower <= 'f';
        if (!digit && !letter)
            return false;
        *out = *out * 16 + (uint32_t)(digit ? c - '0' : lower - 'a' + 10);
        p->at++;
    }
    return true;
}

static uint32_t take_braced_hex(parser *p)
{
    uint32_t value = 0, digit;
    int digits = 0;
    while (!take(p, "}")) {
        if (++digits > 6 || !take_hex(p, 1, &digit))
            return UINT32_MAX;
        value = value * 16 + digit;
    }
    return digits && value <= CHARACTER_LAST ? value : UINT32_MAX;
}

/* The one character that an escape is, UINT32_MAX where it is none. The backslash is taken. */
static uint32_t take_escaped_character(parser *p)
{
    static const char names[] = "n\nr\rt\tf\fv\v";
    uint32_t value;
    for (size_t i = 0; i + 1 < sizeof names; i += 2) {
        if (*p->at == names[i]) {
            p->at++;
            return (unsigned char)names[i + 1];
        }
    }
    if (take(p, "u{"))
        return take_braced_hex(p);
    if (take(p, "u"))
        return take_hex(p, 4, &value) ? value : UINT32_MAX;
    if (take(p, "x"))
        return take_hex(p, 2, &value) ? value : UINT32_MAX;
    if (*p->at == '0' && !(p->at + 1 < p->end && p->at[1] >= '0' && p->at[1] <= '9')) {
        p->at++;
        return 0;
    }
    bool letter = (*p->at | 32) >= 'a' && (*p->at | 32) <= 'z';
    bool digit = *p->at >= '0' && *p->at <= '9';
    return letter || digit ? UINT32_MAX : take_character(p);
}

/* Adds what \d \w \s or their complements name; false if it is no such escape. */
static bool add_class(parser *p, characters *c)
{
    static const struct { char name; uint8_t count; character_range ranges[12]; } classes[] = {
        {'d', 1, {{'0', '9'}}},
        {'w', 4, {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
        {'s', 10, {{9, 13}, {' ', ' '}, {0xA0, 0xA0}, {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                   {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}}},
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if ((*p->at | 32) != classes[i].name)
            continue;
        characters named = {0};
        bool good = true;
        for (uint8_t k = 0; k < classes[i].count; k++)
            good = good && characters_add(&named, classes[i].ranges[k].from, classes[i].ranges[k].to);
        if (*p->at != classes[i].name)
            good = good && characters_negate(&named);
        if (!good || !characters_add_all(c, &named))
            rules_fail(p->rules, BP_EINVAL, "%.200s: a class of the regular expression has too many ranges", p->what);
        characters_clear(&named);
        p->at++;
        return true;
    }
    return false;
}

/* --- classes -------------------------------------------------------------------------------------------------------------- */

static expression finish(parser *p, characters *c)
{
    expression e = p->flags & REGEX_JSON ? characters_json(p->rules, c) : characters_expression(p->rules, c);
    characters_clear(c);
    return failed(p) ? RULES_EMPTY : e;
}

static expression one_character(parser *p, uint32_t code)
{
    characters c = {0};
    if (!characters_add(&c, code, code))
        rules_fail(p->rules, BP_ENOMEM, "no memory for a character");
    return finish(p, &c);
}

/* One end of a range in a class; UINT32_MAX: it was a whole class, which was added. */
static uint32_t class_atom(parser *p, characters *c)
{
    if (!take(p, "\\"))
        return take_character(p);
    if (p->at == p->end) {
        fail(p, "a backslash at its end");
        return UINT32_MAX;
    }
    if (add_class(p, c))
        return UINT32_MAX;
    if (take(p, "b"))
        return 8;
    uint32_t code = take_escaped_character(p);
    if (code == UINT32_MAX)
        fail(p, "an escape that is not supported");
    return code;
}

static expression parse_class(parser *p)
{
    characters c = {0};
    bool negated = take(p, "^");
    while (!failed(p) && p->at < p->end && *p->at != ']') {
        uint32_t from = class_atom(p, &c), to = from;
        if (from == UINT32_MAX || failed(p))
            continue;
        if (p->at + 1 < p->end && *p->at == '-' && p->at[1] != ']') {
            p->at++;
            to = class_atom(p, &c);
        }
        if (to == UINT32_MAX || to < from)
            fail(p, "a range in a class that is none");
        else if (!characters_add(&c, from, to))
            fail(p, "a class of too many ranges");
    }
    if (!take(p, "]"))
        fail(p, "a class without an end");
    if (negated && !failed(p) && !characters_negate(&c))
        fail(p, "a class of too many ranges");
    return finish(p, &c);
}

static expression parse_dot(parser *p)
{
    characters c = {0};
    if (!characters_add(&c, '\n', '\n') || !characters_add(&c, '\r', '\r') || !characters_add(&c, 0x2028, 0x2029) ||
        !characters_negate(&c))
        rules_fail(p->rules, BP_ENOMEM, "no memory for a set of characters");
    return finish(p, &c);
}

/* --- structure ------------------------------------------------------------------------------------------------------------ */

static expression parse_choice(parser *p);

static expression parse_group(parser *p)
{
    if (take(p, "?:")) {
        /* as a group */
    } else if (p->at + 2 < p->end && p->at[0] == '?' && p->at[1] == '<' && p->at[2] != '=' && p->at[2] != '!') {
        while (p->at < p->end && *p->at != '>')
            p->at++;
        if (!take(p, ">"))
            return fail(p, "a group's name without an end");
    } else if (p->at < p->end && *p->at == '?') {
        return fail(p, "a group of a kind that is not supported, such as look-around");
    }
    if (++p->depth > RULES_MOST_DEPTH)
        return fail(p, "too many groups within each other");
    expression e = parse_choice(p);
    p->depth--;
    return take(p, ")") ? e : fail(p, "a group without an end");
}

static expression parse_atom(parser *p)
{
    if (take(p, "("))
        return parse_group(p);
    if (take(p, "["))
        return parse_class(p);
    if (take(p, "."))
        return parse_dot(p);
    if (*p->at == '^' || *p->at == '$')
        return fail(p, "an anchor that is neither at the beginning nor at the end");
    if (before(p, "*+?{"))
        return fail(p, "a repetition of nothing");
    if (!take(p, "\\"))
        return one_character(p, take_character(p));
    if (p->at == p->end)
        return fail(p, "a backslash at its end");
    characters c = {0};
    if (add_class(p, &c))
        return finish(p, &c);
    uint32_t code = take_escaped_character(p);
    return code == UINT32_MAX ? fail(p, "an escape that is not supported") : one_character(p, code);
}

static bool take_number(parser *p, uint32_t *out)
{
    const char *begin = p->at;
    for (*out = 0; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        if (*out <= RULES_MOST_REPEAT)
            *out = *out * 10 + (uint32_t)(*p->at - '0');
    return p->at > begin;
}

/* {n}, {n,} or {n,m}. */
static bool take_bounds(parser *p, uint32_t *min, uint32_t *max)
{
    if (!take_number(p, min))
        return fail(p, "a brace that begins no repetition"), false;
    *max = *min;
    if (take(p, ",") && !take_number(p, max))
        *max = RULES_UNBOUNDED;
    if (!take(p, "}"))
        return fail(p, "a repetition without an end"), false;
    if (*min > RULES_MOST_REPEAT || (*max != RULES_UNBOUNDED && *max > RULES_MOST_REPEAT))
        return fail(p, "a repetition of more than 65535"), false;
    return true;
}

static expression parse_repeated(parser *p)
{
    expression e = parse_atom(p);
    if (!failed(p) && before(p, "*+?{")) {
        uint32_t min = 0, max = RULES_UNBOUNDED;
        if (take(p, "*"))
            min = 0;
        else if (take(p, "+"))
            min = 1;
        else if (take(p, "?"))
            max = 1;
        else if (take(p, "{") && !take_bounds(p, &min, &max))
            return RULES_EMPTY;
        if (max == RULES_UNBOUNDED && rules_is_unbounded(p->rules, e))
            return fail(p, "a repetition of nothing but a repetition, which is ambiguous: leave one of them out");
        e = rules_repeat(p->rules, e, min, max);
        take(p, "?");
        if (before(p, "*+?{"))
            return fail(p, "a repetition of a repetition");
    }
    return e;
}

static expression parse_sequence(parser *p)
{
    expression e = RULES_EMPTY;
    while (!failed(p) && p->at < p->end && *p->at != '|' && *p->at != ')') {
        if (*p->at == '$' && p->depth == 0 && p->at + 1 == p->end) {
            p->at++;
            break;
        }
        e = rules_sequence(p->rules, e, parse_repeated(p));
    }
    return e;
}

static expression parse_choice(parser *p)
{
    expression e = parse_sequence(p);
    while (!failed(p) && take(p, "|"))
        e = rules_choice(p->rules, e, parse_sequence(p));
    return e;
}

expression regex_parse(rules *r, const char *what, const char *pattern, size_t bytes, unsigned flags)
{
    parser p = {.rules = r, .what = what, .begin = pattern, .at = pattern, .end = pattern + bytes, .flags = flags};
    if (bytes > RULES_MOST_BYTES)
        return rules_fail(r, BP_EINVAL, "%.200s: the regular expression is longer than %d bytes", what, RULES_MOST_BYTES);
    take(&p, "^");
    expression e = parse_choice(&p);
    if (!failed(&p) && p.at < p.end)
        fail(&p, "a ) that closes nothing");
    return failed(&p) ? RULES_EMPTY : e;
}
