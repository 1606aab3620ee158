/* Loading weights: products read packed tiles in memory of ours, everything else the host's bytes where that is possible.
 *
 * What another model of the device has packed already is taken from there (share.c).
 *
 * Fresh memory costs more to touch than to fill, so packing is spread over the workers and asks for huge pages. Each job
 * packs a stretch of one weight and at once gives the host's pages back: the model is never resident twice. Memory comes from
 * the node of the worker that touches it first, so each node's workers pack what they will read, which lies together. */
#include "compile.h"
#include "share.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { JOB_BYTES = 1 << 20, NODE_ALIGNMENT = 2 << 20 /* of a huge page */ };

/* Tiles [tile, tile + tiles) of a weight, all of one node. */
typedef struct job {
    const weight *w;
    size_t tile, tiles;
} job;

typedef struct packing {
    bp_model *model;
    memory block;
    job *jobs;
    size_t count, end[MAX_NODES]; /* node n has the jobs [n ? end[n - 1] : 0, end[n]) */
    atomic_size_t next[MAX_NODES];
} packing;

/* Rows of a tile are too many streams at once for a processor to foresee. */
static void fetch_ahead(const uint8_t *from, size_t from_bytes, const uint8_t *to, size_t to_bytes)
{
    for (size_t i = 0; i < from_bytes; i += 64)
        __builtin_prefetch(from + i, 0, 2);
    for (size_t i = 0; i < to_bytes; i += 64)
        __builtin_prefetch(to + i, 1, 2);
}

static void run_job(const bp_host *host, const job *j)
{
    const weight *w = j->w;
    size_t tile_rows = TILE_COLUMNS * w->row_bytes;
    size_t first = j->tile * TILE_COLUMNS, rows = size_min(j->tiles * TILE_COLUMNS, w->n - first), left;
    uint8_t *to = (uint8_t *)(uintptr_t)weight_tile(w, j->tile, &left); /* read-only once it is loaded */
    for (size_t tile = j->tile; tile < j->tile + j->tiles; tile++, to += w->tile_bytes) {
        size_t row = tile * TILE_COLUMNS;
        if (tile + 1 < j->tile + j->tiles && row + 2 * TILE_COLUMNS <= w->n)
            fetch_ahead(w->source + row * w->row_bytes + tile_rows, tile_rows, to + w->tile_bytes, w->tile_bytes);
        w->type->pack(w->source + row * w->row_bytes, w->row_bytes, size_min(TILE_COLUMNS, w->n - row), w->k, to);
    }
    if (host->weight_consumed)
        host->weight_consumed(host->context, w->source + first * w->row_bytes, rows * w->row_bytes);
}

static void pack_worker(void *context, pool *threads, size_t worker)
{
    packing *p = context;
    size_t node = placement_node(pool_placement(threads), worker);
    for (size_t i; (i = atomic_fetch_add(&p->next[node], 1)) < p->end[node];)
        run_job(p->model->device->host, &p->jobs[i]);
}

static size_t tiles_of_node(const weight *w, size_t node)
{
    return w->end[node] - (node ? w->end[node - 1] : 0);
}

static bool is_to_pack(const weight *w)
{
    return w->packs && !w->shared;
}

/* Places of packed weights; returns their bytes, SIZE_MAX where they do not fit, and in *jobs how many jobs pack them. */
static size_t plan_packed(bp_model *model, size_t *jobs)
{
    size_t bytes = 0;
    *jobs = 0;
    for (size_t node = 0; node < pool_placement(model->device->threads)->nodes; node++) {
        bytes = size_round_up(bytes, NODE_ALIGNMENT);
        for (size_t i = 0; i < model->weight_count; i++) {
            weight *w = &model->weights[i];
            if (!is_to_pack(w))
                continue;
            w->tile_bytes = weight_tile_bytes(w->type, w->k);
            w->offset_packed[node] = bytes;
            bytes = size_add(bytes, size_multiply(tiles_of_node(w, node), w->tile_bytes));
            *jobs += divide_up(tiles_of_node(w, node), size_max(1, JOB_BYTES / w->tile_bytes));
        }
    }
    return bytes;
}

static void list_jobs(packing *p, bp_model *model)
{
    for (size_t node = 0; node < pool_placement(model->device->threads)->nodes; node++) {
        atomic_init(&p->next[node], p->count);
        for (size_t i = 0; i < model->weight_count; i++) {
            weight *w = &model->weights[i];
            if (!is_to_pack(w))
                continue;
            w->packed[node] = p->block.data + w->offset_packed[node];
            size_t most = size_max(1, JOB_BYTES / w->tile_bytes);
            for (size_t tile = w->end[node] - tiles_of_node(w, node); tile < w->end[node]; tile += most)
                p->jobs[p->count++] = (job){w, tile, size_min(most, w->end[node] - tile)};
        }
        p->end[node] = p->count;
    }
}

static bp_status pack_weights(bp_model *model, bp_error *error)
{
    packing p = {.model = model};
    size_t count;
    for (size_t i = 0; i < model->step_count; i++)
        spread_weights(model, &model->steps[i]);
    if (!share_take(model))
        return fail(error, BP_ENOMEM, "cpu: no memory to load the weights");
    size_t bytes = plan_packed(model, &count);
    if (bytes == 0)
        return BP_OK;
    if (memory_map(bytes, MEMORY_HUGE, &p.block) != 0)
        return fail(error, BP_ENOMEM, "cpu: no memory for %zu bytes of weights; use a smaller or more quantised model",
                    bytes);
    p.jobs = calloc(count + 1, sizeof *p.jobs);
    if (p.jobs) {
        list_jobs(&p, model);
        pool_run(model->device->threads, pack_worker, &p);
    }
    bool good = p.jobs && share_give(model, &p.block);
    free(p.jobs);
    if (good)
        return BP_OK;
    memory_unmap(&p.block);
    return fail(error, BP_ENOMEM, "cpu: no memory to load the weights");
}

/* Aligned floats are read where they are. */
static bool needs_widening(const weight *w)
{
    return w->is_vector && (w->type->dtype != BP_F32 || (uintptr_t)w->source % sizeof(float) != 0);
}

static bp_status widen_vectors(bp_model *model, bp_error *error)
{
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < model->weight_count; i++) {
        const weight *w = &model->weights[i];
        if (needs_widening(w))
            bytes = size_add(bytes, size_round_up(size_multiply(size_multiply(w->n, w->k), sizeof(float)), 64));
    }
    if (memory_map(bytes, 0, &model->vectors) != 0)
        return fail(error, BP_ENOMEM, "cpu: no memory for %zu bytes of vectors", bytes);
    for (size_t i = 0; i < model->weight_count; i++) {
        weight *w = &model->weights[i];
        if (!needs_widening(w)) {
            w->vector = w->is_vector ? (const float *)(const void *)w->source : NULL;
            continue;
        }
        float *to = (float *)(void *)(model->vectors.data + at);
        for (size_t row = 0; row < w->n; row++)
            w->type->dequantise(w->source + row * w->row_bytes, w->k, to + row * w->k);
        w->vector = to;
        at += size_round_up(w->n * w->k * sizeof(float), 64);
    }
    return BP_OK;
}

bp_status load_weights(bp_model *model, bp_error *error)
{
    bp_status status = widen_vectors(model, error);
    return status == BP_OK ? pack_weights(model, error) : status;
}
