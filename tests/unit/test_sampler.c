/* sampler: token for token what a slow reference written from docs/sampling.md chooses, with every stage on and off. */
#include "sample/random.h"
#include "sample/sampler.h"
#include "sample/weight.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_VOCAB = 2048, MAX_HISTORY = 64 };

/* --- the reference: sorts everything, keeps no state ------------------------------------------------------------------ */

typedef struct ranked {
    uint32_t token;
    float distance, key;
    uint64_t weight;
    bool in;
} ranked;

static int by_key(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->in != y->in)
        return x->in ? -1 : 1;
    return x->key != y->key ? (x->key < y->key ? -1 : 1) : x->token < y->token ? -1 : 1;
}

static int by_token(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->token < y->token ? -1 : 1;
}

static uint64_t reference_weight(float distance)
{
    float x = distance < 30.0f ? -distance : -30.0f;
    float z = x * 0x1.715476p+0f + 12582912.0f;
    float n = z - 12582912.0f;
    float r = (x - n * 0x1.63p-1f) + n * 0x1.bd0106p-13f, p = 0x1.6a2430p-10f;
    const float c[] = {0x1.1239e4p-7f, 0x1.5558f2p-5f, 0x1.555492p-3f, 0x1.fffffcp-2f};
    for (int i = 0; i < 4; i++)
        p = p * r + c[i];
    p = (p * (r * r) + r) + 1.0f;
    return (uint64_t)nearbyint(ldexp((double)p, (int)n + 40));
}

static float cut(float x)
{
    return fminf(fmaxf(x, -FLT_MAX), FLT_MAX);
}

static float reference_logit(const bp_sampling *p, float z, int32_t token, const int32_t *history, uint32_t count)
{
    if (z == -INFINITY)
        return z;
    float bias = 0.0f;
    for (uint32_t i = 0; i < p->logit_bias_count; i++)
        if (p->logit_bias[i].token == token)
            bias += p->logit_bias[i].bias;
    z = cut(cut(z) + bias);
    uint32_t from = p->penalty_window && count > p->penalty_window ? count - p->penalty_window : 0, seen = 0;
    for (uint32_t i = from; i < count; i++)
        seen += history[i] == token;
    if (!seen)
        return z;
    z = cut(z > 0.0f ? z / p->repetition_penalty : z * p->repetition_penalty);
    z = cut(z - p->frequency_penalty * (float)seen);
    return cut(z - p->presence_penalty);
}

static uint64_t mass_of(const ranked *t, uint32_t vocab)
{
    uint64_t mass = 0;
    for (uint32_t i = 0; i < vocab; i++)
        mass += t[i].in ? t[i].weight : 0;
    return mass;
}

static uint64_t share_of(float share, uint64_t mass)
{
    double x = ceil((double)share * (double)mass);
    return x < 1.0 ? 1 : x > (double)mass ? mass : (uint64_t)x;
}

static void keep(ranked *t, uint32_t vocab, float centre, bool count, uint64_t target)
{
    for (uint32_t i = 0; i < vocab; i++)
        t[i].key = fabsf(t[i].distance - centre);
    qsort(t, vocab, sizeof *t, by_key);
    uint64_t amount = 0;
    for (uint32_t i = 0; i < vocab && t[i].in; i++) {
        if (amount >= target)
            t[i].in = false;
        else
            amount += count ? 1 : t[i].weight;
    }
}

static void reference_stages(const bp_sampling *p, ranked *t, uint32_t vocab)
{
    if (p->top_k && p->top_k < vocab)
        keep(t, vocab, 0.0f, true, p->top_k);
    if (p->typical_p < 1.0f) {
        uint64_t sum = 0, mass = mass_of(t, vocab);
        for (uint32_t i = 0; i < vocab; i++)
            if (t[i].in)
                sum += (uint64_t)nearbyint((double)t[i].weight * (double)t[i].distance);
        keep(t, vocab, (float)((double)sum / (double)mass), false, share_of(p->typical_p, mass));
    }
    if (p->top_p < 1.0f)
        keep(t, vocab, 0.0f, false, share_of(p->top_p, mass_of(t, vocab)));
    if (p->min_p > 0.0f) {
        float nearest = INFINITY, reach = (float)-weight_log((double)p->min_p);
        for (uint32_t i = 0; i < vocab; i++)
            if (t[i].in)
                nearest = fminf(nearest, t[i].distance);
        for (uint32_t i = 0; i < vocab; i++)
            t[i].in = t[i].in && t[i].distance - nearest <= reach;
    }
}

static int32_t reference_choose(const bp_sampling *p, const float *logits, uint32_t vocab, const int32_t *history,
                                uint32_t count, uint64_t position)
{
    static ranked t[MAX_VOCAB];
    static float z[MAX_VOCAB];
    uint32_t best = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        z[i] = reference_logit(p, logits[i], (int32_t)i, history, count);
        if (z[i] > z[best])
            best = i;
    }
    if (p->temperature == 0.0f)
        return (int32_t)best;
    float slope = 1.0f / fmaxf(p->temperature, FLT_MIN);
    for (uint32_t i = 0; i < vocab; i++) {
        float distance = (z[best] - z[i]) * slope;
        uint64_t weight = reference_weight(distance);
        t[i] = (ranked){.token = i, .distance = distance, .weight = weight, .in = weight > 0};
    }
    reference_stages(p, t, vocab);
    qsort(t, vocab, sizeof *t, by_token);
    uint64_t random = random_at(p->seed, position), mass = mass_of(t, vocab);
    uint64_t point = (uint64_t)((__extension__(unsigned __int128) random * mass) >> 64);
    for (uint32_t i = 0; i < vocab; i++) {
        uint64_t weight = t[i].in ? t[i].weight : 0;
        if (point < weight)
            return (int32_t)i;
        point -= weight;
    }
    return -1;
}

/* --- random rows and parameters, the same ones every time ------------------------------------------------------------- */

static uint64_t die;

static uint32_t roll(uint32_t sides)
{
    return (uint32_t)random_below(random_at(99, die++), sides);
}

static float uniform(float least, float most)
{
    return least + (most - least) * (float)((double)roll(1u << 24) / (double)(1 << 24));
}

static void fill_row(float *logits, uint32_t vocab)
{
    uint32_t kind = roll(6);
    for (uint32_t i = 0; i < vocab; i++) {
        float x = uniform(-1, 1) + uniform(-1, 1) + uniform(-1, 1);
        logits[i] = kind == 0 ? 3.0f * x : kind == 1 ? rintf(4.0f * x) / 2.0f : kind == 2 ? 0.01f * x : 12.0f * x;
        if (kind == 3 && roll(4))
            logits[i] = -INFINITY;
        if (kind == 4)
            logits[i] = roll(8) ? 1.5f : -0.0f;
        if (kind == 5 && roll(40) == 0)
            logits[i] = roll(2) ? INFINITY : roll(2) ? FLT_MAX : -FLT_MAX;
    }
    /* Never impossible as a whole, and at times one far above a plain that still has weight. */
    logits[roll(vocab)] = kind == 2 ? uniform(0, 12) : uniform(0, 9);
}

static float often(float neutral, float least, float most)
{
    return roll(3) ? neutral : uniform(least, most);
}

static bp_sampling random_parameters(uint32_t vocab, bp_logit_bias biases[4])
{
    static const float temperatures[] = {0, 0, 1, 1, 0.7f, 1.3f, 2, 0.01f, 1e-42f};
    bp_sampling p;
    sampling_defaults(&p);
    p.temperature = temperatures[roll(9)];
    p.top_k = roll(3) ? 0 : 1 + roll(roll(2) ? 8 : vocab + 2);
    p.top_p = roll(8) ? often(1, roll(2) ? 0 : 0.9f, 1) : 0;
    p.typical_p = often(1, 0, 1);
    p.min_p = roll(8) ? often(0, 0, 0.5f) : 1;
    p.repetition_penalty = often(1, 0.5f, 2);
    p.frequency_penalty = often(0, -2, 2);
    p.presence_penalty = often(0, -2, 2);
    p.penalty_window = roll(2) ? 0 : 1 + roll(20);
    p.seed = random_at(1, die++);
    p.logit_bias_count = roll(2) ? 0 : roll(5);
    p.logit_bias = biases;
    for (uint32_t i = 0; i < p.logit_bias_count; i++)
        biases[i] = (bp_logit_bias){.token = (int32_t)roll(vocab), .bias = roll(4) ? uniform(-5, 5) : roll(2) ? 100 : -100};
    return p;
}

static void agrees_with_the_reference(uint32_t rows, uint32_t vocab_limit)
{
    static float logits[MAX_VOCAB], before[MAX_VOCAB];
    int32_t history[MAX_HISTORY];
    for (uint32_t row = 0; row < rows; row++) {
        bp_logit_bias biases[4];
        uint32_t vocab = 1 + roll(vocab_limit), count = roll(2) ? 0 : roll(MAX_HISTORY - 4);
        bp_sampling p = random_parameters(vocab, biases);
        sampler *s = NULL;
        assert_int_equal(sampler_new(&p, vocab, &s, NULL), BP_OK);
        for (uint32_t i = 0; i < count; i++) {
            history[i] = (int32_t)roll(vocab < 8 ? vocab : 8 + roll(vocab - 7));
            assert_int_equal(sampler_accept(s, history[i], NULL), BP_OK);
        }
        for (uint32_t step = 0; step < 4; step++) {
            fill_row(logits, vocab);
            memcpy(before, logits, vocab * sizeof *logits);
            sampler_choice choice;
            bp_error error = {0};
            int32_t expected = reference_choose(&p, logits, vocab, history, count, count);
            for (wide_set set = WIDE_BASELINE; set <= wide_best(); set++) {
                sampler_use(s, set);
                if (sampler_choose(s, logits, NULL, count, &choice, &error) != BP_OK)
                    fail_msg("row %u: %s", row, error.message);
                if (choice.token != expected)
                    fail_msg("row %u of %u tokens, set %d: %d, but the reference chooses %d (temperature %g top_k %u top_p %g "
                             "typical %g min_p %g)", row, vocab, (int)set, choice.token, expected, (double)p.temperature,
                             p.top_k, (double)p.top_p, (double)p.typical_p, (double)p.min_p);
            }
            assert_memory_equal(before, logits, vocab * sizeof *logits);
            history[count++] = choice.token;
            assert_int_equal(sampler_accept(s, choice.token, NULL), BP_OK);
        }
        sampler_free(s);
    }
}

static void small_rows_agree(void **state)
{
    (void)state;
    die = 0;
    agrees_with_the_reference(8000, 40);
}

static void large_rows_agree(void **state)
{
    (void)state;
    die = 1u << 30;
    agrees_with_the_reference(600, MAX_VOCAB - 1);
}

/* --- what users rely on ----------------------------------------------------------------------------------------------- */

static sampler *make(const bp_sampling *p, uint32_t vocab)
{
    sampler *s = NULL;
    bp_error error = {0};
    if (sampler_new(p, vocab, &s, &error) != BP_OK)
        fail_msg("%s", error.message);
    return s;
}

static sampler_choice choose(sampler *s, const float *logits, uint64_t position)
{
    sampler_choice choice;
    bp_error error = {0};
    if (sampler_choose(s, logits, NULL, position, &choice, &error) != BP_OK)
        fail_msg("%s", error.message);
    return choice;
}

/* 20 tokens of different probability, one of them impossible: 18 degrees of freedom, of which 42.3 is the 0.1 % point. */
static void draws_follow_the_probabilities(void **state)
{
    (void)state;
    enum { VOCAB = 20, DRAWS = 20000 };
    float logits[VOCAB];
    double expected[VOCAB], sum = 0, chi = 0;
    uint32_t seen[VOCAB] = {0};
    bp_sampling p;
    sampling_defaults(&p);
    p.temperature = 0.8f;
    p.seed = 7;
    for (int i = 0; i < VOCAB; i++) {
        logits[i] = i == 5 ? -INFINITY : 0.15f * (float)((i * 7) % VOCAB);
        expected[i] = exp((double)logits[i] / 0.8);
        sum += expected[i];
    }
    sampler *s = make(&p, VOCAB);
    for (uint64_t position = 0; position < DRAWS; position++)
        seen[choose(s, logits, position).token]++;
    assert_int_equal(seen[5], 0);
    for (int i = 0; i < VOCAB; i++) {
        double mean = expected[i] / sum * DRAWS, off = (double)seen[i] - mean;
        chi += i == 5 ? 0 : off * off / mean;
    }
    if (chi > 42.3)
        fail_msg("chi-square %g", chi);
    sampler_free(s);
}

static void a_draw_depends_on_seed_and_position_alone(void **state)
{
    (void)state;
    enum { VOCAB = 1000, STEPS = 64 };
    static float logits[VOCAB], other[VOCAB];
    int32_t tokens[STEPS];
    bp_sampling p;
    sampling_defaults(&p);
    for (uint32_t i = 0; i < VOCAB; i++) {
        logits[i] = uniform(-3, 3);
        other[i] = uniform(-3, 3);
    }
    p.seed = 0xfedcba9876543210;
    p.top_p = 0.9f;
    sampler *a = make(&p, VOCAB), *b = make(&p, VOCAB);
    p.seed ^= (uint64_t)1 << 63;
    sampler *c = make(&p, VOCAB);
    for (int i = 0; i < STEPS; i++)
        tokens[i] = choose(a, logits, (uint64_t)i).token;
    uint32_t same = 0;
    for (int i = STEPS - 1; i >= 0; i--) {
        choose(b, other, (uint64_t)i);
        choose(b, other, 1000);
        assert_int_equal(choose(b, logits, (uint64_t)i).token, tokens[i]);
        same += choose(c, logits, (uint64_t)i).token == tokens[i];
    }
    assert_true(same < STEPS / 8);
    sampler_free(a);
    sampler_free(b);
    sampler_free(c);
}

static void logprobs_are_the_models(void **state)
{
    (void)state;
    enum { VOCAB = 700 };
    static float logits[VOCAB];
    bp_sampling p;
    sampling_defaults(&p);
    p.logprobs = 20;
    p.temperature = 0.3f;
    p.repetition_penalty = 1.5f;
    p.logit_bias = &(bp_logit_bias){.token = 3, .bias = 2};
    p.logit_bias_count = 1;
    sampler *s = make(&p, VOCAB);
    for (uint32_t row = 0; row < 300; row++) {
        fill_row(logits, VOCAB);
        long double sum = 0, top = (long double)-INFINITY;
        for (int i = 0; i < VOCAB; i++) {
            logits[i] = cut(logits[i]) == logits[i] || row % 2 ? logits[i] : 0;
            top = fmaxl(top, (long double)cut(logits[i] == -INFINITY ? -FLT_MAX : logits[i]));
        }
        for (int i = 0; i < VOCAB; i++)
            sum += expl((logits[i] == INFINITY ? (long double)FLT_MAX : (long double)logits[i]) - top);
        sampler_choice c = choose(s, logits, row);
        assert_int_equal(sampler_accept(s, c.token, NULL), BP_OK);
        long double exact = fminl((long double)logits[c.token], (long double)FLT_MAX) - top - logl(sum);
        assert_true(fabsl((long double)c.logprob - exact) <= 2e-7L * (1 + fabsl(exact)));
        assert_true(c.logprob <= 0.0f);
        for (uint32_t i = 0; i < c.top_count; i++) {
            uint32_t above = 0;
            float mine = fminf(logits[c.top_tokens[i]], FLT_MAX);
            for (int32_t j = 0; j < VOCAB; j++) {
                float its = fminf(logits[j], FLT_MAX);
                above += its > mine || (its == mine && j < c.top_tokens[i]);
            }
            assert_int_equal(above, i);
            if (c.top_tokens[i] == c.token)
                assert_memory_equal(&c.top_logprobs[i], &c.logprob, sizeof c.logprob);
        }
        uint32_t possible = 0;
        for (int i = 0; i < VOCAB; i++)
            possible += logits[i] > -INFINITY;
        assert_int_equal(c.top_count, possible < 20 ? possible : 20);
    }
    sampler_free(s);
}

static void refuse_logits(const float *logits, uint32_t vocab, float temperature, const char *sentence)
{
    bp_sampling p;
    sampling_defaults(&p);
    p.temperature = temperature;
    sampler *s = make(&p, vocab);
    sampler_choice choice;
    bp_error error = {0};
    assert_int_equal(sampler_choose(s, logits, NULL, 5, &choice, &error), BP_EINTERNAL);
    assert_int_equal(choice.token, 0);
    if (!strstr(error.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", error.message, sentence);
    sampler_free(s);
}

/* Where all that is known of a row is its highest logit. */
static void the_highest_alone_is_enough_for_a_greedy_one(void **state)
{
    (void)state;
    bp_sampling p;
    sampler_choice choice;
    bp_logit_bias bias = {.token = 3, .bias = 1.0f};
    sampling_defaults(&p);
    p.temperature = 0;
    sampler *s = make(&p, 600);
    assert_true(sampler_is_greedy(s));
    assert_int_equal(sampler_choose_highest(s, 599, 2.0f, &choice, NULL), BP_OK);
    assert_int_equal(choice.token, 599);
    const struct { int32_t token; float top; const char *sentence; } wrong[] = {
        {7, NAN, "NaN as the logit of token 7"}, {7, -INFINITY, "no token a logit above -infinity"}, {-1, 2.0f, "the token -1 of 600"},
        {600, 2.0f, "the token 600 of 600"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bp_error error = {0};
        assert_int_equal(sampler_choose_highest(s, wrong[i].token, wrong[i].top, &choice, &error), BP_EINTERNAL);
        assert_non_null(strstr(error.message, wrong[i].sentence));
    }
    sampler_free(s);
    const bp_sampling others[] = {{.temperature = 0.5f, .logprobs = -1, .repetition_penalty = 1}, {.logprobs = 0, .repetition_penalty = 1},
                                  {.logprobs = -1, .repetition_penalty = 1.1f}, {.logprobs = -1, .repetition_penalty = 1, .presence_penalty = 0.1f},
                                  {.logprobs = -1, .repetition_penalty = 1, .logit_bias = &bias, .logit_bias_count = 1}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        bp_sampling other = others[i];
        other.size = sizeof other;
        other.top_p = other.typical_p = 1;
        s = make(&other, 600);
        assert_false(sampler_is_greedy(s));
        sampler_free(s);
    }
}

static void bad_logits_are_the_requests_error(void **state)
{
    (void)state;
    static float logits[600];
    for (uint32_t place = 0; place < 600; place += 13)
        for (int sign = 0; sign < 2; sign++) {
            char sentence[64];
            for (uint32_t i = 0; i < 600; i++)
                logits[i] = i % 3 ? (float)i : INFINITY;
            logits[place] = sign ? -NAN : NAN;
            snprintf(sentence, sizeof sentence, "NaN as the logit of token %u", place);
            refuse_logits(logits, 600, (float)sign, sentence);
        }
    for (uint32_t i = 0; i < 600; i++)
        logits[i] = -INFINITY;
    refuse_logits(logits, 600, 0, "no token a logit above -infinity");
    refuse_logits(logits, 600, 1, "no token a logit above -infinity");
    refuse_logits(logits, 1, 1, "no token a logit above -infinity");
}

static void refuse(const bp_sampling *p, const char *sentence)
{
    sampler *s = NULL;
    bp_error error = {0};
    assert_int_equal(sampler_new(p, 50, &s, &error), BP_EINVAL);
    assert_null(s);
    if (!strstr(error.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", error.message, sentence);
    assert_int_equal(sampler_new(p, 50, &s, NULL), BP_EINVAL);
}

static void ranges_are_checked(void **state)
{
    (void)state;
    const struct { size_t field; const char *name; float low, high, too_low, too_high; } fields[] = {
        {offsetof(bp_sampling, temperature), "temperature is", 0, 2, -0.1f, 2.1f},
        {offsetof(bp_sampling, top_p), "top_p is", 0, 1, -1, 1.01f},
        {offsetof(bp_sampling, min_p), "min_p is", 0, 1, -1, 1.01f},
        {offsetof(bp_sampling, typical_p), "typical_p is", 0, 1, -1, 1.01f},
        {offsetof(bp_sampling, repetition_penalty), "repetition_penalty is", 0.01f, 100, 0, 101},
        {offsetof(bp_sampling, frequency_penalty), "frequency_penalty is", -2, 2, -2.1f, 2.1f},
        {offsetof(bp_sampling, presence_penalty), "presence_penalty is", -2, 2, -2.1f, 2.1f},
    };
    bp_sampling p;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const float bad[] = {fields[i].too_low, fields[i].too_high, NAN, INFINITY, -INFINITY};
        const float good[] = {fields[i].low, fields[i].high};
        for (size_t j = 0; j < 5; j++) {
            sampling_defaults(&p);
            memcpy((char *)&p + fields[i].field, &bad[j], sizeof *bad);
            refuse(&p, fields[i].name);
        }
        for (size_t j = 0; j < 2; j++) {
            sampling_defaults(&p);
            memcpy((char *)&p + fields[i].field, &good[j], sizeof *good);
            sampler_free(make(&p, 50));
        }
    }
    sampling_defaults(&p);
    p.logprobs = BP_MAX_LOGPROBS + 1;
    refuse(&p, "logprobs is 65");
    p.logprobs = -2;
    refuse(&p, "logprobs is -2");
    const bp_logit_bias biases[] = {{50, 1}, {-1, 1}, {49, 101}, {0, -101}, {7, NAN}};
    const char *const sentences[] = {"token 50, which is not", "token -1, which is not", "of token 49 is 101",
                                     "of token 0 is -101", "of token 7 is nan"};
    for (int i = 0; i < 5; i++) {
        sampling_defaults(&p);
        p.logit_bias = &biases[i];
        p.logit_bias_count = 1;
        refuse(&p, sentences[i]);
    }
    p.logit_bias = NULL;
    refuse(&p, "logit_bias is missing");
    sampler *s = NULL;
    sampling_defaults(&p);
    assert_int_equal(sampler_new(&p, 0, &s, NULL), BP_EINVAL);
    assert_int_equal(sampler_new(&p, WEIGHT_TOKENS + 1, &s, NULL), BP_EINVAL);
    s = make(&p, 50);
    assert_int_equal(sampler_accept(s, 50, NULL), BP_EINVAL);
    assert_int_equal(sampler_accept(s, -1, NULL), BP_EINVAL);
    sampler_free(s);
    sampler_free(NULL);
}

static void penalties_forget_what_leaves_the_window(void **state)
{
    (void)state;
    const float logits[] = {5, 4.5f, 1, 0};
    bp_sampling p;
    sampling_defaults(&p);
    p.temperature = 0;
    p.presence_penalty = 1;
    p.penalty_window = 2;
    sampler *s = make(&p, 4);
    assert_int_equal(choose(s, logits, 0).token, 0);
    sampler_accept(s, 0, NULL);
    assert_int_equal(choose(s, logits, 1).token, 1);
    sampler_accept(s, 2, NULL);
    assert_int_equal(choose(s, logits, 2).token, 1);
    sampler_accept(s, 2, NULL);
    assert_int_equal(choose(s, logits, 3).token, 0);
    sampler_free(s);
    p.penalty_window = UINT32_MAX; /* memory grows with the tokens, not with the window */
    s = make(&p, 4);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(sampler_accept(s, 0, NULL), BP_OK);
    assert_int_equal(choose(s, logits, 0).token, 1);
    sampler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_rows_agree),
        cmocka_unit_test(large_rows_agree),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(a_draw_depends_on_seed_and_position_alone),
        cmocka_unit_test(logprobs_are_the_models),
        cmocka_unit_test(bad_logits_are_the_requests_error),
        cmocka_unit_test(the_highest_alone_is_enough_for_a_greedy_one),
        cmocka_unit_test(ranges_are_checked),
        cmocka_unit_test(penalties_forget_what_leaves_the_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
