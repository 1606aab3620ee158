/* Real models' logits against float32 transformers (tests/golden/MODEL-logits.json, which says how they are compared).
 *
 *   test_logits MODEL VARIABLE    VARIABLE of the environment names the model's file
 *
 * The weights are of few bits and activations are quantised to 8, so the logits differ from the reference by noise. How much is
 * fair was measured on llama.cpp, whose activations are quantised likewise: the mean divergence must not be above its own.
 *
 * The most probable token must be the reference's wherever the reference prefers it by more than the noise. The noise is
 * measured here: sigma is the root mean square of the errors of the gap between the two most probable tokens. A gap of
 * NOISE_SIGMAS of them is held to. */
#include "harness.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double NOISE_SIGMAS = 4;
enum { MAX_POSITIONS = 1000, MAX_EACH = 16 /* positions of one prompt */ };
static const char *model, *variable;

typedef struct tally {
    double divergence, peer, worst, squares;
    size_t positions, same;
    double gap[MAX_POSITIONS]; /* nats by which the reference prefers its most probable token */
    bool differs[MAX_POSITIONS];
} tally;

static json_t *load_golden(void)
{
    json_error_t why;
    char path[512];
    snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/%s-logits.json", model);
    json_t *golden = json_load_file(path, 0, &why);
    if (!golden)
        fail_msg("%s: line %d: %s", path, why.line, why.text);
    return golden;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* Log of the sum of exp over the row, in double. */
static double log_sum(const float *row, uint32_t width)
{
    double top = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < width; i++)
        top = row[i] > top ? row[i] : top;
    for (uint32_t i = 0; i < width; i++)
        sum += exp(row[i] - top);
    return top + log(sum);
}

static uint32_t most_probable(const float *row, uint32_t width)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < width; i++)
        if (row[i] > row[best])
            best = i;
    return best;
}

/* KL(reference || row) over the reference's buckets. */
static double divergence(const json_t *top, double rest, const float *row, uint32_t width)
{
    double total = log_sum(row, width), kl = 0, covered = 0;
    for (size_t i = 0; i < json_array_size(top); i++) {
        const json_t *pair = json_array_get(top, i);
        double expected = json_number_value(json_array_get(pair, 1));
        double actual = row[json_integer_value(json_array_get(pair, 0))] - total;
        kl += exp(expected) * (expected - actual);
        covered += exp(actual);
    }
    return kl + exp(rest) * (rest - log(1 - covered));
}

static void compare_position(const char *prompt, const json_t *entry, const float *row, uint32_t width, tally *t)
{
    uint32_t position = (uint32_t)number(entry, "position");
    const json_t *top = json_object_get(entry, "top"), *first = json_array_get(top, 0), *second = json_array_get(top, 1);
    double kl = divergence(top, number(entry, "rest"), row, width);
    double gap = json_number_value(json_array_get(first, 1)) - json_number_value(json_array_get(second, 1));
    json_int_t best = json_integer_value(json_array_get(first, 0)), next = json_integer_value(json_array_get(second, 0));
    uint32_t actual = most_probable(row, width);
    double error = (double)row[best] - row[next] - gap;
    assert_true(t->positions < MAX_POSITIONS);
    t->gap[t->positions] = gap;
    t->differs[t->positions++] = actual != best;
    t->divergence += kl;
    t->peer += number(entry, "llama_cpp_kl");
    t->worst = kl > t->worst ? kl : t->worst;
    t->squares += error * error;
    t->same += actual == best;
    if (actual != best)
        print_message("%s, position %u: token %u, where the reference prefers %lld by %.3f nats\n", prompt, position, actual,
                      (long long)best, gap);
}

static void judge(const tally *t)
{
    double count = (double)t->positions, mean = t->divergence / count, peer = t->peer / count;
    double noise = NOISE_SIGMAS * sqrt(t->squares / count);
    size_t held = 0, wrong = 0;
    for (size_t i = 0; i < t->positions; i++) {
        held += t->gap[i] > noise;
        wrong += t->gap[i] > noise && t->differs[i];
    }
    print_message("%zu positions: mean divergence %.5f nats (llama.cpp %.5f), worst %.4f; the same most probable token on %zu; "
                  "noise of %.3f nats, beyond it %zu of %zu are the same\n",
                  t->positions, mean, peer, t->worst, t->same, noise, held - wrong, held);
    assert_true(held >= t->positions / 2);
    assert_int_equal(wrong, 0);
    assert_true(mean <= peer);
}

static void compare_prompt(harness *h, const json_t *prompt, float *logits, tally *t)
{
    const json_t *ids = json_object_get(prompt, "ids"), *entries = json_object_get(prompt, "positions");
    int32_t tokens[HARNESS_STEP], positions[MAX_EACH];
    uint32_t count = (uint32_t)json_array_size(ids), wanted = (uint32_t)json_array_size(entries);
    uint32_t width = harness_vocabulary(h);
    assert_true(count <= HARNESS_STEP && wanted <= MAX_EACH);
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    for (uint32_t i = 0; i < wanted; i++)
        positions[i] = (int32_t)number(json_array_get(entries, i), "position");
    harness_positions(h, tokens, count, positions, wanted, logits);
    for (uint32_t i = 0; i < wanted; i++)
        compare_position(json_string_value(json_object_get(prompt, "name")), json_array_get(entries, i),
                         logits + (size_t)i * width, width, t);
}

static void test_against_transformers(void **state)
{
    (void)state;
    harness *h = harness_open(harness_fetched(variable), CPU_PLUGIN, NULL);
    float *logits = malloc((size_t)MAX_EACH * harness_vocabulary(h) * sizeof *logits);
    assert_non_null(logits);
    json_t *golden = load_golden();
    const json_t *prompts = json_object_get(golden, "prompts");
    assert_true(json_array_size(prompts) >= 10);
    static tally t;
    for (size_t i = 0; i < json_array_size(prompts); i++)
        compare_prompt(h, json_array_get(prompts, i), logits, &t);
    judge(&t);
    json_decref(golden);
    free(logits);
    harness_close(h);
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_transformers)};
    if (count != 3)
        return 2;
    model = arguments[1];
    variable = arguments[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
