/* Strings, numbers and constants. */
#include "base/json.h"
#include "sample/characters.h"
#include "sample/json_number.h"
#include "sample/json_schema_parts.h"
#include "sample/regex.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- strings ------------------------------------------------------------------------------------------------------------------ */

static const struct { const char *name, *pattern; } formats[] = {
#define MONTH_DAY                                                                                                       \
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))"
#define LEAP "(?:[1-9]\\d(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29"
#define DATE "(?:[1-9]\\d{3}-" MONTH_DAY "|" LEAP ")"
#define TIME "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
#define BYTE "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "T" TIME},
    {"duration", "P(?:\\d{1,4}W|\\d{1,4}D(?:T\\d{1,2}H(?:\\d{1,2}M(?:\\d{1,2}S)?)?)?|T(?:\\d{1,2}H(?:\\d{1,2}M(?:\\d{1,2}S)?)?|"
                 "\\d{1,2}M(?:\\d{1,2}S)?|\\d{1,2}S))"},
    {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
    {"ipv4", BYTE "(?:\\." BYTE "){3}"},
    {"ipv6", "[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}"},
    {"hostname", LABEL "(?:\\." LABEL "){0,8}"},
    {"email", "[A-Za-z0-9_+-]{1,32}(?:\\.[A-Za-z0-9_+-]{1,16}){0,4}@(?:" LABEL "\\.){1,4}[A-Za-z]{2,16}"},
    {"uri", "[a-z][a-z0-9+.-]{1,15}://" LABEL "(?:\\." LABEL "){0,8}(?::[1-9]\\d{0,3})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*"
            "(?:\\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?(?:#[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?"},
};

static expression hex(rules *r, const char *from_to)
{
    byte_set set = {0};
    for (; *from_to; from_to += 2)
        byte_set_add(&set, (unsigned char)from_to[0], (unsigned char)from_to[1]);
    return rules_bytes(r, &set);
}

/* \u and four digits, of no surrogate or of a pair of them, which is one character. */
static expression escaped_code(rules *r)
{
    static const char any[] = "09afAF", not_d[] = "09acefACEF";
    expression u = rules_literal(r, "\\u", 2), digit = hex(r, any), two = rules_repeat(r, digit, 2, 2);
    expression plain = rules_sequence(r, rules_sequence(r, hex(r, not_d), digit), two);
    expression below = rules_sequence(r, rules_sequence(r, hex(r, "ddDD"), hex(r, "07")), two);
    expression high = rules_sequence(r, rules_sequence(r, hex(r, "ddDD"), hex(r, "89abAB")), two);
    expression low = rules_sequence(r, rules_sequence(r, hex(r, "ddDD"), hex(r, "cfCF")), two);
    expression pair = rules_sequence(r, rules_sequence(r, high, rules_literal(r, "\\u", 2)), low);
    return rules_sequence(r, u, rules_choice(r, rules_choice(r, plain, below), pair));
}

expression schema_character(schema_reader *s)
{
    rules *r = s->rules;
    if (!s->character) {
        characters plain = {0};
        byte_set letters = {0};
        for (const char *c = "\"\\/bfnrt"; *c; c++)
            byte_set_add(&letters, (unsigned char)*c, (unsigned char)*c);
        if (!characters_add(&plain, ' ', '!') || !characters_add(&plain, '#', '[') || !characters_add(&plain, ']', CHARACTER_LAST))
            rules_fail(r, BP_ENOMEM, "no memory for a set of characters");
        expression e = characters_expression(r, &plain);
        characters_clear(&plain);
        e = rules_choice(r, e, rules_sequence(r, rules_literal(r, "\\", 1), rules_bytes(r, &letters)));
        s->character = rules_declare(r) + 1;
        rules_define(r, s->character - 1, rules_choice(r, e, escaped_code(r)));
    }
    return rules_call(r, s->character - 1);
}

static expression quote(rules *r, expression inside)
{
    return rules_sequence(r, rules_sequence(r, rules_literal(r, "\"", 1), inside), rules_literal(r, "\"", 1));
}

expression schema_quoted(schema_reader *s)
{
    if (!s->quoted) {
        s->quoted = rules_declare(s->rules) + 1;
        rules_define(s->rules, s->quoted - 1, quote(s->rules, rules_repeat(s->rules, schema_character(s), 0, RULES_UNBOUNDED)));
    }
    return rules_call(s->rules, s->quoted - 1);
}

static expression of_format(schema_reader *s, const json_t *format)
{
    const char *name = json_string_value(format);
    for (size_t i = 0; name && i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, name) == 0)
            return regex_parse(s->rules, s->path, formats[i].pattern, strlen(formats[i].pattern), REGEX_JSON);
    return schema_fail(s, "the format \"%.60s\" is not supported", name ? name : "");
}

expression schema_string(schema_reader *s, json_t *schema)
{
    rules *r = s->rules;
    const json_t *pattern = json_object_get(schema, "pattern"), *format = json_object_get(schema, "format");
    uint32_t least = schema_count(s, schema, "minLength", 0), most = schema_count(s, schema, "maxLength", RULES_UNBOUNDED);
    bool length = least > 0 || most != RULES_UNBOUNDED;
    if ((pattern != NULL) + (format != NULL) + length > 1)
        return schema_fail(s, "pattern, format and a length are supported one at a time");
    if (pattern && !json_is_string(pattern))
        return schema_fail(s, "pattern is not a string");
    if (pattern) {
        char what[SCHEMA_MOST_PATH + 32];
        snprintf(what, sizeof what, "%s/pattern", s->path);
        return quote(r, regex_parse(r, what, json_string_value(pattern), json_string_length(pattern), REGEX_JSON));
    }
    if (format)
        return quote(r, of_format(s, format));
    if (!length)
        return schema_quoted(s);
    return most < least ? RULES_NEVER : quote(r, rules_repeat(r, schema_character(s), least, most));
}

/* --- numbers ------------------------------------------------------------------------------------------------------------------ */

static bool read_bound(schema_reader *s, const json_t *schema, const char *key, const char *open_key, bool *there, double *bound, bool *open,
                       bool upper)
{
    const json_t *closed = json_object_get(schema, key), *exclusive = json_object_get(schema, open_key);
    if ((closed && !json_is_number(closed)) || (exclusive && !json_is_number(exclusive)))
        return schema_fail(s, "%s and %s are not numbers", key, open_key), false;
    *there = closed || exclusive;
    double x = closed ? json_number_value(closed) : 0, y = exclusive ? json_number_value(exclusive) : 0;
    *open = exclusive && (!closed || (upper ? y <= x : y >= x));
    *bound = *open ? y : x;
    return true;
}

/* The smallest or largest integer that a bound allows. Integers of the schema are exact; others are doubles. */
static bool whole_bound(const json_t *schema, const char *key, double bound, bool open, bool upper, int64_t *out)
{
    const json_t *exact = json_object_get(schema, key);
    if (!open && json_is_integer(exact)) {
        *out = json_integer_value(exact);
        return true;
    }
    double near = upper ? floor(bound) : ceil(bound);
    if (open && near == bound)
        near += upper ? -1 : 1;
    if (!(near >= -9223372036854774784.0 && near <= 9223372036854774784.0))
        return false;
    *out = (int64_t)near;
    return true;
}

static expression of_integers(schema_reader *s, const json_t *schema, const number_bounds *b)
{
    int64_t least = -999999999999999999, most = 999999999999999999;
    if (b->has_least && !whole_bound(schema, "minimum", b->least, b->above, false, &least))
        return schema_fail(s, "the bounds are beyond what 64 bits hold");
    if (b->has_most && !whole_bound(schema, "maximum", b->most, b->below, true, &most))
        return schema_fail(s, "the bounds are beyond what 64 bits hold");
    if (b->has_least && !b->has_most && least > most)
        most = INT64_MAX;
    if (b->has_most && !b->has_least && most < least)
        least = INT64_MIN;
    return json_integer_between(s->rules, least, most);
}

expression schema_number(schema_reader *s, json_t *schema, bool integer)
{
    number_bounds b = {0};
    expression e = RULES_NEVER;
    if (!read_bound(s, schema, "minimum", "exclusiveMinimum", &b.has_least, &b.least, &b.above, false) ||
        !read_bound(s, schema, "maximum", "exclusiveMaximum", &b.has_most, &b.most, &b.below, true))
        return RULES_EMPTY;
    if (integer)
        return of_integers(s, schema, &b);
    if (!b.has_least && !b.has_most)
        return json_number_any(s->rules);
    if (!json_number_between(s->rules, &b, &e))
        return schema_fail(s, "the bounds have more digits than can be compared");
    return e;
}

/* --- constants ----------------------------------------------------------------------------------------------------------------- */

static expression text_of(schema_reader *s, const char *text)
{
    return rules_literal(s->rules, text, strlen(text));
}

static expression string_constant(schema_reader *s, const json_t *value)
{
    char *text = json_write(value, JSON_ENCODE_ANY);
    expression e = text ? text_of(s, text) : rules_fail(s->rules, BP_ENOMEM, "no memory to read a schema");
    free(text);
    return e;
}

static expression number_constant(schema_reader *s, const json_t *value)
{
    char text[64];
    if (json_is_integer(value))
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    for (int precision = 15; json_is_real(value) && precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, json_real_value(value));
        if (strtod(text, NULL) == json_real_value(value))
            break;
    }
    return text_of(s, text);
}

static expression list_constant(schema_reader *s, const json_t *value)
{
    rules *r = s->rules;
    expression e = rules_sequence(r, text_of(s, "["), schema_space(s));
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (i)
            e = rules_sequence(r, rules_sequence(r, e, text_of(s, ",")), schema_space(s));
        e = rules_sequence(r, e, schema_constant(s, json_array_get(value, i)));
    }
    if (json_array_size(value))
        e = rules_sequence(r, e, schema_space(s));
    return rules_sequence(r, e, text_of(s, "]"));
}

static expression object_constant(schema_reader *s, const json_t *value)
{
    rules *r = s->rules;
    expression e = rules_sequence(r, text_of(s, "{"), schema_space(s));
    const char *key;
    json_t *member;
    bool first = true;
    json_object_foreach((json_t *)value, key, member)
    {
        json_t *name = json_string(key);
        if (!first)
            e = rules_sequence(r, rules_sequence(r, e, text_of(s, ",")), schema_space(s));
        e = rules_sequence(r, rules_sequence(r, e, string_constant(s, name)), text_of(s, ":"));
        e = rules_sequence(r, rules_sequence(r, e, schema_space(s)), schema_constant(s, member));
        json_decref(name);
        first = false;
    }
    if (!first)
        e = rules_sequence(r, e, schema_space(s));
    return rules_sequence(r, e, text_of(s, "}"));
}

expression schema_constant(schema_reader *s, const json_t *value)
{
    if (s->depth == RULES_MOST_DEPTH)
        return schema_fail(s, "a constant has more than %d values within each other", RULES_MOST_DEPTH);
    s->depth++;
    expression e = json_is_object(value)   ? object_constant(s, value)
                   : json_is_array(value)  ? list_constant(s, value)
                   : json_is_string(value) ? string_constant(s, value)
                   : json_is_number(value) ? number_constant(s, value)
                                           : text_of(s, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
    s->depth--;
    return e;
}
