/* jinja_methods: what values can be asked with a dot: methods of strings, lists and dicts, and a loop's attributes. What
 * would change a value is not among them: transformers' sandbox refuses it, too. */
#include "text/jinja.h"

#include <string.h>

static bool one_text(jinja_run *run, const jinja_call *call, const char *what, const jinja_text **out)
{
    static const char *const names[] = {"sub", NULL};
    jinja_value given;
    return jinja_arguments(run, call, what, names, 1, &given) && jinja_expect_text(run, given, what, out);
}

static bool no_arguments(jinja_run *run, const jinja_call *call, const char *what)
{
    static const char *const none[] = {NULL};
    jinja_value unused;
    return jinja_arguments(run, call, what, none, 0, &unused);
}

static bool verdict(jinja_value *out, bool truth)
{
    *out = jinja_bool(truth);
    return true;
}

/* --- strings ---------------------------------------------------------------------------------------------------------- */

static bool strip(jinja_run *run, const jinja_call *call, const char *what, bool left, bool right, jinja_value *out)
{
    static const char *const names[] = {"chars", NULL};
    jinja_value chars;
    const jinja_text *set = NULL;
    if (!jinja_arguments(run, call, what, names, 0, &chars) ||
        (chars.kind != JINJA_ABSENT && chars.kind != JINJA_NONE && !jinja_expect_text(run, chars, what, &set)))
        return false;
    return jinja_strip(run, call->self.as.text, set, left, right, out);
}

static bool text_strip(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return strip(run, call, "strip", true, true, out);
}

static bool text_lstrip(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return strip(run, call, "lstrip", true, false, out);
}

static bool text_rstrip(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return strip(run, call, "rstrip", false, true, out);
}

static bool text_split(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"sep", "maxsplit", NULL};
    jinja_value given[2];
    const jinja_text *separator = NULL;
    int64_t limit = -1;
    if (!jinja_arguments(run, call, "split", names, 0, given) ||
        (given[0].kind != JINJA_ABSENT && given[0].kind != JINJA_NONE &&
         !jinja_expect_text(run, given[0], "split", &separator)))
        return false;
    if (given[1].kind != JINJA_ABSENT && !jinja_as_int(given[1], &limit))
        return jinja_fail(run, "split's maxsplit must be a whole number");
    return jinja_split(run, call->self.as.text, separator, limit, out);
}

static bool text_splitlines(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_text *text = call->self.as.text, newline = {.bytes = "\n", .length = 1};
    if (!no_arguments(run, call, "splitlines") || !jinja_split(run, text, &newline, -1, out))
        return false;
    bool open = text->length && text->bytes[text->length - 1] != '\n';
    return open || jinja_make_list(run, out->as.list->items, out->as.list->count - 1, out);
}

static bool matches(const jinja_text *text, const jinja_text *affix, bool at_end)
{
    return affix->length <= text->length &&
           memcmp(text->bytes + (at_end ? text->length - affix->length : 0), affix->bytes, affix->length) == 0;
}

/* startswith and endswith take a string or a tuple of them. */
static bool has_affix(jinja_run *run, const jinja_call *call, const char *what, bool at_end, jinja_value *out)
{
    static const char *const names[] = {"affix", NULL};
    jinja_value given;
    const jinja_text *affix;
    bool found = false;
    if (!jinja_arguments(run, call, what, names, 1, &given))
        return false;
    size_t count = given.kind == JINJA_TUPLE ? given.as.list->count : 1;
    for (size_t i = 0; i < count && !found; i++) {
        jinja_value v = given.kind == JINJA_TUPLE ? given.as.list->items[i] : given;
        if (!jinja_expect_text(run, v, what, &affix) || !jinja_steps(run, 1 + affix->length / 256))
            return false;
        found = matches(call->self.as.text, affix, at_end);
    }
    return verdict(out, found);
}

static bool text_startswith(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return has_affix(run, call, "startswith", false, out);
}

static bool text_endswith(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return has_affix(run, call, "endswith", true, out);
}

static bool text_removeprefix(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_text *text = call->self.as.text, *prefix;
    return one_text(run, call, "removeprefix", &prefix) &&
           jinja_slice_text(run, text, matches(text, prefix, false) ? prefix->length : 0, text->length, out);
}

static bool text_removesuffix(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_text *text = call->self.as.text, *suffix;
    return one_text(run, call, "removesuffix", &suffix) &&
           jinja_slice_text(run, text, 0, text->length - (matches(text, suffix, true) ? suffix->length : 0), out);
}

/* In characters; -1 where there is none. */
static bool text_find(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_text *text = call->self.as.text, *what;
    if (!one_text(run, call, "find", &what) || !jinja_steps(run, 1 + text->length / 64))
        return false;
    size_t at = jinja_find(text->bytes, text->length, 0, what->bytes, what->length);
    *out = jinja_int(at == SIZE_MAX ? -1 : (int64_t)jinja_characters(text->bytes, at));
    return true;
}

static bool text_count(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_text *text = call->self.as.text, *what;
    if (!one_text(run, call, "count", &what) || !jinja_steps(run, 1 + text->length / 16))
        return false;
    int64_t count = 0;
    if (what->length == 0)
        count = (int64_t)jinja_characters(text->bytes, text->length) + 1;
    else
        for (size_t at = 0; (at = jinja_find(text->bytes, text->length, at, what->bytes, what->length)) != SIZE_MAX;
             count++)
            at += what->length;
    *out = jinja_int(count);
    return true;
}

static bool text_replace(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"old", "new", "count", NULL};
    jinja_value given[3];
    const jinja_text *old, *with;
    int64_t limit = -1;
    if (!jinja_arguments(run, call, "replace", names, 2, given) || !jinja_expect_text(run, given[0], "replace", &old) ||
        !jinja_expect_text(run, given[1], "replace", &with))
        return false;
    if (given[2].kind != JINJA_ABSENT && !jinja_as_int(given[2], &limit))
        return jinja_fail(run, "replace's count must be a whole number");
    return jinja_replace(run, call->self.as.text, old, with, limit, out);
}

static bool text_join(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"iterable", NULL};
    jinja_value given;
    const jinja_value *items;
    const jinja_text *item;
    size_t count;
    jinja_builder b = {0};
    if (!jinja_arguments(run, call, "join", names, 1, &given) || !jinja_iterate(run, given, &items, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!jinja_steps(run, 1) || !jinja_expect_text(run, items[i], "join", &item) ||
            (i > 0 && !jinja_put_text(run, &b, call->self.as.text)) || !jinja_put_text(run, &b, item))
            return false;
    return jinja_finish(run, &b, out);
}

/* What one field of a format stands for: "" the next argument, a number that one, a name the one of that name. */
static bool format_field(jinja_run *run, const jinja_call *call, jinja_name field, size_t *next, jinja_value *out)
{
    size_t index = 0, digits = 0;
    while (digits < field.length && digits < 4 && field.bytes[digits] >= '0' && field.bytes[digits] <= '9')
        index = index * 10 + (size_t)(field.bytes[digits++] - '0');
    if (field.length == 0)
        index = (*next)++;
    for (size_t i = 0; digits != field.length && i < call->named_count; i++) {
        const jinja_text *name = call->named[i].key.as.text;
        if (name->length == field.length && memcmp(name->bytes, field.bytes, field.length) == 0) {
            *out = call->named[i].value;
            return true;
        }
    }
    if (digits != field.length || index >= call->count)
        return jinja_fail(run, "format has no value for {%.*s}", (int)(field.length < 64 ? field.length : 64), field.bytes);
    *out = call->arguments[index];
    return true;
}

/* Fields without conversions and formats: {} {0} {name}, and {{ }} for brackets. */
static bool text_format(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_text *text = call->self.as.text;
    jinja_builder b = {0};
    size_t next = 0;
    for (size_t at = 0, end; at < text->length; at = end) {
        char c = text->bytes[at];
        for (end = at; end < text->length && text->bytes[end] != '{' && text->bytes[end] != '}';)
            end++;
        if (!jinja_steps(run, 1 + (end - at) / 16) || !jinja_put_slice(run, &b, text, at, end))
            return false;
        if (end > at)
            continue;
        if (at + 1 < text->length && text->bytes[at + 1] == c) {
            end = at + 2;
            if (!jinja_put_slice(run, &b, text, at, at + 1))
                return false;
            continue;
        }
        const char *close = c == '{' ? memchr(text->bytes + at, '}', text->length - at) : NULL;
        if (!close)
            return jinja_fail(run, "format has a single bracket");
        jinja_value value;
        jinja_name field = {text->bytes + at + 1, (size_t)(close - text->bytes) - at - 1};
        if (!format_field(run, call, field, &next, &value) || !jinja_put_value(run, &b, value))
            return false;
        end = (size_t)(close - text->bytes) + 1;
    }
    return jinja_finish(run, &b, out);
}

static bool text_upper(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return no_arguments(run, call, "upper") && jinja_change_case(run, call->self.as.text, CASE_UPPER, out);
}

static bool text_lower(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return no_arguments(run, call, "lower") && jinja_change_case(run, call->self.as.text, CASE_LOWER, out);
}

static bool text_title(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return no_arguments(run, call, "title") && jinja_change_case(run, call->self.as.text, CASE_WORDS, out);
}

static bool text_capitalize(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return no_arguments(run, call, "capitalize") && jinja_change_case(run, call->self.as.text, CASE_CAPITALIZE, out);
}

/* Of ASCII, which is what templates ask it of. */
static bool text_isdigit(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_text *text = call->self.as.text;
    bool digits = text->length > 0;
    for (size_t i = 0; digits && i < text->length; i++)
        digits = text->bytes[i] >= '0' && text->bytes[i] <= '9';
    return no_arguments(run, call, "isdigit") && jinja_steps(run, 1 + text->length / 16) && verdict(out, digits);
}

/* --- lists and dicts -------------------------------------------------------------------------------------------------- */

static bool list_index(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"value", NULL};
    jinja_value wanted;
    if (!jinja_arguments(run, call, "index", names, 1, &wanted))
        return false;
    for (size_t i = 0; i < call->self.as.list->count; i++) {
        bool equal;
        if (!jinja_equal(run, call->self.as.list->items[i], wanted, &equal))
            return false;
        *out = jinja_int((int64_t)i);
        if (equal)
            return true;
    }
    return jinja_fail(run, "the value is not in the list");
}

static bool list_count(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"value", NULL};
    jinja_value wanted;
    int64_t count = 0;
    if (!jinja_arguments(run, call, "count", names, 1, &wanted))
        return false;
    for (size_t i = 0; i < call->self.as.list->count; i++) {
        bool equal;
        if (!jinja_equal(run, call->self.as.list->items[i], wanted, &equal))
            return false;
        count += equal;
    }
    *out = jinja_int(count);
    return true;
}

static bool dict_get(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"key", "default", NULL};
    jinja_value given[2], *value;
    if (!jinja_arguments(run, call, "get", names, 1, given) || !jinja_dict_get(run, call->self.as.dict, given[0], &value))
        return false;
    *out = value ? *value : given[1].kind == JINJA_ABSENT ? jinja_none() : given[1];
    return true;
}

static bool dict_items(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_dict *dict = call->self.as.dict;
    jinja_value *pairs = jinja_alloc(run, dict->count, sizeof *pairs);
    if (!pairs || !no_arguments(run, call, "items") || !jinja_steps(run, dict->count))
        return false;
    for (size_t i = 0; i < dict->count; i++)
        if (!jinja_make_pair(run, dict->pairs[i].key, dict->pairs[i].value, &pairs[i]))
            return false;
    return jinja_make_list(run, pairs, dict->count, out);
}

static bool dict_keys(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_value *keys;
    size_t count;
    return no_arguments(run, call, "keys") && jinja_iterate(run, call->self, &keys, &count) &&
           jinja_make_list(run, keys, count, out);
}

static bool dict_values(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_dict *dict = call->self.as.dict;
    jinja_value *values = jinja_alloc(run, dict->count, sizeof *values);
    if (!values || !no_arguments(run, call, "values") || !jinja_steps(run, dict->count))
        return false;
    for (size_t i = 0; i < dict->count; i++)
        values[i] = dict->pairs[i].value;
    return jinja_make_list(run, values, dict->count, out);
}

/* --- loops ------------------------------------------------------------------------------------------------------------ */

static bool loop_cycle(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    if (call->count == 0)
        return jinja_fail(run, "cycle needs something to cycle through");
    *out = call->arguments[call->self.as.loop->index % call->count];
    return true;
}

bool jinja_loop_attribute(jinja_value loop, jinja_name name, jinja_value *out)
{
    const jinja_loop *l = loop.as.loop;
    int64_t index = (int64_t)l->index, count = (int64_t)l->count;
    if (jinja_name_is(name, "index0"))
        *out = jinja_int(index);
    else if (jinja_name_is(name, "index"))
        *out = jinja_int(index + 1);
    else if (jinja_name_is(name, "revindex"))
        *out = jinja_int(count - index);
    else if (jinja_name_is(name, "revindex0"))
        *out = jinja_int(count - index - 1);
    else if (jinja_name_is(name, "length"))
        *out = jinja_int(count);
    else if (jinja_name_is(name, "depth"))
        *out = jinja_int(1); /* it counts recursive loops, which there are none of */
    else if (jinja_name_is(name, "depth0"))
        *out = jinja_int(0);
    else if (jinja_name_is(name, "first"))
        *out = jinja_bool(index == 0);
    else if (jinja_name_is(name, "last"))
        *out = jinja_bool(index + 1 == count);
    else if (jinja_name_is(name, "previtem"))
        return *out = index > 0 ? l->items[index - 1] : jinja_undefined(), true;
    else if (jinja_name_is(name, "nextitem"))
        return *out = index + 1 < count ? l->items[index + 1] : jinja_undefined(), true;
    else
        return false;
    out->trusted = true;
    return true;
}

static const jinja_entry text_methods[] = {
    {"strip", text_strip},
    {"lstrip", text_lstrip},
    {"rstrip", text_rstrip},
    {"split", text_split},
    {"splitlines", text_splitlines},
    {"startswith", text_startswith},
    {"endswith", text_endswith},
    {"removeprefix", text_removeprefix},
    {"removesuffix", text_removesuffix},
    {"find", text_find},
    {"count", text_count},
    {"replace", text_replace},
    {"join", text_join},
    {"upper", text_upper},
    {"lower", text_lower},
    {"title", text_title},
    {"capitalize", text_capitalize},
    {"isdigit", text_isdigit},
    {"format", text_format},
    {NULL, NULL},
};
static const jinja_entry list_methods[] = {{"index", list_index}, {"count", list_count}, {NULL, NULL}};
static const jinja_entry dict_methods[] = {
    {"get", dict_get}, {"items", dict_items}, {"keys", dict_keys}, {"values", dict_values}, {NULL, NULL},
};
static const jinja_entry loop_methods[] = {{"cycle", loop_cycle}, {NULL, NULL}};

const jinja_entry *jinja_method(jinja_value v, jinja_name name)
{
    switch ((jinja_kind)v.kind) {
    case JINJA_TEXT:
        return jinja_find_entry(text_methods, name);
    case JINJA_LIST:
    case JINJA_TUPLE:
        return jinja_find_entry(list_methods, name);
    case JINJA_DICT:
        return jinja_find_entry(dict_methods, name);
    case JINJA_LOOP:
        return jinja_find_entry(loop_methods, name);
    default:
        return NULL;
    }
}
