/* models: the engine's registry: which models there are, which of them are in memory, and how they come and go.
 *
 *                 hold()                    both halves done
 *      UNLOADED ─────────▶ LOADING ─────────────────────────▶ READY ─ ─ ▶ FAILED, said by its lane
 *          ▲                │   ▲                               │
 *          │         failed ▼   │ load()                        │ not held, and: another one needs the room,
 *          │               FAILED                               │ its time without requests is over, or unload()
 *          └────────────────────────────────────────────────────┘
 *
 * Invariants:
 *   M1  One thread loads a model; others that need it wait for that one.
 *   M2  `loaded` and `lane` are set exactly while the state is READY. A model that is held stays READY: what a request began
 *       with is never taken away from under it.
 *   M3  `used` is the sum of all `bytes`: what a model holds, or while it is loaded what it is expected to hold. It is within
 *       the budget, where there is one, whenever a load begins; a first load that holds more than was expected of it sends
 *       idle ones away. Weights that several models read are told in equal parts, which are asked for again as one comes or goes.
 *   M4  Who waits for room gets it: models that were READY for a while and are held all the time are closed one after the
 *       other, until there would be enough. A closed one takes nobody new, so its holders become fewer and it goes.
 *   M5  The registry's lock is held for state changes only, never while a file is read or a backend called. It is taken
 *       under a loop's lock, and no loop's lock under it. */
#ifndef BACKPLANE_ENGINE_MODELS_H
#define BACKPLANE_ENGINE_MODELS_H

#include "base/arena.h"
#include "engine/loop.h"

typedef struct model_entry {
    struct bp_engine *engine;
    engine_model config;
    loop *loop;
    uint32_t state; /* BP_MODEL_…; guarded by bp_engine.lock, as are the following */
    bool closed;    /* READY, and takes nobody new */
    bool leaving;   /* UNLOADED, and its memory is being given back */
    bool kept_back; /* by a backend that does not come back from a step: it cannot leave */
    uint32_t holds;
    uint64_t bytes, held_before; /* of memory; what it was the last time, 0 for the first */
    uint64_t ready_at, idle_at;  /* idle_at: when the last hold ended */
    bp_error failure;
    loaded *loaded;
    lane *lane;
    bp_model_stats past; /* of the times before it left */
    uint64_t loads;
} model_entry;

struct bp_engine {
    arena *memory;
    engine_backend *backends;
    loop **loops; /* [backend_count] */
    uint32_t backend_count;
    model_entry *models;
    uint32_t model_count;
    uint64_t budget, used; /* bytes; a budget of 0 is none */
    uint32_t waiting;      /* threads that wait for room */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything of a model's state, its last hold, or `stopping` */
    pthread_t keeper;
    bool kept, stopping; /* kept: there is a keeper */
};

/* By name or alias; a NULL name is the only model. */
bp_status models_find(bp_engine *engine, const char *name, model_entry **out, bp_error *error);
void models_describe(bp_engine *engine, model_entry *m, bp_model_info *out);
void models_stats(bp_engine *engine, model_entry *m, bp_model_stats *out);
void stats_add(bp_model_stats *past, const bp_model_stats *now); /* past becomes both together */

/* residency.c: */
/* Makes the model READY and keeps it so until models_drop. Loads it if nobody has, and waits for room. With `explicit` a model
 * whose load failed before is loaded again, and the error is what went wrong; without, for a request, it is BP_EDEVICE and
 * the reason. BP_EBUSY: there was no room for too long. */
bp_status models_hold(model_entry *m, bool explicit, bp_progress_fn progress, void *user, bp_error *error);
/* One more hold on a model that is held; never waits. */
void models_hold_again(model_entry *m);
/* Any thread, also with a loop's lock held. */
void models_drop(void *model_entry);
void models_unwatch(model_entry *m); /* the same for a hold that was no use of the model */
/* BP_EBUSY while it is held. */
bp_status models_unload(model_entry *m, bp_error *error);
/* Starts what unloads models whose idle time is over, if any has one. */
bp_status models_keep(bp_engine *engine, bp_error *error);
/* Nobody waits for room any more. */
void models_stop(bp_engine *engine);
/* With the loops stopped. */
void models_free(bp_engine *engine);

#endif
