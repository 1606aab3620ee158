/* walk: sequences of a subject on a machine, in the engine's part, every row held against the oracle.
 *
 * Pages come from a free list in an order drawn at random, and go back to it with what they hold. The first difference ends the
 * walk: later calls do nothing, and `trouble` is the sentence. */
#ifndef PROOF_WALK_H
#define PROOF_WALK_H

#include "subject.h"
#include "visits.h"

enum { WALK_LIVE = MACHINE_SEQUENCES, POISONED = -1 };

typedef struct sequence {
    bool live;
    int32_t prompt; /* or POISONED */
    int32_t at;     /* tokens run */
    int32_t pages[MACHINE_STRIDE], page_count;
} sequence;

typedef struct walk {
    const subject *s;
    machine *m;
    machine_setup how;
    const char *axis; /* what is being tried, for the sentence */
    uint64_t random;
    int32_t *page_users, *free_pages; /* [page_count] */
    bool *stale; /* [page_count] a poisoned sequence wrote it last */
    uint32_t free_count;
    sequence sequences[WALK_LIVE];
    float *out;
    char trouble[400]; /* empty while all is well */
} walk;

walk *walk_begin(const subject *s, const machine_setup *how);
void walk_end(walk *w);

uint32_t walk_random(walk *w, uint32_t below);

/* A new sequence without tokens. */
sequence *walk_new(walk *w, int32_t prompt);
/* A new sequence that begins with the first `length` tokens of another: whole pages shared, the last one copied. */
sequence *walk_fork(walk *w, const sequence *from, int32_t length);
void walk_free(walk *w, sequence *q);
/* Forgets all of a sequence's pages; it must be run again from its first token. */
void walk_preempt(walk *w, sequence *q);

typedef struct move {
    sequence *q;
    int32_t count;  /* tokens of its prompt */
    int32_t wrong;  /* and then so many rows of tokens that the prompt does not have, which do not stay */
} move;
/* One step; the rows of the prompt's tokens are compared. */
void walk_step(walk *w, const move *moves, uint32_t count);
/* Runs `q` up to position `to`, `chunk` tokens a step. */
void walk_run(walk *w, sequence *q, int32_t to, int32_t chunk);

/* Compares K and V of the sequence at every layer, from position `from` on. */
void walk_check_kv(walk *w, const sequence *q, int32_t from);

#endif
