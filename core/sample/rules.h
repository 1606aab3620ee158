/* rules: a grammar while it is built: expressions over bytes, in rules that may refer to each other.
 *
 * Whoever reads a grammar's text (gbnf.c, regex.c, json_schema.c) builds it from the leaves up; program.c turns it into
 * instructions. An expression is a number that is valid as long as its rules.
 *
 * Invariants:
 *   U1  The first failure stays: later calls give RULES_EMPTY and change nothing, so that builders need not look at each step;
 *       rules_status tells.
 *   U2  The parts of an expression have lower numbers than it has. A chain of sequences or choices leans to the left.
 *   U3  There are at most RULES_MOST_NODES expressions and RULES_MOST_RULES rules: a budget of memory and of time, since all
 *       that is done with them takes time in proportion.
 *
 * One thread at a time. */
#ifndef BACKPLANE_SAMPLE_RULES_H
#define BACKPLANE_SAMPLE_RULES_H

#include <backplane/plugin.h>
#include <stdbool.h>

enum {
    RULES_MOST_NODES = 1 << 18,
    RULES_MOST_RULES = 1 << 14,
    RULES_MOST_BYTES = 1 << 20,    /* of a grammar's text */
    RULES_MOST_DEPTH = 200,        /* of groups, schemas and the like within each other */
    RULES_MOST_REPEAT = 65535      /* the largest number that a written repetition may have */
};
#define RULES_UNBOUNDED UINT32_MAX

typedef uint32_t expression;
enum { RULES_EMPTY = 0, RULES_NEVER = 1 }; /* the empty text, and what no text fits */

typedef struct byte_set {
    uint64_t bits[4];
} byte_set;
static inline bool byte_set_has(const byte_set *s, unsigned char byte)
{
    return s->bits[byte / 64] >> (byte % 64) & 1;
}
static inline void byte_set_add(byte_set *s, unsigned from, unsigned to)
{
    for (unsigned b = from; b <= to; b++)
        s->bits[b / 64] |= (uint64_t)1 << (b % 64);
}

typedef enum node_kind { NODE_EMPTY, NODE_NEVER, NODE_BYTES, NODE_LITERAL, NODE_SEQUENCE, NODE_CHOICE, NODE_REPEAT, NODE_RULE } node_kind;
typedef struct rule_node {
    node_kind kind;
    uint32_t a, b; /* BYTES: a set. LITERAL: where in `text`, how many. SEQUENCE, CHOICE: parts. REPEAT: part. RULE: a rule */
    uint32_t min, max; /* REPEAT */
} rule_node;

typedef struct rules {
    rule_node *nodes;
    byte_set *sets;
    char *text;          /* of literals */
    expression *bodies;  /* [rule_count]; UINT32_MAX while a rule has none */
    uint32_t node_count, set_count, text_count, rule_count;
    uint32_t node_capacity, set_capacity, text_capacity, rule_capacity;
    bp_error failure;    /* code 0: none */
} rules;

void rules_init(rules *r);
void rules_clear(rules *r); /* after init; leaves a zeroed one */
bp_status rules_status(const rules *r, bp_error *error);
/* Remembers a failure unless there is one; gives RULES_EMPTY. */
expression rules_fail(rules *r, bp_status code, const char *format, ...) BP_PRINTF(3, 4);

expression rules_bytes(rules *r, const byte_set *set);
expression rules_literal(rules *r, const char *bytes, size_t count);
expression rules_sequence(rules *r, expression a, expression b);
expression rules_choice(rules *r, expression a, expression b);
/* Whether it is a repetition without a bound. Readers refuse an unbounded repetition of nothing but that, as in (a+)+, which
 * says the same in countless ways. */
bool rules_is_unbounded(const rules *r, expression a);
/* Between min and max times; max may be RULES_UNBOUNDED. */
expression rules_repeat(rules *r, expression a, uint32_t min, uint32_t max);
static inline expression rules_optional(rules *r, expression a)
{
    return rules_repeat(r, a, 0, 1);
}
uint32_t rules_declare(rules *r); /* a new rule without a body */
void rules_define(rules *r, uint32_t rule, expression body);
expression rules_call(rules *r, uint32_t rule);

#endif
