/* engine: the registry of models behind bp_engine_api, as main sees it.
 *
 * An engine owns one loop thread a device and loads each model on its first use, or when asked to. Where there is a budget,
 * models that are not in use make room for those that are asked for. Models that cannot be
 * used (their load failed, their file changed, their device is lost) answer every request with BP_EDEVICE and the reason;
 * where loading was what failed an explicit load() tries again, and so does a request a while later.
 *
 * Lifetimes: backends, the devices behind them and the strings of `models` outlive the engine, unless `close` says more of a
 * device; those of engine_replace too. Every stream is released before engine_free. */
#ifndef BACKPLANE_ENGINE_ENGINE_H
#define BACKPLANE_ENGINE_ENGINE_H

#include <backplane/backend.h>
#include <backplane/engine.h>
#include <stdbool.h>

/* One open device. */
typedef struct engine_backend {
    const char *name;
    const bp_backend_ops *ops;
    bp_device *device;
    bp_device_info info;
    uint64_t step_ns; /* a step that takes longer is taken for one that never ends: the device is lost; 0: no limit */
    /* NULL, or called once when the engine uses the device no more: by engine_free, or in a thread of the engine's when
     * engine_replace left it out and its last model is gone. */
    void (*close)(const struct engine_backend *backend);
    void *owner; /* close's */
} engine_backend;

/* Zero means the default where one is named. */
typedef struct engine_model {
    const char *name;
    const char *const *aliases;
    uint32_t alias_count;
    const char *file;
    uint64_t file_stamp;       /* where the caller has one: another for another file at the same path */
    uint32_t backend;          /* index of an engine_backend */
    uint32_t context;          /* 0: what the model was trained for */
    uint32_t numerics, kv_dtype;
    uint32_t max_batch;        /* sequences of one step; 0: 32. Never more than max_step_tokens */
    uint32_t max_step_tokens;  /* 0: 512 */
    uint32_t mixed_step_tokens; /* of prompts, in a step with answers; 0: 64 */
    uint32_t drafts;           /* tokens that are guessed ahead in a step; 0 is none */
    uint32_t page_tokens;      /* 0: 32 */
    uint32_t queue_limit;      /* requests that may be here beyond max_batch; 0 is none */
    bool no_prefix_cache;      /* compute every prompt whole */
    uint64_t kv_tokens;        /* 0: from kv_memory. Fewer than `context` lower the context */
    uint64_t kv_memory;        /* bytes; 0: 4 contexts, or max_batch of them if that is less. A backend reserves address
                                * space for the cache and touches a page when it is first written */
    uint32_t max_tokens;       /* of an answer whose request came from defaults() and was not changed; 0: what fits */
    bool pinned;               /* never leaves memory for others, nor after a while */
    uint64_t idle_ns;          /* leaves memory after so long without a request; 0: only when others need the room */
    uint32_t task;             /* MODEL_TASK_… */
    uint32_t pooling;          /* of an embedder: MODEL_POOLING_… */
    uint32_t normalise;        /* of an embedder: MODEL_AUTO, YES or NO; so is the next */
    uint32_t append_eos;       /* a text ends with the end token; AUTO: where pooling is last, else as the file has it */
    const char *prefix;        /* of an embedder: stands before a text whose request names no prompt; NULL: the file's default */
    const char *system_prompt; /* put before requests without a system message; NULL is none */
    bp_sampling sampling;      /* what defaults() gives; size 0: the neutral ones */
    unsigned mapping_flags;
    struct model_shelf *shelf; /* NULL, or shared by models, of which those of one file read one mapping; outlives the engine */
} engine_model;

enum { ENGINE_MAX_BATCH = 32, ENGINE_STEP_TOKENS = 512, ENGINE_MIXED_STEP_TOKENS = 128, ENGINE_PAGE_TOKENS = 32, ENGINE_KV_CONTEXTS = 4 };
/* A step has at least as many rows, however few sequences: a prompt that is scored moves by as many. */
enum { ENGINE_SCORE_ROWS = 32 };

/* `budget`: bytes that all loaded models together may hold; 0 is no limit. */
bp_status engine_new(const engine_backend *backends, uint32_t backend_count, const engine_model *models, uint32_t model_count,
                     uint64_t budget, bp_engine **out, bp_error *error);

typedef struct engine_changes {
    uint32_t added, changed, removed, kept; /* models */
} engine_changes;

/* Serves these from now on, while requests run. A device that is there already is known by its `device`; the others' models
 * are new. A model that is the same in all that engine_model says stays as it is, in memory too. One that changed is served by
 * a new one beside the old, which finishes what it began; one that is left out does that alone. Both leave memory after their
 * last request, and devices that were left out are closed after the last of their models. Counters of a model go on under
 * its name. One call at a time; on failure nothing has changed. Errors: BP_EINVAL, BP_ENOMEM, BP_ECANCELLED once the engine
 * drains. `changes` may be NULL. */
bp_status engine_replace(bp_engine *engine, const engine_backend *backends, uint32_t backend_count, const engine_model *models,
                         uint32_t model_count, uint64_t budget, engine_changes *changes, bp_error *error);
/* Refuses new requests, waits for those that run at most timeout_ns, then ends the rest with an error; true if there was
 * no rest. Frontends are stopped after it and before engine_free. */
bool engine_drain(bp_engine *engine, uint64_t timeout_ns);
/* A backend does not come back from a step. What it works on cannot be freed: neither the engine nor its devices, and the
 * process is to end without. */
bool engine_stuck(const bp_engine *engine);
/* Drains without waiting, joins the threads, releases the models; NULL is fine. */
void engine_free(bp_engine *engine);

const bp_engine_api *engine_api(void);

#endif
