/* engine on the CPU backend: a request that is preempted before any step, that shares a prefix of any length, or whose tokens
 * were guessed, gets the answer and the log-probabilities that it gets alone, its prompt's included, to the bit. */
#include "base/arena.h"
#include "base/log.h"
#include "host/options.h"
#include "host/plugins.h"
#include "support/tiny_llama.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/replay.h"

enum { PROMPT = 41, ANSWER = 30, PAGES = (PROMPT + ANSWER + 15) / 16 };

typedef struct rig {
    char file[64];
    plugins *plugins;
    arena *memory;
    engine_backend backend;
    int32_t tokens[PROMPT];
    bp_logit_bias bias[2];
    bp_request request; /* of these tokens; its answer is of two tokens in turn, which can be guessed */
} rig;

static int open_rig(void **state)
{
    rig *g = calloc(1, sizeof *g);
    bp_error error = {0};
    const plugin *cpu = NULL;
    assert_non_null(g);
    strcpy(g->file, "/tmp/replay-XXXXXX");
    int descriptor = mkstemp(g->file);
    assert_true(descriptor >= 0);
    close(descriptor);
    assert_true(tiny_llama_write(g->file, &(tiny_llama){.seed = 3, .weight_type = BP_Q8_0}));
    g->plugins = plugins_new();
    g->memory = arena_new();
    replay_check(plugins_load(g->plugins, CPU_PLUGIN, BP_PLUGIN_BACKEND, &cpu, &error), &error);
    void *config = arena_alloc(g->memory, cpu->config_size + 1);
    options_target target = {.options = cpu->options, .config = config, .memory = g->memory, .directory = "/"};
    replay_check(options_defaults(&target, &error), &error);
    replay_check(options_set(&target, "threads", "1", &error), &error);
    g->backend = (engine_backend){.name = "cpu", .ops = &cpu->backend, .info.size = sizeof g->backend.info};
    replay_check(g->backend.ops->open(log_host(), config, &g->backend.device, &error), &error);
    replay_check(g->backend.ops->info(g->backend.device, &g->backend.info, &error), &error);
    assert_true(g->backend.info.caps & BP_CAP_COPY);
    for (uint32_t i = 0; i < PROMPT; i++)
        g->tokens[i] = 3 + (int32_t)(i * i * 7 % 256);
    g->bias[0] = (bp_logit_bias){.token = 120, .bias = 80};
    g->bias[1] = (bp_logit_bias){.token = 121, .bias = 80};
    g->request = (bp_request){.size = sizeof g->request, .input = BP_INPUT_TOKENS, .tokens = g->tokens, .token_count = PROMPT,
                              .max_tokens = ANSWER, .flags = BP_REQUEST_IGNORE_EOS};
    sampling_defaults(&g->request.sampling);
    g->request.sampling.seed = 11;
    g->request.sampling.logprobs = 5;
    g->request.sampling.logit_bias = g->bias;
    g->request.sampling.logit_bias_count = 2;
    *state = g;
    return 0;
}

static int close_rig(void **state)
{
    rig *g = *state;
    g->backend.ops->close(g->backend.device);
    plugins_free(g->plugins);
    arena_free(g->memory);
    unlink(g->file);
    free(g);
    return 0;
}

/* In one piece, with nothing around it. */
static void ask_plainly(rig *g, const bp_request *request, replay_answer *out)
{
    const replay_case plain = {.name = "plain", .chunk = 64, .pages = PAGES, .urgent = 1};
    replay p;
    replay_open(&p, g->file, &g->backend, &plain);
    replay_ask(&p, &plain, request, REPLAY_UNDISTURBED, out);
    replay_close(&p);
}

static void preempt(rig *g, uint32_t flags)
{
    static const replay_case cases[] = {
        {.name = "no cache", .chunk = 9, .pages = PAGES, .urgent = 20},
        {.name = "pages found, token by token", .chunk = 1, .pages = 3 * PAGES, .share_prefixes = true, .copy_pages = true,
         .urgent = 20, .finds_its_pages = true},
        {.name = "pages evicted", .chunk = 9, .pages = PAGES, .share_prefixes = true, .copy_pages = true,
         .urgent = PAGES * 16 - 1},
        {.name = "guesses, pages found", .chunk = 16, .drafts = 7, .pages = 3 * PAGES, .share_prefixes = true,
         .copy_pages = true, .urgent = 20, .finds_its_pages = true},
    };
    replay_answer expected;
    bp_request request = g->request;
    request.flags |= flags;
    ask_plainly(g, &request, &expected);
    assert_int_equal(expected.count, ANSWER);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        replay_preempt_everywhere(g->file, &g->backend, &cases[i], request, &expected);
}

static void test_66_preemption_at_any_step_changes_no_bit(void **state)
{
    preempt(*state, 0);
}

static void preemption_at_any_step_changes_no_bit_of_a_score(void **state)
{
    preempt(*state, BP_REQUEST_PROMPT_LOGPROBS);
}

/* What stands at each place of a prompt has the log-probability, and the alternatives, that it has when it is drawn there. */
static void a_score_is_what_the_same_token_has_when_it_is_drawn(void **state)
{
    rig *g = *state;
    bp_request r = g->request;
    replay_answer drawn, scored;
    int32_t tokens[PROMPT + ANSWER];
    ask_plainly(g, &r, &drawn);
    memcpy(tokens, g->tokens, sizeof g->tokens);
    memcpy(tokens + PROMPT, drawn.tokens, ANSWER * sizeof *tokens);
    for (uint32_t chunk = 1; chunk <= 64; chunk *= 2) {
        const replay_case c = {.name = "scored", .chunk = chunk, .rows = chunk / 2, .pages = PAGES, .urgent = 1};
        replay p;
        r.tokens = tokens;
        r.token_count = PROMPT + ANSWER;
        r.flags = BP_REQUEST_PROMPT_LOGPROBS | BP_REQUEST_NO_ANSWER;
        replay_open(&p, g->file, &g->backend, &c);
        replay_ask(&p, &c, &r, REPLAY_UNDISTURBED, &scored);
        replay_close(&p);
        assert_int_equal(scored.count, 0);
        assert_int_equal(scored.usage.completion_tokens, 0);
        assert_int_equal(scored.finish, BP_FINISH_LENGTH);
        assert_int_equal(scored.prompt_tokens, PROMPT + ANSWER);
        assert_memory_equal(scored.scores + PROMPT, drawn.logprobs, ANSWER * sizeof *drawn.logprobs);
    }
}

/* A prompt that begins like another for any number of tokens, and the whole of it. */
static void prefixes_of_any_length_change_no_bit(void **state)
{
    rig *g = *state;
    for (uint32_t copies = 0; copies < 2; copies++) {
        const replay_case c = {.name = "prefixes", .chunk = 24, .drafts = 7, .pages = 3 * PROMPT, .share_prefixes = true,
                               .copy_pages = copies, .urgent = 1};
        replay_answer expected, a;
        replay p;
        replay_open(&p, g->file, &g->backend, &c);
        bp_request r = g->request;
        replay_ask(&p, &c, &r, REPLAY_UNDISTURBED, &a);
        r.max_tokens = 5;
        for (uint32_t length = 1; length <= PROMPT; length++) {
            int32_t tokens[PROMPT];
            memcpy(tokens, g->tokens, sizeof tokens);
            if (length < PROMPT)
                tokens[length] = 299;
            r.tokens = tokens;
            ask_plainly(g, &r, &expected);
            replay_ask(&p, &c, &r, REPLAY_UNDISTURBED, &a);
            replay_expect_same(&a, &expected, c.name, length);
            uint32_t known = length < PROMPT ? length : PROMPT - 1;
            assert_int_equal(a.usage.cached_tokens, copies ? known : known / 16 * 16);
        }
        replay_close(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_66_preemption_at_any_step_changes_no_bit),
        cmocka_unit_test(preemption_at_any_step_changes_no_bit_of_a_score),
        cmocka_unit_test(a_score_is_what_the_same_token_has_when_it_is_drawn),
        cmocka_unit_test(prefixes_of_any_length_change_no_bit),
    };
    return cmocka_run_group_tests(tests, open_rig, close_rig);
}
