/* The workspace: where values live, each only from the op that writes it to the last that reads it.
 *
 * A place is a stretch of the workspace that serves one value after another. A value takes the smallest free place that
 * holds it, or a new one; since layers repeat their shapes, a handful of places serve a whole model. An op's results never
 * share a place with its inputs. Ops run one after the other, so nothing else can still be reading a free place. */
#include "model.h"

#include <stdlib.h>

enum { ALIGNMENT = 256, MOST_PARTIAL_FLOATS = 16 << 20 };

typedef struct place {
    size_t offset, bytes;
    size_t busy_until; /* the step that reads it last */
} place;

typedef struct plan {
    place *places;
    size_t count, bytes;
} plan;

static size_t take(plan *p, size_t bytes, size_t now, size_t last)
{
    place *best = NULL;
    bytes = size_round_up(bytes, ALIGNMENT);
    for (size_t i = 0; i < p->count; i++) {
        place *at = &p->places[i];
        if (at->busy_until < now && at->bytes >= bytes && (!best || at->bytes < best->bytes))
            best = at;
    }
    if (!best) {
        best = &p->places[p->count++];
        *best = (place){.offset = p->bytes, .bytes = bytes};
        p->bytes = size_add(p->bytes, bytes);
    }
    best->busy_until = last;
    return best->offset;
}

/* last[v] = the last step that touches value v, its writer included. */
static void find_last_uses(const bp_model *model, size_t *last)
{
    for (size_t i = 0; i < model->step_count; i++) {
        const bp_op *op = &model->steps[i].op;
        for (int slot = 0; slot < 4; slot++)
            if (op->in[slot] >= 0)
                last[op->in[slot]] = i;
        for (int slot = 0; slot < 2; slot++)
            if (op->out[slot] >= 0)
                last[op->out[slot]] = i;
    }
}

/* An offset in the shape of a pointer, until the workspace is there. */
static void *offset_pointer(size_t offset)
{
    return (void *)(uintptr_t)offset; /* NOLINT: place_values makes a pointer of it */
}

static void plan_value(bp_model *model, plan *p, value *v, size_t now, size_t last)
{
    size_t rows = v->outputs ? model->limits.max_rows : model->limits.max_tokens;
    size_t elements = size_multiply(rows, v->stride), blocks = size_multiply(rows, v->width / QUANT_BLOCK);
    v->place.width = (uint32_t)v->width;
    v->place.stride = (uint32_t)v->stride;
    if (v->needs_floats)
        v->place.floats = offset_pointer(take(p, size_multiply(elements, sizeof(float)), now, last));
    if (v->needs_halves)
        v->place.halves = offset_pointer(take(p, size_multiply(elements, sizeof(uint16_t)), now, last));
    if (v->needs_blocks) {
        v->place.q = offset_pointer(take(p, elements, now, last));
        v->place.scales = offset_pointer(take(p, size_multiply(blocks, sizeof(quant_scale)), now, last));
    }
}

/* Bytes of products that a step leaves to its second kernel. */
static size_t scratch_of(const bp_model *model, const step *s)
{
    size_t columns = 0;
    if (s->op.kind == BP_OP_QKV) {
        size_t heads = (size_t)s->args.qkv.heads + 2 * (size_t)s->args.qkv.kv_heads;
        columns = size_multiply(heads, s->args.qkv.head_dim);
    }
    if (s->op.kind == BP_OP_GATED_MLP)
        columns = model->values[s->op.out[0]].stride;
    return size_round_up(size_multiply(size_multiply(columns, model->limits.max_tokens), sizeof(float)), ALIGNMENT);
}

size_t attention_chunks(const cache *c, size_t positions)
{
    size_t chunks = divide_up(positions, CHUNK_TOKENS);
    return c->window ? size_min(chunks, divide_up(c->window, CHUNK_TOKENS) + 1) : chunks;
}

/* Floats that parts of attention leave, of as many tokens as may be split (execute.c), as far as they may cost memory. */
static size_t partial_of(const bp_model *model, const step *s)
{
    if (s->op.kind != BP_OP_ATTENTION)
        return 0;
    const cache *c = &model->caches[s->op.cache];
    size_t parts = attention_chunks(c, model->limits.max_context);
    uint32_t heads = s->args.attention.heads, dim = (uint32_t)c->head_dim;
    size_t tokens = SPLIT_BLOCKS * (size_t)model->device->processors / attention_blocks(heads, (uint32_t)c->kv_heads, dim);
    if (parts < 2)
        return 0;
    tokens = size_min(size_max(tokens, 1), model->limits.max_tokens);
    size_t floats = size_multiply(size_multiply(tokens, size_multiply(heads, parts)), (size_t)dim + 2);
    return size_min(floats, MOST_PARTIAL_FLOATS);
}

size_t plan_workspace(bp_model *model)
{
    plan p = {0};
    size_t *last = calloc(model->value_count, sizeof *last), scratch = 0;
    p.places = calloc(model->value_count, 4 * sizeof *p.places);
    if (last && p.places) {
        find_last_uses(model, last);
        for (size_t i = 0; i < model->step_count; i++) {
            const step *s = &model->steps[i];
            for (int slot = 0; slot < 2; slot++)
                if (s->op.out[slot] >= 0)
                    plan_value(model, &p, &model->values[s->op.out[slot]], i, last[s->op.out[slot]]);
            scratch = size_max(scratch, scratch_of(model, s));
            model->partial_floats = size_max(model->partial_floats, partial_of(model, s));
        }
        model->scratch = offset_pointer(p.bytes);
        p.bytes = size_add(p.bytes, scratch);
        model->partial = offset_pointer(p.bytes);
        p.bytes = size_add(p.bytes, model->partial_floats * sizeof(float));
    } else {
        p.bytes = SIZE_MAX;
    }
    free(last);
    free(p.places);
    return p.bytes;
}

void place_values(bp_model *model)
{
    uint8_t *base = model->workspace;
    for (size_t i = 0; i < model->value_count; i++) {
        value *v = &model->values[i];
        v->place.floats = v->needs_floats ? (float *)(void *)(base + (uintptr_t)v->place.floats) : NULL;
        v->place.halves = v->needs_halves ? (uint16_t *)(void *)(base + (uintptr_t)v->place.halves) : NULL;
        v->place.q = v->needs_blocks ? (int8_t *)(base + (uintptr_t)v->place.q) : NULL;
        v->place.scales = v->needs_blocks ? (quant_scale *)(void *)(base + (uintptr_t)v->place.scales) : NULL;
    }
    model->scratch = (float *)(void *)(base + (uintptr_t)model->scratch);
    model->partial = (float *)(void *)(base + (uintptr_t)model->partial);
}
