/* queue: the sequences that wait for a place in a scheduler, and whose turn it is.
 *
 * A sequence belongs to the tenant that its salt names. Higher priorities go first; within one, turns go to tenants (turns.h),
 * and each tenant's sequences go in the order they came. Service is counted in tokens: those of a prompt when it is admitted,
 * without what the prefix cache had of it, and those of an answer as they are sampled. So a tenant that sends one request
 * waits for about one of each other's, however many these have sent.
 *
 * Invariants:
 *   W1  A sequence's turn is what its tenant had been served when it was first admitted. It never changes after that: who was
 *       preempted waits with the turn it had, before all of its tenant that are new, and what it computes again is not
 *       counted again.
 *   W2  A tenant is known while one of its sequences waits or runs, and afterwards for as long as it has been served more than
 *       others; of those at most QUEUE_AWAY. When nobody is here all are forgotten.
 *   W3  What is served only grows, and turns with it: however many come, somebody who waits becomes the next.
 *
 * Threads: the scheduler's. */
#ifndef BACKPLANE_ENGINE_QUEUE_H
#define BACKPLANE_ENGINE_QUEUE_H

#include "engine/sequence.h"
#include "engine/turns.h"

#include <backplane/plugin.h>

enum { QUEUE_AWAY = 256 };

struct tenant {
    tenant *next;
    uint64_t served;  /* tokens */
    uint32_t present; /* sequences that wait or run */
    char salt[];
};

typedef struct queue {
    sequence *first; /* by priority, then arrival */
    uint32_t count;
    tenant *tenants;
    uint32_t present; /* of all tenants */
    uint64_t arrivals;
    turns turns;
} queue;

void queue_clear(queue *w); /* with nobody here */

/* A new sequence waits; BP_ENOMEM. */
bp_status queue_enter(queue *w, sequence *q, bp_error *error);
/* One that ran waits again. */
void queue_return(queue *w, sequence *q);
/* Who is next; NULL where nobody waits. */
sequence *queue_next(const queue *w);
/* It waits no longer. */
void queue_take(queue *w, sequence *q);
/* It is admitted, with so many tokens to compute. */
void queue_admit(queue *w, sequence *q, uint32_t tokens);
void queue_serve(sequence *q, uint32_t tokens);
/* It is over. */
void queue_leave(queue *w, sequence *q);

#endif
