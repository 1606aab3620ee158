#include "sample/gbnf.h"

#include "base/utf8.h"
#include "sample/characters.h"

#include <stdlib.h>
#include <string.h>

typedef struct named_rule {
    const char *name;
    size_t length;
    uint32_t rule;
    bool defined;
} named_rule;

typedef struct parser {
    rules *rules;
    const char *begin, *at, *end;
    named_rule *names;
    uint32_t *slots; /* hash table of names: index + 1; twice as many slots as there may be names */
    uint32_t name_count, depth;
} parser;

enum { SLOTS = 2 * RULES_MOST_RULES };

static bool failed(const parser *p)
{
    return p->rules->failure.code != 0;
}

static expression fail(const parser *p, const char *why)
{
    size_t line = 1;
    for (const char *c = p->begin; c < p->at; c++)
        line += *c == '\n';
    return rules_fail(p->rules, BP_EINVAL, "the grammar, line %zu: %s", line, why);
}

/* --- names and blanks ------------------------------------------------------------------------------------------------------- */

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Blanks and comments; line ends as well where `lines`. */
static void skip(parser *p, bool lines)
{
    while (p->at < p->end) {
        if (*p->at == '#')
            while (p->at < p->end && *p->at != '\n' && *p->at != '\r')
                p->at++;
        else if (*p->at == ' ' || *p->at == '\t' || (lines && (*p->at == '\n' || *p->at == '\r')))
            p->at++;
        else
            return;
    }
}

static bool take(parser *p, char c)
{
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

/* The entry of the name at p->at, made if need be; NULL after a failure. */
static named_rule *take_name(parser *p)
{
    const char *name = p->at;
    uint32_t hash = 2166136261u;
    while (p->at < p->end && is_word(*p->at))
        hash = (hash ^ (unsigned char)*p->at++) * 16777619u;
    size_t length = (size_t)(p->at - name);
    uint32_t slot = hash % SLOTS;
    for (; p->slots[slot]; slot = (slot + 1) % SLOTS) {
        named_rule *n = &p->names[p->slots[slot] - 1];
        if (n->length == length && memcmp(n->name, name, length) == 0)
            return n;
    }
    uint32_t rule = rules_declare(p->rules);
    if (failed(p))
        return NULL;
    named_rule *n = &p->names[p->name_count++];
    *n = (named_rule){.name = name, .length = length, .rule = rule};
    p->slots[slot] = p->name_count;
    return n;
}

/* --- characters -------------------------------------------------------------------------------------------------------------- */

static uint32_t take_hex(parser *p, int digits)
{
    uint32_t value = 0;
    for (int i = 0; i < digits; i++) {
        char c = p->at < p->end ? *p->at : 0, lower = (char)(c | 32);
        bool digit = c >= '0' && c <= '9', letter = lower >= 'a' && lower <= 'f';
        if (!digit && !letter)
            return fail(p, "an escape lacks hexadecimal digits"), 0;
        value = value * 16 + (uint32_t)(digit ? c - '0' : lower - 'a' + 10);
        p->at++;
    }
    if (value > CHARACTER_LAST)
        return fail(p, "an escape is of no character"), 0;
    return value;
}

/* A character of a text or a class, which is not at its end. */
static uint32_t take_character(parser *p)
{
    int32_t code;
    if (!take(p, '\\')) {
        size_t length = utf8_decode(p->at, (size_t)(p->end - p->at), &code);
        if (code < 0)
            fail(p, "bytes that are not UTF-8");
        p->at += length;
        return code < 0 ? 0 : (uint32_t)code;
    }
    if (take(p, 'x'))
        return take_hex(p, 2);
    if (take(p, 'u'))
        return take_hex(p, 4);
    if (take(p, 'U'))
        return take_hex(p, 8);
    static const char escapes[] = "n\nr\rt\t\\\\\"\"[[]]--^^..";
    for (size_t i = 0; i + 1 < sizeof escapes; i += 2)
        if (take(p, escapes[i]))
            return (unsigned char)escapes[i + 1];
    fail(p, "an escape that is not known");
    return 0;
}

static expression parse_text(parser *p)
{
    expression e = RULES_EMPTY;
    char bytes[256];
    size_t count = 0;
    while (!failed(p) && p->at < p->end && *p->at != '"' && *p->at != '\n') {
        count += utf8_encode((int32_t)take_character(p), bytes + count);
        if (count + 4 > sizeof bytes) {
            e = rules_sequence(p->rules, e, rules_literal(p->rules, bytes, count));
            count = 0;
        }
    }
    if (!take(p, '"'))
        return fail(p, "a text without its closing quote");
    return rules_sequence(p->rules, e, rules_literal(p->rules, bytes, count));
}

static expression parse_class(parser *p)
{
    characters c = {0};
    bool negated = take(p, '^');
    while (!failed(p) && p->at < p->end && *p->at != ']') {
        uint32_t from = take_character(p), to = from;
        if (p->at + 1 < p->end && *p->at == '-' && p->at[1] != ']') {
            p->at++;
            to = take_character(p);
        }
        if (to < from)
            fail(p, "a range in a class goes backwards");
        else if (!characters_add(&c, from, to))
            fail(p, "a class has too many ranges");
    }
    if (!take(p, ']'))
        fail(p, "a class without its end");
    if (negated && !failed(p) && !characters_negate(&c))
        fail(p, "a class has too many ranges");
    expression e = characters_expression(p->rules, &c);
    characters_clear(&c);
    return e;
}

static expression parse_any(parser *p)
{
    characters c = {0};
    if (!characters_add(&c, 0, CHARACTER_LAST))
        rules_fail(p->rules, BP_ENOMEM, "no memory for a set of characters");
    expression e = characters_expression(p->rules, &c);
    characters_clear(&c);
    return e;
}

/* --- structure -------------------------------------------------------------------------------------------------------------- */

static expression parse_choice(parser *p, bool nested);

static expression parse_item(parser *p)
{
    if (take(p, '"'))
        return parse_text(p);
    if (take(p, '['))
        return parse_class(p);
    if (take(p, '.'))
        return parse_any(p);
    if (take(p, '(')) {
        if (++p->depth > RULES_MOST_DEPTH)
            return fail(p, "too many groups within each other");
        expression e = parse_choice(p, true);
        p->depth--;
        return take(p, ')') ? e : fail(p, "a group without its end");
    }
    if (!is_word(*p->at))
        return fail(p, "a character that begins nothing");
    const named_rule *n = take_name(p);
    return n ? rules_call(p->rules, n->rule) : RULES_EMPTY;
}

static bool take_number(parser *p, uint32_t *out)
{
    const char *begin = p->at;
    for (*out = 0; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        if (*out <= RULES_MOST_REPEAT)
            *out = *out * 10 + (uint32_t)(*p->at - '0');
    return p->at > begin;
}

static void parse_bounds(parser *p, uint32_t *min, uint32_t *max)
{
    skip(p, false);
    if (!take_number(p, min))
        fail(p, "a brace that begins no repetition");
    *max = *min;
    skip(p, false);
    if (take(p, ',')) {
        skip(p, false);
        if (!take_number(p, max))
            *max = RULES_UNBOUNDED;
        skip(p, false);
    }
    if (!take(p, '}'))
        fail(p, "a repetition without its end");
    else if (*min > RULES_MOST_REPEAT || (*max != RULES_UNBOUNDED && *max > RULES_MOST_REPEAT))
        fail(p, "a repetition of more than 65535");
}

static expression parse_repeated(parser *p)
{
    expression e = parse_item(p);
    while (!failed(p) && p->at < p->end) {
        uint32_t min = 0, max = RULES_UNBOUNDED;
        if (take(p, '+'))
            min = 1;
        else if (take(p, '?'))
            max = 1;
        else if (take(p, '{'))
            parse_bounds(p, &min, &max);
        else if (!take(p, '*'))
            break;
        if (max == RULES_UNBOUNDED && rules_is_unbounded(p->rules, e))
            return fail(p, "a repetition of nothing but a repetition, which is ambiguous: leave one of them out");
        e = rules_repeat(p->rules, e, min, max);
    }
    return e;
}

/* Whether the rule goes on: not at the end of its line, unless the next one begins with a |. */
static bool at_choice(parser *p, bool nested)
{
    const char *before = p->at;
    skip(p, true);
    if (take(p, '|'))
        return true;
    if (!nested)
        p->at = before;
    return false;
}

static expression parse_sequence(parser *p, bool nested)
{
    expression e = RULES_EMPTY;
    for (skip(p, nested); !failed(p) && p->at < p->end && !(*p->at && strchr("|)\n\r", *p->at)); skip(p, nested))
        e = rules_sequence(p->rules, e, parse_repeated(p));
    return e;
}

static expression parse_choice(parser *p, bool nested)
{
    skip(p, true);
    expression e = parse_sequence(p, nested);
    while (!failed(p) && at_choice(p, nested)) {
        skip(p, true);
        e = rules_choice(p->rules, e, parse_sequence(p, nested));
    }
    return e;
}

static void parse_rule(parser *p)
{
    if (!is_word(*p->at)) {
        fail(p, "a rule has no name");
        return;
    }
    const named_rule *n = take_name(p);
    if (!n)
        return;
    uint32_t index = (uint32_t)(n - p->names);
    skip(p, false);
    if (p->end - p->at < 3 || memcmp(p->at, "::=", 3) != 0) {
        fail(p, "a rule's name is not followed by ::=");
        return;
    }
    p->at += 3;
    if (n->defined)
        fail(p, "a rule is defined for the second time");
    p->names[index].defined = true;
    expression body = parse_choice(p, false);
    if (!failed(p) && p->at < p->end && *p->at != '\n' && *p->at != '\r')
        fail(p, "a ) that closes nothing");
    rules_define(p->rules, p->names[index].rule, body);
}

static void check_names(parser *p, uint32_t *root)
{
    bool found = false;
    for (uint32_t i = 0; i < p->name_count; i++) {
        const named_rule *n = &p->names[i];
        if (!n->defined)
            rules_fail(p->rules, BP_EINVAL, "the grammar has no rule %.*s, which is used", (int)(n->length < 100 ? n->length : 100),
                       n->name);
        if (n->length == 4 && memcmp(n->name, "root", 4) == 0) {
            *root = n->rule;
            found = true;
        }
    }
    if (!found)
        rules_fail(p->rules, BP_EINVAL, "the grammar has no rule root, which the answer is to fit");
}

void gbnf_parse(rules *r, const char *text, size_t bytes, uint32_t *root)
{
    if (bytes > RULES_MOST_BYTES) {
        rules_fail(r, BP_EINVAL, "the grammar is longer than %d bytes", RULES_MOST_BYTES);
        return;
    }
    parser p = {.rules = r, .begin = text, .at = text, .end = text + bytes,
                .names = malloc(RULES_MOST_RULES * sizeof *p.names), .slots = calloc(SLOTS, sizeof *p.slots)};
    if (!p.names || !p.slots)
        rules_fail(r, BP_ENOMEM, "no memory to read a grammar");
    for (; !failed(&p); skip(&p, true)) {
        skip(&p, true);
        if (p.at == p.end)
            break;
        parse_rule(&p);
    }
    if (!failed(&p))
        check_names(&p, root);
    free(p.names);
    free(p.slots);
}
