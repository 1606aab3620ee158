#include "sample/machine.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { MEMO_SLOTS = 1 << 10 };
#define NO_STATE UINT32_MAX
#define FRAME_END UINT32_MAX /* a frame's `back` at the bottom: behind it the text may end */

typedef struct frame {
    uint32_t back;       /* the instruction to go on at, or the OP_REPEAT whose body this is */
    uint32_t need, room; /* of a repetition: rounds that must, and that may, be taken, this one included */
    uint32_t below;      /* a stack */
} frame;

typedef struct place {
    uint32_t at, stack; /* an instruction */
} place;

/* A run of frames or places, kept once: stacks and states. */
typedef struct span {
    uint32_t first, count, hash;
    uint32_t depth;  /* stacks: the most frames below each other */
    uint32_t near[MACHINE_REACHES]; /* what machine_near gives, for each of near_reach; NO_STATE: not yet */
    bool ends;       /* states: the text may end */
} span;

/* Spans over an array of items of one size, and a hash table of them. */
typedef struct pool {
    char *items;
    span *spans;
    uint32_t *slots; /* index + 1 */
    uint32_t item_count, item_capacity, span_count, span_capacity, slot_mask, item_size;
} pool;

typedef struct union_memo {
    uint32_t a, b, both; /* a == 0 && b == 0: free; stack 0 is the empty one, which needs no memo */
} union_memo;

/* What one byte leads through. */
typedef struct closure {
    uint32_t *stack_at, *stamp_of; /* [instructions] */
    uint32_t *queue;               /* instructions to follow, [queue_capacity] */
    place *taking;                 /* those that take a byte, [instructions] */
    uint32_t stamp, queue_count, queue_capacity, taking_count, work;
    bool ends;
} closure;

struct machine {
    program program;
    pool stacks, states;
    uint32_t *next;      /* [state][class] */
    uint32_t next_rows;
    uint32_t bottom;     /* the stack of the whole text */
    uint32_t near_reach[MACHINE_REACHES]; /* that `near` of the spans is for; 0: none yet */
    uint32_t age;
    closure closure;
    union_memo memo[MEMO_SLOTS];
    uint32_t unions; /* of the byte, or the near state, that is being worked out */
};

static bp_status no_memory(bp_error *error)
{
    return error_set(error, BP_ENOMEM, "no memory to follow a grammar");
}

/* --- pools ------------------------------------------------------------------------------------------------------------------- */

static void pool_clear(pool *p)
{
    free(p->items);
    free(p->spans);
    free(p->slots);
    *p = (pool){.item_size = p->item_size};
}

static bool grow(void *array, uint32_t *capacity, size_t needed, size_t size)
{
    void **data = array;
    if (needed <= *capacity)
        return true;
    size_t larger = *capacity ? *capacity : 64;
    while (larger < needed)
        larger *= 2;
    void *moved = larger < UINT32_MAX ? realloc(*data, larger * size) : NULL;
    if (!moved)
        return false;
    *data = moved;
    *capacity = (uint32_t)larger;
    return true;
}

static bool pool_rehash(pool *p)
{
    uint32_t mask = p->slot_mask ? p->slot_mask * 2 + 1 : 127;
    uint32_t *slots = calloc((size_t)mask + 1, sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t i = 0; i < p->span_count; i++) {
        uint32_t at = p->spans[i].hash & mask;
        while (slots[at])
            at = (at + 1) & mask;
        slots[at] = i + 1;
    }
    free(p->slots);
    p->slots = slots;
    p->slot_mask = mask;
    return true;
}

static uint32_t hash_of(const void *items, size_t bytes, bool ends)
{
    const uint32_t *word = items;
    uint64_t hash = ends ? 0x9E3779B97F4A7C15u : 0;
    for (size_t i = 0; i < bytes / sizeof *word; i++)
        hash = (hash ^ word[i]) * 0xD6E8FEB86659FD93u;
    return (uint32_t)(hash >> 32) ^ (uint32_t)hash;
}

/* The number of the span of these items, made if need be; NO_STATE when out of memory. */
static uint32_t pool_intern(pool *p, const void *items, uint32_t count, bool ends)
{
    size_t bytes = (size_t)count * p->item_size;
    uint32_t hash = hash_of(items, bytes, ends);
    if ((!p->slots || p->span_count > p->slot_mask / 2) && !pool_rehash(p))
        return NO_STATE;
    uint32_t at = hash & p->slot_mask;
    for (; p->slots[at]; at = (at + 1) & p->slot_mask) {
        const span *s = &p->spans[p->slots[at] - 1];
        if (s->hash == hash && s->count == count && s->ends == ends &&
            (!count || memcmp(p->items + (size_t)s->first * p->item_size, items, bytes) == 0))
            return p->slots[at] - 1;
    }
    if (!grow(&p->items, &p->item_capacity, (size_t)p->item_count + count, p->item_size) ||
        !grow(&p->spans, &p->span_capacity, (size_t)p->span_count + 1, sizeof *p->spans))
        return NO_STATE;
    if (count)
        memcpy(p->items + (size_t)p->item_count * p->item_size, items, bytes);
    p->spans[p->span_count] = (span){.first = p->item_count, .count = count, .hash = hash, .near = {NO_STATE, NO_STATE}, .ends = ends};
    p->item_count += count;
    p->slots[at] = ++p->span_count;
    return p->span_count - 1;
}

/* Borrowed until the pool grows. */
static const frame *frames_of(const machine *m, uint32_t stack)
{
    return (const frame *)(void *)m->stacks.items + m->stacks.spans[stack].first;
}

static const place *places_of(const machine *m, uint32_t state)
{
    return (const place *)(void *)m->states.items + m->states.spans[state].first;
}

/* --- stacks ------------------------------------------------------------------------------------------------------------------- */

static uint32_t intern_stack(machine *m, const frame *frames, uint32_t count)
{
    uint32_t before = m->stacks.span_count, stack = pool_intern(&m->stacks, frames, count, false);
    if (stack == NO_STATE || stack < before)
        return stack;
    uint32_t depth = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t below = frames[i].back == FRAME_END ? 0 : m->stacks.spans[frames[i].below].depth + 1;
        depth = below > depth ? below : depth;
    }
    m->stacks.spans[stack].depth = depth;
    return stack;
}

static int compare_frames(const frame *a, const frame *b)
{
    if (a->back != b->back)
        return a->back < b->back ? -1 : 1;
    if (a->need != b->need)
        return a->need < b->need ? -1 : 1;
    return a->room < b->room ? -1 : a->room > b->room;
}

/* Why there is no stack. */
static bp_status no_stack(const machine *m, bp_error *error)
{
    if (m->unions <= MACHINE_MOST_UNIONS)
        return no_memory(error);
    return error_set(error, BP_EGRAMMAR, "the grammar is too ambiguous: one byte leads to more than %d ways that become one",
                     MACHINE_MOST_UNIONS);
}

/* The frames of both; those that differ only in what is below become one. NO_STATE when out of memory, or over what a byte may
 * ask for. */
static uint32_t unite(machine *m, uint32_t a, uint32_t b)
{
    if (a == b)
        return a;
    if (a > b)
        return unite(m, b, a);
    union_memo *memo = &m->memo[(a * 0x9E3779B1u ^ b * 0x85EBCA77u) % MEMO_SLOTS];
    if (memo->a == a && memo->b == b && (a || b))
        return memo->both;
    if (++m->unions > MACHINE_MOST_UNIONS)
        return NO_STATE;
    uint32_t count_a = m->stacks.spans[a].count, count_b = m->stacks.spans[b].count, count = 0, i = 0, k = 0;
    frame *out = calloc((size_t)count_a + count_b + 1, sizeof *out);
    bool good = out != NULL;
    while (good && (i < count_a || k < count_b)) {
        frame x = i < count_a ? frames_of(m, a)[i] : (frame){0}, y = k < count_b ? frames_of(m, b)[k] : (frame){0};
        int order = i == count_a ? 1 : k == count_b ? -1 : compare_frames(&x, &y);
        if (order == 0 && x.below != y.below) {
            x.below = unite(m, x.below, y.below);
            good = x.below != NO_STATE;
        }
        out[count++] = order <= 0 ? x : y;
        i += order <= 0;
        k += order >= 0;
    }
    uint32_t both = good ? intern_stack(m, out, count) : NO_STATE;
    free(out);
    if (both != NO_STATE)
        *memo = (union_memo){a, b, both};
    return both;
}

static uint32_t push(machine *m, uint32_t back, uint32_t need, uint32_t room, uint32_t below)
{
    return intern_stack(m, &(frame){back, need, room, below}, 1);
}

/* --- following instructions that take no byte ---------------------------------------------------------------------------------- */

/* Goes to an instruction with a stack, on top of those that it was reached with before. */
static bp_status reach(machine *m, uint32_t at, uint32_t stack, bp_error *error)
{
    closure *c = &m->closure;
    if (stack == NO_STATE)
        return no_memory(error);
    if (c->stamp_of[at] == c->stamp) {
        stack = unite(m, c->stack_at[at], stack);
        if (stack == NO_STATE)
            return no_stack(m, error);
        if (stack == c->stack_at[at])
            return BP_OK;
    } else if (m->program.code[at].op == OP_BYTES) {
        c->taking[c->taking_count++].at = at;
    }
    c->stamp_of[at] = c->stamp;
    c->stack_at[at] = stack;
    if (m->program.code[at].op == OP_BYTES)
        return BP_OK;
    if (!grow(&c->queue, &c->queue_capacity, (size_t)c->queue_count + 1, sizeof *c->queue))
        return no_memory(error);
    c->queue[c->queue_count++] = at;
    return BP_OK;
}

static bp_status enter(machine *m, uint32_t at, uint32_t back, uint32_t need, uint32_t room, uint32_t stack, bp_error *error)
{
    if (m->stacks.spans[stack].depth >= MACHINE_MOST_DEPTH)
        return BP_OK; /* N4 */
    return reach(m, at, push(m, back, need, room, stack), error);
}

static bp_status leave(machine *m, const frame *f, bp_error *error)
{
    if (f->back == FRAME_END) {
        m->closure.ends = true;
        return BP_OK;
    }
    const instruction *i = &m->program.code[f->back];
    if (i->op != OP_REPEAT || f->room == 0)
        return reach(m, f->back, f->below, error);
    uint32_t need = f->need ? f->need - 1 : 0, room = f->room == RULES_UNBOUNDED ? f->room : f->room - 1;
    bp_status status = need ? BP_OK : reach(m, i->next, f->below, error);
    if (status == BP_OK && room)
        status = enter(m, i->other, f->back, need, room, f->below, error);
    return status;
}

static bp_status follow(machine *m, uint32_t at, bp_error *error)
{
    const instruction *i = &m->program.code[at];
    uint32_t stack = m->closure.stack_at[at];
    bp_status status = BP_OK;
    switch (i->op) {
    case OP_BYTES: return BP_OK;
    case OP_SPLIT:
        status = reach(m, i->next, stack, error);
        return status == BP_OK ? reach(m, i->other, stack, error) : status;
    case OP_CALL: /* the last thing that a rule does needs no way back */
        return i->next == 0 ? reach(m, i->other, stack, error) : enter(m, i->other, i->next, 0, 0, stack, error);
    case OP_REPEAT:
        if (i->min == 0)
            status = reach(m, i->next, stack, error);
        return status == BP_OK ? enter(m, i->other, at, i->min, i->max, stack, error) : status;
    case OP_RETURN:
        for (uint32_t k = 0; status == BP_OK && k < m->stacks.spans[stack].count; k++) {
            frame f = frames_of(m, stack)[k];
            status = leave(m, &f, error);
        }
        return status;
    }
    return BP_OK;
}

static void begin_closure(machine *m)
{
    closure *c = &m->closure;
    c->stamp++;
    if (c->stamp == 0) { /* all around: old stamps would be taken for new ones */
        memset(c->stamp_of, 0, m->program.count * sizeof *c->stamp_of);
        c->stamp = 1;
    }
    c->queue_count = c->taking_count = c->work = 0;
    m->unions = 0;
    c->ends = false;
}

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Room for the successors of one more state. */
static bool reserve_row(machine *m)
{
    uint32_t classes = m->program.class_count;
    if (m->next_rows > m->states.span_count)
        return true;
    uint32_t rows = m->next_rows ? m->next_rows * 2 : 16;
    uint32_t *larger = realloc(m->next, (size_t)rows * classes * sizeof *larger);
    if (!larger)
        return false;
    m->next = larger;
    m->next_rows = rows;
    return true;
}

static bp_status intern_state(machine *m, const place *places, uint32_t count, bool ends, uint32_t *out, bp_error *error)
{
    uint32_t before = m->states.span_count, classes = m->program.class_count;
    uint32_t state = reserve_row(m) ? pool_intern(&m->states, places, count, ends) : NO_STATE;
    if (state == NO_STATE)
        return no_memory(error);
    if (state == before)
        memset(m->next + (size_t)state * classes, 0xFF, classes * sizeof *m->next);
    *out = state;
    return BP_OK;
}

/* Follows what was reached until only instructions that take a byte are left: the state. */
static bp_status close(machine *m, uint32_t *out, bp_error *error)
{
    closure *c = &m->closure;
    while (c->queue_count > 0) {
        if (++c->work > MACHINE_MOST_WORK)
            return error_set(error, BP_EGRAMMAR, "the grammar is too ambiguous: one byte leads through more than %d steps",
                             MACHINE_MOST_WORK);
        bp_status status = follow(m, c->queue[--c->queue_count], error);
        if (status != BP_OK)
            return status;
    }
    for (uint32_t i = 0; i < c->taking_count; i++)
        c->taking[i].stack = c->stack_at[c->taking[i].at];
    if (c->taking_count)
        qsort(c->taking, c->taking_count, sizeof *c->taking, compare_places);
    return intern_state(m, c->taking, c->taking_count, c->ends, out, error);
}

/* --- states ------------------------------------------------------------------------------------------------------------------- */

machine_table machine_look(const machine *m)
{
    return (machine_table){m->next, m->program.classes, m->program.class_count};
}

bp_status machine_next(machine *m, uint32_t state, unsigned char byte, uint32_t *out, bp_error *error)
{
    machine_table known = machine_look(m);
    uint32_t next = machine_known(&known, state, byte);
    if (next != NO_STATE) {
        *out = next;
        return BP_OK;
    }
    if (machine_bytes(m) > MACHINE_MOST_BYTES)
        return error_set(error, BP_EGRAMMAR, "the grammar takes more than %d MiB to follow", MACHINE_MOST_BYTES >> 20);
    begin_closure(m);
    bp_status status = BP_OK;
    for (uint32_t i = 0; status == BP_OK && i < m->states.spans[state].count; i++) {
        place from = places_of(m, state)[i];
        const instruction *at = &m->program.code[from.at];
        if (byte_set_has(&m->program.sets[at->other], byte))
            status = reach(m, at->next, from.stack, error);
    }
    if (status == BP_OK)
        status = close(m, &next, error);
    if (status != BP_OK)
        return status;
    m->next[(size_t)state * known.class_count + known.classes[byte]] = next;
    *out = next;
    return BP_OK;
}

bool machine_may_end(const machine *m, uint32_t state)
{
    return m->states.spans[state].ends;
}

bool machine_must_end(const machine *m, uint32_t state)
{
    return m->states.spans[state].count == 0;
}

/* --- near states ---------------------------------------------------------------------------------------------------------------- */

static uint32_t near_stack(machine *m, uint32_t stack, uint32_t which)
{
    const uint32_t reach_bytes = m->near_reach[which];
    uint32_t count = m->stacks.spans[stack].count, near = m->stacks.spans[stack].near[which];
    if (near != NO_STATE)
        return near;
    for (uint32_t i = 0; i < count; i++) {
        frame f = frames_of(m, stack)[i];
        uint32_t one = m->bottom;
        if (f.back != FRAME_END) {
            f.below = near_stack(m, f.below, which);
            f.need = f.need > reach_bytes ? reach_bytes + 1 : f.need;
            f.room = f.room > reach_bytes ? RULES_UNBOUNDED : f.room;
            one = f.below == NO_STATE ? NO_STATE : intern_stack(m, &f, 1);
        }
        if (one == NO_STATE)
            return NO_STATE;
        near = near == NO_STATE ? one : unite(m, near, one); /* frames that are alike by now become one */
        if (near == NO_STATE)
            return NO_STATE;
    }
    m->stacks.spans[stack].near[which] = near;
    return near;
}

/* The place of a reach among those that are remembered; the last one makes way for a new one. */
static uint32_t find_reach(machine *m, uint32_t reach_bytes)
{
    for (uint32_t i = 0; i < MACHINE_REACHES; i++)
        if (m->near_reach[i] == reach_bytes)
            return i;
    uint32_t which = m->near_reach[0] ? 1 : 0;
    for (uint32_t i = 0; i < m->stacks.span_count; i++)
        m->stacks.spans[i].near[which] = NO_STATE;
    for (uint32_t i = 0; i < m->states.span_count; i++)
        m->states.spans[i].near[which] = NO_STATE;
    m->near_reach[which] = reach_bytes;
    return which;
}

bp_status machine_near(machine *m, uint32_t state, uint32_t reach_bytes, uint32_t *out, bp_error *error)
{
    uint32_t which = find_reach(m, reach_bytes), count = m->states.spans[state].count, near = m->states.spans[state].near[which];
    if (near == NO_STATE) {
        place *places = malloc(((size_t)count + 1) * sizeof *places);
        m->unions = 0;
        bp_status status = places ? BP_OK : no_memory(error);
        for (uint32_t i = 0; status == BP_OK && i < count; i++) {
            places[i] = places_of(m, state)[i];
            places[i].stack = near_stack(m, places[i].stack, which);
            if (places[i].stack == NO_STATE)
                status = no_stack(m, error);
        }
        if (status == BP_OK)
            status = intern_state(m, places, count, m->states.spans[state].ends, &near, error);
        free(places);
        if (status != BP_OK)
            return status;
        m->states.spans[state].near[which] = near;
    }
    *out = near;
    return BP_OK;
}

/* --- life --------------------------------------------------------------------------------------------------------------------- */

static bool init_tables(machine *m)
{
    m->stacks.item_size = sizeof(frame);
    m->states.item_size = sizeof(place);
    m->bottom = push(m, FRAME_END, 0, 0, 0);
    uint32_t dead = NO_STATE;
    return m->bottom != NO_STATE && intern_state(m, NULL, 0, false, &dead, NULL) == BP_OK && dead == MACHINE_DEAD;
}

bp_status machine_new(program *p, machine **out, bp_error *error)
{
    machine *m = calloc(1, sizeof *m);
    if (!m) {
        program_clear(p);
        return no_memory(error);
    }
    m->program = *p;
    *p = (program){0};
    m->closure.stack_at = malloc(m->program.count * sizeof *m->closure.stack_at);
    m->closure.stamp_of = calloc(m->program.count, sizeof *m->closure.stamp_of);
    m->closure.taking = malloc(m->program.count * sizeof *m->closure.taking);
    bool enough = m->closure.stack_at && m->closure.stamp_of && m->closure.taking && init_tables(m);
    bp_status status = enough ? BP_OK : no_memory(error);
    uint32_t start = 0;
    if (status == BP_OK) {
        begin_closure(m);
        status = reach(m, m->program.start, m->bottom, error);
    }
    if (status == BP_OK)
        status = close(m, &start, error);
    if (status == BP_OK && start != MACHINE_START)
        status = error_set(error, BP_EINVAL, "no text fits the grammar");
    if (status != BP_OK) {
        machine_free(m);
        return status;
    }
    *out = m;
    return BP_OK;
}

void machine_free(machine *m)
{
    if (!m)
        return;
    program_clear(&m->program);
    pool_clear(&m->stacks);
    pool_clear(&m->states);
    free(m->next);
    free(m->closure.stack_at);
    free(m->closure.stamp_of);
    free(m->closure.queue);
    free(m->closure.taking);
    free(m);
}

static size_t pool_bytes(const pool *p)
{
    return (size_t)p->item_capacity * p->item_size + p->span_capacity * sizeof *p->spans + ((size_t)p->slot_mask + 1) * sizeof *p->slots;
}

size_t machine_bytes(const machine *m)
{
    const program *p = &m->program;
    return sizeof *m + pool_bytes(&m->stacks) + pool_bytes(&m->states) + (size_t)m->next_rows * p->class_count * sizeof *m->next +
           p->capacity * sizeof *p->code + p->set_count * sizeof *p->sets +
           p->count * (2 * sizeof(uint32_t) + sizeof(place)) + m->closure.queue_capacity * sizeof(uint32_t);
}

const program *machine_program(const machine *m)
{
    return &m->program;
}

uint32_t machine_age(const machine *m)
{
    return m->age;
}

/* --- forgetting ----------------------------------------------------------------------------------------------------------------- */

/* `moved[s]` is what the old stack s is among the new ones. */
static uint32_t move_stack(machine *m, const machine *old, uint32_t stack, uint32_t *moved)
{
    if (moved[stack] != NO_STATE)
        return moved[stack];
    uint32_t count = old->stacks.spans[stack].count;
    frame *frames = malloc(((size_t)count + 1) * sizeof *frames);
    bool good = frames != NULL;
    for (uint32_t i = 0; good && i < count; i++) {
        frames[i] = frames_of(old, stack)[i];
        if (frames[i].back != FRAME_END)
            frames[i].below = move_stack(m, old, frames[i].below, moved);
        good = frames[i].below != NO_STATE;
    }
    moved[stack] = good ? intern_stack(m, frames, count) : NO_STATE;
    free(frames);
    return moved[stack];
}

static uint32_t move_state(machine *m, const machine *old, uint32_t state, uint32_t *moved)
{
    uint32_t count = old->states.spans[state].count, out = NO_STATE;
    place *places = malloc(((size_t)count + 1) * sizeof *places);
    bool good = places != NULL;
    for (uint32_t i = 0; good && i < count; i++) {
        places[i] = places_of(old, state)[i];
        places[i].stack = move_stack(m, old, places[i].stack, moved);
        good = places[i].stack != NO_STATE;
    }
    if (good && intern_state(m, places, count, old->states.spans[state].ends, &out, NULL) != BP_OK)
        out = NO_STATE;
    free(places);
    return out;
}

bp_status machine_collect(machine *m, uint32_t *const *states, size_t count, bp_error *error)
{
    machine *old = malloc(sizeof *old);
    uint32_t *moved = malloc(m->stacks.span_count * sizeof *moved), *numbers = malloc((count + 1) * sizeof *numbers);
    if (!old || !moved || !numbers) {
        free(old);
        free(moved);
        free(numbers);
        return no_memory(error);
    }
    memset(moved, 0xFF, m->stacks.span_count * sizeof *moved);
    *old = *m;
    m->stacks = m->states = (pool){0};
    m->next = NULL;
    m->next_rows = 0;
    memset(m->memo, 0, sizeof m->memo);
    bool good = init_tables(m) && move_state(m, old, MACHINE_START, moved) == MACHINE_START;
    for (size_t i = 0; good && i < count; i++) {
        numbers[i] = *states[i] == MACHINE_DEAD ? MACHINE_DEAD : move_state(m, old, *states[i], moved);
        good = numbers[i] != NO_STATE;
    }
    machine *gone = good ? old : m; /* whose tables go */
    pool_clear(&gone->stacks);
    pool_clear(&gone->states);
    free(gone->next);
    for (size_t i = 0; good && i < count; i++)
        *states[i] = numbers[i];
    if (good)
        m->age++;
    else
        *m = *old;
    free(old);
    free(moved);
    free(numbers);
    return good ? BP_OK : no_memory(error);
}
