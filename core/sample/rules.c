#include "sample/rules.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static expression no_memory(rules *r)
{
    return rules_fail(r, BP_ENOMEM, "no memory for a grammar of %u parts", r->node_count);
}

/* Room for `more` items of an array; false after a failure, also of before. */
static bool reserve(rules *r, void *array, uint32_t count, uint32_t *capacity, uint32_t more, size_t size)
{
    void **data = array;
    if (r->failure.code)
        return false;
    if (*capacity - count >= more)
        return true;
    uint32_t larger = *capacity ? *capacity * 2 : 64; /* counts are far below 2^31: U3 */
    while (larger - count < more)
        larger *= 2;
    void *moved = realloc(*data, larger * size);
    if (!moved) {
        no_memory(r);
        return false;
    }
    *data = moved;
    *capacity = larger;
    return true;
}

static expression add(rules *r, rule_node node)
{
    if (r->node_count >= RULES_MOST_NODES)
        return rules_fail(r, BP_EINVAL, "the grammar has more than %d parts", RULES_MOST_NODES);
    if (!reserve(r, &r->nodes, r->node_count, &r->node_capacity, 1, sizeof *r->nodes))
        return RULES_EMPTY;
    r->nodes[r->node_count] = node;
    return r->node_count++;
}

void rules_init(rules *r)
{
    *r = (rules){0};
    add(r, (rule_node){.kind = NODE_EMPTY});
    add(r, (rule_node){.kind = NODE_NEVER});
}

void rules_clear(rules *r)
{
    free(r->nodes);
    free(r->sets);
    free(r->text);
    free(r->bodies);
    *r = (rules){0};
}

bp_status rules_status(const rules *r, bp_error *error)
{
    return r->failure.code ? error_set(error, r->failure.code, "%s", r->failure.message) : BP_OK;
}

expression rules_fail(rules *r, bp_status code, const char *format, ...)
{
    if (r->failure.code)
        return RULES_EMPTY;
    char message[sizeof r->failure.message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    error_set(&r->failure, code, "%s", message);
    return RULES_EMPTY;
}

expression rules_bytes(rules *r, const byte_set *set)
{
    if (!(set->bits[0] | set->bits[1] | set->bits[2] | set->bits[3]))
        return RULES_NEVER;
    if (!reserve(r, &r->sets, r->set_count, &r->set_capacity, 1, sizeof *r->sets))
        return RULES_EMPTY;
    r->sets[r->set_count] = *set;
    return add(r, (rule_node){.kind = NODE_BYTES, .a = r->set_count++});
}

expression rules_literal(rules *r, const char *bytes, size_t count)
{
    if (count == 0)
        return RULES_EMPTY;
    if (count > RULES_MOST_BYTES || r->text_count > 16 * RULES_MOST_BYTES)
        return rules_fail(r, BP_EINVAL, "the grammar's texts are longer than %d bytes", RULES_MOST_BYTES);
    if (!reserve(r, &r->text, r->text_count, &r->text_capacity, (uint32_t)count, 1))
        return RULES_EMPTY;
    memcpy(r->text + r->text_count, bytes, count);
    r->text_count += (uint32_t)count;
    return add(r, (rule_node){.kind = NODE_LITERAL, .a = r->text_count - (uint32_t)count, .b = (uint32_t)count});
}

expression rules_sequence(rules *r, expression a, expression b)
{
    if (a == RULES_EMPTY || b == RULES_NEVER)
        return b;
    if (b == RULES_EMPTY || a == RULES_NEVER)
        return a;
    return add(r, (rule_node){.kind = NODE_SEQUENCE, .a = a, .b = b});
}

expression rules_choice(rules *r, expression a, expression b)
{
    if (a == RULES_NEVER || a == b)
        return b;
    return b == RULES_NEVER ? a : add(r, (rule_node){.kind = NODE_CHOICE, .a = a, .b = b});
}

bool rules_is_unbounded(const rules *r, expression a)
{
    return !r->failure.code && r->nodes[a].kind == NODE_REPEAT && r->nodes[a].max == RULES_UNBOUNDED;
}

expression rules_repeat(rules *r, expression a, uint32_t min, uint32_t max)
{
    if (r->failure.code || max == 0 || a == RULES_EMPTY)
        return RULES_EMPTY;
    if (max < min)
        return rules_fail(r, BP_EINVAL, "a repetition of at least %u and at most %u is impossible", min, max);
    if (min == 1 && max == 1)
        return a;
    if (a == RULES_NEVER)
        return min ? a : RULES_EMPTY;
    return add(r, (rule_node){.kind = NODE_REPEAT, .a = a, .min = min, .max = max});
}

uint32_t rules_declare(rules *r)
{
    if (r->rule_count >= RULES_MOST_RULES) {
        rules_fail(r, BP_EINVAL, "the grammar has more than %d rules", RULES_MOST_RULES);
        return 0;
    }
    if (!reserve(r, &r->bodies, r->rule_count, &r->rule_capacity, 1, sizeof *r->bodies))
        return 0;
    r->bodies[r->rule_count] = UINT32_MAX;
    return r->rule_count++;
}

void rules_define(rules *r, uint32_t rule, expression body)
{
    if (!r->failure.code)
        r->bodies[rule] = body;
}

expression rules_call(rules *r, uint32_t rule)
{
    return add(r, (rule_node){.kind = NODE_RULE, .a = rule});
}
