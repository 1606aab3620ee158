#include "engine/models.h"

#include "base/error.h"
#include "base/log.h"

#include <string.h>

static bool has_name(const engine_model *m, const char *name)
{
    if (strcmp(m->name, name) == 0)
        return true;
    for (uint32_t i = 0; i < m->alias_count; i++)
        if (strcmp(m->aliases[i], name) == 0)
            return true;
    return false;
}

bp_status models_find(bp_engine *engine, const char *name, model_entry **out, bp_error *error)
{
    if (!name && engine->model_count != 1)
        return error_set(error, BP_EINVAL, "the request names no model and there are %u", engine->model_count);
    for (uint32_t i = 0; i < engine->model_count; i++) {
        if (name && !has_name(&engine->models[i].config, name))
            continue;
        *out = &engine->models[i];
        return BP_OK;
    }
    return error_set(error, BP_ENOTFOUND, "there is no model \"%.200s\"", name);
}

/* --- loading -------------------------------------------------------------------------------------------------------------- */

static void report(bp_progress_fn progress, void *user, double fraction, const char *what)
{
    if (progress)
        progress(user, fraction, what);
}

static bp_status load_halves(model_entry *m, const engine_backend *backend, bp_progress_fn progress, void *user, loaded **out,
                             lane **place, bp_error *error)
{
    report(progress, user, 0.0, "reading the model's file");
    bp_status status = loop_check(m->loop, error);
    if (status == BP_OK)
        status = loaded_open(&m->config, backend, out, error);
    if (status != BP_OK)
        return status;
    report(progress, user, 0.3, "compiling for the device");
    loop_take_device(m->loop);
    status = loaded_compile(*out, error);
    if (status == BP_OK)
        status = loop_add(m->loop, *out, place, error);
    if (status != BP_OK) {
        loaded_free(*out);
        *out = NULL;
    }
    loop_return_device(m->loop);
    if (status == BP_OK)
        report(progress, user, 1.0, "ready");
    return status;
}

static bp_status load(bp_engine *engine, model_entry *m, bp_progress_fn progress, void *user, bp_error *why)
{
    loaded *l = NULL;
    lane *place = NULL;
    bp_status status = load_halves(m, &engine->backends[m->config.backend], progress, user, &l, &place, why);
    if (status != BP_OK)
        error_prefix(why, status, "model \"%s\"", m->config.name);
    pthread_mutex_lock(&engine->lock);
    m->state = status == BP_OK ? BP_MODEL_READY : BP_MODEL_FAILED;
    m->failure = *why;
    m->loaded = l;
    m->lane = place;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    return status;
}

/* Why a request cannot have the model. */
static bp_status refuse(const bp_error *why, bp_error *error)
{
    if (why->code == BP_ECANCELLED)
        return error_set(error, why->code, "%s", why->message);
    return error_set(error, BP_EDEVICE, "unavailable: %.490s", why->message);
}

bp_status models_ready(bp_engine *engine, model_entry *m, bool explicit, bp_progress_fn progress, void *user, bp_error *error)
{
    bp_status status = BP_OK;
    pthread_mutex_lock(&engine->lock);
    bool waited = m->state == BP_MODEL_LOADING;
    while (m->state == BP_MODEL_LOADING)
        pthread_cond_wait(&engine->changed, &engine->lock);
    bool mine = m->state == BP_MODEL_UNLOADED || (m->state == BP_MODEL_FAILED && explicit && !waited);
    if (mine)
        m->state = BP_MODEL_LOADING;
    else if (m->state == BP_MODEL_FAILED)
        status = refuse(&m->failure, error);
    pthread_mutex_unlock(&engine->lock);
    if (!mine)
        return status;
    bp_error why = {0};
    status = load(engine, m, progress, user, &why);
    if (status == BP_OK)
        return BP_OK;
    return explicit ? error_set(error, status, "%s", why.message) : refuse(&why, error);
}

/* --- describing ----------------------------------------------------------------------------------------------------------- */

static void copy_text(char *out, size_t capacity, const char *text)
{
    size_t length = strnlen(text, capacity - 1);
    memcpy(out, text, length);
    out[length] = '\0';
}

static void describe_loaded(const loaded *l, bp_model_info *out)
{
    const model_shape *shape = model_shape_of(l->file);
    copy_text(out->family, sizeof out->family, shape->architecture);
    copy_text(out->weight_type, sizeof out->weight_type, shape->weight_type);
    out->parameters = shape->parameters;
    out->file_bytes = shape->file_bytes;
    out->weight_bytes = l->memory.weights;
    out->kv_bytes = l->memory.kv;
    out->workspace_bytes = l->memory.workspace;
    out->context = l->context;
    out->train_context = shape->train_context;
    out->vocab_size = l->vocab_size;
    out->layers = shape->layers;
    out->width = shape->width;
    out->has_chat_template = l->chat != NULL;
    out->task = l->embedder ? BP_TASK_EMBED : BP_TASK_GENERATE;
    out->embedding_width = l->embedder ? l->output_width : 0;
}

void models_describe(bp_engine *engine, model_entry *m, bp_model_info *out)
{
    *out = (bp_model_info){.size = sizeof *out};
    copy_text(out->name, sizeof out->name, m->config.name);
    copy_text(out->backend, sizeof out->backend, engine->backends[m->config.backend].name);
    copy_text(out->path, sizeof out->path, m->config.file);
    pthread_mutex_lock(&engine->lock);
    out->state = m->state;
    bp_error why = m->failure;
    loaded *l = m->loaded;
    lane *place = m->lane;
    pthread_mutex_unlock(&engine->lock);
    if (l)
        describe_loaded(l, out);
    if (place && lane_failed(place, &why))
        out->state = BP_MODEL_FAILED;
    if (out->state == BP_MODEL_FAILED)
        copy_text(out->message, sizeof out->message, why.message);
}

void models_free(bp_engine *engine)
{
    for (uint32_t i = 0; i < engine->model_count; i++)
        loaded_free(engine->models[i].loaded);
}
