/* The cache pages: where a position's keys and values are, and how they get there.
 *
 * Memory is [cache][page]{K [kv_head], V [kv_head]}, each head laid out as kernels/kernels.h says. It is mapped once and touched
 * only when written. */
#include "kernels/half.h"
#include "model.h"

static size_t element_bytes(uint32_t dtype)
{
    return dtype == BP_KV_F32 ? 4 : 2;
}

/* In Q8_0 values need no more than keys. */
size_t kv_head_bytes(uint32_t dtype, size_t page_tokens, size_t head_dim)
{
    if (dtype == BP_KV_Q8_0)
        return size_multiply(page_tokens / 16, q8_0_tile_bytes(head_dim));
    return size_multiply(size_multiply(page_tokens, head_dim), element_bytes(dtype));
}

uint8_t *kv_page(const bp_model *model, const cache *c, int32_t page, size_t head)
{
    return model->kv.data + c->offset + (size_t)page * c->page_bytes + head * c->head_bytes;
}

enum { BLOCKS_AT_ONCE = 4 }; /* of a head that is quantised */

static void append_quantised_key(const bp_model *model, const cache *c, uint8_t *keys, size_t slot, const float *k)
{
    uint8_t *tile = keys + slot / 16 * q8_0_tile_bytes(c->head_dim), *scales = tile + c->head_dim * 16;
    for (size_t from = 0; from < c->head_dim; from += BLOCKS_AT_ONCE * QUANT_BLOCK) {
        quant_block blocks[BLOCKS_AT_ONCE];
        size_t count = size_min(BLOCKS_AT_ONCE * QUANT_BLOCK, c->head_dim - from);
        model->device->kernels->quantise(k + from, count, blocks);
        for (size_t b = 0; b < count / QUANT_BLOCK; b++) {
            size_t block = from / QUANT_BLOCK + b;
            uint16_t scale = half_from_float(blocks[b].scale);
            memcpy(scales + block * 32 + slot % 16 * 2, &scale, sizeof scale);
            for (size_t t = 0; t < 8; t++) {
                uint32_t quad = load_u32(blocks[b].q + t * 4) ^ 0x80808080u;
                memcpy(tile + block * 512 + t * 64 + slot % 16 * 4, &quad, sizeof quad);
            }
        }
    }
}

static void append_quantised_value(const bp_model *model, const cache *c, uint8_t *values, size_t slot, const float *v)
{
    size_t page_tokens = model->limits.page_tokens;
    uint8_t *scales = values + page_tokens * c->head_dim;
    for (size_t from = 0; from < c->head_dim; from += BLOCKS_AT_ONCE * QUANT_BLOCK) {
        quant_block blocks[BLOCKS_AT_ONCE];
        size_t count = size_min(BLOCKS_AT_ONCE * QUANT_BLOCK, c->head_dim - from);
        model->device->kernels->quantise(v + from, count, blocks);
        for (size_t b = 0; b < count / QUANT_BLOCK; b++) {
            uint16_t scale = half_from_float(blocks[b].scale);
            memcpy(scales + ((from / QUANT_BLOCK + b) * page_tokens + slot) * 2, &scale, sizeof scale);
            memcpy(values + slot * c->head_dim + from + b * QUANT_BLOCK, blocks[b].q, QUANT_BLOCK);
        }
    }
}

void kv_append_key(const bp_model *model, const cache *c, int32_t page, size_t slot, size_t head, const float *k)
{
    enum { PIECE = 64 };
    if (model->limits.kv_dtype == BP_KV_Q8_0) {
        append_quantised_key(model, c, kv_page(model, c, page, head), slot, k);
        return;
    }
    size_t width = element_bytes(model->limits.kv_dtype);
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
    uint8_t *values = kv_page(model, c, page, head) + c->kv_heads * c->head_bytes;
    if (model->limits.kv_dtype == BP_KV_Q8_0) {
        append_quantised_value(model, c, values, slot, v);
        return;
    }
    size_t width = element_bytes(model->limits.kv_dtype);
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

static float widen(uint32_t dtype, const uint8_t *data, size_t index)
{
    float x;
    switch (dtype) {
    case BP_KV_F16:
        return half_to_float(load_u16(data + index * 2));
    case BP_KV_BF16:
        return bfloat_to_float(load_u16(data + index * 2));
    default:
        memcpy(&x, data + index * 4, sizeof x);
        return x;
    }
}

static float key_element(const bp_model *model, const cache *c, const uint8_t *keys, size_t slot, size_t d)
{
    if (model->limits.kv_dtype != BP_KV_Q8_0)
        return widen(model->limits.kv_dtype, keys, (slot / 16 * c->head_dim + d) * 16 + slot % 16);
    const uint8_t *tile = keys + slot / 16 * q8_0_tile_bytes(c->head_dim), *scales = tile + c->head_dim * 16;
    float scale = half_to_float(load_u16(scales + d / QUANT_BLOCK * 32 + slot % 16 * 2));
    return scale * (float)(tile[d / 4 * 64 + slot % 16 * 4 + d % 4] - 128);
}

static float value_element(const bp_model *model, const cache *c, const uint8_t *values, size_t slot, size_t d)
{
    if (model->limits.kv_dtype != BP_KV_Q8_0)
        return widen(model->limits.kv_dtype, values, slot * c->head_dim + d);
    size_t page_tokens = model->limits.page_tokens;
    const uint8_t *scales = values + page_tokens * c->head_dim;
    float scale = half_to_float(load_u16(scales + (d / QUANT_BLOCK * page_tokens + slot) * 2));
    return scale * (float)(int8_t)values[slot * c->head_dim + d];
}

bp_status model_read_kv(bp_model *model, uint32_t number, int32_t page, uint32_t slot, float *k, float *v, bp_error *error)
{
    if (!model || !k || !v || number >= model->cache_count || page < 0 || (uint32_t)page >= model->limits.page_count ||
        slot >= model->limits.page_tokens) {
        return fail(error, BP_EINVAL, "cpu: cache %u has no slot %u of page %d", number, slot, page);
    }
    const cache *c = &model->caches[number];
    for (size_t head = 0; head < c->kv_heads; head++) {
        const uint8_t *keys = kv_page(model, c, page, head), *values = keys + c->kv_heads * c->head_bytes;
        for (size_t d = 0; d < c->head_dim; d++) {
            k[head * c->head_dim + d] = key_element(model, c, keys, slot, d);
            v[head * c->head_dim + d] = value_element(model, c, values, slot, d);
        }
    }
    return BP_OK;
}
