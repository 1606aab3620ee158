#include "recipes.h"

#include <backplane/backend.h>

#include <string.h>

enum { LAYERS = 2, SHORT = 44, LONG = 560, POSITIONS = 640 };

/* Widths: 48 is a block and a half of activations' lanes; 288 is a K block of floats and a bit of the next. The long ones cross
 * two chunks of attention, one of them with a window that begins inside a chunk. Of "groups" a kv head serves more query heads
 * than a backend may want to take at once. */
const recipe recipes[] = {
    /* name, type, cache, parts, width, hidden, heads, of k, dim, window, tokens */
    {"f32", BP_F32, BP_KV_F32, 0, 288, 48, 2, 1, 16, 0, SHORT},
    {"f16", BP_F16, BP_KV_F16, HAS_BIAS | HAS_NEOX, 272, 48, 2, 2, 16, 0, SHORT},
    {"bf16", BP_BF16, BP_KV_BF16, HAS_QK_NORM | HAS_NEOX, 304, 48, 3, 1, 16, 0, SHORT},
    {"q8_0", BP_Q8_0, BP_KV_F16, 0, 96, 160, 6, 2, 16, 0, SHORT},
    {"q4_0", BP_Q4_0, BP_KV_F32, HAS_BIAS, 96, 160, 4, 4, 32, 0, SHORT},
    {"q4_1", BP_Q4_1, BP_KV_F16, HAS_TIED_HEAD, 96, 160, 9, 3, 64, 0, SHORT},
    {"q5_0", BP_Q5_0, BP_KV_F16, HAS_NEOX, 96, 160, 3, 1, 32, 0, SHORT},
    {"q5_1", BP_Q5_1, BP_KV_BF16, HAS_BIAS, 96, 160, 3, 1, 32, 0, SHORT},
    {"iq4_nl", BP_IQ4_NL, BP_KV_F16, 0, 96, 160, 3, 3, 32, 0, SHORT},
    {"mxfp4", BP_MXFP4, BP_KV_F16, 0, 96, 160, 3, 1, 64, 0, SHORT},
    {"q2_k", BP_Q2_K, BP_KV_F16, 0, 256, 32, 2, 1, 16, 0, SHORT},
    {"q3_k", BP_Q3_K, BP_KV_F32, HAS_NEOX, 256, 32, 2, 2, 16, 0, SHORT},
    {"q4_k", BP_Q4_K, BP_KV_F16, HAS_BIAS, 256, 32, 2, 1, 16, 0, SHORT},
    {"q5_k", BP_Q5_K, BP_KV_BF16, 0, 256, 32, 2, 1, 16, 0, SHORT},
    {"q6_k", BP_Q6_K, BP_KV_F16, HAS_QK_NORM, 256, 32, 2, 1, 16, 0, SHORT},
    {"gemma", BP_Q8_0, BP_KV_BF16, HAS_QK_NORM | HAS_WINDOW | HAS_SOFT_CAP | HAS_POST_NORM | HAS_NEOX | HAS_TANH_GELU, 64,
     96, 4, 1, 32, 20, SHORT},
    {"phi", BP_F16, BP_KV_F16, HAS_HALF_ROPE | HAS_NEOX, 64, 96, 4, 2, 32, 0, SHORT},
    {"bert", BP_F32, BP_KV_F32, HAS_ENCODER | HAS_BIAS, 96, 160, 6, 6, 16, 0, SHORT},
    {"bert-q8_0", BP_Q8_0, BP_KV_F16, HAS_ENCODER | HAS_BIAS | HAS_FIRST_POOL, 96, 160, 3, 3, 32, 0, SHORT},
    {"cache-q8_0", BP_F16, BP_KV_Q8_0, HAS_QK_NORM, 64, 96, 4, 2, 64, 0, SHORT},
    {"groups", BP_Q8_0, BP_KV_F32, 0, 96, 32, 20, 2, 16, 0, SHORT},
    {"groups-q8_0", BP_Q4_0, BP_KV_Q8_0, HAS_NEOX, 96, 32, 7, 1, 32, 0, SHORT},
    {"ties", BP_Q8_0, BP_KV_F32, HAS_TIES, 64, 96, 2, 1, 16, 0, SHORT},
    {"long", BP_Q8_0, BP_KV_F16, 0, 32, 32, 4, 1, 16, 0, LONG},
    {"long-window", BP_F32, BP_KV_F32, HAS_WINDOW | HAS_SOFT_CAP | HAS_NEOX, 32, 32, 2, 2, 16, 290, LONG},
    {"long-cache", BP_Q4_0, BP_KV_Q8_0, HAS_WINDOW, 32, 32, 2, 1, 32, 300, LONG},
    {"long-bert", BP_Q4_1, BP_KV_BF16, HAS_ENCODER, 32, 32, 2, 2, 16, 0, LONG},
};
const uint32_t recipe_count = sizeof recipes / sizeof *recipes;

bool recipe_poisons(const recipe *r)
{
    return !(r->features & HAS_TIED_HEAD);
}

/* All ones is NaN in a float and in an f16 scale, and MXFP4's overflows; infinity goes where the scale comes first. */
static void poison(const net *n, int32_t table)
{
    const bp_weight *w = &n->weights[table];
    size_t row = (size_t)w->bytes / (size_t)w->shape[1], rows = (size_t)w->shape[1];
    uint8_t *data = NULL;
    for (uint32_t i = 0; i < n->owned_count; i++)
        if (n->owned[i] == w->data)
            data = n->owned[i];
    memset(data + (rows - 2) * row, 0xff, 2 * row);
    const uint32_t infinity = 0x7f800000u;
    const uint16_t narrow = w->dtype == BP_BF16 ? 0x7f80u : 0x7c00u;
    uint8_t *at = data + (rows - 2) * row;
    switch (w->dtype) {
    case BP_F32:
        for (size_t i = 0; i < row; i += 4)
            memcpy(at + i, &infinity, 4);
        break;
    case BP_F16:
    case BP_BF16:
        for (size_t i = 0; i < row; i += 2)
            memcpy(at + i, &narrow, 2);
        break;
    default:
        if (net_block_elements(w->dtype) == 32 && w->dtype != BP_MXFP4)
            memcpy(at, &narrow, 2);
    }
}

static int32_t vector(net *n, uint32_t width)
{
    return net_random_weight(n, BP_F32, width, 1);
}

/* Norms' weights are about 1. */
static int32_t norm_weight(net *n, uint32_t width)
{
    float values[512];
    for (uint32_t i = 0; i < width; i++)
        values[i] = 1.0f + 0.25f * net_uniform(n);
    return net_float_weight(n, values, width, 1);
}

/* The functions below draw weights in the order of their statements: compilers may evaluate arguments in any. */

/* A matrix of the recipe's type, or of Q8_0 where its rows are not whole blocks of that. */
static int32_t matrix(net *n, const recipe *r, uint32_t k, uint32_t rows)
{
    size_t block = net_block_elements(r->dtype);
    return net_random_weight(n, k % block == 0 ? r->dtype : BP_Q8_0, k, rows);
}

static int32_t attention(net *n, const recipe *r, int32_t h, int32_t layer, int32_t rope)
{
    bool neox = r->features & HAS_NEOX, encoder = r->features & HAS_ENCODER, bias = r->features & HAS_BIAS;
    uint32_t q = r->heads * r->dim, kv = r->kv_heads * r->dim;
    uint32_t mode = encoder ? BP_ROPE_NONE : neox ? BP_ROPE_NEOX : BP_ROPE_NORMAL;
    bp_qkv_args qkv = {r->heads, r->kv_heads, r->dim, mode, r->features & HAS_HALF_ROPE ? r->dim / 2 : r->dim,
                       encoder ? -1 : rope, 1e-6f};
    bp_attention_args args = {r->heads, encoder ? BP_MASK_NONE : BP_MASK_CAUSAL, 0.3f,
                              r->features & HAS_SOFT_CAP ? 5.0f : 0.0f, -1};
    int32_t w[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    w[0] = matrix(n, r, r->width, q);
    w[1] = matrix(n, r, r->width, kv);
    w[2] = matrix(n, r, r->width, kv);
    if (bias) {
        w[3] = vector(n, q);
        w[4] = vector(n, kv);
        w[5] = vector(n, kv);
    }
    if (r->features & HAS_QK_NORM) {
        w[6] = norm_weight(n, r->dim);
        w[7] = norm_weight(n, r->dim);
    }
    n->caches[layer] = (bp_cache){.kv_heads = r->kv_heads, .head_dim = r->dim,
                                  .window = r->features & HAS_WINDOW && layer % 2 == 1 ? r->window : 0};
    n->cache_count = (uint32_t)layer + 1;
    return net_attention(n, net_qkv(n, h, w, layer, &qkv), layer, &args);
}

/* Norm, attention, norm, gated MLP; the residual is added by products, or after a norm of what is added. */
static int32_t decoder_layer(net *n, const recipe *r, int32_t x, int32_t layer, int32_t rope)
{
    bool post = r->features & HAS_POST_NORM;
    uint32_t activation = r->features & HAS_TANH_GELU ? BP_ACT_GELU_TANH : BP_ACT_SILU;
    int32_t h = x;
    if (layer > 0 || !(r->features & HAS_TIES))
        h = net_norm(n, x, -1, 0, norm_weight(n, r->width), -1, BP_NORM_RMS, NULL);
    h = attention(n, r, h, layer, rope);
    int32_t out = matrix(n, r, r->heads * r->dim, r->width), bias = r->features & HAS_BIAS ? vector(n, r->width) : -1;
    h = net_linear(n, h, out, bias, post ? -1 : x, BP_ACT_NONE);
    x = post ? net_norm(n, h, x, BP_NORM_POST_RESIDUAL, norm_weight(n, r->width), -1, BP_NORM_RMS, NULL) : h;
    h = net_norm(n, x, -1, 0, norm_weight(n, r->width), -1, BP_NORM_RMS, NULL);
    int32_t gate = matrix(n, r, r->width, r->hidden), up = matrix(n, r, r->width, r->hidden);
    h = net_gated(n, h, gate, up, activation);
    int32_t down = matrix(n, r, r->hidden, r->width);
    h = net_linear(n, h, down, -1, post ? -1 : x, BP_ACT_NONE);
    return post ? net_norm(n, h, x, BP_NORM_POST_RESIDUAL, norm_weight(n, r->width), -1, BP_NORM_RMS, NULL) : h;
}

/* weight · in + bias */
static int32_t biased(net *n, const recipe *r, int32_t in, uint32_t k, uint32_t rows, uint32_t activation)
{
    int32_t weight = matrix(n, r, k, rows), bias = vector(n, rows);
    return net_linear(n, in, weight, bias, -1, activation);
}

static int32_t layer_norm(net *n, const recipe *r, int32_t in, int32_t residual)
{
    int32_t weight = norm_weight(n, r->width), bias = vector(n, r->width);
    return net_norm(n, in, residual, residual < 0 ? 0 : BP_NORM_PRE_RESIDUAL, weight, bias, BP_NORM_LAYER, NULL);
}

/* (x + y) * factor, y being what the positions embed as. */
static int32_t with_positions(net *n, const recipe *r, int32_t x, float factor)
{
    bp_embed_args embed = {1.0f};
    bp_scale_args scale = {factor};
    int32_t table = net_random_weight(n, BP_F16, r->width, POSITIONS);
    bp_op *o = net_op(n, BP_OP_EMBED, &embed, sizeof embed);
    o->flags = BP_EMBED_POSITION;
    o->weight[0] = table;
    int32_t y = o->out[0] = net_value(n, r->width, BP_ROWS_TOKENS);
    o = net_op(n, BP_OP_ADD, NULL, 0);
    o->in[0] = x;
    o->in[1] = y;
    int32_t sum = o->out[0] = net_value(n, r->width, BP_ROWS_TOKENS);
    o = net_op(n, BP_OP_SCALE, &scale, sizeof scale);
    o->in[0] = sum;
    return o->out[0] = net_value(n, r->width, BP_ROWS_TOKENS);
}

static int32_t encoder_layer(net *n, const recipe *r, int32_t x, int32_t layer)
{
    int32_t h = attention(n, r, x, layer, -1);
    h = biased(n, r, h, r->heads * r->dim, r->width, BP_ACT_NONE);
    x = layer_norm(n, r, h, x);
    h = biased(n, r, x, r->width, r->hidden, BP_ACT_GELU);
    h = biased(n, r, h, r->hidden, r->width, BP_ACT_NONE);
    return layer_norm(n, r, h, x);
}

/* Blocks of whole numbers with a peak of 127 and one element halfway between two: in steps of the peak's 127th it is a tie, and
 * so little of an error that these steps are taken. */
static int32_t ties_table(net *n, uint32_t width)
{
    static float values[RECIPE_VOCABULARY * 512];
    for (size_t i = 0; i < (size_t)RECIPE_VOCABULARY * width; i++) {
        float whole = (float)((int32_t)(net_next(n) % 253) - 126);
        values[i] = i % 32 == 0 ? 127.0f : i % 32 == 1 ? whole + 0.5f : whole;
    }
    return net_float_weight(n, values, width, RECIPE_VOCABULARY);
}

/* A llama's family and names, for what is one. */
static void name_llama(net *n)
{
    int32_t layer = -1;
    bool in_mlp = false;
    n->family = "llama";
    for (uint32_t i = 0; i < n->op_count; i++) {
        bp_op *o = &n->ops[i];
        bool whole = n->values[o->in[0] < 0 ? 0 : o->in[0]].rows == BP_ROWS_OUTPUTS;
        if (o->kind == BP_OP_NORM && !whole && !in_mlp)
            layer++;
        o->layer = whole || o->kind == BP_OP_EMBED || o->kind == BP_OP_ROWS ? -1 : layer;
        if (o->kind == BP_OP_EMBED) {
            net_name(n, o->weight[0], "token_embd.weight");
        } else if (o->kind == BP_OP_NORM) {
            if (whole)
                net_name(n, o->weight[0], "output_norm.weight");
            else
                net_name(n, o->weight[0], "blk.%d.%s_norm.weight", layer, in_mlp ? "ffn" : "attn");
        } else if (o->kind == BP_OP_QKV) {
            for (int w = 0; w < 3; w++)
                net_name(n, o->weight[w], "blk.%d.attn_%c.weight", layer, "qkv"[w]);
            net_name(n, n->args[i].qkv.rope_table, "rope");
        } else if (o->kind == BP_OP_LINEAR) {
            net_name(n, o->weight[0], "blk.%d.%s.weight", layer, in_mlp ? "ffn_down" : "attn_output");
            in_mlp = !in_mlp;
        } else if (o->kind == BP_OP_GATED_MLP) {
            net_name(n, o->weight[0], "blk.%d.ffn_gate.weight", layer);
            net_name(n, o->weight[1], "blk.%d.ffn_up.weight", layer);
        } else if (o->kind == BP_OP_LOGITS && o->weight[0] != n->ops[0].weight[0]) {
            net_name(n, o->weight[0], "output.weight");
        }
    }
}

void recipe_build(const recipe *r, net *n)
{
    net_begin(n, 11);
    n->max_context = POSITIONS;
    int32_t table = r->features & HAS_TIES ? ties_table(n, r->width)
                                           : net_random_weight(n, r->dtype, r->width, RECIPE_VOCABULARY);
    if (recipe_poisons(r))
        poison(n, table);
    int32_t rope = net_rope_table(n, POSITIONS, r->features & HAS_HALF_ROPE ? r->dim / 2 : r->dim);
    int32_t x = net_embed(n, table);
    if (r->features & HAS_POST_NORM)
        n->args[n->op_count - 1].embed.scale = 8.0f;
    if (r->features & HAS_ENCODER) {
        x = layer_norm(n, r, with_positions(n, r, x, 1.5f), -1);
        for (int32_t layer = 0; layer < LAYERS; layer++)
            x = encoder_layer(n, r, x, layer);
        bool first = r->features & HAS_FIRST_POOL;
        net_pool(n, x, first ? BP_POOL_FIRST : BP_POOL_MEAN, !first);
        return;
    }
    for (int32_t layer = 0; layer < LAYERS; layer++)
        x = decoder_layer(n, r, x, layer, rope);
    x = net_norm(n, net_rows(n, x), -1, 0, norm_weight(n, r->width), -1, BP_NORM_RMS, NULL);
    bool tied = r->features & HAS_TIED_HEAD, cap = r->features & HAS_SOFT_CAP;
    net_logits(n, x, tied ? table : matrix(n, r, r->width, RECIPE_VOCABULARY), cap ? 0.7f : 1.0f, cap ? 3.0f : 0.0f);
    if ((r->features & ~(uint32_t)HAS_TIED_HEAD) == 0)
        name_llama(n);
}
