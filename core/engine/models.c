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
    pthread_mutex_lock(&engine->lock);
    uint32_t count = engine->model_count;
    model_entry *found = NULL;
    for (uint32_t i = 0; i < count && !found; i++)
        if (name ? has_name(&engine->models[i]->config, name) : count == 1)
            found = engine->models[i];
    pthread_mutex_unlock(&engine->lock);
    if (found) {
        *out = found;
        return BP_OK;
    }
    if (!name)
        return error_set(error, BP_EINVAL, "the request names no model and there are %u", count);
    return error_set(error, BP_ENOTFOUND, "there is no model \"%.200s\"", name);
}

uint32_t models_count(bp_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    uint32_t count = engine->model_count;
    pthread_mutex_unlock(&engine->lock);
    return count;
}

model_entry *models_at(bp_engine *engine, uint32_t index)
{
    pthread_mutex_lock(&engine->lock);
    model_entry *m = index < engine->model_count ? engine->models[index] : NULL;
    pthread_mutex_unlock(&engine->lock);
    return m;
}

bp_status models_index(const model_entry *m, uint32_t *index, bp_error *error)
{
    bp_engine *engine = m->engine;
    bool found = false;
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < engine->model_count && !found; i++)
        if (engine->models[i] == m) {
            *index = i;
            found = true;
        }
    pthread_mutex_unlock(&engine->lock);
    return found ? BP_OK : error_set(error, BP_ENOTFOUND, "there is no model \"%.200s\" any more", m->config.name);
}

/* Counters go on from one time in memory to the next; levels are those of now. */
void stats_add(bp_model_stats *past, const bp_model_stats *now)
{
    bp_model_stats sum = *now;
    sum.size = sizeof sum;
    sum.requests += past->requests;
    sum.failed += past->failed;
    sum.prompt_tokens += past->prompt_tokens;
    sum.completion_tokens += past->completion_tokens;
    sum.steps += past->steps;
    sum.preemptions += past->preemptions;
    sum.prefix_hit_tokens += past->prefix_hit_tokens;
    sum.drafted_tokens += past->drafted_tokens;
    sum.accepted_tokens += past->accepted_tokens;
    *past = sum;
}

/* --- describing ----------------------------------------------------------------------------------------------------------- */

static void copy_text(char *out, size_t capacity, const char *text)
{
    size_t length = strnlen(text, capacity - 1);
    memcpy(out, text, length);
    out[length] = '\0';
}

/* Of a model that is watched. */
static void describe_loaded(const loaded *l, const bp_model_memory *memory, bp_model_info *out)
{
    const model_shape *shape = model_shape_of(l->file);
    copy_text(out->family, sizeof out->family, shape->architecture);
    copy_text(out->weight_type, sizeof out->weight_type, shape->weight_type);
    out->parameters = shape->parameters;
    out->file_bytes = shape->file_bytes;
    out->weight_bytes = memory->weights;
    out->kv_bytes = memory->kv;
    out->workspace_bytes = memory->workspace;
    out->context = l->context;
    out->train_context = shape->train_context;
    out->vocab_size = l->vocab_size;
    out->layers = shape->layers;
    out->width = shape->width;
    out->has_chat_template = l->chat != NULL;
    if (l->tools)
        out->tools = *l->tools;
    out->task = l->task;
    out->embedding_width = l->task == BP_TASK_EMBED ? l->output_width : 0;
    out->bos_token = tokenizer_bos(l->tokenizer);
    out->eos_token = tokenizer_eos(l->tokenizer);
}

void models_describe(bp_engine *engine, model_entry *m, bp_model_info *out)
{
    *out = (bp_model_info){.size = sizeof *out, .bos_token = -1, .eos_token = -1};
    copy_text(out->name, sizeof out->name, m->config.name);
    copy_text(out->backend, sizeof out->backend, m->device->backend.name);
    copy_text(out->path, sizeof out->path, m->config.file);
    pthread_mutex_lock(&engine->lock);
    out->state = m->state;
    bp_error why = m->failure;
    bool ready = models_watch(m);
    const loaded *l = m->loaded;
    lane *place = m->lane;
    bp_model_memory memory = ready ? l->memory : (bp_model_memory){0};
    pthread_mutex_unlock(&engine->lock);
    if (ready) {
        describe_loaded(l, &memory, out);
        if (lane_failed(place, &why))
            out->state = BP_MODEL_FAILED;
        models_unwatch(m);
    }
    if (out->state == BP_MODEL_FAILED)
        copy_text(out->message, sizeof out->message, why.message);
}

/* Of one entry. A model that was never loaded has done nothing yet. */
static void entry_stats(model_entry *m, bp_model_stats *out)
{
    bp_engine *engine = m->engine;
    bp_model_stats now = {.size = sizeof now};
    pthread_mutex_lock(&engine->lock);
    while (m->uncounted)
        pthread_cond_wait(&engine->changed, &engine->lock);
    bool ready = models_watch(m);
    lane *place = m->lane;
    *out = m->past;
    uint64_t loads = m->loads;
    pthread_mutex_unlock(&engine->lock);
    if (ready) {
        lane_stats(place, &now);
        models_unwatch(m);
    }
    stats_add(out, &now);
    out->loads = loads;
}

/* What a model's older ones did is its own: its counters never fall. */
void models_stats(bp_engine *engine, model_entry *m, bp_model_stats *out)
{
    entry_stats(m, out);
    for (;;) {
        pthread_mutex_lock(&engine->lock);
        m = m->older;
        pthread_mutex_unlock(&engine->lock);
        if (!m)
            return;
        bp_model_stats before;
        entry_stats(m, &before);
        out->running += before.running;
        out->waiting += before.waiting;
        out->loads += before.loads;
        uint64_t loads = out->loads;
        stats_add(&before, out);
        *out = before;
        out->loads = loads;
    }
}
