/* engine_replace: what is the same stays, what changed is served beside the old until the last request of the old is over, and
 * nothing that was left out stays open. */
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

enum { FILES = 2, DEVICES = 3 };
#define MODEL_BYTES (UINT64_C(1) << 24)

typedef struct rig {
    char folder[64], paths[FILES][96];
    bp_device devices[DEVICES];
    atomic_int closed[DEVICES];
    engine_backend backends[DEVICES];
    bp_engine *engine;
    const bp_engine_api *api;
} rig;

static void count_close(const engine_backend *backend)
{
    atomic_fetch_add((atomic_int *)backend->owner, 1);
}

static engine_model model(rig *g, const char *name, int file, uint32_t backend)
{
    return (engine_model){.name = name, .file = g->paths[file], .backend = backend, .kv_tokens = 512, .queue_limit = 64};
}

static void open_rig(rig *g, uint64_t budget)
{
    bp_error error = {0};
    *g = (rig){.api = engine_api(), .folder = "/tmp/backplane-test-XXXXXX"};
    assert_non_null(mkdtemp(g->folder));
    for (int i = 0; i < DEVICES; i++) {
        g->devices[i].model_bytes = MODEL_BYTES;
        g->backends[i] = (engine_backend){.name = "reader", .ops = &reader_ops, .device = &g->devices[i], .close = count_close,
                                          .owner = &g->closed[i]};
    }
    for (uint32_t i = 0; i < FILES; i++) {
        snprintf(g->paths[i], sizeof g->paths[i], "%s/%u.gguf", g->folder, i);
        assert_true(tiny_llama_write(g->paths[i], &(tiny_llama){.seed = i + 1}));
    }
    engine_model models[] = {model(g, "a", 0, 0), model(g, "b", 1, 0)};
    if (engine_new(g->backends, 1, models, 2, budget, &g->engine, &error) != BP_OK)
        fail_msg("%s", error.message);
}

/* `used`: the devices that the engine was ever given. */
static void close_rig(rig *g, int used)
{
    engine_free(g->engine);
    for (int i = 0; i < DEVICES; i++) {
        assert_int_equal(atomic_load(&g->closed[i]), i < used);
        assert_int_equal(atomic_load(&g->devices[i].live_bytes), 0);
    }
    for (int i = 0; i < FILES; i++)
        unlink(g->paths[i]);
    rmdir(g->folder);
}

static engine_changes replace(rig *g, uint32_t first_device, uint32_t devices, const engine_model *models, uint32_t count)
{
    engine_changes changes = {0};
    bp_error error = {0};
    if (engine_replace(g->engine, g->backends + first_device, devices, models, count, 0, &changes, &error) != BP_OK)
        fail_msg("%s", error.message);
    return changes;
}

static bp_status submit(rig *g, const char *name, uint32_t tokens, const bp_stream *beside, bp_stream **out, bp_error *error)
{
    bp_request r = {.size = sizeof r};
    g->api->defaults(g->engine, name, &r);
    r.model = name;
    r.input = BP_INPUT_TEXT;
    r.text = "Hello";
    r.text_bytes = 5;
    r.max_tokens = tokens;
    r.flags = BP_REQUEST_IGNORE_EOS;
    r.sampling.temperature = 0;
    r.beside = beside;
    return g->api->submit(g->engine, &r, out, error);
}

static int32_t finish(rig *g, bp_stream *s)
{
    bp_event e = {.size = sizeof e};
    int32_t token = -1;
    do {
        if (g->api->next(s, 30000000000u, &e, NULL) != BP_OK)
            return -1;
        if (e.kind == BP_EVENT_TOKEN)
            token = e.chosen.token;
    } while (e.kind != BP_EVENT_DONE && e.kind != BP_EVENT_ERROR);
    g->api->release(s);
    return e.kind == BP_EVENT_DONE ? token : -1;
}

static int32_t ask(rig *g, const char *name)
{
    bp_stream *s = NULL;
    bp_error error = {0};
    if (submit(g, name, 3, NULL, &s, &error) == BP_OK)
        return finish(g, s);
    fprintf(stderr, "%s\n", error.message);
    return -1;
}

static uint64_t loads(rig *g, const char *name)
{
    bp_model_stats stats = {.size = sizeof stats};
    assert_int_equal(g->api->stats(g->engine, name, &stats, NULL), BP_OK);
    return stats.loads;
}

static bool soon_closed(rig *g, int device)
{
    for (int i = 0; i < 1000 && !atomic_load(&g->closed[device]); i++)
        usleep(5000);
    return atomic_load(&g->closed[device]) == 1;
}

/* --- tests ---------------------------------------------------------------------------------------------------------------- */

static void what_is_the_same_stays(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, 0);
    int32_t first = ask(&g, "a");
    engine_model models[] = {model(&g, "c", 1, 0), model(&g, "a", 0, 0)};
    engine_changes changes = replace(&g, 0, 1, models, 2);
    assert_true(changes.added == 1 && changes.kept == 1 && changes.removed == 1 && changes.changed == 0);
    assert_int_equal(ask(&g, "a"), first);
    assert_int_equal(loads(&g, "a"), 1);
    assert_true(ask(&g, "c") >= 0);
    assert_int_equal(g.api->model_count(g.engine), 2);
    assert_int_equal(g.api->submit(g.engine, &(bp_request){.size = sizeof(bp_request), .model = "b"}, NULL, NULL), BP_ENOTFOUND);
    close_rig(&g, 1);
}

static void what_changed_is_served_beside_the_old(void **state)
{
    (void)state;
    rig g;
    bp_stream *old = NULL, *sibling = NULL, *new = NULL;
    open_rig(&g, 0);
    int32_t first = ask(&g, "a"), other = ask(&g, "b");
    assert_int_not_equal(first, other);
    assert_int_equal(submit(&g, "a", 3, NULL, &old, NULL), BP_OK);
    engine_model models[] = {model(&g, "a", 1, 0)};
    engine_changes changes = replace(&g, 0, 1, models, 1);
    assert_true(changes.changed == 1 && changes.removed == 1 && changes.added == 0 && changes.kept == 0);
    assert_int_equal(submit(&g, "a", 3, NULL, &new, NULL), BP_OK);
    assert_int_equal(submit(&g, "a", 3, old, &sibling, NULL), BP_OK); /* it goes where its siblings are */
    assert_int_equal(finish(&g, new), other);
    assert_int_equal(finish(&g, old), first);
    assert_int_equal(finish(&g, sibling), first);
    for (int i = 0; i < 1000 && atomic_load(&g.devices[0].live_bytes) > MODEL_BYTES; i++)
        usleep(5000);
    assert_int_equal(atomic_load(&g.devices[0].live_bytes), MODEL_BYTES); /* the old one left */
    assert_int_equal(loads(&g, "a"), 2);
    close_rig(&g, 1);
}

static void a_device_goes_after_its_last_model(void **state)
{
    (void)state;
    rig g;
    bp_stream *s = NULL;
    open_rig(&g, 0);
    int32_t first = ask(&g, "a");
    assert_int_equal(submit(&g, "a", 3, NULL, &s, NULL), BP_OK);
    engine_model models[] = {model(&g, "a", 0, 0), model(&g, "b", 1, 0)};
    assert_int_equal(replace(&g, 1, 1, models, 2).changed, 2);
    assert_int_equal(ask(&g, "a"), first);
    usleep(100000);
    assert_int_equal(atomic_load(&g.closed[0]), 0); /* the stream is not released */
    assert_int_equal(finish(&g, s), first);
    assert_true(soon_closed(&g, 0));
    assert_int_equal(replace(&g, 2, 1, models, 2).changed, 2);
    assert_true(soon_closed(&g, 1));
    assert_int_equal(ask(&g, "a"), first);
    close_rig(&g, 3);
}

static void a_lowered_budget_sends_idle_ones_away(void **state)
{
    (void)state;
    rig g;
    bp_error error = {0};
    open_rig(&g, 0);
    assert_true(ask(&g, "a") >= 0 && ask(&g, "b") >= 0);
    engine_model models[] = {model(&g, "a", 0, 0), model(&g, "b", 1, 0)};
    assert_int_equal(engine_replace(g.engine, g.backends, 1, models, 2, MODEL_BYTES * 5 / 4, NULL, &error), BP_OK);
    for (int i = 0; i < 1000 && atomic_load(&g.devices[0].live_bytes) > MODEL_BYTES; i++)
        usleep(5000);
    assert_int_equal(atomic_load(&g.devices[0].live_bytes), MODEL_BYTES);
    close_rig(&g, 1);
}

static void what_cannot_be_changes_nothing(void **state)
{
    (void)state;
    rig g;
    bp_error error = {0};
    open_rig(&g, 0);
    int32_t first = ask(&g, "a");
    engine_model models[] = {model(&g, "a", 1, 5)};
    assert_int_equal(engine_replace(g.engine, g.backends, 1, models, 1, 0, NULL, &error), BP_EINVAL);
    assert_non_null(strstr(error.message, "names backend 5 of 1"));
    assert_int_equal(ask(&g, "a"), first);
    assert_true(engine_drain(g.engine, 1000000000u));
    models[0].backend = 0;
    assert_int_equal(engine_replace(g.engine, g.backends + 1, 1, models, 1, 0, NULL, &error), BP_ECANCELLED);
    close_rig(&g, 1);
}

/* --- a crowd -------------------------------------------------------------------------------------------------------------- */

typedef struct client {
    rig *rig;
    atomic_bool *enough;
    int32_t expected;
    uint64_t seen;
    int asked, failures;
} client;

static void *work(void *user)
{
    client *c = user;
    while (!atomic_load(c->enough)) {
        c->failures += ask(c->rig, "a") != c->expected;
        bp_model_stats stats = {.size = sizeof stats};
        c->failures += c->rig->api->stats(c->rig->engine, "a", &stats, NULL) != BP_OK;
        c->failures += stats.requests < c->seen; /* counters do not fall */
        c->seen = stats.requests;
        c->asked++;
    }
    return NULL;
}

static void nobody_notices(void **state)
{
    (void)state;
    enum { CLIENTS = 6, TIMES = 60 };
    rig g;
    pthread_t threads[CLIENTS];
    client clients[CLIENTS];
    atomic_bool enough = false;
    open_rig(&g, 0);
    int32_t expected = ask(&g, "a");
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.rig = &g, .enough = &enough, .expected = expected};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &clients[i]), 0);
    }
    for (uint32_t i = 0; i < TIMES; i++) {
        engine_model models[] = {model(&g, "a", 0, i % 2), model(&g, "b", 1, 0)};
        models[0].queue_limit = 64 + i % 3;
        replace(&g, 0, 2, models, 1 + i % 2);
        usleep(3000);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(clients[i].failures, 0);
        assert_true(clients[i].asked > 0);
    }
    close_rig(&g, 2);
}

int main(void)
{
    log_set_level(BP_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_the_same_stays),
        cmocka_unit_test(what_changed_is_served_beside_the_old),
        cmocka_unit_test(a_device_goes_after_its_last_model),
        cmocka_unit_test(a_lowered_budget_sends_idle_ones_away),
        cmocka_unit_test(what_cannot_be_changes_nothing),
        cmocka_unit_test(nobody_notices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
