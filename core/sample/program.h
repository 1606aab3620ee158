/* program: a grammar as instructions over bytes, which machine.c follows.
 *
 * Every rule is a piece of a nondeterministic automaton (K. Thompson, 1968) and may call others: calls and counted
 * repetitions push a frame, OP_RETURN pops it. Bounds of repetitions are numbers in frames and not copies of their body, so
 * {0,65535} costs as much as {0,2}.
 *
 * Invariants, once compiled:
 *   P1  Instruction 0 is the only OP_RETURN.
 *   P2  No rule calls itself without taking a byte first, so following instructions without a byte comes to an end; the body
 *       of an OP_REPEAT never fits the empty text.
 *   P3  From every instruction that the start leads to, a finite text leads to the end, as long as calls to it are possible:
 *       rules that no finite text fits are refused where the start needs them, and are nowhere else.
 *   P4  Bytes of one class are told apart by no set.
 *
 * Immutable once compiled; any thread. */
#ifndef BACKPLANE_SAMPLE_PROGRAM_H
#define BACKPLANE_SAMPLE_PROGRAM_H

#include "sample/rules.h"

enum { PROGRAM_MOST_INSTRUCTIONS = 1 << 18, PROGRAM_MOST_COPIES = 64 };

typedef enum operation {
    OP_RETURN,
    OP_BYTES,  /* a byte of the set `other`, then `next` */
    OP_SPLIT,  /* `next` or `other` */
    OP_CALL,   /* `other`, then `next` */
    OP_REPEAT  /* `other` between min and max times, then `next` */
} operation;
typedef struct instruction {
    operation op;
    uint32_t next, other, min, max;
} instruction;

typedef struct program {
    instruction *code;
    byte_set *sets;
    uint32_t count, capacity, set_count, start;
    uint8_t classes[256];
    uint32_t class_count; /* 1 … 256 */
} program;

/* Of the rule `root`. Errors: BP_EINVAL, the grammar has no finite text, is left-recursive or too large; BP_ENOMEM. */
bp_status program_compile(const rules *r, uint32_t root, program *out, bp_error *error);
void program_clear(program *p); /* leaves a zeroed one */

#endif
