/* Residency: models come into memory when they are needed, and leave it when others need the room (models.h). */
#include "base/error.h"
#include "base/log.h"
#include "engine/residency_parts.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <string.h>
#include <time.h>

/* How long requests are refused after a load that failed, at first; the time doubles with each failure, up to the second one. What
 * failed for want of memory or because the file was just being replaced may be well then; what is wrong for good costs a
 * look at the file as often. */
#define RETRY_NS UINT64_C(1000000000)
#define RETRY_MOST_NS UINT64_C(60000000000)

/* Who has read the end of an answer may hold the model for a moment more: so long is waited before it is called in use. */
#define PARTING_NS UINT64_C(250000000)

void residency_wait(bp_engine *engine, uint64_t until)
{
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
    pthread_cond_timedwait(&engine->changed, &engine->lock, &t);
}

static unsigned long long mebibytes(uint64_t bytes)
{
    return (unsigned long long)((bytes + (1 << 19)) >> 20);
}

/* --- weights that several hold ---------------------------------------------------------------------------------------------- */

bool residency_has_twin(const model_entry *m)
{
    const bool shares = m->config.shelf && m->device->backend.info.caps & BP_CAP_SHARE;
    for (const model_entry *other = shares ? m->engine->entries : NULL; other; other = other->next) {
        if (other != m && other->loop == m->loop && other->state == BP_MODEL_READY && strcmp(other->config.file, m->config.file) == 0)
            return true;
    }
    return false;
}

/* What the device's models hold now that one has come or left: a part of what they share each. With the device, so that none of
 * them goes meanwhile, and without the lock. */
static void weigh(bp_engine *engine, const loop *device)
{
    pthread_mutex_lock(&engine->lock);
    model_entry *first = engine->entries;
    pthread_mutex_unlock(&engine->lock);
    for (model_entry *m = first; m; m = m->next) {
        bp_model_memory now;
        pthread_mutex_lock(&engine->lock);
        loaded *l = m->loop == device && m->state == BP_MODEL_READY ? m->loaded : NULL;
        pthread_mutex_unlock(&engine->lock);
        if (!l || !loaded_measure(l, &now))
            continue;
        pthread_mutex_lock(&engine->lock);
        if (m->loaded == l) {
            uint64_t bytes = loaded_sum(&now);
            engine->used += bytes - m->bytes;
            m->bytes = bytes;
            l->memory = now;
        }
        pthread_mutex_unlock(&engine->lock);
    }
}

/* --- leaving -------------------------------------------------------------------------------------------------------------- */

/* What was freed in small pieces goes back to the system too. */
static void give_back(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

/* What a backend holds that does not come back stays with it, and so does the model. Its lane still counts. */
static void keep_back(model_entry *m, loaded *l, lane *place, const bp_model_stats *past)
{
    m->loaded = l;
    m->lane = place;
    m->state = BP_MODEL_READY;
    m->kept_back = true;
    m->past = *past;
    m->leaving = false;
    pthread_cond_broadcast(&m->engine->changed);
}

/* Entered and left with the lock held, which is free while the memory is given back. The model is READY and not held. */
void residency_leave(model_entry *m)
{
    bp_engine *engine = m->engine;
    loaded *l = m->loaded;
    lane *place = m->lane;
    bp_model_stats past = m->past;
    m->state = BP_MODEL_UNLOADED;
    m->leaving = m->uncounted = true;
    m->closed = false;
    m->loaded = NULL;
    m->lane = NULL;
    while (m->watches > 0)
        pthread_cond_wait(&engine->changed, &engine->lock);
    pthread_mutex_unlock(&engine->lock);
    bp_model_stats last = {.size = sizeof last};
    lane_stats(place, &last);
    last.running = last.waiting = last.pages_used = last.pages_total = last.pages_cached = 0;
    pthread_mutex_lock(&engine->lock);
    stats_add(&m->past, &last);
    m->uncounted = false;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    bool free_to_go = loop_take_device(m->loop);
    if (free_to_go) {
        loop_remove(m->loop, place);
        loaded_free(l);
        weigh(engine, m->loop);
        loop_return_device(m->loop);
        give_back();
    }
    pthread_mutex_lock(&engine->lock);
    if (!free_to_go) {
        keep_back(m, l, place, &past);
        return;
    }
    log_line(BP_LOG_INFO, "model %s left memory (%llu MiB)", m->config.name, mebibytes(m->bytes));
    engine->used -= m->bytes;
    m->bytes = 0;
    m->leaving = false;
    pthread_cond_broadcast(&engine->changed);
}

bool residency_may_leave(const model_entry *m)
{
    return m->state == BP_MODEL_READY && m->holds == 0 && (!m->config.pinned || m->retired) && !m->kept_back &&
           m->awaited_until <= clock_now();
}

/* --- coming --------------------------------------------------------------------------------------------------------------- */

static void report(const models_wait *wait, double fraction, const char *what)
{
    if (wait->progress)
        wait->progress(wait->user, fraction, what);
}

static bp_status compile(model_entry *m, loaded *l, lane **place, bp_error *error)
{
    if (!loop_take_device(m->loop))
        return loop_check(m->loop, error);
    bp_status status = loaded_compile(l, error);
    if (status == BP_OK)
        status = loop_add(m->loop, l, place, error);
    loop_return_device(m->loop);
    return status;
}

static bp_status reserve(model_entry *m, const loaded *l, bool explicit, bp_error *error)
{
    pthread_mutex_lock(&m->engine->lock);
    bp_status status = room_take(m, l, explicit, error);
    pthread_mutex_unlock(&m->engine->lock);
    return status;
}

static bp_status load_halves(model_entry *m, const models_wait *wait, loaded **out, lane **place, bp_error *error)
{
    report(wait, 0.0, "reading the model's file");
    bp_status status = loop_check(m->loop, error);
    if (status == BP_OK)
        status = loaded_open(&m->config, &m->device->backend, out, error);
    if (status != BP_OK)
        return status;
    status = reserve(m, *out, wait->explicit, error);
    report(wait, 0.3, "compiling for the device");
    if (status == BP_OK)
        status = compile(m, *out, place, error);
    if (status != BP_OK) {
        if (loop_take_device(m->loop)) {
            loaded_free(*out);
            loop_return_device(m->loop);
        } else {
            (*out)->model = NULL; /* the backend's, and not to be called for */
            loaded_free(*out);
        }
        *out = NULL;
        return status;
    }
    report(wait, 1.0, "ready");
    return BP_OK;
}

/* With the lock: requests may have it loaded again after a while. */
static void put_off(model_entry *m)
{
    uint64_t wait = m->failures < 6 ? RETRY_NS << m->failures : RETRY_MOST_NS;
    m->failures++;
    m->retry_at = clock_now() + (wait < RETRY_MOST_NS ? wait : RETRY_MOST_NS);
}

/* From LOADING to READY, with a hold of the caller's, or FAILED. */
static bp_status load(model_entry *m, const models_wait *wait, bp_error *why)
{
    bp_engine *engine = m->engine;
    loaded *l = NULL;
    lane *place = NULL;
    uint64_t began = clock_now();
    bp_status status = load_halves(m, wait, &l, &place, why);
    bool later = status == BP_EBUSY;
    if (status != BP_OK)
        error_prefix(why, status, "model \"%s\"", m->config.name);
    pthread_mutex_lock(&engine->lock);
    uint64_t bytes = status == BP_OK ? loaded_sum(&l->memory) : 0;
    engine->used += bytes - m->bytes;
    m->bytes = bytes;
    if (bytes && !residency_has_twin(m)) /* without a twin it would hold more */
        m->held_before = bytes;
    m->state = status == BP_OK ? BP_MODEL_READY : later ? BP_MODEL_UNLOADED : BP_MODEL_FAILED;
    m->failure = *why;
    if (m->state == BP_MODEL_FAILED)
        put_off(m);
    else if (m->state == BP_MODEL_READY)
        m->failures = 0;
    m->loaded = l;
    m->lane = place;
    m->ready_at = m->idle_at = clock_now();
    if (status == BP_OK && !wait->progress) /* who watches a bar needs no line */
        log_line(BP_LOG_INFO, "model %s is loaded (%.2f s)", m->config.name, (double)(m->ready_at - began) / 1e9);
    m->awaited_until = m->ready_at + STAY_NS;
    m->holds = status == BP_OK;
    m->loads += status == BP_OK;
    if (status == BP_OK && residency_has_twin(m)) {
        pthread_mutex_unlock(&engine->lock); /* the caller's hold keeps it */
        if (loop_take_device(m->loop)) {
            weigh(engine, m->loop);
            loop_return_device(m->loop);
        }
        pthread_mutex_lock(&engine->lock);
    }
    /* It may hold more than was expected of it. */
    for (model_entry *victim; (victim = room_excess(engine));)
        residency_leave(victim);
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    return status;
}

/* Why a request cannot have the model. */
static bp_status refuse(const bp_error *why, bp_error *error)
{
    if (why->code == BP_ECANCELLED || why->code == BP_EBUSY)
        return error_set(error, why->code, "%s", why->message);
    return error_set(error, BP_EDEVICE, "unavailable: %.490s", why->message);
}

/* With the lock: whose turn it is to serve what came for *m. NULL: nobody's, its device is closed. */
static model_entry *current(model_entry *m)
{
    while (m->retired && m->newer && m->state != BP_MODEL_READY && m->state != BP_MODEL_LOADING)
        m = m->newer;
    return m->gone ? NULL : m;
}

/* --- waiting for one ------------------------------------------------------------------------------------------------------ */

/* Who waits, in the queue of which model. */
typedef struct waiter {
    model_entry *at;
    uint64_t began;
    bool saw_load; /* if that fails, its failure is the waiter's own */
} waiter;

/* Whoever asks for a load is told why there was none; of one that many requests wait for the log tells as well. */
static void *load_for_requests(void *model)
{
    model_entry *m = model;
    bp_error why = {0};
    bp_status status = load(m, &(models_wait){0}, &why);
    if (status != BP_OK && status != BP_EBUSY && status != BP_ECANCELLED)
        log_line(BP_LOG_ERROR, "%s", why.message);
    pthread_mutex_lock(&m->engine->lock);
    m->holds -= status == BP_OK;
    m->loading = false;
    pthread_cond_broadcast(&m->engine->changed);
    pthread_mutex_unlock(&m->engine->lock); /* the registry is not looked at after this: so the thread may be joined with the lock held */
    return NULL;
}

static void join_loader(model_entry *m)
{
    if (m->has_loader)
        pthread_join(m->loader, NULL);
    m->has_loader = false;
}

/* With the lock. */
static bp_status begin_load(model_entry *m, bp_error *error)
{
    join_loader(m);
    if (pthread_create(&m->loader, NULL, load_for_requests, m) != 0)
        return error_set(error, BP_ENOMEM, "no thread to load model \"%s\"", m->config.name);
    m->has_loader = m->loading = true;
    m->state = BP_MODEL_LOADING;
    return BP_OK;
}

/* As many requests may wait for a model as may be there once it is loaded. */
static bool is_full(const model_entry *m)
{
    const engine_model *c = &m->config;
    uint32_t batch = c->max_batch ? c->max_batch : ENGINE_MAX_BATCH;
    uint32_t step = c->max_step_tokens ? c->max_step_tokens : ENGINE_STEP_TOKENS;
    return m->waiters >= (uint64_t)(batch < step ? batch : step) + c->queue_limit;
}

static void leave_queue(waiter *w)
{
    if (!w->at)
        return;
    w->at->waiters--;
    w->at->wanted_at = clock_now();
    w->at = NULL;
}

static bp_status enter_queue(waiter *w, model_entry *m, bool limited, bp_error *error)
{
    if (w->at == m)
        return BP_OK;
    if (limited && is_full(m))
        return error_set(error, BP_EBUSY, "the queue is full: %u requests wait for model \"%s\" to be loaded; try again later", m->waiters,
                         m->config.name);
    leave_queue(w);
    m->waiters++;
    w->at = m;
    return BP_OK;
}

/* Waits until something changes, or says that it is enough. */
static bp_status wait_more(waiter *w, model_entry *m, const models_wait *wait, bp_error *error)
{
    uint64_t now = clock_now(), end = w->began + PATIENCE_NS;
    w->saw_load |= m->state == BP_MODEL_LOADING;
    if (wait->until && now >= wait->until) {
        bp_error why = {0};
        room_refuse(m, &why);
        return error_set(error, BP_ETIMEOUT, "model \"%s\" was not in memory in time: %.380s", m->config.name, why.message);
    }
    if (now >= end)
        return room_refuse(m, error);
    residency_wait(m->engine, wait->until && wait->until < end ? wait->until : end);
    return BP_OK;
}

/* With the lock: the model that the caller holds now, or is to load itself (*mine), is *m; or the reason why there is none. */
static bp_status hold_or_claim(model_entry **m, waiter *w, const models_wait *wait, bool *mine, bp_error *error)
{
    bp_engine *engine = (*m)->engine;
    for (bp_status status = BP_OK;;) {
        model_entry *found = current(*m);
        if (engine->stopping)
            return error_set(error, BP_ECANCELLED, "the server is shutting down");
        if (!found)
            return error_set(error, BP_ENOTFOUND, "there is no model \"%.200s\" any more", (*m)->config.name);
        *m = found;
        if (found->state == BP_MODEL_READY && (!found->closed || wait->brief)) {
            found->holds++;
            found->awaited_until = 0;
            return BP_OK;
        }
        bool again = found->state == BP_MODEL_FAILED && !w->saw_load && (wait->explicit || clock_now() >= found->retry_at);
        if (found->state == BP_MODEL_FAILED && !again)
            return refuse(&found->failure, error);
        if ((found->state == BP_MODEL_UNLOADED || again) && !found->leaving && !found->loading) {
            *mine = wait->explicit;
            if (*mine)
                found->state = BP_MODEL_LOADING;
            else
                status = begin_load(found, error);
        }
        if (status == BP_OK && !*mine)
            status = enter_queue(w, found, !wait->explicit, error);
        if (status == BP_OK && !*mine)
            status = wait_more(w, found, wait, error);
        if (status != BP_OK || *mine)
            return status;
    }
}

bp_status models_hold(model_entry **m, const models_wait *wait, bp_error *error)
{
    pthread_mutex_t *lock = &(*m)->engine->lock;
    waiter w = {.began = clock_now()};
    bool mine = false;
    pthread_mutex_lock(lock);
    bp_status status = hold_or_claim(m, &w, wait, &mine, error);
    leave_queue(&w);
    pthread_mutex_unlock(lock);
    if (!mine)
        return status;
    bp_error why = {0};
    status = load(*m, wait, &why);
    return status == BP_OK ? status : error_set(error, status, "%s", why.message);
}

void models_hold_again(model_entry *m)
{
    pthread_mutex_lock(&m->engine->lock);
    m->holds++;
    pthread_mutex_unlock(&m->engine->lock);
}

void models_drop(void *model)
{
    model_entry *m = model;
    pthread_mutex_lock(&m->engine->lock);
    m->idle_at = clock_now();
    if (--m->holds == 0)
        pthread_cond_broadcast(&m->engine->changed);
    pthread_mutex_unlock(&m->engine->lock);
}

bool models_watch(model_entry *m)
{
    bool ready = m->state == BP_MODEL_READY;
    m->watches += ready;
    return ready;
}

void models_unwatch(model_entry *m)
{
    pthread_mutex_lock(&m->engine->lock);
    if (--m->watches == 0)
        pthread_cond_broadcast(&m->engine->changed);
    pthread_mutex_unlock(&m->engine->lock);
}

bp_status models_unload(model_entry *m, bp_error *error)
{
    bp_status status = BP_OK;
    pthread_mutex_lock(&m->engine->lock);
    while (m->leaving)
        pthread_cond_wait(&m->engine->changed, &m->engine->lock);
    for (uint64_t until = clock_now() + PARTING_NS; m->holds > 0 && !m->engine->stopping && clock_now() < until;)
        residency_wait(m->engine, until);
    if (m->state == BP_MODEL_LOADING || (m->state == BP_MODEL_READY && m->holds > 0))
        status = error_set(error, BP_EBUSY, "model \"%s\" is in use; try again later", m->config.name);
    else if (m->state == BP_MODEL_READY && !m->kept_back)
        residency_leave(m);
    if (m->kept_back)
        status = error_set(error, BP_EDEVICE, "model \"%s\" cannot leave: its backend did not come back from a step", m->config.name);
    pthread_mutex_unlock(&m->engine->lock);
    return status;
}

/* --- keeping -------------------------------------------------------------------------------------------------------------- */

/* Lets go whose idle time is over, who was replaced, and who is beyond a budget that was lowered; the next such moment, or a long
 * time. Once something left, it is now: the lock was not held meanwhile, and what changed has not been looked at. */
static uint64_t expire(bp_engine *engine)
{
    uint64_t now = clock_now(), soonest = now + UINT64_C(3600000000000);
    model_entry *victim = room_excess(engine);
    for (model_entry *m = engine->entries; m; m = m->next) {
        if (m->awaited_until > now && m->awaited_until < soonest)
            soonest = m->awaited_until; /* it may leave then, for whatever reason */
        if (!residency_may_leave(m) || (!m->config.idle_ns && !m->retired && m != victim))
            continue;
        if (m->retired || m == victim || m->idle_at + m->config.idle_ns <= now) {
            residency_leave(m);
            return now;
        }
        if (m->idle_at + m->config.idle_ns < soonest)
            soonest = m->idle_at + m->config.idle_ns;
    }
    return soonest;
}

/* Whether a model of a retired device may still be held, or be in memory. */
static bool in_use(const engine_device *d, const model_entry *first)
{
    for (const model_entry *m = first; m; m = m->next)
        if (m->device == d && !m->gone &&
            (m->leaving || m->holds || m->state == BP_MODEL_READY || m->state == BP_MODEL_LOADING))
            return true;
    return false;
}

/* Closes a device that was left out and has no model any more; false where there is none. The lock is free meanwhile. */
static bool close_device(bp_engine *engine)
{
    engine_device *d = engine->devices;
    while (d && (!d->retired || !d->loop || in_use(d, engine->entries)))
        d = d->next;
    if (!d)
        return false;
    for (model_entry *m = engine->entries; m; m = m->next)
        m->gone |= m->device == d;
    loop *idle = d->loop;
    d->loop = NULL;
    pthread_mutex_unlock(&engine->lock);
    loop_free(idle);
    if (d->backend.close)
        d->backend.close(&d->backend);
    pthread_mutex_lock(&engine->lock);
    pthread_cond_broadcast(&engine->changed);
    return true;
}

static void *keep(void *user)
{
    bp_engine *engine = user;
    pthread_mutex_lock(&engine->lock);
    while (!engine->stopping) {
        uint64_t soonest = expire(engine);
        if (soonest > clock_now() && !close_device(engine))
            residency_wait(engine, soonest);
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

bp_status models_keep(bp_engine *engine, bp_error *error)
{
    bp_status status = BP_OK;
    pthread_mutex_lock(&engine->lock);
    bool wanted = engine->budget != 0;
    for (const model_entry *m = engine->entries; m; m = m->next)
        wanted = wanted || m->config.idle_ns || m->retired;
    if (wanted && !engine->kept && !engine->stopping) {
        engine->kept = pthread_create(&engine->keeper, NULL, keep, engine) == 0;
        if (!engine->kept)
            status = error_set(error, BP_ENOMEM, "no thread to keep the models' idle times");
    }
    pthread_mutex_unlock(&engine->lock);
    return status;
}

void models_stop(bp_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    bool kept = engine->kept;
    engine->stopping = true;
    engine->kept = false;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    if (kept)
        pthread_join(engine->keeper, NULL);
}

void models_join(bp_engine *engine)
{
    for (model_entry *m = engine->entries; m; m = m->next)
        join_loader(m);
}

void models_free(bp_engine *engine)
{
    for (model_entry *m = engine->entries; m; m = m->next)
        loaded_free(m->loaded);
}
