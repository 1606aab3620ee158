/* ATTENTION: a block of threads for each head of a token, chunk after chunk of 256 positions, in the order of
 * docs/numerics.md.
 *
 * Shared memory: the query, the chunk's weights p, the result so far, and what the warps tell each other. */
#include "cache.h"

enum { THREADS = 128, WARPS = THREADS / WARP, TOLD = 8 };

struct attention_shared {
    float *q, *p, *o, *told; /* [head_dim], [256], [head_dim], [TOLD] */
    uint32_t *quads;         /* [head_dim / 4], of a cache of Q8_0 */
    quant_scale *scales;     /* [head_dim / 32], likewise */
};

DEVICE attention_shared cut_shared(unsigned char *at, uint32_t dim)
{
    attention_shared s;
    s.scales = reinterpret_cast<quant_scale *>(at);
    s.q = reinterpret_cast<float *>(s.scales + dim / QUANT_BLOCK);
    s.quads = reinterpret_cast<uint32_t *>(s.q);
    s.o = s.q + dim;
    s.p = s.o + dim;
    s.told = s.p + CHUNK_TOKENS;
    return s;
}

DEVICE void load_query(const attention_args &args, const attention_shared &s, uint32_t token, uint32_t head)
{
    uint32_t dim = args.cache.head_dim;
    uint64_t at = static_cast<uint64_t>(head) * dim;
    if (args.cache.dtype != BP_KV_Q8_0) {
        for (uint32_t d = threadIdx.x; d < dim; d += THREADS)
            s.q[d] = args.q.floats[static_cast<uint64_t>(token) * args.q.stride + at + d];
        return;
    }
    at += static_cast<uint64_t>(token) * args.q.width;
    for (uint32_t i = threadIdx.x; i < dim / 4; i += THREADS)
        s.quads[i] = *reinterpret_cast<const uint32_t *>(args.q.q + at + i * 4);
    for (uint32_t i = threadIdx.x; i < dim / QUANT_BLOCK; i += THREADS)
        s.scales[i] = args.q.scales[at / QUANT_BLOCK + i];
}

DEVICE float dot_floats(const cache_place &c, const uint8_t *keys, const float *q, uint32_t slot)
{
    uint32_t piece = cache_piece(c.dtype);
    float sum = 0.0f;
    for (uint32_t d = 0; d < c.head_dim; d += piece) {
        uint32_t at = key_at(c, slot, d);
        for (uint32_t e = 0; e < piece; e++)
            sum = fused(q[d + e], cache_float(c.dtype, keys, at + e), sum);
    }
    return sum;
}

/* The product with the key as a row of Q8_0 weights. */
DEVICE float dot_quantised(const cache_place &c, uint8_t *keys, const attention_shared &s, uint32_t slot)
{
    float total = 0.0f;
    for (uint32_t block = 0; block < c.head_dim / QUANT_BLOCK; block++) {
        int sum = 0;
        for (uint32_t t = 0; t < 8; t++) {
            uint32_t d = block * QUANT_BLOCK + t * 4;
            sum = dot4(*reinterpret_cast<const uint32_t *>(keys + key_at(c, slot, d)), s.quads[d / 4], sum);
        }
        float scale = half_to_float(*cache_scale(c, keys, slot, block));
        total = fused(scale * s.scales[block].scale, static_cast<float>(sum), total);
    }
    return total;
}

/* Fills p with the scores of positions [from, to) of the chunk that starts at `start`; the thread's own largest. */
DEVICE float chunk_scores(const attention_args &args, const attention_shared &s, uint32_t seq, uint32_t head,
                          uint32_t start, uint32_t from, uint32_t to)
{
    const cache_place &c = args.cache;
    float m = -math_from_bits(0x7f800000u);
    for (uint32_t i = from + threadIdx.x; i < to; i += THREADS) {
        uint32_t position = start + i, slot = position % c.page_tokens;
        uint8_t *keys = cache_page(c, page_of(c, seq, position), head, false);
        float x = c.dtype == BP_KV_Q8_0 ? dot_quantised(c, keys, s, slot) : dot_floats(c, keys, s.q, slot);
        x = x * args.scale;
        if (args.soft_cap != 0.0f)
            x = math_soft_cap(x, args.soft_cap);
        s.p[i] = x;
        if (x > m)
            m = x; /* a NaN is never the largest; it stays in its own p and reaches l and o */
    }
    return m;
}

DEVICE float block_max(float m, float *told)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        float other = __shfl_xor_sync(ALL, m, step);
        m = other > m ? other : m;
    }
    if (threadIdx.x % WARP == 0)
        told[threadIdx.x / WARP] = m;
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        m = told[i] > m ? told[i] : m;
    return m;
}

/* l of the chunk, by the first warp: lane i of 16 adds the positions i, i + 16, … of the chunk in ascending order. */
DEVICE float warp_chunk_sum(const float *p, uint32_t from, uint32_t to)
{
    uint32_t lane = threadIdx.x % 16;
    float sum = 0.0f;
    for (uint32_t i = lane; i < to; i += 16)
        if (i >= from)
            sum = sum + p[i];
    return warp_sum<16>(sum);
}

/* The sum of p times V over positions [from, to) of the chunk, in ascending order, of element d. */
DEVICE float weigh_values(const attention_args &args, const float *p, uint32_t seq, uint32_t head, uint32_t d,
                          uint32_t start, uint32_t from, uint32_t to)
{
    const cache_place &c = args.cache;
    float sum = 0.0f;
    for (uint32_t i = from; i < to; i++) {
        uint32_t position = start + i, slot = position % c.page_tokens;
        uint8_t *values = cache_page(c, page_of(c, seq, position), head, true);
        uint32_t at = value_at(c, slot, d);
        if (c.dtype == BP_KV_Q8_0) {
            float scale = half_to_float(*cache_scale(c, values, slot, d / QUANT_BLOCK));
            sum = fused(p[i] * scale, static_cast<float>(reinterpret_cast<const int8_t *>(values)[at]), sum);
        } else {
            sum = fused(p[i], cache_float(c.dtype, values, at), sum);
        }
    }
    return sum;
}

/* The largest score and the sum of all chunks so far; the same in every thread. */
struct running {
    float m, l;
    bool any;
};

/* One chunk, onto what there is. */
DEVICE void attend_chunk(const attention_args &args, const attention_shared &s, running *sofar, uint32_t seq,
                         uint32_t kv_head, uint32_t start, uint32_t from, uint32_t to)
{
    float m = block_max(chunk_scores(args, s, seq, kv_head, start, from, to), s.told);
    for (uint32_t i = from + threadIdx.x; i < to; i += THREADS)
        s.p[i] = math_exp(s.p[i] - m);
    __syncthreads();
    if (threadIdx.x < WARP) {
        float l = warp_chunk_sum(s.p, from, to);
        if (threadIdx.x == 0)
            s.told[WARPS] = l;
    }
    __syncthreads();
    float l = s.told[WARPS], top = m > sofar->m ? m : sofar->m, a = math_exp(sofar->m - top), b = math_exp(m - top);
    for (uint32_t d = threadIdx.x; d < args.cache.head_dim; d += THREADS) {
        float o = weigh_values(args, s.p, seq, kv_head, d, start, from, to);
        s.o[d] = sofar->any ? fused(s.o[d], a, o * b) : o;
    }
    sofar->l = sofar->any ? fused(sofar->l, a, l * b) : l;
    sofar->m = sofar->any ? top : m;
    sofar->any = true;
    __syncthreads(); /* p and told are written again */
}

/* Grid: [head][token]. */
__global__ void __launch_bounds__(THREADS) attend(attention_args args)
{
    SHARED_MEMORY(shared);
    uint32_t head = blockIdx.x, token = blockIdx.y, dim = args.cache.head_dim;
    uint32_t kv_head = head / (args.heads / args.cache.kv_heads);
    uint32_t seq = static_cast<uint32_t>(args.batch.seq_of[token]);
    uint32_t position = static_cast<uint32_t>(args.batch.position[token]);
    uint32_t to = args.causal ? position + 1 : static_cast<uint32_t>(args.batch.context[seq]);
    uint32_t from = args.cache.window && position + 1 > args.cache.window ? position + 1 - args.cache.window : 0;
    attention_shared s = cut_shared(shared, dim);
    load_query(args, s, token, head);
    __syncthreads();
    running sofar = {0.0f, 0.0f, false};
    for (uint32_t start = from / CHUNK_TOKENS * CHUNK_TOKENS; start < to; start += CHUNK_TOKENS) {
        uint32_t first = from > start ? from - start : 0, end = smaller(to - start, CHUNK_TOKENS);
        attend_chunk(args, s, &sofar, seq, kv_head, start, first, end);
    }
    for (uint32_t base = threadIdx.x / WARP * WARP; base < dim; base += THREADS) {
        uint32_t lane = threadIdx.x % WARP, d = base + lane;
        float y = d < dim ? s.o[d] / sofar.l : 0.0f;
        if (d < dim || args.out.q)
            warp_store(args.out, token, head * dim + d, y, lane);
    }
}

extern "C" void launch_attention(gpu_stream *stream, const attention_args *args)
{
    uint32_t dim = args->cache.head_dim;
    size_t shared = dim / QUANT_BLOCK * sizeof(quant_scale) + (2 * dim + CHUNK_TOKENS + TOLD) * sizeof(float);
    launch(stream, attend, dim3(args->heads, args->tokens), THREADS, shared, *args);
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
