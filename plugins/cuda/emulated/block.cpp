#include "block.h"

#include "fiber.h"

#include <cstdlib>

enum { WARP = 32, WARPS = BLOCK_THREADS / WARP };
enum state { WAITS_FOR_TURN, AT_BARRIER, AT_WARP, ENDED };

struct waiter {
    emulated_thread self; /* what the kernel sees; first, so that it is found from emulated_self */
    state now;
    bool begun;
    unsigned lane, mask;  /* mask: of the lanes it waits for */
    unsigned parity;      /* of its next exchange */
    emulated_slot *slots; /* [2][32], the warp's */
    fiber *on;            /* while it waits */
    block_runner *runner;
};

struct block_runner {
    fiber *home;
    fiber *idle[BLOCK_THREADS + 1]; /* fibers that may begin a thread */
    unsigned idle_count;
    fiber *current;
    waiter *begins; /* the thread that the next idle fiber begins with */
    const block_work *work;
    waiter threads[BLOCK_THREADS];
    emulated_slot slots[WARPS][2][WARP];
    unsigned warp_order[WARPS];
    waiter *lanes;                           /* of the warp that runs */
    unsigned lanes_at, lane_step, lane_from; /* how many have had their turn, and who has which: lane_at */
    unsigned warps, live;
    uint64_t random;
    unsigned char *shared;
};

__thread emulated_thread *emulated_self;

static waiter *self()
{
    return reinterpret_cast<waiter *>(emulated_self);
}

static uint64_t next_random(block_runner *r)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return r->random;
}

/* Whose turn it is among the lanes of a warp: an odd step through all of them, from anywhere. */
static void turn_lanes(block_runner *r)
{
    uint64_t drawn = r->work->order ? next_random(r) : 0;
    r->lane_step = static_cast<unsigned>(drawn >> 8) | 1;
    r->lane_from = static_cast<unsigned>(drawn >> 40);
    if (!r->work->order)
        r->lane_step = 1;
    r->lanes_at = 0;
}

static waiter *lane_at(block_runner *r, unsigned i)
{
    return &r->lanes[(i * r->lane_step + r->lane_from) % WARP];
}

static void shuffle_warps(block_runner *r)
{
    for (unsigned i = 0; i < r->warps; i++)
        r->warp_order[i] = i;
    for (unsigned i = r->warps; r->work->order && i > 1; i--) {
        unsigned j = static_cast<unsigned>(next_random(r) % i), kept = r->warp_order[i - 1];
        r->warp_order[i - 1] = r->warp_order[j];
        r->warp_order[j] = kept;
    }
}

/* --- in a thread ------------------------------------------------------------------------------------------------------ */

/* A lane of the warp whose turn it still is, and that has begun. */
static waiter *next_of_warp(block_runner *r)
{
    while (r->lanes_at < WARP) {
        waiter *w = lane_at(r, r->lanes_at);
        if (!w->begun)
            return nullptr; /* that is for the scheduler to do */
        r->lanes_at++;
        if (w->now == WAITS_FOR_TURN)
            return w;
    }
    return nullptr;
}

/* Goes on in the next lane of the warp, or in the scheduler; comes back when it is this thread's turn again. */
static void wait_as(state now, unsigned mask)
{
    waiter *w = self();
    block_runner *r = w->runner;
    w->now = now;
    w->mask = mask;
    w->on = r->current;
    waiter *next = next_of_warp(r);
    if (next)
        r->current = next->on;
    fiber_switch(w->on, next ? next->on : r->home);
    emulated_self = &w->self;
}

void __syncthreads()
{
    wait_as(AT_BARRIER, 0);
}

void __syncwarp(unsigned mask)
{
    wait_as(AT_WARP, mask);
}

unsigned emulated_lane()
{
    return self()->lane;
}

const emulated_slot *emulated_exchange(unsigned mask, uint64_t x, uint64_t y, uint64_t z)
{
    waiter *w = self();
    emulated_slot *slots = w->slots + w->parity * WARP;
    slots[w->lane] = emulated_slot{x, y, z};
    w->parity ^= 1; /* so that a lane which is one exchange ahead spoils nothing */
    wait_as(AT_WARP, mask);
    return slots;
}

/* A fiber: begins threads until it is left with none. */
static void run_threads(void *context)
{
    block_runner *r = static_cast<block_runner *>(context);
    for (;;) {
        waiter *w = r->begins;
        r->begins = nullptr;
        emulated_self = &w->self;
        w->begun = true;
        r->work->call(r->work->kernel, r->work->args);
        w->now = ENDED;
        r->live--;
        fiber *here = r->current;
        r->idle[r->idle_count++] = here;
        fiber_switch(here, r->home);
    }
}

/* --- taking turns ----------------------------------------------------------------------------------------------------- */

/* The thread runs until it waits or ends. False where there is no memory for it. */
static bool turn(block_runner *r, waiter *w)
{
    if (w->begun) {
        r->current = w->on;
    } else {
        if (r->idle_count == 0 && !(r->idle[r->idle_count++] = fiber_new(run_threads, r)))
            return false;
        r->current = r->idle[--r->idle_count];
        r->begins = w;
    }
    fiber_switch(r->home, r->current);
    return true;
}

/* Lanes whose mask's lanes all wait with the same mask may go on. */
static bool release_warp(waiter *lanes, unsigned count)
{
    unsigned waiting = 0, exist = count < WARP ? (1u << count) - 1 : ~0u;
    bool any = false;
    for (unsigned i = 0; i < count; i++)
        waiting |= (lanes[i].now == AT_WARP ? 1u : 0u) << i;
    while (waiting) {
        unsigned mask = lanes[__builtin_ctz(waiting)].mask, same = 0;
        for (unsigned i = 0; i < count; i++)
            same |= (lanes[i].now == AT_WARP && lanes[i].mask == mask ? 1u : 0u) << i;
        if ((mask & exist & ~same) == 0) {
            for (unsigned i = 0; i < count; i++)
                if (same >> i & 1)
                    lanes[i].now = WAITS_FOR_TURN;
            any = true;
        }
        waiting &= ~same;
    }
    return any;
}

/* Until no thread of the warp can go on. False where there is no memory. */
static bool run_warp(block_runner *r, unsigned warp)
{
    unsigned left = r->work->threads - warp * WARP, count = left < WARP ? left : unsigned{WARP};
    r->lanes = r->threads + warp * WARP;
    do {
        turn_lanes(r);
        while (r->lanes_at < WARP) {
            waiter *w = lane_at(r, r->lanes_at++);
            if (w->now == WAITS_FOR_TURN && !turn(r, w))
                return false;
        }
    } while (release_warp(r->lanes, count));
    return true;
}

/* All that live are at the barrier: they may go on. */
static bool release_block(block_runner *r)
{
    for (unsigned i = 0; i < r->work->threads; i++)
        if (r->threads[i].now == AT_WARP)
            return false;
    for (unsigned i = 0; i < r->work->threads; i++)
        if (r->threads[i].now == AT_BARRIER)
            r->threads[i].now = WAITS_FOR_TURN;
    return true;
}

static void prepare(block_runner *r, dim3 index)
{
    const block_work *work = r->work;
    uint64_t number = index.x + static_cast<uint64_t>(index.y) * work->grid.x + 1;
    r->random = (work->order + 1) * 0x9e3779b97f4a7c15u + number * 0xbf58476d1ce4e5b9u;
    r->random |= r->random == 0;
    r->warps = (work->threads + WARP - 1) / WARP;
    r->live = work->threads;
    for (unsigned i = 0; i < r->warps * WARP; i++) {
        waiter *w = &r->threads[i];
        w->self.thread_index = dim3(i, 0, 0);
        w->self.block_index = index;
        w->self.block_size = dim3(work->threads);
        w->self.grid_size = work->grid;
        w->self.shared = r->shared;
        w->now = i < work->threads ? WAITS_FOR_TURN : ENDED;
        w->begun = false;
        w->lane = i % WARP;
        w->parity = 0;
        w->slots = r->slots[i / WARP][0];
        w->on = nullptr;
        w->runner = r;
    }
    memset(r->shared, 0xff, work->shared);
    shuffle_warps(r);
}

/* Fibers of threads that will never go on are of no use to others. */
static void abandon(block_runner *r)
{
    for (unsigned i = 0; i < r->work->threads; i++)
        if (r->threads[i].now != ENDED && r->threads[i].begun)
            fiber_free(r->threads[i].on);
}

const char *block_run(block_runner *r, const block_work *work, dim3 index)
{
    if (work->threads < 1 || work->threads > BLOCK_THREADS || work->shared > BLOCK_SHARED)
        return "a block has more threads or shared memory than there can be";
    r->work = work;
    prepare(r, index);
    while (r->live > 0) {
        for (unsigned i = 0; i < r->warps; i++) {
            if (!run_warp(r, r->warp_order[i])) {
                abandon(r);
                return "there is no memory for the threads of a block";
            }
        }
        if (r->live > 0 && !release_block(r)) {
            abandon(r);
            return "threads of a block wait for others that do not come";
        }
    }
    return nullptr;
}

block_runner *block_runner_new()
{
    block_runner *r = static_cast<block_runner *>(calloc(1, sizeof *r));
    if (!r)
        return nullptr;
    r->home = fiber_of_thread();
    r->shared = static_cast<unsigned char *>(aligned_alloc(256, BLOCK_SHARED));
    if (!r->home || !r->shared) {
        block_runner_free(r);
        return nullptr;
    }
    return r;
}

void block_runner_free(block_runner *r)
{
    if (!r)
        return;
    while (r->idle_count > 0)
        fiber_free(r->idle[--r->idle_count]);
    fiber_of_thread_free(r->home);
    free(r->shared);
    free(r);
}
