/* The cache pages: how large they are, and what the host may do with them. Their layout is kernels/kernels.h's. */
#include "model.h"

size_t kv_head_bytes(uint32_t dtype, size_t page_tokens, size_t head_dim)
{
    size_t elements = size_multiply(page_tokens, head_dim);
    switch (dtype) {
    case BP_KV_Q8_0:
        return size_add(elements, elements / QUANT_BLOCK * 2);
    case BP_KV_F32:
        return size_multiply(elements, 4);
    default:
        return size_multiply(elements, 2);
    }
}

cache_place place_of_cache(const bp_model *model, int32_t number)
{
    const cache *c = &model->caches[number];
    return (cache_place){.data = model->kv + c->offset,
                         .page_bytes = c->page_bytes,
                         .head_bytes = c->head_bytes,
                         .pages = model->batch.pages,
                         .page_stride = (uint32_t)model->batch.page_stride,
                         .page_tokens = model->limits.page_tokens,
                         .kv_heads = (uint32_t)c->kv_heads,
                         .head_dim = (uint32_t)c->head_dim,
                         .dtype = model->limits.kv_dtype,
                         .window = (uint32_t)c->window};
}

static bool page_exists(const bp_model *model, int32_t page)
{
    return page >= 0 && (uint32_t)page < model->limits.page_count;
}

bp_status model_copy_pages(bp_model *model, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error)
{
    if (!model || (count && (!from || !to)))
        return fail(error, BP_EINVAL, "%s: copy_pages needs a model and page numbers", gpu_backend_name);
    for (uint32_t i = 0; i < count; i++) {
        if (!page_exists(model, from[i]) || !page_exists(model, to[i])) {
            return fail(error, BP_EINVAL, "%s: page %d or %d does not exist", gpu_backend_name, from[i], to[i]);
        }
    }
    gpu_bind(model->device->gpu);
    for (size_t n = 0; n < model->cache_count; n++) {
        const cache *c = &model->caches[n];
        uint8_t *pages = model->kv + c->offset;
        for (uint32_t i = 0; i < count; i++) {
            if (from[i] != to[i])
                gpu_copy(model->device->gpu, pages + (size_t)to[i] * c->page_bytes, pages + (size_t)from[i] * c->page_bytes,
                         c->page_bytes);
        }
    }
    return BP_OK;
}

bp_status model_read_kv(bp_model *model, uint32_t number, int32_t page, uint32_t slot, float *k, float *v, bp_error *error)
{
    if (!model || !k || !v || number >= model->cache_count || !page_exists(model, page) ||
        slot >= model->limits.page_tokens) {
        return fail(error, BP_EINVAL, "%s: cache %u has no slot %u of page %d", gpu_backend_name, number, slot, page);
    }
    const cache *c = &model->caches[number];
    size_t floats = c->kv_heads * c->head_dim;
    void *memory;
    gpu *g = model->device->gpu;
    bp_status status = gpu_allocate(g, 2 * floats * sizeof(float), &memory, error);
    if (status != BP_OK)
        return status;
    gpu_stream *stream = gpu_bind(g);
    read_kv_args args = {.cache = place_of_cache(model, (int32_t)number), .page = page, .slot = slot, .k = memory};
    args.v = args.k + floats;
    launch_read_kv(stream, &args);
    gpu_download(g, k, args.k, floats * sizeof *k);
    gpu_download(g, v, args.v, floats * sizeof *v);
    status = gpu_wait(g, error);
    gpu_free(g, memory);
    return status;
}
