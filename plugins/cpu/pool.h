/* A pool of threads that run one function together and meet at barriers inside it.
 *
 * The caller of pool_run is worker 0. Waiting spins for a while and then sleeps in a futex, so a step between barriers costs
 * well under a microsecond and an idle or oversubscribed machine is left alone. Every worker runs with the floating-point
 * environment of docs/numerics.md (round to nearest, denormals kept); the caller's is restored when pool_run returns.
 *
 * Invariants: one pool_run at a time; every worker meets the same barriers in the same order; the task counter of
 * pool_claim is zero, and every share empty, when a phase begins: who looks at a share too early sees nothing to take. */
#ifndef CPU_POOL_H
#define CPU_POOL_H

#include "placement.h"

typedef struct pool pool;
typedef void pool_fn(void *context, pool *threads, size_t worker);

/* At least one worker, the caller of pool_run included, who is bound as the others are while it runs. NULL where threads or
 * memory cannot be had. */
pool *pool_new(const placement *where, uint64_t spin_ns);
void pool_free(pool *threads);
size_t pool_workers(const pool *threads);
const placement *pool_placement(const pool *threads);

/* Runs fn on every worker; returns when all have returned. */
void pool_run(pool *threads, pool_fn *fn, void *context);

/* Inside fn. What a worker wrote before a barrier, all see after it. The task counter restarts from zero. */
void pool_barrier(pool *threads);
/* Inside fn: takes the next up to `grain` of `count` tasks, [*from, *to). False when none are left. */
int pool_claim(pool *threads, size_t count, size_t grain, size_t *from, size_t *to);

/* Inside fn: tasks [from, to) are this worker's share of the phase. */
void pool_share(pool *threads, size_t worker, size_t from, size_t to);
/* Inside fn, after pool_share: takes up to `grain` tasks from the front of the worker's share, and when that is empty from the
 * end of another's. False when none are left. Every worker that has a share empties it before the next barrier. */
int pool_take(pool *threads, size_t worker, size_t grain, size_t *from, size_t *to);

#endif
