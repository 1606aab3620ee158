/* decoder: the family of llama, pre-norm transformers with RMS norms, rotary positions, grouped heads and a gated MLP
 * (Touvron et al. 2023), and its relatives.
 *
 *   x = EMBED(token)
 *   each layer:  h = NORM(x); q = QKV(h); a = ATTENTION(q); x = LINEAR(a) + x
 *                h = NORM(x); g = GATED_MLP(h);             x = LINEAR(g) + x
 *   LOGITS(NORM(x)), or POOL(NORM(x)) of an embedder
 *
 * With post norms, Gemma's, the additions are x = NORM(LINEAR(…)) + x. Qwen3 and Gemma 3 normalise the heads of q and k;
 * Qwen2 has biases; Phi-3 keeps Q, K and V in one tensor, and gate and up in another. In the last layer ROWS comes right
 * after the attention: what follows is needed only for the rows that want output.
 *
 * An embedder's text comes in one step, so that a layer's keys and values are read before the next layer writes its own: all
 * layers share one cache, or two where some have a window. */
#include "model/decoder.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { OPS_PER_LAYER = 9, OTHER_OPS = 5 /* EMBED, two ROWS, NORM, LOGITS or POOL */ };

static int32_t add_norm(const decoder *d, builder *b, const char *weight, uint32_t rows, int32_t x)
{
    bp_norm_args args = {.kind = BP_NORM_RMS, .epsilon = d->epsilon};
    int32_t norm = builder_vector(b, weight, d->width);
    int32_t out = builder_op(b, BP_OP_NORM, d->width, rows, x, &args, sizeof args);
    builder_last(b)->weight[0] = norm;
    return out;
}

/* x + <name> · in (+ bias), the product normalised by <post> first where the family does that. */
static int32_t add_projection(const decoder *d, builder *b, const char *name, const char *post, uint32_t columns,
                              uint32_t rows, int32_t in, int32_t x)
{
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    bp_linear_args args = {.activation = BP_ACT_NONE};
    int32_t matrix = builder_matrix(b, weight, d->width, columns), vector = builder_optional_vector(b, bias, d->width);
    int32_t out = builder_op(b, BP_OP_LINEAR, d->width, rows, in, &args, sizeof args);
    builder_last(b)->weight[0] = matrix;
    builder_last(b)->weight[1] = vector;
    if (d->traits->post_norms) {
        out = add_norm(d, b, post, rows, out);
        builder_last(b)->flags = BP_NORM_POST_RESIDUAL;
    }
    builder_last(b)->in[1] = x;
    return out;
}

/* Weights of Q, K and V, their biases, and the norms of the heads of Q and K. */
static void find_qkv(const decoder *d, builder *b, int32_t weights[8])
{
    static const char *const names[] = {"attn_q", "attn_k", "attn_v"};
    uint32_t q = d->heads * d->head_dim, kv = d->kv_heads * d->head_dim, first = 0;
    for (int i = 0; i < 3; i++) {
        char weight[64], bias[64];
        uint32_t rows = i == 0 ? q : kv;
        snprintf(weight, sizeof weight, "%s.weight", names[i]);
        snprintf(bias, sizeof bias, "%s.bias", names[i]);
        weights[i] = d->traits->fused ? builder_matrix_rows(b, "attn_qkv.weight", q + 2 * kv, d->width, first, rows)
                                      : builder_matrix(b, weight, rows, d->width);
        weights[3 + i] = d->traits->fused ? -1 : builder_optional_vector(b, bias, rows);
        first += rows;
    }
    weights[6] = d->traits->head_norms ? builder_vector(b, "attn_q_norm.weight", d->head_dim) : -1;
    weights[7] = d->traits->head_norms ? builder_vector(b, "attn_k_norm.weight", d->head_dim) : -1;
}

static int32_t cache_of(decoder *d, builder *b, bool window)
{
    uint32_t reach = window ? d->window : 0;
    if (d->pooling.kind == MODEL_POOLING_FILE)
        return builder_cache(b, d->kv_heads, d->head_dim, reach);
    if (d->caches[window] < 0)
        d->caches[window] = builder_cache(b, d->kv_heads, d->head_dim, reach);
    return d->caches[window];
}

static int32_t add_attention(decoder *d, builder *b, int32_t h)
{
    uint32_t q = d->heads * d->head_dim;
    bool window = decoder_has_window(d, (uint32_t)b->layer);
    bp_qkv_args args = {.heads = d->heads, .kv_heads = d->kv_heads, .head_dim = d->head_dim,
                        .rope_mode = d->rope.mode, .rope_dim = d->rope.dim,
                        .rope_table = window ? d->rope.window_table : d->rope.table, .norm_epsilon = d->epsilon};
    bp_attention_args attention = {.heads = d->heads, .mask = BP_MASK_CAUSAL, .scale = d->attention_scale,
                                   .soft_cap = d->attention_cap, .sinks = -1};
    int32_t weights[8];
    find_qkv(d, b, weights);
    int32_t cache = cache_of(d, b, window);
    int32_t rotated = builder_op(b, BP_OP_QKV, q, BP_ROWS_TOKENS, h, &args, sizeof args);
    memcpy(builder_last(b)->weight, weights, sizeof weights);
    builder_last(b)->cache = cache;
    int32_t out = builder_op(b, BP_OP_ATTENTION, q, BP_ROWS_TOKENS, rotated, &attention, sizeof attention);
    builder_last(b)->cache = cache;
    return out;
}

static int32_t add_mlp(const decoder *d, builder *b, uint32_t rows, int32_t h)
{
    bp_linear_args args = {.activation = d->traits->activation};
    uint32_t n = d->ffn_width, k = d->width;
    bool fused = d->traits->fused;
    int32_t gate = fused ? builder_matrix_rows(b, "ffn_up.weight", 2 * n, k, 0, n)
                         : builder_matrix(b, "ffn_gate.weight", n, k);
    int32_t up = fused ? builder_matrix_rows(b, "ffn_up.weight", 2 * n, k, n, n) : builder_matrix(b, "ffn_up.weight", n, k);
    int32_t out = builder_op(b, BP_OP_GATED_MLP, n, rows, h, &args, sizeof args);
    builder_last(b)->weight[0] = gate;
    builder_last(b)->weight[1] = up;
    return out;
}

static int32_t add_layer(decoder *d, builder *b, int32_t x)
{
    uint32_t q = d->heads * d->head_dim, rows = BP_ROWS_TOKENS;
    int32_t a = add_attention(d, b, add_norm(d, b, "attn_norm.weight", rows, x));
    if ((uint32_t)b->layer + 1 == d->layers && d->pooling.kind == MODEL_POOLING_FILE) {
        rows = BP_ROWS_OUTPUTS;
        a = builder_op(b, BP_OP_ROWS, q, rows, a, NULL, 0);
        x = builder_op(b, BP_OP_ROWS, d->width, rows, x, NULL, 0);
    }
    x = add_projection(d, b, "attn_output", "post_attention_norm.weight", q, rows, a, x);
    int32_t g = add_mlp(d, b, rows, add_norm(d, b, "ffn_norm.weight", rows, x));
    return add_projection(d, b, "ffn_down", "post_ffw_norm.weight", d->ffn_width, rows, g, x);
}

/* A head that is a tensor of its own is not needed for vectors. */
static void add_result(const decoder *d, builder *b, int32_t embedding, int32_t x)
{
    if (d->pooling.kind != MODEL_POOLING_FILE) {
        const bp_weight *head = gguf_find_tensor(d->job->file, "output.weight");
        if (head)
            builder_mark_used(b, head);
        pooling_add(&d->pooling, b, add_norm(d, b, "output_norm.weight", BP_ROWS_TOKENS, x));
        return;
    }
    bp_logits_args logits = {.scale = 1, .soft_cap = d->logit_cap};
    x = add_norm(d, b, "output_norm.weight", BP_ROWS_OUTPUTS, x);
    int32_t head = builder_optional_matrix(b, "output.weight", d->vocab_size, d->width);
    builder_op(b, BP_OP_LOGITS, 0, 0, x, &logits, sizeof logits);
    builder_last(b)->weight[0] = head >= 0 ? head : embedding; /* a tied head */
}

static void add_network(decoder *d, builder *b)
{
    bp_embed_args embed = {.scale = d->traits->scaled_embedding ? sqrtf((float)d->width) : 1};
    int32_t embedding = builder_matrix(b, "token_embd.weight", d->vocab_size, d->width);
    int32_t x = builder_op(b, BP_OP_EMBED, d->width, BP_ROWS_TOKENS, -1, &embed, sizeof embed);
    builder_last(b)->weight[0] = embedding;
    for (uint32_t layer = 0; layer < d->layers; layer++) {
        b->layer = (int32_t)layer;
        x = add_layer(d, b, x);
    }
    b->layer = -1;
    add_result(d, b, embedding, x);
}

bp_status decoder_build(const architecture_job *job, bp_error *error)
{
    decoder d = {.job = job, .traits = job->arch->decoder, .caches = {-1, -1}, .error = error};
    builder b;
    bp_status status;
    if ((status = decoder_read_sizes(&d)) != BP_OK || (status = decoder_read_rope(&d)) != BP_OK ||
        (status = decoder_read_vocabulary(&d)) != BP_OK || (status = decoder_choose_context(&d)) != BP_OK ||
        (status = pooling_read(job, MODEL_POOLING_FILE, &d.pooling, error)) != BP_OK)
        return status;
    builder_begin(&b, job->file, job->memory, d.layers * OPS_PER_LAYER + OTHER_OPS, error);
    if ((status = b.status) != BP_OK || (status = decoder_read_rope_divisors(&d, &b)) != BP_OK)
        return status;
    /* The tables' numbers, the one thing that costs time, come after everything that can be wrong. */
    decoder_add_rope(&d, &b);
    add_network(&d, &b);
    if ((status = builder_finish(&b, job->program)) != BP_OK)
        return status;
    job->program->vocab_size = d.vocab_size;
    job->program->output_width = d.pooling.kind == MODEL_POOLING_FILE ? d.vocab_size : d.width;
    job->program->max_context = d.context;
    *job->shape = (model_shape){.layers = d.layers, .width = d.width, .heads = d.heads, .kv_heads = d.kv_heads,
                                .head_dim = d.head_dim, .ffn_width = d.ffn_width, .vocab_size = d.vocab_size,
                                .train_context = d.train_context, .task = pooling_task(&d.pooling),
                                .pooling = d.pooling.kind};
    return decoder_fill_rope(&d, &b);
}
