/* Loading weights: rows go to the device through staging memory as they are in the file and are packed there, a few at a
 * time; vectors are widened to floats on the way.
 *
 * Two stages take turns, on a stream of their own: while the rows of one are copied from the file, those of the other are on their
 * way or are packed. A stage's memory here is written to again when it has been uploaded, its memory there when what it
 * held has been packed. */
#include "cpu/kernels/half.h"

#include "model.h"

#include <stdlib.h>

enum { STAGE_BYTES = 8 << 20, STAGE_ROWS = 65504 /* in a grid's second dimension; a multiple of a tile's columns */ };

typedef struct stage {
    uint8_t *host, *device;
} stage;

/* Gives a weight the next place, unless it has one. */
static void plan_packed(weight *w, size_t *bytes)
{
    if (!w->packs || w->packed.n > 0)
        return;
    w->packed = (packed){.tile_bytes = packed_tile_bytes(w->type->dtype, w->k),
                         .dtype = w->type->dtype,
                         .k = (uint32_t)w->k,
                         .n = (uint32_t)w->n};
    w->offset_packed = *bytes;
    *bytes = size_add(*bytes, size_multiply(divide_up(w->n, TILE_COLUMNS), w->packed.tile_bytes));
}

/* The weights of a QKV go side by side, so that those of one type can be multiplied as one (run_qkv). */
static void plan_weights(bp_model *model)
{
    size_t packed_bytes = 0, vector_bytes = 0;
    for (size_t i = 0; i < model->step_count; i++)
        for (int j = 0; model->steps[i].op.kind == BP_OP_QKV && j < 3; j++)
            plan_packed(&model->weights[model->steps[i].op.weight[j]], &packed_bytes);
    for (size_t i = 0; i < model->weight_count; i++) {
        weight *w = &model->weights[i];
        plan_packed(w, &packed_bytes);
        if (w->is_vector) {
            w->offset_vector = vector_bytes;
            vector_bytes =
                size_add(vector_bytes, size_round_up(size_multiply(size_multiply(w->n, w->k), sizeof(float)), 256));
        }
    }
    model->packed_bytes = packed_bytes;
    model->vectors_bytes = vector_bytes;
}

static bp_status allocate_weights(bp_model *model, bp_error *error)
{
    gpu *g = model->device->gpu;
    bp_error cause = {0};
    void *packed_memory = NULL, *vectors = NULL;
    bp_status status = gpu_allocate(g, model->packed_bytes, &packed_memory, &cause);
    model->packed = packed_memory;
    if (status == BP_OK)
        status = gpu_allocate(g, model->vectors_bytes, &vectors, &cause);
    model->vectors = vectors;
    if (status != BP_OK)
        return fail(error, status, "%.400s of weights; use a smaller or more quantised model", cause.message);
    gpu_fill_zero(g, model->packed, model->packed_bytes);
    for (size_t i = 0; i < model->weight_count; i++) {
        weight *w = &model->weights[i];
        w->packed.data = w->packs ? model->packed + w->offset_packed : NULL;
        w->vector = w->is_vector ? (const float *)(const void *)(model->vectors + w->offset_vector) : NULL;
    }
    return BP_OK;
}

static void consumed(const bp_model *model, const uint8_t *from, size_t bytes)
{
    const bp_host *host = model->device->host;
    if (host->weight_consumed)
        host->weight_consumed(host->context, from, bytes);
}

/* Rows [row, row + rows) of a weight through stage number `turn`. */
static void pack_rows(bp_model *model, gpu_stream *stream, const weight *w, size_t row, size_t rows, const stage *through,
                      unsigned turn)
{
    gpu *g = model->device->gpu;
    const uint8_t *from = w->source + row * w->row_bytes;
    size_t bytes = rows * w->row_bytes;
    gpu_stage_wait(g, turn);
    memcpy(through->host, from, bytes);
    if (!w->is_vector)
        consumed(model, from, bytes);
    gpu_stage_upload(g, turn, through->device, through->host, bytes);
    pack_args args = {.source = through->device,
                      .packed = model->packed + w->offset_packed,
                      .row_bytes = w->row_bytes,
                      .tile_bytes = w->packed.tile_bytes,
                      .dtype = w->type->dtype,
                      .k = (uint32_t)w->k,
                      .row = (uint32_t)row,
                      .rows = (uint32_t)rows};
    launch_pack(stream, &args);
    gpu_stage_free(g, turn);
}

static bp_status pack_weights(bp_model *model, const stage stages[GPU_STAGES], size_t bytes, bp_error *error)
{
    gpu_stream *stream = gpu_bind(model->device->gpu);
    unsigned turn = 0;
    for (size_t i = 0; i < model->weight_count; i++) {
        const weight *w = &model->weights[i];
        if (!w->packs)
            continue;
        size_t most = size_min(bytes / w->row_bytes / TILE_COLUMNS * TILE_COLUMNS, STAGE_ROWS), rows;
        for (size_t row = 0; row < w->n; row += rows, turn = (turn + 1) % GPU_STAGES) {
            rows = size_min(most, w->n - row);
            pack_rows(model, stream, w, row, rows, &stages[turn], turn);
        }
    }
    return gpu_wait(model->device->gpu, error);
}

static float widened(const weight *w, size_t i)
{
    if (w->type->dtype == BP_F16)
        return half_to_float(load_u16(w->source + i * 2));
    if (w->type->dtype == BP_BF16)
        return bfloat_to_float(load_u16(w->source + i * 2));
    float x;
    memcpy(&x, w->source + i * 4, sizeof x);
    return x;
}

/* Vectors, and rope tables, which are large: in pieces of a stage. */
static bp_status upload_vectors(bp_model *model, const stage *through, size_t bytes, bp_error *error)
{
    gpu *g = model->device->gpu;
    float *floats = (float *)(void *)through->host;
    for (size_t i = 0; i < model->weight_count; i++) {
        const weight *w = &model->weights[i];
        size_t count = w->n * w->k, most = bytes / sizeof(float), piece;
        for (size_t at = 0; w->is_vector && at < count; at += piece) {
            piece = size_min(most, count - at);
            for (size_t j = 0; j < piece; j++)
                floats[j] = widened(w, at + j);
            gpu_upload(g, model->vectors + w->offset_vector + at * sizeof(float), floats, piece * sizeof(float));
            bp_status status = gpu_wait(g, error);
            if (status != BP_OK)
                return status;
        }
    }
    return BP_OK;
}

/* A stage holds at least 32 rows of any weight. */
static size_t stage_bytes(const bp_model *model)
{
    size_t bytes = STAGE_BYTES;
    for (size_t i = 0; i < model->weight_count; i++)
        bytes = size_max(bytes, size_multiply(model->weights[i].row_bytes, TILE_COLUMNS));
    return bytes;
}

bp_status load_weights(bp_model *model, bp_error *error)
{
    gpu *g = model->device->gpu;
    stage stages[GPU_STAGES] = {{0}};
    plan_weights(model);
    bp_status status = allocate_weights(model, error);
    size_t bytes = stage_bytes(model);
    for (int i = 0; i < GPU_STAGES && status == BP_OK; i++) {
        void *host = NULL, *device = NULL;
        status = gpu_allocate_host(g, bytes, &host, error);
        stages[i].host = host;
        if (status == BP_OK)
            status = gpu_allocate(g, bytes, &device, error);
        stages[i].device = device;
    }
    if (status == BP_OK)
        status = upload_vectors(model, &stages[0], bytes, error);
    if (status == BP_OK)
        status = pack_weights(model, stages, bytes, error);
    for (int i = 0; i < GPU_STAGES; i++) {
        gpu_free_host(g, stages[i].host);
        gpu_free(g, stages[i].device);
    }
    return status;
}
