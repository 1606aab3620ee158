/* What a step gives: logits, vectors, or the highest logits. It goes to memory of the host that the device writes to, behind
 * the kernels; nothing but the two functions that end a step waits for the device. */
#include "model.h"

enum { FIRST_ROWS = 64 /* of the result, before more are asked for */ };

static size_t result_rows(const bp_model *model)
{
    return model->pools ? model->batch.seqs : model->batch.rows;
}

/* Memory of one size here and on the device, in place of what there is. */
static bp_status replace(gpu *g, size_t bytes, void **device, void **host, bp_error *error)
{
    void *there = NULL, *here = NULL;
    bp_status status = gpu_wait(g, error); /* for who still writes to the old */
    if (status == BP_OK)
        status = gpu_allocate(g, bytes, &there, error);
    if (status == BP_OK)
        status = gpu_allocate_host(g, bytes, &here, error);
    if (status != BP_OK) {
        gpu_free(g, there);
        return status;
    }
    gpu_free(g, *device);
    gpu_free_host(g, *host);
    *device = there;
    *host = here;
    return BP_OK;
}

bp_status reserve_result(bp_model *model, size_t rows, bp_error *error)
{
    if (rows <= model->result_rows)
        return BP_OK;
    size_t limit = model->pools ? model->limits.max_seqs : model->limits.max_rows;
    size_t wanted = size_min(limit, size_max(size_max(rows, FIRST_ROWS), 2 * model->result_rows));
    void *device = model->result, *host = model->answer;
    bp_status status = replace(model->device->gpu, size_multiply(wanted, model->output_width * sizeof(float)), &device,
                               &host, error);
    if (status != BP_OK)
        return status;
    graphs_drop(model);
    model->result = device;
    model->answer = host;
    model->result_rows = wanted;
    return BP_OK;
}

void free_results(bp_model *model)
{
    gpu *g = model->device->gpu;
    gpu_free(g, model->result);
    gpu_free_host(g, model->answer);
    gpu_free(g, model->highest);
    gpu_free_host(g, model->told);
}

bp_status model_wait(bp_model *model, float *out, uint64_t count, bp_error *error)
{
    if (!model || !model->submitted)
        return fail(error, BP_EINVAL, "%s: wait without a submitted step", gpu_backend_name);
    size_t floats = result_rows(model) * model->output_width;
    if (count != floats || (count && !out)) {
        return fail(error, BP_EINVAL, "%s: room for %llu results where the step has %zu", gpu_backend_name,
                    (unsigned long long)count, floats);
    }
    gpu *g = model->device->gpu;
    model->submitted = false;
    gpu_bind(g);
    gpu_download(g, model->answer, model->result, floats * sizeof(float));
    bp_status status = gpu_wait(g, error);
    if (status == BP_OK && floats > 0)
        memcpy(out, model->answer, floats * sizeof(float));
    return status;
}

/* Room for ids and logits, `count` of each. */
static bp_status reserve_highest(bp_model *model, size_t count, bp_error *error)
{
    if (count <= model->highest_count)
        return BP_OK;
    void *device = model->highest, *host = model->told;
    bp_status status = replace(model->device->gpu, size_multiply(count, sizeof(int32_t) + sizeof(float)), &device, &host, error);
    if (status != BP_OK)
        return status;
    model->highest = device;
    model->told = host;
    model->highest_count = count;
    return BP_OK;
}

bp_status model_wait_topk(bp_model *model, uint32_t k, int32_t *ids, float *logits, bp_error *error)
{
    if (!model || !model->submitted || !ids || !logits)
        return fail(error, BP_EINVAL, "%s: wait_topk needs a submitted step and places for ids and logits", gpu_backend_name);
    if (model->pools || k < 1 || k > model->output_width)
        return fail(error, BP_EINVAL, "%s: the %u highest of %zu logits cannot be had", gpu_backend_name, k,
                    model->pools ? 0 : model->output_width);
    size_t rows = result_rows(model), count = size_multiply(rows, k), bytes = count * sizeof(int32_t);
    gpu *g = model->device->gpu;
    bp_status status = reserve_highest(model, count, error);
    if (status != BP_OK)
        return status; /* the step is still there: wait may follow */
    model->submitted = false;
    highest_args args = {.logits = model->result,
                         .ids = (int32_t *)(void *)model->highest,
                         .values = (float *)(void *)(model->highest + bytes),
                         .width = (uint32_t)model->output_width,
                         .rows = (uint32_t)rows,
                         .count = k};
    gpu_stream *stream = gpu_bind(g);
    if (rows > 0)
        launch_highest(stream, &args);
    gpu_download(g, model->told, model->highest, 2 * bytes);
    status = gpu_wait(g, error);
    if (status == BP_OK && rows > 0) {
        memcpy(ids, model->told, bytes);
        memcpy(logits, model->told + bytes, bytes);
    }
    return status;
}
