/* models: the engine's registry: which models there are, and the one way each of them comes to be loaded.
 *
 *                   load() or first use                 both halves done
 *        UNLOADED ─────────────────────▶ LOADING ───────────────────────▶ READY ─ ─ ▶ FAILED, said by its lane
 *                                         │   ▲
 *                                  failed ▼   │ load()
 *                                        FAILED
 *
 * Invariants:
 *   M1  One thread loads a model; others that need it wait for that one.
 *   M2  `loaded` and `lane` are set exactly while the state is READY, and stay until the engine is freed: what was READY
 *       once is never taken away from under a request.
 *   M3  The registry's lock is held for state changes only, never while a file is read or a backend called. */
#ifndef BACKPLANE_ENGINE_MODELS_H
#define BACKPLANE_ENGINE_MODELS_H

#include "base/arena.h"
#include "engine/loop.h"

typedef struct model_entry {
    engine_model config;
    loop *loop;
    uint32_t state; /* BP_MODEL_…; guarded by bp_engine.lock, as are the following */
    bp_error failure;
    loaded *loaded;
    lane *lane;
} model_entry;

struct bp_engine {
    arena *memory;
    engine_backend *backends;
    loop **loops; /* [backend_count] */
    uint32_t backend_count;
    model_entry *models;
    uint32_t model_count;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a model's state */
};

/* By name or alias; a NULL name is the only model. */
bp_status models_find(bp_engine *engine, const char *name, model_entry **out, bp_error *error);
/* Waits until the model is READY, and loads it if nobody has. With `explicit` a model whose load failed before is loaded
 * again, and the error is what went wrong; without, for a request, it is BP_EDEVICE and the reason. */
bp_status models_ready(bp_engine *engine, model_entry *m, bool explicit, bp_progress_fn progress, void *user, bp_error *error);
void models_describe(bp_engine *engine, model_entry *m, bp_model_info *out);
/* With the loops stopped. */
void models_free(bp_engine *engine);

#endif
