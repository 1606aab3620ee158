/* Attention over one chunk: scores sixteen positions at a time, p.V sixteen dimensions at a time, several query rows
 * against each load of K or V. A row's order is that of generic_attention.c whatever rows share its tile.
 *
 * The including file says which tiles its registers hold: EACH_SCORE(X) of X(rows, groups of positions), EACH_VALUE(X) of
 * X(rows, vectors of dimensions), both for every count of rows up to SCORE_MOST and VALUE_MOST. */
#ifndef CPU_KERNELS_VECTOR_ATTENTION_H
#define CPU_KERNELS_VECTOR_ATTENTION_H

/* Scores of R rows against G groups of sixteen positions from `group` on. Positions of a group outside a row's range get
 * scores too; later steps never look at them. */
static ALWAYS_INLINE void score_tile(const int type, const int R, const int G, const attention_chunk *chunk, size_t row,
                                     size_t group)
{
    size_t groups = chunk->page_tokens / 16, head_dim = chunk->head_dim, width = type == KV_F32 ? 4 : 2;
    const float *const *q = chunk->q + row;
    const uint8_t *key[4];
    v16 sum[24];
    UNROLL for (int g = 0; g < G; g++)
    {
        size_t at = group + (size_t)g;
        key[g] = (const uint8_t *)chunk->keys[at / groups] + at % groups * head_dim * 16 * width;
    }
    UNROLL for (int i = 0; i < R * G; i++) sum[i] = v_set(0.0f);
    for (size_t d = 0; d < head_dim; d++) {
        v16 k[4];
        UNROLL for (int g = 0; g < G; g++) k[g] = v_widen(type, key[g], d * 16);
        UNROLL for (int r = 0; r < R; r++)
        {
            v16 qr = v_set(q[r][d]);
            UNROLL for (int g = 0; g < G; g++) sum[r * G + g] = v_fma(qr, k[g], sum[r * G + g]);
        }
    }
    UNROLL for (int r = 0; r < R; r++)
    {
        float *scores = chunk->scores + (row + (size_t)r) * CHUNK_TOKENS + group * 16;
        UNROLL for (int g = 0; g < G; g++) v_store(scores + g * 16, sum[r * G + g]);
    }
}

static ALWAYS_INLINE void score_rows(const int type, const int R, const int G, const attention_chunk *chunk, size_t row)
{
    size_t group = CHUNK_TOKENS, last = 0;
    for (size_t r = row; r < row + (size_t)R; r++) {
        if (chunk->from[r] / 16u < group)
            group = chunk->from[r] / 16u;
        if ((chunk->to[r] + 15u) / 16u > last)
            last = (chunk->to[r] + 15u) / 16u;
    }
    for (; group + (size_t)G <= last; group += (size_t)G)
        score_tile(type, R, G, chunk, row, group);
    for (; group < last; group++)
        score_tile(type, R, 1, chunk, row, group);
}

/* Scores of all rows against Q8_0 keys: the product with such weights, whose outputs are positions. */
static void score_quantised(const attention_chunk *chunk)
{
    size_t first = CHUNK_TOKENS, last = 0, page_tokens = chunk->page_tokens, tile_bytes = q8_0_tile_bytes(chunk->head_dim);
    for (size_t r = 0; r < chunk->rows; r++) {
        if (chunk->from[r] < first)
            first = chunk->from[r];
        if (chunk->to[r] > last)
            last = chunk->to[r];
    }
    matmul_input x = {.blocks = chunk->blocks};
    for (size_t at = first / 16 * 16; at < last;) {
        size_t page = at / page_tokens, end = (page + 1) * page_tokens < last ? (page + 1) * page_tokens : last;
        const uint8_t *tile = (const uint8_t *)chunk->keys[page] + at % page_tokens / 16 * tile_bytes;
        SIMD(q8_0)(tile, tile_bytes, chunk->head_dim, (end - at + 15) / 16, &x, 0, chunk->rows, chunk->scores + at,
                   CHUNK_TOKENS);
        at = (page + 1) * page_tokens;
    }
}

/* Turns a row's scores, still without their scale, into p, and leaves its m and l. */
static void soften_row(const attention_chunk *chunk, size_t row)
{
    float *p = chunk->scores + row * CHUNK_TOKENS;
    size_t from = chunk->from[row], to = chunk->to[row], first = from / 16 * 16;
    v16 lowest = v_set(-math_from_bits(0x7f800000u)), top = lowest, lanes = v_set(0.0f);
    for (size_t i = first; i < to; i += 16) {
        v16 s = v_mul(v_load(p + i), v_set(chunk->scale));
        if (chunk->soft_cap != 0.0f)
            s = v_soft_cap(s, chunk->soft_cap);
        v_store(p + i, s);
        mask16 here = lanes_between(from > i ? from - i : 0, to - i);
        top = v_max(v_select(here, s, lowest), top); /* top where s is NaN */
    }
    float m = v_largest(top);
    for (size_t i = first; i < to; i += 16) {
        mask16 here = lanes_between(from > i ? from - i : 0, to - i);
        v16 e = v_select(here, v_exp(v_sub(v_load(p + i), v_set(m))), v_set(0.0f));
        lanes = v_add(lanes, e); /* +0 where absent: a lane is never -0 */
        v_store(p + i, e);
    }
    chunk->m[row] = m;
    chunk->l[row] = v_sum(lanes);
}

/* o of R rows gains the positions [from, to), D vectors of dimensions from `dim` on, times p of the rows. */
static ALWAYS_INLINE void value_tile(const int type, const int R, const int D, const attention_chunk *chunk, const float *p,
                                     size_t row, size_t dim, size_t from, size_t to)
{
    size_t head_dim = chunk->head_dim;
    v16 sum[24];
    float *o = chunk->o + row * head_dim + dim;
    UNROLL for (int r = 0; r < R; r++)
    {
        UNROLL for (int d = 0; d < D; d++) sum[r * D + d] = v_load(o + (size_t)r * head_dim + d * 16);
    }
    for (size_t i = from; i < to;) {
        size_t slot = i % chunk->page_tokens, page_end = i - slot + chunk->page_tokens, end = to < page_end ? to : page_end;
        const void *page = chunk->values[i / chunk->page_tokens];
        for (size_t index = slot * head_dim + dim; i < end; i++, index += head_dim) {
            v16 value[4];
            UNROLL for (int d = 0; d < D; d++) value[d] = v_widen(type, page, index + (size_t)d * 16);
            UNROLL for (int r = 0; r < R; r++)
            {
                v16 weight = v_set(p[(size_t)r * CHUNK_TOKENS + i]);
                UNROLL for (int d = 0; d < D; d++) sum[r * D + d] = v_fma(weight, value[d], sum[r * D + d]);
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++)
    {
        UNROLL for (int d = 0; d < D; d++) v_store(o + (size_t)r * head_dim + d * 16, sum[r * D + d]);
    }
}

/* p of R rows times the scales of block `block` of the values' dimensions. */
static ALWAYS_INLINE void weigh_rows(const int R, const attention_chunk *chunk, size_t row, size_t block, size_t from,
                                     size_t to, float *weighed)
{
    size_t page_tokens = chunk->page_tokens;
    const float *p = chunk->scores + row * CHUNK_TOKENS;
    for (size_t i = from / 16 * 16; i < to; i += 16) {
        const uint8_t *page = chunk->values[i / page_tokens];
        v16 d = v_load_f16(page + page_tokens * chunk->head_dim + (block * page_tokens + i % page_tokens) * 2);
        UNROLL for (int r = 0; r < R; r++)
        {
            v_store(weighed + r * CHUNK_TOKENS + i, v_mul(v_load(p + r * CHUNK_TOKENS + i), d));
        }
    }
}

static ALWAYS_INLINE void value_rows(const int type, const int R, const int D, const attention_chunk *chunk, size_t row,
                                     size_t from, size_t to)
{
    size_t dim = 0, wide = (size_t)D * 16;
    const float *p = chunk->scores + row * CHUNK_TOKENS;
    if (from >= to)
        return;
    if (type == KV_Q8_0) {
        float weighed[VALUE_MOST * CHUNK_TOKENS];
        for (; dim < chunk->head_dim; dim += QUANT_BLOCK) {
            weigh_rows(R, chunk, row, dim / QUANT_BLOCK, from, to, weighed);
            value_tile(type, R, QUANT_BLOCK / 16, chunk, weighed, row, dim, from, to);
        }
        return;
    }
    for (; dim + wide <= chunk->head_dim; dim += wide)
        value_tile(type, R, D, chunk, p, row, dim, from, to);
    for (; dim < chunk->head_dim; dim += 16)
        value_tile(type, R, 1, chunk, p, row, dim, from, to);
}

/* Not inlined: every tile has a few odd positions. */
static void value_row(int type, const attention_chunk *chunk, size_t row, size_t from, size_t to)
{
    switch (type) {
    case KV_F16:
        value_rows(KV_F16, 1, 4, chunk, row, from, to);
        break;
    case KV_BF16:
        value_rows(KV_BF16, 1, 4, chunk, row, from, to);
        break;
    case KV_Q8_0:
        value_rows(KV_Q8_0, 1, 4, chunk, row, from, to);
        break;
    default:
        value_rows(KV_F32, 1, 4, chunk, row, from, to);
    }
}

/* Rows of a tile differ in range. The common part is done together; what comes before and after it, row by row. */
static ALWAYS_INLINE void value_group(const int type, const int R, const int D, const attention_chunk *chunk, size_t row)
{
    size_t from = chunk->from[row], to = chunk->to[row];
    for (size_t r = 1; r < (size_t)R; r++) {
        if (chunk->from[row + r] > from)
            from = chunk->from[row + r];
        if (chunk->to[row + r] < to)
            to = chunk->to[row + r];
    }
    bool common = from < to;
    for (size_t r = 0; r < (size_t)R; r++) {
        size_t end = chunk->to[row + r];
        value_row(type, chunk, row + r, chunk->from[row + r], common ? from : end);
    }
    if (!common)
        return;
    value_rows(type, R, D, chunk, row, from, to);
    for (size_t r = 0; r < (size_t)R; r++)
        value_row(type, chunk, row + r, to, chunk->to[row + r]);
}

/* How many of `rows` the next tile takes: equal shares rather than full ones and a sliver. */
static size_t share_of(size_t rows, size_t most)
{
    size_t tiles = (rows + most - 1) / most;
    return (rows + tiles - 1) / tiles;
}

static ALWAYS_INLINE void score_all(const int type, const attention_chunk *chunk)
{
#define SCORE_CASE(R, G)                                                                                                   \
    case R:                                                                                                                \
        score_rows(type, R, G, chunk, row);                                                                                \
        break;
    for (size_t row = 0, count; row < chunk->rows; row += count) {
        count = share_of(chunk->rows - row, SCORE_MOST);
        switch (count) {
            EACH_SCORE(SCORE_CASE)
        }
    }
#undef SCORE_CASE
}

static ALWAYS_INLINE void attend(const int type, const attention_chunk *chunk)
{
    size_t rows = chunk->rows, row = 0;
    if (type == KV_Q8_0) {
        score_quantised(chunk);
    } else {
        score_all(type, chunk);
    }
    for (size_t r = 0; r < rows; r++)
        soften_row(chunk, r);
    memset(chunk->o, 0, rows * chunk->head_dim * sizeof *chunk->o);
#define VALUE_CASE(R, D)                                                                                                   \
    case R:                                                                                                                \
        value_group(type, R, D, chunk, row);                                                                               \
        break;
    for (size_t count; row < rows; row += count) {
        count = share_of(rows - row, VALUE_MOST);
        switch (count) {
            EACH_VALUE(VALUE_CASE)
        }
    }
#undef VALUE_CASE
}

static void attend_f16(const attention_chunk *chunk)
{
    attend(KV_F16, chunk);
}
static void attend_f32(const attention_chunk *chunk)
{
    attend(KV_F32, chunk);
}
static void attend_bf16(const attention_chunk *chunk)
{
    attend(KV_BF16, chunk);
}

static void attend_q8_0(const attention_chunk *chunk)
{
    attend(KV_Q8_0, chunk);
}

static void combine(float *m, float *l, float *o, float chunk_m, float chunk_l, const float *chunk_o, size_t n)
{
    float top = chunk_m > *m ? chunk_m : *m;
    float a = math_exp(*m - top), b = math_exp(chunk_m - top);
    *m = top;
    *l = fmaf(*l, a, chunk_l * b);
    for (size_t d = 0; d < n; d += 16) {
        v_store(o + d, v_fma(v_load(o + d), v_set(a), v_mul(v_load(chunk_o + d), v_set(b))));
    }
}

static void divide(const float *o, float l, size_t n, float *out)
{
    for (size_t d = 0; d < n; d += 16)
        v_store(out + d, v_div(v_load(o + d), v_set(l)));
}

#endif
