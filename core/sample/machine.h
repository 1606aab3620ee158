/* machine: where a text stands in a grammar, and where one more byte leads.
 *
 * The grammar's program (program.h) is followed along all of its ways at once. A *stack* is a set of frames, each with the set
 * of frames below it, so that ways which differ only further down are one (a graph-structured stack: M. Tomita, 1985). A
 * *state* is a set of instructions that take a byte, each with its stack. Stacks and states are kept once each and are
 * numbers; what a byte leads to is worked out when it is first asked for, and remembered. So a grammar becomes a
 * deterministic automaton, as far as it is used.
 *
 * Two states behave alike for the next `reach` bytes if they differ only in counts that so few bytes cannot exhaust:
 * machine_near gives the state that stands for all of these.
 *
 * Invariants:
 *   N1  What a state allows is a function of the program and of the bytes that led to it, never of what else was asked.
 *   N2  Frames of a stack ascend strictly by (back, need, room); instructions of a state ascend strictly.
 *   N3  State 0 is dead: nothing leads on from it, and no text ends there. State 1 is the start. machine_collect keeps both.
 *   N4  Frames are at most MACHINE_MOST_DEPTH deep; a way that would go deeper is none.
 *
 * One thread at a time. */
#ifndef BACKPLANE_SAMPLE_MACHINE_H
#define BACKPLANE_SAMPLE_MACHINE_H

#include "sample/program.h"

enum {
    MACHINE_MOST_DEPTH = 1000,
    MACHINE_MOST_WORK = 1 << 16,   /* instructions that one byte may lead through */
    MACHINE_MOST_UNIONS = 1 << 16, /* of stacks, that one byte may ask for */
    MACHINE_MOST_BYTES = 64 << 20, /* of one machine's tables */
    MACHINE_DEAD = 0, MACHINE_START = 1
};

typedef struct machine machine;

/* The program is handed over, also on failure. */
bp_status machine_new(program *p, machine **out, bp_error *error);
void machine_free(machine *m); /* NULL is fine */

/* The state that `byte` leads to, MACHINE_DEAD for none. Errors, with *out untouched: BP_ENOMEM; BP_EGRAMMAR, over
 * MACHINE_MOST_WORK, MACHINE_MOST_UNIONS (of which those that are remembered are not counted) or MACHINE_MOST_BYTES. */
bp_status machine_next(machine *m, uint32_t state, unsigned char byte, uint32_t *out, bp_error *error);
/* What is known of successors, valid until the next machine_next or machine_near; MACHINE_UNKNOWN: not asked before. */
#define MACHINE_UNKNOWN UINT32_MAX
typedef struct machine_table {
    const uint32_t *next;
    const uint8_t *classes;
    uint32_t class_count;
} machine_table;
machine_table machine_look(const machine *m);
static inline uint32_t machine_known(const machine_table *t, uint32_t state, unsigned char byte)
{
    return t->next[(size_t)state * t->class_count + t->classes[byte]];
}
bool machine_may_end(const machine *m, uint32_t state);  /* a text that led here fits the grammar */
bool machine_must_end(const machine *m, uint32_t state); /* nothing leads on from here */
bp_status machine_near(machine *m, uint32_t state, uint32_t reach, uint32_t *out, bp_error *error);
enum { MACHINE_REACHES = 2 }; /* so many different ones are remembered at a time */

size_t machine_bytes(const machine *m);
const program *machine_program(const machine *m);
/* Forgets all states but these, whose numbers change, and counts `machine_age` up. BP_ENOMEM: nothing has changed. */
bp_status machine_collect(machine *m, uint32_t *const *states, size_t count, bp_error *error);
uint32_t machine_age(const machine *m);

#endif
