#include "engine/engine.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/embed.h"
#include "engine/models.h"
#include "engine/prompt.h"
#include "engine/rank.h"
#include "engine/request.h"

#include <stdlib.h>
#include <string.h>

/* --- life ----------------------------------------------------------------------------------------------------------------- */

/* Times are the monotonic clock's. */
static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

bp_status engine_new(const engine_backend *backends, uint32_t backend_count, const engine_model *models, uint32_t model_count,
                     uint64_t budget, bp_engine **out, bp_error *error)
{
    arena *memory = arena_new();
    bp_engine *e = memory ? arena_alloc(memory, sizeof *e) : NULL;
    if (!e) {
        arena_free(memory);
        return error_set(error, BP_ENOMEM, "no memory for the engine");
    }
    e->memory = memory;
    pthread_mutex_init(&e->lock, NULL);
    init_condition(&e->changed);
    bp_status status = engine_replace(e, backends, backend_count, models, model_count, budget, NULL, error);
    if (status != BP_OK) {
        engine_free(e);
        return status;
    }
    *out = e;
    return BP_OK;
}

bool engine_drain(bp_engine *engine, uint64_t timeout_ns)
{
    uint64_t now = clock_now(), until = now + timeout_ns < now ? UINT64_MAX : now + timeout_ns;
    bool idle = true;
    models_stop(engine);
    for (engine_device *d = engine->devices; d; d = d->next)
        idle = (!d->loop || loop_drain(d->loop, until)) && idle;
    return idle;
}

bool engine_stuck(const bp_engine *engine)
{
    bool stuck = false;
    for (const engine_device *d = engine->devices; d; d = d->next)
        stuck = stuck || (d->loop && loop_stuck(d->loop));
    return stuck;
}

void engine_free(bp_engine *engine)
{
    if (!engine)
        return;
    models_stop(engine);
    models_join(engine);
    for (engine_device *d = engine->devices; d; d = d->next)
        loop_free(d->loop);
    models_free(engine);
    for (engine_device *d = engine->devices; d; d = d->next)
        if (d->loop && d->backend.close)
            d->backend.close(&d->backend);
    pthread_cond_destroy(&engine->changed);
    pthread_mutex_destroy(&engine->lock);
    arena_free(engine->memory);
}

/* --- requests ------------------------------------------------------------------------------------------------------------- */

/* What the caller's struct says, in this build's struct (plugin.h, rules of the boundary). */
static bp_status read_request(const bp_request *from, bp_request *out, bp_error *error)
{
    if (from->size == 0)
        return error_set(error, BP_EINVAL, "the request's size is not set: fill it with defaults()");
    *out = (bp_request){0};
    memcpy(out, from, from->size < sizeof *out ? from->size : sizeof *out);
    return request_check(out, error);
}

/* Fills a struct of the caller's, whose size is set, with as much of ours as it has room for. */
static void give(void *out, const void *ours, uint32_t size)
{
    uint32_t room;
    memcpy(&room, out, sizeof room);
    room = room < size ? room : size;
    memcpy(out, ours, room);
    if (room >= sizeof room)
        memcpy(out, &room, sizeof room);
}

static void defaults(bp_engine *engine, const char *model, bp_request *out)
{
    bp_request request = {.size = sizeof request, .model = model};
    sampling_defaults(&request.sampling);
    model_entry *m;
    if (models_find(engine, model, &m, NULL) == BP_OK) {
        request.max_tokens = m->config.max_tokens;
        if (m->config.sampling.size)
            request.sampling = m->config.sampling;
    }
    /* It lies last in the request, and is as long as the caller's. */
    uint32_t before = offsetof(bp_request, sampling);
    if (out->size < sizeof request)
        request.sampling.size = out->size > before ? out->size - before : 0;
    give(out, &request, sizeof request);
}

/* With a place in the queue, and a hold on the model that the stream takes over. */
static bp_status encode(const loaded *l, const bp_request *request, token_list *out, uint32_t *second_at, bp_error *error)
{
    switch (request->task) {
    case BP_TASK_EMBED: return embed_encode(l, request, out, error);
    case BP_TASK_RANK: return rank_encode(l, request, out, second_at, error);
    default: return prompt_encode(l, request, out, error);
    }
}

static bp_status submit_reserved(model_entry *m, const bp_request *request, uint64_t now, bp_stream **out, bp_error *error)
{
    token_list prompt = {0};
    bp_stream *r = NULL;
    uint32_t second_at = 0;
    bp_status status = encode(m->loaded, request, &prompt, &second_at, error);
    if (status == BP_OK)
        status = request_new(m->loaded, request, &prompt, now, &r, error);
    token_list_free(&prompt);
    if (status != BP_OK) {
        lane_unreserve(m->lane);
        models_drop(m);
        return status;
    }
    r->sequence.second_at = second_at;
    r->let_go = models_drop;
    r->held = m;
    status = lane_submit(m->lane, r, error);
    if (status != BP_OK)
        request_drop(r);
    else
        *out = r;
    return status;
}

/* When a request does not wait for its model any more; 0: it says nothing about that. */
static uint64_t waits_until(const bp_request *request, uint64_t now)
{
    uint64_t until = 0, wait = (uint64_t)request->wait_ms * 1000000;
    if (request->timeout_ns && !checked_add_u64(now, request->timeout_ns, &until))
        until = 0;
    return wait && (!until || now + wait < until) ? now + wait : until;
}

/* A stream that is held keeps its model for those that come with it. */
static bp_status hold_for(const bp_request *request, uint64_t now, model_entry **m, bp_error *error)
{
    if (!request->beside)
        return models_hold(m, &(models_wait){.until = waits_until(request, now)}, error);
    model_entry *held = request->beside->held; /* an older one where the model was replaced since */
    if (strcmp(held->config.name, (*m)->config.name) != 0)
        return error_set(error, BP_EINVAL, "the request is to run beside one of another model");
    *m = held;
    models_hold_again(held);
    return BP_OK;
}

static bp_status submit(bp_engine *engine, const bp_request *from, bp_stream **out, bp_error *error)
{
    uint64_t now = clock_now();
    bp_request request;
    model_entry *m;
    bp_status status = read_request(from, &request, error);
    if (status == BP_OK)
        status = models_find(engine, request.model, &m, error);
    if (status == BP_OK)
        status = hold_for(&request, now, &m, error);
    if (status != BP_OK)
        return status;
    status = embed_check(m->loaded, &request, error);
    if (status == BP_OK)
        status = lane_reserve(m->lane, error); /* before the work of reading the prompt */
    if (status == BP_OK)
        return submit_reserved(m, &request, now, out, error);
    models_drop(m);
    return status;
}

static bp_status next(bp_stream *r, uint64_t timeout_ns, bp_event *out, bp_error *error)
{
    bp_event event;
    bp_status status = stream_next(&r->events, timeout_ns, &event, error);
    if (status == BP_OK)
        give(out, &event, sizeof event);
    return status;
}

static void cancel(bp_stream *r)
{
    if (r)
        lane_cancel(r->lane, r);
}

static void release(bp_stream *r)
{
    cancel(r);
    request_drop(r);
}

/* --- models --------------------------------------------------------------------------------------------------------------- */

static uint32_t model_count(bp_engine *engine)
{
    return models_count(engine);
}

static bp_status model_info(bp_engine *engine, uint32_t index, bp_model_info *out, bp_error *error)
{
    model_entry *m = models_at(engine, index);
    if (!m)
        return error_set(error, BP_ENOTFOUND, "there is no model %u of %u", index, models_count(engine));
    bp_model_info info;
    models_describe(engine, m, &info);
    give(out, &info, sizeof info);
    return BP_OK;
}

static bp_status find_model(bp_engine *engine, const char *name, uint32_t *index, bp_error *error)
{
    model_entry *m;
    bp_status status = models_find(engine, name, &m, error);
    return status == BP_OK ? models_index(m, index, error) : status;
}

static bp_status load(bp_engine *engine, const char *model, bp_progress_fn progress, void *user, bp_error *error)
{
    model_entry *m;
    bp_status status = models_find(engine, model, &m, error);
    if (status == BP_OK)
        status = models_hold(&m, &(models_wait){.explicit = true, .progress = progress, .user = user}, error);
    if (status != BP_OK)
        return status;
    bp_error why;
    if (lane_failed(m->lane, &why))
        status = error_set(error, why.code, "%s", why.message);
    models_drop(m);
    return status;
}

static bp_status unload(bp_engine *engine, const char *model, bp_error *error)
{
    model_entry *m;
    bp_status status = models_find(engine, model, &m, error);
    return status == BP_OK ? models_unload(m, error) : status;
}

static bp_status stats(bp_engine *engine, const char *model, bp_model_stats *out, bp_error *error)
{
    model_entry *m;
    bp_status status = models_find(engine, model, &m, error);
    if (status != BP_OK)
        return status;
    bp_model_stats counts;
    models_stats(engine, m, &counts);
    give(out, &counts, sizeof counts);
    return BP_OK;
}

/* --- text ----------------------------------------------------------------------------------------------------------------- */

/* With a hold, for models_drop. */
static bp_status find_and_hold(bp_engine *engine, const char *name, model_entry **out, bp_error *error)
{
    bp_status status = models_find(engine, name, out, error);
    return status == BP_OK ? models_hold(out, &(models_wait){.brief = true}, error) : status;
}

static bp_status tokenize(bp_engine *engine, const char *model, const char *text, uint64_t bytes, uint32_t flags, int32_t *ids,
                          uint64_t capacity, uint64_t *count, bp_error *error)
{
    model_entry *m;
    bp_status status = find_and_hold(engine, model, &m, error);
    if (status != BP_OK)
        return status;
    token_list list = {0};
    unsigned encode = (flags & BP_TOKENIZE_SPECIAL ? TOKENIZER_SPECIAL : 0u) | (flags & BP_TOKENIZE_BOS ? TOKENIZER_BOS : 0u);
    status = tokenizer_encode(m->loaded->tokenizer, text ? text : "", text ? (size_t)bytes : 0, NULL, encode, &list, error);
    if (status == BP_OK) {
        size_t copied = list.count < capacity ? list.count : (size_t)capacity;
        if (copied)
            memcpy(ids, list.ids, copied * sizeof *ids);
        *count = list.count;
    }
    token_list_free(&list);
    models_drop(m);
    return status;
}

static void give_text(const buffer *text, char *out, uint64_t capacity, uint64_t *bytes)
{
    size_t copied = text->size < capacity ? text->size : (size_t)capacity;
    if (copied)
        memcpy(out, text->data, copied);
    *bytes = text->size;
}

static bp_status detokenize(bp_engine *engine, const char *model, const int32_t *ids, uint64_t count, char *text,
                            uint64_t capacity, uint64_t *bytes, bp_error *error)
{
    model_entry *m;
    bp_status status = find_and_hold(engine, model, &m, error);
    if (status != BP_OK)
        return status;
    detokenizer d = {.emit_special = 1};
    buffer out = {0};
    bool enough = true;
    for (uint64_t i = 0; i < count && enough && status == BP_OK; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= m->loaded->vocab_size)
            status = error_set(error, BP_EINVAL, "token %d is not in the vocabulary of %u tokens", ids[i],
                               m->loaded->vocab_size);
        else
            enough = detokenizer_push(&d, m->loaded->tokenizer, ids[i], &out);
    }
    if (status == BP_OK && (!enough || !detokenizer_finish(&d, &out)))
        status = error_set(error, BP_ENOMEM, "no memory for the text of %llu tokens", (unsigned long long)count);
    if (status == BP_OK)
        give_text(&out, text, capacity, bytes);
    buffer_free(&out);
    models_drop(m);
    return status;
}

static bp_status render(bp_engine *engine, const bp_request *from, char *text, uint64_t capacity, uint64_t *bytes,
                        bp_error *error)
{
    bp_request request;
    model_entry *m;
    bp_status status = read_request(from, &request, error);
    if (status == BP_OK)
        status = find_and_hold(engine, request.model, &m, error);
    if (status != BP_OK)
        return status;
    buffer out = {0}, trusted = {0};
    status = prompt_render(m->loaded, &request, &out, &trusted, error);
    if (status == BP_OK)
        give_text(&out, text, capacity, bytes);
    buffer_free(&out);
    buffer_free(&trusted);
    models_drop(m);
    return status;
}

static uint32_t draining(bp_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    bool stopping = engine->stopping;
    pthread_mutex_unlock(&engine->lock);
    return stopping;
}

const bp_engine_api *engine_api(void)
{
    static const bp_engine_api api = {
        .size = sizeof api, .defaults = defaults, .submit = submit, .next = next, .cancel = cancel, .release = release,
        .model_count = model_count, .model_info = model_info, .find_model = find_model, .load = load, .stats = stats,
        .tokenize = tokenize, .detokenize = detokenize, .render = render, .unload = unload, .draining = draining};
    return &api;
}
