/* jinja_json: JSON values as template values, and tojson, which writes as Python's json.dumps does with transformers'
 * settings: no ASCII escapes, the order of keys kept.
 *
 * The brackets, quotes and commas that it writes are untrusted; the text inside keeps its marks. */
#include "base/utf8.h"
#include "text/jinja.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool jinja_parse_float(const char *bytes, size_t length, double *out)
{
    json_t *json = json_loadb(bytes, length, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    bool number = json_is_real(json);
    if (number)
        *out = json_real_value(json);
    json_decref(json);
    return number;
}

/* --- in --------------------------------------------------------------------------------------------------------------- */

static bool list_from_json(jinja_run *run, const json_t *json, jinja_value *out)
{
    size_t count = json_array_size(json);
    jinja_value *items = jinja_alloc(run, count, sizeof *items);
    if (!items || !jinja_make_list(run, items, count, out))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!jinja_from_json(run, json_array_get(json, i), &items[i]))
            return false;
    return true;
}

static bool dict_from_json(jinja_run *run, const json_t *json, jinja_value *out)
{
    size_t count = json_object_size(json), n = 0;
    if (!jinja_make_dict(run, count, out))
        return false;
    jinja_pair *pairs = out->as.dict->pairs;
    json_t *object = (json_t *)json; /* iteration changes nothing in it, but jansson wants it so */
    for (void *at = json_object_iter(object); at && n < count; at = json_object_iter_next(object, at), n++) {
        const char *key = json_object_iter_key(at);
        if (!jinja_make_text(run, key, strlen(key), false, &pairs[n].key) ||
            !jinja_from_json(run, json_object_iter_value(at), &pairs[n].value))
            return false;
    }
    out->as.dict->count = n;
    return true;
}

bool jinja_from_json(jinja_run *run, const json_t *json, jinja_value *out)
{
    bool ok = true;
    if (!jinja_steps(run, 1) || !jinja_enter(run))
        return false;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        ok = dict_from_json(run, json, out);
        break;
    case JSON_ARRAY:
        ok = list_from_json(run, json, out);
        break;
    case JSON_STRING:
        ok = jinja_make_text(run, json_string_value(json), json_string_length(json), false, out);
        break;
    case JSON_INTEGER:
        *out = jinja_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = jinja_float(json_real_value(json));
        break;
    case JSON_TRUE:
        *out = jinja_bool(true);
        break;
    case JSON_FALSE:
        *out = jinja_bool(false);
        break;
    default:
        *out = jinja_none();
    }
    jinja_leave(run);
    return ok;
}

/* Roles that a template may put into the spelling of a special token: "<|" + role + "|>". Any other would let a request
 * write "im_end" there. */
static bool is_known_role(const jinja_text *role)
{
    static const char *const known[] = {"system", "developer", "user", "assistant", "tool", "function", "ipython", "model"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (jinja_name_is((jinja_name){role->bytes, role->length}, known[i]))
            return true;
    return false;
}

bool jinja_messages_from_json(jinja_run *run, const json_t *json, jinja_value *out)
{
    if (!jinja_from_json(run, json, out))
        return false;
    for (size_t i = 0; out->kind == JINJA_LIST && i < out->as.list->count; i++) {
        jinja_value message = out->as.list->items[i], *role;
        if (message.kind != JINJA_DICT)
            continue;
        if (!jinja_dict_find(run, message.as.dict, (jinja_name){"role", 4}, &role))
            return false;
        if (role && role->kind == JINJA_TEXT && is_known_role(role->as.text) &&
            !jinja_make_text(run, role->as.text->bytes, role->as.text->length, true, role))
            return false;
    }
    return true;
}

/* --- out -------------------------------------------------------------------------------------------------------------- */

typedef struct json_style {
    int64_t indent;       /* -1: on one line */
    jinja_text item, key; /* what stands between items, and between a key and its value */
    bool ascii, sort;
} json_style;

typedef struct json_writer {
    jinja_run *run;
    jinja_builder out;
    json_style style;
    int64_t level;
} json_writer;

static bool write_value(json_writer *w, jinja_value v);

static bool write_word(json_writer *w, const char *word)
{
    return jinja_put(w->run, &w->out, word, strlen(word), false);
}

/* The escape of a character; "" where it stands for itself. */
static void escape_json(int32_t code, bool ascii, char out[16])
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    out[0] = '\0';
    const char *simple = code > 0 && code < 0x80 ? strchr(from, code) : NULL;
    if (simple)
        snprintf(out, 16, "\\%c", to[simple - from]);
    else if (code < 0x20 || (ascii && code > 0x7E && code < 0x10000))
        snprintf(out, 16, "\\u%04x", (unsigned)code);
    else if (ascii && code >= 0x10000)
        snprintf(out, 16, "\\u%04x\\u%04x", 0xD800 + (unsigned)((code - 0x10000) >> 10), 0xDC00 + (unsigned)(code & 0x3FF));
}

static bool write_text(json_writer *w, const jinja_text *text)
{
    size_t from = 0;
    if (!write_word(w, "\"") || !jinja_steps(w->run, text->length / 16))
        return false;
    for (size_t at = 0; at < text->length;) {
        int32_t code = (unsigned char)text->bytes[at];
        size_t length = 1;
        char escape[16];
        if (code >= 0x80)
            length = utf8_decode(text->bytes + at, text->length - at, &code);
        escape_json(code, w->style.ascii, escape);
        if (*escape) {
            if (!jinja_put_slice(w->run, &w->out, text, from, at) ||
                !jinja_put(w->run, &w->out, escape, strlen(escape), jinja_trusted(text, at)))
                return false;
            from = at + length;
        }
        at += length;
    }
    return jinja_put_slice(w->run, &w->out, text, from, text->length) && write_word(w, "\"");
}

/* A new line at the current level, when lines are asked for. */
static bool write_line(json_writer *w)
{
    if (w->style.indent < 0)
        return true;
    if (!write_word(w, "\n"))
        return false;
    for (int64_t i = 0; i < w->style.indent * w->level; i++)
        if (!jinja_steps(w->run, 1) || !write_word(w, " "))
            return false;
    return true;
}

static bool write_separator(json_writer *w, size_t index)
{
    return (index == 0 || jinja_put_text(w->run, &w->out, &w->style.item)) && write_line(w);
}

static bool write_list(json_writer *w, const jinja_list *list)
{
    bool ok = write_word(w, "[");
    w->level++;
    for (size_t i = 0; ok && i < list->count; i++)
        ok = write_separator(w, i) && write_value(w, list->items[i]);
    w->level--;
    return ok && (list->count == 0 || write_line(w)) && write_word(w, "]");
}

/* Keys of JSON are strings: numbers, booleans and none become what they look like in JSON. */
static bool write_key(json_writer *w, jinja_value key)
{
    if (key.kind == JINJA_TEXT)
        return write_text(w, key.as.text);
    if (!jinja_is_number(key) && key.kind != JINJA_NONE)
        return jinja_fail(w->run, "keys must be str, int, float, bool or None, not %s", jinja_type_name(key));
    return write_word(w, "\"") && write_value(w, key) && write_word(w, "\"");
}

static bool sorted_pairs(json_writer *w, const jinja_dict *dict, const jinja_pair **out)
{
    jinja_pair *pairs = jinja_alloc(w->run, dict->count, sizeof *pairs);
    for (size_t i = 0; pairs && i < dict->count; i++) {
        size_t at = i;
        for (; at > 0; at--) {
            int order;
            if (!jinja_order(w->run, pairs[at - 1].key, dict->pairs[i].key, "<", &order))
                return false;
            if (order <= 0)
                break;
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = dict->pairs[i];
    }
    *out = pairs;
    return pairs != NULL;
}

static bool write_dict(json_writer *w, const jinja_dict *dict)
{
    const jinja_pair *pairs = dict->pairs;
    bool ok = (!w->style.sort || sorted_pairs(w, dict, &pairs)) && write_word(w, "{");
    w->level++;
    for (size_t i = 0; ok && i < dict->count; i++)
        ok = write_separator(w, i) && write_key(w, pairs[i].key) && jinja_put_text(w->run, &w->out, &w->style.key) &&
             write_value(w, pairs[i].value);
    w->level--;
    return ok && (dict->count == 0 || write_line(w)) && write_word(w, "}");
}

static bool write_number(json_writer *w, jinja_value v)
{
    char text[40];
    if (v.kind == JINJA_BOOL)
        snprintf(text, sizeof text, "%s", v.as.truth ? "true" : "false");
    else if (v.kind == JINJA_INT)
        snprintf(text, sizeof text, "%" PRId64, v.as.integer);
    else if (isfinite(v.as.number))
        jinja_print_float(v.as.number, text);
    else
        snprintf(text, sizeof text, "%s", isnan(v.as.number) ? "NaN" : v.as.number < 0 ? "-Infinity" : "Infinity");
    return jinja_put(w->run, &w->out, text, strlen(text), v.trusted);
}

static bool write_value(json_writer *w, jinja_value v)
{
    if (!jinja_steps(w->run, 1))
        return false;
    switch ((jinja_kind)v.kind) {
    case JINJA_NONE:
        return write_word(w, "null");
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_FLOAT:
        return write_number(w, v);
    case JINJA_TEXT:
        return write_text(w, v.as.text);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT: {
        if (!jinja_enter(w->run))
            return false;
        bool ok = v.kind == JINJA_DICT ? write_dict(w, v.as.dict) : write_list(w, v.as.list);
        jinja_leave(w->run);
        return ok;
    }
    case JINJA_UNDEFINED:
        return jinja_fail_undefined(w->run, v);
    default:
        return jinja_fail(w->run, "an object of type %s cannot be written as JSON", jinja_type_name(v));
    }
}

static jinja_text plain_text(const char *bytes)
{
    return (jinja_text){.bytes = bytes, .length = strlen(bytes)};
}

static bool read_style(jinja_run *run, const jinja_value given[4], json_style *style)
{
    *style = (json_style){.indent = -1,
                          .item = plain_text(", "),
                          .key = plain_text(": "),
                          .ascii = jinja_truth(given[0]),
                          .sort = jinja_truth(given[3])};
    if (given[1].kind != JINJA_ABSENT && given[1].kind != JINJA_NONE) {
        if (!jinja_as_int(given[1], &style->indent) || style->indent < 0 || style->indent > 64)
            return jinja_fail(run, "tojson's indent must be a number from 0 to 64");
        style->item = plain_text(",");
    }
    if (given[2].kind == JINJA_ABSENT || given[2].kind == JINJA_NONE)
        return true;
    const jinja_list *pair = jinja_is_list(given[2]) ? given[2].as.list : NULL;
    if (!pair || pair->count != 2 || pair->items[0].kind != JINJA_TEXT || pair->items[1].kind != JINJA_TEXT)
        return jinja_fail(run, "tojson's separators must be two strings");
    style->item = *pair->items[0].as.text;
    style->key = *pair->items[1].as.text;
    return true;
}

bool jinja_filter_tojson(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys", NULL};
    jinja_value given[4];
    json_writer writer = {.run = run};
    return jinja_arguments(run, call, "tojson", names, 0, given) && read_style(run, given, &writer.style) &&
           write_value(&writer, call->self) && jinja_finish(run, &writer.out, out);
}
