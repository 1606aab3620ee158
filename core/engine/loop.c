#include "engine/loop.h"

#include "base/error.h"
#include "base/log.h"
#include "engine/scheduler.h"
#include "engine/step.h"
#include "engine/turns.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct lane {
    loop *loop;
    lane *next; /* a ring */
    const loaded *loaded;
    scheduler *scheduler;
    plan plan;
    step step;
    bool failed;
    bp_error failure;
    uint64_t requests, failures, prompt_tokens, completion_tokens, steps;
    uint64_t served; /* nanoseconds of the device; L7 */
};

struct loop {
    const engine_backend *backend;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below, or a lane's work */
    pthread_cond_t ending;  /* `stopping`: all that the watcher has to hear of */
    pthread_t thread, watcher;
    bool watched;           /* there is a watcher */
    uint64_t step_began;    /* the running step's time; 0: none runs */
    lane *turn;             /* the lane that had the last step; NULL without lanes */
    turns turns;
    uint32_t takers;        /* threads that wait for the device */
    bool busy;              /* the device is in use */
    bool draining, stopping, lost, stuck;
    bp_error loss;
};

/* --- ends of requests, with the lock held --------------------------------------------------------------------------------- */

static void end_requests(lane *m, sequence *ended)
{
    uint64_t now = clock_now();
    while (ended) {
        sequence *next = ended->next;
        bp_stream *r = request_of(ended);
        m->failures += request_end(r, now);
        request_drop(r);
        ended = next;
    }
    if (m->loop->draining)
        pthread_cond_broadcast(&m->loop->changed);
}

static void fail_requests(lane *m, const bp_error *why)
{
    sequence *ended = scheduler_end_all(m->scheduler);
    for (sequence *q = ended; q; q = q->next)
        request_fail(request_of(q), why);
    end_requests(m, ended);
}

static void fail_lane(lane *m, const bp_error *why)
{
    if (m->failed)
        return;
    m->failed = true;
    m->failure = *why;
    error_prefix(&m->failure, why->code, "model \"%s\" is unavailable", m->loaded->config->name);
    m->failure.code = BP_EDEVICE;
    log_line(BP_LOG_ERROR, "%s", m->failure.message);
    fail_requests(m, &m->failure);
}

static void lose_device(loop *l, const bp_error *why)
{
    l->lost = true;
    l->loss = *why;
    lane *m = l->turn;
    do {
        fail_lane(m, why);
        m = m->next;
    } while (m != l->turn);
}

/* --- the thread ------------------------------------------------------------------------------------------------------------ */

/* Of the lanes that have work the one that was served least, after the last one among equals; NULL if none has. */
static lane *next_lane(const loop *l)
{
    lane *m = l->turn, *next = NULL;
    for (bool more = m; more; more = m != l->turn) {
        m = m->next;
        if (!m->failed && !scheduler_idle(m->scheduler) && (!next || m->served < next->served))
            next = m;
    }
    return next;
}

static void wait_until(loop *l, pthread_cond_t *condition, uint64_t until)
{
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
    pthread_cond_timedwait(condition, &l->lock, &t);
}

/* While the device is another's, requests still end when they are cancelled or late. */
static void wait_with_deadlines(loop *l)
{
    uint64_t now = clock_now(), soonest = UINT64_MAX;
    lane *m = l->turn;
    do {
        end_requests(m, scheduler_expire(m->scheduler, now));
        uint64_t deadline = scheduler_next_deadline(m->scheduler);
        soonest = deadline < soonest ? deadline : soonest;
        m = m->next;
    } while (m != l->turn);
    if (soonest == UINT64_MAX) {
        pthread_cond_wait(&l->changed, &l->lock);
        return;
    }
    wait_until(l, &l->changed, soonest);
}

/* What came of a step, with the lock held. */
static void end_step(loop *l, lane *m, bp_status status, const bp_error *why)
{
    if (status == BP_EDEVICE) {
        lose_device(l, why);
    } else if (status != BP_OK) {
        fail_lane(m, why);
    } else {
        for (uint32_t i = 0; i < m->plan.count; i++)
            if (m->plan.entries[i].row && !m->plan.entries[i].failed && request_of(m->plan.entries[i].sequence)->answer_limit)
                m->completion_tokens += 1 + m->plan.entries[i].accepted;
        end_requests(m, scheduler_commit(m->scheduler, &m->plan));
    }
}

/* One step of one lane: entered and left with the lock held, which is free while the backend works. */
static void run_step(loop *l, lane *m)
{
    bp_error why = {0};
    bp_status status = BP_OK;
    uint64_t now = clock_now();
    l->turn = m;
    turns_begin(&l->turns, m->served);
    l->busy = true;
    l->step_began = now;
    scheduler_plan(m->scheduler, now, &m->plan);
    end_requests(m, m->plan.ended);
    if (m->plan.count) {
        pthread_mutex_unlock(&l->lock);
        for (uint32_t i = 0; i < m->plan.count; i++)
            request_announce(request_of(m->plan.entries[i].sequence));
        status = step_execute(&m->step, m->plan.entries, m->plan.count, &why);
        pthread_mutex_lock(&l->lock);
        m->steps++;
        m->served += clock_now() - now;
    }
    if (!l->stuck)
        end_step(l, m, status, &why);
    else
        log_line(BP_LOG_WARN, "backend \"%s\" is back from its step, too late", l->backend->name);
    l->busy = l->stuck = false;
    l->step_began = 0;
    if (l->takers || l->draining)
        pthread_cond_broadcast(&l->changed);
}

static void *run_loop(void *user)
{
    loop *l = user;
    pthread_mutex_lock(&l->lock);
    while (!l->stopping) {
        lane *m = next_lane(l);
        if (!m)
            pthread_cond_wait(&l->changed, &l->lock);
        else if (l->busy || l->takers)
            wait_with_deadlines(l);
        else
            run_step(l, m);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* --- the watchdog ----------------------------------------------------------------------------------------------------------- */

/* With the lock held, which run_step needs to go on. */
static void abandon_step(loop *l)
{
    bp_error why = {0};
    if (!step_abandon(&l->turn->step))
        return; /* the backend is done, and its tokens are being sampled */
    l->stuck = true;
    error_set(&why, BP_EDEVICE, "backend \"%s\" did not come back from a step within %.3g s", l->backend->name,
              (double)l->backend->step_ns / 1e9);
    lose_device(l, &why);
    pthread_cond_broadcast(&l->changed);
}

/* Wakes where the step that ran when it last looked would be late, or one that could have begun since: steps tell it nothing. */
static void *watch(void *user)
{
    loop *l = user;
    pthread_mutex_lock(&l->lock);
    while (!l->stopping) {
        uint64_t now = clock_now(), limit = l->backend->step_ns, late = (l->step_began ? l->step_began : now) + limit;
        bool is_late = l->step_began && !l->stuck && late <= now;
        if (is_late)
            abandon_step(l);
        wait_until(l, &l->ending, late > now ? late : now + limit / 16 + 1000000);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

bool loop_stuck(loop *l)
{
    pthread_mutex_lock(&l->lock);
    bool stuck = l->stuck;
    pthread_mutex_unlock(&l->lock);
    return stuck;
}

static bool start_threads(loop *l)
{
    if (pthread_create(&l->thread, NULL, run_loop, l) != 0)
        return false;
    l->watched = l->backend->step_ns && pthread_create(&l->watcher, NULL, watch, l) == 0;
    if (l->watched || !l->backend->step_ns)
        return true;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    return false;
}

bp_status loop_new(const engine_backend *backend, loop **out, bp_error *error)
{
    loop *l = calloc(1, sizeof *l);
    if (!l)
        return error_set(error, BP_ENOMEM, "no memory for the loop of backend \"%s\"", backend->name);
    l->backend = backend;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, &attributes);
    pthread_cond_init(&l->ending, &attributes);
    pthread_condattr_destroy(&attributes);
    if (!start_threads(l)) {
        pthread_cond_destroy(&l->ending);
        pthread_cond_destroy(&l->changed);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return error_set(error, BP_ENOMEM, "no thread for the loop of backend \"%s\"", backend->name);
    }
    *out = l;
    return BP_OK;
}

/* --- draining and freeing --------------------------------------------------------------------------------------------------- */

static bool wait_until_idle(loop *l, uint64_t until)
{
    while (next_lane(l) || (l->busy && !l->stuck)) {
        if (clock_now() >= until)
            return false;
        wait_until(l, &l->changed, until);
    }
    return true;
}

bool loop_drain(loop *l, uint64_t until)
{
    bp_error why = {0};
    error_set(&why, BP_ECANCELLED, "the server is shutting down");
    pthread_mutex_lock(&l->lock);
    l->draining = true;
    bool idle = wait_until_idle(l, until);
    if (!idle && l->turn) {
        l->takers++;
        while (l->busy && !l->stuck)
            pthread_cond_wait(&l->changed, &l->lock);
        l->takers--;
        lane *m = l->turn;
        do {
            fail_requests(m, &why);
            m = m->next;
        } while (m != l->turn);
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return idle;
}

static void free_lane(lane *m)
{
    scheduler_free(m->scheduler);
    step_clear(&m->step);
    free(m);
}

void loop_free(loop *l)
{
    if (!l)
        return;
    loop_drain(l, 0);
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_cond_broadcast(&l->changed);
    pthread_cond_broadcast(&l->ending);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    if (l->watched)
        pthread_join(l->watcher, NULL);
    lane *first = l->turn, *m = first;
    while (m) {
        lane *next = m->next == first ? NULL : m->next;
        free_lane(m);
        m = next;
    }
    pthread_cond_destroy(&l->ending);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* --- the device ------------------------------------------------------------------------------------------------------------- */

bool loop_take_device(loop *l)
{
    pthread_mutex_lock(&l->lock);
    l->takers++;
    while (l->busy && !l->stuck)
        pthread_cond_wait(&l->changed, &l->lock);
    l->takers--;
    bool taken = !l->stuck;
    l->busy = true;
    pthread_mutex_unlock(&l->lock);
    return taken;
}

void loop_return_device(loop *l)
{
    pthread_mutex_lock(&l->lock);
    l->busy = false;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

bp_status loop_check(loop *l, bp_error *error)
{
    bp_status status = BP_OK;
    pthread_mutex_lock(&l->lock);
    if (l->draining)
        status = error_set(error, BP_ECANCELLED, "the server is shutting down");
    else if (l->lost)
        status = error_set(error, BP_EDEVICE, "the device of backend \"%s\" is lost: %.300s", l->backend->name, l->loss.message);
    pthread_mutex_unlock(&l->lock);
    return status;
}

/* --- lanes ------------------------------------------------------------------------------------------------------------------ */

bp_status loop_add(loop *l, const loaded *model, lane **out, bp_error *error)
{
    lane *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(error, BP_ENOMEM, "no memory for model \"%s\"", model->config->name);
    m->loop = l;
    m->loaded = model;
    const bp_limits *limits = &model->limits;
    bp_status status = scheduler_new(&(scheduler_limits){.max_sequences = limits->max_seqs, .max_tokens = limits->max_tokens,
                                                         .page_tokens = limits->page_tokens, .page_count = limits->page_count,
                                                         .queue_limit = model->config->queue_limit,
                                                         .mixed_tokens = model->mixed_step_tokens,
                                                         .max_drafts = model->config->drafts,
                                                         .max_rows = limits->max_rows,
                                                         .share_prefixes = !model->config->no_prefix_cache && !model->embedder,
                                                         .whole_prompts = model->embedder,
                                                         .copy_pages = model->backend->info.caps & BP_CAP_COPY},
                                     &m->scheduler, error);
    if (status == BP_OK)
        status = step_init(&m->step, model, error);
    if (status != BP_OK) {
        free_lane(m);
        return status;
    }
    pthread_mutex_lock(&l->lock);
    m->next = l->turn ? l->turn->next : m;
    if (l->turn)
        l->turn->next = m;
    else
        l->turn = m;
    pthread_mutex_unlock(&l->lock);
    *out = m;
    return BP_OK;
}

void loop_remove(loop *l, lane *m)
{
    pthread_mutex_lock(&l->lock);
    lane *before = m;
    while (before->next != m)
        before = before->next;
    before->next = m->next;
    if (l->turn == m)
        l->turn = before == m ? NULL : before;
    pthread_mutex_unlock(&l->lock);
    free_lane(m);
}

/* With the lock held. */
static bp_status check_open(const lane *m, bp_error *error)
{
    if (m->loop->draining)
        return error_set(error, BP_ECANCELLED, "the server is shutting down");
    return m->failed ? error_set(error, m->failure.code, "%s", m->failure.message) : BP_OK;
}

bp_status lane_reserve(lane *m, bp_error *error)
{
    pthread_mutex_lock(&m->loop->lock);
    bp_status status = check_open(m, error);
    if (status == BP_OK)
        status = scheduler_reserve(m->scheduler, error);
    pthread_mutex_unlock(&m->loop->lock);
    return status;
}

void lane_unreserve(lane *m)
{
    pthread_mutex_lock(&m->loop->lock);
    scheduler_unreserve(m->scheduler);
    pthread_mutex_unlock(&m->loop->lock);
}

bp_status lane_submit(lane *m, bp_stream *r, bp_error *error)
{
    pthread_mutex_lock(&m->loop->lock);
    bp_status status = check_open(m, error);
    bool idle = scheduler_idle(m->scheduler);
    if (status == BP_OK)
        status = scheduler_add(m->scheduler, &r->sequence, error);
    else
        scheduler_unreserve(m->scheduler);
    if (status == BP_OK) {
        request_share(r);
        r->lane = m;
        m->requests++;
        if (idle)
            m->served = turns_come(&m->loop->turns, m->served);
        m->prompt_tokens += r->sequence.prompt_count;
        pthread_cond_broadcast(&m->loop->changed);
    }
    pthread_mutex_unlock(&m->loop->lock);
    return status;
}

void lane_cancel(lane *m, bp_stream *r)
{
    atomic_store_explicit(&r->sequence.cancelled, true, memory_order_relaxed);
    pthread_mutex_lock(&m->loop->lock);
    if (scheduler_remove(m->scheduler, &r->sequence)) {
        r->sequence.cause = SEQUENCE_CAUSE_CANCELLED;
        end_requests(m, &r->sequence);
    } else if (m->loop->busy) {
        pthread_cond_broadcast(&m->loop->changed); /* in case the loop waits for the device */
    }
    pthread_mutex_unlock(&m->loop->lock);
}

bool lane_failed(lane *m, bp_error *why)
{
    pthread_mutex_lock(&m->loop->lock);
    bool failed = m->failed;
    if (failed)
        *why = m->failure;
    pthread_mutex_unlock(&m->loop->lock);
    return failed;
}

void lane_stats(lane *m, bp_model_stats *out)
{
    pthread_mutex_lock(&m->loop->lock);
    scheduler_counts c = scheduler_count(m->scheduler);
    *out = (bp_model_stats){.size = sizeof *out, .running = c.running, .waiting = c.waiting, .pages_used = c.pages_used,
                            .pages_total = c.pages_total, .requests = m->requests, .failed = m->failures,
                            .prompt_tokens = m->prompt_tokens, .completion_tokens = m->completion_tokens, .steps = m->steps,
                            .preemptions = c.preemptions, .prefix_hit_tokens = c.hit_tokens, .pages_cached = c.pages_cached,
                            .drafted_tokens = c.drafted, .accepted_tokens = c.accepted};
    pthread_mutex_unlock(&m->loop->lock);
}
