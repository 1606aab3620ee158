/* The cache pages: where a position's keys and values are, and how they get there.
 *
 * Memory is [cache][page]{K [kv_head][page_tokens/16][head_dim][16], V [kv_head][page_tokens][head_dim]}. It is mapped once
 * and touched only when written. */
#include "kernels/half.h"
#include "model.h"

size_t kv_element_bytes(uint32_t dtype)
{
    return dtype == BP_KV_F32 ? 4 : 2;
}

uint8_t *kv_page(const bp_model *model, const cache *c, int32_t page, size_t head)
{
    return model->kv.data + c->offset + (size_t)page * c->page_bytes + head * c->head_bytes;
}

void kv_append_key(const bp_model *model, const cache *c, int32_t page, size_t slot, size_t head, const float *k)
{
    enum { PIECE = 64 };
    size_t width = kv_element_bytes(model->limits.kv_dtype);
    uint8_t *keys = kv_page(model, c, page, head) + (slot / 16 * c->head_dim * 16 + slot % 16) * width;
    uint32_t narrow[PIECE];
    for (size_t from = 0; from < c->head_dim; from += PIECE) {
        size_t count = size_min(PIECE, c->head_dim - from);
        model->device->kernels->narrow[model->limits.kv_dtype](k + from, count, narrow);
        uint8_t *to = keys + from * 16 * width;
        if (width == 2) {
            const uint8_t *halves = (const uint8_t *)narrow;
            for (size_t d = 0; d < count; d++)
                memcpy(to + d * 32, halves + d * 2, 2);
        } else {
            for (size_t d = 0; d < count; d++)
                memcpy(to + d * 64, &narrow[d], 4);
        }
    }
}

void kv_append_value(const bp_model *model, const cache *c, int32_t page, size_t slot, size_t head, const float *v)
{
    size_t width = kv_element_bytes(model->limits.kv_dtype);
    uint8_t *values = kv_page(model, c, page, head) + c->kv_heads * c->head_bytes;
    model->device->kernels->narrow[model->limits.kv_dtype](v, c->head_dim, values + slot * c->head_dim * width);
}

bp_status model_copy_pages(bp_model *model, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error)
{
    if (!model || (count && (!from || !to)))
        return fail(error, BP_EINVAL, "cpu: copy_pages needs a model and page numbers");
    for (uint32_t i = 0; i < count; i++) {
        if (from[i] < 0 || (uint32_t)from[i] >= model->limits.page_count || to[i] < 0 ||
            (uint32_t)to[i] >= model->limits.page_count) {
            return fail(error, BP_EINVAL, "cpu: page %d or %d does not exist", from[i], to[i]);
        }
    }
    for (size_t n = 0; n < model->cache_count; n++) {
        const cache *c = &model->caches[n];
        for (uint32_t i = 0; i < count; i++) {
            if (from[i] != to[i])
                memcpy(kv_page(model, c, to[i], 0), kv_page(model, c, from[i], 0), c->page_bytes);
        }
    }
    return BP_OK;
}

static float widen(uint32_t dtype, const uint8_t *at)
{
    float x;
    switch (dtype) {
    case BP_KV_F16:
        return half_to_float(load_u16(at));
    case BP_KV_BF16:
        return bfloat_to_float(load_u16(at));
    default:
        memcpy(&x, at, sizeof x);
        return x;
    }
}

bp_status model_read_kv(bp_model *model, uint32_t number, int32_t page, uint32_t slot, float *k, float *v, bp_error *error)
{
    if (!model || !k || !v || number >= model->cache_count || page < 0 || (uint32_t)page >= model->limits.page_count ||
        slot >= model->limits.page_tokens) {
        return fail(error, BP_EINVAL, "cpu: cache %u has no slot %u of page %d", number, slot, page);
    }
    const cache *c = &model->caches[number];
    uint32_t dtype = model->limits.kv_dtype;
    size_t width = kv_element_bytes(dtype);
    for (size_t head = 0; head < c->kv_heads; head++) {
        const uint8_t *keys = kv_page(model, c, page, head), *values = keys + c->kv_heads * c->head_bytes;
        for (size_t d = 0; d < c->head_dim; d++) {
            k[head * c->head_dim + d] = widen(dtype, keys + ((slot / 16 * c->head_dim + d) * 16 + slot % 16) * width);
            v[head * c->head_dim + d] = widen(dtype, values + (slot * c->head_dim + d) * width);
        }
    }
    return BP_OK;
}
