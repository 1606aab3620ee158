/* rope: the table against libm in double, and what it is made of. */
#include "model/rope.h"

#include "base/wide.h"
#include "model/rope_rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* How far `got` is from `exact`, in units of the last place of the float32 nearest to it. */
static double ulps(float got, double exact)
{
    float near = fabsf((float)exact);
    double unit = (double)nextafterf(near, INFINITY) - (double)near;
    return fabs((double)got - exact) / unit;
}

static void functions_agree_with_libm(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = 0; i < 400000; i++) {
        double angle = i < 200000 ? i * 7.3123 : i * 1.7e-5, sine, cosine;
        rope_sincos(angle, &sine, &cosine);
        worst = fmax(worst, fmax(fabs(sine - sin(angle)), fabs(cosine - cos(angle))));
        rope_sincos(-angle, &sine, &cosine);
        worst = fmax(worst, fmax(fabs(sine + sin(angle)), fabs(cosine - cos(angle))));
    }
    assert_true(worst < 4e-16);
    worst = 0;
    for (int i = 1; i < 20000; i++) {
        double x = i * 0.0317, y = -x;
        worst = fmax(worst, fabs(rope_exp(y) / exp(y) - 1));
        worst = fmax(worst, fabs(rope_log(1 + x) / log(1 + x) - 1));
    }
    assert_true(worst < 2e-15);
}

static void check_table(const rope_spec *spec)
{
    float *table = calloc((size_t)spec->positions * spec->dim, sizeof *table);
    double frequencies[128], worst = 0;
    assert_non_null(table);
    rope_table(spec, frequencies, table);
    for (uint32_t p = 0; p < spec->positions; p++)
        for (uint32_t i = 0; i < spec->dim / 2; i++) {
            double angle = p * pow(spec->base, -2.0 * i / spec->dim) * spec->scale /
                           (spec->divisors ? spec->divisors[i] : 1.0);
            const float *row = table + (size_t)p * spec->dim;
            /* Near a zero the last bits of the angle itself are what differs. */
            if (fabs(cos(angle)) > 1e-4)
                worst = fmax(worst, ulps(row[i], spec->magnitude * cos(angle)));
            if (fabs(sin(angle)) > 1e-4)
                worst = fmax(worst, ulps(row[spec->dim / 2 + i], spec->magnitude * sin(angle)));
        }
    free(table);
    assert_true(worst <= 0.6);
}

static void tables_are_the_nearest_floats(void **state)
{
    (void)state;
    static const double divisors[8] = {1, 1, 1.5, 2, 4, 8, 8, 8};
    check_table(&(rope_spec){.positions = 8192, .dim = 64, .base = 100000, .scale = 1, .magnitude = 1});
    check_table(&(rope_spec){.positions = 3000, .dim = 128, .base = 500000, .scale = 0.125, .magnitude = 1});
    check_table(&(rope_spec){.positions = 500, .dim = 16, .base = 10000, .scale = 1, .magnitude = 1.25, .divisors = divisors});
}

/* Neither a compiler nor a libm may change a bit: FNV-1a over SmolLM2's table. */
static void bits_are_fixed(void **state)
{
    (void)state;
    rope_spec spec = {.positions = 8192, .dim = 64, .base = 100000, .scale = 1, .magnitude = 1};
    float *table = calloc((size_t)spec.positions * spec.dim, sizeof *table);
    double frequencies[32];
    uint64_t hash = 0xCBF29CE484222325u;
    assert_non_null(table);
    rope_table(&spec, frequencies, table);
    assert_true(table[0] == 1 && table[32] == 0);
    for (size_t i = 0; i < (size_t)spec.positions * spec.dim * sizeof *table; i++)
        hash = (hash ^ ((const unsigned char *)table)[i]) * 0x100000001B3u;
    free(table);
    assert_int_equal(hash, 0xDF7560AE092685EBu);
}

/* Every copy of the loop that this processor runs, on lengths that are no multiple of a vector. */
static void instruction_sets_agree(void **state)
{
    (void)state;
    static rope_rows_fn *const copies[WIDE_SETS] = WIDE_TABLE(rope_rows);
    enum { POSITIONS = 700, HALF = 37, COUNT = POSITIONS * 2 * HALF };
    static float wanted[COUNT], got[COUNT];
    double frequencies[HALF];
    for (int i = 0; i < HALF; i++)
        frequencies[i] = rope_exp(-0.3 * i);
    copies[WIDE_BASELINE](frequencies, HALF, POSITIONS, 1.25, wanted);
    for (uint32_t p = 0; p < POSITIONS; p++)
        for (uint32_t i = 0; i < HALF; i++) {
            double sine, cosine;
            rope_sincos(p * frequencies[i], &sine, &cosine);
            assert_true(wanted[p * 2 * HALF + i] == (float)(1.25 * cosine));
            assert_true(wanted[p * 2 * HALF + HALF + i] == (float)(1.25 * sine));
        }
    for (wide_set set = WIDE_BASELINE; set <= wide_best(); set++) {
        memset(got, 0xff, sizeof got);
        copies[set](frequencies, HALF, POSITIONS, 1.25, got);
        assert_memory_equal(got, wanted, sizeof got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_agree_with_libm),
        cmocka_unit_test(tables_are_the_nearest_floats),
        cmocka_unit_test(bits_are_fixed),
        cmocka_unit_test(instruction_sets_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
