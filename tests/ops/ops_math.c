/* Elementary functions: their stated error against long double, and the vector kernels' bits against the scalar ones. */
#include "kernels/half.h"
#include "session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

typedef float scalar_fn(float);
typedef long double exact_fn(long double);

static long double exact_silu(long double x)
{
    return x / (1.0L + expl(-x));
}
static long double exact_gelu(long double x)
{
    return 0.5L * x * erfcl(-x / sqrtl(2.0L));
}
static long double exact_gelu_tanh(long double x)
{
    long double u = 1.5957691216057307117597842397375274L * (x + 0.044715L * x * x * x);
    return x / (1.0L + expl(-u));
}

/* The distance between neighbouring floats at |y|, the smallest normal's below it. */
static long double ulp(long double y)
{
    int exponent;
    frexpl(y, &exponent);
    return ldexpl(1.0L, (exponent < -125 ? -125 : exponent) - 24);
}

/* What an error is measured in: ulps of the result, of the argument, or of 1. The last two are for functions that reach
 * zero by cancellation. */
typedef enum unit { OF_RESULT, OF_ARGUMENT, OF_ONE } unit;

/* The largest error over a sweep of floats of either sign and magnitude [low, high]. */
static long double worst(scalar_fn *fn, exact_fn *exact, float low, float high, unit in)
{
    long double most = 0;
    for (uint32_t bits = math_bits(low); bits <= math_bits(high); bits += 4099) {
        for (int sign = 0; sign < 2; sign++) {
            float x = math_from_bits(bits | (sign ? 0x80000000u : 0u));
            long double want = exact(x);
            long double size = ulp(in == OF_RESULT ? want : in == OF_ARGUMENT ? (long double)x : 1.0L);
            long double error = fabsl((long double)fn(x) - want) / size;
            most = error > most ? error : most;
        }
    }
    return most;
}

static void below(const char *name, long double error, long double bound)
{
    print_message("%s: %.3Lf ulp, stated %.2Lf\n", name, error, bound);
    assert_true(error <= bound);
}

static void errors_are_as_stated(void **state)
{
    (void)state;
    below("exp", worst(math_exp, expl, 0x1p-60f, 87.0f, OF_RESULT), 1.0L);
    below("tanh from 0.25 on", worst(math_tanh, tanhl, 0.25f, 20.0f, OF_RESULT), 3.0L);
    below("tanh below 0.25, in ulps of 1", worst(math_tanh, tanhl, 0x1p-60f, 0.25f, OF_ONE), 1.0L);
    below("erf", worst(math_erf, erfl, 0x1p-60f, 10.0f, OF_RESULT), 1.5L);
    below("silu", worst(math_silu, exact_silu, 0x1p-60f, 80.0f, OF_RESULT), 3.0L);
    below("gelu, in ulps of the argument", worst(math_gelu, exact_gelu, 0x1p-60f, 20.0f, OF_ARGUMENT), 2.0L);
    below("gelu_tanh, in ulps of the argument", worst(math_gelu_tanh, exact_gelu_tanh, 0x1p-60f, 20.0f, OF_ARGUMENT), 2.0L);
}

static void special_values(void **state)
{
    (void)state;
    float infinity = math_from_bits(0x7f800000u), nan = math_from_bits(0x7fc00000u);
    assert_true(math_bits(math_exp(0.0f)) == math_bits(1.0f) && math_bits(math_exp(-0.0f)) == math_bits(1.0f));
    assert_true(math_exp(infinity) == infinity && math_bits(math_exp(-infinity)) == 0 && math_exp(nan) != math_exp(nan));
    assert_true(math_exp(88.72283172607421875f) < infinity && math_exp(88.73f) == infinity);
    assert_true(math_exp(-87.33654022216796875f) > 0.0f && math_bits(math_exp(-87.34f)) == 0);
    assert_true(math_tanh(infinity) == 1.0f && math_tanh(-infinity) == -1.0f && math_tanh(nan) != math_tanh(nan));
    assert_true(math_bits(math_tanh(-0.0f)) == 0x80000000u);
    assert_true(math_silu(infinity) == infinity && math_silu(nan) != math_silu(nan));
    assert_true(math_bits(math_silu(-200.0f)) == 0x80000000u);
    assert_true(math_gelu(infinity) == infinity && math_bits(math_gelu(-20.0f)) == 0x80000000u);
    assert_true(math_erf(infinity) == 1.0f && math_erf(-infinity) == -1.0f);
}

static const kernels *const sets[] = {&generic_kernels,
#if defined(__x86_64__)
                                      &avx2_kernels, &avx512_kernels
#endif
};

/* A sweep of all floats in steps, NaNs and infinities included, in runs of an odd length. */
static void vectors_equal_scalars(void **state)
{
    enum { RUN = 1009 };
    static float in[RUN], want[RUN], got[RUN];
    int32_t isas[4];
    int count = session_isas(isas);
    (void)state;
    for (int set = 1; set < count; set++) {
        const kernels *k = sets[isas[set] - ISA_GENERIC];
        for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += (uint64_t)RUN * 3571) {
            for (uint32_t i = 0; i < RUN; i++)
                in[i] = math_from_bits((uint32_t)(bits + i * 3571u));
            for (int activation = BP_ACT_NONE; activation <= BP_ACT_TANH; activation++) {
                generic_kernels.activate(activation, in, RUN, want);
                k->activate(activation, in, RUN, got);
                long at = different_bits(want, got, RUN);
                if (at >= 0)
                    fail_msg("%s: activation %d of %a is %a, not %a", k->name, activation, in[at], got[at], want[at]);
            }
            generic_kernels.soft_cap(in, 30.0f, RUN, want);
            k->soft_cap(in, 30.0f, RUN, got);
            assert_int_equal(different_bits(want, got, RUN), -1);
        }
    }
}

/* Every half goes to float and back; narrowing rounds to nearest, ties to even, on both sides of every halfway point. */
static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00u; h++) {
        float low = half_to_float((uint16_t)h), high = h < 0x7bffu ? half_to_float((uint16_t)(h + 1)) : 65536.0f;
        float middle = low + (high - low) * 0.5f;
        assert_int_equal(half_from_float(low), h);
        assert_int_equal(half_from_float(-low), h | 0x8000u);
        assert_int_equal(half_from_float(middle), h % 2 ? h + 1 : h);
        assert_int_equal(half_from_float(math_from_bits(math_bits(middle) - 1)), h);
        assert_int_equal(half_from_float(math_from_bits(math_bits(middle) + 1)), h + 1);
    }
    assert_int_equal(half_from_float(math_from_bits(0x7f800000u)), 0x7c00);
    assert_int_equal(half_from_float(math_from_bits(0x7fc00000u)) & 0x7e00, 0x7e00);
    assert_int_equal(bfloat_from_float(1.00390625f), 0x3f80);
    assert_int_equal(bfloat_from_float(1.01171875f), 0x3f82);
}

static void narrowing_equals_scalars(void **state)
{
    enum { RUN = 1024 };
    static float in[RUN];
    static uint32_t want[RUN], got[RUN];
    int32_t isas[4];
    int count = session_isas(isas);
    (void)state;
    for (int set = 1; set < count; set++) {
        for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += (uint64_t)RUN * 1021) {
            for (uint32_t i = 0; i < RUN; i++)
                in[i] = math_from_bits((uint32_t)(bits + i * 1021u));
            for (int type = 0; type < KV_Q8_0; type++) {
                size_t width = type == KV_F32 ? 4 : 2;
                generic_kernels.narrow[type](in, RUN, want);
                sets[isas[set] - ISA_GENERIC]->narrow[type](in, RUN, got);
                for (uint32_t i = 0; i < RUN; i++) {
                    bool same = memcmp((uint8_t *)want + i * width, (uint8_t *)got + i * width, width) == 0;
                    if (!same && in[i] == in[i])
                        fail_msg("narrowing %a to type %d differs", in[i], type);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_as_stated),     cmocka_unit_test(special_values),
        cmocka_unit_test(vectors_equal_scalars),    cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(narrowing_equals_scalars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
