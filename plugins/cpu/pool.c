/* Spin-then-sleep barriers and a shared task counter.
 *
 * Two words carry everything: `job` counts the runs started, `phase` the barriers passed. A waiter reads the word before it
 * announces itself and waits for it to change, so no wake-up is lost: the one who changes the word changes it first and
 * looks for sleepers afterwards. */
#include "pool.h"

#include "platform.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct worker_seat {
    alignas(64) _Atomic uint64_t share; /* first task, and above it, by 32 bits, the end */
    pool *threads;
    size_t number;
    pthread_t thread;
} worker_seat;

struct pool {
    size_t workers;
    placement where;
    uint64_t spin_ns;
    pool_fn *fn;
    void *context;
    size_t started; /* seats whose thread runs */
    atomic_bool stop;
    worker_seat *seats;
    alignas(64) _Atomic uint32_t job;
    _Atomic uint32_t job_sleepers;
    alignas(64) _Atomic uint32_t phase;
    _Atomic uint32_t phase_sleepers;
    alignas(64) _Atomic uint32_t arrived;
    alignas(64) atomic_size_t next_task;
};

/* Waits until *word differs from `seen`. */
static void wait_for_change(_Atomic uint32_t *word, _Atomic uint32_t *sleepers, uint32_t seen, uint64_t spin_ns)
{
    enum { SPINS_PER_LOOK = 64 };
    uint64_t until = 0;
    for (uint32_t spins = 0; atomic_load_explicit(word, memory_order_acquire) == seen; spins++) {
        platform_pause();
        if (spins % SPINS_PER_LOOK != SPINS_PER_LOOK - 1)
            continue;
        uint64_t now = platform_now();
        if (until == 0)
            until = now + spin_ns;
        if (now < until)
            continue;
        atomic_fetch_add(sleepers, 1);
        while (atomic_load(word) == seen)
            platform_sleep_while_equal(word, seen);
        atomic_fetch_sub(sleepers, 1);
        return;
    }
}

static void change(_Atomic uint32_t *word, _Atomic uint32_t *sleepers)
{
    atomic_fetch_add(word, 1);
    if (atomic_load(sleepers) != 0)
        platform_wake_all(word);
}

/* Where it cannot be bound a worker runs anywhere: slower, the same. */
static void bind_worker(const pool *threads, size_t worker)
{
    if (threads->where.binds)
        (void)platform_bind_thread(&threads->where.at[placement_node(&threads->where, worker)]);
}

static void *worker_main(void *argument)
{
    worker_seat *seat = argument;
    pool *threads = seat->threads;
    uint32_t seen = 0;
    platform_float_environment environment = platform_set_float_environment();
    bind_worker(threads, seat->number);
    for (;;) {
        wait_for_change(&threads->job, &threads->job_sleepers, seen, threads->spin_ns);
        seen++;
        if (atomic_load(&threads->stop))
            break;
        threads->fn(threads->context, threads, seat->number);
        pool_barrier(threads);
    }
    platform_restore_float_environment(environment);
    return NULL;
}

pool *pool_new(const placement *where, uint64_t spin_ns)
{
    size_t workers = where->workers;
    pool *threads = NULL;
    if (posix_memalign((void **)&threads, alignof(pool), sizeof *threads) != 0)
        return NULL;
    *threads = (pool){.workers = workers, .where = *where, .spin_ns = spin_ns};
    if (posix_memalign((void **)&threads->seats, alignof(worker_seat), workers * sizeof *threads->seats) != 0) {
        free(threads);
        return NULL;
    }
    for (size_t i = 0; i < workers; i++)
        threads->seats[i] = (worker_seat){.threads = threads, .number = i};
    for (size_t i = 1; i < workers; i++) {
        worker_seat *seat = &threads->seats[i];
        if (pthread_create(&seat->thread, NULL, worker_main, seat) != 0) {
            pool_free(threads);
            return NULL;
        }
        threads->started++;
    }
    return threads;
}

void pool_free(pool *threads)
{
    if (!threads)
        return;
    atomic_store(&threads->stop, true);
    change(&threads->job, &threads->job_sleepers);
    for (size_t i = 1; i <= threads->started; i++)
        pthread_join(threads->seats[i].thread, NULL);
    free(threads->seats);
    free(threads);
}

size_t pool_workers(const pool *threads)
{
    return threads->workers;
}

const placement *pool_placement(const pool *threads)
{
    return &threads->where;
}

void pool_run(pool *threads, pool_fn *fn, void *context)
{
    platform_float_environment environment = platform_set_float_environment();
    platform_processors before;
    bool bound = threads->where.binds && platform_allowed(&before);
    if (bound)
        bind_worker(threads, 0);
    threads->fn = fn;
    threads->context = context;
    atomic_store(&threads->next_task, 0);
    if (threads->workers > 1)
        change(&threads->job, &threads->job_sleepers);
    fn(context, threads, 0);
    pool_barrier(threads);
    if (bound)
        (void)platform_bind_thread(&before);
    platform_restore_float_environment(environment);
}

void pool_barrier(pool *threads)
{
    uint32_t seen = atomic_load_explicit(&threads->phase, memory_order_relaxed);
    if (atomic_fetch_add(&threads->arrived, 1) + 1 == threads->workers) {
        atomic_store_explicit(&threads->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&threads->next_task, 0, memory_order_relaxed);
        change(&threads->phase, &threads->phase_sleepers);
        return;
    }
    wait_for_change(&threads->phase, &threads->phase_sleepers, seen, threads->spin_ns);
}

int pool_claim(pool *threads, size_t count, size_t grain, size_t *from, size_t *to)
{
    size_t start = atomic_fetch_add_explicit(&threads->next_task, grain, memory_order_relaxed);
    if (start >= count)
        return 0;
    *from = start;
    *to = count - start < grain ? count : start + grain;
    return 1;
}

void pool_share(pool *threads, size_t worker, size_t from, size_t to)
{
    atomic_store_explicit(&threads->seats[worker].share, (uint64_t)to << 32 | from, memory_order_relaxed);
}

/* Up to `grain` tasks from the front of a share, or from its end. */
static bool take_from(_Atomic uint64_t *share, bool front, size_t grain, size_t *from, size_t *to)
{
    uint64_t seen = atomic_load_explicit(share, memory_order_relaxed), left;
    do {
        size_t first = (uint32_t)seen, end = (size_t)(seen >> 32);
        if (first >= end)
            return false;
        size_t count = end - first < grain ? end - first : grain;
        *from = front ? first : end - count;
        *to = *from + count;
        left = front ? (uint64_t)end << 32 | *to : (uint64_t)*from << 32 | first;
    } while (!atomic_compare_exchange_weak_explicit(share, &seen, left, memory_order_relaxed, memory_order_relaxed));
    return true;
}

int pool_take(pool *threads, size_t worker, size_t grain, size_t *from, size_t *to)
{
    if (take_from(&threads->seats[worker].share, true, grain, from, to))
        return 1;
    for (size_t i = 1; i < threads->workers; i++)
        if (take_from(&threads->seats[(worker + i) % threads->workers].share, false, grain, from, to))
            return 1;
    return 0;
}
