/* The ops that are matrix products: LINEAR, GATED_MLP, QKV and LOGITS.
 *
 * Work is cut into blocks of token rows by output columns; a worker multiplies a block into its own scratch, finishes it
 * there (bias, activation, rotation, residual, quantisation) and stores what readers need. With few rows a worker takes one
 * contiguous share of the columns, so that it streams its part of the weights; with many, blocks are claimed as they come,
 * all row panels of a column block in a row while its weights are near. */
#include "model.h"

typedef struct block {
    size_t row, rows, column, columns;
} block;

typedef void block_fn(bp_model *model, const step *s, const block *b, float *scratch);

/* Cuts [rows] x [units * unit] into blocks; `columns` bounds the last one. `most` columns at a time, a multiple of unit. */
static void each_block(bp_model *model, const step *s, pool *threads, size_t worker, size_t rows, size_t columns,
                       size_t unit, size_t most, block_fn *fn)
{
    float *scratch = (float *)(void *)worker_scratch(model, worker);
    size_t workers = pool_workers(threads), panels = divide_up(rows, PANEL_ROWS);
    if (panels <= 1) {
        size_t units = divide_up(columns, unit), end = size_min(columns, units * (worker + 1) / workers * unit);
        for (size_t column = units * worker / workers * unit; rows > 0 && column < end; column += most) {
            fn(model, s, &(block){0, rows, column, size_min(most, end - column)}, scratch);
        }
        return;
    }
    size_t wide = divide_up(columns, most), from, to;
    while (pool_claim(threads, wide * panels, 1, &from, &to)) {
        for (size_t task = from; task < to; task++) {
            size_t row = task % panels * PANEL_ROWS, column = task / panels * most;
            fn(model, s, &(block){row, size_min(PANEL_ROWS, rows - row), column, size_min(most, columns - column)},
               scratch);
        }
    }
}

/* out[r][16 * tiles] = the products of the block's rows with packed columns [column, column + columns); column is a
 * multiple of 16. Returns the stride of out. */
static size_t multiply(const weight *w, const value *in, const block *b, size_t column, float *out)
{
    matmul_input x = {in->floats, in->halves, in->stride, in->blocks};
    size_t tile = column / TILE_COLUMNS, tiles = divide_up(b->columns, TILE_COLUMNS), stride = tiles * TILE_COLUMNS;
    w->multiply(w->packed + tile * w->tile_bytes, w->tile_bytes, w->k, tiles, &x, b->row, b->rows, out, stride);
    return stride;
}

static void linear_block(bp_model *model, const step *s, const block *b, float *scratch)
{
    const kernels *k = model->device->kernels;
    const value *out = &model->values[s->op.out[0]];
    const float *bias = s->op.weight[1] >= 0 ? model->weights[s->op.weight[1]].vector + b->column : NULL;
    const value *residual = s->op.in[1] >= 0 ? &model->values[s->op.in[1]] : NULL;
    size_t stride = multiply(&model->weights[s->op.weight[0]], &model->values[s->op.in[0]], b, b->column, scratch);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = scratch + r * stride;
        if (bias)
            k->add(row, bias, b->columns, row);
        if (s->args.linear.activation != BP_ACT_NONE)
            k->activate((int)s->args.linear.activation, row, b->columns, row);
        if (residual)
            k->add(row, value_row(residual, b->row + r) + b->column, b->columns, row);
        value_put(model, out, b->row + r, b->column, b->columns, row);
    }
}

void run_linear(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value *out = &model->values[s->op.out[0]];
    each_block(model, s, threads, worker, value_rows(model, out), out->width, QUANT_BLOCK, PANEL_COLUMNS, linear_block);
}

static void gated_block(bp_model *model, const step *s, const block *b, float *scratch)
{
    const kernels *k = model->device->kernels;
    const value *in = &model->values[s->op.in[0]], *out = &model->values[s->op.out[0]];
    float *up = scratch + PANEL_ROWS * PANEL_COLUMNS;
    size_t stride = multiply(&model->weights[s->op.weight[0]], in, b, b->column, scratch);
    multiply(&model->weights[s->op.weight[1]], in, b, b->column, up);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = scratch + r * stride;
        k->activate((int)s->args.linear.activation, row, b->columns, row);
        k->multiply(row, up + r * stride, b->columns, row);
        value_put(model, out, b->row + r, b->column, b->columns, row);
    }
}

void run_gated(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value *out = &model->values[s->op.out[0]];
    each_block(model, s, threads, worker, value_rows(model, out), out->width, QUANT_BLOCK, PANEL_COLUMNS, gated_block);
}

static void logits_block(bp_model *model, const step *s, const block *b, float *scratch)
{
    const kernels *k = model->device->kernels;
    size_t stride = multiply(&model->weights[s->op.weight[0]], &model->values[s->op.in[0]], b, b->column, scratch);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = scratch + r * stride;
        if (s->args.logits.scale != 1.0f)
            k->scale(row, s->args.logits.scale, b->columns, row);
        if (s->args.logits.soft_cap != 0.0f)
            k->soft_cap(row, s->args.logits.soft_cap, b->columns, row);
        memcpy(model->result + (b->row + r) * model->output_width + b->column, row, b->columns * sizeof *row);
    }
}

void run_logits(bp_model *model, const step *s, pool *threads, size_t worker)
{
    each_block(model, s, threads, worker, model->batch.rows, model->output_width, QUANT_BLOCK, PANEL_COLUMNS, logits_block);
}

/* One head of q or k, in place: norm, then rotation. */
static void turn_head(const bp_model *model, const step *s, int32_t norm, size_t position, float *head)
{
    const kernels *k = model->device->kernels;
    const bp_qkv_args *args = &s->args.qkv;
    if (norm >= 0)
        k->norm_rms(head, model->weights[norm].vector, NULL, args->norm_epsilon, args->head_dim, head);
    if (args->rope_mode == BP_ROPE_NONE)
        return;
    const float *table = model->weights[args->rope_table].vector + position * args->rope_dim;
    (args->rope_mode == BP_ROPE_NEOX ? k->rope_neox : k->rope_normal)(head, table, args->rope_dim / 2);
}

/* A block is one head: heads of q, then of k, then of v. */
static void qkv_block(bp_model *model, const step *s, const block *b, float *scratch)
{
    const bp_qkv_args *args = &s->args.qkv;
    const cache *c = &model->caches[s->op.cache];
    size_t dim = args->head_dim, head = b->column / dim;
    size_t which = head < args->heads ? 0 : head < args->heads + args->kv_heads ? 1 : 2;
    if (which > 0)
        head -= args->heads + (which - 1) * args->kv_heads;
    int32_t bias = s->op.weight[3 + which], norm = which == 2 ? -1 : s->op.weight[6 + which];
    size_t stride = multiply(&model->weights[s->op.weight[which]], &model->values[s->op.in[0]], b, head * dim, scratch);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = scratch + r * stride;
        size_t token = b->row + r, position = (size_t)model->batch.position[token];
        if (bias >= 0)
            model->device->kernels->add(row, model->weights[bias].vector + head * dim, dim, row);
        if (which < 2)
            turn_head(model, s, norm, position, row);
        if (which == 0) {
            value_put(model, &model->values[s->op.out[0]], token, head * dim, dim, row);
            continue;
        }
        size_t seq = (size_t)model->batch.seq_of[token], slot = position % model->limits.page_tokens;
        int32_t page = model->batch.pages[seq * model->max_pages + position / model->limits.page_tokens];
        (which == 1 ? kv_append_key : kv_append_value)(model, c, page, slot, head, row);
    }
}

void run_qkv(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const bp_qkv_args *args = &s->args.qkv;
    size_t heads = (size_t)args->heads + 2 * (size_t)args->kv_heads;
    each_block(model, s, threads, worker, model->batch.tokens, heads * args->head_dim, args->head_dim, args->head_dim,
               qkv_block);
}
