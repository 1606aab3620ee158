/* Kernel sets against the generic one, bit for bit, over odd shapes, ragged ranges and values that are not finite. */
#include "kernels/half.h"
#include "session.h"
#include "weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const kernels *const sets[ISA_COUNT] = {[ISA_GENERIC] = &generic_kernels,
#if defined(__x86_64__)
                                               [ISA_AVX2] = &avx2_kernels,
                                               [ISA_AVX512] = &avx512_kernels
#endif
};

typedef void for_isa_fn(int isa, net *random);

static void each_isa(for_isa_fn *fn)
{
    int32_t isas[4];
    int count = session_isas(isas);
    for (int i = 1; i < count; i++) {
        net random;
        net_begin(&random, 7);
        fn(isas[i], &random);
        net_end(&random);
    }
}

static void fill(net *n, float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = net_uniform(n) * 3.0f;
}

/* Some of what may not be finite, denormal or signed zero. */
static void spoil(net *n, float *x, size_t count)
{
    static const uint32_t odd[] = {0x7fc00000u, 0x7f800000u, 0xff800000u, 0x80000000u,
                                   0x00000001u, 0x807fffffu, 0x7f7fffffu};
    for (size_t i = 0; i < count; i++)
        if (net_next(n) % 41 == 0)
            x[i] = math_from_bits(odd[net_next(n) % (sizeof odd / sizeof *odd)]);
}

static void *room(size_t bytes)
{
    size_t lines = bytes / 64 + 2;
    void *data = aligned_alloc(64, lines * 64);
    assert_non_null(data);
    memset(data, 0, lines * 64);
    return data;
}

/* --- products --------------------------------------------------------------------------------------------------------- */

typedef struct product {
    const weight_type *type;
    size_t k, n, tiles, tile_bytes;
    uint8_t *packed;
} product;

static product pack(net *random, uint32_t dtype, size_t k, size_t n)
{
    product p = {weight_type_of(dtype), k, n, divide_up(n, TILE_COLUMNS), 0, NULL};
    p.tile_bytes = weight_tile_bytes(p.type, k);
    p.packed = room(p.tiles * p.tile_bytes);
    const bp_weight *w = &random->weights[net_random_weight(random, dtype, k, n)];
    size_t row_bytes = weight_row_bytes(p.type, k);
    for (size_t t = 0; t < p.tiles; t++) {
        p.type->pack((const uint8_t *)w->data + t * TILE_COLUMNS * row_bytes, row_bytes,
                     size_min(TILE_COLUMNS, n - t * TILE_COLUMNS), k, p.packed + t * p.tile_bytes);
    }
    return p;
}

static void compare_products(int isa, net *random, uint32_t dtype, size_t k, size_t n, size_t rows, bool spoiled)
{
    product p = pack(random, dtype, k, n);
    size_t stride = k + 3, width = p.tiles * TILE_COLUMNS, first = 2, all = rows + first;
    float *x = room(all * stride * 4), *want = room(rows * width * 4), *got = room(rows * width * 4);
    quant_block *blocks = room(all * (k / 32 + 1) * sizeof *blocks);
    fill(random, x, all * stride);
    if (spoiled)
        spoil(random, x, all * stride);
    for (size_t r = 0; p.type->quantised && r < all; r++)
        generic_kernels.quantise(x + r * stride, k, blocks + r * (k / QUANT_BLOCK));
    uint16_t *halves = room((all * stride + 1) * sizeof *halves);
    for (size_t r = 0; r < all; r++) {
        generic_kernels.narrow[KV_BF16](x + r * stride, k, halves + r * stride);
        halves[r * stride + k] = 0;
    }
    matmul_input input = {x, halves, stride, blocks};
    p.type->matmul[ISA_GENERIC](p.packed, p.tile_bytes, k, p.tiles, &input, first, rows, want, width);
    p.type->matmul[isa](p.packed, p.tile_bytes, k, p.tiles, &input, first, rows, got, width);
    long at = different_bits(want, got, rows * width);
    if (at >= 0) {
        fail_msg("%s, %s: k %zu, %zu columns, %zu rows: output %ld is %a, not %a", sets[isa]->name, p.type->name, k, n,
                 rows, at, got[at], want[at]);
    }
    free(p.packed);
    free(x);
    free(want);
    free(got);
    free(halves);
    free(blocks);
}

static void products_of(int isa, net *random)
{
    static const size_t float_k[] = {1, 7, 255, 256, 257, 513}, quant_blocks[] = {1, 2, 3, 17};
    for (size_t d = 0; d < NET_DTYPES; d++) {
        const weight_type *type = weight_type_of(net_dtypes[d]);
        for (size_t i = 0; i < (type->block == 1 ? 6 : type->block == 32 ? 4 : 3); i++) {
            size_t k = type->quantised ? quant_blocks[i] * type->block : float_k[i];
            for (size_t rows = 1; rows <= 26; rows += rows < 13 ? 1 : 6) {
                net_end(random);
                compare_products(isa, random, net_dtypes[d], k, 16 * (1 + (rows + i) % 6) - (rows % 16), rows, rows % 3 == 0);
            }
        }
    }
}

static void products_are_equal(void **state)
{
    (void)state;
    each_isa(products_of);
}

/* --- rows ------------------------------------------------------------------------------------------------------------- */

static void expect(const char *what, int isa, size_t n, const float *want, const float *got, size_t count)
{
    long at = different_bits(want, got, count);
    if (at >= 0)
        fail_msg("%s, %s of %zu: element %ld is %a, not %a", sets[isa]->name, what, n, at, got[at], want[at]);
}

static void rows_of_width(int isa, net *random, size_t n, bool spoiled)
{
    const kernels *g = &generic_kernels, *k = sets[isa];
    float a[600], b[600], w[600], want[600], got[600];
    fill(random, a, n);
    fill(random, b, n);
    fill(random, w, n);
    if (spoiled) {
        spoil(random, a, n);
        spoil(random, b, n);
    }
#define SAME(what, call)                                                                                                   \
    do {                                                                                                                   \
        const kernels *set = g;                                                                                            \
        float *out = want;                                                                                                 \
        call;                                                                                                              \
        set = k, out = got;                                                                                                \
        call;                                                                                                              \
        expect(what, isa, n, want, got, n);                                                                                \
    } while (0)
    SAME("norm_rms", set->norm_rms(a, w, NULL, 1e-5f, n, out));
    SAME("norm_rms with bias", set->norm_rms(a, NULL, b, 1e-5f, n, out));
    SAME("norm_layer", set->norm_layer(a, w, b, 1e-5f, n, out));
    SAME("normalise", set->normalise(a, n, out));
    SAME("add", set->add(a, b, n, out));
    SAME("multiply", set->multiply(a, b, n, out));
    SAME("scale", set->scale(a, 0.3f, n, out));
    if (n % 2 == 0) {
        SAME("rope_normal", (memcpy(out, a, n * 4), set->rope_normal(out, w, n / 2)));
        SAME("rope_neox", (memcpy(out, a, n * 4), set->rope_neox(out, w, n / 2)));
    }
    if (n % 16 == 0) {
        float m, l;
        SAME("divide", set->divide(a, 3.0f, n, out));
        SAME("combine", (memcpy(out, a, n * 4), m = 0.25f, l = 2.0f, set->combine(&m, &l, out, 0.5f, 3.0f, b, n)));
    }
#undef SAME
}

static void rows_of(int isa, net *random)
{
    for (size_t n = 1; n <= 600; n += n < 140 ? 1 : 46)
        for (int spoiled = 0; spoiled < 2; spoiled++)
            rows_of_width(isa, random, n, spoiled);
    float zeros[64] = {0}, out[64];
    sets[isa]->normalise(zeros, 64, out);
    assert_int_equal(different_bits(zeros, out, 64), -1);
}

static void row_kernels_are_equal(void **state)
{
    (void)state;
    each_isa(rows_of);
}

static void packed_rows_come_back(void **state)
{
    (void)state;
    enum { K = 768, ROWS = 13 };
    for (size_t d = 0; d < NET_DTYPES; d++) {
        const weight_type *type = weight_type_of(net_dtypes[d]);
        size_t row_bytes = weight_row_bytes(type, K);
        uint8_t source[ROWS * K * 4], row[K * 4], *tile = aligned_alloc(64, weight_tile_bytes(type, K));
        assert_non_null(tile);
        memset(tile, 0, weight_tile_bytes(type, K));
        for (size_t i = 0; i < sizeof source; i++)
            source[i] = (uint8_t)(i * 151 + i / 7);
        type->pack(source, row_bytes, ROWS, K, tile);
        for (size_t r = 0; r < ROWS; r++) {
            type->unpack(tile, r, K, row);
            assert_memory_equal(row, source + r * row_bytes, row_bytes);
        }
        free(tile);
    }
}

/* --- quantisation ----------------------------------------------------------------------------------------------------- */

static void expect_blocks(int isa, const float *x, size_t n)
{
    quant_block want[8], got[8];
    generic_kernels.quantise(x, n, want);
    sets[isa]->quantise(x, n, got);
    for (size_t b = 0; b < n / QUANT_BLOCK; b++) {
        bool same = memcmp(want[b].q, got[b].q, sizeof want[b].q) == 0 && want[b].minus_8 == got[b].minus_8 &&
                    want[b].minus_16 == got[b].minus_16 && want[b].minus_128 == got[b].minus_128 &&
                    memcmp(want[b].minus_32, got[b].minus_32, sizeof want[b].minus_32) == 0 &&
                    different_bits(&want[b].scale, &got[b].scale, 1) < 0 &&
                    different_bits(&want[b].scaled_sum, &got[b].scaled_sum, 1) < 0;
        if (!same)
            fail_msg("%s: a quantised block differs: scale %a, not %a", sets[isa]->name, got[b].scale, want[b].scale);
    }
}

static void blocks_of(int isa, net *random)
{
    float x[256];
    for (int round = 0; round < 2000; round++) {
        fill(random, x, 256);
        /* Every size of block, down to and below where 127 / peak overflows. */
        float size = math_from_bits((net_next(random) % 0xfe000000u) >> 1);
        for (size_t i = 0; i < 256; i++)
            x[i] *= round % 3 == 0 ? size : 1.0f;
        if (round % 5 == 0)
            spoil(random, x, 256);
        expect_blocks(isa, x, 256);
    }
    /* Halves between integers, which go to even. */
    for (size_t i = 0; i < 256; i++)
        x[i] = (float)(i % 127) + 0.5f;
    for (size_t i = 0; i < 256; i += 32)
        x[i] = 127.0f;
    expect_blocks(isa, x, 256);
}

static void quantisation_is_equal(void **state)
{
    (void)state;
    each_isa(blocks_of);
}

static void quantisation_of_special_blocks(void **state)
{
    (void)state;
    float x[32] = {0};
    quant_block b;
    generic_kernels.quantise(x, 32, &b);
    assert_true(b.scale == 0.0f && b.minus_8 == 0 && b.q[0] == 0);
    x[3] = math_from_bits(1); /* too small for a scale */
    generic_kernels.quantise(x, 32, &b);
    assert_true(b.scale == 0.0f && b.q[3] == 0);
    x[4] = math_from_bits(0x7f800000u);
    generic_kernels.quantise(x, 32, &b);
    assert_true(b.scale != b.scale && b.scaled_sum != b.scaled_sum && b.q[4] == 0);
    x[4] = -127.0f; /* whole steps of the first grid: exact */
    x[5] = 2.0f;
    x[6] = 3.0f;
    x[7] = -1.0f;
    generic_kernels.quantise(x, 32, &b);
    assert_true(b.scale == 1.0f && b.q[4] == -127 && b.q[5] == 2 && b.q[6] == 3 && b.q[7] == -1);
    assert_int_equal(b.minus_8, -8 * (-127 + 2 + 3 - 1));
    assert_true(b.minus_16 == 2 * b.minus_8 && b.minus_128 == 16 * b.minus_8);
    x[20] = 5.0f;
    generic_kernels.quantise(x, 32, &b);
    assert_true(b.minus_32[0] == -32 * (-127 + 2 + 3 - 1) && b.minus_32[1] == -32 * 5);
}

static double squared_error(const float *x, const int8_t *q, double scale)
{
    double sum = 0;
    for (size_t i = 0; i < QUANT_BLOCK; i++)
        sum += (x[i] - scale * q[i]) * (x[i] - scale * q[i]);
    return sum;
}

/* Never worse than rounding to steps of peak / 127, and on the whole a good deal better. */
static void quantisation_is_fitted(void **state)
{
    (void)state;
    net random;
    net_begin(&random, 11);
    double plain = 0, fitted = 0;
    for (int round = 0; round < 2000; round++) {
        float x[QUANT_BLOCK], peak = 0;
        int8_t q[QUANT_BLOCK];
        quant_block b;
        fill(&random, x, QUANT_BLOCK);
        for (size_t i = 0; i < QUANT_BLOCK; i++)
            peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
        for (size_t i = 0; i < QUANT_BLOCK; i++)
            q[i] = (int8_t)lrintf(x[i] * (127.0f / peak));
        generic_kernels.quantise(x, QUANT_BLOCK, &b);
        double one = squared_error(x, q, peak / 127.0), other = squared_error(x, b.q, b.scale);
        assert_true(other <= one * 1.0001);
        plain += one;
        fitted += other;
    }
    assert_true(fitted < 0.9 * plain);
    net_end(&random);
}

/* --- attention -------------------------------------------------------------------------------------------------------- */

enum { DIM_LIMIT = 96, ROW_LIMIT = 30 };

/* Positions of [CHUNK_TOKENS][dim] as quantised keys, in tiles, or as quantised values, page by page. */
static void quantise_keys(const float *data, size_t dim, uint8_t *keys)
{
    const weight_type *type = weight_type_of(BP_Q8_0);
    size_t row_bytes = weight_row_bytes(type, dim), tile_bytes = q8_0_tile_bytes(dim);
    assert_int_equal(tile_bytes, weight_tile_bytes(type, dim));
    uint8_t *rows = room(CHUNK_TOKENS * row_bytes);
    for (size_t b = 0; b < CHUNK_TOKENS * dim / QUANT_BLOCK; b++) {
        quant_block block;
        generic_kernels.quantise(data + b * QUANT_BLOCK, QUANT_BLOCK, &block);
        uint16_t scale = half_from_float(block.scale);
        memcpy(rows + b * 34, &scale, 2);
        memcpy(rows + b * 34 + 2, block.q, 32);
    }
    for (size_t t = 0; t < CHUNK_TOKENS / 16; t++)
        type->pack(rows + t * 16 * row_bytes, row_bytes, 16, dim, keys + t * tile_bytes);
    free(rows);
}

static void quantise_values(const float *data, size_t dim, size_t page_tokens, size_t page_bytes, uint8_t *values)
{
    for (size_t position = 0; position < CHUNK_TOKENS; position++) {
        uint8_t *page = values + position / page_tokens * page_bytes;
        size_t slot = position % page_tokens;
        for (size_t b = 0; b < dim / QUANT_BLOCK; b++) {
            quant_block block;
            generic_kernels.quantise(data + position * dim + b * QUANT_BLOCK, QUANT_BLOCK, &block);
            uint16_t scale = half_from_float(block.scale);
            memcpy(page + slot * dim + b * QUANT_BLOCK, block.q, QUANT_BLOCK);
            memcpy(page + page_tokens * dim + (b * page_tokens + slot) * 2, &scale, 2);
        }
    }
}

static size_t page_bytes_of(int type, size_t page_tokens, size_t dim)
{
    if (type == KV_Q8_0)
        return page_tokens / 16 * q8_0_tile_bytes(dim);
    return page_tokens * dim * (type == KV_F32 ? 4 : 2);
}

static void attention_case(int isa, net *random, int type, size_t dim, size_t page_tokens, size_t rows, bool spoiled)
{
    size_t page_bytes = page_bytes_of(type, page_tokens, dim), count = CHUNK_TOKENS * dim;
    float *data = room(count * 4), *q = room(rows * dim * 4), *scores = room(rows * CHUNK_TOKENS * 4);
    uint8_t *keys = room(CHUNK_TOKENS / page_tokens * page_bytes), *values = room(CHUNK_TOKENS / page_tokens * page_bytes);
    quant_block *blocks = room(rows * dim / QUANT_BLOCK * sizeof *blocks);
    float *o = room(2 * rows * dim * 4), m[2][ROW_LIMIT], l[2][ROW_LIMIT];
    const float *q_rows[ROW_LIMIT];
    uint16_t from[ROW_LIMIT], to[ROW_LIMIT];
    attention_chunk chunk = {.head_dim = dim,
                             .page_tokens = page_tokens,
                             .scale = 0.3f,
                             .soft_cap = rows % 4 ? 0.0f : 5.0f,
                             .rows = rows,
                             .q = q_rows,
                             .blocks = blocks,
                             .from = from,
                             .to = to,
                             .scores = scores};
    fill(random, data, count);
    if (type == KV_Q8_0) {
        quantise_keys(data, dim, keys);
    } else {
        generic_kernels.narrow[type](data, count, keys);
    }
    fill(random, data, count);
    if (spoiled)
        spoil(random, data, count);
    if (type == KV_Q8_0) {
        quantise_values(data, dim, page_tokens, page_bytes, values);
    } else {
        generic_kernels.narrow[type](data, count, values);
    }
    fill(random, q, rows * dim);
    if (spoiled)
        spoil(random, q, dim); /* the first row only */
    for (size_t i = 0; i * page_tokens < CHUNK_TOKENS; i++) {
        chunk.keys[i] = keys + i * page_bytes;
        chunk.values[i] = values + i * page_bytes;
    }
    if (type == KV_Q8_0)
        generic_kernels.quantise(q, rows * dim, blocks);
    for (size_t r = 0; r < rows; r++) {
        q_rows[r] = q + r * dim;
        from[r] = (uint16_t)(net_next(random) % 3 ? 0 : net_next(random) % CHUNK_TOKENS);
        to[r] = (uint16_t)(from[r] + 1 + net_next(random) % (CHUNK_TOKENS - from[r]));
    }
    for (int which = 0; which < 2; which++) {
        chunk.m = m[which];
        chunk.l = l[which];
        chunk.o = o + (size_t)which * rows * dim;
        sets[which ? isa : ISA_GENERIC]->attend[type](&chunk);
    }
    expect("attention m", isa, rows, m[0], m[1], rows);
    expect("attention l", isa, rows, l[0], l[1], rows);
    expect("attention o", isa, rows, o, o + rows * dim, rows * dim);
    free(data);
    free(q);
    free(scores);
    free(keys);
    free(values);
    free(blocks);
    free(o);
}

static void attention_of(int isa, net *random)
{
    static const size_t dims[] = {16, 48, 64, 80}, quantised_dims[] = {32, 64, 96, 64};
    for (int type = 0; type < KV_TYPES; type++) {
        for (size_t rows = 1; rows <= ROW_LIMIT; rows += rows < 8 ? 1 : 5) {
            size_t dim = (type == KV_Q8_0 ? quantised_dims : dims)[(rows + (size_t)type) % 4], page = (size_t)16 << (rows % 5);
            attention_case(isa, random, type, dim, page, rows, false);
            attention_case(isa, random, type, dim, page, rows, true);
        }
    }
}

static void attention_is_equal(void **state)
{
    (void)state;
    each_isa(attention_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_equal),
        cmocka_unit_test(row_kernels_are_equal),
        cmocka_unit_test(packed_rows_come_back),
        cmocka_unit_test(quantisation_is_equal),
        cmocka_unit_test(quantisation_of_special_blocks),
        cmocka_unit_test(quantisation_is_fitted),
        cmocka_unit_test(attention_is_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
