/* bench_sampler [set]: microseconds a token of core/sample on one thread, the least of 30 calls, for the rows and parameters of
 * docs/sampling.md. `set` is a wide_set of base/wide.h (0 is the baseline); without it the processor's best. */
#include "base/log.h"
#include "sample/random.h"
#include "sample/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_VOCAB = 151936, CALLS = 30 };

typedef enum shape { PEAKED, NORMAL, FLAT } shape;

typedef struct column {
    const char *name;
    shape shape;
    uint32_t vocab;
} column;

static const column columns[] = {
    {"49152 peaked", PEAKED, 49152}, {"peaked", PEAKED, MAX_VOCAB}, {"normal", NORMAL, MAX_VOCAB}, {"flat", FLAT, MAX_VOCAB}};

/* Box and Muller. */
static float normal(uint64_t i)
{
    double u = ((double)(random_at(1, 2 * i) >> 11) + 1) * 0x1p-53, v = (double)(random_at(1, 2 * i + 1) >> 11) * 0x1p-53;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static void fill(float *logits, column c)
{
    for (uint32_t i = 0; i < c.vocab; i++)
        logits[i] = normal(i) * (c.shape == FLAT ? 0.01f : 2.5f);
    for (uint32_t i = 0; c.shape == PEAKED && i < 20; i++)
        logits[random_at(2, i) % c.vocab] = 22.0f - 0.5f * (float)i;
}

static double measure(const bp_sampling *p, const float *logits, uint32_t vocab, wide_set set)
{
    sampler *s;
    bp_error error = {0};
    uint64_t least = UINT64_MAX;
    if (sampler_new(p, vocab, &s, &error) != BP_OK) {
        fprintf(stderr, "bench_sampler: %s\n", error.message);
        exit(1);
    }
    sampler_use(s, set);
    for (uint64_t i = 0; i < CALLS; i++) {
        sampler_choice choice;
        uint64_t begin = clock_now();
        if (sampler_choose(s, logits, NULL, i, &choice, &error) != BP_OK)
            exit(1);
        uint64_t time = clock_now() - begin;
        least = time < least ? time : least;
    }
    sampler_free(s);
    return (double)least / 1e3;
}

int main(int argc, char **argv)
{
    enum { COLUMNS = sizeof columns / sizeof *columns, ROWS = 7 };
    static float logits[COLUMNS][MAX_VOCAB];
    long set = argc > 1 ? strtol(argv[1], NULL, 10) : (long)wide_best();
    if (set < 0 || set > (long)wide_best()) {
        fprintf(stderr, "bench_sampler: this processor has the sets 0 to %d\n", (int)wide_best());
        return 1;
    }
    bp_sampling p[ROWS];
    static const char *const names[ROWS] = {"greedy", "greedy, 20 logprobs", "temperature 1", "top_p 0.95",
                                            "top_k 40, top_p 0.9", "min_p 0.05", "typical_p 0.9"};
    for (int i = 0; i < ROWS; i++)
        sampling_defaults(&p[i]);
    p[0].temperature = p[1].temperature = 0;
    p[1].logprobs = 20;
    p[3].top_p = 0.95f;
    p[4].top_k = 40;
    p[4].top_p = 0.9f;
    p[5].min_p = 0.05f;
    p[6].typical_p = 0.9f;
    printf("%-20s", "");
    for (int c = 0; c < COLUMNS; c++) {
        fill(logits[c], columns[c]);
        printf(" %12s", columns[c].name);
    }
    for (int i = 0; i < ROWS; i++) {
        printf("\n%-20s", names[i]);
        for (int c = 0; c < COLUMNS; c++)
            printf(" %12.1f", measure(&p[i], logits[c], columns[c].vocab, (wide_set)set));
    }
    putchar('\n');
    return 0;
}
