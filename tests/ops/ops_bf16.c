/* Products with BF16 weights where bits are easily lost: exponents around the smallest normal number, numbers that are not
 * finite, and the instruction that some processors have, whether the backend would take it or not. */
#include "kernels/half.h"
#include "session.h"
#include "platform.h"
#include "weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS = 17, TILES = 5, COLUMNS = TILES * TILE_COLUMNS, K_LIMIT = 80 };

typedef struct form {
    const char *name;
    matmul_fn *multiply;
} form;

static size_t forms(form out[4])
{
    size_t count = 0;
    platform_features has = platform_processor();
    (void)has;
    out[count++] = (form){"generic", generic_bf16};
#if defined(__x86_64__)
    if (has.avx2)
        out[count++] = (form){"avx2", avx2_bf16};
    if (has.avx512)
        out[count++] = (form){"avx512", avx512_bf16};
    if (has.bf16)
        out[count++] = (form){"vdpbf16ps", avx512_bf16_dot};
#endif
    return count;
}

typedef struct product {
    _Alignas(64) uint8_t packed[TILES][(K_LIMIT + 1) / 2 * 64];
    uint16_t x[ROWS][K_LIMIT + 2], w[COLUMNS][K_LIMIT];
    float want[ROWS][COLUMNS], got[ROWS][COLUMNS];
} product;

static void multiply(product *p, size_t k, matmul_fn *fn, float *out)
{
    const weight_type *type = weight_type_of(BP_BF16);
    matmul_input x = {.halves = p->x[0], .stride = K_LIMIT + 2};
    memset(p->packed, 0, sizeof p->packed);
    for (size_t t = 0; t < TILES; t++)
        type->pack((const uint8_t *)p->w[t * TILE_COLUMNS], sizeof p->w[0], TILE_COLUMNS, k, p->packed[t]);
    fn(p->packed[0], sizeof p->packed[0], k, TILES, &x, 0, ROWS, out, COLUMNS);
}

static void compare(product *p, size_t k, const char *what)
{
    form all[4];
    for (size_t r = 0; r < ROWS; r++)
        p->x[r][k] = 0;
    multiply(p, k, generic_bf16, p->want[0]);
    for (size_t i = 1, count = forms(all); i < count; i++) {
        memset(p->got, 0xff, sizeof p->got);
        multiply(p, k, all[i].multiply, p->got[0]);
        long at = different_bits(p->want[0], p->got[0], ROWS * COLUMNS);
        if (at >= 0)
            fail_msg("%s, k %zu, %s: output %ld is %a, not %a", what, k, all[i].name, at, p->got[0][at], p->want[0][at]);
    }
}

/* Any sign and fraction, an exponent in [from, from + count), biased by 127. */
static uint16_t element(net *random, uint32_t from, uint32_t count)
{
    uint32_t bits = net_next(random);
    return (uint16_t)((bits & 0x807fu) | (from + (bits >> 16) % count) << 7);
}

static void fill(net *random, product *p, uint32_t from, uint32_t count)
{
    for (size_t i = 0; i < K_LIMIT; i++) {
        for (size_t r = 0; r < ROWS; r++)
            p->x[r][i] = element(random, from, count);
        for (size_t c = 0; c < COLUMNS; c++)
            p->w[c][i] = element(random, from, count);
    }
}

static void forms_are_equal(void **state)
{
    /* Around 1; where products are about the smallest normal number; the whole range; denormals and zeros; the largest. */
    static const uint32_t ranges[][2] = {{119, 16}, {52, 24}, {0, 255}, {0, 1}, {185, 10}};
    static const size_t ks[] = {1, 2, 3, 17, 80};
    static product p;
    net random;
    (void)state;
    net_begin(&random, 5);
    for (size_t range = 0; range < sizeof ranges / sizeof *ranges; range++) {
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
            for (int round = 0; round < 20; round++) {
                fill(&random, &p, ranges[range][0], ranges[range][1]);
                compare(&p, ks[i], "random");
            }
        }
    }
    net_end(&random);
}

static void rows_with_odd_numbers_are_equal(void **state)
{
    static const uint16_t odd[] = {0x0000, 0x8000, 0x0001, 0x807f, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0xff81};
    static product p;
    net random;
    (void)state;
    net_begin(&random, 6);
    for (int round = 0; round < 200; round++) {
        fill(&random, &p, round % 2 ? 119 : 52, 20);
        for (size_t i = 0; i < 12; i++) {
            p.x[net_next(&random) % ROWS][net_next(&random) % K_LIMIT] = odd[net_next(&random) % 10];
            p.w[net_next(&random) % COLUMNS][net_next(&random) % K_LIMIT] = odd[net_next(&random) % 10];
        }
        compare(&p, K_LIMIT - (size_t)round % 3, "odd numbers");
    }
    net_end(&random);
}

/* x0 * w0 + (x1 * w1 + 0), then the next pair, with elements and results below 2^-126 become zeros. */
static float sum_of(const uint16_t *x, const uint16_t *w, size_t k)
{
    static product p;
    memset(&p, 0, sizeof p);
    memcpy(p.x[0], x, k * sizeof *x);
    memcpy(p.w[0], w, k * sizeof *w);
    compare(&p, k, "example");
    return p.want[0][0];
}

static void sums_of_known_numbers(void **state)
{
    (void)state;
    enum { ONE = 0x3f80, LARGE = 0x7b80 /* 2^120 */, TINY = 0x2000 /* 2^-63 */ };
    /* The second element of a pair is added first: 2^120 - 2^120 + 1, where ascending order would lose the 1. */
    assert_true(sum_of((uint16_t[]){ONE, ONE, ONE, ONE}, (uint16_t[]){LARGE, 0, ONE, 0xfb80}, 4) == 1.0f);
    /* The smallest normal number, and less: zero of the sign. */
    assert_true(sum_of((uint16_t[]){TINY}, (uint16_t[]){TINY}, 1) == 0x1p-126f);
    float below = sum_of((uint16_t[]){TINY}, (uint16_t[]){0x9f80}, 1);
    assert_true(below == 0.0f && signbit(below));
    /* A denormal element is a zero, even times what would make it normal. */
    assert_true(sum_of((uint16_t[]){0x0040}, (uint16_t[]){LARGE}, 1) == 0.0f);
    /* 2^-126 - 2^-151 rounds to 2^-126; a little less would not, with more exponents. */
    assert_true(sum_of((uint16_t[]){TINY, 0, 0x1a00, 0}, (uint16_t[]){TINY, 0, 0x9980, 0}, 4) == 0x1p-126f);
    assert_true(sum_of((uint16_t[]){TINY, 0, 0x1a00, 0}, (uint16_t[]){TINY, 0, 0x9981, 0}, 4) == 0.0f);
}

static void narrowing_is_of_any_length(void **state)
{
    (void)state;
    int32_t isas[4];
    float x[40];
    uint16_t want[40], got[40];
    for (int i = 0; i < 40; i++)
        x[i] = math_from_bits(0x3f800000u + (uint32_t)i * 0x4321u);
    for (int i = 1, count = session_isas(isas); i < count; i++) {
        const kernels *set = isas[i] == ISA_AVX2 ? &avx2_kernels : &avx512_kernels;
        for (size_t n = 1; n <= 40; n++) {
            memset(want, 0, sizeof want);
            memset(got, 0, sizeof got);
            generic_kernels.narrow[KV_BF16](x, n, want);
            set->narrow[KV_BF16](x, n, got);
            assert_memory_equal(want, got, sizeof want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_equal),
        cmocka_unit_test(rows_with_odd_numbers_are_equal),
        cmocka_unit_test(sums_of_known_numbers),
        cmocka_unit_test(narrowing_is_of_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
