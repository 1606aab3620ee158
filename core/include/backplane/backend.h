/* backplane/backend.h: a backend opens a device, compiles programs for it and runs ragged batches of them.
 *
 * Threads: open, close, info, supports, compile and release are called from one thread at a time per device. submit and
 * wait of one model are called from one thread at a time, alternating; different models of a device may be called from the
 * same loop thread only. A failing step leaves the model usable unless the status is BP_EDEVICE. */
#ifndef BACKPLANE_BACKEND_H
#define BACKPLANE_BACKEND_H

#include <backplane/program.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One step, ragged. Token t of sequence s is tokens[first[s] + t] at positions[first[s] + t]; a sequence's tokens have
 * ascending consecutive positions. Position p of a sequence lies in page pages[s * page_stride + p / page_tokens], slot
 * p % page_tokens. The core checks every index before it calls. */
typedef struct bp_batch {
    uint32_t size, seq_count, token_count, row_count, page_stride, reserved;
    const int32_t *tokens, *positions; /* [token_count] */
    const int32_t *first;              /* [seq_count + 1] offsets into tokens */
    const int32_t *context;            /* [seq_count] length of the sequence after this step */
    const int32_t *pages;              /* [seq_count][page_stride] */
    const int32_t *rows;               /* [row_count] ascending indices of tokens that want output */
    const int32_t *types;              /* [token_count] for BP_EMBED_TYPE; NULL: all are 0 */
} bp_batch;

/* Types of cached keys and values. Q8_0 has blocks of 32 elements of a head: 32 bytes and a 16-bit scale. */
enum { BP_KV_F16 = 0, BP_KV_F32 = 1, BP_KV_BF16 = 2, BP_KV_Q8_0 = 3 };

/* What the caller promises never to exceed; the backend plans its memory from it. */
typedef struct bp_limits {
    uint32_t size;
    uint32_t max_tokens, max_seqs, max_rows; /* per step */
    uint32_t page_tokens, page_count;        /* page_tokens is a multiple of 16 that divides 256, or 256 */
    uint32_t max_context;                    /* tokens of one sequence */
    uint32_t kv_dtype;                       /* BP_KV_… */
} bp_limits;

enum {
    BP_CAP_ASYNC = 1 << 0, /* submit returns before the step is done */
    BP_CAP_TOPK = 1 << 1,  /* wait_topk */
    BP_CAP_COPY = 1 << 2,  /* copy_pages */
    BP_CAP_SHARE = 1 << 3  /* models of a device that borrow the same weight data hold one copy of it, and memory() a part each */
};
typedef struct bp_device_info {
    uint32_t size, caps; /* BP_CAP_… */
    uint64_t memory_total, memory_free;
    char name[128]; /* for people: "cpu (2 threads, avx512-vnni)" */
} bp_device_info;

/* Bytes of a compiled model, by owner. */
typedef struct bp_model_memory {
    uint32_t size, reserved;
    uint64_t weights, kv, workspace; /* kv is reserved address space; pages become resident when first written */
} bp_model_memory;

/* What the device can do at most, measured on it: a figure of a model reads as a fraction of these. 0 is unknown. */
typedef struct bp_roofs {
    uint32_t size, reserved;
    double read_bandwidth; /* bytes a second, read from memory by all threads together */
    double int8_ops;       /* products and sums of 8-bit integers a second, each counted */
    double fp32_ops;       /* products and sums of binary32 a second, each counted */
    double bf16_ops;       /* the same of BF16 weights */
} bp_roofs;

typedef struct bp_device bp_device; /* the backend's own */
typedef struct bp_model bp_model;   /* the backend's own */

/* Empty slots become functions that return BP_EUNSUPPORTED. */
typedef struct bp_backend_ops {
    uint32_t size, reserved;
    /* `config` is the struct the options filled; it lives until close(). */
    bp_status (*open)(const bp_host *host, const void *config, bp_device **out, bp_error *error);
    void (*close)(bp_device *device); /* NULL is fine */
    bp_status (*info)(bp_device *device, bp_device_info *out, bp_error *error);
    /* BP_OK, or BP_EUNSUPPORTED and a sentence that names the first op or weight type that it cannot run. */
    bp_status (*supports)(bp_device *device, const bp_program *program, bp_error *error);
    /* Upload, repack, plan memory. Weight data stays borrowed until release(); the rest of the program for the call. */
    bp_status (*compile)(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out, bp_error *error);
    void (*release)(bp_model *model); /* NULL is fine */
    bp_status (*memory)(bp_model *model, bp_model_memory *out, bp_error *error);
    /* Copies the batch and starts the step. */
    bp_status (*submit)(bp_model *model, const bp_batch *batch, bp_error *error);
    /* Ends the step: `out` receives row_count * output_width floats, `count` of them. */
    bp_status (*wait)(bp_model *model, float *out, uint64_t count, bp_error *error);
    /* BP_CAP_TOPK: instead of wait, the k highest of each row, descending, ties to the lowest id. A NaN is above all, +infinity is the
     * largest finite number. ids and logits: [row_count][k]. */
    bp_status (*wait_topk)(bp_model *model, uint32_t k, int32_t *ids, float *logits, bp_error *error);
    /* BP_CAP_COPY: copies whole pages in every cache; between steps. */
    bp_status (*copy_pages)(bp_model *model, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error);
    /* For tests: reads float32 copies of K and V of one page slot of one cache, [kv_heads][head_dim] each. */
    bp_status (*read_kv)(bp_model *model, uint32_t cache, int32_t page, uint32_t slot, float *k, float *v, bp_error *error);
    /* For benchmarks: loads the whole device for about a second; no step may run meanwhile. */
    bp_status (*roofs)(bp_device *device, bp_roofs *out, bp_error *error);
} bp_backend_ops;

#ifdef __cplusplus
}
#endif
#endif
