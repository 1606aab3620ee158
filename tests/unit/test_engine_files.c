/* engine: real model files, on a device that reads every byte of their weights in every step and answers with a hash of them.
 * A file that is cut short while it is in use fails its model, and nothing else. */
#include "base/error.h"
#include "base/log.h"
#include "base/mapping.h"
#include "engine/engine.h"
#include "support/reader.h"
#include "support/tiny_llama.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the engine ----------------------------------------------------------------------------------------------------------- */

typedef struct rig {
    char folder[64], paths[2][96];
    bp_device device;
    engine_backend backend;
    engine_model models[2];
    bp_engine *engine;
    const bp_engine_api *api;
} rig;

static void open_rig(rig *g, unsigned mapping_flags)
{
    bp_error error = {0};
    *g = (rig){.api = engine_api(), .folder = "/tmp/backplane-test-XXXXXX"};
    assert_non_null(mkdtemp(g->folder));
    g->backend = (engine_backend){.name = "reader", .ops = &reader_ops, .device = &g->device};
    for (uint32_t i = 0; i < 2; i++) {
        snprintf(g->paths[i], sizeof g->paths[i], "%s/%u.gguf", g->folder, i);
        assert_true(tiny_llama_write(g->paths[i], &(tiny_llama){.seed = i + 1}));
        g->models[i] = (engine_model){.name = i ? "other" : "first", .file = g->paths[i], .mapping_flags = mapping_flags};
    }
    if (engine_new(&g->backend, 1, g->models, 2, 0, &g->engine, &error) != BP_OK)
        fail_msg("%s", error.message);
}

static void close_rig(rig *g)
{
    engine_free(g->engine);
    for (uint32_t i = 0; i < 2; i++)
        unlink(g->paths[i]);
    rmdir(g->folder);
}

/* The last event of a greeting of at most `tokens` tokens. */
static bp_event greet(rig *g, const char *model, uint32_t tokens, int32_t *token)
{
    bp_message message = {.role = "user", .content = "Hello"};
    bp_event e = {.size = sizeof e};
    bp_request r = {.size = sizeof r};
    bp_stream *s = NULL;
    g->api->defaults(g->engine, model, &r);
    r.messages = &message;
    r.message_count = 1;
    r.max_tokens = tokens;
    r.flags = BP_REQUEST_IGNORE_EOS;
    r.sampling.temperature = 0;
    bp_status status = g->api->submit(g->engine, &r, &s, &e.error);
    if (status != BP_OK)
        return (bp_event){.kind = BP_EVENT_ERROR, .error = e.error};
    do {
        assert_int_equal(g->api->next(s, 20000000000u, &e, NULL), BP_OK);
        if (e.kind == BP_EVENT_TOKEN)
            *token = e.chosen.token;
    } while (e.kind != BP_EVENT_DONE && e.kind != BP_EVENT_ERROR);
    g->api->release(s);
    return e;
}

static void expect_answer(rig *g, const char *model, int32_t *token)
{
    bp_event e = greet(g, model, 5, token);
    if (e.kind == BP_EVENT_ERROR)
        fail_msg("%s", e.error.message);
    assert_int_equal(e.usage.completion_tokens, 5);
}

static void expect_unavailable(rig *g, const char *model, const char *sentence)
{
    int32_t token;
    bp_event e = greet(g, model, 5, &token);
    assert_int_equal(e.kind, BP_EVENT_ERROR);
    assert_int_equal(e.error.code, BP_EDEVICE);
    if (!strstr(e.error.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", e.error.message, sentence);
}

/* --- tests ---------------------------------------------------------------------------------------------------------------- */

static void a_file_is_loaded_and_described(void **state)
{
    (void)state;
    rig g;
    bp_model_info info = {.size = sizeof info};
    int32_t first = -1, other = -1;
    open_rig(&g, 0);
    expect_answer(&g, "first", &first);
    expect_answer(&g, "other", &other);
    assert_int_not_equal(first, other);
    assert_int_equal(g.api->model_info(g.engine, 0, &info, NULL), BP_OK);
    assert_int_equal(info.state, BP_MODEL_READY);
    assert_string_equal(info.family, "llama");
    assert_string_equal(info.path, g.paths[0]);
    assert_int_equal(info.vocab_size, 300);
    assert_int_equal(info.layers, 2);
    assert_int_equal(info.context, 256);
    assert_true(info.has_chat_template);
    assert_in_range(info.weight_bytes, 1, info.file_bytes * 2);
    close_rig(&g);
}

static void test_75_a_file_that_is_cut_short_fails_its_model(void **state)
{
    (void)state;
    rig g;
    int32_t token;
    open_rig(&g, 0);
    expect_answer(&g, "first", &token);
    expect_answer(&g, "other", &token);
    assert_int_equal(truncate(g.paths[0], 4096), 0);
    expect_unavailable(&g, "first", "changed while it was in use");
    expect_unavailable(&g, "first", "changed while it was in use");
    expect_answer(&g, "other", &token);
    close_rig(&g);
}

/* What was read into memory at the start stays as it was. */
static void a_file_that_was_read_does_not_need_its_disk(void **state)
{
    (void)state;
    rig g;
    int32_t before = -1, after = -1;
    open_rig(&g, BP_MAPPING_READ);
    expect_answer(&g, "first", &before);
    assert_int_equal(truncate(g.paths[0], 4096), 0);
    expect_answer(&g, "first", &after);
    assert_int_equal(before, after);
    close_rig(&g);
}

static void a_bad_file_is_refused_and_can_be_mended(void **state)
{
    (void)state;
    rig g;
    int32_t token;
    bp_error error = {0};
    open_rig(&g, 0);
    assert_int_equal(truncate(g.paths[0], 4096), 0);
    expect_unavailable(&g, "first", "unavailable: model \"first\"");
    assert_true(tiny_llama_write(g.paths[0], &(tiny_llama){.seed = 1}));
    expect_unavailable(&g, "first", "unavailable: model \"first\"");
    if (g.api->load(g.engine, "first", NULL, NULL, &error) != BP_OK)
        fail_msg("%s", error.message);
    expect_answer(&g, "first", &token);
    close_rig(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_loaded_and_described),
        cmocka_unit_test(test_75_a_file_that_is_cut_short_fails_its_model),
        cmocka_unit_test(a_file_that_was_read_does_not_need_its_disk),
        cmocka_unit_test(a_bad_file_is_refused_and_can_be_mended),
    };
    log_set_level(BP_LOG_ERROR + 1); /* what fails here is meant to */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
