/* engine: the log-probabilities of a prompt's own tokens are those of the model that is played, whatever else a step holds,
 * and a request that wants no answer gets none. */
#include "support/fake_engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { PROMPTS = 24, LONGEST = 900 };

typedef struct rig {
    bp_device device;
    engine_backend backend;
    engine_model model;
    bp_engine *engine;
    const bp_engine_api *api;
    int32_t tokens[PROMPTS][LONGEST];
    bp_request requests[PROMPTS];
} rig;

static void open_rig(rig *g, engine_model model)
{
    bp_error error = {0};
    fake_device_open(&g->device);
    g->backend = (engine_backend){.name = "fake", .ops = &fake_ops, .device = &g->device, .info.caps = BP_CAP_COPY};
    g->model = model;
    g->model.name = g->model.file = "a";
    g->api = engine_api();
    if (engine_new(&g->backend, 1, &g->model, 1, 0, &g->engine, &error) != BP_OK)
        fail_msg("%s", error.message);
    for (uint32_t i = 0; i < PROMPTS; i++) {
        bp_request *r = &g->requests[i];
        uint64_t dice = fake_mix(i + 100);
        r->size = sizeof *r;
        g->api->defaults(g->engine, NULL, r);
        r->input = BP_INPUT_TOKENS;
        r->tokens = g->tokens[i];
        r->token_count = i == 0 ? 1 : i == 1 ? LONGEST : 1 + dice % 200;
        r->max_tokens = 1 + i % 5;
        r->sampling.temperature = 0;
        r->sampling.logprobs = (int32_t)(i % 4);
        r->flags = i % 3 == 2 ? 0 : BP_REQUEST_PROMPT_LOGPROBS; /* others come between */
        r->flags |= i % 2 ? BP_REQUEST_NO_ANSWER : BP_REQUEST_IGNORE_EOS;
        for (uint32_t t = 0; t < r->token_count; t++) /* every other begins alike */
            g->tokens[i][t] = 'a' + (int32_t)(fake_mix(i % 2 ? dice + t : t) % 26);
    }
}

static void close_rig(rig *g)
{
    assert_true(engine_drain(g->engine, 10000000000u));
    engine_free(g->engine);
    assert_int_equal(g->device.violations, 0);
    fake_device_close(&g->device);
}

static void expect_scores(const bp_request *r, const fake_answer *a)
{
    uint64_t hash = 0;
    assert_int_equal(a->prompt_count, r->token_count);
    assert_true(a->scores[0] == 0);
    for (uint32_t i = 1; i < r->token_count; i++) {
        hash = fake_read(hash, r->tokens[i - 1], (int32_t)i - 1);
        double sum = 0;
        for (uint32_t id = 0; id <= FAKE_EOS; id++)
            sum += exp((double)fake_logit(hash, id));
        double expected = (double)fake_logit(hash, (uint32_t)r->tokens[i]) - log(sum);
        if (!(fabs((double)a->scores[i] - expected) < 1e-4))
            fail_msg("token %u has %g and not %g", i, (double)a->scores[i], expected);
    }
}

static void expect_answer(const bp_request *r, const fake_answer *a)
{
    static int32_t expected[FAKE_MAX_ANSWER];
    bool answers = !(r->flags & BP_REQUEST_NO_ANSWER);
    if (a->broken || a->status != BP_OK)
        fail_msg("%s", a->broken ? a->broken : a->message);
    assert_int_equal(a->finish, BP_FINISH_LENGTH);
    uint32_t count = answers ? fake_expect(r->tokens, (uint32_t)r->token_count, r->max_tokens, true, expected) : 0;
    assert_int_equal(a->token_count, count);
    assert_memory_equal(a->tokens, expected, count * sizeof *expected);
    assert_int_equal(a->usage.completion_tokens, count);
    if (r->flags & BP_REQUEST_PROMPT_LOGPROBS)
        expect_scores(r, a);
    else
        assert_int_equal(a->prompt_count, 0);
}

/* Nobody reads before all have been computed: scores do not run a reader's ring over. */
static void scores_are_the_models_own(void **state)
{
    (void)state;
    static rig g;
    static fake_answer answers[PROMPTS], again;
    static const engine_model models[] = {
        {.max_batch = 1}, {.max_batch = 8}, {.max_batch = 32, .max_step_tokens = 40, .mixed_step_tokens = 8},
        {.max_batch = 32, .drafts = 7}, {.max_batch = 4, .kv_tokens = 1024, .page_tokens = 16}, {.no_prefix_cache = true}};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        engine_model model = models[m];
        bp_stream *streams[PROMPTS];
        model.context = 1000;
        model.queue_limit = PROMPTS;
        open_rig(&g, model);
        for (uint32_t i = 0; i < PROMPTS; i++)
            streams[i] = fake_submit_request(g.api, g.engine, &g.requests[i], &answers[i]);
        bp_model_stats s = {.size = sizeof s};
        do {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            g.api->stats(g.engine, NULL, &s, NULL);
        } while (s.running + s.waiting > 0);
        for (uint32_t i = 0; i < PROMPTS; i++) {
            assert_non_null(streams[i]);
            fake_collect(g.api, streams[i], &answers[i]);
            expect_answer(&g.requests[i], &answers[i]);
        }
        /* What is in the prefix cache by now is no reason not to say it again, and serves those that ask for an answer alone. */
        fake_ask(g.api, g.engine, &g.requests[1], &again);
        expect_answer(&g.requests[1], &again);
        assert_int_equal(again.usage.cached_tokens, 0);
        assert_memory_equal(again.scores, answers[1].scores, LONGEST * sizeof *again.scores);
        g.requests[1].flags = 0;
        fake_ask(g.api, g.engine, &g.requests[1], &again);
        assert_true(model.no_prefix_cache || again.usage.cached_tokens > 0);
        close_rig(&g);
    }
}

static void a_prompt_that_fails_fails_alone(void **state)
{
    (void)state;
    static rig g;
    static fake_answer bad, good;
    open_rig(&g, (engine_model){.max_batch = 8});
    g.tokens[1][700] = FAKE_NAN;
    bp_stream *r = fake_submit_request(g.api, g.engine, &g.requests[1], &bad);
    fake_ask(g.api, g.engine, &g.requests[3], &good);
    fake_collect(g.api, r, &bad);
    expect_answer(&g.requests[3], &good);
    assert_int_equal(bad.status, BP_EINTERNAL);
    assert_string_equal(bad.message, "the model gave NaN as the logit of token 0");
    assert_int_equal(bad.prompt_count, 701);
    close_rig(&g);
}

/* The prompt is followed to where the model ends it. */
static void the_token_that_ends_an_answer_is_told(void **state)
{
    (void)state;
    static rig g;
    static fake_answer a;
    static int32_t expected[FAKE_MAX_ANSWER];
    open_rig(&g, (engine_model){.max_batch = 8});
    bp_request *r = &g.requests[2];
    r->flags = 0;
    r->max_tokens = 500;
    r->sampling.logprobs = 2;
    uint32_t count = fake_expect(r->tokens, (uint32_t)r->token_count, r->max_tokens, false, expected);
    assert_true(count < r->max_tokens);
    fake_ask(g.api, g.engine, r, &a);
    assert_int_equal(a.token_count, count);
    assert_true(a.finish == BP_FINISH_STOP && a.end.token == FAKE_EOS && a.end.byte_count > 0 && a.end.logprob < 0);
    int32_t stop = expected[0];
    r->stop_tokens = &stop;
    r->stop_token_count = 1;
    fake_ask(g.api, g.engine, r, &a);
    assert_true(a.token_count == 0 && a.finish == BP_FINISH_STOP && a.end.token == stop && a.text_bytes == 0);
    r->max_tokens = 0;
    r->flags = BP_REQUEST_NO_ANSWER;
    fake_ask(g.api, g.engine, r, &a);
    assert_true(a.token_count == 0 && a.finish == BP_FINISH_LENGTH && a.end.byte_count == 0);
    close_rig(&g);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static rig g;
    static fake_answer a;
    open_rig(&g, (engine_model){.context = 64});
    bp_request r = g.requests[0];
    r.flags = BP_REQUEST_PROMPT_LOGPROBS;
    r.sampling.logprobs = -1;
    assert_null(fake_submit_request(g.api, g.engine, &r, &a));
    assert_string_equal(a.message, "log-probabilities of the prompt need logprobs of at least 0");
    r.flags = BP_REQUEST_NO_ANSWER;
    r.task = BP_TASK_EMBED;
    assert_null(fake_submit_request(g.api, g.engine, &r, &a));
    assert_int_equal(a.status, BP_EINVAL);
    /* Without an answer a prompt may fill the context. */
    r = g.requests[1];
    r.token_count = 64;
    fake_ask(g.api, g.engine, &r, &a);
    assert_int_equal(a.status, BP_OK);
    r.flags &= ~(uint32_t)BP_REQUEST_NO_ANSWER;
    assert_null(fake_submit_request(g.api, g.engine, &r, &a));
    assert_int_equal(a.status, BP_ECONTEXT);
    close_rig(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_the_models_own),
        cmocka_unit_test(a_prompt_that_fails_fails_alone),
        cmocka_unit_test(the_token_that_ends_an_answer_is_told),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
