/* A compiled model: packed weights, cache pages, and the list of ops, whose values have their places in one workspace.
 *
 * A step is launched op after op on one stream, or as a graph of these launches (graphs.c), so each op finds its inputs ready
 * and nothing waits on the host but model_wait. A value is kept as floats, BF16, quantised blocks, or several of them, as its readers need; the kernel
 * that writes it also narrows and quantises it, unless its heads are not whole blocks of 32, when a kernel of its own
 * does (`stored_later`). */
#ifndef CUDA_MODEL_H
#define CUDA_MODEL_H

#include "kernels/kernels.h"
#include "validate.h"

#include <string.h>

enum { SPLIT_BLOCKS = 2 /* of attention, a processor: with fewer, chunks are parts */ };

struct bp_device {
    const bp_host *host;
    gpu *gpu;
    uint32_t processors; /* that blocks of threads run on */
};

typedef struct value {
    size_t width, stride; /* floats a row; stride is a multiple of 32 */
    bool outputs;         /* a row per output, not per token */
    bool needs_floats, needs_halves, needs_blocks;
    bool stored_later;
    matrix place;
} value;

/* A weight as ops use it: packed for products and embedding, or a vector of floats. */
typedef struct weight {
    const dtype_facts *type;
    size_t k, n, row_bytes;
    const uint8_t *source;
    bool packs, is_vector;
    size_t offset_packed, offset_vector;
    packed packed;
    const float *vector;
} weight;

typedef struct cache {
    size_t kv_heads, head_dim, window;
    size_t head_bytes, page_bytes, offset;
} cache;

typedef struct step {
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
} step;

/* The step's input on its way to the device: staged in one piece. */
typedef struct batch {
    size_t seqs, tokens, rows;
    int32_t *staged, *placed; /* [capacity] on the host, and on the device */
    size_t capacity;
    batch_place place;
    const int32_t *pages;
    size_t page_stride;
    size_t depth; /* no sequence is longer: a power of two, or max_context */
} batch;

/* What decides which launches a step has, and with which arguments. */
typedef struct batch_shape {
    size_t seqs, tokens, rows, depth;
} batch_shape;

typedef struct graph {
    batch_shape shape;
    uint64_t used; /* when, by the model's graph_clock; 0: nothing is here */
    gpu_graph *recorded;
    bool refused; /* the device makes no graph of it */
} graph;

enum { GRAPHS = 32 };

struct bp_model {
    bp_device *device;
    bp_limits limits;
    size_t vocab_size, output_width;
    size_t types; /* of tokens; 0: nothing asks */
    bool stable; /* the tier: bits need not be other devices' */
    bool pools; /* the result is a row per sequence */
    value *values;
    weight *weights;
    cache *caches;
    step *steps;
    size_t value_count, weight_count, cache_count, step_count;
    uint8_t *packed, *vectors, *kv, *workspace;
    size_t packed_bytes, vectors_bytes, kv_bytes, workspace_bytes;
    float *scratch; /* in the workspace: products before they become heads or factors */
    float *partial; /* in the workspace, partial_floats: what parts of attention leave */
    size_t partial_floats;
    float *result;  /* [result_rows][output_width], on the device; grows with what is asked for */
    float *answer;  /* its copy on the host, of the same size */
    size_t result_rows;
    uint8_t *highest, *told; /* of wait_topk: highest_count ids, then as many logits; on the device, and here */
    size_t highest_count;
    graph graphs[GRAPHS];
    uint64_t graph_clock;
    batch batch;
    bool submitted;
};

/* device.c */
bp_status device_open(const bp_host *host, const void *config, bp_device **out, bp_error *error);
void device_close(bp_device *device);
bp_status device_info(bp_device *device, bp_device_info *out, bp_error *error);

/* compile.c */
bp_status model_compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out,
                        bp_error *error);
void model_release(bp_model *model);
bp_status model_memory(bp_model *model, bp_model_memory *out, bp_error *error);

/* plan.c: gives values and the scratch their places in a workspace that is not there yet (offsets from NULL); its bytes,
 * SIZE_MAX where it does not fit. place_values adds where it is. */
size_t plan_workspace(bp_model *model);
/* The most chunks of a cache that a token attends to. */
size_t attention_chunks(const cache *c, size_t positions);
void place_values(bp_model *model);

/* load.c: uploads and packs what ops read; tells the host what has been copied. */
bp_status load_weights(bp_model *model, bp_error *error);

/* batch.c */
bp_status batch_new(bp_model *model, bp_error *error);
void batch_free(bp_model *model);
bp_status model_submit(bp_model *model, const bp_batch *input, bp_error *error);

/* results.c: room for the rows of a step, here and on the device: what earlier steps needed, or twice that. */
bp_status reserve_result(bp_model *model, size_t rows, bp_error *error);
void free_results(bp_model *model);
bp_status model_wait(bp_model *model, float *out, uint64_t count, bp_error *error);
bp_status model_wait_topk(bp_model *model, uint32_t k, int32_t *ids, float *logits, bp_error *error);

/* execute.c: launches all ops on the batch. */
void execute_steps(bp_model *model, gpu_stream *stream);

/* graphs.c: the same, in one launch where its shape is known. Graphs are dropped when the result moves. */
void run_steps(bp_model *model, gpu_stream *stream);
void graphs_drop(bp_model *model);

/* kv.c */
size_t kv_head_bytes(uint32_t dtype, size_t page_tokens, size_t head_dim);
cache_place place_of_cache(const bp_model *model, int32_t number);
bp_status model_copy_pages(bp_model *model, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error);
bp_status model_read_kv(bp_model *model, uint32_t number, int32_t page, uint32_t slot, float *k, float *v, bp_error *error);

static inline size_t value_rows(const bp_model *model, const value *v)
{
    return v->outputs ? model->batch.rows : model->batch.tokens;
}

#endif
