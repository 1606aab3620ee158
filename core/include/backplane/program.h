/* backplane/program.h: a model as a backend sees it.
 *
 * The core builds one bp_program per model: a flat list of fused ops over numbered values, weights and caches, with every
 * shape known. Ops run in list order. A backend sees no text, no file format and no architecture that it needs to know.
 *
 * Values are matrices of float32, one row per token of the batch (or per output row after BP_OP_ROWS), `width` columns.
 * Each value is written by exactly one op, before any op that reads it. Weights are row-major [out][in] as in the file:
 * `shape[0]` is the contiguous dimension (columns, K), `shape[1]` the rows (N). The arithmetic of every op (order,
 * rounding, elementary functions) is docs/numerics.md.
 *
 * Ownership: the program is borrowed for the call it is passed to; the weight data it points at stays mapped until the
 * model compiled from it is released. */
#ifndef BACKPLANE_PROGRAM_H
#define BACKPLANE_PROGRAM_H

#include <backplane/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The one table of weight types: name, number in GGUF, elements per quantisation block, bytes per block.
 * Block layouts are those of the GGUF specification (ggml/docs/gguf.md). */
#define BP_DTYPES(X)         \
    X(F32, 0, 1, 4)          \
    X(F16, 1, 1, 2)          \
    X(Q4_0, 2, 32, 18)       \
    X(Q4_1, 3, 32, 20)       \
    X(Q5_0, 6, 32, 22)       \
    X(Q5_1, 7, 32, 24)       \
    X(Q8_0, 8, 32, 34)       \
    X(Q2_K, 10, 256, 84)     \
    X(Q3_K, 11, 256, 110)    \
    X(Q4_K, 12, 256, 144)    \
    X(Q5_K, 13, 256, 176)    \
    X(Q6_K, 14, 256, 210)    \
    X(IQ4_NL, 20, 32, 18)    \
    X(BF16, 30, 1, 2)        \
    X(MXFP4, 39, 32, 17)

typedef enum bp_dtype {
#define BP_DTYPE_ENUM(name, gguf, elements, bytes) BP_##name = gguf,
    BP_DTYPES(BP_DTYPE_ENUM)
#undef BP_DTYPE_ENUM
} bp_dtype;

typedef struct bp_weight {
    const char *name; /* the tensor's, as GGUF spells it whatever the file is: "blk.0.attn_q.weight"; of tables, the core's own */
    uint32_t dtype;   /* bp_dtype */
    uint32_t rank;    /* 1 or 2 */
    int64_t shape[4]; /* shape[0] contiguous; unused dimensions are 1 */
    const void *data; /* not aligned beyond one byte */
    uint64_t bytes;
} bp_weight;

/* One layer's keys and values. All caches of a program share page numbers: page p holds the same tokens in each. */
typedef struct bp_cache {
    uint32_t kv_heads, head_dim;
    uint32_t window;   /* tokens a query may look back over, itself included; 0 is all */
    uint32_t reserved;
} bp_cache;

enum { BP_ROWS_TOKENS = 0, BP_ROWS_OUTPUTS = 1 };
typedef struct bp_value {
    uint32_t width; /* columns */
    uint32_t rows;  /* BP_ROWS_TOKENS or BP_ROWS_OUTPUTS */
} bp_value;

/* The op set. Slots that an op does not name are -1. `[n]` is a weight of n columns, `[n][k]` of n rows and k columns. */
typedef enum bp_op_kind {
    /* out0 = scale * dequantise(weight0[token]); weight0 [vocab][width]. With BP_EMBED_POSITION the row is that of the
     * token's position, and weight0 [max_context][width]; with BP_EMBED_TYPE that of bp_batch.types, and weight0 has a row for
     * each type. args bp_embed_args. */
    BP_OP_EMBED = 1,
    /* out0 = norm(in0) * weight0 (+ weight1). With in1: BP_NORM_PRE_RESIDUAL norm(in0 + in1), out1 (optional) the sum;
     * BP_NORM_POST_RESIDUAL in1 + norm(in0). args bp_norm_args. */
    BP_OP_NORM = 2,
    /* out0 = activation(weight0 · in0 (+ weight1)) (+ in1). args bp_linear_args. */
    BP_OP_LINEAR = 3,
    /* q = weight0 · in0 (+ weight3), k = weight1 · in0 (+ weight4), v = weight2 · in0 (+ weight5); per head q and k
     * normalised with weight6, weight7 where given; rotated by the rope table; out0 = q; k and v are written to `cache`
     * at each token's position. args bp_qkv_args. */
    BP_OP_QKV = 4,
    /* out0 = softmax(scale · in0 · K) · V over `cache`, per head. args bp_attention_args. */
    BP_OP_ATTENTION = 5,
    /* out0 = activation(weight0 · in0) * (weight1 · in0), the hidden vector of a gated MLP. args bp_linear_args. */
    BP_OP_GATED_MLP = 6,
    /* Mixture of experts. Reserved: no backend of this ABI minor runs it. */
    BP_OP_MOE = 7,
    /* out0 = in0 + in1. */
    BP_OP_ADD = 8,
    /* out0 = in0 * scale. args bp_scale_args. */
    BP_OP_SCALE = 9,
    /* out0 = the rows of in0 that the batch asks output for, in the order of bp_batch.rows. */
    BP_OP_ROWS = 10,
    /* The result: weight0 · in0 (BP_ROWS_OUTPUTS), then args bp_logits_args. The last op of a decoder. */
    BP_OP_LOGITS = 11,
    /* The result: one pooled vector a sequence. args bp_pool_args. The last op of an embedder. */
    BP_OP_POOL = 12,
    /* out0 = sum of in0 over the devices of a group. Reserved. */
    BP_OP_ALL_REDUCE = 13
} bp_op_kind;

enum { BP_EMBED_POSITION = 1, BP_EMBED_TYPE = 2 };            /* bp_op.flags of EMBED; at most one */
enum { BP_NORM_PRE_RESIDUAL = 1, BP_NORM_POST_RESIDUAL = 2 }; /* bp_op.flags of NORM */

typedef enum bp_activation { BP_ACT_NONE = 0, BP_ACT_SILU = 1, BP_ACT_GELU = 2, BP_ACT_GELU_TANH = 3, BP_ACT_TANH = 4 } bp_activation;
typedef enum bp_norm_kind { BP_NORM_RMS = 0, BP_NORM_LAYER = 1 } bp_norm_kind;
/* NORMAL rotates the pair (2i, 2i+1), NEOX the pair (i, i + rope_dim/2). */
typedef enum bp_rope_mode { BP_ROPE_NONE = 0, BP_ROPE_NORMAL = 1, BP_ROPE_NEOX = 2 } bp_rope_mode;
typedef enum bp_mask { BP_MASK_CAUSAL = 0, BP_MASK_NONE = 1 } bp_mask;
typedef enum bp_pooling { BP_POOL_LAST = 0, BP_POOL_MEAN = 1, BP_POOL_FIRST = 2 } bp_pooling;

typedef struct bp_embed_args { float scale; } bp_embed_args;
typedef struct bp_norm_args { uint32_t kind; float epsilon; } bp_norm_args;
typedef struct bp_linear_args { uint32_t activation; } bp_linear_args;
typedef struct bp_qkv_args {
    uint32_t heads, kv_heads, head_dim;
    uint32_t rope_mode, rope_dim; /* the first rope_dim of head_dim are rotated */
    int32_t rope_table;           /* weight number of F32 [positions][rope_dim]: rope_dim/2 cosines, then as many sines; -1 */
    float norm_epsilon;           /* of weight6 and weight7 */
} bp_qkv_args;
typedef struct bp_attention_args {
    uint32_t heads, mask;
    float scale;    /* multiplies the dot product */
    float soft_cap; /* 0 is none: s = cap * tanh(s / cap) */
    int32_t sinks;  /* weight number of F32 [heads], -1 */
} bp_attention_args;
typedef struct bp_scale_args { float scale; } bp_scale_args;
typedef struct bp_logits_args { float scale, soft_cap; } bp_logits_args; /* scale 1 and soft_cap 0 leave them alone */
typedef struct bp_pool_args { uint32_t pooling, normalise; } bp_pool_args;

typedef struct bp_op {
    uint16_t kind, flags;
    int32_t in[4], out[2]; /* value numbers */
    int32_t weight[8];     /* weight numbers */
    int32_t cache, layer;  /* cache number; layer for messages and layer hashes, -1 outside layers */
    uint32_t args_size;
    const void *args; /* the struct named above */
} bp_op;

enum { BP_NUMERICS_STABLE = 0, BP_NUMERICS_PORTABLE = 1 };

typedef struct bp_program {
    uint32_t size;
    uint32_t numerics;  /* BP_NUMERICS_… */
    const char *family; /* "llama", as general.architecture of GGUF: a hint, never needed */
    uint32_t op_count, weight_count, cache_count, value_count;
    const bp_op *ops;
    const bp_weight *weights;
    const bp_cache *caches;
    const bp_value *values;
    uint32_t vocab_size;   /* token ids are below it */
    uint32_t output_width; /* floats per output row */
    uint32_t max_context;  /* positions are below it (the rope table has as many rows) */
    uint32_t reserved;
} bp_program;

#ifdef __cplusplus
}
#endif
#endif
