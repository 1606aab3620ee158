/* The workspace: where values live, each only from the op that writes it to the last that reads it.
 *
 * A place is a stretch of the workspace that serves one value after another. A value takes the smallest free place that
 * holds it, or a new one; since layers repeat their shapes, a handful of places serve a whole model. An op's results never
 * share a place with its inputs. Decoding touches the first rows of a place only, so the rest of it is never resident.
 *
 * A narrow step has no barrier after a step marked `own`, so another worker may still be in it while one is in the next that
 * is not: what the former reads stays in place until the latter is over. The copies that such steps write are planned alike,
 * one row each, in every worker's scratch. */
#include "compile.h"

#include <stdlib.h>

enum { ALIGNMENT = 64 };

/* More than this for partial results of split attention is not worth it: attention then goes unsplit. */
static const size_t partials_limit = (size_t)64 << 20;

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

/* last[v] = the last step that touches value v, its writer included, or the one by which all workers have done so. */
static void find_last_uses(const bp_model *model, size_t *last)
{
    for (size_t i = 0; i < model->step_count; i++) {
        const bp_op *op = &model->steps[i].op;
        size_t over = i;
        while (model->steps[over].own && over + 1 < model->step_count)
            over++;
        for (int slot = 0; slot < 4; slot++)
            if (op->in[slot] >= 0)
                last[op->in[slot]] = over;
        for (int slot = 0; slot < 2; slot++)
            if (op->out[slot] >= 0)
                last[op->out[slot]] = over;
    }
}

static void plan_value(bp_model *model, plan *shared, plan *own, value *v, size_t now, size_t last)
{
    size_t rows = v->outputs ? model->limits.max_rows : model->limits.max_tokens;
    if (v->needs_floats) {
        size_t row = size_multiply(v->stride, sizeof(float));
        v->offset_floats = take(shared, size_round_up(size_multiply(rows, row), ALIGNMENT), now, last);
        v->own_floats = v->own ? take(own, size_round_up(row, ALIGNMENT), now, last) : 0;
    }
    if (v->needs_halves) {
        size_t row = size_multiply(v->stride, sizeof(uint16_t));
        v->offset_halves = take(shared, size_round_up(size_multiply(rows, row), ALIGNMENT), now, last);
        v->own_halves = v->own ? take(own, size_round_up(row, ALIGNMENT), now, last) : 0;
    }
    if (v->needs_blocks) {
        size_t row = size_multiply(v->width / QUANT_BLOCK, sizeof(quant_block));
        v->offset_blocks = take(shared, size_round_up(size_multiply(rows, row), ALIGNMENT), now, last);
        v->own_blocks = v->own ? take(own, size_round_up(row, ALIGNMENT), now, last) : 0;
    }
}

/* What one worker needs to run the step. */
static size_t scratch_of(const bp_model *model, const step *s)
{
    size_t floats = 0;
    switch (s->op.kind) {
    case BP_OP_LINEAR:
    case BP_OP_LOGITS:
        floats = PANEL_ROWS * PANEL_COLUMNS;
        break;
    case BP_OP_GATED_MLP:
        floats = 2 * PANEL_ROWS * PANEL_COLUMNS;
        break;
    case BP_OP_QKV:
        floats = PANEL_ROWS * (size_t)s->args.qkv.head_dim;
        break;
    case BP_OP_ATTENTION:
        return attention_scratch_bytes(&model->caches[s->op.cache], s->args.attention.heads);
    case BP_OP_POOL:
        break;
    case BP_OP_EMBED: /* a row and its bytes in the file, which are never more */
        floats = 2 * model->values[s->op.out[0]].stride;
        break;
    default:
        floats = model->values[s->op.out[0]].stride;
    }
    return size_round_up(size_multiply(floats, sizeof(float)), ALIGNMENT);
}

/* Room for the partial results of one split attention step. */
static size_t partials_of(const bp_model *model, const step *s)
{
    if (s->op.kind != BP_OP_ATTENTION || pool_workers(model->device->threads) < 2)
        return 0;
    const cache *c = &model->caches[s->op.cache];
    size_t rows = attention_tile_rows(s->args.attention.heads / c->kv_heads);
    size_t chunks = divide_up(model->max_context, CHUNK_TOKENS);
    size_t bytes = size_multiply(size_multiply(rows, c->head_dim + 2), sizeof(float));
    bytes = size_multiply(size_multiply(bytes, chunks), model->pending_count);
    return size_min(bytes, partials_limit);
}

/* Places for all values; SIZE_MAX bytes where there is no memory to plan. *partials is what a split attention needs. */
static void plan_steps(bp_model *model, plan *shared, plan *own, size_t *partials)
{
    size_t *last = calloc(model->value_count, sizeof *last);
    shared->places = calloc(model->value_count, 3 * sizeof *shared->places);
    own->places = calloc(model->value_count, 3 * sizeof *own->places);
    if (last && shared->places && own->places) {
        find_last_uses(model, last);
        for (size_t i = 0; i < model->step_count; i++) {
            const step *s = &model->steps[i];
            for (int slot = 0; slot < 2 && s->run != run_quantise; slot++)
                if (s->op.out[slot] >= 0)
                    plan_value(model, shared, own, &model->values[s->op.out[slot]], i, last[s->op.out[slot]]);
            model->scratch_bytes = size_max(model->scratch_bytes, scratch_of(model, s));
            *partials = size_max(*partials, partials_of(model, s));
        }
    } else {
        shared->bytes = SIZE_MAX;
    }
    free(last);
    free(shared->places);
    free(own->places);
}

size_t plan_workspace(bp_model *model)
{
    plan shared = {0}, own = {0};
    size_t partials = 0, workers = pool_workers(model->device->threads);
    plan_steps(model, &shared, &own, &partials);
    for (size_t i = 0; i < model->value_count; i++) {
        model->values[i].own_floats = size_add(model->values[i].own_floats, model->scratch_bytes);
        model->values[i].own_halves = size_add(model->values[i].own_halves, model->scratch_bytes);
        model->values[i].own_blocks = size_add(model->values[i].own_blocks, model->scratch_bytes);
    }
    /* Workers' scratch starts on pages of its own. */
    model->scratch_offset = size_round_up(shared.bytes, 4096);
    model->scratch_bytes = size_round_up(size_add(model->scratch_bytes, own.bytes), 4096);
    model->partials_offset = size_add(model->scratch_offset, size_multiply(workers, model->scratch_bytes));
    model->partials_bytes = partials;
    return size_add(model->partials_offset, partials);
}

void place_values(bp_model *model)
{
    for (size_t i = 0; i < model->value_count; i++) {
        value *v = &model->values[i];
        v->floats = (float *)(void *)(model->workspace.data + v->offset_floats);
        v->halves = (uint16_t *)(void *)(model->workspace.data + v->offset_halves);
        v->blocks = (quant_block *)(void *)(model->workspace.data + v->offset_blocks);
    }
}
