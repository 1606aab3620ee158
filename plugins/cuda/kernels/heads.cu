/* The second half of QKV: q, k and v of a token become heads. A warp a head: bias, norm, rotation, and then to the op's
 * result or to the cache. */
#include "cache.h"

enum { WARPS = 4 };

/* x[0, head_dim) /= its root mean square, times weight. */
DEVICE void norm_head(const heads_args &args, float *x, const float *weight, unsigned lane)
{
    float sum = 0.0f;
    for (uint32_t i = lane; i < args.head_dim; i += WARP)
        sum = fused(x[i], x[i], sum);
    float r = 1.0f / square_root(warp_sum<WARP>(sum) / static_cast<float>(args.head_dim) + args.epsilon);
    for (uint32_t i = lane; i < args.head_dim; i += WARP)
        x[i] = (x[i] * r) * weight[i];
    __syncwarp();
}

DEVICE void rotate_head(const heads_args &args, float *x, uint32_t position, unsigned lane)
{
    uint32_t half = args.rope_dim / 2;
    const float *table = args.rope + static_cast<uint64_t>(position) * args.rope_dim;
    for (uint32_t i = lane; i < half; i += WARP) {
        uint32_t first = args.rope_mode == BP_ROPE_NEOX ? i : 2 * i,
                 second = args.rope_mode == BP_ROPE_NEOX ? half + i : 2 * i + 1;
        float a = x[first], b = x[second], c = table[i], s = table[half + i];
        x[first] = fused(a, c, -(b * s));
        x[second] = fused(b, c, a * s);
    }
    __syncwarp();
}

/* Grid: [heads of q, k and v / 4][token]. */
__global__ void turn_heads(heads_args args)
{
    SHARED_MEMORY(shared);
    uint32_t lane = threadIdx.x % WARP, number = blockIdx.x * WARPS + threadIdx.x / WARP, token = blockIdx.y;
    uint32_t dim = args.head_dim, which = number < args.heads ? 0 : number < args.heads + args.kv_heads ? 1 : 2;
    if (number >= args.heads + 2 * args.kv_heads)
        return;
    uint32_t head = which == 0 ? number : number - args.heads - (which - 1) * args.kv_heads;
    uint32_t position = static_cast<uint32_t>(args.batch.position[token]);
    float *x = reinterpret_cast<float *>(shared) + threadIdx.x / WARP * dim;
    const float *in = args.in + static_cast<uint64_t>(token) * args.stride + static_cast<uint64_t>(number) * dim;
    for (uint32_t i = lane; i < dim; i += WARP)
        x[i] = args.bias[which] ? in[i] + args.bias[which][head * dim + i] : in[i];
    __syncwarp();
    if (which < 2 && args.weight[which])
        norm_head(args, x, args.weight[which], lane);
    if (which < 2 && args.rope)
        rotate_head(args, x, position, lane);
    uint32_t seq = static_cast<uint32_t>(args.batch.seq_of[token]), slot = position % args.cache.page_tokens;
    uint8_t *page = which == 0 ? nullptr : cache_page(args.cache, page_of(args.cache, seq, position), head, which == 2);
    for (uint32_t base = 0; base < dim; base += WARP) {
        uint32_t d = base + lane;
        float value = d < dim ? x[d] : 0.0f;
        if (which > 0)
            warp_append(args.cache, page, slot, d, which == 2, value, lane);
        else if (d < dim || args.out.q)
            warp_store(args.out, token, head * dim + d, value, lane);
    }
}

extern "C" void launch_heads(gpu_stream *stream, const heads_args *args)
{
    unsigned heads = args->heads + 2 * args->kv_heads;
    launch(stream, turn_heads, dim3((heads + WARPS - 1) / WARPS, args->tokens), WARPS * WARP,
           WARPS * args->head_dim * sizeof(float), *args);
}
