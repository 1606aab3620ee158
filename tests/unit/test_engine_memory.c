/* engine: models that share a budget of memory come when they are asked for and leave when others need the room, and no request
 * fails for it. */
#include "base/log.h"
#include "engine/engine.h"
#include "support/reader.h"
#include "support/tiny_llama.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MODELS = 4, KV_TOKENS = 256 };
#define MODEL_BYTES (UINT64_C(1) << 20)
#define CORE_BYTES (UINT64_C(110) << 10) /* a little more than the core has for each */
#define ROOM_FOR(models) ((models) * (MODEL_BYTES + CORE_BYTES))

typedef struct rig {
    char folder[64], paths[MODELS][96];
    bp_device device;
    engine_backend backend;
    engine_model models[MODELS];
    bp_engine *engine;
    const bp_engine_api *api;
} rig;

typedef struct client {
    rig *rig;
    uint32_t seed, requests, model; /* model: MODELS is any */
    const int32_t *expected;
    uint32_t failures;
    atomic_bool *enough;
} client;

static const char *const names[MODELS] = {"a", "b", "c", "d"};

static void open_rig(rig *g, uint32_t fitting, void (*change)(engine_model *))
{
    bp_error error = {0};
    *g = (rig){.api = engine_api(), .folder = "/tmp/backplane-test-XXXXXX", .device = {.model_bytes = MODEL_BYTES}};
    assert_non_null(mkdtemp(g->folder));
    g->backend = (engine_backend){.name = "reader", .ops = &reader_ops, .device = &g->device};
    for (uint32_t i = 0; i < MODELS; i++) {
        snprintf(g->paths[i], sizeof g->paths[i], "%s/%u.gguf", g->folder, i);
        assert_true(tiny_llama_write(g->paths[i], &(tiny_llama){.seed = i + 1}));
        g->models[i] = (engine_model){.name = names[i], .file = g->paths[i], .kv_tokens = KV_TOKENS, .queue_limit = 64};
        if (change)
            change(&g->models[i]);
    }
    if (engine_new(&g->backend, 1, g->models, MODELS, ROOM_FOR(fitting), &g->engine, &error) != BP_OK)
        fail_msg("%s", error.message);
}

static void close_rig(rig *g)
{
    engine_free(g->engine);
    assert_int_equal(atomic_load(&g->device.live_bytes), 0);
    for (uint32_t i = 0; i < MODELS; i++)
        unlink(g->paths[i]);
    rmdir(g->folder);
}

static bp_status submit_within(rig *g, const char *model, uint32_t tokens, uint32_t wait_ms, const bp_stream *beside, bp_stream **out,
                               bp_error *error)
{
    bp_request r = {.size = sizeof r};
    g->api->defaults(g->engine, model, &r);
    r.model = model;
    r.input = BP_INPUT_TEXT;
    r.text = "Hello";
    r.text_bytes = 5;
    r.max_tokens = tokens;
    r.flags = BP_REQUEST_IGNORE_EOS;
    r.sampling.temperature = 0;
    r.beside = beside;
    r.wait_ms = wait_ms;
    return g->api->submit(g->engine, &r, out, error);
}

static bp_status submit(rig *g, const char *model, uint32_t tokens, const bp_stream *beside, bp_stream **out, bp_error *error)
{
    return submit_within(g, model, tokens, 0, beside, out, error);
}

/* The last token of the answer; -1 where there is an error, which is said. */
static int32_t finish(rig *g, bp_stream *s)
{
    bp_event e = {.size = sizeof e};
    int32_t token = -1;
    do {
        if (g->api->next(s, 30000000000u, &e, NULL) != BP_OK)
            return -1;
        if (e.kind == BP_EVENT_TOKEN)
            token = e.chosen.token;
        if (e.kind == BP_EVENT_ERROR)
            fprintf(stderr, "%s\n", e.error.message);
    } while (e.kind != BP_EVENT_DONE && e.kind != BP_EVENT_ERROR);
    g->api->release(s);
    return e.kind == BP_EVENT_DONE ? token : -1;
}

static int32_t ask(rig *g, const char *model, uint32_t tokens)
{
    bp_stream *s = NULL;
    bp_error error = {0};
    if (submit(g, model, tokens, NULL, &s, &error) == BP_OK)
        return finish(g, s);
    fprintf(stderr, "%s\n", error.message);
    return -1;
}

static uint32_t state_of(rig *g, uint32_t model)
{
    bp_model_info info = {.size = sizeof info};
    assert_int_equal(g->api->model_info(g->engine, model, &info, NULL), BP_OK);
    return info.state;
}

static bp_model_stats stats_of(rig *g, const char *model)
{
    bp_model_stats stats = {.size = sizeof stats};
    assert_int_equal(g->api->stats(g->engine, model, &stats, NULL), BP_OK);
    return stats;
}

static uint32_t random_of(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void *work(void *user)
{
    client *c = user;
    for (uint32_t i = 0; i < c->requests && !(c->enough && atomic_load(c->enough)); i++) {
        uint32_t model = c->model < MODELS ? c->model : random_of(&c->seed) % MODELS;
        c->failures += ask(c->rig, names[model], 3) != c->expected[model];
    }
    return NULL;
}

/* --- tests ---------------------------------------------------------------------------------------------------------------- */

static void the_one_that_was_not_asked_for_the_longest_leaves(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, 2, NULL);
    assert_true(ask(&g, "a", 2) >= 0 && ask(&g, "b", 2) >= 0 && ask(&g, "a", 2) >= 0);
    assert_true(ask(&g, "c", 2) >= 0);
    assert_int_equal(state_of(&g, 0), BP_MODEL_READY);
    assert_int_equal(state_of(&g, 1), BP_MODEL_UNLOADED);
    assert_int_equal(state_of(&g, 2), BP_MODEL_READY);
    assert_int_equal(atomic_load(&g.device.live_bytes), 2 * MODEL_BYTES);
    close_rig(&g);
}

static void counts_go_on_and_answers_are_the_same(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, 1, NULL);
    int32_t first = ask(&g, "a", 3);
    assert_true(ask(&g, "b", 3) >= 0);
    assert_int_equal(ask(&g, "a", 3), first);
    bp_model_stats stats = stats_of(&g, "a");
    assert_int_equal(stats.loads, 2);
    assert_int_equal(stats.requests, 2);
    assert_int_equal(stats.completion_tokens, 6);
    assert_int_equal(stats_of(&g, "b").loads, 1);
    close_rig(&g);
}

static void pin_the_first(engine_model *m)
{
    m->pinned = strcmp(m->name, "a") == 0;
}

static void a_pinned_one_stays(void **state)
{
    (void)state;
    rig g;
    bp_error error = {0};
    bp_stream *s = NULL;
    open_rig(&g, 2, pin_the_first);
    assert_true(ask(&g, "a", 2) >= 0 && ask(&g, "b", 2) >= 0 && ask(&g, "c", 2) >= 0 && ask(&g, "d", 2) >= 0);
    assert_int_equal(stats_of(&g, "a").loads, 1);
    assert_int_equal(state_of(&g, 0), BP_MODEL_READY);
    close_rig(&g);

    open_rig(&g, 1, pin_the_first);
    assert_true(ask(&g, "a", 2) >= 0);
    assert_int_equal(submit(&g, "b", 2, NULL, &s, &error), BP_EDEVICE);
    assert_non_null(strstr(error.message, "models that stay hold 2 MiB (a): 1 MiB are missing"));
    assert_true(ask(&g, "a", 2) >= 0);
    close_rig(&g);
}

static void one_that_never_fits_says_so(void **state)
{
    (void)state;
    rig g;
    bp_error error = {0};
    bp_stream *s = NULL;
    open_rig(&g, 1, NULL);
    g.models[0].kv_tokens = 1 << 20;
    engine_free(g.engine);
    assert_int_equal(engine_new(&g.backend, 1, g.models, MODELS, ROOM_FOR(1), &g.engine, &error), BP_OK);
    assert_int_equal(submit(&g, "a", 2, NULL, &s, &error), BP_EDEVICE);
    assert_non_null(strstr(error.message, "memory_budget is 2 MiB"));
    assert_true(ask(&g, "b", 2) >= 0);
    close_rig(&g);
}

static void what_is_held_is_not_taken_away(void **state)
{
    (void)state;
    rig g;
    bp_stream *s = NULL;
    open_rig(&g, 2, NULL);
    assert_int_equal(submit(&g, "a", 3, NULL, &s, NULL), BP_OK);
    assert_true(ask(&g, "b", 2) >= 0 && ask(&g, "c", 2) >= 0 && ask(&g, "d", 2) >= 0);
    assert_int_equal(state_of(&g, 0), BP_MODEL_READY);
    assert_int_equal(g.api->unload(g.engine, "a", NULL), BP_EBUSY);
    assert_true(finish(&g, s) >= 0);
    assert_int_equal(g.api->unload(g.engine, "a", NULL), BP_OK);
    assert_int_equal(g.api->unload(g.engine, "a", NULL), BP_OK);
    assert_int_equal(state_of(&g, 0), BP_MODEL_UNLOADED);
    assert_int_equal(g.api->unload(g.engine, "nobody", NULL), BP_ENOTFOUND);
    assert_true(ask(&g, "a", 2) >= 0);
    close_rig(&g);
}

static void idle_soon(engine_model *m)
{
    m->idle_ns = strcmp(m->name, "b") == 0 ? 0 : 50000000;
}

static void idle_ones_leave_by_themselves(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, 0, idle_soon);
    assert_true(ask(&g, "a", 2) >= 0 && ask(&g, "b", 2) >= 0);
    for (int i = 0; i < 500 && state_of(&g, 0) == BP_MODEL_READY; i++)
        usleep(10000);
    assert_int_equal(state_of(&g, 0), BP_MODEL_UNLOADED);
    assert_int_equal(state_of(&g, 1), BP_MODEL_READY);
    close_rig(&g);
}

static void *look(void *user)
{
    client *c = user;
    while (!atomic_load(c->enough)) {
        (void)state_of(c->rig, 0);
        c->seed += stats_of(c->rig, "a").running;
    }
    return NULL;
}

/* Neither who looks at a model nor who has just had the end of its answer keeps it from being unloaded. */
static void looking_is_no_use(void **state)
{
    (void)state;
    rig g;
    pthread_t threads[2];
    atomic_bool enough = false;
    bp_error error = {0};
    open_rig(&g, 0, NULL);
    client lookers[2] = {{.rig = &g, .enough = &enough}, {.rig = &g, .enough = &enough}};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, &lookers[i]), 0);
    for (int i = 0; i < 100; i++) {
        assert_true(ask(&g, "a", 1) >= 0);
        if (g.api->unload(g.engine, "a", &error) != BP_OK)
            fail_msg("at %d: %s", i, error.message);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    close_rig(&g);
}

/* --- turns ---------------------------------------------------------------------------------------------------------------- */

/* "c" is expected to need more than one of the others holds, and less than two of them. */
static void grow_the_third(engine_model *m)
{
    if (strcmp(m->name, "c") == 0)
        m->kv_tokens = 4000;
}

static void pin_the_first_and_grow_the_third(engine_model *m)
{
    pin_the_first(m);
    grow_the_third(m);
}

/* Sleeps until a model's load has begun, and a moment more. */
static void await_loading(rig *g, uint32_t model)
{
    for (int i = 0; i < 500 && state_of(g, model) == BP_MODEL_UNLOADED; i++)
        usleep(10000);
    usleep(200000);
}

static void begin(client *c, pthread_t *thread)
{
    assert_int_equal(pthread_create(thread, NULL, work, c), 0);
}

static void end(client *c, pthread_t thread)
{
    pthread_join(thread, NULL);
    assert_int_equal(c->failures, 0);
}

static void learn(rig *g, int32_t expected[MODELS])
{
    open_rig(g, 0, NULL);
    for (uint32_t i = 0; i < MODELS; i++)
        expected[i] = ask(g, names[i], 3);
    close_rig(g);
}

static void nothing_leaves_in_vain(void **state)
{
    (void)state;
    rig g;
    bp_error error = {0};
    bp_stream *s = NULL;
    int32_t expected[MODELS];
    pthread_t thread;
    learn(&g, expected);
    open_rig(&g, 2, pin_the_first_and_grow_the_third);
    assert_true(ask(&g, "a", 2) >= 0 && ask(&g, "b", 2) >= 0);
    assert_int_equal(submit(&g, "c", 2, NULL, &s, &error), BP_EDEVICE);
    assert_non_null(strstr(error.message, "models that stay hold 2 MiB (a): "));
    assert_int_equal(state_of(&g, 1), BP_MODEL_READY);
    close_rig(&g);

    open_rig(&g, 2, grow_the_third);
    assert_true(ask(&g, "b", 2) >= 0);
    assert_int_equal(submit(&g, "a", 2, NULL, &s, &error), BP_OK);
    client third = {.rig = &g, .requests = 1, .model = 2, .expected = expected};
    begin(&third, &thread);
    await_loading(&g, 2);
    sleep(1); /* "a" is closed by then */
    assert_int_equal(state_of(&g, 1), BP_MODEL_READY);
    assert_true(finish(&g, s) >= 0);
    end(&third, thread);
    close_rig(&g);
}

/* What alone makes the room that is needed leaves alone, though another was idle for longer. */
static void no_more_leave_than_must(void **state)
{
    (void)state;
    rig g;
    bp_error error = {0};
    open_rig(&g, 0, NULL);
    engine_free(g.engine);
    assert_int_equal(engine_new(&g.backend, 1, g.models, MODELS, MODEL_BYTES * 9 / 2, &g.engine, &error), BP_OK);
    g.device.model_bytes = 2 * MODEL_BYTES;
    assert_true(ask(&g, "c", 2) >= 0); /* it is known now how much it holds */
    assert_int_equal(g.api->unload(g.engine, "c", NULL), BP_OK);
    g.device.model_bytes = MODEL_BYTES;
    assert_true(ask(&g, "a", 2) >= 0);
    g.device.model_bytes = 3 * MODEL_BYTES;
    assert_true(ask(&g, "b", 2) >= 0);
    g.device.model_bytes = 2 * MODEL_BYTES;
    assert_true(ask(&g, "c", 2) >= 0);
    assert_int_equal(state_of(&g, 0), BP_MODEL_READY);
    assert_int_equal(state_of(&g, 1), BP_MODEL_UNLOADED);
    close_rig(&g);
}

/* A model that needs much is not kept out by small ones that fit sooner. */
static void room_goes_to_who_came_first(void **state)
{
    (void)state;
    rig g;
    bp_stream *s = NULL;
    int32_t expected[MODELS];
    pthread_t big, small;
    learn(&g, expected);
    open_rig(&g, 2, grow_the_third);
    assert_true(ask(&g, "b", 2) >= 0);
    assert_int_equal(submit(&g, "a", 2, NULL, &s, NULL), BP_OK);
    client third = {.rig = &g, .requests = 1, .model = 2, .expected = expected};
    client fourth = {.rig = &g, .requests = 1, .model = 3, .expected = expected};
    begin(&third, &big);
    await_loading(&g, 2);
    begin(&fourth, &small); /* where "b" is it would fit */
    await_loading(&g, 3);
    sleep(1);
    assert_int_equal(stats_of(&g, "d").loads, 0);
    assert_true(finish(&g, s) >= 0);
    end(&third, big);
    end(&fourth, small);
    close_rig(&g);
}

/* It may be passed by who fits into what is free as it is, a few times. */
static void who_fits_may_pass_a_few_times(void **state)
{
    (void)state;
    rig g;
    bp_stream *a = NULL, *b = NULL;
    int32_t expected[MODELS];
    pthread_t big, small;
    learn(&g, expected);
    open_rig(&g, 3, grow_the_third);
    assert_int_equal(submit(&g, "a", 2, NULL, &a, NULL), BP_OK);
    assert_int_equal(submit(&g, "b", 2, NULL, &b, NULL), BP_OK);
    client third = {.rig = &g, .requests = 1, .model = 2, .expected = expected};
    client fourth = {.rig = &g, .requests = 1, .model = 3, .expected = expected};
    begin(&third, &big);
    await_loading(&g, 2);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask(&g, "d", 3), expected[3]);
        assert_int_equal(g.api->unload(g.engine, "d", NULL), BP_OK);
    }
    begin(&fourth, &small);
    await_loading(&g, 3);
    assert_int_equal(stats_of(&g, "d").loads, 4);
    assert_true(finish(&g, a) >= 0);
    end(&third, big);
    end(&fourth, small);
    assert_true(finish(&g, b) >= 0);
    close_rig(&g);
}

/* --- waiting -------------------------------------------------------------------------------------------------------------- */

/* Who has waited for long enough goes, and once nobody waits any more others need not make room either. */
static void a_wait_ends_when_it_is_enough(void **state)
{
    (void)state;
    rig g;
    bp_error error = {0};
    bp_stream *s = NULL, *t = NULL;
    open_rig(&g, 1, NULL);
    assert_int_equal(submit(&g, "a", 3, NULL, &s, NULL), BP_OK);
    uint64_t begin = clock_now();
    assert_int_equal(submit_within(&g, "b", 3, 50, NULL, &t, &error), BP_ETIMEOUT);
    assert_non_null(strstr(error.message, "model \"b\" was not in memory in time"));
    assert_non_null(strstr(error.message, "more of memory_budget, and the models that hold it were in use for too long (a); try again later"));
    assert_true(clock_now() - begin < 2000000000u);
    assert_int_equal(state_of(&g, 1), BP_MODEL_LOADING); /* for who comes back */
    for (int i = 0; i < 1000 && state_of(&g, 1) == BP_MODEL_LOADING; i++)
        usleep(10000);
    assert_int_equal(state_of(&g, 1), BP_MODEL_UNLOADED);
    assert_true(ask(&g, "a", 3) >= 0);
    assert_int_equal(stats_of(&g, "a").loads, 1);
    assert_true(finish(&g, s) >= 0);
    assert_true(ask(&g, "b", 3) >= 0);
    close_rig(&g);
}

static void room_for_three(engine_model *m)
{
    m->max_batch = 2;
    m->queue_limit = 1;
}

static void no_more_wait_than_the_queue_takes(void **state)
{
    (void)state;
    enum { WAITERS = 3 };
    rig g;
    bp_error error = {0};
    bp_stream *s = NULL, *t = NULL;
    int32_t expected[MODELS];
    pthread_t threads[WAITERS];
    client clients[WAITERS];
    learn(&g, expected);
    open_rig(&g, 1, room_for_three);
    assert_int_equal(submit(&g, "a", 3, NULL, &s, NULL), BP_OK);
    for (uint32_t i = 0; i < WAITERS; i++) {
        clients[i] = (client){.rig = &g, .requests = 1, .model = 1, .expected = expected};
        begin(&clients[i], &threads[i]);
    }
    await_loading(&g, 1);
    assert_int_equal(submit_within(&g, "b", 3, 5000, NULL, &t, &error), BP_EBUSY);
    assert_non_null(strstr(error.message, "the queue is full: 3 requests wait for model \"b\" to be loaded"));
    assert_true(finish(&g, s) >= 0);
    for (uint32_t i = 0; i < WAITERS; i++)
        end(&clients[i], threads[i]);
    close_rig(&g);
}

/* Who has a request of a model that is to make room may still ask for its tokens: if that waited, both would. */
static void words_of_a_model_in_use_do_not_wait(void **state)
{
    (void)state;
    rig g;
    bp_stream *s = NULL;
    int32_t expected[MODELS], ids[8];
    uint64_t count = 0;
    pthread_t thread;
    learn(&g, expected);
    open_rig(&g, 1, NULL);
    assert_int_equal(submit(&g, "a", 3, NULL, &s, NULL), BP_OK);
    client other = {.rig = &g, .requests = 1, .model = 1, .expected = expected};
    begin(&other, &thread);
    await_loading(&g, 1);
    sleep(2); /* longer than a model in demand may stay */
    assert_int_equal(g.api->tokenize(g.engine, "a", "Hello", 5, 0, ids, 8, &count, NULL), BP_OK);
    assert_int_equal(state_of(&g, 1), BP_MODEL_LOADING);
    assert_true(finish(&g, s) >= 0);
    end(&other, thread);
    close_rig(&g);
}

/* One thread that has requests of two models running, of which one fits, as the batch frontend has: it never waits for one while
 * it has the other's to read, and each model gets its turn. */
static void one_thread_serves_two_models(void **state)
{
    (void)state;
    enum { REQUESTS = 40, AHEAD = 8 };
    rig g;
    bp_error error = {0};
    bp_stream *streams[REQUESTS] = {NULL};
    bool over[REQUESTS] = {false};
    int32_t expected[MODELS];
    learn(&g, expected);
    open_rig(&g, 1, NULL);
    uint64_t begin = clock_now();
    for (uint32_t first = 0; first < REQUESTS;) {
        for (uint32_t i = first; i < first + AHEAD && i < REQUESTS; i++) {
            bp_status status = over[i] || streams[i] ? BP_OK : submit_within(&g, names[i % 2], 3, 1, NULL, &streams[i], &error);
            if (status != BP_OK)
                assert_int_equal(status, BP_ETIMEOUT);
        }
        for (uint32_t i = first; i < first + AHEAD && i < REQUESTS; i++) {
            if (!streams[i])
                continue;
            assert_int_equal(finish(&g, streams[i]), expected[i % 2]);
            streams[i] = NULL;
            over[i] = true;
        }
        while (first < REQUESTS && over[first])
            first++;
        assert_true(clock_now() - begin < 60000000000u);
        usleep(1000);
    }
    assert_true(stats_of(&g, "a").loads + stats_of(&g, "b").loads < REQUESTS); /* a load serves more than one */
    close_rig(&g);
}

/* --- crowds --------------------------------------------------------------------------------------------------------------- */

static void nothing_fails_in_a_crowd(void **state)
{
    (void)state;
    enum { CLIENTS = 16 };
    rig g;
    int32_t expected[MODELS];
    pthread_t threads[CLIENTS];
    client clients[CLIENTS];
    open_rig(&g, 2, NULL);
    for (uint32_t i = 0; i < MODELS; i++)
        expected[i] = ask(&g, names[i], 3);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.rig = &g, .seed = i, .requests = 12, .model = MODELS, .expected = expected};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &clients[i]), 0);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(clients[i].failures, 0);
    }
    assert_true(atomic_load(&g.device.most_bytes) <= 2 * MODEL_BYTES);
    assert_true(stats_of(&g, "a").loads + stats_of(&g, "b").loads + stats_of(&g, "c").loads + stats_of(&g, "d").loads > MODELS);
    close_rig(&g);
}

/* Two models that are in use all the time do not keep a third one out, nor does the third one keep them out. */
static void nobody_starves(void **state)
{
    (void)state;
    enum { CLIENTS = 4 };
    rig g;
    int32_t expected[MODELS];
    pthread_t threads[CLIENTS];
    client clients[CLIENTS];
    atomic_bool enough = false;
    open_rig(&g, 2, NULL);
    for (uint32_t i = 0; i < MODELS; i++)
        expected[i] = ask(&g, names[i], 3);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.rig = &g, .requests = UINT32_MAX, .model = i % 2, .expected = expected, .enough = &enough};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &clients[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&g, "c", 3), expected[2]);
    uint64_t before = stats_of(&g, "a").requests + stats_of(&g, "b").requests;
    for (int i = 0; i < 1000 && stats_of(&g, "a").requests + stats_of(&g, "b").requests < before + 8; i++)
        usleep(10000);
    assert_true(stats_of(&g, "a").requests + stats_of(&g, "b").requests >= before + 8);
    atomic_store(&enough, true);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(clients[i].failures, 0);
    }
    close_rig(&g);
}

/* A model that is to make room still takes what comes with a request it has. */
static void siblings_do_not_wait(void **state)
{
    (void)state;
    rig g;
    bp_stream *first = NULL, *second = NULL;
    pthread_t thread;
    int32_t expected[MODELS];
    open_rig(&g, 1, NULL);
    for (uint32_t i = 0; i < MODELS; i++)
        expected[i] = ask(&g, names[i], 3);
    assert_int_equal(submit(&g, "a", 3, NULL, &first, NULL), BP_OK);
    client other = {.rig = &g, .requests = 1, .model = 1, .expected = expected};
    assert_int_equal(pthread_create(&thread, NULL, work, &other), 0);
    sleep(2); /* longer than a model in demand may stay */
    assert_int_equal(submit(&g, "a", 3, first, &second, NULL), BP_OK);
    assert_int_equal(finish(&g, second), expected[0]);
    assert_int_equal(finish(&g, first), expected[0]);
    pthread_join(thread, NULL);
    assert_int_equal(other.failures, 0);
    close_rig(&g);
}

static void the_end_of_the_server_ends_waiting(void **state)
{
    (void)state;
    rig g;
    bp_stream *s = NULL;
    pthread_t thread;
    int32_t expected[MODELS] = {-1, -1, -1, -1};
    open_rig(&g, 1, NULL);
    assert_int_equal(submit(&g, "a", 3, NULL, &s, NULL), BP_OK);
    client other = {.rig = &g, .requests = 1, .model = 1, .expected = expected};
    assert_int_equal(pthread_create(&thread, NULL, work, &other), 0);
    usleep(200000);
    assert_true(engine_drain(g.engine, 5000000000u));
    pthread_join(thread, NULL);
    assert_int_equal(other.failures, 0); /* it expected to be refused */
    assert_true(finish(&g, s) >= 0);
    close_rig(&g);
}

int main(void)
{
    log_set_level(BP_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_that_was_not_asked_for_the_longest_leaves),
        cmocka_unit_test(counts_go_on_and_answers_are_the_same),
        cmocka_unit_test(a_pinned_one_stays),
        cmocka_unit_test(one_that_never_fits_says_so),
        cmocka_unit_test(what_is_held_is_not_taken_away),
        cmocka_unit_test(idle_ones_leave_by_themselves),
        cmocka_unit_test(looking_is_no_use),
        cmocka_unit_test(nothing_leaves_in_vain),
        cmocka_unit_test(no_more_leave_than_must),
        cmocka_unit_test(room_goes_to_who_came_first),
        cmocka_unit_test(who_fits_may_pass_a_few_times),
        cmocka_unit_test(a_wait_ends_when_it_is_enough),
        cmocka_unit_test(no_more_wait_than_the_queue_takes),
        cmocka_unit_test(words_of_a_model_in_use_do_not_wait),
        cmocka_unit_test(one_thread_serves_two_models),
        cmocka_unit_test(nothing_fails_in_a_crowd),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(siblings_do_not_wait),
        cmocka_unit_test(the_end_of_the_server_ends_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
