/* Objects and arrays.
 *
 * An object has its properties in the order of the schema, those that are not required possibly left out, and then, where the
 * schema says so, others. As rules, where M is a member, T what follows a member, and the first of the required ones is number f:
 *
 *     object = "{" space (M0 T1 | M1 T2 | … | Mf Tf+1) "}"        T_i = ("," space M_i) T_i+1        (…)? if M_i may be left out
 */
#include "sample/characters.h"
#include "sample/json_schema_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static expression text_of(schema_reader *s, const char *text)
{
    return rules_literal(s->rules, text, strlen(text));
}

/* "," space and one more. */
static expression another(schema_reader *s, expression one)
{
    return rules_sequence(s->rules, rules_sequence(s->rules, text_of(s, ","), schema_space(s)), one);
}

static expression as_rule(schema_reader *s, expression e)
{
    uint32_t rule = rules_declare(s->rules);
    rules_define(s->rules, rule, e);
    return rules_call(s->rules, rule);
}

/* --- names of members that the schema does not list ------------------------------------------------------------------------- */

/* The names [first, last), sorted, agree in their first `depth` bytes. Gives what may follow these so that none of the names
 * comes out: characters that no name goes on with and then anything, or on along a name; the end unless a name ends here. */
static expression names_but(schema_reader *s, const char *const *names, size_t first, size_t last, size_t depth, expression any)
{
    rules *r = s->rules;
    byte_set others = {0};
    expression e = RULES_NEVER;
    byte_set_add(&others, ' ', '!');
    byte_set_add(&others, '#', '[');
    byte_set_add(&others, ']', 0x7F);
    bool ends = true;
    for (size_t i = first; i < last;) {
        unsigned char byte = (unsigned char)names[i][depth];
        size_t same = i;
        while (same < last && (unsigned char)names[same][depth] == byte)
            same++;
        if (byte == 0)
            ends = false;
        else if (byte < 0x80)
            others.bits[byte / 64] &= ~((uint64_t)1 << (byte % 64));
        if (byte >= ' ' && byte < 0x80 && byte != '"' && byte != '\\')
            e = rules_choice(r, e, rules_sequence(r, rules_literal(r, &names[i][depth], 1), names_but(s, names, i, same, depth + 1, any)));
        i = same;
    }
    e = rules_choice(r, e, rules_sequence(r, rules_bytes(r, &others), any));
    return ends ? rules_choice(r, e, RULES_EMPTY) : e;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A name in quotes that is none of the object's properties: of characters that are written as themselves, the first ones of
 * ASCII where properties are listed. */
static expression other_name(schema_reader *s, const json_t *properties)
{
    rules *r = s->rules;
    size_t count = json_object_size(properties), i = 0;
    if (count == 0)
        return schema_quoted(s);
    const char **names = malloc(count * sizeof *names), *key;
    json_t *value;
    characters plain = {0};
    if (!names || !characters_add(&plain, ' ', '!') || !characters_add(&plain, '#', '[') || !characters_add(&plain, ']', CHARACTER_LAST)) {
        free(names);
        characters_clear(&plain);
        return rules_fail(r, BP_ENOMEM, "no memory to read a schema");
    }
    json_object_foreach((json_t *)properties, key, value)
    {
        (void)value;
        names[i++] = key;
        if (strlen(key) > RULES_MOST_DEPTH)
            schema_fail(s, "additionalProperties beside a name of more than %d bytes is not supported", RULES_MOST_DEPTH);
    }
    qsort(names, count, sizeof *names, compare_names);
    expression any = as_rule(s, rules_repeat(r, characters_expression(r, &plain), 0, RULES_UNBOUNDED));
    expression e = schema_failed(s) ? RULES_EMPTY : names_but(s, names, 0, count, 0, any);
    characters_clear(&plain);
    free(names);
    return rules_sequence(r, rules_sequence(r, text_of(s, "\""), e), text_of(s, "\""));
}

/* --- objects -------------------------------------------------------------------------------------------------------------------- */

typedef struct member {
    expression value; /* "name": value */
    bool required;
} member;

typedef struct members {
    member *list;
    size_t count, first_required; /* count: none is */
    expression other;             /* a member that is not listed; RULES_NEVER: there may be none */
    uint32_t fewest, most;        /* of all */
} members;

static expression member_of(schema_reader *s, expression name, expression value)
{
    expression e = rules_sequence(s->rules, rules_sequence(s->rules, name, text_of(s, ":")), schema_space(s));
    return rules_sequence(s->rules, e, value);
}

static expression named_member(schema_reader *s, const char *name, json_t *schema)
{
    json_t *text = json_string(name);
    expression key = text ? schema_constant(s, text) : rules_fail(s->rules, BP_ENOMEM, "no memory to read a schema");
    json_decref(text);
    char place[80] = "properties/";
    strncat(place, name, 60);
    return member_of(s, key, schema_part(s, schema, place));
}

static bool lists(const json_t *names, const char *name)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *one = json_string_value(json_array_get(names, i));
        if (one && strcmp(one, name) == 0)
            return true;
    }
    return false;
}

/* What members beside the listed ones are: *schema is NULL where there may be none. */
static bool read_rest(schema_reader *s, const json_t *schema, json_t **rest)
{
    const json_t *properties = json_object_get(schema, "properties");
    *rest = json_object_get(schema, "additionalProperties");
    if (*rest && !json_is_boolean(*rest) && !json_is_object(*rest))
        return schema_fail(s, "additionalProperties is not a schema"), false;
    if (json_is_false(*rest) || (!*rest && json_object_size(properties)))
        *rest = NULL;
    else if (!*rest)
        *rest = json_true();
    return true;
}

static bool read_listed(schema_reader *s, const json_t *schema, json_t *rest, members *m)
{
    json_t *properties = json_object_get(schema, "properties"), *value;
    const json_t *required = json_object_get(schema, "required");
    const char *name;
    if ((properties && !json_is_object(properties)) || (required && !json_is_array(required)))
        return schema_fail(s, "properties is not an object, or required is not a list"), false;
    m->list = calloc(json_object_size(properties) + json_array_size(required) + 1, sizeof *m->list);
    if (!m->list)
        return rules_fail(s->rules, BP_ENOMEM, "no memory to read a schema"), false;
    json_object_foreach(properties, name, value)
    {
        expression e = named_member(s, name, value);
        m->list[m->count++] = (member){e, lists(required, name)};
    }
    for (size_t i = 0; i < json_array_size(required); i++) {
        name = json_string_value(json_array_get(required, i));
        if (!name)
            return schema_fail(s, "required is not a list of names"), false;
        if (json_object_get(properties, name))
            continue;
        if (!rest && json_object_get(schema, "additionalProperties"))
            return schema_fail(s, "the required property \"%.60s\" is not among properties", name), false;
        m->list[m->count++] = (member){named_member(s, name, rest ? rest : json_true()), true};
    }
    for (m->first_required = 0; m->first_required < m->count && !m->list[m->first_required].required;)
        m->first_required++;
    return !schema_failed(s);
}

/* How many members there may be. Only of objects without listed ones can they be counted. */
static bool read_counts(schema_reader *s, const json_t *schema, members *m)
{
    uint32_t required = 0;
    for (size_t i = 0; i < m->count; i++)
        required += m->list[i].required;
    m->fewest = schema_count(s, schema, "minProperties", 0);
    m->most = schema_count(s, schema, "maxProperties", RULES_UNBOUNDED);
    if (m->count == 0)
        return !schema_failed(s);
    if (m->fewest > required || (m->most != RULES_UNBOUNDED && (m->most < m->count || m->other != RULES_NEVER)))
        return schema_fail(s, "minProperties and maxProperties beside properties are not supported"), false;
    return !schema_failed(s);
}

/* What follows a member when all listed ones are behind it. */
static expression tail_of(schema_reader *s, const members *m)
{
    if (m->other == RULES_NEVER)
        return schema_space(s);
    return rules_sequence(s->rules, rules_repeat(s->rules, another(s, m->other), 0, RULES_UNBOUNDED), schema_space(s));
}

/* The members that follow one. */
static expression following(schema_reader *s, const member *one)
{
    expression e = another(s, one->value);
    return one->required ? e : rules_optional(s->rules, e);
}

static expression listed_members(schema_reader *s, members *m)
{
    rules *r = s->rules;
    size_t first = m->first_required < m->count ? m->first_required : m->count;
    for (size_t i = 1; i <= first && i < m->count; i++) /* these come both as the first one and after one */
        m->list[i].value = as_rule(s, m->list[i].value);
    expression rest = RULES_EMPTY; /* T behind the first required one */
    for (size_t i = first + 1; i < m->count; i++)
        rest = rules_sequence(r, rest, following(s, &m->list[i]));
    rest = as_rule(s, rules_sequence(r, rest, tail_of(s, m)));
    expression e = first < m->count ? rules_sequence(r, m->list[first].value, rest) : RULES_NEVER;
    for (size_t i = first; i-- > 0;) {
        if (i + 1 < m->count) /* T of i + 1; the last one's is the tail, which `rest` is then */
            rest = as_rule(s, rules_sequence(r, following(s, &m->list[i + 1]), rest));
        e = rules_choice(r, e, rules_sequence(r, m->list[i].value, rest));
    }
    if (first < m->count)
        return e;
    if (m->other != RULES_NEVER)
        e = rules_choice(r, e, rules_sequence(r, m->other, tail_of(s, m)));
    return rules_choice(r, e, RULES_EMPTY);
}

/* Members of which none is listed. */
static expression other_members(schema_reader *s, const members *m)
{
    rules *r = s->rules;
    if (m->most < m->fewest || (m->other == RULES_NEVER && m->fewest))
        return RULES_NEVER;
    if (m->other == RULES_NEVER || m->most == 0)
        return RULES_EMPTY;
    expression more = rules_repeat(r, another(s, m->other), m->fewest ? m->fewest - 1 : 0,
                                   m->most == RULES_UNBOUNDED ? RULES_UNBOUNDED : m->most - 1);
    expression e = rules_sequence(r, rules_sequence(r, m->other, more), schema_space(s));
    return m->fewest ? e : rules_choice(r, e, RULES_EMPTY);
}

expression schema_object(schema_reader *s, json_t *schema)
{
    rules *r = s->rules;
    members m = {.other = RULES_NEVER};
    json_t *rest = NULL;
    expression e = RULES_EMPTY;
    if (read_rest(s, schema, &rest) && read_listed(s, schema, rest, &m)) {
        if (rest)
            m.other = as_rule(s, member_of(s, other_name(s, json_object_get(schema, "properties")), schema_part(s, rest, "additionalProperties")));
        if (read_counts(s, schema, &m))
            e = m.count ? listed_members(s, &m) : other_members(s, &m);
    }
    free(m.list);
    e = rules_sequence(r, rules_sequence(r, text_of(s, "{"), schema_space(s)), e);
    return rules_sequence(r, e, text_of(s, "}"));
}

/* --- arrays ------------------------------------------------------------------------------------------------------------------------ */

/* Elements behind the listed ones, the first of which has a comma before it where `after`. */
static expression more_elements(schema_reader *s, expression one, uint32_t fewest, uint32_t most, bool after)
{
    rules *r = s->rules;
    if (most < fewest || (one == RULES_NEVER && fewest))
        return RULES_NEVER;
    if (one == RULES_NEVER || most == 0)
        return RULES_EMPTY;
    if (after)
        return rules_repeat(r, another(s, one), fewest, most);
    expression more = rules_repeat(r, another(s, one), fewest ? fewest - 1 : 0, most == RULES_UNBOUNDED ? most : most - 1);
    expression e = rules_sequence(r, one, more);
    return fewest ? e : rules_choice(r, e, RULES_EMPTY);
}

static uint32_t less(uint32_t count, size_t by)
{
    return count == RULES_UNBOUNDED ? count : count > by ? count - (uint32_t)by : 0;
}

expression schema_array(schema_reader *s, json_t *schema)
{
    rules *r = s->rules;
    json_t *listed = json_object_get(schema, "prefixItems"), *items = json_object_get(schema, "items");
    size_t count = json_array_size(listed);
    uint32_t fewest = schema_count(s, schema, "minItems", 0), most = schema_count(s, schema, "maxItems", RULES_UNBOUNDED);
    if (listed && !json_is_array(listed))
        return schema_fail(s, "prefixItems is not a list of schemas");
    expression one = items ? schema_part(s, items, "items") : count ? RULES_NEVER : schema_any(s);
    one = one == RULES_NEVER ? one : as_rule(s, one);
    count = count < most ? count : most;
    expression e = more_elements(s, one, less(fewest, count), less(most, count), count > 0);
    for (size_t i = count; i-- > 0;) { /* from the last listed one to the first */
        char place[48];
        snprintf(place, sizeof place, "prefixItems/%zu", i);
        expression own = schema_part(s, json_array_get(listed, i), place);
        e = as_rule(s, rules_sequence(r, i ? another(s, own) : own, e));
        if (i >= fewest)
            e = rules_optional(r, e);
    }
    e = rules_sequence(r, rules_sequence(r, text_of(s, "["), schema_space(s)), e);
    return rules_sequence(r, rules_sequence(r, e, schema_space(s)), text_of(s, "]"));
}
