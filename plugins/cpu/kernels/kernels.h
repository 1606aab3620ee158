/* What a kernel set provides: the arithmetic of docs/numerics.md over plain arrays, one table per instruction set.
 *
 * kernels/generic_*.c are the specification in scalar code. The AVX2 and AVX-512 sets give the same bits (NaN payloads
 * aside). No kernel allocates, fails, or knows of threads, ops or programs.
 *
 * Packed weights. N rows are grouped in tiles of 16 output columns, padded with zero rows; a tile is contiguous:
 *   F32          [K][16] float
 *   F16          [K][16] 16-bit
 *   BF16         [K/2][16][2] 16-bit, K rounded up
 *   the others   as blocks.h says
 * and its size is rounded up to 64 bytes.
 *
 * Cache pages. Of one kv head: K is [page_tokens/16][head_dim][16], so that scores run along positions; V is
 * [page_tokens][head_dim]. In Q8_0, K is [page_tokens/16] packed tiles of Q8_0 weights, whose columns are positions; V is
 * [page_tokens][head_dim] signed bytes, then [head_dim/32][page_tokens] f16 scales. */
#ifndef CPU_KERNELS_H
#define CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TILE_COLUMNS = 16,  /* outputs that sit side by side in a packed tile */
    QUANT_BLOCK = 32,   /* elements that share a scale */
    K_BLOCK = 256,      /* elements of one FMA chain of an F32 or F16 weight */
    CHUNK_TOKENS = 256, /* positions of one attention chunk */
    NORM_LANES = 32
};

/* A block of activations is tried in two steps: its peak is 127 of them, or 126, whose squares are larger by this. */
#define QUANT_COARSER ((127.0f / 126.0f) * (127.0f / 126.0f))

/* One block of 32 quantised activations, a cache line. The products are what the u8 forms of the weights subtract. */
typedef struct quant_block {
    int8_t q[QUANT_BLOCK];
    float scale;
    float scaled_sum;  /* scale * sum of q */
    int32_t minus_8;     /* -8 * sum of q */
    int32_t minus_16;    /* -16 * sum of q */
    int32_t minus_128;   /* -128 * sum of q */
    int32_t minus_32[2]; /* -32 * sum of the first 16 q, and of the last */
    int32_t reserved;
} quant_block;

typedef struct matmul_input {
    const float *values;    /* [row][stride], for F32 and F16 weights */
    const uint16_t *halves; /* [row][stride] BF16, for BF16 weights; of an odd k the element after the last is zero */
    size_t stride;
    const quant_block *blocks; /* [row][k / 32], for quantised weights */
} matmul_input;

/* out[r * out_stride + c] = dot(row `row + r` of x, packed column c) for `tiles` tiles from `packed`, `rows` rows.
 * out holds 16 * tiles columns a row. */
typedef void matmul_fn(const uint8_t *packed, size_t tile_bytes, size_t k, size_t tiles, const matmul_input *x, size_t row,
                       size_t rows, float *out, size_t out_stride);

enum { KV_F16 = 0, KV_F32 = 1, KV_BF16 = 2, KV_Q8_0 = 3, KV_TYPES = 4 };

/* Bytes of a packed tile of Q8_0 of K elements. */
static inline size_t q8_0_tile_bytes(size_t k)
{
    return (k * TILE_COLUMNS + k / QUANT_BLOCK * TILE_COLUMNS * 2 + 63) / 64 * 64;
}

/* Query rows against one chunk of one kv head. A row attends to the positions [from, to) of the chunk, from < to. */
typedef struct attention_chunk {
    size_t head_dim, page_tokens;
    const void *keys[CHUNK_TOKENS / 16], *values[CHUNK_TOKENS / 16]; /* of this head, a pointer a page; only pages in use */
    float scale, soft_cap;
    size_t rows;
    const float *const *q;     /* [rows]; not for Q8_0 */
    const quant_block *blocks; /* [rows][head_dim / 32], for Q8_0 */
    const uint16_t *from, *to; /* [rows] relative to the chunk */
    float *scores;             /* scratch [rows][CHUNK_TOKENS] */
    float *m, *l;              /* out [rows] */
    float *o;                  /* out [rows][head_dim] */
} attention_chunk;

typedef struct kernels {
    const char *name;
    /* x[n] to blocks[n / 32]. */
    void (*quantise)(const float *x, size_t n, quant_block *blocks);
    /* weight and bias may be NULL. */
    void (*norm_rms)(const float *x, const float *weight, const float *bias, float epsilon, size_t n, float *out);
    void (*norm_layer)(const float *x, const float *weight, const float *bias, float epsilon, size_t n, float *out);
    /* out = x / sqrt(sum of squares), or x where that is zero. */
    void (*normalise)(const float *x, size_t n, float *out);
    void (*add)(const float *a, const float *b, size_t n, float *out);
    void (*multiply)(const float *a, const float *b, size_t n, float *out);
    void (*scale)(const float *a, float factor, size_t n, float *out);
    void (*activate)(int activation, const float *x, size_t n, float *out); /* bp_activation */
    void (*soft_cap)(const float *x, float cap, size_t n, float *out);
    /* In place; table is half cosines then half sines. */
    void (*rope_normal)(float *x, const float *table, size_t half);
    void (*rope_neox)(float *x, const float *table, size_t half);
    /* x[n] rounded to nearest even in a floating-point cache type, contiguous. Of F16, n is a multiple of 16. */
    void (*narrow[KV_Q8_0])(const float *x, size_t n, void *out);
    void (*attend[KV_TYPES])(const attention_chunk *chunk);
    /* M, L, O absorb the next chunk. */
    void (*combine)(float *m, float *l, float *o, float chunk_m, float chunk_l, const float *chunk_o, size_t n);
    /* out = o / l */
    void (*divide)(const float *o, float l, size_t n, float *out);
} kernels;

extern const kernels generic_kernels, avx2_kernels, avx512_kernels;

/* Of floating-point weights; those of blocks are declared in blocks.h. */
matmul_fn generic_f32, generic_f16, generic_bf16;
matmul_fn avx2_f32, avx2_f16, avx2_bf16;
matmul_fn avx512_f32, avx512_f16, avx512_bf16, avx512_bf16_dot;

#endif
