/* engine: what goes wrong ends the requests it concerns, with a reason, and nothing else. Cancelling, deadlines, limits,
 * devices that fail, files that change, readers that stop, shutting down; devices and files are played by the test. */
#include "support/fake_engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Models a, b and d share the first device, c has the second. */
typedef struct rig {
    bp_device devices[2];
    engine_backend backends[2];
    engine_model models[4];
    bp_engine *engine;
    const bp_engine_api *api;
} rig;

/* step_ns: what the first device may take for a step. */
static void open_watched_rig(rig *g, engine_model model, uint64_t step_ns)
{
    static const char *const names[] = {"a", "b", "c", "d"}, *const files[] = {"a", "b", "c", "b"};
    bp_error error = {0};
    *g = (rig){.api = engine_api()};
    for (uint32_t i = 0; i < 2; i++) {
        fake_device_open(&g->devices[i]);
        g->backends[i] = (engine_backend){.name = i ? "second" : "first", .ops = &fake_ops, .device = &g->devices[i],
                                          .step_ns = i ? 0 : step_ns};
    }
    for (uint32_t i = 0; i < 4; i++) {
        g->models[i] = model;
        g->models[i].name = names[i];
        g->models[i].file = files[i];
        g->models[i].backend = i == 2;
    }
    for (uint32_t i = 0; i < 3; i++) {
        atomic_store(&fake_files[i].opened, 0);
        atomic_store(&fake_files[i].fails, 0);
        atomic_store(&fake_files[i].damaged, false);
    }
    if (engine_new(g->backends, 2, g->models, 4, 0, &g->engine, &error) != BP_OK)
        fail_msg("%s", error.message);
}

static void open_rig(rig *g, engine_model model)
{
    open_watched_rig(g, model, 0);
}

static bp_model_stats stats_of(rig *g, const char *model)
{
    bp_model_stats s = {.size = sizeof s};
    assert_int_equal(g->api->stats(g->engine, model, &s, NULL), BP_OK);
    return s;
}

static void close_rig(rig *g)
{
    assert_true(engine_drain(g->engine, 10000000000u));
    for (uint32_t i = 0; i < 4; i++) {
        bp_model_stats s = stats_of(g, g->models[i].name);
        assert_int_equal(s.running + s.waiting + s.pages_used, 0);
    }
    engine_free(g->engine);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(g->devices[i].violations, 0);
        assert_int_equal(g->devices[i].models, 0);
        fake_device_close(&g->devices[i]);
    }
}

/* A prompt that begins with `first` and goes on with `count` - 1 letters; a greedy answer of `answer` tokens. */
static bp_request request_of_tokens(rig *g, const char *model, int32_t first, uint32_t count, uint32_t answer)
{
    static int32_t prompts[FAKE_VOCABULARY][512];
    bp_request r = {.size = sizeof r};
    g->api->defaults(g->engine, model, &r);
    r.input = BP_INPUT_TOKENS;
    r.tokens = prompts[first];
    r.token_count = count;
    r.max_tokens = answer;
    r.flags = BP_REQUEST_IGNORE_EOS;
    r.sampling.temperature = 0;
    prompts[first][0] = first;
    for (uint32_t i = 1; i < 512; i++)
        prompts[first][i] = 'a' + (int32_t)i % 26;
    return r;
}

static bp_stream *start(rig *g, bp_request r, fake_answer *a)
{
    bp_stream *s = fake_submit_request(g->api, g->engine, &r, a);
    if (!s)
        fail_msg("%s", a->message);
    return s;
}

static void expect_answer(const fake_answer *a, const bp_request *r)
{
    int32_t tokens[FAKE_MAX_ANSWER];
    if (a->broken)
        fail_msg("%s", a->broken);
    if (a->status != BP_OK)
        fail_msg("%s", a->message);
    assert_int_equal(a->kind, BP_EVENT_DONE);
    uint32_t count = fake_expect(r->tokens, (uint32_t)r->token_count, r->max_tokens, true, tokens);
    assert_int_equal(a->token_count, count);
    assert_memory_equal(a->tokens, tokens, count * sizeof *tokens);
}

static void expect_error(const fake_answer *a, bp_status status, const char *sentence)
{
    if (a->broken)
        fail_msg("%s", a->broken);
    if (!strstr(a->message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", a->message, sentence);
    assert_int_equal(a->status, status);
}

static void ask_well(rig *g, const char *model)
{
    static fake_answer a;
    bp_request r = request_of_tokens(g, model, '!', 20, 12);
    fake_ask(g->api, g->engine, &r, &a);
    expect_answer(&a, &r);
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* --- cancelling ----------------------------------------------------------------------------------------------------------- */

static void expect_cancelled(const fake_answer *a)
{
    if (a->broken)
        fail_msg("%s", a->broken);
    assert_int_equal(a->kind, BP_EVENT_DONE);
    assert_int_equal(a->finish, BP_FINISH_CANCELLED);
}

static void requests_are_cancelled_in_every_state(void **state)
{
    (void)state;
    rig g;
    static fake_answer running, waiting, prefill, released;
    open_rig(&g, (engine_model){.max_batch = 1, .queue_limit = 8, .max_step_tokens = 8});
    ask_well(&g, "a");
    g.devices[0].step_ns = 200000; /* no reader here falls behind */
    fake_gate(&g.devices[0], true);
    bp_stream *r = start(&g, request_of_tokens(&g, "a", '1', 4, 1000), &running);
    fake_await(&g.devices[0], &g.devices[0].at_gate);
    bp_stream *w = start(&g, request_of_tokens(&g, "a", '2', 4, 1000), &waiting);
    bp_stream *p = start(&g, request_of_tokens(&g, "a", '3', 500, 1000), &prefill);
    bp_stream *x = start(&g, request_of_tokens(&g, "a", '4', 4, 1000), &released);
    /* Waiting: at once, although the device stands still. */
    g.api->cancel(w);
    g.api->cancel(w);
    fake_collect(g.api, w, &waiting);
    expect_cancelled(&waiting);
    assert_int_equal(waiting.token_count, 0);
    g.api->release(x);
    assert_int_equal(stats_of(&g, "a").waiting, 1);
    /* Decoding: with the next step. */
    fake_gate(&g.devices[0], false);
    while (running.token_count < 5)
        fake_next(g.api, r, &running);
    g.api->cancel(r);
    while (fake_next(g.api, r, &running))
        ;
    expect_cancelled(&running);
    assert_in_range(running.token_count, 5, 999);
    g.api->cancel(r); /* too late */
    g.api->release(r);
    /* In the midst of a long prompt. */
    while (fake_next(g.api, p, &prefill) && prefill.kind != BP_EVENT_START)
        ;
    g.api->cancel(p);
    fake_collect(g.api, p, &prefill);
    expect_cancelled(&prefill);
    g.api->cancel(NULL);
    g.api->release(NULL);
    ask_well(&g, "a");
    close_rig(&g);
}

typedef struct loading {
    rig *rig;
    const char *model;
    bp_status status;
    bp_error error;
    pthread_t thread;
} loading;

static void *load_model(void *user)
{
    loading *l = user;
    l->status = l->rig->api->load(l->rig->engine, l->model, NULL, NULL, &l->error);
    return NULL;
}

/* A device that compiles one model does not hold up the ends of another's requests. */
static void requests_end_while_another_model_loads(void **state)
{
    (void)state;
    rig g;
    static fake_answer a, b;
    open_rig(&g, (engine_model){.queue_limit = 8});
    ask_well(&g, "a");
    g.devices[0].step_ns = 1000000;
    bp_request late = request_of_tokens(&g, "a", '2', 4, 1000);
    late.timeout_ns = 60000000;
    bp_stream *r = start(&g, request_of_tokens(&g, "a", '1', 4, 1000), &a), *t = start(&g, late, &b);
    while (a.token_count < 2)
        fake_next(g.api, r, &a);
    loading l = {.rig = &g, .model = "b"};
    fake_compile_gate(&g.devices[0], true);
    assert_int_equal(pthread_create(&l.thread, NULL, load_model, &l), 0);
    fake_await(&g.devices[0], &g.devices[0].at_compile);
    g.api->cancel(r);
    fake_collect(g.api, r, &a);
    expect_cancelled(&a);
    fake_collect(g.api, t, &b);
    expect_error(&b, BP_ETIMEOUT, "not complete within its 0.060 s");
    assert_int_equal(stats_of(&g, "a").running, 0);
    fake_compile_gate(&g.devices[0], false);
    pthread_join(l.thread, NULL);
    assert_int_equal(l.status, BP_OK);
    ask_well(&g, "b");
    close_rig(&g);
}

/* --- limits --------------------------------------------------------------------------------------------------------------- */

static void deadlines_end_requests(void **state)
{
    (void)state;
    rig g;
    static fake_answer a, b, c;
    open_rig(&g, (engine_model){.max_batch = 1, .queue_limit = 8});
    ask_well(&g, "a");
    fake_gate(&g.devices[0], true);
    bp_request r = request_of_tokens(&g, "a", '1', 4, 50), fine = r;
    r.timeout_ns = 100000000;
    bp_stream *x = start(&g, r, &a);
    fake_await(&g.devices[0], &g.devices[0].at_gate);
    bp_stream *y = start(&g, r, &b);
    fine.timeout_ns = UINT64_MAX; /* no sum with now */
    bp_stream *z = start(&g, fine, &c);
    sleep_ms(105);
    fake_gate(&g.devices[0], false);
    fake_collect(g.api, x, &a);
    fake_collect(g.api, y, &b);
    fake_collect(g.api, z, &c);
    expect_error(&a, BP_ETIMEOUT, "0.100 s");
    expect_error(&b, BP_ETIMEOUT, "0.100 s");
    assert_in_range(a.token_count, 0, 1);
    assert_int_equal(b.token_count, 0);
    assert_in_range(b.usage.queued_ns, 100000000, 10000000000);
    expect_answer(&c, &fine);
    assert_int_equal(stats_of(&g, "a").failed, 2);
    close_rig(&g);
}

static void test_61_a_full_queue_refuses(void **state)
{
    (void)state;
    rig g;
    static fake_answer a, b, c;
    open_rig(&g, (engine_model){.max_batch = 1, .queue_limit = 1});
    ask_well(&g, "a");
    fake_gate(&g.devices[0], true);
    bp_request r = request_of_tokens(&g, "a", '1', 4, 5), bad = r;
    bp_stream *x = start(&g, r, &a);
    bad.tokens = (const int32_t[]){FAKE_VOCABULARY};
    bad.token_count = 1;
    for (uint32_t i = 0; i < 5; i++) { /* what is refused leaves its place */
        fake_ask(g.api, g.engine, &bad, &b);
        expect_error(&b, BP_EINVAL, "not in the vocabulary");
    }
    bp_stream *y = start(&g, r, &b);
    fake_ask(g.api, g.engine, &r, &c);
    expect_error(&c, BP_EBUSY, "the queue is full");
    fake_gate(&g.devices[0], false);
    fake_collect(g.api, x, &a);
    fake_collect(g.api, y, &b);
    expect_answer(&a, &r);
    expect_answer(&b, &r);
    ask_well(&g, "a");
    close_rig(&g);
}

static void a_long_prompt_is_refused_with_both_numbers(void **state)
{
    (void)state;
    rig g;
    static fake_answer a;
    static char text[200];
    open_rig(&g, (engine_model){.context = 100});
    bp_request r = request_of_tokens(&g, "a", '1', 100, 0);
    fake_ask(g.api, g.engine, &r, &a);
    expect_error(&a, BP_ECONTEXT, "the prompt has 100 tokens and the context of model \"a\" is 100");
    r.token_count = 99;
    fake_ask(g.api, g.engine, &r, &a);
    assert_int_equal(a.token_count, 1);
    assert_int_equal(a.finish, BP_FINISH_LENGTH);
    memset(text, 'x', sizeof text);
    r.input = BP_INPUT_TEXT;
    r.text = text;
    r.text_bytes = sizeof text;
    fake_ask(g.api, g.engine, &r, &a);
    expect_error(&a, BP_ECONTEXT, "the prompt has 200 tokens and the context of model \"a\" is 100");
    close_rig(&g);
    /* A cache smaller than the context lowers it. */
    open_rig(&g, (engine_model){.context = 1000, .kv_tokens = 64, .page_tokens = 16});
    r = request_of_tokens(&g, "a", '1', 64, 0);
    fake_ask(g.api, g.engine, &r, &a);
    expect_error(&a, BP_ECONTEXT, "the context of model \"a\" is 64");
    close_rig(&g);
}

static void expect_refusal(rig *g, const bp_request *r, bp_status status, const char *sentence)
{
    static fake_answer a;
    bp_stream *s = fake_submit_request(g->api, g->engine, r, &a);
    assert_null(s);
    expect_error(&a, status, sentence);
}

static void wrong_requests_are_refused(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.max_batch = 1});
    const bp_request good = request_of_tokens(&g, "a", '1', 4, 5);
#define REFUSE(status, sentence, ...) do { bp_request r = good; __VA_ARGS__; expect_refusal(&g, &r, status, sentence); } while (0)
    REFUSE(BP_ENOTFOUND, "no model \"e\"", r.model = "e");
    REFUSE(BP_EINVAL, "names no model", r.model = NULL);
    REFUSE(BP_EINVAL, "size", r.size = 0);
    REFUSE(BP_EINVAL, "flags", r.flags = 1u << 20);
    REFUSE(BP_EINVAL, "input kind 3", r.input = 3);
    REFUSE(BP_EINVAL, "prompt is empty", r.token_count = 0);
    REFUSE(BP_EINVAL, "no tokens", r.tokens = NULL);
    REFUSE(BP_EINVAL, "token -1", r.tokens = (const int32_t[]){-1}; r.token_count = 1);
    REFUSE(BP_EINVAL, "prompt is empty", r.input = BP_INPUT_TEXT);
    REFUSE(BP_EINVAL, "no text", r.input = BP_INPUT_TEXT; r.text_bytes = 3);
    REFUSE(BP_EINVAL, "no messages", r.input = BP_INPUT_MESSAGES);
    REFUSE(BP_EINVAL, "no chat template", r.input = BP_INPUT_MESSAGES; r.model = "b");
    REFUSE(BP_EINVAL, "only messages", r.flags = BP_REQUEST_CONTINUE);
    REFUSE(BP_EINVAL, "stop string 0 is empty", r.stop = (const char *const[]){""}; r.stop_count = 1);
    REFUSE(BP_EINVAL, "17 stop strings", r.stop_count = 17);
    REFUSE(BP_EINVAL, "stop token 9999", r.stop_tokens = (const int32_t[]){9999}; r.stop_token_count = 1);
    REFUSE(BP_EINVAL, "temperature", r.sampling.temperature = -1);
    REFUSE(BP_EINVAL, "top_p", r.sampling.top_p = 2);
#undef REFUSE
    assert_int_equal(g.devices[0].steps, 0);
    ask_well(&g, "a");
    close_rig(&g);
}

static void the_more_urgent_goes_first(void **state)
{
    (void)state;
    rig g;
    static fake_answer first, answers[3];
    bp_stream *streams[3];
    open_rig(&g, (engine_model){.max_batch = 1, .queue_limit = 8});
    ask_well(&g, "a");
    fake_gate(&g.devices[0], true);
    bp_stream *x = start(&g, request_of_tokens(&g, "a", '1', 4, 5), &first);
    for (int32_t i = 0; i < 3; i++) {
        bp_request r = request_of_tokens(&g, "a", '1', 4, 5);
        r.priority = i - 2;
        streams[i] = start(&g, r, &answers[i]);
    }
    fake_gate(&g.devices[0], false);
    fake_collect(g.api, x, &first);
    for (uint32_t i = 0; i < 3; i++)
        fake_collect(g.api, streams[i], &answers[i]);
    assert_true(answers[0].usage.queued_ns > answers[1].usage.queued_ns);
    assert_true(answers[1].usage.queued_ns > answers[2].usage.queued_ns);
    close_rig(&g);
}

/* --- devices -------------------------------------------------------------------------------------------------------------- */

/* Two good requests beside one whose prompt begins with `first`: all three in one step. */
static void run_beside(rig *g, int32_t first, fake_answer *bad, fake_answer good[2], bp_request requests[2])
{
    fake_gate(&g->devices[0], true);
    requests[0] = request_of_tokens(g, "a", '1', 4, 40);
    requests[1] = request_of_tokens(g, "a", '2', 30, 40);
    bp_stream *x = start(g, requests[0], &good[0]);
    fake_await(&g->devices[0], &g->devices[0].at_gate);
    bp_stream *y = start(g, request_of_tokens(g, "a", first, 10, 40), bad), *z = start(g, requests[1], &good[1]);
    fake_gate(&g->devices[0], false);
    fake_collect(g->api, x, &good[0]);
    fake_collect(g->api, y, bad);
    fake_collect(g->api, z, &good[1]);
}

static void logits_that_are_not_numbers_end_one_request(void **state)
{
    (void)state;
    rig g;
    static fake_answer bad, good[2];
    bp_request requests[2];
    open_rig(&g, (engine_model){.queue_limit = 8});
    ask_well(&g, "a");
    run_beside(&g, FAKE_NAN, &bad, good, requests);
    expect_error(&bad, BP_EINTERNAL, "");
    assert_int_equal(bad.token_count, 0);
    expect_answer(&good[0], &requests[0]);
    expect_answer(&good[1], &requests[1]);
    assert_int_equal(g.devices[0].widest, 3);
    close_rig(&g);
}

static void test_67_a_step_without_memory_ends_who_needs_it(void **state)
{
    (void)state;
    rig g;
    static fake_answer bad, good[2];
    bp_request requests[2];
    open_rig(&g, (engine_model){.queue_limit = 8});
    ask_well(&g, "a");
    run_beside(&g, FAKE_MEMORY, &bad, good, requests);
    expect_error(&bad, BP_ENOMEM, "no memory for 1 sequences");
    expect_answer(&good[0], &requests[0]);
    expect_answer(&good[1], &requests[1]);
    close_rig(&g);
}

static void a_failing_step_ends_its_requests(void **state)
{
    (void)state;
    rig g;
    static fake_answer bad, good[2];
    bp_request requests[2];
    open_rig(&g, (engine_model){.queue_limit = 8});
    ask_well(&g, "a");
    run_beside(&g, FAKE_FAIL, &bad, good, requests);
    expect_error(&bad, BP_EINTERNAL, "the step failed");
    expect_error(&good[0], BP_EINTERNAL, "the step failed");
    expect_error(&good[1], BP_EINTERNAL, "the step failed");
    ask_well(&g, "a");
    assert_int_equal(stats_of(&g, "a").failed, 3);
    close_rig(&g);
}

static void expect_state(rig *g, const char *name, uint32_t state, const char *sentence)
{
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    assert_int_equal(g->api->find_model(g->engine, name, &index, NULL), BP_OK);
    assert_int_equal(g->api->model_info(g->engine, index, &info, NULL), BP_OK);
    assert_string_equal(info.name, name);
    assert_int_equal(info.state, state);
    if (!strstr(info.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", info.message, sentence);
}

static void a_lost_device_takes_its_own_models(void **state)
{
    (void)state;
    rig g;
    static fake_answer bad, good[2], other, elsewhere;
    bp_request requests[2];
    bp_error error = {0};
    open_rig(&g, (engine_model){.queue_limit = 8});
    ask_well(&g, "a");
    ask_well(&g, "b");
    ask_well(&g, "c");
    fake_gate(&g.devices[0], true);
    fake_gate(&g.devices[1], true);
    bp_stream *first = start(&g, request_of_tokens(&g, "a", '3', 4, 1000), &other);
    fake_await(&g.devices[0], &g.devices[0].at_gate);
    bp_stream *second = start(&g, request_of_tokens(&g, "b", '4', 4, 1000), &good[0]);
    bp_request fine = request_of_tokens(&g, "c", '5', 4, 100);
    bp_stream *third = start(&g, fine, &elsewhere);
    bp_stream *last = start(&g, request_of_tokens(&g, "a", FAKE_LOST, 4, 10), &bad);
    fake_gate(&g.devices[0], false);
    fake_collect(g.api, first, &other);
    fake_collect(g.api, second, &good[0]);
    fake_collect(g.api, last, &bad);
    fake_gate(&g.devices[1], false);
    fake_collect(g.api, third, &elsewhere);
    expect_error(&other, BP_EDEVICE, "the device fell off the bus");
    expect_error(&good[0], BP_EDEVICE, "model \"b\" is unavailable: the device fell off the bus");
    expect_error(&bad, BP_EDEVICE, "model \"a\" is unavailable: the device fell off the bus");
    expect_answer(&elsewhere, &fine);
    /* Later requests, and models that were not loaded yet. */
    requests[0] = request_of_tokens(&g, "a", '1', 4, 4);
    expect_refusal(&g, &requests[0], BP_EDEVICE, "unavailable");
    requests[0].model = "d";
    expect_refusal(&g, &requests[0], BP_EDEVICE, "the device of backend \"first\" is lost");
    assert_int_equal(g.api->load(g.engine, "a", NULL, NULL, &error), BP_EDEVICE);
    expect_state(&g, "a", BP_MODEL_FAILED, "fell off the bus");
    expect_state(&g, "b", BP_MODEL_FAILED, "fell off the bus");
    expect_state(&g, "c", BP_MODEL_READY, "");
    ask_well(&g, "c");
    close_rig(&g);
}

static void test_69_a_device_that_does_not_come_back_is_lost(void **state)
{
    (void)state;
    rig g;
    static fake_answer running, waiting, other, elsewhere;
    bp_error error = {0};
    open_watched_rig(&g, (engine_model){.max_batch = 1, .queue_limit = 8}, 100000000);
    ask_well(&g, "a");
    ask_well(&g, "b");
    fake_gate(&g.devices[0], true);
    bp_stream *r = start(&g, request_of_tokens(&g, "a", '1', 4, 100), &running);
    fake_await(&g.devices[0], &g.devices[0].at_gate);
    bp_stream *w = start(&g, request_of_tokens(&g, "a", '2', 4, 100), &waiting);
    bp_stream *b = start(&g, request_of_tokens(&g, "b", '3', 4, 100), &other);
    bp_request fine = request_of_tokens(&g, "c", '4', 4, 100);
    bp_stream *c = start(&g, fine, &elsewhere);
    fake_collect(g.api, r, &running);
    fake_collect(g.api, w, &waiting);
    fake_collect(g.api, b, &other);
    fake_collect(g.api, c, &elsewhere);
    expect_error(&running, BP_EDEVICE, "backend \"first\" did not come back from a step within 0.1 s");
    expect_error(&waiting, BP_EDEVICE, "did not come back");
    expect_error(&other, BP_EDEVICE, "did not come back");
    expect_answer(&elsewhere, &fine);
    /* It is still away: nobody waits for it. */
    assert_true(engine_stuck(g.engine));
    fine.model = "a";
    expect_refusal(&g, &fine, BP_EDEVICE, "did not come back");
    assert_int_equal(g.api->unload(g.engine, "b", &error), BP_EDEVICE);
    assert_int_equal(g.api->unload(g.engine, "b", &error), BP_EDEVICE);
    assert_int_equal(g.api->load(g.engine, "d", NULL, NULL, &error), BP_EDEVICE);
    expect_state(&g, "a", BP_MODEL_FAILED, "did not come back");
    expect_state(&g, "b", BP_MODEL_FAILED, "did not come back");
    assert_true(engine_drain(g.engine, 10000000000u));
    /* What it brings in the end is nobody's any more. */
    fake_gate(&g.devices[0], false);
    while (engine_stuck(g.engine))
        sleep_ms(1);
    close_rig(&g);
}

/* Steps that are slow, and no slower than they may be, are left alone. */
static void slow_steps_within_the_limit_are_fine(void **state)
{
    (void)state;
    rig g;
    static fake_answer a;
    open_watched_rig(&g, (engine_model){0}, 200000000);
    g.devices[0].step_ns = 40000000;
    bp_request r = request_of_tokens(&g, "a", '1', 4, 12); /* half a second of them */
    fake_ask(g.api, g.engine, &r, &a);
    expect_answer(&a, &r);
    close_rig(&g);
}

static void a_changed_file_takes_its_own_model(void **state)
{
    (void)state;
    rig g;
    static fake_answer a;
    open_rig(&g, (engine_model){.queue_limit = 8});
    ask_well(&g, "a");
    ask_well(&g, "b");
    g.devices[0].step_ns = 1000000;
    bp_request r = request_of_tokens(&g, "a", '1', 4, 1000);
    bp_stream *s = start(&g, r, &a);
    while (a.token_count < 3)
        fake_next(g.api, s, &a);
    atomic_store(&fake_files[0].damaged, true);
    fake_collect(g.api, s, &a);
    expect_error(&a, BP_EDEVICE, "its file a changed while it was in use");
    expect_refusal(&g, &r, BP_EDEVICE, "changed while it was in use");
    expect_state(&g, "a", BP_MODEL_FAILED, "changed");
    ask_well(&g, "b");
    ask_well(&g, "c");
    close_rig(&g);
}

static void models_of_a_device_take_turns(void **state)
{
    (void)state;
    rig g;
    static fake_answer a, b;
    open_rig(&g, (engine_model){0});
    ask_well(&g, "a");
    ask_well(&g, "b");
    g.devices[0].step_ns = 1000000;
    fake_gate(&g.devices[0], true);
    bp_request r = request_of_tokens(&g, "a", '1', 4, 50), q = request_of_tokens(&g, "b", '2', 4, 50);
    bp_stream *x = start(&g, r, &a), *y = start(&g, q, &b);
    uint64_t turns = g.devices[0].turns;
    fake_gate(&g.devices[0], false);
    fake_collect(g.api, x, &a);
    fake_collect(g.api, y, &b);
    expect_answer(&a, &r);
    expect_answer(&b, &q);
    assert_in_range(g.devices[0].turns - turns, 60, 101); /* time is not quite even */
    close_rig(&g);
}

/* A model whose steps take eight times as long has an eighth of the other's steps. */
static void turns_are_of_time(void **state)
{
    (void)state;
    rig g;
    static fake_answer slow[8], quick;
    bp_stream *streams[8];
    open_rig(&g, (engine_model){.max_batch = 8, .queue_limit = 8});
    ask_well(&g, "a");
    ask_well(&g, "b");
    g.devices[0].token_ns = 500000;
    fake_gate(&g.devices[0], true);
    bp_request r = request_of_tokens(&g, "b", '2', 4, 120);
    bp_stream *q = start(&g, r, &quick);
    for (int i = 0; i < 8; i++)
        streams[i] = start(&g, request_of_tokens(&g, "a", '1', 4, 400), &slow[i]);
    uint64_t before = stats_of(&g, "a").steps;
    fake_gate(&g.devices[0], false);
    fake_collect(g.api, q, &quick);
    expect_answer(&quick, &r);
    assert_in_range(stats_of(&g, "a").steps - before, 5, 60);
    for (int i = 0; i < 8; i++)
        g.api->release(streams[i]);
    close_rig(&g);
}

/* --- loading -------------------------------------------------------------------------------------------------------------- */

typedef struct first_request {
    rig *rig;
    bp_request request;
    fake_answer answer;
    pthread_t thread;
} first_request;

static void *ask_first(void *user)
{
    first_request *f = user;
    fake_ask(f->rig->api, f->rig->engine, &f->request, &f->answer);
    return NULL;
}

static void first_requests_load_once(void **state)
{
    (void)state;
    rig g;
    static first_request asked[4];
    open_rig(&g, (engine_model){0});
    expect_state(&g, "a", BP_MODEL_UNLOADED, "");
    assert_int_equal(stats_of(&g, "a").requests, 0);
    fake_compile_gate(&g.devices[0], true);
    for (uint32_t i = 0; i < 4; i++) {
        asked[i] = (first_request){.rig = &g, .request = request_of_tokens(&g, "a", '1', 4, 10)};
        assert_int_equal(pthread_create(&asked[i].thread, NULL, ask_first, &asked[i]), 0);
    }
    fake_await(&g.devices[0], &g.devices[0].at_compile);
    expect_state(&g, "a", BP_MODEL_LOADING, "");
    fake_compile_gate(&g.devices[0], false);
    for (uint32_t i = 0; i < 4; i++) {
        pthread_join(asked[i].thread, NULL);
        expect_answer(&asked[i].answer, &asked[i].request);
    }
    expect_state(&g, "a", BP_MODEL_READY, "");
    assert_int_equal(atomic_load(&fake_files[0].opened), 1);
    assert_int_equal(g.devices[0].models, 1);
    close_rig(&g);
}

static void who_gives_up_does_not_end_the_load(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){0});
    fake_compile_gate(&g.devices[0], true);
    bp_request r = request_of_tokens(&g, "a", '1', 4, 10);
    r.timeout_ns = 50000000;
    expect_refusal(&g, &r, BP_ETIMEOUT, "model \"a\" was not in memory in time");
    r.timeout_ns = 0;
    r.wait_ms = 50;
    expect_refusal(&g, &r, BP_ETIMEOUT, "model \"a\" was not in memory in time");
    fake_compile_gate(&g.devices[0], false);
    ask_well(&g, "a");
    assert_int_equal(atomic_load(&fake_files[0].opened), 1);
    close_rig(&g);
}

static void note_progress(void *user, double fraction, const char *what)
{
    double *last = user;
    assert_true(fraction >= *last && fraction <= 1.0 && what[0]);
    *last = fraction;
}

static void a_load_that_failed_is_tried_again_when_asked(void **state)
{
    (void)state;
    rig g;
    bp_error error = {0};
    double fraction = 0;
    open_rig(&g, (engine_model){0});
    atomic_store(&fake_files[0].fails, 1);
    bp_request r = request_of_tokens(&g, "a", '1', 4, 10);
    expect_refusal(&g, &r, BP_EDEVICE, "model \"a\": a cannot be read");
    expect_refusal(&g, &r, BP_EDEVICE, "model \"a\": a cannot be read"); /* not tried again so soon: it would work */
    expect_state(&g, "a", BP_MODEL_FAILED, "a cannot be read");
    g.devices[0].refuses = true;
    assert_int_equal(g.api->load(g.engine, "a", NULL, NULL, &error), BP_ENOMEM);
    assert_string_equal(error.message, "model \"a\": no memory on the device");
    g.devices[0].refuses = false;
    assert_int_equal(g.api->load(g.engine, "a", note_progress, &fraction, &error), BP_OK);
    assert_true(fraction == 1.0);
    expect_state(&g, "a", BP_MODEL_READY, "");
    ask_well(&g, "a");
    close_rig(&g);
}

/* What failed for a moment is no reason to be refused for ever; each failure in a row doubles the time until the next try. */
static void a_load_that_failed_is_tried_again_after_a_while(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){0});
    atomic_store(&fake_files[0].fails, 2);
    bp_request r = request_of_tokens(&g, "a", '1', 4, 10);
    expect_refusal(&g, &r, BP_EDEVICE, "model \"a\": a cannot be read");
    sleep_ms(600);
    expect_refusal(&g, &r, BP_EDEVICE, "model \"a\": a cannot be read");
    assert_int_equal(atomic_load(&fake_files[0].fails), 1);
    sleep_ms(600);
    expect_refusal(&g, &r, BP_EDEVICE, "model \"a\": a cannot be read");
    assert_int_equal(atomic_load(&fake_files[0].fails), 0);
    sleep_ms(900);
    sleep_ms(700);
    expect_refusal(&g, &r, BP_EDEVICE, "model \"a\": a cannot be read");
    assert_int_equal(atomic_load(&fake_files[0].fails), 0);
    sleep_ms(700);
    ask_well(&g, "a");
    expect_state(&g, "a", BP_MODEL_READY, "");
    close_rig(&g);
}

/* --- readers and shutting down -------------------------------------------------------------------------------------------- */

static void a_reader_that_stops_loses_its_own_answer(void **state)
{
    (void)state;
    rig g;
    static fake_answer slow, fast;
    open_rig(&g, (engine_model){.queue_limit = 8});
    g.devices[0].step_ns = 200000;
    bp_stream *s = start(&g, request_of_tokens(&g, "a", '1', 4, 700), &slow);
    bp_request r = request_of_tokens(&g, "a", '2', 4, 700);
    fake_ask(g.api, g.engine, &r, &fast);
    expect_answer(&fast, &r);
    fake_collect(g.api, s, &slow);
    expect_error(&slow, BP_ELIMIT, "the reader of this answer is 512 events behind");
    assert_in_range(slow.token_count, 500, 512);
    ask_well(&g, "a");
    close_rig(&g);
}

static void draining_waits_and_then_ends(void **state)
{
    (void)state;
    rig g;
    static fake_answer a;
    open_rig(&g, (engine_model){.queue_limit = 8});
    bp_request r = request_of_tokens(&g, "a", '1', 4, 100);
    bp_stream *s = start(&g, r, &a);
    assert_true(engine_drain(g.engine, 10000000000u));
    fake_collect(g.api, s, &a);
    expect_answer(&a, &r);
    expect_refusal(&g, &r, BP_ECANCELLED, "shutting down");
    r.model = "b";
    expect_refusal(&g, &r, BP_ECANCELLED, "shutting down");
    close_rig(&g);

    static fake_answer running, waiting;
    open_rig(&g, (engine_model){.max_batch = 1, .queue_limit = 8});
    g.devices[0].step_ns = 1000000;
    bp_stream *x = start(&g, request_of_tokens(&g, "a", '1', 4, 1500), &running),
              *y = start(&g, request_of_tokens(&g, "a", '2', 4, 1500), &waiting);
    while (running.token_count < 3)
        fake_next(g.api, x, &running);
    assert_false(engine_drain(g.engine, 5000000));
    fake_collect(g.api, x, &running);
    fake_collect(g.api, y, &waiting);
    expect_error(&running, BP_ECANCELLED, "shutting down");
    expect_error(&waiting, BP_ECANCELLED, "shutting down");
    assert_in_range(running.usage.completion_tokens, 3, 1000);
    close_rig(&g);
}

/* Streams may be released and the engine freed while their requests run. */
static void freeing_needs_no_draining(void **state)
{
    (void)state;
    rig g;
    static fake_answer a, b;
    open_rig(&g, (engine_model){.queue_limit = 8});
    ask_well(&g, "c");
    bp_stream *x = start(&g, request_of_tokens(&g, "a", '1', 4, 1500), &a),
              *y = start(&g, request_of_tokens(&g, "a", '2', 300, 1500), &b);
    while (a.token_count < 3)
        fake_next(g.api, x, &a);
    g.api->release(x);
    g.api->release(y);
    engine_free(g.engine);
    assert_int_equal(g.devices[0].models + g.devices[1].models, 0);
    fake_device_close(&g.devices[0]);
    fake_device_close(&g.devices[1]);
    engine_free(NULL);
}

/* --- all at once ---------------------------------------------------------------------------------------------------------- */

typedef struct visitor {
    rig *rig;
    uint64_t seed;
    uint32_t good, cancelled, late, released, refused;
    const char *broken;
    pthread_t thread;
} visitor;

static void visit(visitor *v, uint64_t dice, fake_answer *a, int32_t *tokens)
{
    static const char *const models[] = {"a", "b", "c"};
    int32_t prompt[64];
    uint32_t count = 1 + (uint32_t)(dice >> 8) % 60, leave = (uint32_t)(dice >> 16) % 8, mood = (uint32_t)(dice >> 24) % 4;
    bp_request r = {.size = sizeof r};
    v->rig->api->defaults(v->rig->engine, models[dice % 3], &r);
    for (uint32_t i = 0; i < count; i++)
        prompt[i] = (int32_t)(fake_mix(dice + i) % 256);
    r.input = BP_INPUT_TOKENS;
    r.tokens = prompt;
    r.token_count = count;
    r.max_tokens = 1 + (uint32_t)(dice >> 32) % 30;
    r.priority = (int32_t)(dice >> 40) % 2;
    r.sampling.temperature = 0;
    r.timeout_ns = mood == 3 ? (dice >> 48) % 2000000 + 1 : 0;
    bp_stream *s = fake_submit_request(v->rig->api, v->rig->engine, &r, a);
    if (!s) {
        v->refused += a->status == BP_EBUSY;
        v->late += a->status == BP_ETIMEOUT; /* while its model was loaded */
        fake_note(a, a->status == BP_EBUSY || a->status == BP_ETIMEOUT, "a refusal for another reason");
        return;
    }
    bool more = true;
    for (uint32_t i = 0; mood && more && mood < 3 && i < leave; i++)
        more = fake_next(v->rig->api, s, a);
    if (mood == 1) {
        v->rig->api->release(s);
        v->released++;
        return;
    }
    if (mood == 2)
        v->rig->api->cancel(s);
    while (more && fake_next(v->rig->api, s, a))
        ;
    v->rig->api->release(s);
    uint32_t length = fake_expect(prompt, count, r.max_tokens, false, tokens);
    fake_note(a, a->token_count <= length && memcmp(a->tokens, tokens, a->token_count * sizeof *tokens) == 0, "a wrong answer");
    if (a->status == BP_OK && a->finish != BP_FINISH_CANCELLED) {
        fake_note(a, a->token_count == length, "an answer too short");
        v->good++;
    }
    v->cancelled += a->finish == BP_FINISH_CANCELLED;
    v->late += a->status == BP_ETIMEOUT;
    fake_note(a, a->status == BP_OK || a->status == BP_ETIMEOUT, "another error");
}

static void *visit_often(void *user)
{
    visitor *v = user;
    fake_answer *a = malloc(sizeof *a);
    int32_t tokens[64];
    for (uint32_t i = 0; a && i < 60 && !v->broken; i++) {
        *a = (fake_answer){0};
        visit(v, fake_mix(v->seed * 1000 + i), a, tokens);
        v->broken = a->broken;
    }
    free(a);
    return NULL;
}

static void crowds_come_and_go(void **state)
{
    (void)state;
    rig g;
    visitor visitors[6];
    uint32_t good = 0, cancelled = 0, late = 0, released = 0;
    open_rig(&g, (engine_model){.max_batch = 3, .queue_limit = 2, .max_step_tokens = 12, .page_tokens = 16, .kv_tokens = 112});
    g.devices[0].step_ns = 20000;
    for (uint32_t i = 0; i < 6; i++) {
        visitors[i] = (visitor){.rig = &g, .seed = i + 1};
        assert_int_equal(pthread_create(&visitors[i].thread, NULL, visit_often, &visitors[i]), 0);
    }
    for (uint32_t i = 0; i < 6; i++) {
        pthread_join(visitors[i].thread, NULL);
        good += visitors[i].good;
        cancelled += visitors[i].cancelled;
        late += visitors[i].late;
        released += visitors[i].released;
    }
    for (uint32_t i = 0; i < 6; i++)
        if (visitors[i].broken)
            fail_msg("%s", visitors[i].broken);
    print_message("%u answers, %u cancelled, %u late, %u released\n", good, cancelled, late, released);
    assert_true(good > 20 && cancelled > 5 && late > 5 && released > 5);
    close_rig(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_cancelled_in_every_state),
        cmocka_unit_test(requests_end_while_another_model_loads),
        cmocka_unit_test(deadlines_end_requests),
        cmocka_unit_test(test_61_a_full_queue_refuses),
        cmocka_unit_test(a_long_prompt_is_refused_with_both_numbers),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(the_more_urgent_goes_first),
        cmocka_unit_test(logits_that_are_not_numbers_end_one_request),
        cmocka_unit_test(test_67_a_step_without_memory_ends_who_needs_it),
        cmocka_unit_test(a_failing_step_ends_its_requests),
        cmocka_unit_test(a_lost_device_takes_its_own_models),
        cmocka_unit_test(test_69_a_device_that_does_not_come_back_is_lost),
        cmocka_unit_test(slow_steps_within_the_limit_are_fine),
        cmocka_unit_test(a_changed_file_takes_its_own_model),
        cmocka_unit_test(models_of_a_device_take_turns),
        cmocka_unit_test(turns_are_of_time),
        cmocka_unit_test(first_requests_load_once),
        cmocka_unit_test(who_gives_up_does_not_end_the_load),
        cmocka_unit_test(a_load_that_failed_is_tried_again_when_asked),
        cmocka_unit_test(a_load_that_failed_is_tried_again_after_a_while),
        cmocka_unit_test(a_reader_that_stops_loses_its_own_answer),
        cmocka_unit_test(draining_waits_and_then_ends),
        cmocka_unit_test(freeing_needs_no_draining),
        cmocka_unit_test(crowds_come_and_go),
    };
    log_set_level(BP_LOG_ERROR + 1); /* what fails here is meant to */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
