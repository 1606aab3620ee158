#include "sample/tool_calls.h"

#include "sample/json_schema.h"

#include <stdio.h>
#include <string.h>

enum { MOST_MARK = 64 };

typedef struct writer {
    rules *rules;
    const char *begin, *end, *arguments, *name; /* name: NULL: every tool */
    const json_t *tools;
    bool list, many, required;
    uint32_t space, other_object; /* rules */
} writer;

static expression text_of(const writer *w, const char *text)
{
    return rules_literal(w->rules, text, strlen(text));
}

static expression in_order(const writer *w, const expression *parts, size_t count)
{
    expression e = RULES_EMPTY;
    for (size_t i = 0; i < count; i++)
        e = rules_sequence(w->rules, e, parts[i]);
    return e;
}

static expression space(const writer *w)
{
    return rules_call(w->rules, w->space);
}

/* --- one call ------------------------------------------------------------------------------------------------------------------ */

static bool is_name(const char *name)
{
    size_t length = name ? strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") : 0;
    return length && length <= 64 && !name[length];
}

static expression arguments_of(const writer *w, const json_t *function, size_t index)
{
    json_t *parameters = json_object_get(function, "parameters");
    char path[64];
    if (!w->required && !json_is_true(json_object_get(function, "strict")))
        return rules_call(w->rules, w->other_object);
    if (!parameters || json_is_null(parameters))
        return text_of(w, "{}");
    if (!json_is_object(parameters))
        return rules_fail(w->rules, BP_EINVAL, "tools[%zu].function.parameters is not a schema", index);
    snprintf(path, sizeof path, "tools[%zu].function.parameters", index);
    return json_schema_expression(w->rules, parameters, path);
}

/* {"name": "…", "arguments": {…}} of any tool that may be called. */
static expression object_of(const writer *w)
{
    expression e = RULES_NEVER;
    for (size_t i = 0; i < json_array_size(w->tools); i++) {
        const json_t *function = json_object_get(json_array_get(w->tools, i), "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        char head[128];
        if (!is_name(name))
            return rules_fail(w->rules, BP_EINVAL, "tools[%zu].function.name is not made of letters, digits, _ and -", i);
        if (w->name && strcmp(w->name, name) != 0)
            continue;
        snprintf(head, sizeof head, "\"%s\",", name);
        const expression parts[] = {text_of(w, "{"), space(w), text_of(w, "\"name\":"), space(w), text_of(w, head), space(w),
                                    text_of(w, "\""), text_of(w, w->arguments), text_of(w, "\":"), space(w),
                                    arguments_of(w, function, i), space(w), text_of(w, "}")};
        e = rules_choice(w->rules, e, in_order(w, parts, sizeof parts / sizeof *parts));
    }
    if (e == RULES_NEVER)
        return rules_fail(w->rules, BP_EINVAL, "tools has no tool that may be called");
    uint32_t rule = rules_declare(w->rules);
    rules_define(w->rules, rule, e);
    return rules_call(w->rules, rule);
}

/* What stands behind `begin` of one call, or of the list of them. */
static expression body_of(const writer *w, expression object)
{
    if (!w->list) {
        const expression parts[] = {space(w), object, space(w), text_of(w, w->end)};
        return *w->begin ? in_order(w, parts, 4) : object;
    }
    const expression next[] = {space(w), text_of(w, ","), space(w), object};
    expression more = w->many ? rules_repeat(w->rules, in_order(w, next, 4), 0, TOOL_CALLS_MOST - 1) : RULES_EMPTY;
    const expression parts[] = {space(w), text_of(w, "["), space(w), object, more, space(w), text_of(w, "]")};
    return in_order(w, parts, 7);
}

static expression calls_of(const writer *w, expression body)
{
    expression one = rules_sequence(w->rules, text_of(w, w->begin), body);
    if (w->list || !w->many || !*w->begin)
        return one;
    expression more = rules_repeat(w->rules, rules_sequence(w->rules, space(w), one), 0, TOOL_CALLS_MOST - 1);
    return rules_sequence(w->rules, one, more);
}

/* --- text with calls in it ------------------------------------------------------------------------------------------------------- */

/* How much of `begin` the text ends with after `matched` bytes of it and one more. */
static size_t matched_after(const char *begin, size_t matched, char byte)
{
    char text[MOST_MARK + 1];
    memcpy(text, begin, matched);
    text[matched] = byte;
    size_t length = matched + 1;
    while (length && memcmp(begin, text + matched + 1 - length, length) != 0)
        length--;
    return length;
}

/* How an answer may begin: as any text does, but what begins with a brace is read as a call without its mark, and has to be one. */
static expression start_of(const writer *w, const uint32_t *at, expression object)
{
    rules *r = w->rules;
    uint32_t start = rules_declare(r);
    byte_set blanks = {{0}}, others = {{0}}, mark = {{0}};
    byte_set_add(&others, 0, 255);
    byte_set_add(&mark, (unsigned char)*w->begin, (unsigned char)*w->begin);
    for (const char *c = " \t\n\r"; *c; c++)
        byte_set_add(&blanks, (unsigned char)*c, (unsigned char)*c);
    for (int i = 0; i < 4; i++)
        others.bits[i] &= ~(blanks.bits[i] | mark.bits[i]);
    others.bits['{' / 64] &= ~((uint64_t)1 << '{' % 64);
    expression more = w->many ? rules_repeat(r, rules_sequence(r, space(w), object), 0, TOOL_CALLS_MOST - 1) : RULES_EMPTY;
    const expression ways[] = {RULES_EMPTY, rules_sequence(r, object, more),
                               rules_sequence(r, rules_bytes(r, &blanks), rules_call(r, start)),
                               rules_sequence(r, rules_bytes(r, &others), rules_call(r, at[0])),
                               rules_sequence(r, rules_bytes(r, &mark), rules_call(r, at[1]))};
    expression e = RULES_NEVER;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        e = rules_choice(r, e, ways[i]);
    rules_define(r, start, e);
    return rules_call(r, start);
}

/* Any text; once `begin` is complete in it, what follows is a call. One rule for how much of `begin` the text ends with. */
static expression text_with_calls(const writer *w, expression object, expression body)
{
    rules *r = w->rules;
    size_t length = strlen(w->begin);
    uint32_t at[MOST_MARK] = {0};
    if (length < 2 || length >= MOST_MARK)
        return rules_fail(r, BP_EINVAL, "a mark of tool calls is too short or too long");
    for (size_t i = 0; i < length; i++)
        at[i] = rules_declare(r);
    expression called = w->list || !w->many ? body : rules_sequence(r, body, rules_call(r, at[0]));
    for (size_t i = 0; i < length && !r->failure.code; i++) {
        byte_set sets[MOST_MARK] = {{{0}}};
        expression e = RULES_EMPTY;
        for (unsigned b = 0; b < 256; b++)
            byte_set_add(&sets[matched_after(w->begin, i, (char)b)], b, b);
        for (size_t k = 0; k <= length; k++) {
            expression byte = rules_bytes(r, &sets[k]);
            if (byte != RULES_NEVER)
                e = rules_choice(r, e, rules_sequence(r, byte, k == length ? called : rules_call(r, at[k])));
        }
        rules_define(r, at[i], e);
    }
    return start_of(w, at, object);
}

/* Where calls have no mark, a text that does not begin as a call does is none. */
static expression text_or_call(const writer *w, expression call)
{
    byte_set first = {{~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0}}, any = first;
    for (const char *c = "{ \t\n\r"; *c; c++)
        first.bits[(unsigned char)*c / 64] &= ~((uint64_t)1 << ((unsigned char)*c % 64));
    expression rest = rules_repeat(w->rules, rules_bytes(w->rules, &any), 0, RULES_UNBOUNDED);
    return rules_choice(w->rules, call, rules_optional(w->rules, rules_sequence(w->rules, rules_bytes(w->rules, &first), rest)));
}

static const char *string_of(const json_t *asked, const char *key)
{
    const char *value = json_string_value(json_object_get(asked, key));
    return value ? value : "";
}

void tool_calls_read(rules *r, const json_t *asked, uint32_t otherwise, uint32_t *root)
{
    const char *mode = string_of(asked, "mode");
    writer w = {.rules = r, .begin = string_of(asked, "begin"), .end = string_of(asked, "end"), .arguments = string_of(asked, "arguments"),
                .name = json_string_value(json_object_get(asked, "name")), .tools = json_object_get(asked, "tools"),
                .list = json_is_true(json_object_get(asked, "list")), .many = json_is_true(json_object_get(asked, "many")),
                .required = strcmp(mode, "required") == 0};
    json_t *any = json_pack("{ss}", "type", "object");
    w.space = rules_declare(r);
    rules_define(r, w.space, json_schema_space(r));
    w.other_object = rules_declare(r);
    rules_define(r, w.other_object, any ? json_schema_expression(r, any, "arguments") : rules_fail(r, BP_ENOMEM, "no memory for tools"));
    json_decref(any);
    expression object = object_of(&w), body = body_of(&w, object), e;
    if (strcmp(mode, "text") == 0)
        e = *w.begin ? text_with_calls(&w, object, body) : text_or_call(&w, body);
    else
        e = calls_of(&w, body);
    if (strcmp(mode, "either") == 0)
        e = rules_choice(r, e, rules_call(r, otherwise));
    *root = rules_declare(r);
    rules_define(r, *root, e);
}
