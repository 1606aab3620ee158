/* Replacing what an engine serves, while it serves (engine.h, models.h: M6). */
#include "base/error.h"
#include "base/log.h"
#include "engine/models.h"

#include <string.h>

/* --- sameness --------------------------------------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_aliases(const engine_model *a, const engine_model *b)
{
    if (a->alias_count != b->alias_count)
        return false;
    for (uint32_t i = 0; i < a->alias_count; i++)
        if (strcmp(a->aliases[i], b->aliases[i]) != 0)
            return false;
    return true;
}

static bool same_sampling(const bp_sampling *a, const bp_sampling *b)
{
    return a->size == b->size && a->top_k == b->top_k && a->temperature == b->temperature && a->top_p == b->top_p &&
           a->min_p == b->min_p && a->typical_p == b->typical_p && a->repetition_penalty == b->repetition_penalty &&
           a->frequency_penalty == b->frequency_penalty && a->presence_penalty == b->presence_penalty &&
           a->penalty_window == b->penalty_window && a->seed == b->seed && a->logprobs == b->logprobs;
}

/* What is computed, and with how much room. */
static bool same_shape(const engine_model *a, const engine_model *b)
{
    return a->file_stamp == b->file_stamp && a->context == b->context && a->numerics == b->numerics && a->kv_dtype == b->kv_dtype &&
           a->max_batch == b->max_batch && a->max_step_tokens == b->max_step_tokens &&
           a->mixed_step_tokens == b->mixed_step_tokens && a->drafts == b->drafts && a->page_tokens == b->page_tokens &&
           a->queue_limit == b->queue_limit && a->no_prefix_cache == b->no_prefix_cache && a->kv_tokens == b->kv_tokens &&
           a->kv_memory == b->kv_memory && a->task == b->task && a->pooling == b->pooling && a->normalise == b->normalise &&
           a->append_eos == b->append_eos && a->mapping_flags == b->mapping_flags && a->shelf == b->shelf;
}

/* Their backends are compared elsewhere: as devices. */
static bool same_model(const engine_model *a, const engine_model *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->file, b->file) == 0 && same_aliases(a, b) && same_shape(a, b) &&
           a->max_tokens == b->max_tokens && a->pinned == b->pinned && a->idle_ns == b->idle_ns &&
           same_text(a->prefix, b->prefix) && same_text(a->system_prompt, b->system_prompt) &&
           same_sampling(&a->sampling, &b->sampling);
}

/* --- devices ---------------------------------------------------------------------------------------------------------------- */

static engine_device *find_device(const bp_engine *e, const engine_backend *backend)
{
    for (engine_device *d = e->devices; d; d = d->next)
        if (!d->retired && d->backend.device == backend->device)
            return d;
    return NULL;
}

/* A new one is in no list yet. */
static bp_status take_device(bp_engine *e, const engine_backend *backend, engine_device **out, bp_error *error)
{
    engine_device *d = find_device(e, backend);
    if (!d) {
        d = arena_alloc(e->memory, sizeof *d);
        if (!d)
            return error_set(error, BP_ENOMEM, "no memory for backend \"%s\"", backend->name);
        *d = (engine_device){.backend = *backend};
        bp_status status = loop_new(&d->backend, &d->loop, error);
        if (status != BP_OK)
            return status;
    }
    *out = d;
    return BP_OK;
}

/* --- the new registry ------------------------------------------------------------------------------------------------------- */

/* What replaces what is there, built beside it. */
typedef struct registry {
    engine_device **devices; /* [device_count] */
    model_entry **models;    /* [model_count] */
    uint32_t device_count, model_count;
} registry;

static bool listed(const engine_device *d, engine_device *const *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i] == d)
            return true;
    return false;
}

static bool is_known(const bp_engine *e, const engine_device *d)
{
    for (const engine_device *other = e->devices; other; other = other->next)
        if (other == d)
            return true;
    return false;
}

static model_entry *find_entry(const bp_engine *e, const char *name)
{
    for (uint32_t i = 0; i < e->model_count; i++)
        if (strcmp(e->models[i]->config.name, name) == 0)
            return e->models[i];
    return NULL;
}

static bp_status take_model(bp_engine *e, const engine_model *model, engine_device *device, model_entry **out, bp_error *error)
{
    model_entry *old = find_entry(e, model->name);
    if (old && old->device == device && same_model(&old->config, model)) {
        *out = old;
        return BP_OK;
    }
    model_entry *m = arena_alloc(e->memory, sizeof *m);
    if (!m)
        return error_set(error, BP_ENOMEM, "no memory for model \"%s\"", model->name);
    *m = (model_entry){.engine = e, .config = *model, .device = device, .loop = device->loop, .older = old,
                       .past = {.size = sizeof(bp_model_stats)}};
    *out = m;
    return BP_OK;
}

static bp_status build(bp_engine *e, registry *r, const engine_backend *backends, const engine_model *models, bp_error *error)
{
    uint32_t device_count = r->device_count;
    r->devices = arena_array(e->memory, device_count, sizeof(engine_device *));
    r->models = arena_array(e->memory, r->model_count, sizeof(model_entry *));
    r->device_count = 0;
    if ((device_count && !r->devices) || (r->model_count && !r->models))
        return error_set(error, BP_ENOMEM, "no memory for the engine");
    bp_status status = BP_OK;
    for (uint32_t i = 0; status == BP_OK && i < device_count; i++) {
        status = take_device(e, &backends[i], &r->devices[i], error);
        r->device_count += status == BP_OK;
    }
    for (uint32_t i = 0; status == BP_OK && i < r->model_count; i++)
        status = take_model(e, &models[i], r->devices[models[i].backend], &r->models[i], error);
    return status;
}

/* The threads of devices that were not there before; the devices stay the caller's. */
static void discard(const bp_engine *e, const registry *r)
{
    for (uint32_t i = 0; i < r->device_count; i++)
        if (!is_known(e, r->devices[i]) && !listed(r->devices[i], r->devices, i))
            loop_free(r->devices[i]->loop);
}

/* --- the change ------------------------------------------------------------------------------------------------------------- */

static void retire_models(bp_engine *e, const registry *r, engine_changes *changes)
{
    for (uint32_t i = 0; i < e->model_count; i++) {
        model_entry *old = e->models[i];
        bool stays = false;
        for (uint32_t j = 0; j < r->model_count && !stays && !old->newer; j++) {
            stays = r->models[j] == old;
            if (r->models[j]->older == old)
                old->newer = r->models[j];
        }
        old->retired = !stays;
        changes->kept += stays;
        changes->changed += old->newer != NULL;
        changes->removed += !stays && !old->newer;
        if (!stays)
            log_line(BP_LOG_INFO, "model %s %s", old->config.name, old->newer ? "is replaced" : "is gone");
    }
}

/* With the lock. */
static void install(bp_engine *e, const registry *r, uint64_t budget, engine_changes *changes)
{
    retire_models(e, r, changes);
    for (engine_device *d = e->devices; d; d = d->next)
        d->retired = d->retired || !listed(d, r->devices, r->device_count);
    for (uint32_t i = 0; i < r->device_count; i++) {
        if (is_known(e, r->devices[i]))
            continue;
        r->devices[i]->next = e->devices;
        e->devices = r->devices[i];
    }
    for (uint32_t i = 0; i < r->model_count; i++) {
        model_entry *m = r->models[i];
        bool known = m == find_entry(e, m->config.name);
        changes->added += !known && !m->older;
        if (known)
            continue;
        m->next = e->entries;
        e->entries = m;
    }
    e->models = r->models;
    e->model_count = r->model_count;
    e->budget = budget;
    pthread_cond_broadcast(&e->changed);
}

static bp_status check_models(const engine_model *models, uint32_t count, uint32_t backends, bp_error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!models[i].name || !models[i].file)
            return error_set(error, BP_EINVAL, "model %u has no name or no file", i);
        if (models[i].backend >= backends)
            return error_set(error, BP_EINVAL, "model \"%s\" names backend %u of %u", models[i].name, models[i].backend, backends);
    }
    return BP_OK;
}

bp_status engine_replace(bp_engine *engine, const engine_backend *backends, uint32_t backend_count, const engine_model *models,
                         uint32_t model_count, uint64_t budget, engine_changes *changes, bp_error *error)
{
    engine_changes ignored;
    registry r = {.device_count = backend_count, .model_count = model_count};
    bp_status status = check_models(models, model_count, backend_count, error);
    if (status != BP_OK)
        return status;
    status = build(engine, &r, backends, models, error);
    if (status == BP_OK) {
        pthread_mutex_lock(&engine->lock);
        if (engine->stopping)
            status = error_set(error, BP_ECANCELLED, "the server is shutting down");
        else
            install(engine, &r, budget, memset(changes ? changes : &ignored, 0, sizeof *changes));
        pthread_mutex_unlock(&engine->lock);
    }
    if (status != BP_OK) {
        discard(engine, &r);
        return status;
    }
    return models_keep(engine, error);
}
