/* sampler's arithmetic: the generator against its published vectors, weights and logarithms against long double. */
#include "sample/candidates.h"
#include "sample/random.h"
#include "sample/weight.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* The vectors that accompany Random123. */
static void philox_gives_the_published_words(void **state)
{
    (void)state;
    const struct { uint32_t counter[4], key[2], words[4]; } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t counter[4];
        memcpy(counter, vectors[i].counter, sizeof counter);
        random_philox(counter, vectors[i].key);
        assert_memory_equal(counter, vectors[i].words, sizeof counter);
    }
    assert_true(random_at(0, 0) == 0xe169c58d6627e8d5);
    assert_true(random_at(1, 0) != random_at(0, 1));
    assert_true(random_at((uint64_t)1 << 32, 0) != random_at(0, 0));
    assert_true(random_at(0, (uint64_t)1 << 32) != random_at(0, 0));
}

static void random_below_is_the_high_product(void **state)
{
    (void)state;
    assert_true(random_below(0, 1000) == 0);
    assert_true(random_below(UINT64_MAX, 1) == 0);
    assert_true(random_below(UINT64_MAX, UINT64_MAX) == UINT64_MAX - 1);
    for (uint64_t i = 0; i < 100000; i++) {
        uint64_t a = random_at(1, i), b = random_at(2, i) >> (i % 64);
        uint64_t high = (uint64_t)((__extension__(unsigned __int128) a * b) >> 64);
        assert_true(random_below(a, b) == high);
    }
}

static void weights_are_close_to_the_exponential(void **state)
{
    (void)state;
    assert_true(weight_of(0.0f) == WEIGHT_ONE);
    assert_true(weight_of(WEIGHT_REACH) == 0);
    assert_true(weight_of(INFINITY) == 0);
    assert_true(weight_of(28.5f) == 0 && weight_of(28.4f) == 1);
    for (uint64_t i = 0; i < 400000; i++) {
        float distance = (float)random_below(random_at(3, i), 1u << 24) * (i % 2 ? 0x1p-19f : 0x1p-26f);
        long double exact = expl(-(long double)distance) * 0x1p40L, off = fabsl((long double)weight_of(distance) - exact);
        if (off > 0.5L + exact * 0x1p-22L)
            fail_msg("weight_of(%a) is off by %Lg of %Lg", (double)distance, off, exact);
        assert_true(weight_of(distance) <= WEIGHT_ONE);
    }
}

static void logarithms_are_close(void **state)
{
    (void)state;
    assert_true(weight_log(1.0) == 0.0);
    for (uint64_t i = 0; i < 400000; i++) {
        double x = ldexp(1.0 + (double)(random_at(4, i) >> 12) * 0x1p-52, (int)(i % 200) - 150);
        long double exact = logl((long double)x);
        if (fabsl((long double)weight_log(x) - exact) > 0x1p-51L * fabsl(exact))
            fail_msg("weight_log(%a) is %a", x, weight_log(x));
    }
}

static void shares_are_at_least_one_and_at_most_all(void **state)
{
    (void)state;
    assert_true(weight_share(0.0f, 100) == 1);
    assert_true(weight_share(1.0f, 100) == 100);
    assert_true(weight_share(0.5f, 100) == 50);
    assert_true(weight_share(0.5f, 101) == 51);
    assert_true(weight_share(0.5f, 1) == 1);
    uint64_t most = WEIGHT_ONE * WEIGHT_TOKENS;
    assert_true(weight_share(1.0f, most) == most);
    assert_true(weight_share(0.5f, most) == most / 2);
}

/* The ends of the random numbers are where an impossible token, or none, could be drawn. */
static void extreme_draws_are_possible_tokens(void **state)
{
    (void)state;
    enum { VOCAB = 20000 };
    static float logits[VOCAB], tops[VOCAB / ROW_BLOCK + 1];
    const row_tools tools = {scan_of(WIDE_BASELINE), tops};
    static const uint32_t places[][2] = {{0, 0}, {1, VOCAB - 2}, {300, 301}, {0, VOCAB - 1}, {VOCAB - 1, VOCAB - 1}};
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
        uint32_t first = places[k][0], last = places[k][1];
        for (uint32_t i = 0; i < VOCAB; i++)
            logits[i] = i < first || i > last ? -INFINITY : (float)(i % 7);
        row r;
        row_mass mass;
        candidates c = {0};
        assert_int_equal(row_open(&r, logits, VOCAB, NULL, NULL, &tools, NULL), BP_OK);
        row_weigh(&r, 1.0f, &mass);
        assert_true(candidates_gather(&c, &r, 1.0f, WEIGHT_REACH));
        assert_true(c.mass == mass.total && c.count == last - first + 1);
        assert_int_equal(row_draw(&r, 1.0f, &mass, 0), first);
        assert_int_equal(row_draw(&r, 1.0f, &mass, UINT64_MAX), last);
        assert_int_equal(candidates_draw(&c, 0), first);
        assert_int_equal(candidates_draw(&c, UINT64_MAX), last);
        for (uint64_t i = 0; i < 200; i++)
            assert_int_equal(candidates_draw(&c, random_at(5, i)), row_draw(&r, 1.0f, &mass, random_at(5, i)));
        candidates_clear(&c);
    }
    /* Two alike: the upper half of the random numbers is the second's. */
    const float alike[] = {1, 1};
    row r;
    row_mass mass;
    candidates c = {0};
    assert_int_equal(row_open(&r, alike, 2, NULL, NULL, &tools, NULL), BP_OK);
    row_weigh(&r, 1.0f, &mass);
    assert_true(candidates_gather(&c, &r, 1.0f, WEIGHT_REACH));
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t random = ((uint64_t)1 << 63) - 1 + i;
        assert_int_equal(row_draw(&r, 1.0f, &mass, random), i);
        assert_int_equal(candidates_draw(&c, random), i);
    }
    candidates_clear(&c);
}

/* A logit of any kind: ordinary ones mostly. */
static float any_logit(uint64_t i, bool with_nan)
{
    static const float odd[] = {INFINITY, -INFINITY, -0.0f, 0.0f, 0x1.fffffep+127f, -0x1.fffffep+127f, 0x1p-140f, 30.0f};
    uint64_t random = random_at(6, i);
    if (with_nan && random % 1000 == 0)
        return NAN;
    return random % 64 < 8 ? odd[random % 8] : (float)(int64_t)(random >> 32) * 0x1p-27f - 16.0f;
}

/* Each loop of each instruction set against the baseline's, for every number of tokens of a block. */
static void instruction_sets_agree(void **state)
{
    (void)state;
    const scan *plain = scan_of(WIDE_BASELINE);
    assert_true(wide_best() < WIDE_SETS);
    for (wide_set set = WIDE_BASELINE; set <= wide_best(); set++)
        for (uint32_t n = 1, seed = 0; n <= ROW_BLOCK; n++, seed += ROW_BLOCK) {
            const scan *other = scan_of(set);
            float logits[ROW_BLOCK], near[ROW_BLOCK], other_near[ROW_BLOCK], top = -INFINITY, slope = n % 3 ? 1.25f : 1e30f;
            uint64_t sums[SCAN_REACHES] = {1, 2, 3, 4}, other_sums[SCAN_REACHES] = {1, 2, 3, 4}, w[ROW_BLOCK], v[ROW_BLOCK];
            bool nan, other_nan, holds_nan = false;
            for (uint32_t i = 0; i < n; i++) {
                logits[i] = any_logit(seed + i, n % 2);
                holds_nan |= isnan(logits[i]);
            }
            float high = plain->highest(logits, n, &nan), other_high = other->highest(logits, n, &other_nan);
            assert_true(nan == holds_nan && other_nan == holds_nan);
            assert_memory_equal(&high, &other_high, sizeof high);
            if (nan)
                continue;
            for (uint32_t i = 0; i < n; i++)
                top = logits[i] > top ? logits[i] : top;
            assert_true(top == high);
            if (!isfinite(top))
                continue;
            assert_true(plain->weigh(logits, n, top, slope) == other->weigh(logits, n, top, slope));
            assert_true(plain->weigh_near(logits, n, top, slope, sums) == other->weigh_near(logits, n, top, slope, other_sums));
            assert_memory_equal(sums, other_sums, sizeof sums);
            plain->distances(logits, n, top, slope, near);
            other->distances(logits, n, top, slope, other_near);
            assert_memory_equal(near, other_near, n * sizeof *near);
            for (uint32_t i = n; i < ROW_BLOCK; i++)
                near[i] = INFINITY;
            for (int k = 0; k < 40; k++) {
                assert_int_equal(plain->groups_within(near, (float)k), other->groups_within(near, (float)k));
                assert_int_equal(plain->any_above(logits, n, (float)(k - 20)), other->any_above(logits, n, (float)(k - 20)));
            }
            plain->weights(near, w);
            other->weights(near, v);
            assert_memory_equal(w, v, sizeof w);
            assert_true(w[0] == weight_of(near[0]));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_words),
        cmocka_unit_test(random_below_is_the_high_product),
        cmocka_unit_test(weights_are_close_to_the_exponential),
        cmocka_unit_test(logarithms_are_close),
        cmocka_unit_test(shares_are_at_least_one_and_at_most_all),
        cmocka_unit_test(extreme_draws_are_possible_tokens),
        cmocka_unit_test(instruction_sets_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
