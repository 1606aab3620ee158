/* What the kernels offer to the host's side: a launch function each, with plain arguments. Nothing here allocates or
 * fails: what goes wrong on the device is told by gpu_wait.
 *
 * Packed weights. N rows are grouped in tiles of 32 outputs, a lane of a warp each, padded with zero rows; a tile is
 * contiguous and aligned to 256 bytes:
 *   F32, F16     [K / P][32][P] elements, 16 bytes a piece, K rounded up to whole pieces
 *   BF16         the same
 *   the others   as blocks.h says
 *
 * Cache pages are [cache][page]{K [kv_head], V [kv_head]}. Of one kv head, K is [page_tokens/16][head_dim / P][16][P],
 * so that neighbouring positions are read together, 16 bytes each; V is [page_tokens][head_dim]. In Q8_0 both are signed
 * bytes (P is 16), and are followed by [head_dim/32][page_tokens] f16 scales. */
#ifndef CUDA_KERNELS_H
#define CUDA_KERNELS_H

#include "../runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TILE_COLUMNS = 32,  /* outputs that sit side by side in a packed tile */
    QUANT_BLOCK = 32,   /* elements that share a scale */
    K_BLOCK = 256,      /* elements of one chain of an F32 or F16 weight, or of BF16 on tensor cores */
    CHUNK_TOKENS = 256, /* positions of one attention chunk */
    TILE_ALIGNMENT = 256
};

/* What a quantised block of activations has beside its 32 bytes. */
typedef struct quant_scale {
    float scale, scaled_sum; /* scaled_sum: scale * sum of q */
    int32_t sums[2];         /* of the first 16 q, and of the last */
} quant_scale;

/* Rows of a value in the forms that its readers need; NULL where none does. */
typedef struct matrix {
    float *floats;       /* [row][stride] */
    uint16_t *halves;    /* [row][stride] BF16; of an odd width the element after the last is zero */
    int8_t *q;           /* [row][width] */
    quant_scale *scales; /* [row][width / 32] */
    uint32_t width, stride;
} matrix;

typedef struct packed {
    const uint8_t *data;
    uint64_t tile_bytes;
    uint32_t dtype, k, n;
} packed;

/* One layer's cache, and where the positions of the step's sequences are in it. */
typedef struct cache_place {
    uint8_t *data; /* page 0 */
    uint64_t page_bytes, head_bytes;
    const int32_t *pages; /* [seq][page_stride] */
    uint32_t page_stride, page_tokens, kv_heads, head_dim, dtype, window;
} cache_place;

/* The step's tokens, in device memory. */
typedef struct batch_place {
    const int32_t *token, *position, *type, *seq_of; /* [tokens]; type: where the program tells types apart */
    const int32_t *first, *context;           /* [seqs + 1], [seqs] */
    const int32_t *row;                       /* [rows] */
} batch_place;

/* pack.cu: rows [row, row + rows) of a weight, `row_bytes` apart in the file's form, into their tiles; row is a multiple
 * of 32. Tiles are zeroed beforehand. */
typedef struct pack_args {
    const uint8_t *source;
    uint8_t *packed;
    uint64_t row_bytes, tile_bytes;
    uint32_t dtype, k, row, rows;
} pack_args;
void launch_pack(gpu_stream *stream, const pack_args *args);
/* Bytes of a packed tile; SIZE_MAX where they do not fit. */
size_t packed_tile_bytes(uint32_t dtype, size_t k);

/* rows.cu */
typedef struct embed_args {
    packed weight;
    const int32_t *index; /* [rows] */
    float scale;
    uint32_t rows;
    matrix out;
} embed_args;
void launch_embed(gpu_stream *stream, const embed_args *args);

enum { ELEMENTS_ADD, ELEMENTS_SCALE, ELEMENTS_SELECT, ELEMENTS_STORE };
/* out = a + b; a * scale; a's rows index[row]; a itself, in the forms that `out` has beside floats. */
typedef struct elements_args {
    matrix a, b, out;
    const int32_t *index;
    float scale;
    uint32_t rows, what;
} elements_args;
void launch_elements(gpu_stream *stream, const elements_args *args);

typedef struct pool_args {
    matrix in;
    const int32_t *first; /* [seqs + 1] */
    float *out;           /* [seqs][width] */
    uint32_t seqs, pooling, normalise;
} pool_args;
void launch_pool(gpu_stream *stream, const pool_args *args);

/* norm.cu: `residual` and `sum` as the op's flags have them, and `weight` and `bias`, may be empty. */
typedef struct norm_args {
    matrix in, residual, sum, out;
    const float *weight, *bias;
    float epsilon;
    uint32_t rows, kind, flags;
} norm_args;
void launch_norm(gpu_stream *stream, const norm_args *args);

/* matmul*.cu: out = the product with weight[0], then as the op says. Parts that an op has not are NULL, 0 or, as scale,
 * 1. */
typedef struct matmul_args {
    packed weight[2];                      /* the second of GATED_MLP where both are of one type, else its n is 0 */
    matrix in, out;                        /* out.floats may lie inside a wider row */
    const float *bias, *factor, *residual; /* factor: [row][out.stride], multiplies; residual: [row][residual_stride] */
    float scale, soft_cap;
    uint32_t rows, activation, residual_stride;
    uint32_t stable;       /* the order may be the device's own, if it depends on K alone */
    uint32_t rows_at_once; /* set by the launch */
} matmul_args;
void launch_matmul(gpu_stream *stream, const matmul_args *args);

/* heads.cu: the floats of q, k and v in one row each become heads: bias, norm, rotation; q goes to `out`, k and v to the
 * cache. */
typedef struct heads_args {
    const float *in;        /* [token][stride]: q, k, v */
    const float *bias[3];   /* of q, k, v, or NULL */
    const float *weight[2]; /* of the norms of q and k, or NULL */
    const float *rope;      /* [position][rope_dim], or NULL */
    matrix out;
    cache_place cache;
    batch_place batch;
    uint32_t tokens, stride, heads, kv_heads, head_dim, rope_mode, rope_dim;
    float epsilon;
} heads_args;
void launch_heads(gpu_stream *stream, const heads_args *args);

/* attention.cu */
typedef struct attention_args {
    matrix q, out;
    cache_place cache;
    batch_place batch;
    float scale, soft_cap;
    uint32_t tokens, heads, causal;
    uint32_t parts; /* most chunks that a token attends to, where each has a block of its own; 0: a block has all */
    float *partial; /* what parts leave: [token][head][part][2 + head_dim] */
} attention_args;
void launch_attention(gpu_stream *stream, const attention_args *args);
/* Blocks of threads that a token has, or each part of it. */
uint32_t attention_blocks(uint32_t heads, uint32_t kv_heads, uint32_t head_dim);

/* highest.cu: of each row the `count` highest logits, descending, ties to the lowest id. */
typedef struct highest_args {
    const float *logits; /* [row][width] */
    int32_t *ids;        /* [row][count] */
    float *values;       /* [row][count] */
    uint32_t width, rows, count;
} highest_args;
void launch_highest(gpu_stream *stream, const highest_args *args);

/* K and V of one slot as floats, [kv_heads][head_dim] each. */
typedef struct read_kv_args {
    cache_place cache;
    int32_t page;
    uint32_t slot;
    float *k, *v;
} read_kv_args;
void launch_read_kv(gpu_stream *stream, const read_kv_args *args);

#ifdef __cplusplus
}
#endif
#endif
