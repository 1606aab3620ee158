/* Attention over one chunk of 256 positions in plain scalar code: the text of docs/numerics.md. */
#include "generic.h"

#include "blocks.h"

typedef float widen_fn(const void *base, size_t index);

static float widen_f16(const void *base, size_t index)
{
    return half_to_float(((const uint16_t *)base)[index]);
}
static float widen_f32(const void *base, size_t index)
{
    return ((const float *)base)[index];
}
static float widen_bf16(const void *base, size_t index)
{
    return bfloat_to_float(((const uint16_t *)base)[index]);
}

static float score(widen_fn *widen, const attention_chunk *chunk, size_t row, size_t position)
{
    size_t slot = position % chunk->page_tokens;
    const void *page = chunk->keys[position / chunk->page_tokens];
    float sum = 0.0f;
    for (size_t d = 0; d < chunk->head_dim; d++) {
        sum = fmaf(chunk->q[row][d], widen(page, (slot / 16 * chunk->head_dim + d) * 16 + slot % 16), sum);
    }
    return sum;
}

/* The product with Q8_0 weights: the position is a column of a tile. */
static float score_q8_0(const attention_chunk *chunk, size_t row, size_t position)
{
    size_t slot = position % chunk->page_tokens, bytes = q8_0_tile_bytes(chunk->head_dim);
    const uint8_t *tile = (const uint8_t *)chunk->keys[position / chunk->page_tokens] + slot / 16 * bytes;
    float scores[TILE_COLUMNS];
    matmul_input x = {.blocks = chunk->blocks};
    generic_q8_0(tile, bytes, chunk->head_dim, 1, &x, row, 1, scores, TILE_COLUMNS);
    return scores[slot % 16];
}

static float weigh(widen_fn *widen, const attention_chunk *chunk, float p, size_t position, size_t d, float sum)
{
    size_t slot = position % chunk->page_tokens;
    const uint8_t *page = chunk->values[position / chunk->page_tokens];
    if (widen)
        return fmaf(p, widen(page, slot * chunk->head_dim + d), sum);
    const uint8_t *scales = page + chunk->page_tokens * chunk->head_dim;
    float scale = half_to_float(load_u16(scales + (d / QUANT_BLOCK * chunk->page_tokens + slot) * 2));
    return fmaf(p * scale, (float)(int8_t)page[slot * chunk->head_dim + d], sum);
}

/* `widen` is NULL for Q8_0. */
static void attend_row(widen_fn *widen, const attention_chunk *chunk, size_t row)
{
    size_t from = chunk->from[row], to = chunk->to[row];
    float *p = chunk->scores + row * CHUNK_TOKENS, *o = chunk->o + row * chunk->head_dim;
    float m = -math_from_bits(0x7f800000u), lanes[16] = {0};
    for (size_t i = from; i < to; i++) {
        p[i] = (widen ? score(widen, chunk, row, i) : score_q8_0(chunk, row, i)) * chunk->scale;
        if (chunk->soft_cap != 0.0f)
            p[i] = math_soft_cap(p[i], chunk->soft_cap);
        if (p[i] > m)
            m = p[i]; /* a NaN is never the maximum; it stays in its own p and reaches l and o */
    }
    for (size_t i = from; i < to; i++) {
        p[i] = math_exp(p[i] - m);
        lanes[i % 16] = lanes[i % 16] + p[i];
    }
    for (size_t step = 8; step > 0; step /= 2) {
        for (size_t i = 0; i < step; i++)
            lanes[i] = lanes[i] + lanes[i + step];
    }
    for (size_t d = 0; d < chunk->head_dim; d++) {
        float sum = 0.0f;
        for (size_t i = from; i < to; i++)
            sum = weigh(widen, chunk, p[i], i, d, sum);
        o[d] = sum;
    }
    chunk->m[row] = m;
    chunk->l[row] = lanes[0];
}

void generic_attend_f16(const attention_chunk *chunk)
{
    for (size_t row = 0; row < chunk->rows; row++)
        attend_row(widen_f16, chunk, row);
}
void generic_attend_f32(const attention_chunk *chunk)
{
    for (size_t row = 0; row < chunk->rows; row++)
        attend_row(widen_f32, chunk, row);
}
void generic_attend_bf16(const attention_chunk *chunk)
{
    for (size_t row = 0; row < chunk->rows; row++)
        attend_row(widen_bf16, chunk, row);
}

void generic_attend_q8_0(const attention_chunk *chunk)
{
    for (size_t row = 0; row < chunk->rows; row++)
        attend_row(NULL, chunk, row);
}

void generic_combine(float *m, float *l, float *o, float chunk_m, float chunk_l, const float *chunk_o, size_t n)
{
    float top = chunk_m > *m ? chunk_m : *m;
    float a = math_exp(*m - top), b = math_exp(chunk_m - top);
    *m = top;
    *l = fmaf(*l, a, chunk_l * b);
    for (size_t d = 0; d < n; d++)
        o[d] = fmaf(o[d], a, chunk_o[d] * b);
}

void generic_divide(const float *o, float l, size_t n, float *out)
{
    for (size_t d = 0; d < n; d++)
        out[d] = o[d] / l;
}
