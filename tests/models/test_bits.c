/* SmolLM2's logits, bit for bit: the same prompt gives the same ones whatever the instruction set, the number of threads, the
 * chunks of its prefill, the pages it lies in and the neighbours it shares steps with.
 *
 * The oracle is the scalar reference on one thread, one token a step, alone. Its hash is committed, so that any other machine
 * or backend can be held against it.
 *
 *   test_bits PLUGIN              everything must be equal
 *   test_bits PLUGIN different    a control: PLUGIN's scalar kernels sum in another order, which must be found out */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PROMPT = 80, NEIGHBOURS = HARNESS_SEQUENCES - 1 };

/* FNV-1a over the bits of the oracle's logits, as docs/numerics.md makes them. */
static const uint64_t GOLDEN_HASH = 0x4f39513afd4f97c0u;

static const char *candidate;
static bool expect_difference;
static float *oracle; /* [PROMPT][vocabulary] */
static uint32_t width;

/* Token ids of no meaning: every id below the vocabulary is a prompt. */
static void make_prompt(uint32_t number, int32_t *tokens, uint32_t count)
{
    uint64_t state = 0x9e3779b97f4a7c15u * (number + 1);
    for (uint32_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)((state >> 33) % 49152);
    }
}

static uint64_t hash_bits(const float *values, size_t count)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        for (int b = 0; b < 32; b += 8)
            hash = (hash ^ (bits >> b & 255)) * 0x100000001b3u;
    }
    return hash;
}

static float *new_logits(void)
{
    float *logits = calloc((size_t)HARNESS_STEP * width, sizeof *logits);
    assert_non_null(logits);
    return logits;
}

static int make_oracle(void **state)
{
    (void)state;
    static const char *const settings[] = {"isa", "generic", "threads", "1", NULL};
    int32_t tokens[PROMPT];
    harness *h = harness_open(harness_smollm2(), CPU_PLUGIN, settings);
    width = harness_vocabulary(h);
    oracle = calloc((size_t)PROMPT * width, sizeof *oracle);
    assert_non_null(oracle);
    make_prompt(0, tokens, PROMPT);
    harness_prefill(h, 0, tokens, PROMPT, 1, oracle);
    harness_close(h);
    return 0;
}

static int free_oracle(void **state)
{
    (void)state;
    free(oracle);
    return 0;
}

/* All rows of the prompt. */
static void compare(const char *what, const float *logits)
{
    size_t values = (size_t)PROMPT * width, differing = 0;
    for (size_t i = 0; i < values; i++)
        differing += memcmp(&logits[i], &oracle[i], sizeof *logits) != 0;
    if (expect_difference && differing == 0)
        fail_msg("%s: the swapped order went unnoticed", what);
    if (!expect_difference && differing != 0)
        fail_msg("%s: %zu of %zu logits differ from the oracle's", what, differing, values);
}

/* All neighbours run ahead or behind, in steps that mix prefill and decode; ours goes `chunk` tokens a step. */
static void run_with_neighbours(harness *h, const int32_t *tokens, uint32_t chunk, float *out)
{
    int32_t others[NEIGHBOURS][PROMPT];
    uint32_t done[HARNESS_SEQUENCES] = {0};
    for (uint32_t n = 0; n < NEIGHBOURS; n++)
        make_prompt(n + 1, others[n], PROMPT);
    float *logits = new_logits();
    while (done[NEIGHBOURS] < PROMPT) {
        piece pieces[HARNESS_SEQUENCES];
        uint32_t count = 0, before = 0;
        for (uint32_t n = 0; n < HARNESS_SEQUENCES; n++) {
            bool ours = n == NEIGHBOURS;
            uint32_t wanted = ours ? chunk : 1 + n * n % 11, left = PROMPT - done[n];
            uint32_t take = wanted < left ? wanted : left;
            if (take == 0)
                continue;
            pieces[count++] = (piece){n, done[n], take, (ours ? tokens : others[n]) + done[n]};
            before += ours ? 0 : take;
            done[n] += take;
        }
        harness_step(h, pieces, count, logits);
        const piece *last = &pieces[count - 1];
        memcpy(out + (size_t)last->start * width, logits + (size_t)before * width, (size_t)last->count * width * sizeof *out);
    }
    free(logits);
}

static void check_isa(const char *isa, const char *threads, const uint32_t *chunks, bool neighbours)
{
    const char *const settings[] = {"isa", isa, "threads", threads, NULL};
    int32_t tokens[PROMPT];
    char what[100];
    make_prompt(0, tokens, PROMPT);
    harness *h = harness_open(harness_smollm2(), candidate, settings);
    float *logits = new_logits();
    for (size_t i = 0; chunks[i]; i++) {
        harness_reset(h, i % 2 != 0);
        memset(logits, 0xff, (size_t)PROMPT * width * sizeof *logits);
        harness_prefill(h, 0, tokens, PROMPT, chunks[i], logits);
        snprintf(what, sizeof what, "%s, %s threads, chunks of %u, alone", isa, threads, chunks[i]);
        compare(what, logits);
        if (!neighbours)
            continue;
        memset(logits, 0xff, (size_t)PROMPT * width * sizeof *logits);
        run_with_neighbours(h, tokens, chunks[i], logits);
        snprintf(what, sizeof what, "%s, %s threads, chunks of %u, with %d neighbours", isa, threads, chunks[i], NEIGHBOURS);
        compare(what, logits);
    }
    free(logits);
    harness_close(h);
}

static const uint32_t all_chunks[] = {PROMPT, 64, 7, 1, 0}, whole[] = {PROMPT, 0}, sevens[] = {7, 0};

static void test_generic(void **state)
{
    (void)state;
    check_isa("generic", "2", whole, false);
}

static void test_avx2(void **state)
{
    (void)state;
    check_isa("avx2", "1", sevens, true);
    check_isa("avx2", "2", all_chunks, true);
}

static void test_avx512(void **state)
{
    (void)state;
    check_isa("avx512", "1", sevens, true);
    check_isa("avx512", "2", all_chunks, true);
}

static void test_three_threads(void **state)
{
    (void)state;
    check_isa("auto", "3", sevens, true);
}

static void test_golden_hash(void **state)
{
    (void)state;
    uint64_t hash = hash_bits(oracle, (size_t)PROMPT * width);
    if (hash != GOLDEN_HASH)
        fail_msg("the oracle's logits hash to 0x%016llx and not to 0x%016llx: if the arithmetic was changed on purpose, "
                 "docs/numerics.md and this number change with it",
                 (unsigned long long)hash, (unsigned long long)GOLDEN_HASH);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: test_bits PLUGIN [different]\n");
        return 2;
    }
    candidate = argv[1];
    expect_difference = argc > 2 && strcmp(argv[2], "different") == 0;
    struct CMUnitTest tests[5] = {cmocka_unit_test(test_golden_hash), cmocka_unit_test(test_generic),
                                  cmocka_unit_test(test_three_threads)};
    size_t count = expect_difference ? 2 : 3;
    if (__builtin_cpu_supports("avx2") && !expect_difference)
        tests[count++] = (struct CMUnitTest)cmocka_unit_test(test_avx2);
    if (__builtin_cpu_supports("avx512vnni") && !expect_difference)
        tests[count++] = (struct CMUnitTest)cmocka_unit_test(test_avx512);
    return _cmocka_run_group_tests("bits", tests, count, make_oracle, free_oracle);
}
