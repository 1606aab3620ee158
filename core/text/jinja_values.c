/* jinja_values: making values and asking them for truth, equality, order, length and members; and what every file that runs
 * a template pays its steps and memory with. */
#include "base/checked.h"
#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- failing and paying ----------------------------------------------------------------------------------------------- */

bool jinja_fail(jinja_run *run, const char *format, ...)
{
    if (run->status != BP_OK)
        return false;
    char message[440];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    run->status = error_set(run->error, BP_EINVAL, "chat template line %u: %s", run->line, message);
    return false;
}

bool jinja_fail_limit(jinja_run *run, const char *what)
{
    if (run->status == BP_OK)
        run->status = error_set(run->error, BP_ELIMIT, "chat template line %u: the template %s", run->line, what);
    return false;
}

bool jinja_steps(jinja_run *run, uint64_t count)
{
    if (run->status != BP_OK)
        return false;
    if (count > run->steps) {
        run->steps = 0;
        return jinja_fail_limit(run, "takes more steps than its limit allows");
    }
    run->steps -= count;
    return true;
}

bool jinja_enter(jinja_run *run)
{
    if (run->depth == JINJA_MAX_DEPTH)
        return jinja_fail_limit(run, "calls itself, or has a value nested, too deeply");
    run->depth++;
    return true;
}

void jinja_leave(jinja_run *run)
{
    run->depth--;
}

void *jinja_alloc(jinja_run *run, size_t count, size_t size)
{
    size_t bytes;
    if (!checked_mul(count, size, &bytes) || bytes > JINJA_MAX_MEMORY - run->allocated) {
        jinja_fail_limit(run, "needs more memory than its limit of 256 MiB");
        return NULL;
    }
    if (!jinja_steps(run, bytes / 256))
        return NULL;
    run->allocated += bytes;
    void *memory = arena_alloc(run->memory, bytes ? bytes : 1);
    if (!memory && run->status == BP_OK)
        run->status = error_set(run->error, BP_ENOMEM, "out of memory for a chat template");
    return memory;
}

/* --- making ----------------------------------------------------------------------------------------------------------- */

bool jinja_make_text(jinja_run *run, const char *bytes, size_t length, bool trusted, jinja_value *out)
{
    jinja_text *text = jinja_alloc(run, 1, sizeof *text);
    if (!text)
        return false;
    *text = (jinja_text){.bytes = bytes, .length = length, .trusted = trusted};
    *out = jinja_from_text(text);
    return true;
}

bool jinja_make_missing(jinja_run *run, const char *owner, jinja_name name, jinja_value *out)
{
    jinja_missing *missing = jinja_alloc(run, 1, sizeof *missing);
    if (!missing)
        return false;
    *missing = (jinja_missing){owner, name};
    *out = (jinja_value){.kind = JINJA_UNDEFINED, .as.missing = missing};
    return true;
}

bool jinja_make_list(jinja_run *run, const jinja_value *items, size_t count, jinja_value *out)
{
    jinja_list *list = jinja_alloc(run, 1, sizeof *list);
    if (!list)
        return false;
    *list = (jinja_list){items, count};
    *out = (jinja_value){.kind = JINJA_LIST, .as.list = list};
    return true;
}

bool jinja_make_pair(jinja_run *run, jinja_value first, jinja_value second, jinja_value *out)
{
    jinja_value *items = jinja_alloc(run, 2, sizeof *items);
    if (!items || !jinja_make_list(run, items, 2, out))
        return false;
    items[0] = first;
    items[1] = second;
    out->kind = JINJA_TUPLE;
    return true;
}

bool jinja_make_dict(jinja_run *run, size_t capacity, jinja_value *out)
{
    jinja_dict *dict = jinja_alloc(run, 1, sizeof *dict);
    if (!dict || !(dict->pairs = jinja_alloc(run, capacity, sizeof *dict->pairs)))
        return false;
    dict->capacity = capacity;
    *out = (jinja_value){.kind = JINJA_DICT, .as.dict = dict};
    return true;
}

bool jinja_push(jinja_run *run, jinja_values *values, jinja_value value)
{
    if (values->count == values->capacity) {
        size_t capacity = values->capacity ? values->capacity * 2 : 8;
        jinja_value *items = jinja_alloc(run, capacity, sizeof *items);
        if (!items)
            return false;
        if (values->count)
            memcpy(items, values->items, values->count * sizeof *items);
        values->items = items;
        values->capacity = capacity;
    }
    values->items[values->count++] = value;
    return true;
}

/* --- asking ----------------------------------------------------------------------------------------------------------- */

const char *jinja_type_name(jinja_value v)
{
    switch ((jinja_kind)v.kind) {
    case JINJA_NONE:
        return "NoneType";
    case JINJA_BOOL:
        return "bool";
    case JINJA_INT:
        return "int";
    case JINJA_FLOAT:
        return "float";
    case JINJA_TEXT:
        return "str";
    case JINJA_LIST:
        return "list";
    case JINJA_TUPLE:
        return "tuple";
    case JINJA_DICT:
        return "dict";
    case JINJA_NAMESPACE:
        return "Namespace";
    case JINJA_LOOP:
        return "LoopContext";
    case JINJA_CALLABLE:
        return "function";
    default:
        return "Undefined";
    }
}

bool jinja_truth(jinja_value v)
{
    switch ((jinja_kind)v.kind) {
    case JINJA_ABSENT:
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return v.as.truth;
    case JINJA_INT:
        return v.as.integer != 0;
    case JINJA_FLOAT:
        return v.as.number != 0.0;
    case JINJA_TEXT:
        return v.as.text->length != 0;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return v.as.list->count != 0;
    case JINJA_DICT:
        return v.as.dict->count != 0;
    default:
        return true;
    }
}

bool jinja_as_int(jinja_value v, int64_t *out)
{
    if (v.kind != JINJA_BOOL && v.kind != JINJA_INT)
        return false;
    *out = v.kind == JINJA_BOOL ? v.as.truth : v.as.integer;
    return true;
}

double jinja_as_float(jinja_value v)
{
    return v.kind == JINJA_FLOAT ? v.as.number : v.kind == JINJA_BOOL ? (double)v.as.truth : (double)v.as.integer;
}

bool jinja_fail_undefined(jinja_run *run, jinja_value v)
{
    const jinja_missing *missing = v.kind == JINJA_UNDEFINED ? v.as.missing : NULL;
    if (!missing)
        return jinja_fail(run, "a value that is undefined is used");
    int length = (int)(missing->name.length < 128 ? missing->name.length : 128);
    if (!missing->owner)
        return jinja_fail(run, "'%.*s' is undefined", length, missing->name.bytes);
    if (length == 0)
        return jinja_fail(run, "%s has no such element", missing->owner);
    return jinja_fail(run, "'%s' has no attribute '%.*s'", missing->owner, length, missing->name.bytes);
}

static bool same_text(const jinja_text *a, const jinja_text *b)
{
    return a->length == b->length && (a->bytes == b->bytes || memcmp(a->bytes, b->bytes, a->length) == 0);
}

static bool equal_lists(jinja_run *run, const jinja_list *a, const jinja_list *b, bool *out)
{
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++)
        if (!jinja_equal(run, a->items[i], b->items[i], out))
            return false;
    return true;
}

static bool equal_dicts(jinja_run *run, const jinja_dict *a, const jinja_dict *b, bool *out)
{
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++) {
        jinja_value *other;
        if (!jinja_dict_get(run, b, a->pairs[i].key, &other))
            return false;
        *out = other != NULL;
        if (other && !jinja_equal(run, a->pairs[i].value, *other, out))
            return false;
    }
    return true;
}

static bool equal_containers(jinja_run *run, jinja_value a, jinja_value b, bool *out)
{
    if (!jinja_enter(run))
        return false;
    bool ok = jinja_is_list(a) ? equal_lists(run, a.as.list, b.as.list, out) : equal_dicts(run, a.as.dict, b.as.dict, out);
    jinja_leave(run);
    return ok;
}

bool jinja_equal(jinja_run *run, jinja_value a, jinja_value b, bool *out)
{
    if (!jinja_steps(run, 1))
        return false;
    *out = false;
    if (jinja_is_number(a) && jinja_is_number(b)) {
        int64_t x, y;
        *out = jinja_as_int(a, &x) && jinja_as_int(b, &y) ? x == y : jinja_as_float(a) == jinja_as_float(b);
        return true;
    }
    if (a.kind != b.kind)
        return true;
    switch ((jinja_kind)a.kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        *out = true;
        return true;
    case JINJA_TEXT:
        *out = same_text(a.as.text, b.as.text);
        return jinja_steps(run, a.as.text->length / 256);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
        *out = jinja_is_list(a) ? a.as.list == b.as.list : a.as.dict == b.as.dict;
        return *out || equal_containers(run, a, b, out);
    case JINJA_NAMESPACE:
        *out = a.as.dict == b.as.dict;
        return true;
    case JINJA_LOOP:
        *out = a.as.loop == b.as.loop;
        return true;
    case JINJA_CALLABLE:
        *out = a.as.callable == b.as.callable;
        return true;
    default:
        return true;
    }
}

static int order_text(const jinja_text *a, const jinja_text *b)
{
    size_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->bytes, b->bytes, shorter); /* of UTF-8: the order of the characters */
    return order < 0 ? -1 : order > 0 ? 1 : a->length < b->length ? -1 : a->length > b->length;
}

static bool order_lists(jinja_run *run, const jinja_list *a, const jinja_list *b, const char *op, int *out)
{
    if (!jinja_enter(run))
        return false;
    bool equal = true, ok = true;
    size_t i = 0;
    while (ok && equal && i < a->count && i < b->count)
        if ((ok = jinja_equal(run, a->items[i], b->items[i], &equal)) && equal)
            i++;
    if (ok && !equal)
        ok = jinja_order(run, a->items[i], b->items[i], op, out);
    else
        *out = a->count < b->count ? -1 : a->count > b->count;
    jinja_leave(run);
    return ok;
}

bool jinja_order(jinja_run *run, jinja_value a, jinja_value b, const char *op, int *out)
{
    if (!jinja_steps(run, 1))
        return false;
    int64_t x, y;
    if (jinja_as_int(a, &x) && jinja_as_int(b, &y)) {
        *out = x < y ? -1 : x > y;
    } else if (jinja_is_number(a) && jinja_is_number(b)) {
        double left = jinja_as_float(a), right = jinja_as_float(b);
        *out = isnan(left) || isnan(right) ? 2 : left < right ? -1 : left > right;
    } else if (a.kind == JINJA_TEXT && b.kind == JINJA_TEXT) {
        *out = order_text(a.as.text, b.as.text);
        return jinja_steps(run, a.as.text->length / 256);
    } else if (jinja_is_list(a) && a.kind == b.kind) {
        return order_lists(run, a.as.list, b.as.list, op, out);
    } else if (a.kind == JINJA_UNDEFINED || b.kind == JINJA_UNDEFINED) {
        return jinja_fail_undefined(run, a.kind == JINJA_UNDEFINED ? a : b);
    } else {
        return jinja_fail(run, "'%s' is not supported between '%s' and '%s'", op, jinja_type_name(a), jinja_type_name(b));
    }
    return true;
}

bool jinja_contains(jinja_run *run, jinja_value item, jinja_value container, bool *out)
{
    *out = false;
    if (container.kind == JINJA_TEXT) {
        const jinja_text *text = container.as.text;
        if (item.kind != JINJA_TEXT)
            return jinja_fail(run, "'in <string>' requires string as left operand, not %s", jinja_type_name(item));
        *out = jinja_find(text->bytes, text->length, 0, item.as.text->bytes, item.as.text->length) != SIZE_MAX;
        return jinja_steps(run, 1 + text->length / 64);
    }
    if (container.kind == JINJA_DICT) {
        jinja_value *found;
        bool ok = jinja_dict_get(run, container.as.dict, item, &found);
        *out = ok && found;
        return ok;
    }
    if (jinja_is_list(container)) {
        for (size_t i = 0; !*out && i < container.as.list->count; i++)
            if (!jinja_equal(run, item, container.as.list->items[i], out))
                return false;
        return true;
    }
    return container.kind == JINJA_UNDEFINED ||
           jinja_fail(run, "argument of type '%s' is not iterable", jinja_type_name(container));
}

bool jinja_length(jinja_run *run, jinja_value v, int64_t *out)
{
    switch ((jinja_kind)v.kind) {
    case JINJA_UNDEFINED:
        *out = 0;
        return true;
    case JINJA_TEXT:
        *out = (int64_t)jinja_characters(v.as.text->bytes, v.as.text->length);
        return jinja_steps(run, v.as.text->length / 256);
    case JINJA_LIST:
    case JINJA_TUPLE:
        *out = (int64_t)v.as.list->count;
        return true;
    case JINJA_DICT:
        *out = (int64_t)v.as.dict->count;
        return true;
    case JINJA_LOOP:
        *out = (int64_t)v.as.loop->count;
        return true;
    default:
        return jinja_fail(run, "an object of type '%s' has no length", jinja_type_name(v));
    }
}

static bool characters_of(jinja_run *run, const jinja_text *text, const jinja_value **items, size_t *count)
{
    jinja_values values = {0};
    for (size_t at = 0; at < text->length;) {
        int32_t code;
        size_t length = utf8_decode(text->bytes + at, text->length - at, &code);
        jinja_value character;
        if (!jinja_steps(run, 1) || !jinja_slice_text(run, text, at, at + length, &character) ||
            !jinja_push(run, &values, character))
            return false;
        at += length;
    }
    *items = values.items;
    *count = values.count;
    return true;
}

static bool keys_of(jinja_run *run, const jinja_dict *dict, const jinja_value **items, size_t *count)
{
    jinja_value *keys = jinja_alloc(run, dict->count, sizeof *keys);
    if (!keys || !jinja_steps(run, dict->count))
        return false;
    for (size_t i = 0; i < dict->count; i++)
        keys[i] = dict->pairs[i].key;
    *items = keys;
    *count = dict->count;
    return true;
}

bool jinja_iterate(jinja_run *run, jinja_value v, const jinja_value **items, size_t *count)
{
    *items = NULL;
    *count = 0;
    if (v.kind == JINJA_UNDEFINED)
        return true;
    if (v.kind == JINJA_TEXT)
        return characters_of(run, v.as.text, items, count);
    if (v.kind == JINJA_DICT)
        return keys_of(run, v.as.dict, items, count);
    if (!jinja_is_list(v))
        return jinja_fail(run, "'%s' object is not iterable", jinja_type_name(v));
    *items = v.as.list->items;
    *count = v.as.list->count;
    return true;
}
