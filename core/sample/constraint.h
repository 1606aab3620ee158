/* constraint: what holds one answer to a grammar, and the grammars that a model's requests share.
 *
 * A grammar is compiled when a request first brings it, on that request's thread, and kept: requests with the same text share
 * one machine, and one that nobody uses stays until others need its room. Masks are the model's (masks.h).
 *
 * Invariants:
 *   O1  What is allowed is a function of the grammar and the answer's bytes so far: a guessed token is judged like any
 *       other, and a request that was preempted goes on where it was.
 *   O2  Grammars that nobody uses hold at most CONSTRAINTS_IDLE_BYTES together; the one used longest ago goes first.
 *   O3  A machine with more than twice what its requests needed last time forgets what they do not need.
 *
 * Threads: constraint_mask, _accept and _over by one thread at a time for all constraints of a model, its loop's; the rest by
 * any. */
#ifndef BACKPLANE_SAMPLE_CONSTRAINT_H
#define BACKPLANE_SAMPLE_CONSTRAINT_H

#include "sample/token_trie.h"

enum { CONSTRAINTS_IDLE_BYTES = 32 << 20, CONSTRAINTS_MASK_BYTES = 16 << 20, CONSTRAINTS_COLLECT_BYTES = 4 << 20 };

typedef struct constraints constraints; /* of a model */
typedef struct constraint constraint;   /* of a request */

/* The source is copied; what it points to outlives the constraints. */
bp_status constraints_new(const token_source *source, constraints **out, bp_error *error);
void constraints_free(constraints *c); /* without a constraint left; NULL is fine */
size_t constraints_idle_bytes(constraints *c);

/* Compiles the grammar unless it is there. Errors: BP_EGRAMMAR, BP_ENOMEM. */
bp_status constraint_new(constraints *c, uint32_t kind, const char *text, size_t bytes, constraint **out, bp_error *error);
void constraint_free(constraint *c); /* NULL is fine */

/* *out, valid until the next call for any constraint of the model: bit t of word t / 64 is set where token t may be next.
 * `with_ends`: tokens that end an answer are allowed where the grammar may end. It may be empty, where the
 * vocabulary cannot spell what the grammar wants. BP_EGRAMMAR, BP_ENOMEM: the grammar takes too much to follow. */
bp_status constraint_mask(constraint *c, bool with_ends, const uint64_t **out, bp_error *error);
/* A token of the mask that is part of the answer. */
bp_status constraint_accept(constraint *c, uint32_t token, bp_error *error);
bool constraint_over(const constraint *c); /* the text fits the grammar, and no longer one does */

#endif
