/* Running a step: the list of steps in order, a barrier after each that workers share, and the row-wise ops. */
#include "model.h"

static void execute_worker(void *context, pool *threads, size_t worker)
{
    bp_model *model = context;
    for (size_t i = 0; i < model->step_count; i++) {
        const step *s = &model->steps[i];
        s->run(model, s, threads, worker);
        if (i + 1 < model->step_count && !(s->own && model->narrow))
            pool_barrier(threads);
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
    model->narrow = model->batch.tokens == 1 && pool_workers(model->device->threads) > 1;
    model->result = out;
    pool_run(model->device->threads, execute_worker, model);
    model->result = NULL;
    return BP_OK;
}

/* The next rows for this worker, enough to be worth the claim and few enough to share; all of them where each worker does the
 * step by itself. False when none are left. *to is 0 at first. */
static bool next_rows(const bp_model *model, const step *s, pool *threads, size_t rows, size_t *from, size_t *to)
{
    if (!s->own || !model->narrow)
        return pool_claim(threads, rows, size_max(1, rows / (pool_workers(threads) * 4)), from, to) != 0;
    bool first = *to == 0;
    *to = rows;
    return first;
}

#define FOR_ROWS(row, rows)                                                                                                \
    for (size_t from = 0, to = 0; next_rows(model, s, threads, rows, &from, &to);)                                         \
        for (size_t row = from; row < to; row++)

/* The file's bytes of a row: of a weight that products read too they are put together again from its tile, so that the file
 * need not stay in memory beside it. */
static const uint8_t *source_row(const weight *w, size_t row, uint8_t *room)
{
    if (!w->packs)
        return w->source + row * w->row_bytes;
    size_t left;
    w->type->unpack(weight_tile(w, row / TILE_COLUMNS, &left), row % TILE_COLUMNS, w->k, room);
    return room;
}

void run_embed(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value out = value_at(model, s->op.out[0], worker);
    const weight *w = &model->weights[s->op.weight[0]];
    const batch *b = &model->batch;
    const int32_t *index = s->op.flags & BP_EMBED_POSITION ? b->position : s->op.flags & BP_EMBED_TYPE ? b->type : b->token;
    float *data = (float *)(void *)worker_scratch(model, worker);
    FOR_ROWS(row, value_rows(model, &out))
    {
        w->type->dequantise(source_row(w, (size_t)index[row], (uint8_t *)(data + out.stride)), w->k, data);
        model->device->kernels->scale(data, s->args.embed.scale, out.width, data);
        value_put(model, &out, row, 0, out.width, data);
    }
}

/* What a norm reads and writes. */
typedef struct norm {
    value in, residual, sum, out; /* residual and sum: where the op has them */
    const float *scale, *bias;
} norm;

static void norm_row(const bp_model *model, const step *s, const norm *n, size_t row, float *data)
{
    const kernels *k = model->device->kernels;
    const float *in = value_row(&n->in, row), *residual = s->op.in[1] >= 0 ? value_row(&n->residual, row) : NULL;
    size_t width = n->out.width;
    if (s->op.flags & BP_NORM_PRE_RESIDUAL) {
        k->add(in, residual, width, data);
        if (s->op.out[1] >= 0)
            value_put(model, &n->sum, row, 0, width, data);
        in = data;
    }
    (s->args.norm.kind == BP_NORM_RMS ? k->norm_rms : k->norm_layer)(in, n->scale, n->bias, s->args.norm.epsilon, width,
                                                                     data);
    if (s->op.flags & BP_NORM_POST_RESIDUAL)
        k->add(residual, data, width, data);
    value_put(model, &n->out, row, 0, width, data);
}

static const float *vector_of(const bp_model *model, int32_t number)
{
    return number >= 0 ? model->weights[number].vector : NULL;
}

void run_norm(bp_model *model, const step *s, pool *threads, size_t worker)
{
    float *data = (float *)(void *)worker_scratch(model, worker);
    norm n = {.in = value_at(model, s->op.in[0], worker),
              .out = value_at(model, s->op.out[0], worker),
              .scale = vector_of(model, s->op.weight[0]),
              .bias = vector_of(model, s->op.weight[1])};
    if (s->op.in[1] >= 0)
        n.residual = value_at(model, s->op.in[1], worker);
    if (s->op.out[1] >= 0)
        n.sum = value_at(model, s->op.out[1], worker);
    FOR_ROWS(row, value_rows(model, &n.out)) norm_row(model, s, &n, row, data);
}

/* ADD and SCALE. */
void run_elementwise(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value out = value_at(model, s->op.out[0], worker), a = value_at(model, s->op.in[0], worker);
    const value b = s->op.kind == BP_OP_ADD ? value_at(model, s->op.in[1], worker) : a;
    const kernels *k = model->device->kernels;
    float *data = (float *)(void *)worker_scratch(model, worker);
    FOR_ROWS(row, value_rows(model, &out))
    {
        if (s->op.kind == BP_OP_ADD) {
            k->add(value_row(&a, row), value_row(&b, row), out.width, data);
        } else {
            k->scale(value_row(&a, row), s->args.scale.scale, out.width, data);
        }
        value_put(model, &out, row, 0, out.width, data);
    }
}

void run_rows(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value in = value_at(model, s->op.in[0], worker), out = value_at(model, s->op.out[0], worker);
    FOR_ROWS(row, model->batch.rows)
    {
        value_put(model, &out, row, 0, out.width, value_row(&in, (size_t)model->batch.row[row]));
    }
}

/* For a value whose writer could not quantise it: all of out0's floats are there. */
void run_quantise(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const value *v = &model->values[s->op.out[0]];
    (void)worker;
    FOR_ROWS(row, value_rows(model, v))
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
    FOR_ROWS(seq, model->batch.seqs)
    pool_sequence(model, s, seq, model->result + seq * model->output_width);
}
