/* ATTENTION: a block of threads for up to 8 query heads of a token that share a kv head, so that each key and value is read
 * once for all of them; chunk after chunk of 256 positions, in the order of docs/numerics.md.
 *
 * Where that leaves processors without work, as for one token behind a long context, each chunk has a block of its own
 * (`parts`), and a second kernel combines what they leave: the same operations in the same order.
 *
 * Shared memory, of each head: the query, the result so far, the chunk's weights p, and what the warps tell each other.
 * Heads that a block has no query for repeat its last and are not stored. */
#include "cache.h"

enum { THREADS = 128, WARPS = THREADS / WARP, TOLD = WARPS + 1, SHARED = 48 * 1024, MOST_HEADS = 8 };

struct attention_shared {
    float *q, *o, *p, *told; /* [head][head_dim], [head][head_dim], [head][256], [head][TOLD] */
    uint32_t *quads;         /* of a cache of Q8_0, in q's place: [head][head_dim / 4], then */
    float *scales;           /* [head][head_dim / 32] */
};

template <int HEADS> DEVICE attention_shared cut_shared(unsigned char *at, uint32_t dim)
{
    attention_shared s;
    s.q = reinterpret_cast<float *>(at);
    s.quads = reinterpret_cast<uint32_t *>(at);
    s.scales = s.q + HEADS * dim / 4;
    s.o = s.q + HEADS * dim;
    s.p = s.o + HEADS * dim;
    s.told = s.p + HEADS * CHUNK_TOKENS;
    return s;
}

/* What a block works on: query heads [head, head + count) of a token, over positions [from, to). */
struct attention_work {
    uint32_t token, seq, head, count, kv_head, from, to;
};

DEVICE attention_work work_of(const attention_args &args, uint32_t token)
{
    attention_work w = {token, static_cast<uint32_t>(args.batch.seq_of[token]), 0, 0, 0, 0, 0};
    uint32_t next = static_cast<uint32_t>(args.batch.position[token]) + 1;
    w.to = args.causal ? next : static_cast<uint32_t>(args.batch.context[w.seq]);
    w.from = args.cache.window && next > args.cache.window ? next - args.cache.window : 0;
    return w;
}

template <int HEADS>
DEVICE void load_query(const attention_args &args, const attention_shared &s, const attention_work &w)
{
    uint32_t dim = args.cache.head_dim;
    for (uint32_t g = 0; g < HEADS; g++) {
        uint64_t at = static_cast<uint64_t>(w.head + smaller(g, w.count - 1)) * dim;
        if (args.cache.dtype != BP_KV_Q8_0) {
            const float *from = args.q.floats + static_cast<uint64_t>(w.token) * args.q.stride + at;
            for (uint32_t d = threadIdx.x; d < dim; d += THREADS)
                s.q[g * dim + d] = from[d];
            continue;
        }
        at += static_cast<uint64_t>(w.token) * args.q.width;
        for (uint32_t i = threadIdx.x; i < dim / 4; i += THREADS)
            s.quads[g * dim / 4 + i] = *reinterpret_cast<const uint32_t *>(args.q.q + at + i * 4);
        for (uint32_t i = threadIdx.x; i < dim / QUANT_BLOCK; i += THREADS)
            s.scales[g * dim / QUANT_BLOCK + i] = args.q.scales[at / QUANT_BLOCK + i].scale;
    }
}

/* --- scores ----------------------------------------------------------------------------------------------------------- */

/* 16 bytes of keys in F32, F16 or BF16. */
template <int DTYPE> DEVICE void load_keys(const uint8_t *from, float *k)
{
    uint4 v = *reinterpret_cast<const uint4 *>(from);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
    constexpr int piece = DTYPE == BP_KV_F32 ? 4 : 8;
#pragma unroll
    for (int i = 0; i < piece; i++) {
        if (DTYPE == BP_KV_F32)
            k[i] = math_from_bits(words[i % 4]);
        else if (DTYPE == BP_KV_F16)
            k[i] = half_to_float(static_cast<uint16_t>(words[i / 2] >> i % 2 * 16));
        else
            k[i] = bfloat_to_float(static_cast<uint16_t>(words[i / 2] >> i % 2 * 16));
    }
}

template <int DTYPE, int HEADS>
DEVICE void dot_floats(const cache_place &c, const uint8_t *keys, const float *q, uint32_t slot, float *sums)
{
    constexpr uint32_t piece = DTYPE == BP_KV_F32 ? 4 : 8;
    float k[piece];
    for (uint32_t d = 0; d < c.head_dim; d += piece) {
        load_keys<DTYPE>(keys + key_at(c, slot, d) * (16 / piece), k);
#pragma unroll
        for (uint32_t e = 0; e < piece; e++)
#pragma unroll
            for (int g = 0; g < HEADS; g++)
                sums[g] = fused(q[g * c.head_dim + d + e], k[e], sums[g]);
    }
}

/* The products with the key as a row of Q8_0 weights. */
template <int HEADS>
DEVICE void dot_quantised(const cache_place &c, uint8_t *keys, const attention_shared &s, uint32_t slot, float *totals)
{
    for (uint32_t block = 0; block < c.head_dim / QUANT_BLOCK; block++) {
        uint32_t d = block * QUANT_BLOCK;
        uint4 a = *reinterpret_cast<const uint4 *>(keys + key_at(c, slot, d)),
              b = *reinterpret_cast<const uint4 *>(keys + key_at(c, slot, d + 16));
        const uint32_t k[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        float scale = half_to_float(*cache_scale(c, keys, slot, block));
#pragma unroll
        for (int g = 0; g < HEADS; g++) {
            const uint32_t *q = s.quads + (g * c.head_dim + d) / 4;
            int sum = 0;
#pragma unroll
            for (int t = 0; t < 8; t++)
                sum = dot4(k[t], q[t], sum);
            float both = scale * s.scales[(g * c.head_dim + d) / QUANT_BLOCK];
            totals[g] = fused(both, static_cast<float>(sum), totals[g]);
        }
    }
}

/* Fills p with the scores of positions [from, to) of the chunk that starts at `start`; m: the thread's own largest. */
template <int DTYPE, int HEADS>
DEVICE void chunk_scores(const attention_args &args, const attention_shared &s, const attention_work &w, uint32_t start,
                         uint32_t from, uint32_t to, float *m)
{
    const cache_place &c = args.cache;
    for (uint32_t i = from + threadIdx.x; i < to; i += THREADS) {
        uint32_t position = start + i, slot = position % c.page_tokens;
        uint8_t *keys = cache_page(c, page_of(c, w.seq, position), w.kv_head, false);
        float sums[HEADS] = {};
        if (DTYPE == BP_KV_Q8_0)
            dot_quantised<HEADS>(c, keys, s, slot, sums);
        else
            dot_floats<DTYPE, HEADS>(c, keys, s.q, slot, sums);
#pragma unroll
        for (int g = 0; g < HEADS; g++) {
            float x = sums[g] * args.scale;
            if (args.soft_cap != 0.0f)
                x = math_soft_cap(x, args.soft_cap);
            s.p[g * CHUNK_TOKENS + i] = x;
            if (x > m[g])
                m[g] = x; /* a NaN is never the largest; it stays in its own p and reaches l and o */
        }
    }
}

template <int HEADS> DEVICE void block_max(float *m, float *told)
{
#pragma unroll
    for (int g = 0; g < HEADS; g++) {
#pragma unroll
        for (int step = WARP / 2; step > 0; step /= 2) {
            float other = __shfl_xor_sync(ALL, m[g], step);
            m[g] = other > m[g] ? other : m[g];
        }
        if (threadIdx.x % WARP == 0)
            told[g * TOLD + threadIdx.x / WARP] = m[g];
    }
    __syncthreads();
#pragma unroll
    for (int g = 0; g < HEADS; g++)
        for (int i = 0; i < WARPS; i++)
            m[g] = told[g * TOLD + i] > m[g] ? told[g * TOLD + i] : m[g];
}

/* l of the chunk, by a warp: lane i of 16 adds the positions i, i + 16, … of the chunk in ascending order. */
DEVICE float warp_chunk_sum(const float *p, uint32_t from, uint32_t to)
{
    uint32_t lane = threadIdx.x % 16;
    float sum = 0.0f;
    for (uint32_t i = lane; i < to; i += 16)
        if (i >= from)
            sum = sum + p[i];
    return warp_sum<16>(sum);
}

/* The sums of p times V over positions [from, to) of the chunk, in ascending order, of element d. */
template <int DTYPE, int HEADS>
DEVICE void weigh_values(const cache_place &c, const float *p, const attention_work &w, uint32_t d, uint32_t start,
                         uint32_t from, uint32_t to, float *sums)
{
    for (uint32_t i = from; i < to;) {
        uint32_t slot = (start + i) % c.page_tokens, end = smaller(to, i + c.page_tokens - slot);
        uint8_t *values = cache_page(c, page_of(c, w.seq, start + i), w.kv_head, true);
        for (; i < end; i++, slot++) {
            uint32_t at = value_at(c, slot, d);
            float v, scale = 1.0f;
            if (DTYPE == BP_KV_Q8_0) {
                v = static_cast<float>(reinterpret_cast<const int8_t *>(values)[at]);
                scale = half_to_float(*cache_scale(c, values, slot, d / QUANT_BLOCK));
            } else {
                v = cache_float(DTYPE, values, at);
            }
#pragma unroll
            for (int g = 0; g < HEADS; g++) {
                float weight = p[g * CHUNK_TOKENS + i];
                sums[g] = fused(DTYPE == BP_KV_Q8_0 ? weight * scale : weight, v, sums[g]);
            }
        }
    }
}

/* --- chunks ----------------------------------------------------------------------------------------------------------- */

/* Of each head, the largest score and the sum of p: of a chunk, or of all so far; the same in every thread. */
template <int HEADS> struct chunk_sums {
    float m[HEADS], l[HEADS];
};

/* p, m and l of a chunk. */
template <int DTYPE, int HEADS>
DEVICE chunk_sums<HEADS> weigh_chunk(const attention_args &args, const attention_shared &s, const attention_work &w,
                                     uint32_t start, uint32_t from, uint32_t to)
{
    chunk_sums<HEADS> sums;
#pragma unroll
    for (int g = 0; g < HEADS; g++)
        sums.m[g] = -math_from_bits(0x7f800000u);
    chunk_scores<DTYPE, HEADS>(args, s, w, start, from, to, sums.m);
    block_max<HEADS>(sums.m, s.told);
    for (uint32_t i = from + threadIdx.x; i < to; i += THREADS)
#pragma unroll
        for (int g = 0; g < HEADS; g++)
            s.p[g * CHUNK_TOKENS + i] = math_exp(s.p[g * CHUNK_TOKENS + i] - sums.m[g]);
    __syncthreads(); /* all of p is there */
    for (uint32_t g = threadIdx.x / WARP; g < HEADS; g += WARPS) {
        float l = warp_chunk_sum(s.p + g * CHUNK_TOKENS, from, to);
        if (threadIdx.x % WARP == 0)
            s.told[g * TOLD + WARPS] = l;
    }
    __syncthreads(); /* and l of every head */
#pragma unroll
    for (int g = 0; g < HEADS; g++)
        sums.l[g] = s.told[g * TOLD + WARPS];
    return sums;
}

/* One chunk, onto what there is. */
template <int DTYPE, int HEADS>
DEVICE void attend_chunk(const attention_args &args, const attention_shared &s, const attention_work &w, uint32_t start,
                         bool first, chunk_sums<HEADS> *sofar)
{
    uint32_t from = w.from > start ? w.from - start : 0, to = smaller(w.to - start, CHUNK_TOKENS), dim = args.cache.head_dim;
    chunk_sums<HEADS> sums = weigh_chunk<DTYPE, HEADS>(args, s, w, start, from, to);
    float a[HEADS], b[HEADS];
#pragma unroll
    for (int g = 0; g < HEADS; g++) {
        float top = first || sums.m[g] > sofar->m[g] ? sums.m[g] : sofar->m[g];
        a[g] = first ? 0.0f : math_exp(sofar->m[g] - top);
        b[g] = first ? 1.0f : math_exp(sums.m[g] - top);
        sofar->l[g] = first ? sums.l[g] : fused(sofar->l[g], a[g], sums.l[g] * b[g]);
        sofar->m[g] = top;
    }
    for (uint32_t d = threadIdx.x; d < dim; d += THREADS) {
        float o[HEADS] = {};
        weigh_values<DTYPE, HEADS>(args.cache, s.p, w, d, start, from, to, o);
#pragma unroll
        for (int g = 0; g < HEADS; g++)
            s.o[g * dim + d] = first ? o[g] : fused(s.o[g * dim + d], a[g], o[g] * b[g]);
    }
    __syncthreads(); /* p and told are written again */
}

/* What a part leaves of each head, [2 + head_dim]: m, l, o. */
DEVICE float *part_of(const attention_args &args, uint32_t token, uint32_t head, uint32_t part)
{
    uint64_t number = (static_cast<uint64_t>(token) * args.heads + head) * args.parts + part;
    return args.partial + number * (args.cache.head_dim + 2);
}

template <int HEADS>
DEVICE void leave_part(const attention_args &args, const attention_shared &s, const attention_work &w, uint32_t part,
                       const chunk_sums<HEADS> &sums)
{
    uint32_t dim = args.cache.head_dim;
#pragma unroll
    for (int g = 0; g < HEADS; g++) {
        if (static_cast<uint32_t>(g) >= w.count)
            continue;
        float *to = part_of(args, w.token, w.head + g, part);
        if (threadIdx.x == 0) {
            to[0] = sums.m[g];
            to[1] = sums.l[g];
        }
        for (uint32_t d = threadIdx.x; d < dim; d += THREADS)
            to[2 + d] = s.o[g * dim + d];
    }
}

/* Grid: [part][kv head][heads of it / HEADS], [token]. */
template <int DTYPE, int HEADS> __global__ void __launch_bounds__(THREADS, 4) attend(attention_args args)
{
    SHARED_MEMORY(shared);
    uint32_t dim = args.cache.head_dim, kv_heads = args.cache.kv_heads, group = args.heads / kv_heads;
    uint32_t slices = (group + HEADS - 1) / HEADS, slice = blockIdx.x % slices, part = blockIdx.x / slices / kv_heads;
    attention_work w = work_of(args, blockIdx.y);
    w.kv_head = blockIdx.x / slices % kv_heads;
    w.head = w.kv_head * group + slice * HEADS;
    w.count = smaller(group - slice * HEADS, HEADS);
    uint32_t start = (w.from / CHUNK_TOKENS + part) * CHUNK_TOKENS;
    if (start >= w.to)
        return;
    attention_shared s = cut_shared<HEADS>(shared, dim);
    load_query<HEADS>(args, s, w);
    __syncthreads();
    chunk_sums<HEADS> sums;
    attend_chunk<DTYPE, HEADS>(args, s, w, start, true, &sums);
    if (args.parts)
        return leave_part<HEADS>(args, s, w, part, sums);
    for (start += CHUNK_TOKENS; start < w.to; start += CHUNK_TOKENS)
        attend_chunk<DTYPE, HEADS>(args, s, w, start, false, &sums);
    for (uint32_t base = threadIdx.x / WARP * WARP; base < dim; base += THREADS) {
        uint32_t lane = threadIdx.x % WARP, d = base + lane;
#pragma unroll
        for (int g = 0; g < HEADS; g++) {
            float y = d < dim ? s.o[g * dim + d] / sums.l[g] : 0.0f;
            if (static_cast<uint32_t>(g) < w.count && (d < dim || args.out.q))
                warp_store(args.out, w.token, (w.head + g) * dim + d, y, lane);
        }
    }
}

/* Parts in ascending order, as attend_chunk has them. Grid: [head][token]. */
__global__ void __launch_bounds__(THREADS) combine_parts(attention_args args)
{
    uint32_t head = blockIdx.x, token = blockIdx.y, dim = args.cache.head_dim, lane = threadIdx.x % WARP;
    attention_work w = work_of(args, token);
    uint32_t count = (w.to - 1) / CHUNK_TOKENS - w.from / CHUNK_TOKENS + 1;
    for (uint32_t base = threadIdx.x / WARP * WARP; base < dim; base += THREADS) {
        uint32_t d = base + lane, at = d < dim ? d : 0;
        const float *part = part_of(args, token, head, 0);
        float m = part[0], l = part[1], o = part[2 + at];
        for (uint32_t i = 1; i < count; i++) {
            part += dim + 2;
            float top = part[0] > m ? part[0] : m, a = math_exp(m - top), b = math_exp(part[0] - top);
            l = fused(l, a, part[1] * b);
            o = fused(o, a, part[2 + at] * b);
            m = top;
        }
        if (d < dim || args.out.q)
            warp_store(args.out, token, head * dim + d, d < dim ? o / l : 0.0f, lane);
    }
}

/* --- launches --------------------------------------------------------------------------------------------------------- */

static size_t shared_of(unsigned heads, uint32_t dim)
{
    return heads * (2 * static_cast<size_t>(dim) + CHUNK_TOKENS + TOLD) * sizeof(float);
}

/* Heads of a block: 1, 2, 4 or 8, for all of a group if they fit. */
static unsigned heads_at_once(uint32_t group, uint32_t dim)
{
    unsigned heads = 1;
    while (heads < MOST_HEADS && heads < group && shared_of(heads * 2, dim) <= SHARED)
        heads *= 2;
    return heads;
}

extern "C" uint32_t attention_blocks(uint32_t heads, uint32_t kv_heads, uint32_t head_dim)
{
    uint32_t group = heads / kv_heads, at_once = heads_at_once(group, head_dim);
    return kv_heads * ((group + at_once - 1) / at_once);
}

template <int DTYPE> static void start(gpu_stream *stream, const attention_args &args)
{
    uint32_t dim = args.cache.head_dim, kv_heads = args.cache.kv_heads;
    unsigned heads = heads_at_once(args.heads / kv_heads, dim);
    dim3 grid(attention_blocks(args.heads, kv_heads, dim) * (args.parts ? args.parts : 1), args.tokens);
    size_t shared = shared_of(heads, dim);
    switch (heads) {
    case 1:
        return launch(stream, attend<DTYPE, 1>, grid, THREADS, shared, args);
    case 2:
        return launch(stream, attend<DTYPE, 2>, grid, THREADS, shared, args);
    case 4:
        return launch(stream, attend<DTYPE, 4>, grid, THREADS, shared, args);
    default:
        return launch(stream, attend<DTYPE, MOST_HEADS>, grid, THREADS, shared, args);
    }
}

extern "C" void launch_attention(gpu_stream *stream, const attention_args *args)
{
    switch (args->cache.dtype) {
    case BP_KV_F16:
        start<BP_KV_F16>(stream, *args);
        break;
    case BP_KV_F32:
        start<BP_KV_F32>(stream, *args);
        break;
    case BP_KV_BF16:
        start<BP_KV_BF16>(stream, *args);
        break;
    default:
        start<BP_KV_Q8_0>(stream, *args);
    }
    if (args->parts)
        launch(stream, combine_parts, dim3(args->heads, args->tokens), THREADS, 0, *args);
}

/* --- for tests -------------------------------------------------------------------------------------------------------- */

/* Grid: [kv head]. */
__global__ void read_slot(read_kv_args args)
{
    const cache_place &c = args.cache;
    uint32_t head = blockIdx.x;
    uint8_t *keys = cache_page(c, args.page, head, false), *values = cache_page(c, args.page, head, true);
    for (uint32_t d = threadIdx.x; d < c.head_dim; d += blockDim.x) {
        uint32_t k = key_at(c, args.slot, d), v = value_at(c, args.slot, d), out = head * c.head_dim + d,
                 block = d / QUANT_BLOCK;
        if (c.dtype == BP_KV_Q8_0) {
            args.k[out] =
                half_to_float(*cache_scale(c, keys, args.slot, block)) * static_cast<float>(static_cast<int8_t>(keys[k]));
            args.v[out] = half_to_float(*cache_scale(c, values, args.slot, block)) *
                          static_cast<float>(static_cast<int8_t>(values[v]));
        } else {
            args.k[out] = cache_float(c.dtype, keys, k);
            args.v[out] = cache_float(c.dtype, values, v);
        }
    }
}

extern "C" void launch_read_kv(gpu_stream *stream, const read_kv_args *args)
{
    launch(stream, read_slot, dim3(args->cache.kv_heads), WARP, 0, *args);
}
