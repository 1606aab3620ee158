/* Plugin ABI 1.0, frozen: a backend's side, and models as it saw them. */
#ifndef OLD_BACKEND_H
#define OLD_BACKEND_H

#include "plugin.h"


enum { BP_F32 = 0, BP_F16 = 1, BP_MXFP4 = 39 }; /* the lowest, the next and the highest; the rest lie between */

typedef struct bp_weight {
    const char *name;
    uint32_t dtype;
    uint32_t rank;
    int64_t shape[4];
    const void *data;
    uint64_t bytes;
} bp_weight;

typedef struct bp_cache {
    uint32_t kv_heads, head_dim;
    uint32_t window;
    uint32_t reserved;
} bp_cache;
enum { BP_ROWS_TOKENS = 0, BP_ROWS_OUTPUTS = 1 };

typedef struct bp_value {
    uint32_t width;
    uint32_t rows;
} bp_value;

typedef enum bp_op_kind {
    BP_OP_EMBED = 1,
    BP_OP_NORM = 2,
    BP_OP_LINEAR = 3,
    BP_OP_QKV = 4,
    BP_OP_ATTENTION = 5,
    BP_OP_GATED_MLP = 6,
    BP_OP_MOE = 7,
    BP_OP_ADD = 8,
    BP_OP_SCALE = 9,
    BP_OP_ROWS = 10,
    BP_OP_LOGITS = 11,
    BP_OP_POOL = 12,
    BP_OP_ALL_REDUCE = 13
} bp_op_kind;
enum { BP_NORM_PRE_RESIDUAL = 1, BP_NORM_POST_RESIDUAL = 2 };
typedef enum bp_activation {
    BP_ACT_NONE = 0, BP_ACT_SILU = 1, BP_ACT_GELU = 2, BP_ACT_GELU_TANH = 3, BP_ACT_TANH = 4
} bp_activation;
typedef enum bp_norm_kind { BP_NORM_RMS = 0, BP_NORM_LAYER = 1 } bp_norm_kind;
typedef enum bp_rope_mode { BP_ROPE_NONE = 0, BP_ROPE_NORMAL = 1, BP_ROPE_NEOX = 2 } bp_rope_mode;
typedef enum bp_mask { BP_MASK_CAUSAL = 0, BP_MASK_NONE = 1 } bp_mask;
typedef enum bp_pooling { BP_POOL_LAST = 0, BP_POOL_MEAN = 1, BP_POOL_FIRST = 2 } bp_pooling;
typedef struct bp_embed_args { float scale; } bp_embed_args;
typedef struct bp_norm_args { uint32_t kind; float epsilon; } bp_norm_args;
typedef struct bp_linear_args { uint32_t activation; } bp_linear_args;

typedef struct bp_qkv_args {
    uint32_t heads, kv_heads, head_dim;
    uint32_t rope_mode, rope_dim;
    int32_t rope_table;
    float norm_epsilon;
} bp_qkv_args;

typedef struct bp_attention_args {
    uint32_t heads, mask;
    float scale;
    float soft_cap;
    int32_t sinks;
} bp_attention_args;
typedef struct bp_scale_args { float scale; } bp_scale_args;
typedef struct bp_logits_args { float scale, soft_cap; } bp_logits_args;
typedef struct bp_pool_args { uint32_t pooling, normalise; } bp_pool_args;

typedef struct bp_op {
    uint16_t kind, flags;
    int32_t in[4], out[2];
    int32_t weight[8];
    int32_t cache, layer;
    uint32_t args_size;
    const void *args;
} bp_op;
enum { BP_NUMERICS_STABLE = 0, BP_NUMERICS_PORTABLE = 1 };

typedef struct bp_program {
    uint32_t size;
    uint32_t numerics;
    const char *family;
    uint32_t op_count, weight_count, cache_count, value_count;
    const bp_op *ops;
    const bp_weight *weights;
    const bp_cache *caches;
    const bp_value *values;
    uint32_t vocab_size;
    uint32_t output_width;
    uint32_t max_context;
    uint32_t reserved;
} bp_program;

typedef struct bp_batch {
    uint32_t size, seq_count, token_count, row_count, page_stride, reserved;
    const int32_t *tokens, *positions;
    const int32_t *first;
    const int32_t *context;
    const int32_t *pages;
    const int32_t *rows;
} bp_batch;
enum { BP_KV_F16 = 0, BP_KV_F32 = 1, BP_KV_BF16 = 2 };

typedef struct bp_limits {
    uint32_t size;
    uint32_t max_tokens, max_seqs, max_rows;
    uint32_t page_tokens, page_count;
    uint32_t max_context;
    uint32_t kv_dtype;
} bp_limits;

enum {
    BP_CAP_ASYNC = 1 << 0,
    BP_CAP_TOPK = 1 << 1,
    BP_CAP_COPY = 1 << 2
};

typedef struct bp_device_info {
    uint32_t size, caps;
    uint64_t memory_total, memory_free;
    char name[128];
} bp_device_info;

typedef struct bp_model_memory {
    uint32_t size, reserved;
    uint64_t weights, kv, workspace;
} bp_model_memory;

typedef struct bp_device bp_device;
typedef struct bp_model bp_model;

typedef struct bp_backend_ops {
    uint32_t size, reserved;
    bp_status (*open)(const bp_host *host, const void *config, bp_device **out, bp_error *error);
    void (*close)(bp_device *device);
    bp_status (*info)(bp_device *device, bp_device_info *out, bp_error *error);
    bp_status (*supports)(bp_device *device, const bp_program *program, bp_error *error);
    bp_status (*compile)(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out, bp_error *error);
    void (*release)(bp_model *model);
    bp_status (*memory)(bp_model *model, bp_model_memory *out, bp_error *error);
    bp_status (*submit)(bp_model *model, const bp_batch *batch, bp_error *error);
    bp_status (*wait)(bp_model *model, float *out, uint64_t count, bp_error *error);
    bp_status (*wait_topk)(bp_model *model, uint32_t k, int32_t *ids, float *logits, bp_error *error);
    bp_status (*copy_pages)(bp_model *model, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error);
    bp_status (*read_kv)(bp_model *model, uint32_t cache, int32_t page, uint32_t slot, float *k, float *v, bp_error *error);
} bp_backend_ops;

#endif
