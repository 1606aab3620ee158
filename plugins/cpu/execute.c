/* Running a step: the list of steps in order, a barrier after each, and the row-wise ops. */
#include "model.h"

static void execute_worker(void *context, pool *threads, size_t worker)
{
    bp_model *model = context;
    for (size_t i = 0; i < model->step_count; i++) {
        if (i > 0)
            pool_barrier(threads);
        model->steps[i].run(model, &model->steps[i], threads, worker);
    }
}

bp_status model_wait(bp_model *model, float *out, uint64_t count, bp_error *error)
{
    if (!model || !model->submitted)
        return fail(error, BP_EINVAL, "cpu: wait without a submitted step");
    size_t rows = model->pools ? model->batch.seqs : model->batch.rows;
    if (count != rows * model->output_width || (count && !out)) {
        return fail(error, BP_EINVAL, "cpu: room for %llu results where the step has %zu", (unsigned long long)count,
                    rows * model->output_width);
    }
    model->submitted = false;
    model->result = out;
    pool_run(model->device->threads, execute_worker, model);
    model->result = NULL;
    return BP_OK;
}

/* Rows a claim: enough to be worth the claim, few enough to share. */
static size_t row_grain(size_t rows, const pool *threads)
{
    return size_max(1, rows / (pool_workers(threads) * 4));
}

#define FOR_CLAIMED_ROWS(row, rows, threads)                                                                               \
    for (size_t claim_from, claim_to, claim_grain = row_grain(rows, threads);                                              \
         pool_claim(threads, rows, claim_grain, &claim_from, &claim_to);)                                                  \
        for (size_t row = claim_from; row < claim_to; row++)

/* The file's bytes of a row: of a weight that products read too they are put together again from its tile, so that the file
 * need not stay in memory beside it. */
static const uint8_t *source_row(const weight *w, size_t row, uint8_t *room)
{
    if (!w->packs)
        return w->source + row * w->row_bytes;
    w->type->unpack(w->packed + row / TILE_COLUMNS * w->tile_bytes, row % TILE_COLUMNS, w->k, room);
    return room;
}

void run_embed(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value *out = &model->values[s->op.out[0]];
    const weight *w = &model->weights[s->op.weight[0]];
    const int32_t *index = s->op.flags & BP_EMBED_POSITION ? model->batch.position : model->batch.token;
    float *data = (float *)(void *)worker_scratch(model, worker);
    FOR_CLAIMED_ROWS(row, value_rows(model, out), threads)
    {
        w->type->dequantise(source_row(w, (size_t)index[row], (uint8_t *)(data + out->stride)), w->k, data);
        model->device->kernels->scale(data, s->args.embed.scale, out->width, data);
        value_put(model, out, row, 0, out->width, data);
    }
}

static void norm_row(const bp_model *model, const step *s, size_t row, float *data)
{
    const kernels *k = model->device->kernels;
    const value *out = &model->values[s->op.out[0]];
    const float *in = value_row(&model->values[s->op.in[0]], row);
    const float *residual = s->op.in[1] >= 0 ? value_row(&model->values[s->op.in[1]], row) : NULL;
    const float *scale = s->op.weight[0] >= 0 ? model->weights[s->op.weight[0]].vector : NULL;
    const float *bias = s->op.weight[1] >= 0 ? model->weights[s->op.weight[1]].vector : NULL;
    if (s->op.flags & BP_NORM_PRE_RESIDUAL) {
        k->add(in, residual, out->width, data);
        if (s->op.out[1] >= 0)
            value_put(model, &model->values[s->op.out[1]], row, 0, out->width, data);
        in = data;
    }
    (s->args.norm.kind == BP_NORM_RMS ? k->norm_rms : k->norm_layer)(in, scale, bias, s->args.norm.epsilon, out->width,
                                                                     data);
    if (s->op.flags & BP_NORM_POST_RESIDUAL)
        k->add(residual, data, out->width, data);
    value_put(model, out, row, 0, out->width, data);
}

void run_norm(bp_model *model, const step *s, pool *threads, size_t worker)
{
    float *data = (float *)(void *)worker_scratch(model, worker);
    FOR_CLAIMED_ROWS(row, value_rows(model, &model->values[s->op.out[0]]), threads) norm_row(model, s, row, data);
}

/* ADD and SCALE. */
void run_elementwise(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value *out = &model->values[s->op.out[0]];
    const kernels *k = model->device->kernels;
    float *data = (float *)(void *)worker_scratch(model, worker);
    FOR_CLAIMED_ROWS(row, value_rows(model, out), threads)
    {
        const float *a = value_row(&model->values[s->op.in[0]], row);
        if (s->op.kind == BP_OP_ADD) {
            k->add(a, value_row(&model->values[s->op.in[1]], row), out->width, data);
        } else {
            k->scale(a, s->args.scale.scale, out->width, data);
        }
        value_put(model, out, row, 0, out->width, data);
    }
}

void run_rows(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value *in = &model->values[s->op.in[0]], *out = &model->values[s->op.out[0]];
    (void)worker;
    FOR_CLAIMED_ROWS(row, model->batch.rows, threads)
    {
        value_put(model, out, row, 0, out->width, value_row(in, (size_t)model->batch.row[row]));
    }
}

/* For a value whose writer could not quantise it: all of out0's floats are there. */
void run_quantise(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value *v = &model->values[s->op.out[0]];
    (void)worker;
    FOR_CLAIMED_ROWS(row, value_rows(model, v), threads)
    {
        model->device->kernels->quantise(value_row(v, row), v->width, v->blocks + row * (v->width / QUANT_BLOCK));
    }
}

/* Columns are summed over tokens in ascending order. */
static void pool_sequence(const bp_model *model, const step *s, size_t seq, float *out)
{
    const kernels *k = model->device->kernels;
    const value *in = &model->values[s->op.in[0]];
    size_t from = (size_t)model->batch.first[seq], to = (size_t)model->batch.first[seq + 1], n = in->width;
    switch (s->args.pool.pooling) {
    case BP_POOL_FIRST:
        memcpy(out, value_row(in, from), n * sizeof *out);
        break;
    case BP_POOL_LAST:
        memcpy(out, value_row(in, to - 1), n * sizeof *out);
        break;
    default:
        memcpy(out, value_row(in, from), n * sizeof *out);
        for (size_t t = from + 1; t < to; t++)
            k->add(out, value_row(in, t), n, out);
        for (size_t i = 0; i < n; i++)
            out[i] = out[i] / (float)(to - from);
    }
    if (s->args.pool.normalise)
        k->normalise(out, n, out);
}

void run_pool(bp_model *model, const step *s, pool *threads, size_t worker)
{
    (void)worker;
    FOR_CLAIMED_ROWS(seq, model->batch.seqs, threads)
    pool_sequence(model, s, seq, model->result + seq * model->output_width);
}
