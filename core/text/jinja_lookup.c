/* jinja_lookup: dicts, attributes and elements, as Jinja looks them up: value.name is a method first and a key after that,
 * value[key] the other way round.
 *
 * Dicts are lists of pairs that are searched from the front: what chat templates look into has a handful of keys, and a
 * larger one pays steps for its size. */
#include "text/jinja.h"

#include <string.h>

bool jinja_dict_find(jinja_run *run, const jinja_dict *dict, jinja_name key, jinja_value **out)
{
    *out = NULL;
    for (size_t i = 0; i < dict->count; i++) {
        jinja_pair *pair = &dict->pairs[i];
        if (pair->key.kind == JINJA_TEXT && pair->key.as.text->length == key.length &&
            memcmp(pair->key.as.text->bytes, key.bytes, key.length) == 0) {
            *out = &pair->value;
            break;
        }
    }
    return jinja_steps(run, 1 + dict->count / 16);
}

bool jinja_dict_get(jinja_run *run, const jinja_dict *dict, jinja_value key, jinja_value **out)
{
    *out = NULL;
    if (key.kind == JINJA_TEXT)
        return jinja_dict_find(run, dict, (jinja_name){key.as.text->bytes, key.as.text->length}, out);
    if (key.kind == JINJA_LIST || key.kind == JINJA_DICT)
        return jinja_fail(run, "'%s' cannot be a key", jinja_type_name(key));
    for (size_t i = 0; i < dict->count && !*out; i++) {
        bool equal;
        if (!jinja_equal(run, dict->pairs[i].key, key, &equal))
            return false;
        if (equal)
            *out = &dict->pairs[i].value;
    }
    return true;
}

bool jinja_dict_set(jinja_run *run, jinja_dict *dict, jinja_value key, jinja_value value)
{
    jinja_value *place;
    if (!jinja_dict_get(run, dict, key, &place))
        return false;
    if (place) {
        *place = value;
        return true;
    }
    if (dict->count == dict->capacity) {
        size_t capacity = dict->capacity ? dict->capacity * 2 : 4;
        jinja_pair *pairs = jinja_alloc(run, capacity, sizeof *pairs);
        if (!pairs)
            return false;
        if (dict->count)
            memcpy(pairs, dict->pairs, dict->count * sizeof *pairs);
        dict->pairs = pairs;
        dict->capacity = capacity;
    }
    dict->pairs[dict->count++] = (jinja_pair){key, value};
    return true;
}

/* How messages call the owner of a missing attribute. */
static const char *owner_name(jinja_value v)
{
    switch ((jinja_kind)v.kind) {
    case JINJA_NONE:
        return "None";
    case JINJA_BOOL:
        return "bool object";
    case JINJA_INT:
        return "int object";
    case JINJA_FLOAT:
        return "float object";
    case JINJA_TEXT:
        return "str object";
    case JINJA_LIST:
        return "list object";
    case JINJA_TUPLE:
        return "tuple object";
    case JINJA_DICT:
        return "dict object";
    case JINJA_NAMESPACE:
        return "namespace object";
    default:
        return "object";
    }
}

/* A method as a value; *found false where there is none. */
static bool bound_method(jinja_run *run, jinja_value v, jinja_name name, jinja_value *out, bool *found)
{
    const jinja_entry *entry = jinja_method(v, name);
    *found = entry != NULL;
    if (!entry)
        return true;
    jinja_callable *callable = jinja_alloc(run, 1, sizeof *callable);
    if (!callable)
        return false;
    *callable = (jinja_callable){{entry->name, strlen(entry->name)}, entry->function, v, NULL, NULL};
    *out = (jinja_value){.kind = JINJA_CALLABLE, .as.callable = callable};
    return true;
}

bool jinja_attribute(jinja_run *run, jinja_value v, jinja_name name, jinja_value *out)
{
    bool found;
    if (v.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, v);
    if (v.kind == JINJA_LOOP && jinja_loop_attribute(v, name, out))
        return true;
    if (!bound_method(run, v, name, out, &found) || found)
        return found;
    if (v.kind == JINJA_DICT || v.kind == JINJA_NAMESPACE) {
        jinja_value *value;
        if (!jinja_dict_find(run, v.as.dict, name, &value))
            return false;
        if (value) {
            *out = *value;
            return true;
        }
    }
    return jinja_make_missing(run, owner_name(v), name, out);
}

static bool element(jinja_run *run, jinja_value v, int64_t index, jinja_value *out)
{
    int64_t count;
    if (!jinja_length(run, v, &count))
        return false;
    if (index < 0)
        index += count;
    if (index < 0 || index >= count)
        return jinja_make_missing(run, owner_name(v), (jinja_name){"", 0}, out);
    if (v.kind != JINJA_TEXT) {
        *out = v.as.list->items[index];
        return true;
    }
    size_t from = jinja_character_offset(v.as.text, (size_t)index),
           to = jinja_character_offset(v.as.text, (size_t)index + 1);
    return jinja_steps(run, v.as.text->length / 64) && jinja_slice_text(run, v.as.text, from, to, out);
}

bool jinja_item(jinja_run *run, jinja_value v, jinja_value key, jinja_value *out)
{
    int64_t index;
    if (v.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, v);
    if ((jinja_is_list(v) || v.kind == JINJA_TEXT) && jinja_as_int(key, &index))
        return element(run, v, index, out);
    if (v.kind == JINJA_DICT) {
        jinja_value *value;
        if (!jinja_dict_get(run, v.as.dict, key, &value))
            return false;
        if (value) {
            *out = *value;
            return true;
        }
    }
    if (key.kind == JINJA_TEXT) { /* then it may be an attribute's name, as in Jinja */
        jinja_name name = {key.as.text->bytes, key.as.text->length};
        return jinja_attribute(run, v, name, out);
    }
    return jinja_make_missing(run, owner_name(v), (jinja_name){"", 0}, out);
}

bool jinja_path(jinja_run *run, jinja_value v, jinja_value path, jinja_value *out)
{
    *out = v;
    if (path.kind != JINJA_TEXT)
        return jinja_item(run, v, path, out);
    const jinja_text *text = path.as.text;
    for (size_t at = 0; at <= text->length;) {
        size_t end = at;
        int64_t index = 0;
        bool digits = true;
        for (; end < text->length && text->bytes[end] != '.'; end++) {
            digits = digits && text->bytes[end] >= '0' && text->bytes[end] <= '9' && index < 100000000;
            index = digits ? index * 10 + (text->bytes[end] - '0') : 0;
        }
        jinja_value key;
        if (digits && end > at)
            key = jinja_int(index);
        else if (!jinja_make_text(run, text->bytes + at, end - at, true, &key))
            return false;
        if (!jinja_item(run, *out, key, out))
            return false;
        at = end + 1;
    }
    return true;
}
