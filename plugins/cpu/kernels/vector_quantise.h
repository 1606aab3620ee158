/* Activations become blocks of integers; the order is that of generic_quantise. Sums of whole numbers are exact in any. */
#ifndef CPU_KERNELS_VECTOR_QUANTISE_H
#define CPU_KERNELS_VECTOR_QUANTISE_H

/* A block on the grid of one size: x in steps of it, and those rounded. */
typedef struct grid {
    v16 t[2], q[2];
    float error;
} grid;

static ALWAYS_INLINE grid grid_of(const v16 *x, float inverse)
{
    grid g;
    v16 r[2];
    UNROLL for (int i = 0; i < 2; i++) {
        g.t[i] = v_mul(x[i], v_set(inverse));
        g.q[i] = v_sub(v_add(g.t[i], v_set(MATH_ROUND)), v_set(MATH_ROUND));
        r[i] = v_sub(g.t[i], g.q[i]);
    }
    g.error = v_sum(v_fma(r[1], r[1], v_mul(r[0], r[0])));
    return g;
}

/* `a` where its error is less, without a branch, which no processor could foretell. */
static ALWAYS_INLINE grid grid_better(const grid *a, const grid *b)
{
    mask16 less = v_less(v_set(a->error), v_set(b->error));
    return (grid){.t = {v_select(less, a->t[0], b->t[0]), v_select(less, a->t[1], b->t[1])},
                  .q = {v_select(less, a->q[0], b->q[0]), v_select(less, a->q[1], b->q[1])}};
}

static void quantise_block(const float *from, quant_block *block)
{
    v16 x[2] = {v_load(from), v_load(from + 16)};
    uint32_t largest = v_largest_bits(v_abs(x[0]), v_abs(x[1]));
    float peak = math_from_bits(largest), inverse = 127.0f / peak;
    bool finite = largest < 0x7f800000u;
    if (!finite || math_bits(inverse) >= 0x7f800000u) {
        *block = (quant_block){.scale = finite ? 0.0f : math_from_bits(0x7fc00000u)};
        block->scaled_sum = block->scale;
        return;
    }
    grid fine = grid_of(x, inverse), coarse = grid_of(x, 126.0f / peak);
    coarse.error = coarse.error * QUANT_COARSER;
    float steps = coarse.error < fine.error ? 126.0f : 127.0f;
    grid best = grid_better(&coarse, &fine);
    float product = v_sum(v_fma(best.t[1], best.q[1], v_mul(best.t[0], best.q[0])));
    float squares = v_sum(v_fma(best.q[1], best.q[1], v_mul(best.q[0], best.q[0])));
    int32_t first = (int32_t)v_sum(best.q[0]), last = (int32_t)v_sum(best.q[1]), sum = first + last;
    v_store_i8(block->q, best.q[0]);
    v_store_i8(block->q + 16, best.q[1]);
    block->scale = product / squares * (peak / steps);
    block->scaled_sum = block->scale * (float)sum;
    block->minus_8 = -8 * sum;
    block->minus_16 = -16 * sum;
    block->minus_128 = -128 * sum;
    block->minus_32[0] = -32 * first;
    block->minus_32[1] = -32 * last;
    block->reserved = 0;
}

static void quantise(const float *x, size_t n, quant_block *blocks)
{
    for (size_t b = 0; b < n / QUANT_BLOCK; b++)
        quantise_block(x + b * QUANT_BLOCK, &blocks[b]);
}

#endif
