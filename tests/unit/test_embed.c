/* embed: vectors over bp_engine_api, with the device and the file played by the test. Whatever texts share a step, each gets
 * the vector that it gets alone, and each is read whole. */
#include "support/fake_engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { CONTEXT = 64, TEXTS = 60 };

typedef struct rig {
    bp_device device;
    engine_backend backend;
    engine_model models[2];
    bp_engine *engine;
    const bp_engine_api *api;
} rig;

static void open_rig(rig *g, engine_model model)
{
    bp_error error = {0};
    fake_device_open(&g->device);
    g->backend = (engine_backend){.name = "fake", .ops = &fake_ops, .device = &g->device};
    g->models[0] = model;
    g->models[0].name = g->models[0].file = "vectors";
    g->models[0].context = CONTEXT;
    g->models[1] = (engine_model){.name = "a", .file = "a"};
    g->api = engine_api();
    if (engine_new(&g->backend, 1, g->models, 2, 0, &g->engine, &error) != BP_OK)
        fail_msg("%s", error.message);
}

static void close_rig(rig *g)
{
    assert_true(engine_drain(g->engine, 10000000000u));
    bp_model_stats s = {.size = sizeof s};
    assert_int_equal(g->api->stats(g->engine, "vectors", &s, NULL), BP_OK);
    assert_int_equal(s.running + s.waiting + s.pages_used, 0);
    assert_int_equal(s.completion_tokens, 0);
    engine_free(g->engine);
    assert_int_equal(g->device.violations, 0);
    fake_device_close(&g->device);
}

/* Text number `index` of `count` tokens; NULL tokens are only counted. */
static bp_request request_of(rig *g, uint32_t index, int32_t *tokens, uint32_t count)
{
    bp_request r = {.size = sizeof r};
    g->api->defaults(g->engine, "vectors", &r);
    r.task = BP_TASK_EMBED;
    r.input = BP_INPUT_TOKENS;
    r.tokens = tokens;
    r.token_count = count;
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = (int32_t)(fake_mix(index * 1000 + i) % 256);
    return r;
}

static bp_stream *submit(rig *g, const bp_request *request)
{
    bp_stream *r = NULL;
    bp_error error = {0};
    if (g->api->submit(g->engine, request, &r, &error) != BP_OK)
        fail_msg("%s", error.message);
    return r;
}

/* START, the vector, DONE, and nothing else. */
static bp_usage expect_vector(rig *g, bp_stream *r, const int32_t *tokens, uint32_t count)
{
    static const uint32_t kinds[] = {BP_EVENT_START, BP_EVENT_EMBEDDING, BP_EVENT_DONE};
    float expected[FAKE_WIDTH];
    uint64_t hash = 0;
    for (uint32_t i = 0; i < count; i++)
        hash = fake_read(hash, tokens[i], (int32_t)i);
    fake_vector(hash, expected);
    bp_event e = {.size = sizeof e};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(g->api->next(r, 20000000000u, &e, NULL), BP_OK);
        if (e.kind == BP_EVENT_ERROR)
            fail_msg("%s", e.error.message);
        assert_int_equal(e.kind, kinds[i]);
        if (e.kind != BP_EVENT_EMBEDDING)
            continue;
        assert_int_equal(e.embedding_width, FAKE_WIDTH);
        assert_memory_equal(e.embedding, expected, sizeof expected);
    }
    assert_int_equal(e.finish, BP_FINISH_STOP);
    assert_int_equal(e.usage.prompt_tokens, count);
    assert_int_equal(e.usage.completion_tokens, 0);
    g->api->release(r);
    return e.usage;
}

static void ask_many(rig *g)
{
    static int32_t tokens[TEXTS][CONTEXT];
    bp_stream *streams[TEXTS];
    uint32_t counts[TEXTS];
    for (uint32_t i = 0; i < TEXTS; i++) {
        counts[i] = i % 5 == 0 ? 1 : i % 7 == 0 ? CONTEXT : 1 + (uint32_t)(fake_mix(i) % CONTEXT);
        bp_request r = request_of(g, i % 20, tokens[i], counts[i]);
        r.priority = (int32_t)i % 3;
        streams[i] = submit(g, &r);
    }
    for (uint32_t i = 0; i < TEXTS; i++)
        expect_vector(g, streams[i], tokens[i], counts[i]);
}

static void every_text_gets_its_vector(void **state)
{
    (void)state;
    static const engine_model models[] = {
        {.queue_limit = TEXTS},
        {.queue_limit = TEXTS, .max_step_tokens = 16, .max_batch = 3, .page_tokens = 16},
        {.queue_limit = TEXTS, .max_step_tokens = 200, .max_batch = 64},
        {.queue_limit = TEXTS, .max_step_tokens = 128, .kv_tokens = CONTEXT, .page_tokens = 16},
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        rig g;
        open_rig(&g, models[i]);
        fake_gate(&g.device, true); /* so that they come together */
        assert_int_equal(g.api->load(g.engine, "vectors", NULL, NULL, NULL), BP_OK);
        fake_gate(&g.device, false);
        ask_many(&g);
        assert_int_equal(g.device.chunks, 0);
        assert_in_range(g.device.largest, 1, i == 2 ? 200 : i == 3 ? 128 : i == 1 ? CONTEXT : 512);
        close_rig(&g);
    }
}

static void texts_share_a_step(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.queue_limit = TEXTS, .max_batch = 16});
    static int32_t tokens[9][CONTEXT];
    bp_stream *streams[9];
    fake_gate(&g.device, true);
    for (uint32_t i = 0; i < 9; i++) {
        bp_request r = request_of(&g, i, tokens[i], 10 + i);
        streams[i] = submit(&g, &r);
        if (i == 0)
            fake_await(&g.device, &g.device.at_gate);
    }
    fake_gate(&g.device, false);
    for (uint32_t i = 0; i < 9; i++)
        expect_vector(&g, streams[i], tokens[i], 10 + i);
    assert_int_equal(g.device.steps, 2);
    assert_int_equal(g.device.widest, 8);
    close_rig(&g);
}

/* A device without memory for so many gets them in halves. */
static void a_step_too_large_is_split(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.queue_limit = TEXTS, .max_batch = 16});
    g.device.most_sequences = 2;
    ask_many(&g);
    close_rig(&g);
}

static void expect_refusal(rig *g, const bp_request *request, bp_status status, const char *message)
{
    bp_stream *r = NULL;
    bp_error error = {0};
    assert_int_equal(g->api->submit(g->engine, request, &r, &error), status);
    if (!strstr(error.message, message))
        fail_msg("\"%s\" where \"%s\" is expected", error.message, message);
}

static void an_input_fits_or_is_refused_or_truncated(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.queue_limit = 4});
    static int32_t tokens[2 * CONTEXT];
    bp_request r = request_of(&g, 1, tokens, CONTEXT);
    expect_vector(&g, submit(&g, &r), tokens, CONTEXT);
    r.token_count = CONTEXT + 1;
    expect_refusal(&g, &r, BP_ECONTEXT, "65 tokens and the context of model \"vectors\" is 64");
    r.flags = BP_REQUEST_TRUNCATE;
    expect_vector(&g, submit(&g, &r), tokens, CONTEXT);
    r.token_count = 0;
    expect_refusal(&g, &r, BP_EINVAL, "the prompt is empty");
    char text[CONTEXT + 2];
    memset(text, 'x', sizeof text);
    r = (bp_request){.size = sizeof r, .model = "vectors", .task = BP_TASK_EMBED, .input = BP_INPUT_TEXT, .text = text,
                     .text_bytes = sizeof text};
    expect_refusal(&g, &r, BP_ECONTEXT, "the input has 66 tokens");
    r.flags = BP_REQUEST_TRUNCATE;
    for (uint32_t i = 0; i < CONTEXT; i++)
        tokens[i] = 'x';
    expect_vector(&g, submit(&g, &r), tokens, CONTEXT);
    close_rig(&g);
}

/* Tokens of a text, which are its bytes. */
static uint32_t bytes_of(const char *text, int32_t *tokens)
{
    uint32_t count = 0;
    for (; text[count]; count++)
        tokens[count] = (unsigned char)text[count];
    return count;
}

static void expect_text(rig *g, const char *prompt_name, const char *expected)
{
    int32_t tokens[CONTEXT];
    uint32_t count = bytes_of(expected, tokens);
    bp_request r = {.size = sizeof r, .model = "vectors", .task = BP_TASK_EMBED, .input = BP_INPUT_TEXT, .text = "who",
                    .text_bytes = 3, .prompt_name = prompt_name};
    expect_vector(g, submit(g, &r), tokens, count);
}

static void a_prompt_stands_before_a_text(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.queue_limit = 4});
    expect_text(&g, NULL, "who");
    expect_text(&g, "query", "ask: who");
    expect_text(&g, "none", "who");
    int32_t tokens[4];
    bp_request r = request_of(&g, 1, tokens, 4);
    r.prompt_name = "query";
    expect_refusal(&g, &r, BP_EINVAL, "prompt_name is of no use to token ids");
    r.input = BP_INPUT_TEXT;
    r.text = "x";
    r.text_bytes = 1;
    r.prompt_name = "que";
    expect_refusal(&g, &r, BP_EINVAL, "prompt_name \"que\" is none of model \"vectors\"; there are 2, of which one is \"query\"");
    close_rig(&g);
    open_rig(&g, (engine_model){.queue_limit = 4, .prefix = "on: "});
    expect_text(&g, NULL, "on: who");
    expect_text(&g, "query", "ask: who");
    expect_text(&g, "none", "who");
    close_rig(&g);
}

static void an_end_token_stands_behind_a_text(void **state)
{
    (void)state;
    rig g;
    static int32_t tokens[2 * CONTEXT] = {'w', 'h', 'o', FAKE_EOS};
    bp_request r = {.size = sizeof r, .model = "vectors", .task = BP_TASK_EMBED, .input = BP_INPUT_TEXT, .text = "who", .text_bytes = 3};
    open_rig(&g, (engine_model){.queue_limit = 4, .append_eos = MODEL_YES});
    expect_vector(&g, submit(&g, &r), tokens, 4);
    r.flags = BP_REQUEST_NO_BOS;
    expect_vector(&g, submit(&g, &r), tokens, 3);
    char text[2 * CONTEXT];
    memset(text, 'x', sizeof text);
    for (uint32_t i = 0; i < CONTEXT; i++)
        tokens[i] = i + 1 == CONTEXT ? FAKE_EOS : 'x';
    r.flags = BP_REQUEST_TRUNCATE;
    r.text = text;
    r.text_bytes = sizeof text;
    expect_vector(&g, submit(&g, &r), tokens, CONTEXT);
    close_rig(&g);
}

static void a_vector_can_be_cut(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.queue_limit = 4});
    int32_t tokens[4];
    float expected[FAKE_WIDTH];
    uint64_t hash = 0;
    bp_request r = request_of(&g, 1, tokens, 4);
    for (uint32_t i = 0; i < 4; i++)
        hash = fake_read(hash, tokens[i], (int32_t)i);
    fake_vector(hash, expected);
    for (r.dimensions = 1; r.dimensions <= FAKE_WIDTH; r.dimensions++) {
        bp_stream *s = submit(&g, &r);
        bp_event e = {.size = sizeof e};
        do
            assert_int_equal(g.api->next(s, 20000000000u, &e, NULL), BP_OK);
        while (e.kind != BP_EVENT_EMBEDDING);
        assert_int_equal(e.embedding_width, r.dimensions);
        assert_memory_equal(e.embedding, expected, r.dimensions * sizeof *expected); /* of no special length before */
        g.api->release(s);
    }
    expect_refusal(&g, &r, BP_EINVAL, "dimensions is 4 and the vectors of model \"vectors\" have 3");
    close_rig(&g);
}

static void a_model_does_one_task(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.queue_limit = 4});
    int32_t tokens[4];
    bp_request r = request_of(&g, 1, tokens, 4);
    r.model = "a";
    expect_refusal(&g, &r, BP_EUNSUPPORTED, "model \"a\" gives answers and no vectors");
    r.model = "vectors";
    r.task = BP_TASK_GENERATE;
    expect_refusal(&g, &r, BP_EUNSUPPORTED, "model \"vectors\" gives vectors of texts and no answers");
    r.flags = BP_REQUEST_TRUNCATE;
    expect_refusal(&g, &r, BP_EINVAL, "only an input to embed or to rank can be truncated");
    r.flags = 0;
    r.task = 3;
    expect_refusal(&g, &r, BP_EINVAL, "task 3 is not known");
    r.task = BP_TASK_RANK;
    expect_refusal(&g, &r, BP_EUNSUPPORTED, "model \"vectors\" gives vectors of texts and no scores of pairs of texts");
    r.task = BP_TASK_EMBED;
    r.input = BP_INPUT_MESSAGES;
    expect_refusal(&g, &r, BP_EINVAL, "reads a text or tokens, not messages");
    bp_model_info info = {.size = sizeof info};
    assert_int_equal(g.api->model_info(g.engine, 0, &info, NULL), BP_OK);
    assert_true(info.task == BP_TASK_EMBED && info.embedding_width == FAKE_WIDTH);
    assert_int_equal(g.api->model_info(g.engine, 1, &info, NULL), BP_OK);
    assert_true(info.task == BP_TASK_GENERATE && info.embedding_width == 0);
    close_rig(&g);
}

static void a_request_ends_alone(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.queue_limit = 8, .max_batch = 1});
    int32_t tokens[4], bad[] = {FAKE_FAIL, FAKE_NAN};
    bp_request good = request_of(&g, 1, tokens, 4), fails = good;
    bp_stream *first, *second;
    bp_event e = {.size = sizeof e};
    for (size_t i = 0; i < 2; i++) {
        fails.tokens = &bad[i];
        fails.token_count = 1;
        first = submit(&g, &fails);
        second = submit(&g, &good);
        do
            assert_int_equal(g.api->next(first, 20000000000u, &e, NULL), BP_OK);
        while (e.kind == BP_EVENT_START);
        assert_true(e.kind == BP_EVENT_ERROR && e.error.code == BP_EINTERNAL);
        g.api->release(first);
        expect_vector(&g, second, tokens, 4);
    }
    fake_gate(&g.device, true);
    first = submit(&g, &good);
    fake_await(&g.device, &g.device.at_gate);
    second = submit(&g, &good);
    g.api->cancel(second);
    assert_int_equal(g.api->next(second, 20000000000u, &e, NULL), BP_OK);
    assert_true(e.kind == BP_EVENT_DONE && e.finish == BP_FINISH_CANCELLED);
    g.api->release(second);
    fake_gate(&g.device, false);
    expect_vector(&g, first, tokens, 4);
    close_rig(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_text_gets_its_vector),
        cmocka_unit_test(texts_share_a_step),
        cmocka_unit_test(a_step_too_large_is_split),
        cmocka_unit_test(an_input_fits_or_is_refused_or_truncated),
        cmocka_unit_test(a_prompt_stands_before_a_text),
        cmocka_unit_test(an_end_token_stands_behind_a_text),
        cmocka_unit_test(a_vector_can_be_cut),
        cmocka_unit_test(a_model_does_one_task),
        cmocka_unit_test(a_request_ends_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
