/* Two schemas as one that is valid for what both are valid for. Keywords that cannot be joined are refused. */
#include "base/json.h"
#include "sample/json_schema_parts.h"

#include <string.h>

enum { MOST_CHAIN = 32 }; /* references that lead to references */

static json_t *keep(schema_reader *s, json_t *schema)
{
    if (schema && json_array_append_new(s->kept, schema) == 0)
        return schema;
    rules_fail(s->rules, BP_ENOMEM, "no memory to join schemas");
    return NULL;
}

json_t *schema_without(schema_reader *s, json_t *schema, const char *const *keys)
{
    json_t *copy = keep(s, json_copy_whole(schema));
    for (size_t i = 0; copy && keys[i]; i++)
        json_object_del(copy, keys[i]);
    return copy;
}

static bool fail_join(schema_reader *s, const char *key)
{
    schema_fail(s, "two schemas that must both hold have a %.40s each, which cannot be joined", key);
    return false;
}

/* --- how values of one keyword are joined into `out` ------------------------------------------------------------------------- */

static bool join_equal(schema_reader *s, json_t *out, const char *key, json_t *a, json_t *b)
{
    (void)out;
    return json_equal(a, b) || fail_join(s, key);
}

static bool join_least(schema_reader *s, json_t *out, const char *key, json_t *a, json_t *b)
{
    (void)s;
    return json_number_value(b) <= json_number_value(a) || json_object_set(out, key, b) == 0;
}

static bool join_most(schema_reader *s, json_t *out, const char *key, json_t *a, json_t *b)
{
    (void)s;
    return json_number_value(b) >= json_number_value(a) || json_object_set(out, key, b) == 0;
}

/* Takes `value`, which is whole where `good`. */
static bool set_whole(json_t *out, const char *key, json_t *value, bool good)
{
    if (good)
        return json_object_set_new(out, key, value) == 0;
    json_decref(value);
    return false;
}

/* Lists of names, all of which are required. */
static bool join_union(schema_reader *s, json_t *out, const char *key, json_t *a, json_t *b)
{
    if (!json_is_array(a) || !json_is_array(b))
        return fail_join(s, key);
    json_t *all = json_copy_whole(a);
    bool good = all != NULL;
    for (size_t i = 0; good && i < json_array_size(b); i++) {
        bool there = false;
        for (size_t k = 0; k < json_array_size(all); k++)
            there = there || json_equal(json_array_get(all, k), json_array_get(b, i));
        good = there || json_array_append(all, json_array_get(b, i)) == 0;
    }
    return set_whole(out, key, all, good);
}

/* Types or enumerated values: those of both. A single type is a list of one; a number that is an integer is an integer. */
static bool join_common(schema_reader *s, json_t *out, const char *key, json_t *a, json_t *b)
{
    (void)s;
    json_t *common = json_array();
    bool good = common != NULL;
    size_t count_a = json_is_array(a) ? json_array_size(a) : 1, count_b = json_is_array(b) ? json_array_size(b) : 1;
    for (size_t i = 0; i < count_a; i++) {
        json_t *x = json_is_array(a) ? json_array_get(a, i) : a;
        for (size_t k = 0; good && k < count_b; k++) {
            json_t *y = json_is_array(b) ? json_array_get(b, k) : b;
            const char *p = json_string_value(x), *q = json_string_value(y);
            bool types = strcmp(key, "type") == 0 && p && q;
            if (json_equal(x, y) || (types && strcmp(p, "integer") == 0 && strcmp(q, "number") == 0))
                good = json_array_append(common, x) == 0;
            else if (types && strcmp(p, "number") == 0 && strcmp(q, "integer") == 0)
                good = json_array_append(common, y) == 0;
        }
    }
    if (good && json_array_size(common) == 0) { /* no value fits both */
        json_decref(common);
        return json_object_clear(out) == 0 && json_object_set_new(out, "anyOf", json_pack("[b]", 0)) == 0;
    }
    return set_whole(out, key, common, good);
}

/* Both schemas hold: allOf, of which the reader makes one. */
static json_t *both(json_t *a, json_t *b)
{
    return json_pack("{s[OO]}", "allOf", a, b);
}

static bool join_schemas(schema_reader *s, json_t *out, const char *key, json_t *a, json_t *b)
{
    (void)s;
    if (json_is_true(a) || json_is_false(b))
        return json_object_set(out, key, b) == 0;
    return json_is_true(b) || json_is_false(a) || json_object_set_new(out, key, both(a, b)) == 0;
}

static bool join_properties(schema_reader *s, json_t *out, const char *key, json_t *a, json_t *b)
{
    const char *name;
    json_t *value;
    if (!json_is_object(a) || !json_is_object(b))
        return fail_join(s, key);
    json_t *all = json_copy_whole(a);
    bool good = all != NULL;
    json_object_foreach(b, name, value)
    {
        json_t *own = json_object_get(a, name);
        good = good && json_object_set_new(all, name, own && !json_equal(own, value) ? both(own, value) : json_incref(value)) == 0;
    }
    return set_whole(out, key, all, good);
}

/* Alternatives on both sides: the first must hold, and one of the second. */
static bool join_alternatives(schema_reader *s, json_t *out, const char *key, json_t *a, json_t *b)
{
    (void)s;
    (void)a;
    json_t *second = json_pack("{sO}", key, b), *list = json_object_get(out, "allOf");
    if (!list)
        return json_object_set_new(out, "allOf", json_pack("[o]", second)) == 0;
    json_t *longer = json_copy_whole(list);
    return set_whole(out, "allOf", longer, json_array_append_new(longer, second) == 0);
}

static const struct { const char *key; bool (*join)(schema_reader *s, json_t *out, const char *key, json_t *a, json_t *b); } joins[] = {
    {"type", join_common}, {"enum", join_common}, {"const", join_equal}, {"required", join_union}, {"properties", join_properties},
    {"additionalProperties", join_schemas}, {"items", join_schemas}, {"minimum", join_least}, {"exclusiveMinimum", join_least},
    {"minLength", join_least}, {"minItems", join_least}, {"minProperties", join_least}, {"maximum", join_most},
    {"exclusiveMaximum", join_most}, {"maxLength", join_most}, {"maxItems", join_most}, {"maxProperties", join_most},
    {"pattern", join_equal}, {"format", join_equal}, {"prefixItems", join_equal}, {"anyOf", join_alternatives},
    {"oneOf", join_alternatives}, {"nullable", join_equal}, {"allOf", join_union}};

static bool join(schema_reader *s, json_t *out, const char *key, json_t *value)
{
    json_t *own = json_object_get(out, key);
    if (!own)
        return json_object_set(out, key, value) == 0;
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++)
        if (strcmp(joins[i].key, key) == 0)
            return joins[i].join(s, out, key, own, value);
    return true; /* it describes: the first one's stays */
}

/* What a schema that is nothing but a reference refers to. */
static json_t *look_behind(schema_reader *s, json_t *schema)
{
    for (int i = 0; schema && json_object_get(schema, "$ref"); i++) {
        static const char *const gone[] = {"$ref", NULL};
        json_t *target = i < MOST_CHAIN ? schema_resolve(s, json_object_get(schema, "$ref")) : NULL;
        if (i == MOST_CHAIN)
            schema_fail(s, "references lead to references without an end");
        json_t *rest = target ? schema_without(s, schema, gone) : NULL;
        schema = !rest ? NULL : json_object_size(rest) ? schema_merge(s, rest, target) : target;
    }
    return schema;
}

/* An additionalProperties that forbids what the other side names would forbid it here as well. */
static bool closes_other(schema_reader *s, const json_t *a, const json_t *b)
{
    const json_t *rest = json_object_get(a, "additionalProperties");
    const char *name;
    json_t *value;
    if (!rest || json_is_true(rest))
        return false;
    json_object_foreach(json_object_get(b, "properties"), name, value)
    {
        (void)value;
        if (!json_object_get(json_object_get(a, "properties"), name)) {
            schema_fail(s, "two schemas that must both hold: one has the property %.60s, which the other's additionalProperties is for",
                        name);
            return true;
        }
    }
    return false;
}

json_t *schema_merge(schema_reader *s, json_t *a, json_t *b)
{
    if (++s->merges > SCHEMA_MOST_MERGES) {
        schema_fail(s, "there are too many schemas to join");
        return NULL;
    }
    a = look_behind(s, a);
    b = look_behind(s, b);
    if (!a || !b || schema_failed(s))
        return NULL;
    if (json_is_true(a) || json_is_false(b))
        return b;
    if (json_is_true(b) || json_is_false(a))
        return a;
    if (!json_is_object(a) || !json_is_object(b)) {
        schema_fail(s, "a schema is an object, true or false");
        return NULL;
    }
    if (closes_other(s, a, b) || closes_other(s, b, a))
        return NULL;
    json_t *out = keep(s, json_copy_whole(a));
    const char *key;
    json_t *value;
    json_object_foreach(b, key, value)
        if (!out || !join(s, out, key, value)) {
            rules_fail(s->rules, BP_ENOMEM, "no memory to join schemas");
            return NULL;
        }
    return out;
}
