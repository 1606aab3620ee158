/* What this backend asks of a device: memory, copies, graphs of launches, and waiting. Two implementations, of which one is linked:
 * real/runtime.c on the CUDA runtime, and emulated/runtime.cpp on the host's own memory and threads.
 *
 * 1. Everything is in one order, but for uploads of stages: copies and launches of a gpu happen one after the other, and are
 *    done when gpu_wait returns.
 * 2. A device that fails once is lost: gpu_wait and everything after it say so until the gpu is closed.
 *
 * One thread at a time. Errors are sentences that begin with the backend's name. */
#ifndef CUDA_RUNTIME_H
#define CUDA_RUNTIME_H

#include "support.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Filled by the host from gpu_options. */
typedef struct gpu_config {
    int64_t device;  /* real: the device's number */
    int64_t threads; /* emulated: threads of the host */
    int64_t order;   /* emulated: seed of the order in which threads run; 0 is ascending */
    int64_t fail_at; /* emulated: the launch at which the device is lost; 0 is none */
} gpu_config;

/* The implementation's part of the plugin's descriptor. */
extern const char gpu_backend_name[], gpu_backend_summary[];
extern const bp_option gpu_options[];

typedef struct gpu gpu;
typedef struct gpu_stream gpu_stream;

typedef struct gpu_facts {
    char name[96]; /* for people */
    uint64_t memory_total, memory_free;
    uint32_t processors; /* that blocks run on */
    size_t shared_bytes; /* a block may have */
} gpu_facts;

bp_status gpu_open(const bp_host *host, const gpu_config *config, gpu **out, bp_error *error);
void gpu_close(gpu *g); /* NULL is fine */
bp_status gpu_describe(gpu *g, gpu_facts *out, bp_error *error);
/* The thread that calls this launches on the device from then on. */
gpu_stream *gpu_bind(gpu *g);

/* Of the device; what is in it is not defined. BP_ENOMEM where there is none, which loses nothing. Zero bytes give NULL. */
bp_status gpu_allocate(gpu *g, size_t bytes, void **out, bp_error *error);
void gpu_free(gpu *g, void *memory);
/* Of the host, from and to which copies are fast. */
bp_status gpu_allocate_host(gpu *g, size_t bytes, void **out, bp_error *error);
void gpu_free_host(gpu *g, void *memory);

/* Started in order. Host memory must stay as it is until gpu_wait. Their errors are gpu_wait's. */
void gpu_upload(gpu *g, void *to, const void *from, size_t bytes);
void gpu_download(gpu *g, void *to, const void *from, size_t bytes);
void gpu_copy(gpu *g, void *to, const void *from, size_t bytes);
void gpu_fill_zero(gpu *g, void *to, size_t bytes);

/* Uploads beside what runs, by a second stream, through stages of which each is used in turns:
 *   gpu_stage_wait(g, s)       the host may write to the stage's memory on its side
 *   gpu_stage_upload(g, s, …)  begins when the stage is free; launches from here on find it done
 *   gpu_stage_free(g, s)       it is, once all that has been launched so far is done
 * As with other copies, errors are gpu_wait's, which waits for these too. */
enum { GPU_STAGES = 2 };
void gpu_stage_wait(gpu *g, unsigned stage);
void gpu_stage_upload(gpu *g, unsigned stage, void *to, const void *from, size_t bytes);
void gpu_stage_free(gpu *g, unsigned stage);

/* Launches as one list. From gpu_record to gpu_recorded they are kept, with their arguments, and not run; nothing else may be
 * asked of the gpu meanwhile. gpu_recorded gives NULL where the device makes no graph of them, which loses nothing. */
typedef struct gpu_graph gpu_graph;
void gpu_record(gpu *g);
gpu_graph *gpu_recorded(gpu *g);
void gpu_replay(gpu *g, gpu_graph *graph);
void gpu_graph_free(gpu *g, gpu_graph *graph); /* NULL is fine */

/* Until everything is done. BP_EDEVICE, and why, where anything since the last wait went wrong. */
bp_status gpu_wait(gpu *g, bp_error *error);

#ifdef __cplusplus
}
#endif
#endif
