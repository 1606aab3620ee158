/* A compiled model: packed weights, cache pages, a list of steps, and the memory they work in.
 *
 * A step is what all workers do together between two barriers; its tasks may be taken by any worker in any order, since no
 * result depends on who computed it. Values hold floats, BF16, quantised blocks, or several of them, as their
 * readers need: the op that writes a value also narrows and quantises it.
 *
 * Narrow steps, of one token, are mostly barriers: then every worker computes the row-wise ops by itself, into a copy of
 * its own (`own` in steps and values), and goes on to the next op without waiting. The bits are the same. */
#ifndef CPU_MODEL_H
#define CPU_MODEL_H

#include "device.h"
#include "memory.h"
#include "weights.h"

#include <stdatomic.h>
#include <string.h>

enum {
    PANEL_ROWS = 48,    /* token rows of one matrix-product task */
    PANEL_COLUMNS = 64, /* most outputs computed at once outside QKV, where it is a head */
    ATTENTION_ROWS = 24 /* query rows (tokens by heads of a group) that share a pass over the keys */
};

typedef struct value {
    size_t width, stride; /* floats a row; stride is a multiple of 16 */
    bool outputs;         /* a row per output, not per token */
    bool needs_floats, needs_halves, needs_blocks;
    bool quantised_later;                /* its heads are not whole blocks: run_quantise follows its writer */
    bool own;                            /* a row-wise op writes it, and products or row-wise ops alone read it */
    size_t offset_floats, offset_halves, offset_blocks; /* in the workspace */
    size_t own_floats, own_halves, own_blocks;          /* in a worker's scratch */
    float *floats;                       /* [rows][stride] */
    uint16_t *halves;                    /* [rows][stride] BF16 */
    quant_block *blocks;                 /* [rows][width / 32] */
} value;

/* A weight as the steps use it: packed for products, read in place for embedding, or a vector of floats. */
typedef struct weight {
    const weight_type *type;
    size_t k, n, tiles, tile_bytes;
    const uint8_t *source; /* the file's rows */
    size_t row_bytes;
    bool packs, embeds, is_vector; /* how it is used */
    /* Node n has the tiles [n ? end[n - 1] : 0, end[n]), one after another; with one node, all. */
    size_t end[MAX_NODES], offset_packed[MAX_NODES];
    const uint8_t *packed[MAX_NODES];
    struct packed_weight *shared; /* share.c: whose tiles these are; NULL before they are packed */
    matmul_fn *multiply;
    const float *vector;
} weight;

typedef struct cache {
    size_t kv_heads, head_dim, window;
    size_t head_bytes; /* of K, or of V, of one head in one page */
    size_t page_bytes; /* K of all heads, then V of all heads */
    size_t offset;     /* of page 0 in the cache memory */
} cache;

typedef struct step step;
typedef void step_fn(bp_model *model, const step *s, pool *threads, size_t worker);

struct step {
    step_fn *run;
    bool own; /* a narrow step: every worker does all of it */
    bp_op op; /* its args point into the host's memory: use the copy below */
    union {
        bp_embed_args embed;
        bp_norm_args norm;
        bp_linear_args linear;
        bp_qkv_args qkv;
        bp_attention_args attention;
        bp_scale_args scale;
        bp_logits_args logits;
        bp_pool_args pool;
    } args;
};

/* Query rows of one sequence that go through attention together. */
typedef struct attention_tile {
    int32_t seq, token, tokens; /* tokens [token, token + tokens) of the batch */
} attention_tile;

/* The step's input, copied and checked. */
typedef struct batch {
    size_t seqs, tokens, rows, page_stride;
    int32_t *token, *position, *type, *seq_of; /* [max_tokens] */
    int32_t *first, *context;           /* [max_seqs + 1], [max_seqs] */
    int32_t *pages;                     /* [max_seqs][max_pages] */
    int32_t *row;                       /* [max_rows] */
} batch;

struct bp_model {
    bp_device *device;
    bp_limits limits;
    size_t vocab_size, output_width, max_context, max_pages;
    size_t types; /* of tokens; 0: nothing asks */
    bool pools; /* the result is a row per sequence */
    value *values;
    weight *weights;
    cache *caches;
    step *steps;
    size_t value_count, weight_count, cache_count, step_count;
    memory vectors, kv, workspace;
    struct pack **packs; /* [pack_count] share.c: where its packed weights are */
    size_t pack_count;
    size_t scratch_offset, scratch_bytes; /* a worker's, in the workspace */
    size_t partials_offset, partials_bytes;
    _Atomic uint32_t *pending; /* [pending_count] chunks still to come of a split attention tile; zero between steps */
    size_t pending_count;
    batch batch;
    bool submitted;
    bool narrow;   /* during wait: steps and values marked `own` are each worker's */
    float *result; /* the caller's, during wait */
};

/* compile.c */
bp_status model_compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out,
                        bp_error *error);
void model_release(bp_model *model);
bp_status model_memory(bp_model *model, bp_model_memory *out, bp_error *error);

/* batch.c */
bp_status batch_new(bp_model *model);
void batch_free(batch *b);
bp_status model_submit(bp_model *model, const bp_batch *input, bp_error *error);

/* execute.c */
bp_status model_wait(bp_model *model, float *out, uint64_t count, bp_error *error);
step_fn run_embed, run_norm, run_elementwise, run_rows, run_pool, run_quantise;

/* matmul.c, attention.c */
step_fn run_linear, run_gated, run_qkv, run_logits, run_attention;
/* Which tiles of the weights that the step multiplies by belong on which node. */
void spread_weights(bp_model *model, const step *s);
size_t attention_scratch_bytes(const cache *c, size_t heads);
size_t attention_tile_rows(size_t group); /* most rows of a tile, for `group` query heads a kv head */

/* kv.c */
/* Of K, or of V, of one head in one page. */
size_t kv_head_bytes(uint32_t dtype, size_t page_tokens, size_t head_dim);
/* The key page of one head; values are at + head_bytes * kv_heads. */
uint8_t *kv_page(const bp_model *model, const cache *c, int32_t page, size_t head);
void kv_append_key(const bp_model *model, const cache *c, int32_t page, size_t slot, size_t head, const float *k);
void kv_append_value(const bp_model *model, const cache *c, int32_t page, size_t slot, size_t head, const float *v);
bp_status model_copy_pages(bp_model *model, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error);
bp_status model_read_kv(bp_model *model, uint32_t number, int32_t page, uint32_t slot, float *k, float *v, bp_error *error);

/* Shared by the steps. */
static inline size_t value_rows(const bp_model *model, const value *v)
{
    return v->outputs ? model->batch.rows : model->batch.tokens;
}
static inline float *value_row(const value *v, size_t row)
{
    return v->floats + row * v->stride;
}
static inline uint8_t *worker_scratch(const bp_model *model, size_t worker)
{
    return model->workspace.data + model->scratch_offset + worker * model->scratch_bytes;
}
/* The value as the worker sees it. Ops that may read values marked `own` come by them through this alone. */
static inline value value_at(const bp_model *model, int32_t number, size_t worker)
{
    value v = model->values[number];
    if (v.own && model->narrow) {
        v.floats = (float *)(void *)(worker_scratch(model, worker) + v.own_floats);
        v.halves = (uint16_t *)(void *)(worker_scratch(model, worker) + v.own_halves);
        v.blocks = (quant_block *)(void *)(worker_scratch(model, worker) + v.own_blocks);
    }
    return v;
}
/* The tile's place, and in *left how many from it on lie there one after another. */
static inline const uint8_t *weight_tile(const weight *w, size_t tile, size_t *left)
{
    size_t node = 0;
    while (tile >= w->end[node])
        node++;
    *left = w->end[node] - tile;
    return w->packed[node] + (tile - (node ? w->end[node - 1] : 0)) * w->tile_bytes;
}
/* Columns [column, column + n) of a row are ready in `data`: stores what the value's readers need of them. Unless the value
 * is quantised later, blocks need column and n to be multiples of 32. */
static inline void value_put(const bp_model *model, const value *v, size_t row, size_t column, size_t n, const float *data)
{
    if (v->needs_floats)
        memcpy(value_row(v, row) + column, data, n * sizeof *data);
    if (v->needs_halves) {
        uint16_t *halves = v->halves + row * v->stride;
        model->device->kernels->narrow[KV_BF16](data, n, halves + column);
        if (column + n == v->width && v->width % 2 != 0)
            halves[v->width] = 0;
    }
    if (v->needs_blocks && !v->quantised_later) {
        model->device->kernels->quantise(data, n, v->blocks + row * (v->width / QUANT_BLOCK) + column / QUANT_BLOCK);
    }
}

#endif
