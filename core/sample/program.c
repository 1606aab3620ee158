#include "sample/program.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static bp_status no_memory(bp_error *error)
{
    return error_set(error, BP_ENOMEM, "no memory to compile a grammar");
}

/* --- which expressions fit the empty text, and which any -------------------------------------------------------------- */

/* The parts of a node that its value depends on. */
static uint32_t parts_of(const rules *r, const rule_node *n, expression out[2])
{
    out[0] = n->kind == NODE_RULE ? r->bodies[n->a] : n->a;
    out[1] = n->b;
    return n->kind == NODE_SEQUENCE || n->kind == NODE_CHOICE ? 2 : n->kind == NODE_REPEAT || n->kind == NODE_RULE;
}

typedef struct parents {
    uint32_t *first, *list; /* those of node i: list[first[i]] … list[first[i + 1] - 1] */
} parents;

static bool find_parents(const rules *r, parents *p)
{
    expression parts[2];
    p->first = calloc((size_t)r->node_count + 2, sizeof *p->first);
    p->list = malloc(2 * (size_t)r->node_count * sizeof *p->list);
    if (!p->first || !p->list)
        return false;
    for (uint32_t i = 0; i < r->node_count; i++)
        for (uint32_t k = parts_of(r, &r->nodes[i], parts); k > 0; k--)
            p->first[parts[k - 1] + 2]++;
    for (uint32_t i = 2; i < r->node_count + 2; i++)
        p->first[i] += p->first[i - 1];
    for (uint32_t i = 0; i < r->node_count; i++)
        for (uint32_t k = parts_of(r, &r->nodes[i], parts); k > 0; k--)
            p->list[p->first[parts[k - 1] + 1]++] = i;
    return true;
}

/* True of a node whose parts make it so, where `leaf` says what bytes are: each node becomes true once, so the time is in
 * proportion to the grammar. NULL when out of memory. */
static bool *solve(const rules *r, bool leaf)
{
    parents p = {0};
    bool *value = calloc(r->node_count, sizeof *value);
    uint32_t *queue = malloc(r->node_count * sizeof *queue), count = 0;
    uint8_t *got = calloc(r->node_count, 1);
    bool good = value && queue && got && find_parents(r, &p);
    for (uint32_t i = 0; good && i < r->node_count; i++) {
        const rule_node *n = &r->nodes[i];
        bool bytes = n->kind == NODE_BYTES || n->kind == NODE_LITERAL;
        if (n->kind == NODE_EMPTY || (bytes && leaf) || (n->kind == NODE_REPEAT && n->min == 0)) {
            value[i] = true;
            queue[count++] = i;
        }
    }
    for (uint32_t at = 0; at < count; at++) {
        for (uint32_t k = p.first[queue[at]]; k < p.first[queue[at] + 1]; k++) {
            uint32_t parent = p.list[k];
            if (value[parent] || (r->nodes[parent].kind == NODE_SEQUENCE && ++got[parent] < 2))
                continue;
            value[parent] = true;
            queue[count++] = parent;
        }
    }
    free(p.first);
    free(p.list);
    free(queue);
    free(got);
    if (!good) {
        free(value);
        value = NULL;
    }
    return value;
}

/* --- instructions ---------------------------------------------------------------------------------------------------- */

typedef struct builder {
    const rules *rules;
    program *program;
    bool *nullable, *productive; /* [node_count] */
    uint32_t *starts;            /* [rule_count]; UINT32_MAX: not there yet */
    uint32_t *pending, pending_count; /* rules that are called and not there yet */
    uint32_t *set_of;            /* hash table of sets: index + 1 */
    uint32_t set_mask;
    bp_status status;
    bp_error *error;
} builder;

static uint32_t emit(builder *b, instruction i)
{
    program *p = b->program;
    if (b->status != BP_OK)
        return 0;
    if (p->count == PROGRAM_MOST_INSTRUCTIONS) {
        b->status = error_set(b->error, BP_EINVAL, "the grammar is too large: it takes more than %d instructions",
                              PROGRAM_MOST_INSTRUCTIONS);
        return 0;
    }
    if (p->count == p->capacity) {
        uint32_t capacity = p->capacity ? p->capacity * 2 : 64;
        instruction *larger = realloc(p->code, capacity * sizeof *larger);
        if (!larger) {
            b->status = no_memory(b->error);
            return 0;
        }
        p->code = larger;
        p->capacity = capacity;
    }
    p->code[p->count] = i;
    return p->count++;
}

/* Equal sets become one. */
static uint32_t intern_set(builder *b, const byte_set *set)
{
    program *p = b->program;
    uint64_t hash = 0;
    for (int i = 0; i < 4; i++)
        hash = (hash ^ set->bits[i]) * 0x9E3779B97F4A7C15u;
    uint32_t at = (uint32_t)(hash >> 32) & b->set_mask;
    for (; b->set_of[at]; at = (at + 1) & b->set_mask)
        if (memcmp(&p->sets[b->set_of[at] - 1], set, sizeof *set) == 0)
            return b->set_of[at] - 1;
    p->sets[p->set_count] = *set;
    b->set_of[at] = ++p->set_count;
    return p->set_count - 1;
}

static uint32_t emit_set(builder *b, const byte_set *set, uint32_t next)
{
    return emit(b, (instruction){.op = OP_BYTES, .other = intern_set(b, set), .next = next});
}

static uint32_t emit_literal(builder *b, const char *bytes, uint32_t count, uint32_t next)
{
    while (count-- > 0) {
        byte_set set = {0};
        byte_set_add(&set, (unsigned char)bytes[count], (unsigned char)bytes[count]);
        next = emit_set(b, &set, next);
    }
    return next;
}

static uint32_t build(builder *b, expression e, uint32_t next);

/* A body that fits the empty text is not counted: it may be left out any number of times. */
static uint32_t build_copies(builder *b, const rule_node *n, uint32_t next)
{
    if (n->max > PROGRAM_MOST_COPIES) {
        b->status = error_set(b->error, BP_EINVAL, "a repetition of up to %u of something that may be empty is too large: at most %d "
                              "are possible", n->max, PROGRAM_MOST_COPIES);
        return 0;
    }
    uint32_t start = next;
    for (uint32_t i = 0; i < n->max && b->status == BP_OK; i++)
        start = emit(b, (instruction){.op = OP_SPLIT, .next = build(b, n->a, start), .other = next});
    return start;
}

static uint32_t build_repeat(builder *b, const rule_node *n, uint32_t next)
{
    if (n->max == RULES_UNBOUNDED && (n->min <= 1 || b->nullable[n->a])) {
        uint32_t loop = emit(b, (instruction){.op = OP_SPLIT, .other = next});
        uint32_t body = build(b, n->a, loop);
        b->program->code[loop].next = body;
        return n->min == 1 ? body : loop;
    }
    if (b->nullable[n->a])
        return build_copies(b, n, next);
    if (n->max == 1)
        return emit(b, (instruction){.op = OP_SPLIT, .next = build(b, n->a, next), .other = next});
    uint32_t body = build(b, n->a, 0);
    return emit(b, (instruction){.op = OP_REPEAT, .other = body, .next = next, .min = n->min, .max = n->max});
}

static uint32_t build_call(builder *b, uint32_t rule, uint32_t next)
{
    if (b->starts[rule] == UINT32_MAX) {
        b->starts[rule] = UINT32_MAX - 1;
        b->pending[b->pending_count++] = rule;
    }
    return emit(b, (instruction){.op = OP_CALL, .other = rule, .next = next}); /* `other` becomes the rule's start */
}

/* The first instruction of an expression that goes on at `next`. Chains lean to the left: U2. */
static uint32_t build(builder *b, expression e, uint32_t next)
{
    const rule_node *n = &b->rules->nodes[e];
    while (n->kind == NODE_SEQUENCE && b->status == BP_OK) {
        next = build(b, n->b, next);
        n = &b->rules->nodes[n->a];
    }
    if (b->status != BP_OK)
        return 0;
    uint32_t rest = UINT32_MAX; /* the choices so far */
    for (; n->kind == NODE_CHOICE && b->status == BP_OK; n = &b->rules->nodes[n->a]) {
        if (!b->productive[n->b])
            continue;
        uint32_t one = build(b, n->b, next);
        rest = rest == UINT32_MAX ? one : emit(b, (instruction){.op = OP_SPLIT, .next = one, .other = rest});
    }
    uint32_t start = 0;
    switch (n->kind) {
    case NODE_EMPTY: start = next; break;
    case NODE_BYTES: start = emit_set(b, &b->rules->sets[n->a], next); break;
    case NODE_LITERAL: start = emit_literal(b, b->rules->text + n->a, n->b, next); break;
    case NODE_RULE: start = b->productive[n - b->rules->nodes] ? build_call(b, n->a, next) : emit_set(b, &(byte_set){0}, next); break;
    case NODE_REPEAT:
        start = b->productive[n->a] ? build_repeat(b, n, next) : n->min ? emit_set(b, &(byte_set){0}, next) : next;
        break;
    case NODE_SEQUENCE: start = build(b, (expression)(n - b->rules->nodes), next); break; /* the first choice */
    case NODE_NEVER:
    case NODE_CHOICE: start = emit_set(b, &(byte_set){0}, next); break;
    }
    if (rest == UINT32_MAX)
        return start;
    return b->productive[n - b->rules->nodes] ? emit(b, (instruction){.op = OP_SPLIT, .next = start, .other = rest}) : rest;
}

static void build_rules(builder *b, uint32_t root)
{
    program *p = b->program;
    emit(b, (instruction){.op = OP_RETURN});
    b->starts[root] = UINT32_MAX - 1;
    b->pending[b->pending_count++] = root;
    while (b->pending_count > 0 && b->status == BP_OK) {
        uint32_t rule = b->pending[--b->pending_count];
        b->starts[rule] = build(b, b->rules->bodies[rule], 0);
    }
    for (uint32_t i = 0; b->status == BP_OK && i < p->count; i++)
        if (p->code[i].op == OP_CALL)
            p->code[i].other = b->starts[p->code[i].other];
    p->start = b->starts[root];
}

/* --- left recursion --------------------------------------------------------------------------------------------------- */

/* Follows instructions that take no byte from `start` and marks them; a stack of its own, since a program may be long.
 * colour: 0 new, 1 on the way, 2 done. A call on the way again is a rule that calls itself first. */
typedef struct walk {
    uint32_t at, step;
} walk;

/* The step-th instruction that can follow without a byte; UINT32_MAX beyond the last. A call that may take nothing goes on
 * behind it. */
static uint32_t follow(const program *p, const bool *empty, uint32_t at, uint32_t step)
{
    const instruction *i = &p->code[at];
    uint32_t to[2] = {UINT32_MAX, UINT32_MAX}, count = 0;
    if (i->op == OP_SPLIT) {
        to[count++] = i->next;
        to[count++] = i->other;
    } else if (i->op == OP_CALL || i->op == OP_REPEAT) {
        to[count++] = i->other;
        if (empty[at])
            to[count++] = i->next;
    }
    return step < count ? to[step] : UINT32_MAX;
}

/* Whether instructions lead to themselves through a call: strongly connected parts (R. Tarjan, 1972) that hold a call and
 * what it calls. */
static bp_status check_recursion(const program *p, const bool *empty, bp_error *error)
{
    uint32_t *order = calloc(p->count, sizeof *order), *low = calloc(p->count, sizeof *low), next = 1, depth = 0, open_count = 0;
    uint32_t *open = malloc(p->count * sizeof *open), *part = calloc(p->count, sizeof *part), parts = 0;
    walk *path = malloc(p->count * sizeof *path);
    bp_status status = order && low && open && part && path ? BP_OK : no_memory(error);
    for (uint32_t root = 0; status == BP_OK && root < p->count; root++) {
        if (order[root])
            continue;
        path[depth++] = (walk){root, 0};
        while (depth > 0) {
            walk *w = &path[depth - 1];
            if (w->step == 0 && !order[w->at]) {
                order[w->at] = low[w->at] = next++;
                open[open_count++] = w->at;
            }
            uint32_t to = follow(p, empty, w->at, w->step++);
            if (to != UINT32_MAX) {
                if (!order[to])
                    path[depth++] = (walk){to, 0};
                else if (!part[to] && order[to] < low[w->at])
                    low[w->at] = order[to];
                continue;
            }
            uint32_t at = w->at;
            depth--;
            if (depth > 0 && low[at] < low[path[depth - 1].at])
                low[path[depth - 1].at] = low[at];
            if (low[at] != order[at])
                continue;
            parts++;
            do
                part[open[--open_count]] = parts;
            while (open[open_count] != at);
        }
    }
    for (uint32_t i = 0; status == BP_OK && i < p->count; i++)
        if (p->code[i].op == OP_CALL && part[i] == part[p->code[i].other])
            status = error_set(error, BP_EINVAL, "the grammar is left-recursive: a rule begins with itself");
    free(order);
    free(low);
    free(open);
    free(part);
    free(path);
    return status;
}

/* Which calls and repetitions may take nothing: of calls what their rule's expression is. */
static bool *find_empty(const builder *b)
{
    const program *p = b->program;
    bool *by_start = calloc(p->count, 1), *empty = calloc(p->count, 1);
    for (uint32_t rule = 0; by_start && rule < b->rules->rule_count; rule++)
        if (b->starts[rule] < p->count && b->nullable[b->rules->bodies[rule]])
            by_start[b->starts[rule]] = true;
    for (uint32_t i = 0; by_start && empty && i < p->count; i++) {
        const instruction *at = &p->code[i];
        empty[i] = (at->op == OP_CALL && by_start[at->other]) || (at->op == OP_REPEAT && at->min == 0);
    }
    free(by_start);
    return empty;
}

/* --- all of it -------------------------------------------------------------------------------------------------------- */

/* P4: sets split classes until none splits any. */
static void find_classes(program *p)
{
    p->class_count = 1;
    for (uint32_t s = 0; s < p->set_count && p->class_count < 256; s++) {
        uint16_t inside[256] = {0}, members[256] = {0}, new_class[256] = {0};
        for (unsigned b = 0; b < 256; b++) {
            members[p->classes[b]]++;
            inside[p->classes[b]] = (uint16_t)(inside[p->classes[b]] + byte_set_has(&p->sets[s], (unsigned char)b));
        }
        for (unsigned c = 0, count = p->class_count; c < count; c++)
            if (inside[c] > 0 && inside[c] < members[c])
                new_class[c] = (uint16_t)p->class_count++;
        for (unsigned b = 0; b < 256; b++)
            if (new_class[p->classes[b]] && byte_set_has(&p->sets[s], (unsigned char)b))
                p->classes[b] = (uint8_t)new_class[p->classes[b]];
    }
}

void program_clear(program *p)
{
    free(p->code);
    free(p->sets);
    *p = (program){0};
}

static bool builder_open(builder *b, const rules *r)
{
    size_t room = 512;
    while (room < 2 * ((size_t)r->set_count + 257 + 1))
        room *= 2;
    b->set_mask = (uint32_t)room - 1;
    b->nullable = solve(r, false);
    b->productive = solve(r, true);
    b->starts = malloc(r->rule_count * sizeof *b->starts);
    b->pending = malloc(((size_t)r->rule_count + 1) * sizeof *b->pending);
    b->set_of = calloc(room, sizeof *b->set_of);
    b->program->sets = malloc(((size_t)r->set_count + 257) * sizeof *b->program->sets); /* and single bytes, and none */
    if (b->starts)
        memset(b->starts, 0xFF, r->rule_count * sizeof *b->starts);
    return b->nullable && b->productive && b->starts && b->pending && b->set_of && b->program->sets;
}

bp_status program_compile(const rules *r, uint32_t root, program *out, bp_error *error)
{
    bp_status status = rules_status(r, error);
    if (status != BP_OK)
        return status;
    for (uint32_t i = 0; i < r->rule_count; i++)
        if (r->bodies[i] == UINT32_MAX)
            return error_set(error, BP_EINVAL, "rule %u of the grammar is not defined", i);
    *out = (program){0};
    builder b = {.rules = r, .program = out, .error = error};
    bool *empty = NULL;
    if (!builder_open(&b, r))
        b.status = no_memory(error);
    else if (!b.productive[r->bodies[root]])
        b.status = error_set(error, BP_EINVAL, "no finite text fits the grammar");
    if (b.status == BP_OK)
        build_rules(&b, root);
    if (b.status == BP_OK && !(empty = find_empty(&b)))
        b.status = no_memory(error);
    if (b.status == BP_OK)
        b.status = check_recursion(out, empty, error);
    if (b.status == BP_OK)
        find_classes(out);
    free(empty);
    free(b.nullable);
    free(b.productive);
    free(b.starts);
    free(b.pending);
    free(b.set_of);
    if (b.status != BP_OK)
        program_clear(out);
    return b.status;
}
