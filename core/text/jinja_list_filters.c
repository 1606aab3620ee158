/* jinja_list_filters: the filters of lists and dicts. A generator of Jinja's is a list here. */
#include "text/jinja.h"

#include <string.h>

static bool no_arguments(jinja_run *run, const jinja_call *call, const char *what)
{
    static const char *const none[] = {NULL};
    jinja_value unused;
    return jinja_arguments(run, call, what, none, 0, &unused);
}

static bool is_given(jinja_value v)
{
    return v.kind != JINJA_ABSENT && v.kind != JINJA_NONE;
}

/* --- order ------------------------------------------------------------------------------------------------------------ */

typedef struct keyed {
    jinja_value key, item;
} keyed;

/* What an item is compared by: its attribute, if there is one, in lower case unless case counts. */
static bool sort_key(jinja_run *run, jinja_value item, jinja_value attribute, bool fold, jinja_value *out)
{
    *out = item;
    if (is_given(attribute) && !jinja_path(run, item, attribute, out))
        return false;
    return !fold || out->kind != JINJA_TEXT || jinja_change_case(run, out->as.text, CASE_LOWER, out);
}

/* Merges two sorted neighbours list[0, middle) and list[middle, count) by way of scratch[middle]. */
static bool merge_halves(jinja_run *run, keyed *list, size_t middle, size_t count, keyed *scratch, bool reverse)
{
    memcpy(scratch, list, middle * sizeof *list);
    size_t left = 0, right = middle, to = 0;
    while (left < middle && right < count) {
        int order = 0;
        bool missing = list[right].key.kind == JINJA_UNDEFINED && scratch[left].key.kind == JINJA_UNDEFINED;
        if (!missing && !jinja_order(run, list[right].key, scratch[left].key, "<", &order))
            return false;
        bool right_first = order != 2 && (reverse ? order > 0 : order < 0);
        list[to++] = right_first ? list[right++] : scratch[left++];
    }
    memcpy(list + to, scratch + left, (middle - left) * sizeof *list);
    return true;
}

/* Stable, also in reverse, as Python sorts. */
static bool sort_list(jinja_run *run, keyed *list, size_t count, keyed *scratch, bool reverse)
{
    size_t middle = count / 2;
    return count < 2 || (sort_list(run, list, middle, scratch, reverse) &&
                         sort_list(run, list + middle, count - middle, scratch, reverse) &&
                         merge_halves(run, list, middle, count, scratch, reverse));
}

/* items[count] in the order of their keys, as a list. */
static bool sorted(jinja_run *run, const jinja_value *items, size_t count, jinja_value attribute, bool fold, bool reverse,
                   jinja_value *out)
{
    keyed *list = jinja_alloc(run, count, sizeof *list), *scratch = list ? jinja_alloc(run, count, sizeof *list) : NULL;
    jinja_value *result = scratch ? jinja_alloc(run, count, sizeof *result) : NULL;
    if (!result)
        return false;
    for (size_t i = 0; i < count; i++) {
        list[i].item = items[i];
        if (!sort_key(run, items[i], attribute, fold, &list[i].key))
            return false;
    }
    if (!sort_list(run, list, count, scratch, reverse))
        return false;
    for (size_t i = 0; i < count; i++)
        result[i] = list[i].item;
    return jinja_make_list(run, result, count, out);
}

static bool filter_sort(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"reverse", "case_sensitive", "attribute", NULL};
    jinja_value given[3];
    const jinja_value *items;
    size_t count;
    return jinja_arguments(run, call, "sort", names, 0, given) && jinja_iterate(run, call->self, &items, &count) &&
           sorted(run, items, count, given[2], !jinja_truth(given[1]), jinja_truth(given[0]), out);
}

/* --- dicts ------------------------------------------------------------------------------------------------------------ */

static bool pairs_of(jinja_run *run, jinja_value v, const char *what, jinja_values *pairs)
{
    if (v.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, v);
    if (v.kind != JINJA_DICT)
        return jinja_fail(run, "%s needs a mapping, not %s", what, jinja_type_name(v));
    for (size_t i = 0; i < v.as.dict->count; i++) {
        jinja_value pair;
        if (!jinja_steps(run, 1) || !jinja_make_pair(run, v.as.dict->pairs[i].key, v.as.dict->pairs[i].value, &pair) ||
            !jinja_push(run, pairs, pair))
            return false;
    }
    return true;
}

static bool filter_items(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    jinja_values pairs = {0};
    return no_arguments(run, call, "items") &&
           (call->self.kind == JINJA_UNDEFINED || pairs_of(run, call->self, "items", &pairs)) &&
           jinja_make_list(run, pairs.items, pairs.count, out);
}

static bool filter_dictsort(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"case_sensitive", "by", "reverse", NULL};
    jinja_value given[3];
    jinja_values pairs = {0};
    if (!jinja_arguments(run, call, "dictsort", names, 0, given) || !pairs_of(run, call->self, "dictsort", &pairs))
        return false;
    bool by_value = given[1].kind == JINJA_TEXT &&
                    jinja_name_is((jinja_name){given[1].as.text->bytes, given[1].as.text->length}, "value");
    return sorted(run, pairs.items, pairs.count, jinja_int(by_value), !jinja_truth(given[0]), jinja_truth(given[2]), out);
}

/* --- lists ------------------------------------------------------------------------------------------------------------ */

static bool filter_list(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_value *items;
    size_t count;
    return no_arguments(run, call, "list") && jinja_iterate(run, call->self, &items, &count) &&
           jinja_make_list(run, items, count, out);
}

static bool filter_first(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_value *items;
    size_t count;
    if (!no_arguments(run, call, "first") || !jinja_iterate(run, call->self, &items, &count))
        return false;
    *out = count ? items[0] : jinja_undefined();
    return true;
}

static bool filter_last(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_value *items;
    size_t count;
    if (!no_arguments(run, call, "last") || !jinja_iterate(run, call->self, &items, &count))
        return false;
    *out = count ? items[count - 1] : jinja_undefined();
    return true;
}

static bool filter_reverse(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_value bounds[3] = {jinja_none(), jinja_none(), jinja_int(-1)};
    const jinja_value *items;
    size_t count;
    if (!no_arguments(run, call, "reverse"))
        return false;
    if (call->self.kind == JINJA_TEXT)
        return jinja_slice(run, call->self, bounds, out);
    jinja_value list;
    return jinja_iterate(run, call->self, &items, &count) && jinja_make_list(run, items, count, &list) &&
           jinja_slice(run, list, bounds, out);
}

static bool filter_join(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"d", "attribute", NULL};
    jinja_value given[2];
    const jinja_value *items;
    size_t count;
    jinja_builder b = {0};
    if (!jinja_arguments(run, call, "join", names, 0, given) || !jinja_iterate(run, call->self, &items, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        jinja_value item = items[i];
        if (!jinja_steps(run, 1) || (is_given(given[1]) && !jinja_path(run, item, given[1], &item)) ||
            (i > 0 && given[0].kind != JINJA_ABSENT && !jinja_put_value(run, &b, given[0])) ||
            !jinja_put_value(run, &b, item))
            return false;
    }
    return jinja_finish(run, &b, out);
}

static bool filter_unique(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"case_sensitive", "attribute", NULL};
    jinja_value given[2];
    const jinja_value *items;
    size_t count;
    jinja_values kept = {0}, seen = {0};
    if (!jinja_arguments(run, call, "unique", names, 0, given) || !jinja_iterate(run, call->self, &items, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        jinja_value key;
        bool known = false;
        if (!sort_key(run, items[i], given[1], !jinja_truth(given[0]), &key))
            return false;
        for (size_t k = 0; k < seen.count && !known; k++)
            if (!jinja_equal(run, seen.items[k], key, &known))
                return false;
        if (!known && (!jinja_push(run, &seen, key) || !jinja_push(run, &kept, items[i])))
            return false;
    }
    return jinja_make_list(run, kept.items, kept.count, out);
}

/* The least item, or the greatest where `sign` is -1. */
static bool extreme(jinja_run *run, const jinja_call *call, const char *what, int sign, jinja_value *out)
{
    static const char *const names[] = {"case_sensitive", "attribute", NULL};
    jinja_value given[2], best = {0};
    const jinja_value *items;
    size_t count;
    if (!jinja_arguments(run, call, what, names, 0, given) || !jinja_iterate(run, call->self, &items, &count))
        return false;
    *out = jinja_undefined();
    for (size_t i = 0; i < count; i++) {
        jinja_value key;
        int order = 0;
        if (!sort_key(run, items[i], given[1], !jinja_truth(given[0]), &key) ||
            (i > 0 && !jinja_order(run, key, best, "<", &order)))
            return false;
        if (i == 0 || (order != 2 && order * sign < 0)) {
            best = key;
            *out = items[i];
        }
    }
    return true;
}

static bool filter_min(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return extreme(run, call, "min", 1, out);
}

static bool filter_max(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return extreme(run, call, "max", -1, out);
}

static bool filter_sum(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"attribute", "start", NULL};
    jinja_value given[2];
    const jinja_value *items;
    size_t count;
    if (!jinja_arguments(run, call, "sum", names, 0, given) || !jinja_iterate(run, call->self, &items, &count))
        return false;
    *out = given[1].kind == JINJA_ABSENT ? jinja_int(0) : given[1];
    for (size_t i = 0; i < count; i++) {
        jinja_value item = items[i];
        if (!jinja_steps(run, 1) || (is_given(given[0]) && !jinja_path(run, item, given[0], &item)) ||
            !jinja_binary(run, '+', *out, item, out))
            return false;
    }
    return true;
}

/* --- picking ---------------------------------------------------------------------------------------------------------- */

/* What picking and mapping walk over: anything empty is nothing to them, none too. */
static bool iterate_any(jinja_run *run, jinja_value v, const jinja_value **items, size_t *count)
{
    return jinja_iterate(run, jinja_truth(v) ? v : jinja_undefined(), items, count);
}

/* map(attribute=…, default=…), or map('filter', arguments…). */
static bool map_attribute(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"attribute", "default", NULL};
    jinja_value given[2];
    const jinja_value *items;
    size_t count;
    jinja_values mapped = {0};
    if (!jinja_arguments(run, call, "map", names, 1, given) || !iterate_any(run, call->self, &items, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        jinja_value item;
        if (!jinja_steps(run, 1) || !jinja_path(run, items[i], given[0], &item))
            return false;
        if (item.kind == JINJA_UNDEFINED && given[1].kind != JINJA_ABSENT)
            item = given[1];
        if (!jinja_push(run, &mapped, item))
            return false;
    }
    return jinja_make_list(run, mapped.items, mapped.count, out);
}

/* The filter or test that an argument names. */
static const jinja_entry *named_entry(jinja_run *run, jinja_value name, bool test)
{
    const jinja_text *text;
    if (!jinja_expect_text(run, name, test ? "the name of a test" : "the name of a filter", &text))
        return NULL;
    jinja_name key = {text->bytes, text->length};
    const jinja_entry *entry = test ? jinja_find_test(key) : jinja_find_filter(key);
    if (!entry)
        jinja_fail(run, "the %s \"%.*s\" is not known", test ? "test" : "filter", (int)(key.length < 64 ? key.length : 64),
                   key.bytes);
    return entry;
}

/* One level deeper, because map may name map. */
static bool call_entry(jinja_run *run, const jinja_entry *entry, const jinja_call *call, jinja_value *out)
{
    if (!jinja_enter(run))
        return false;
    bool ok = jinja_steps(run, 1) && entry->function(run, call, out);
    jinja_leave(run);
    return ok;
}

static bool filter_map(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_value *items;
    size_t count;
    jinja_values mapped = {0};
    if (call->count == 0)
        return map_attribute(run, call, out);
    const jinja_entry *entry = named_entry(run, call->arguments[0], false);
    if (!entry || !iterate_any(run, call->self, &items, &count))
        return false;
    jinja_call each = {
        .arguments = call->arguments + 1, .count = call->count - 1, .named = call->named, .named_count = call->named_count};
    for (size_t i = 0; i < count; i++) {
        jinja_value item;
        each.self = items[i];
        if (!call_entry(run, entry, &each, &item) || !jinja_push(run, &mapped, item))
            return false;
    }
    return jinja_make_list(run, mapped.items, mapped.count, out);
}

/* select, reject, selectattr and rejectattr: the items, or their attribute, for which a test holds or does not. */
static bool pick(jinja_run *run, const jinja_call *call, const char *what, bool by_attribute, bool wanted, jinja_value *out)
{
    const jinja_value *items;
    size_t count, first = by_attribute;
    jinja_values kept = {0};
    if (call->count < first)
        return jinja_fail(run, "%s needs the name of an attribute", what);
    const jinja_entry *test = call->count > first ? named_entry(run, call->arguments[first], true) : NULL;
    if (run->status != BP_OK || !iterate_any(run, call->self, &items, &count))
        return false;
    jinja_call each = {.named = call->named, .named_count = call->named_count};
    if (test) {
        each.arguments = call->arguments + first + 1;
        each.count = call->count - first - 1;
    }
    for (size_t i = 0; i < count; i++) {
        jinja_value verdict = items[i];
        if (!jinja_steps(run, 1) || (by_attribute && !jinja_path(run, items[i], call->arguments[0], &verdict)))
            return false;
        each.self = verdict;
        if ((test && !call_entry(run, test, &each, &verdict)) ||
            (jinja_truth(verdict) == wanted && !jinja_push(run, &kept, items[i])))
            return false;
    }
    return jinja_make_list(run, kept.items, kept.count, out);
}

static bool filter_select(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return pick(run, call, "select", false, true, out);
}

static bool filter_reject(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return pick(run, call, "reject", false, false, out);
}

static bool filter_selectattr(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return pick(run, call, "selectattr", true, true, out);
}

static bool filter_rejectattr(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return pick(run, call, "rejectattr", true, false, out);
}

const jinja_entry jinja_list_filters[] = {
    {"list", filter_list},
    {"first", filter_first},
    {"last", filter_last},
    {"reverse", filter_reverse},
    {"join", filter_join},
    {"items", filter_items},
    {"dictsort", filter_dictsort},
    {"sort", filter_sort},
    {"unique", filter_unique},
    {"min", filter_min},
    {"max", filter_max},
    {"sum", filter_sum},
    {"map", filter_map},
    {"select", filter_select},
    {"reject", filter_reject},
    {"selectattr", filter_selectattr},
    {"rejectattr", filter_rejectattr},
    {NULL, NULL},
};
