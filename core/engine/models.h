/* models: the engine's registry: which models there are, which of them are in memory, and how they come and go.
 *
 *                 hold()                    both halves done
 *      UNLOADED ─────────▶ LOADING ─────────────────────────▶ READY ─ ─ ▶ FAILED, said by its lane
 *          ▲                │   ▲                               │
 *          │         failed ▼   │ load(), or a hold() later     │ not held, and: another one needs the room,
 *          │               FAILED                               │ its time without requests is over, or unload()
 *          └────────────────────────────────────────────────────┘
 *
 * Invariants:
 *   M1  One thread loads a model: of an explicit load() the caller's, of requests one of its own, so that each of them may give up
 *       without the others. Who needs it waits, as many as its queue has room for. A load that waits for room and that nobody
 *       waits for any more is given up.
 *   M2  `loaded` and `lane` are set exactly while the state is READY. A model that is held stays READY: what a request began
 *       with is never taken away from under it. One that is watched may leave; its memory stays until nobody looks.
 *   M3  `used` is the sum of all `bytes`: what a model holds, or while it is loaded what it is expected to hold. It is within
 *       the budget, where there is one, whenever a load begins; a first load that holds more than was expected of it sends
 *       idle ones away. Weights that several models read are told in equal parts, which are asked for again as one comes or goes.
 *   M4  Who waits for room gets it, the first one first: models that were READY for a while and are held all the time are closed
 *       one after the other, until there would be enough. A closed one takes nobody new, so its holders become fewer and it goes.
 *   M5  The registry's lock is held for state changes only, never while a file is read or a backend called. It is taken
 *       under a loop's lock, and no loop's lock under it.
 *   M6  Entries and devices are only ever added, at the head of their lists, and freed with the engine: whoever found one may
 *       walk on from it. One that was replaced is retired: it serves who holds it, and those that waited for it while it was
 *       LOADING; others go on to the newer one of its name. Where the name is gone, who had found it before is served still. */
#ifndef BACKPLANE_ENGINE_MODELS_H
#define BACKPLANE_ENGINE_MODELS_H

#include "base/arena.h"
#include "engine/loop.h"

/* One device, and the loop that runs it. */
typedef struct engine_device {
    engine_backend backend;
    loop *loop; /* NULL once it is closed */
    bool retired; /* left out by engine_replace: it is closed when the last of its models is gone */
    struct engine_device *next;
} engine_device;

typedef struct model_entry {
    struct bp_engine *engine;
    engine_model config;
    engine_device *device;
    loop *loop;               /* the device's */
    struct model_entry *next; /* of all that ever were */
    struct model_entry *newer, *older; /* of one name; guarded by bp_engine.lock, as are the following */
    bool retired;   /* newer ones are given its requests, if there are any; it leaves after its last */
    bool gone;      /* retired, and its device is closed */
    uint32_t state; /* BP_MODEL_… */
    bool closed;    /* READY, and takes nobody new */
    bool leaving;   /* UNLOADED, and its memory is being given back */
    bool uncounted; /* leaving, and `past` is not yet what it did */
    bool chosen;    /* scratch of room.c */
    bool kept_back; /* by a backend that does not come back from a step: it cannot leave */
    uint32_t holds, watches; /* watches: those who only look, for a moment */
    uint32_t waiters;        /* who waits for it to become READY */
    uint64_t wanted_at;      /* when the last of them left */
    uint64_t awaited_until;  /* READY, and those who waited for it have not come yet */
    pthread_t loader;        /* of requests: loads it */
    bool has_loader, loading; /* has_loader: to be joined; loading: it is not at its end */
    uint64_t bytes, held_before; /* of memory; what it was the last time, 0 for the first */
    uint64_t ready_at, idle_at;  /* idle_at: when the last hold ended */
    bp_error failure;
    uint32_t failures;           /* of loading, one after the other */
    uint64_t retry_at;           /* FAILED: requests before that are refused as the last one was */
    loaded *loaded;
    lane *lane;
    bp_model_stats past; /* of the times before it left */
    uint64_t loads;
} model_entry;

struct bp_engine {
    arena *memory;         /* engine_new's and engine_replace's */
    engine_device *devices;
    model_entry *entries;
    model_entry **models;  /* [model_count]: those that there are for requests. Guarded by the lock, as are the following */
    uint32_t model_count;
    uint64_t budget, used; /* bytes; a budget of 0 is none */
    struct room_claim *claims; /* loads that wait for room, in the order they came */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything of a model's state, its last hold, or `stopping` */
    pthread_t keeper;
    bool kept, stopping; /* kept: there is a keeper */
};

/* By name or alias; a NULL name is the only model. What is found stays valid until engine_free. */
bp_status models_find(bp_engine *engine, const char *name, model_entry **out, bp_error *error);
uint32_t models_count(bp_engine *engine);
model_entry *models_at(bp_engine *engine, uint32_t index); /* NULL where there are fewer */
bp_status models_index(const model_entry *m, uint32_t *index, bp_error *error);
void models_describe(bp_engine *engine, model_entry *m, bp_model_info *out);
void models_stats(bp_engine *engine, model_entry *m, bp_model_stats *out);
void stats_add(bp_model_stats *past, const bp_model_stats *now); /* past becomes both together */

/* residency.c: */
/* How a model is waited for. */
typedef struct models_wait {
    bool explicit; /* load(): in the caller's thread, which `progress` is called from */
    bp_progress_fn progress;
    void *user;
    bool brief;     /* it is held for a moment only: also while it is closed */
    uint64_t until; /* 0: no such limit */
} models_wait;
/* Makes the model READY and keeps it so until models_drop; of one that was replaced, the newer one, which *m then is.
 * Loads it if nobody has, and waits for room. A model whose load failed is loaded again with `explicit` at once, and the error
 * is what went wrong; without, for a request, once a while is over that grows with each failure, and the error is BP_EDEVICE and
 * the reason. BP_EBUSY: there was no room for too long, or too many wait already; BP_ETIMEOUT: `until` is past. */
bp_status models_hold(model_entry **m, const models_wait *wait, bp_error *error);
/* One more hold on a model that is held; never waits. */
void models_hold_again(model_entry *m);
/* Any thread, also with a loop's lock held. */
void models_drop(void *model_entry);
/* With the lock: keeps what a READY model has where it is, until models_unwatch; false where it is not READY. No use of the model. */
bool models_watch(model_entry *m);
void models_unwatch(model_entry *m);
/* BP_EBUSY while it is held. */
bp_status models_unload(model_entry *m, bp_error *error);
/* Starts what unloads models whose idle time is over, that were replaced, or that a lowered budget has no room for. */
bp_status models_keep(bp_engine *engine, bp_error *error);
/* Nobody waits for room any more, and what models_keep began is over. */
void models_stop(bp_engine *engine);
/* Waits for the threads that load, which are soon done after models_stop. */
void models_join(bp_engine *engine);
/* With the loops stopped. */
void models_free(bp_engine *engine);

#endif
