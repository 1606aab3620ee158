#include "base/json.h"
#include "sample/json_schema_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

expression schema_fail(schema_reader *s, const char *format, ...)
{
    char message[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return rules_fail(s->rules, BP_EINVAL, "%s: %s", s->path, message);
}

bool schema_failed(const schema_reader *s)
{
    return s->rules->failure.code != 0;
}

/* --- shared rules ---------------------------------------------------------------------------------------------------------------- */

expression json_schema_space(rules *r)
{
    byte_set indent = {0};
    byte_set_add(&indent, ' ', ' ');
    byte_set_add(&indent, '\t', '\t');
    expression line = rules_sequence(r, rules_literal(r, "\n", 1), rules_repeat(r, rules_bytes(r, &indent), 0, 24));
    return rules_optional(r, rules_choice(r, rules_literal(r, " ", 1), line));
}

expression schema_space(schema_reader *s)
{
    if (!s->space) {
        s->space = rules_declare(s->rules) + 1;
        rules_define(s->rules, s->space - 1, json_schema_space(s->rules));
    }
    return rules_call(s->rules, s->space - 1);
}

/* Any value: the one rule that calls itself without a schema that does. */
expression schema_any(schema_reader *s)
{
    rules *r = s->rules;
    if (!s->value) {
        uint32_t rule = rules_declare(r);
        s->value = rule + 1;
        json_t *object = json_pack("{ss}", "type", "object"), *array = json_pack("{ss}", "type", "array");
        if (!object || !array)
            rules_fail(r, BP_ENOMEM, "no memory to read a schema");
        expression e = rules_choice(r, schema_object(s, object), schema_array(s, array));
        json_decref(object);
        json_decref(array);
        e = rules_choice(r, rules_choice(r, e, schema_quoted(s)), schema_number(s, NULL, false));
        e = rules_choice(r, e, rules_literal(r, "true", 4));
        e = rules_choice(r, rules_choice(r, e, rules_literal(r, "false", 5)), rules_literal(r, "null", 4));
        rules_define(r, rule, e);
    }
    return rules_call(r, s->value - 1);
}

uint32_t schema_count(schema_reader *s, const json_t *schema, const char *key, uint32_t otherwise)
{
    const json_t *value = json_object_get(schema, key);
    double number = json_number_value(value);
    if (!value)
        return otherwise;
    if (!json_is_number(value) || number < 0 || number != (double)(json_int_t)number) {
        schema_fail(s, "%s is not a whole number of at least 0", key);
        return otherwise;
    }
    return number < (double)(UINT32_MAX - 1) ? (uint32_t)number : UINT32_MAX - 1;
}

/* --- references -------------------------------------------------------------------------------------------------------------------- */

/* One step of a JSON pointer (RFC 6901), with what an address escapes. Returns what is behind it; NULL: it does not fit. */
static const char *unescape_step(const char *at, char *out, size_t room)
{
    size_t count = 0;
    for (; *at && *at != '/'; at++) {
        unsigned code = (unsigned char)*at;
        if (*at == '~' && (at[1] == '0' || at[1] == '1'))
            code = *++at == '0' ? '~' : '/';
        else if (*at == '%' && sscanf(at + 1, "%2x", &code) == 1 && at[1] && at[2])
            at += 2;
        if (count + 1 >= room)
            return NULL;
        out[count++] = (char)code;
    }
    out[count] = '\0';
    return at;
}

json_t *schema_resolve(schema_reader *s, const json_t *reference)
{
    const char *at = json_string_value(reference);
    char step[256];
    if (!at || *at != '#' || (at[1] && at[1] != '/')) {
        schema_fail(s, "$ref \"%.100s\" is not a path within the schema, such as #/$defs/item; nothing is fetched", at ? at : "");
        return NULL;
    }
    json_t *found = s->root;
    for (at++; found && *at == '/';) {
        const char *behind = unescape_step(at + 1, step, sizeof step);
        if (!behind)
            break;
        found = json_is_array(found) ? json_array_get(found, (size_t)strtoul(step, NULL, 10)) : json_object_get(found, step);
        at = behind;
    }
    if (found && !*at)
        return found;
    schema_fail(s, "$ref \"%.100s\" leads nowhere", json_string_value(reference));
    return NULL;
}

/* Everything that is referred to is a rule, so that it may refer to itself. */
static expression refer(schema_reader *s, const json_t *reference)
{
    json_t *target = schema_resolve(s, reference);
    if (!target)
        return RULES_EMPTY;
    for (uint32_t i = 0; i < s->reference_count; i++)
        if (s->references[i].target == target)
            return rules_call(s->rules, s->references[i].rule);
    if (s->reference_count == SCHEMA_MOST_REFERENCES)
        return schema_fail(s, "there are references to more than %d schemas", SCHEMA_MOST_REFERENCES);
    uint32_t rule = rules_declare(s->rules);
    s->references[s->reference_count++] = (schema_reference){target, rule};
    rules_define(s->rules, rule, schema_of(s, target));
    return rules_call(s->rules, rule);
}

/* --- keywords ---------------------------------------------------------------------------------------------------------------------- */

typedef struct keyword {
    const char *name;
    const char *type; /* the one that it is for; NULL: every */
} keyword;
static const keyword keywords[] = {
    {"type", NULL}, {"enum", NULL}, {"const", NULL}, {"anyOf", NULL}, {"oneOf", NULL}, {"allOf", NULL}, {"$ref", NULL}, {"nullable", NULL},
    {"properties", "object"}, {"required", "object"}, {"additionalProperties", "object"}, {"minProperties", "object"},
    {"maxProperties", "object"}, {"unevaluatedProperties", "object"},
    {"items", "array"}, {"prefixItems", "array"}, {"minItems", "array"}, {"maxItems", "array"}, {"uniqueItems", "array"},
    {"minLength", "string"}, {"maxLength", "string"}, {"pattern", "string"}, {"format", "string"},
    {"minimum", "number"}, {"maximum", "number"}, {"exclusiveMinimum", "number"}, {"exclusiveMaximum", "number"}};
static const char *const unsupported[] = {
    "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "patternProperties", "propertyNames", "contains",
    "minContains", "maxContains", "unevaluatedItems", "additionalItems", "multipleOf", "$dynamicRef", "$recursiveRef"};

static const keyword *find_keyword(const char *name)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    return NULL;
}

/* Refuses what would be left out. Words that JSON Schema does not have say nothing about a value, as its specification has it. */
static bool check_keywords(schema_reader *s, const json_t *schema)
{
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (json_object_get(schema, unsupported[i]))
            return schema_fail(s, "%s is not supported", unsupported[i]), false;
    if (json_is_true(json_object_get(schema, "uniqueItems")))
        return schema_fail(s, "uniqueItems is not supported"), false;
    const json_t *rest = json_object_get(schema, "unevaluatedProperties");
    if (rest && !json_is_false(rest))
        return schema_fail(s, "unevaluatedProperties other than false is not supported"), false;
    return true;
}

/* Whether the schema constrains by any keyword besides these. */
static bool says_more(const json_t *schema, const char *const *but)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value)
    {
        bool counted = find_keyword(key) != NULL;
        for (size_t i = 0; but[i]; i++)
            counted = counted && strcmp(key, but[i]) != 0;
        if (counted)
            return true;
    }
    return false;
}

/* --- types --------------------------------------------------------------------------------------------------------------------------- */

static expression of_type(schema_reader *s, json_t *schema, const char *type)
{
    if (strcmp(type, "object") == 0)
        return schema_object(s, schema);
    if (strcmp(type, "array") == 0)
        return schema_array(s, schema);
    if (strcmp(type, "string") == 0)
        return schema_string(s, schema);
    if (strcmp(type, "number") == 0 || strcmp(type, "integer") == 0)
        return schema_number(s, schema, *type == 'i');
    if (strcmp(type, "boolean") == 0)
        return rules_choice(s->rules, rules_literal(s->rules, "true", 4), rules_literal(s->rules, "false", 5));
    if (strcmp(type, "null") == 0)
        return rules_literal(s->rules, "null", 4);
    return schema_fail(s, "the type \"%.40s\" is not known", type);
}

/* A schema without a type is of the types that its keywords are for: what they do not apply to would fit as well, and is left
 * out. */
static expression of_implied_types(schema_reader *s, json_t *schema)
{
    static const char *const types[] = {"object", "array", "string", "number"};
    expression e = RULES_NEVER;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        bool implied = false;
        for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
            implied = implied || (keywords[i].type && strcmp(keywords[i].type, types[t]) == 0 && json_object_get(schema, keywords[i].name));
        if (implied)
            e = rules_choice(s->rules, e, of_type(s, schema, types[t]));
    }
    return e == RULES_NEVER ? schema_any(s) : e;
}

static expression of_types(schema_reader *s, json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    if (!type)
        return of_implied_types(s, schema);
    if (json_is_string(type))
        return of_type(s, schema, json_string_value(type));
    if (!json_is_array(type) || json_array_size(type) == 0)
        return schema_fail(s, "type is not a string or a list of strings");
    expression e = RULES_NEVER;
    for (size_t i = 0; i < json_array_size(type); i++) {
        const char *name = json_string_value(json_array_get(type, i));
        e = rules_choice(s->rules, e, name ? of_type(s, schema, name) : schema_fail(s, "type is not a list of strings"));
    }
    return e;
}

/* Whether a value is of the schema's type, if it names one. */
static bool has_type(const json_t *schema, const json_t *value)
{
    const json_t *type = json_object_get(schema, "type");
    const char *own = json_is_object(value)    ? "object"
                      : json_is_array(value)   ? "array"
                      : json_is_string(value)  ? "string"
                      : json_is_boolean(value) ? "boolean"
                      : json_is_null(value)    ? "null"
                                               : "number";
    if (!type)
        return true;
    for (size_t i = 0; i < (json_is_array(type) ? json_array_size(type) : 1); i++) {
        const char *name = json_string_value(json_is_array(type) ? json_array_get(type, i) : type);
        if (name && (strcmp(name, own) == 0 || (strcmp(name, "integer") == 0 && json_is_integer(value))))
            return true;
    }
    return false;
}

/* enum and const, which no other keyword but the type may narrow. */
static expression of_values(schema_reader *s, json_t *schema)
{
    static const char *const own[] = {"enum", "const", "type", "nullable", NULL};
    const json_t *values = json_object_get(schema, "enum"), *only = json_object_get(schema, "const");
    if (says_more(schema, own))
        return schema_fail(s, "enum and const are not supported together with keywords other than type");
    if (values && (!json_is_array(values) || json_array_size(values) == 0))
        return schema_fail(s, "enum is not a list of at least one value");
    expression e = RULES_NEVER;
    for (size_t i = 0; i < json_array_size(values); i++) {
        const json_t *value = json_array_get(values, i);
        if (has_type(schema, value) && (!only || json_equal(only, value)))
            e = rules_choice(s->rules, e, schema_constant(s, value));
    }
    if (!values && has_type(schema, only))
        e = schema_constant(s, only);
    return e;
}

/* --- alternatives and their like ------------------------------------------------------------------------------------------------------ */

static expression of_alternatives(schema_reader *s, json_t *schema, const char *key)
{
    const char *const own[] = {key, "nullable", NULL}, *const gone[] = {key, NULL};
    json_t *list = json_object_get(schema, key);
    if (!json_is_array(list) || json_array_size(list) == 0)
        return schema_fail(s, "%s is not a list of at least one schema", key);
    json_t *rest = says_more(schema, own) ? schema_without(s, schema, gone) : NULL;
    expression e = RULES_NEVER;
    for (size_t i = 0; i < json_array_size(list) && !schema_failed(s); i++) {
        char place[48];
        snprintf(place, sizeof place, "%s/%zu", key, i);
        json_t *one = json_array_get(list, i);
        if (rest)
            one = schema_merge(s, rest, one);
        if (one)
            e = rules_choice(s->rules, e, schema_part(s, one, place));
    }
    return e;
}

static expression of_all(schema_reader *s, json_t *schema)
{
    static const char *const gone[] = {"allOf", NULL};
    json_t *list = json_object_get(schema, "allOf"), *all = schema_without(s, schema, gone);
    if (!json_is_array(list) || json_array_size(list) == 0)
        return schema_fail(s, "allOf is not a list of at least one schema");
    for (size_t i = 0; all && i < json_array_size(list); i++)
        all = schema_merge(s, all, json_array_get(list, i));
    return all ? schema_of(s, all) : RULES_EMPTY;
}

static expression of_reference(schema_reader *s, json_t *schema)
{
    static const char *const own[] = {"$ref", "nullable", NULL}, *const gone[] = {"$ref", NULL};
    const json_t *reference = json_object_get(schema, "$ref");
    if (!says_more(schema, own))
        return refer(s, reference);
    json_t *target = schema_resolve(s, reference), *rest = schema_without(s, schema, gone);
    json_t *both = target && rest ? schema_merge(s, rest, target) : NULL;
    return both ? schema_of(s, both) : RULES_EMPTY;
}

static expression of_object(schema_reader *s, json_t *schema)
{
    if (!check_keywords(s, schema))
        return RULES_EMPTY;
    if (json_object_get(schema, "$ref"))
        return of_reference(s, schema);
    if (json_object_get(schema, "allOf"))
        return of_all(s, schema);
    if (json_object_get(schema, "anyOf"))
        return of_alternatives(s, schema, "anyOf");
    if (json_object_get(schema, "oneOf"))
        return of_alternatives(s, schema, "oneOf");
    if (json_object_get(schema, "enum") || json_object_get(schema, "const"))
        return of_values(s, schema);
    return of_types(s, schema);
}

expression schema_of(schema_reader *s, json_t *schema)
{
    if (schema_failed(s))
        return RULES_EMPTY;
    if (json_is_true(schema))
        return schema_any(s);
    if (json_is_false(schema))
        return RULES_NEVER;
    if (!json_is_object(schema))
        return schema_fail(s, "a schema is an object, true or false");
    if (s->depth == RULES_MOST_DEPTH)
        return schema_fail(s, "there are more than %d schemas within each other", RULES_MOST_DEPTH);
    s->depth++;
    expression e = of_object(s, schema);
    if (json_is_true(json_object_get(schema, "nullable"))) /* OpenAPI's */
        e = rules_choice(s->rules, e, rules_literal(s->rules, "null", 4));
    s->depth--;
    return e;
}

expression schema_part(schema_reader *s, json_t *schema, const char *key)
{
    size_t before = s->path_length;
    int written = snprintf(s->path + before, sizeof s->path - before, "/%s", key);
    size_t length = written > 0 ? before + (size_t)written : before;
    s->path_length = length < sizeof s->path ? length : sizeof s->path - 1;
    expression e = schema_of(s, schema);
    s->path_length = before;
    s->path[before] = '\0';
    return e;
}

/* --- all of it -------------------------------------------------------------------------------------------------------------------------- */

expression json_schema_expression(rules *r, json_t *schema, const char *path)
{
    schema_reader s = {.rules = r, .root = schema, .kept = json_array(),
                       .references = malloc(SCHEMA_MOST_REFERENCES * sizeof *s.references)};
    int length = snprintf(s.path, sizeof s.path, "%.*s", SCHEMA_MOST_PATH, path);
    s.path_length = length > 0 ? (size_t)length : 0;
    expression e = s.kept && s.references ? schema_of(&s, schema) : rules_fail(r, BP_ENOMEM, "no memory to read a schema");
    json_decref(s.kept);
    free(s.references);
    return e;
}

void json_schema_read(rules *r, const char *text, size_t bytes, uint32_t *root)
{
    json_error_t why;
    bool memory = false;
    json_t *schema = NULL;
    if (bytes <= RULES_MOST_BYTES)
        schema = json_read(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why, &memory);
    if (memory)
        rules_fail(r, BP_ENOMEM, "no memory to read a schema");
    else if (bytes > RULES_MOST_BYTES)
        rules_fail(r, BP_EINVAL, "the schema is longer than %d bytes", RULES_MOST_BYTES);
    else if (!schema)
        rules_fail(r, BP_EINVAL, "the schema is not JSON: line %d, column %d, %.100s", why.line, why.column, why.text);
    *root = rules_declare(r);
    if (schema)
        rules_define(r, *root, json_schema_expression(r, schema, "schema"));
    json_decref(schema);
}
