/* engine: a request that is preempted before any step of it gets the answer that it gets undisturbed, to the bit, whether it
 * finds its own pages again or has to compute them, and whether its prompt is scored or not; device and file are played by the
 * test. */
#include "support/fake_engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "support/replay.h"

enum { PROMPT = 37, ANSWER = 45, PAGES = (PROMPT + ANSWER + 15) / 16 };

/* The urgent prompt takes every page there is, or few of many. */
static const replay_case cases[] = {
    {.name = "no cache", .chunk = 16, .pages = PAGES, .urgent = 20},
    {.name = "no cache, token by token", .chunk = 1, .pages = PAGES, .urgent = 20},
    {.name = "pages found", .chunk = 7, .rows = 64, .pages = 3 * PAGES, .share_prefixes = true, .urgent = 20, .finds_its_pages = true},
    {.name = "pages found, token by token", .chunk = 1, .pages = 3 * PAGES, .share_prefixes = true, .copy_pages = true,
     .urgent = 20, .finds_its_pages = true},
    {.name = "pages evicted", .chunk = 7, .rows = 5, .pages = PAGES, .share_prefixes = true, .copy_pages = true, .urgent = PAGES * 16 - 1},
    {.name = "guesses, no cache", .chunk = 16, .drafts = 6, .pages = PAGES, .urgent = 20},
    {.name = "guesses, pages found", .chunk = 16, .drafts = 9, .pages = 3 * PAGES, .share_prefixes = true, .copy_pages = true,
     .urgent = 20, .finds_its_pages = true},
    {.name = "guesses, pages evicted", .chunk = 16, .drafts = 3, .pages = PAGES, .share_prefixes = true,
     .urgent = PAGES * 16 - 1},
};

static bp_request make_request(int32_t *tokens, bp_logit_bias *bias)
{
    bp_request r = {.size = sizeof r, .input = BP_INPUT_TOKENS, .tokens = tokens, .token_count = PROMPT, .max_tokens = ANSWER,
                    .flags = BP_REQUEST_IGNORE_EOS};
    for (uint32_t i = 0; i < PROMPT; i++)
        tokens[i] = 'a' + (int32_t)(i * i % 26);
    bias[0] = (bp_logit_bias){.token = 'x', .bias = 40};
    bias[1] = (bp_logit_bias){.token = 'y', .bias = 40};
    sampling_defaults(&r.sampling);
    r.sampling.seed = 5;
    r.sampling.logprobs = 3;
    r.sampling.frequency_penalty = 0.1f;
    r.sampling.logit_bias = bias; /* answers of two letters, which can be guessed */
    r.sampling.logit_bias_count = 2;
    return r;
}

static void preempt(uint32_t flags)
{
    bp_device device;
    int32_t tokens[PROMPT];
    bp_logit_bias bias[2];
    bp_request request = make_request(tokens, bias);
    request.flags |= flags;
    const replay_case plain = {.name = "plain", .chunk = 64, .pages = PAGES, .urgent = 1};
    replay_answer expected;
    replay p;
    fake_device_open(&device);
    const engine_backend backend = {.name = "fake", .ops = &fake_ops, .device = &device, .info.caps = BP_CAP_COPY};
    replay_open(&p, "a", &backend, &plain);
    replay_ask(&p, &plain, &request, REPLAY_UNDISTURBED, &expected);
    replay_close(&p);
    assert_int_equal(expected.count, ANSWER);
    assert_int_equal(expected.prompt_tokens, flags ? PROMPT : 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        replay_preempt_everywhere("a", &backend, &cases[i], request, &expected);
    assert_int_equal(device.violations, 0);
    fake_device_close(&device);
}

static void preemption_at_any_step_changes_nothing(void **state)
{
    (void)state;
    preempt(0);
}

static void preemption_at_any_step_changes_no_score(void **state)
{
    (void)state;
    preempt(BP_REQUEST_PROMPT_LOGPROBS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preemption_at_any_step_changes_nothing),
        cmocka_unit_test(preemption_at_any_step_changes_no_score),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
