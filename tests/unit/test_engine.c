/* engine: answers over bp_engine_api, with the device and the files played by the test (tests/support/fake_engine.h).
 * Whatever a step is made of, every request gets the answer that it gets alone. */
#include "support/fake_engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { REQUESTS = 48, THREADS = 4 };

typedef struct rig {
    bp_device device;
    engine_backend backend;
    engine_model model;
    bp_engine *engine;
    const bp_engine_api *api;
} rig;

static void open_able_rig(rig *g, engine_model model, uint32_t caps)
{
    bp_error error = {0};
    fake_device_open(&g->device);
    g->backend = (engine_backend){.name = "fake", .ops = &fake_ops, .device = &g->device, .info.caps = caps};
    g->model = model;
    g->model.name = "a";
    g->model.file = "a";
    g->api = engine_api();
    if (engine_new(&g->backend, 1, &g->model, 1, 0, &g->engine, &error) != BP_OK)
        fail_msg("%s", error.message);
}

static void open_rig(rig *g, engine_model model)
{
    open_able_rig(g, model, 0);
}

static bp_model_stats stats_of(rig *g)
{
    bp_model_stats s = {.size = sizeof s};
    assert_int_equal(g->api->stats(g->engine, NULL, &s, NULL), BP_OK);
    return s;
}

/* Everything was given back. */
static void close_rig(rig *g)
{
    assert_true(engine_drain(g->engine, 10000000000u));
    bp_model_stats s = stats_of(g);
    assert_int_equal(s.running + s.waiting + s.pages_used, 0);
    engine_free(g->engine);
    assert_int_equal(g->device.violations, 0);
    assert_int_equal(g->device.models, 0);
    fake_device_close(&g->device);
}

/* --- requests ------------------------------------------------------------------------------------------------------------- */

typedef struct question {
    bp_request request;
    int32_t tokens[200];
    const char *stop[2];
    bp_logit_bias bias[2];
} question;

/* Of every kind: short and long, greedy and drawn, with and without penalties, stop strings, log-probabilities; and answers of
 * two letters, which can be guessed ahead. */
static void make_questions(rig *g, question *out)
{
    static const char *const stops[] = {"e", "q ", "zz", "\xc3\xa9", "the end", "ab"};
    for (uint32_t i = 0; i < REQUESTS; i++) {
        question *q = &out[i];
        uint64_t dice = fake_mix(i + 1);
        *q = (question){0};
        bp_request *r = &q->request;
        r->size = sizeof *r;
        g->api->defaults(g->engine, NULL, r);
        r->input = BP_INPUT_TOKENS;
        r->token_count = i % 8 == 0 ? 1 : 1 + dice % 150;
        for (uint32_t t = 0; t < r->token_count; t++)
            q->tokens[t] = (int32_t)(fake_mix(dice + t) % 256);
        r->tokens = q->tokens;
        r->max_tokens = 1 + (uint32_t)(dice >> 20) % 60;
        r->flags = i % 3 ? BP_REQUEST_IGNORE_EOS : 0;
        r->priority = (int32_t)(dice >> 30) % 3;
        r->sampling.temperature = i % 2 ? 0.9f : 0;
        r->sampling.seed = i;
        r->sampling.top_p = i % 4 == 1 ? 0.9f : 1.0f;
        r->sampling.top_k = i % 8 == 3 ? 5 : 0;
        r->sampling.repetition_penalty = i % 5 == 1 ? 1.2f : 1.0f;
        r->sampling.frequency_penalty = i % 7 == 1 ? 0.3f : 0;
        r->sampling.logprobs = i % 6 == 1 ? 3 : -1;
        if (i % 4 == 2) {
            q->stop[0] = stops[i / 4 % 6];
            q->stop[1] = "never seen";
            r->stop = q->stop;
            r->stop_count = 2;
        }
        if (i % 9 == 2) {
            q->bias[0] = (bp_logit_bias){.token = 'x', .bias = 3.0f};
            r->sampling.logit_bias = q->bias;
            r->sampling.logit_bias_count = 1;
        }
        if (i % 4 == 3) {
            q->bias[0] = (bp_logit_bias){.token = 'x', .bias = 40.0f};
            q->bias[1] = (bp_logit_bias){.token = 'y', .bias = 40.0f};
            r->sampling.logit_bias = q->bias;
            r->sampling.logit_bias_count = 2;
            r->sampling.logprobs = 4;
            r->token_count = 1 + r->token_count % 40;
            r->max_tokens = 100;
        }
    }
}

static void expect_good(const fake_answer *a)
{
    if (a->broken)
        fail_msg("%s", a->broken);
    if (a->status != BP_OK)
        fail_msg("%s", a->message);
    assert_int_equal(a->kind, BP_EVENT_DONE);
}

static void expect_same(const fake_answer *a, const fake_answer *b, uint32_t index)
{
    expect_good(a);
    if (a->token_count != b->token_count || memcmp(a->tokens, b->tokens, a->token_count * sizeof *a->tokens) != 0 ||
        a->text_bytes != b->text_bytes || memcmp(a->text, b->text, a->text_bytes) != 0 || a->finish != b->finish ||
        a->stop_index != b->stop_index || a->tops != b->tops || a->usage.prompt_tokens != b->usage.prompt_tokens ||
        a->usage.completion_tokens != b->usage.completion_tokens)
        fail_msg("request %u: \"%s\" (%u tokens, finish %u) is not \"%s\" (%u, %u)", index, a->text, a->token_count, a->finish,
                 b->text, b->token_count, b->finish);
}

/* --- alone ---------------------------------------------------------------------------------------------------------------- */

/* One at a time in one piece: what all others are compared with. */
static fake_answer *answers_alone(void)
{
    static fake_answer alone[REQUESTS];
    static bool known;
    if (known)
        return alone;
    rig g;
    static question questions[REQUESTS];
    open_rig(&g, (engine_model){.max_batch = 1});
    make_questions(&g, questions);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        fake_ask(g.api, g.engine, &questions[i].request, &alone[i]);
        expect_good(&alone[i]);
    }
    assert_int_equal(g.device.widest, 1);
    assert_int_equal(g.device.chunks, 0);
    close_rig(&g);
    known = true;
    return alone;
}

/* Greedy answers are what the played model says, which no engine took part in. */
static void answers_are_the_models(void **state)
{
    (void)state;
    const fake_answer *alone = answers_alone();
    rig g;
    static question questions[REQUESTS];
    uint32_t checked = 0, ended = 0;
    open_rig(&g, (engine_model){0});
    make_questions(&g, questions);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        const bp_request *r = &questions[i].request;
        if (r->sampling.temperature > 0 || r->stop_count || r->sampling.repetition_penalty != 1.0f ||
            r->sampling.frequency_penalty != 0 || r->sampling.logit_bias_count)
            continue;
        int32_t tokens[64];
        uint32_t count = fake_expect(r->tokens, (uint32_t)r->token_count, r->max_tokens, r->flags & BP_REQUEST_IGNORE_EOS, tokens);
        assert_int_equal(alone[i].token_count, count);
        assert_memory_equal(alone[i].tokens, tokens, count * sizeof *tokens);
        assert_int_equal(alone[i].finish, count < r->max_tokens ? BP_FINISH_STOP : BP_FINISH_LENGTH);
        assert_int_equal(alone[i].usage.completion_tokens, count + (count < r->max_tokens));
        assert_int_equal(alone[i].usage.prompt_tokens, r->token_count);
        ended += count < r->max_tokens;
        checked++;
    }
    assert_in_range(checked, 8, REQUESTS);
    assert_in_range(ended, 1, checked);
    close_rig(&g);
}

/* --- together ------------------------------------------------------------------------------------------------------------- */

typedef struct asker {
    rig *rig;
    question *questions;
    fake_answer *answers;
    uint32_t first;
    pthread_t thread;
} asker;

/* Every fourth request, all submitted before the first is read. */
static void *ask_many(void *user)
{
    asker *k = user;
    bp_stream *streams[REQUESTS] = {NULL};
    for (uint32_t i = k->first; i < REQUESTS; i += THREADS)
        streams[i] = fake_submit_request(k->rig->api, k->rig->engine, &k->questions[i].request, &k->answers[i]);
    for (uint32_t i = k->first; i < REQUESTS; i += THREADS)
        if (streams[i])
            fake_collect(k->rig->api, streams[i], &k->answers[i]);
    return NULL;
}

static void check_together(rig *g)
{
    static question questions[REQUESTS];
    static fake_answer answers[REQUESTS];
    const fake_answer *alone = answers_alone();
    asker askers[THREADS];
    make_questions(g, questions);
    fake_gate(&g->device, true); /* until all are there */
    for (uint32_t k = 0; k < THREADS; k++) {
        askers[k] = (asker){.rig = g, .questions = questions, .answers = answers, .first = k};
        assert_int_equal(pthread_create(&askers[k].thread, NULL, ask_many, &askers[k]), 0);
    }
    while (stats_of(g).requests < REQUESTS)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    fake_gate(&g->device, false);
    for (uint32_t k = 0; k < THREADS; k++)
        pthread_join(askers[k].thread, NULL);
    for (uint32_t i = 0; i < REQUESTS; i++)
        expect_same(&answers[i], &alone[i], i);
}

static void neighbours_do_not_change_answers(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.queue_limit = REQUESTS});
    check_together(&g);
    assert_in_range(g.device.widest, 4, 32);
    assert_in_range(g.device.mixed, 1, UINT64_MAX);
    assert_int_equal(stats_of(&g).requests, REQUESTS);
    assert_int_equal(stats_of(&g).failed, 0);
    close_rig(&g);
}

static void chunks_do_not_change_answers(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 7, 16, 45};
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rig g;
        open_rig(&g, (engine_model){.queue_limit = REQUESTS, .max_batch = 6, .max_step_tokens = sizes[i]});
        check_together(&g);
        assert_in_range(g.device.chunks, 1, UINT64_MAX);
        assert_in_range(g.device.largest, 1, sizes[i]);
        assert_in_range(g.device.widest, 1, sizes[i] < 6 ? sizes[i] : 6);
        close_rig(&g);
    }
}

static void preemption_does_not_change_answers(void **state)
{
    (void)state;
    static const uint32_t tokens[] = {224, 272, 320, 384, 512}; /* one long request, or a few short ones */
    uint64_t preemptions = 0;
    for (uint32_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        rig g;
        open_rig(&g, (engine_model){.queue_limit = REQUESTS, .max_batch = 16, .max_step_tokens = 64, .page_tokens = 16,
                                    .kv_tokens = tokens[i]});
        check_together(&g);
        preemptions += stats_of(&g).preemptions;
        assert_int_equal(stats_of(&g).pages_total, tokens[i] / 16);
        close_rig(&g);
    }
    print_message("%llu preemptions\n", (unsigned long long)preemptions);
    assert_in_range(preemptions, 5, UINT64_MAX);
}

/* A step that the device has no memory for is run in parts. */
static void split_steps_do_not_change_answers(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.queue_limit = REQUESTS, .max_batch = 12});
    g.device.most_sequences = 2;
    check_together(&g);
    assert_in_range(g.device.refused, 1, UINT64_MAX);
    assert_int_equal(g.device.widest, 12);
    assert_int_equal(stats_of(&g).failed, 0);
    close_rig(&g);
}

static void guesses_do_not_change_answers(void **state)
{
    (void)state;
    static const uint32_t drafts[] = {1, 4, 20};
    for (uint32_t i = 0; i < sizeof drafts / sizeof *drafts; i++) {
        rig g;
        open_able_rig(&g, (engine_model){.queue_limit = REQUESTS, .max_batch = 3, .drafts = drafts[i], .page_tokens = 16}, BP_CAP_COPY);
        check_together(&g);
        bp_model_stats s = stats_of(&g);
        print_message("%llu guessed, %llu right\n", (unsigned long long)s.drafted_tokens, (unsigned long long)s.accepted_tokens);
        /* How many depends on who happens to share a step: with 1 three answers leave no room, with 20 they all have some. */
        if (drafts[i] < 3)
            assert_in_range(s.drafted_tokens, 0, 100);
        else
            assert_true(s.accepted_tokens > 20 && s.drafted_tokens > s.accepted_tokens + 20);
        assert_in_range(g.device.largest, 1, 512);
        close_rig(&g);
    }
}

/* A device that finds the highest logits gives nothing else where nothing else is asked for. */
static void who_finds_the_highest_does_not_change_answers(void **state)
{
    (void)state;
    static const uint32_t batches[] = {1, 3}; /* more are seldom all greedy */
    for (uint32_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        rig g;
        open_able_rig(&g, (engine_model){.queue_limit = REQUESTS, .max_batch = batches[i], .drafts = 6}, BP_CAP_TOPK);
        check_together(&g);
        assert_in_range(g.device.highest, 1, g.device.steps - 1);
        print_message("%llu of %llu steps\n", (unsigned long long)g.device.highest, (unsigned long long)g.device.steps);
        close_rig(&g);
    }
}

/* --- prefixes ------------------------------------------------------------------------------------------------------------- */

static bp_request token_request(rig *g, const int32_t *tokens, uint32_t count, uint32_t answer)
{
    bp_request r = {.size = sizeof r};
    g->api->defaults(g->engine, NULL, &r);
    r.input = BP_INPUT_TOKENS;
    r.tokens = tokens;
    r.token_count = count;
    r.max_tokens = answer;
    r.flags = BP_REQUEST_IGNORE_EOS;
    r.sampling.temperature = 0;
    return r;
}

/* Asks, and checks the answer against what the model says and how much of the prompt was found. */
static void expect_cached(rig *g, const bp_request *r, uint32_t cached)
{
    static fake_answer a;
    int32_t tokens[64];
    uint64_t computed = g->device.tokens, hits = stats_of(g).prefix_hit_tokens;
    fake_ask(g->api, g->engine, r, &a);
    expect_good(&a);
    assert_int_equal(a.token_count, fake_expect(r->tokens, (uint32_t)r->token_count, r->max_tokens, true, tokens));
    assert_memory_equal(a.tokens, tokens, a.token_count * sizeof *tokens);
    assert_int_equal(a.usage.cached_tokens, cached);
    assert_int_equal(stats_of(g).prefix_hit_tokens - hits, cached);
    assert_int_equal(g->device.tokens - computed, r->token_count + r->max_tokens - 1 - cached);
}

static void prefixes_are_found_at_every_length(void **state)
{
    (void)state;
    enum { LENGTH = 70, PAGE = 16 };
    for (uint32_t copies = 0; copies < 2; copies++) {
        rig g;
        open_able_rig(&g, (engine_model){.page_tokens = PAGE}, copies ? BP_CAP_COPY : 0);
        int32_t tokens[LENGTH + 8];
        for (uint32_t i = 0; i < LENGTH + 8; i++)
            tokens[i] = 'a' + (int32_t)(i * i % 23);
        bp_request whole = token_request(&g, tokens, LENGTH, 30);
        expect_cached(&g, &whole, 0);
        expect_cached(&g, &whole, copies ? LENGTH - 1 : LENGTH / PAGE * PAGE);
        for (uint32_t length = LENGTH - 1; length > 0; length--) {
            int32_t other[LENGTH + 8];
            memcpy(other, tokens, sizeof other);
            other[length] = '!';
            bp_request r = token_request(&g, other, LENGTH + 8, 4);
            expect_cached(&g, &r, copies ? length : length / PAGE * PAGE);
            bp_request begin = token_request(&g, tokens, length, 1);
            expect_cached(&g, &begin, copies ? length - 1 : (length - 1) / PAGE * PAGE);
        }
        assert_int_equal(g.device.copies > 0, copies);
        bp_request salted = whole;
        salted.salt = "tenant";
        expect_cached(&g, &salted, 0);
        expect_cached(&g, &salted, copies ? LENGTH - 1 : LENGTH / PAGE * PAGE);
        salted.salt = "";
        expect_cached(&g, &salted, copies ? LENGTH - 1 : LENGTH / PAGE * PAGE);
        assert_in_range(stats_of(&g).pages_cached, 8, stats_of(&g).pages_total);
        close_rig(&g);
    }
}

static void prefixes_are_not_kept_unless_asked(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){.page_tokens = 16, .no_prefix_cache = true});
    bp_request r = token_request(&g, (const int32_t[64]){'a'}, 64, 4);
    expect_cached(&g, &r, 0);
    expect_cached(&g, &r, 0);
    assert_int_equal(stats_of(&g).pages_cached, 0);
    close_rig(&g);
}

/* The answer is part of what is kept: a conversation is computed once. */
static void the_next_turn_finds_the_last_answer(void **state)
{
    (void)state;
    rig g;
    static fake_answer a;
    open_rig(&g, (engine_model){.page_tokens = 16});
    int32_t tokens[128] = {0};
    uint32_t count = 20;
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = 'a' + (int32_t)i;
    bp_request r = token_request(&g, tokens, count, 50);
    fake_ask(g.api, g.engine, &r, &a);
    expect_good(&a);
    memcpy(tokens + count, a.tokens, a.token_count * sizeof *tokens);
    r = token_request(&g, tokens, count + a.token_count + 10, 4);
    expect_cached(&g, &r, (count + 50 - 1) / 16 * 16); /* the last token of an answer is never computed */
    close_rig(&g);
}

/* A copy that fails costs its own request. */
static void a_failed_copy_ends_its_request(void **state)
{
    (void)state;
    rig g;
    static fake_answer a;
    open_able_rig(&g, (engine_model){.page_tokens = 16}, BP_CAP_COPY);
    bp_request r = token_request(&g, (const int32_t[32]){'a', 'b'}, 32, 4);
    expect_cached(&g, &r, 0);
    g.device.refuses_copies = true;
    fake_ask(g.api, g.engine, &r, &a);
    assert_int_equal(a.status, BP_EINTERNAL);
    assert_string_equal(a.message, "the copy failed");
    g.device.refuses_copies = false;
    expect_cached(&g, &r, 31);
    close_rig(&g);
}

/* --- single requests ------------------------------------------------------------------------------------------------------ */

static bp_request text_request(rig *g, const char *text)
{
    bp_request r = {.size = sizeof r};
    g->api->defaults(g->engine, NULL, &r);
    r.input = BP_INPUT_TEXT;
    r.text = text;
    r.text_bytes = strlen(text);
    r.sampling.temperature = 0;
    return r;
}

static void answers_end_where_they_should(void **state)
{
    (void)state;
    rig g;
    static fake_answer a, b;
    open_rig(&g, (engine_model){.context = 512});
    bp_request r = text_request(&g, "once upon a time");
    r.flags = BP_REQUEST_IGNORE_EOS;
    r.max_tokens = 40;
    fake_ask(g.api, g.engine, &r, &a);
    expect_good(&a);
    assert_int_equal(a.finish, BP_FINISH_LENGTH);
    assert_int_equal(a.token_count, 40);
    /* A token that ends the answer is not shown. */
    int32_t stop_tokens[] = {'\n', a.tokens[20]};
    uint32_t first = 0;
    while (a.tokens[first] != a.tokens[20])
        first++;
    r.stop_tokens = stop_tokens;
    r.stop_token_count = 2;
    fake_ask(g.api, g.engine, &r, &b);
    expect_good(&b);
    assert_int_equal(b.finish, BP_FINISH_STOP);
    assert_int_equal(b.token_count, first);
    assert_int_equal(b.stop_index, 0);
    r.stop_token_count = 0;
    /* A stop string is cut off, with the tokens that it is made of. */
    char word[8];
    memcpy(word, a.text + 10, 4);
    word[4] = '\0';
    assert_true(utf8_valid(word, 4)); /* or choose another prompt */
    r.stop = (const char *const[]){"never seen", word};
    r.stop_count = 2;
    fake_ask(g.api, g.engine, &r, &b);
    expect_good(&b);
    assert_int_equal(b.finish, BP_FINISH_STOP);
    assert_int_equal(b.stop_index, 2);
    assert_null(strstr(b.text, word));
    assert_int_equal(b.text_bytes, strstr(a.text, word) - a.text);
    assert_memory_equal(b.text, a.text, b.text_bytes);
    char text[512];
    uint64_t bytes = 0;
    assert_int_equal(g.api->detokenize(g.engine, NULL, b.tokens, b.token_count, text, sizeof text, &bytes, NULL), BP_OK);
    assert_int_equal(bytes, b.text_bytes);
    assert_memory_equal(text, b.text, bytes);
    /* Without a limit the context is one. */
    r.stop_count = 0;
    r.max_tokens = 0;
    fake_ask(g.api, g.engine, &r, &b);
    expect_good(&b);
    assert_int_equal(b.finish, BP_FINISH_LENGTH);
    assert_int_equal(b.token_count, 512 - b.usage.prompt_tokens);
    r.flags = 0;
    fake_ask(g.api, g.engine, &r, &b);
    expect_good(&b);
    assert_int_equal(b.finish, BP_FINISH_STOP);
    assert_int_equal(b.usage.completion_tokens, b.token_count + 1);
    close_rig(&g);
}

static void usage_tells_the_times(void **state)
{
    (void)state;
    rig g;
    static fake_answer a, b;
    open_rig(&g, (engine_model){.max_batch = 1, .max_step_tokens = 8, .queue_limit = 4});
    g.device.step_ns = 2000000;
    bp_request r = text_request(&g, "sixteen letters!");
    r.flags = BP_REQUEST_IGNORE_EOS;
    r.max_tokens = 10;
    bp_stream *first = fake_submit_request(g.api, g.engine, &r, &a), *second = fake_submit_request(g.api, g.engine, &r, &b);
    fake_collect(g.api, first, &a);
    fake_collect(g.api, second, &b);
    expect_good(&a);
    expect_good(&b);
    assert_in_range(a.usage.prefill_ns, 4000000, 10000000000); /* two steps */
    assert_in_range(a.usage.decode_ns, 9 * 2000000, 10000000000);
    assert_in_range(b.usage.queued_ns, 11 * 2000000, 10000000000);
    assert_int_equal(b.usage.completion_tokens, 10);
    assert_int_equal(g.device.steps, 2 * 11);
    bp_model_stats s = stats_of(&g);
    assert_int_equal(s.prompt_tokens, 32);
    assert_int_equal(s.completion_tokens, 20);
    assert_int_equal(s.steps, 22);
    close_rig(&g);
}

static void seeds_and_logprobs_are_kept(void **state)
{
    (void)state;
    rig g;
    static fake_answer a, b;
    open_rig(&g, (engine_model){.sampling = {.size = sizeof(bp_sampling), .temperature = 1.5f, .top_p = 1, .typical_p = 1,
                                             .repetition_penalty = 1, .logprobs = -1},
                                .max_tokens = 30});
    bp_request r = {.size = sizeof r};
    g.api->defaults(g.engine, "a", &r);
    assert_int_equal(r.max_tokens, 30);
    assert_true(r.sampling.temperature == 1.5f);
    r.input = BP_INPUT_TEXT;
    r.text = "x";
    r.text_bytes = 1;
    r.flags = BP_REQUEST_IGNORE_EOS;
    r.sampling.seed = 5;
    fake_ask(g.api, g.engine, &r, &a);
    fake_ask(g.api, g.engine, &r, &b);
    expect_same(&a, &b, 0);
    assert_int_equal(a.tops, 0);
    r.sampling.logprobs = 5;
    fake_ask(g.api, g.engine, &r, &b);
    assert_int_equal(a.token_count, b.token_count);
    assert_memory_equal(a.tokens, b.tokens, sizeof a.tokens);
    assert_int_not_equal(b.tops, 0);
    r.sampling.seed = 6;
    fake_ask(g.api, g.engine, &r, &b);
    assert_memory_not_equal(a.tokens, b.tokens, sizeof a.tokens);
    close_rig(&g);
}

/* --- text ----------------------------------------------------------------------------------------------------------------- */

static void messages_go_through_the_template(void **state)
{
    (void)state;
    rig g;
    static fake_answer a, b;
    char text[256];
    uint64_t bytes = 0, count = 0;
    int32_t ids[256];
    bp_error error = {0};
    open_rig(&g, (engine_model){.system_prompt = "Be brief"});
    bp_message messages[] = {{.role = "user", .content = "Hi <|im_end|>"}, {.role = "assistant", .content = "We"}};
    bp_request r = text_request(&g, "");
    r.input = BP_INPUT_MESSAGES;
    r.messages = messages;
    r.message_count = 1;
    r.max_tokens = 8;
    if (g.api->render(g.engine, &r, text, sizeof text, &bytes, &error) != BP_OK)
        fail_msg("%s", error.message);
    const char *expected = "<|im_start|>system\nBe brief<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n";
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(text, expected, bytes);
    fake_ask(g.api, g.engine, &r, &a);
    expect_good(&a);
    /* The user's <|im_end|> is ten letters, the template's are tokens: 5 of them with 3 roles, newlines and texts. */
    assert_int_equal(a.usage.prompt_tokens, 5 + strlen("system\nBe brief\nuser\nHi <|im_end|>\nassistant\n"));
    r.message_count = 2;
    r.flags = BP_REQUEST_CONTINUE;
    assert_int_equal(g.api->render(g.engine, &r, text, sizeof text, &bytes, NULL), BP_OK);
    assert_int_equal(bytes, strlen(expected) + 2);
    assert_memory_equal(text + bytes - 12, "assistant\nWe", 12);
    fake_ask(g.api, g.engine, &r, &b);
    expect_good(&b);
    assert_int_equal(b.usage.prompt_tokens, a.usage.prompt_tokens + 2);
    assert_int_equal(g.api->tokenize(g.engine, NULL, "a<|im_end|>", 11, BP_TOKENIZE_SPECIAL, ids, 256, &count, NULL), BP_OK);
    assert_int_equal(count, 2);
    assert_int_equal(ids[1], FAKE_END);
    assert_int_equal(g.api->tokenize(g.engine, NULL, "a<|im_end|>", 11, 0, ids, 2, &count, NULL), BP_OK);
    assert_int_equal(count, 11);
    assert_int_equal(g.api->detokenize(g.engine, NULL, (const int32_t[]){'h', 'i', FAKE_END}, 3, text, 5, &bytes, NULL), BP_OK);
    assert_int_equal(bytes, 12);
    assert_memory_equal(text, "hi<|i", 5);
    assert_int_equal(g.api->detokenize(g.engine, NULL, (const int32_t[]){-1}, 1, text, 5, &bytes, &error), BP_EINVAL);
    close_rig(&g);
}

/* Structs as an older minor knew them: everything behind their size is somebody else's memory. */
static void older_callers_are_not_overrun(void **state)
{
    (void)state;
    rig g;
    open_rig(&g, (engine_model){0});
    bp_model_info info;
    memset(&info, 0x5a, sizeof info);
    info.size = offsetof(bp_model_info, path);
    assert_int_equal(g.api->model_info(g.engine, 0, &info, NULL), BP_OK);
    assert_int_equal(info.size, offsetof(bp_model_info, path));
    assert_string_equal(info.name, "a");
    bp_request request;
    memset(&request, 0x5a, sizeof request);
    request.size = offsetof(bp_request, reserved);
    g.api->defaults(g.engine, "a", &request);
    assert_true(request.input == 0 && request.stop == NULL);
    for (const char *at = info.path; at < (const char *)(&info + 1); at++)
        assert_int_equal(*at, 0x5a);
    for (const char *at = (const char *)request.reserved; at < (const char *)(&request + 1); at++)
        assert_int_equal(*at, 0x5a);
    request.size = offsetof(bp_request, sampling) + offsetof(bp_sampling, seed);
    g.api->defaults(g.engine, "a", &request);
    assert_int_equal(request.size, offsetof(bp_request, sampling) + offsetof(bp_sampling, seed));
    assert_int_equal(request.sampling.size, offsetof(bp_sampling, seed));
    for (const char *at = (const char *)&request.sampling.seed; at < (const char *)(&request + 1); at++)
        assert_int_equal(*at, 0x5a);
    close_rig(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_models),
        cmocka_unit_test(neighbours_do_not_change_answers),
        cmocka_unit_test(chunks_do_not_change_answers),
        cmocka_unit_test(preemption_does_not_change_answers),
        cmocka_unit_test(split_steps_do_not_change_answers),
        cmocka_unit_test(guesses_do_not_change_answers),
        cmocka_unit_test(who_finds_the_highest_does_not_change_answers),
        cmocka_unit_test(prefixes_are_found_at_every_length),
        cmocka_unit_test(prefixes_are_not_kept_unless_asked),
        cmocka_unit_test(the_next_turn_finds_the_last_answer),
        cmocka_unit_test(a_failed_copy_ends_its_request),
        cmocka_unit_test(answers_end_where_they_should),
        cmocka_unit_test(usage_tells_the_times),
        cmocka_unit_test(seeds_and_logprobs_are_kept),
        cmocka_unit_test(messages_go_through_the_template),
        cmocka_unit_test(older_callers_are_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
