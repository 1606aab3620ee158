/* The ops that are matrix products: LINEAR, GATED_MLP, QKV and LOGITS.
 *
 * Work is cut into blocks of token rows by output columns; a worker multiplies a block into its own scratch, finishes it
 * there (bias, activation, rotation, residual, quantisation) and stores what readers need. With few rows a worker has one
 * contiguous share of the columns, so that it streams its part of the weights, and whoever is done first helps the others from
 * the ends of theirs; with many, blocks are claimed as they come, all row panels of a column block in a row while its weights
 * are near. */
#include "model.h"

typedef struct block {
    size_t row, rows, column, columns;
} block;

/* An op as one worker sees it. */
typedef struct product {
    bp_model *model;
    const step *s;
    value in, out, residual; /* out and residual where the op has them */
} product;

typedef void block_fn(const product *p, const block *b, float *scratch);

static product product_of(bp_model *model, const step *s, size_t worker)
{
    product p = {.model = model, .s = s, .in = value_at(model, s->op.in[0], worker)};
    if (s->op.out[0] >= 0)
        p.out = value_at(model, s->op.out[0], worker);
    if (s->op.in[1] >= 0)
        p.residual = value_at(model, s->op.in[1], worker);
    return p;
}

/* Units at a time of a share: small enough that who is done first can take some of another's, and whole groups of four tiles. */
static size_t claim_units(size_t share, size_t unit, size_t most)
{
    if (most <= unit)
        return 1;
    size_t group = PANEL_COLUMNS / unit;
    return size_max(group, size_min(share / 16, most / unit) / group * group);
}

/* Cuts [rows] x [units * unit] into blocks; `columns` bounds the last one. `most` columns at a time, a multiple of unit. */
static void each_block(const product *p, pool *threads, size_t worker, size_t rows, size_t columns, size_t unit,
                       size_t most, block_fn *fn)
{
    float *scratch = (float *)(void *)worker_scratch(p->model, worker);
    size_t workers = pool_workers(threads), panels = divide_up(rows, PANEL_ROWS);
    size_t from, to;
    if (panels <= 1) {
        size_t units = rows > 0 ? divide_up(columns, unit) : 0, grain = claim_units(units / workers, unit, most);
        pool_share(threads, worker, units * worker / workers, units * (worker + 1) / workers);
        while (pool_take(threads, worker, grain, &from, &to)) {
            size_t column = from * unit;
            fn(p, &(block){0, rows, column, size_min(to * unit, columns) - column}, scratch);
        }
        return;
    }
    size_t wide = divide_up(columns, most);
    while (pool_claim(threads, wide * panels, 1, &from, &to)) {
        for (size_t task = from; task < to; task++) {
            size_t row = task % panels * PANEL_ROWS, column = task / panels * most;
            fn(p, &(block){row, size_min(PANEL_ROWS, rows - row), column, size_min(most, columns - column)}, scratch);
        }
    }
}

/* The first column of a worker's share of [0, columns), which is cut at multiples of unit. */
static size_t share_begin(size_t columns, size_t unit, size_t worker, size_t workers)
{
    return size_min(columns, divide_up(columns, unit) * worker / workers * unit);
}

/* A worker's share of the op's columns, from `unit`s, says on which node each tile of the weight is; the weight's own columns
 * are [first, first + n) of the op's. */
static void spread_weight(weight *w, const placement *where, size_t first, size_t columns, size_t unit)
{
    for (size_t n = 0; n < where->nodes; n++) {
        size_t column = share_begin(columns, unit, where->end[n], where->workers);
        size_t tile = column > first ? (column - first) / TILE_COLUMNS : 0;
        w->end[n] = n + 1 == where->nodes ? w->tiles : size_min(tile, w->tiles);
    }
}

void spread_weights(bp_model *model, const step *s)
{
    const placement *where = pool_placement(model->device->threads);
    weight *w = model->weights;
    const bp_qkv_args *args = &s->args.qkv;
    size_t q = (size_t)args->heads * args->head_dim, k = (size_t)args->kv_heads * args->head_dim;
    if (s->run == run_qkv) {
        spread_weight(&w[s->op.weight[0]], where, 0, q + 2 * k, args->head_dim);
        spread_weight(&w[s->op.weight[1]], where, q, q + 2 * k, args->head_dim);
        spread_weight(&w[s->op.weight[2]], where, q + k, q + 2 * k, args->head_dim);
    } else if (s->run == run_linear || s->run == run_gated || s->run == run_logits) {
        for (int i = 0; i < (s->run == run_gated ? 2 : 1); i++)
            spread_weight(&w[s->op.weight[i]], where, 0, w[s->op.weight[i]].n, QUANT_BLOCK);
    }
}

/* Columns at a time outside QKV: the fewer rows, the more, so that weights come in long streams. */
static size_t columns_at_once(size_t rows)
{
    return rows > PANEL_ROWS || rows == 0 ? PANEL_COLUMNS : PANEL_ROWS / rows * PANEL_COLUMNS;
}

/* out[r][out_stride] = the products of the block's rows with packed columns [column, column + columns); column is a multiple
 * of 16, and so many are written. */
static void multiply(const product *p, const weight *w, const block *b, size_t column, float *out, size_t out_stride)
{
    matmul_input x = {p->in.floats, p->in.halves, p->in.stride, p->in.blocks};
    size_t tile = column / TILE_COLUMNS, tiles = divide_up(b->columns, TILE_COLUMNS);
    for (size_t done = 0, left; done < tiles; done += left) {
        const uint8_t *packed = weight_tile(w, tile + done, &left);
        left = size_min(left, tiles - done);
        w->multiply(packed, w->tile_bytes, w->k, left, &x, b->row, b->rows, out + done * TILE_COLUMNS, out_stride);
    }
}

static size_t scratch_stride(const block *b)
{
    return size_round_up(b->columns, TILE_COLUMNS);
}

static void linear_block(const product *p, const block *b, float *scratch)
{
    const step *s = p->s;
    const kernels *k = p->model->device->kernels;
    const float *bias = s->op.weight[1] >= 0 ? p->model->weights[s->op.weight[1]].vector + b->column : NULL;
    size_t stride = scratch_stride(b);
    multiply(p, &p->model->weights[s->op.weight[0]], b, b->column, scratch, stride);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = scratch + r * stride;
        if (bias)
            k->add(row, bias, b->columns, row);
        if (s->args.linear.activation != BP_ACT_NONE)
            k->activate((int)s->args.linear.activation, row, b->columns, row);
        if (s->op.in[1] >= 0)
            k->add(row, value_row(&p->residual, b->row + r) + b->column, b->columns, row);
        value_put(p->model, &p->out, b->row + r, b->column, b->columns, row);
    }
}

void run_linear(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const product p = product_of(model, s, worker);
    size_t rows = value_rows(model, &p.out);
    each_block(&p, threads, worker, rows, p.out.width, QUANT_BLOCK, columns_at_once(rows), linear_block);
}

static void gated_block(const product *p, const block *b, float *scratch)
{
    const step *s = p->s;
    const kernels *k = p->model->device->kernels;
    float *up = scratch + PANEL_ROWS * PANEL_COLUMNS;
    size_t stride = scratch_stride(b);
    multiply(p, &p->model->weights[s->op.weight[0]], b, b->column, scratch, stride);
    multiply(p, &p->model->weights[s->op.weight[1]], b, b->column, up, stride);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = scratch + r * stride;
        k->activate((int)s->args.linear.activation, row, b->columns, row);
        k->multiply(row, up + r * stride, b->columns, row);
        value_put(p->model, &p->out, b->row + r, b->column, b->columns, row);
    }
}

void run_gated(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const product p = product_of(model, s, worker);
    size_t rows = value_rows(model, &p.out);
    each_block(&p, threads, worker, rows, p.out.width, QUANT_BLOCK, columns_at_once(rows), gated_block);
}

/* Straight into the caller's rows, unless they end inside a tile. */
static void logits_block(const product *p, const block *b, float *scratch)
{
    const bp_logits_args *args = &p->s->args.logits;
    const kernels *k = p->model->device->kernels;
    size_t width = p->model->output_width;
    float *result = p->model->result + b->row * width + b->column;
    bool whole = b->columns % TILE_COLUMNS == 0;
    float *out = whole ? result : scratch;
    size_t stride = whole ? width : scratch_stride(b);
    multiply(p, &p->model->weights[p->s->op.weight[0]], b, b->column, out, stride);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = out + r * stride;
        if (args->scale != 1.0f)
            k->scale(row, args->scale, b->columns, row);
        if (args->soft_cap != 0.0f)
            k->soft_cap(row, args->soft_cap, b->columns, row);
        if (!whole)
            memcpy(result + r * width, row, b->columns * sizeof *row);
    }
}

void run_logits(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const product p = product_of(model, s, worker);
    size_t rows = model->batch.rows;
    each_block(&p, threads, worker, rows, model->output_width, QUANT_BLOCK, columns_at_once(rows), logits_block);
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
static void qkv_block(const product *p, const block *b, float *scratch)
{
    bp_model *model = p->model;
    const step *s = p->s;
    const bp_qkv_args *args = &s->args.qkv;
    const cache *c = &model->caches[s->op.cache];
    size_t dim = args->head_dim, head = b->column / dim, stride = scratch_stride(b);
    size_t which = head < args->heads ? 0 : head < args->heads + args->kv_heads ? 1 : 2;
    if (which > 0)
        head -= args->heads + (which - 1) * args->kv_heads;
    int32_t bias = s->op.weight[3 + which], norm = which == 2 ? -1 : s->op.weight[6 + which];
    multiply(p, &model->weights[s->op.weight[which]], b, head * dim, scratch, stride);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = scratch + r * stride;
        size_t token = b->row + r, position = (size_t)model->batch.position[token];
        if (bias >= 0)
            model->device->kernels->add(row, model->weights[bias].vector + head * dim, dim, row);
        if (which < 2)
            turn_head(model, s, norm, position, row);
        if (which == 0) {
            value_put(model, &p->out, token, head * dim, dim, row);
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
    const product p = product_of(model, s, worker);
    size_t heads = (size_t)args->heads + 2 * (size_t)args->kv_heads;
    each_block(&p, threads, worker, model->batch.tokens, heads * args->head_dim, args->head_dim, args->head_dim, qkv_block);
}
