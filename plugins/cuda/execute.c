/* Running a step: each op's kernels are launched in the order of the list. */
#include "model.h"

static matrix place_of(const bp_model *model, int32_t number)
{
    return number >= 0 ? model->values[number].place : (matrix){0};
}

static const float *vector_of(const bp_model *model, int32_t number)
{
    return number >= 0 ? model->weights[number].vector : NULL;
}

/* Only the floats of a value, where its other forms come later. */
static matrix floats_first(const value *v)
{
    matrix m = v->place;
    if (v->stored_later)
        m = (matrix){.floats = m.floats, .width = m.width, .stride = m.stride};
    return m;
}

static void store_later(const bp_model *model, gpu_stream *stream, const value *v)
{
    if (!v->stored_later)
        return;
    elements_args args = {.a = v->place, .out = v->place, .rows = (uint32_t)value_rows(model, v), .what = ELEMENTS_STORE};
    args.out.floats = NULL;
    launch_elements(stream, &args);
}

static void run_embed(const bp_model *model, gpu_stream *stream, const step *s, uint32_t rows)
{
    const batch_place *in = &model->batch.place;
    embed_args args = {.weight = model->weights[s->op.weight[0]].packed,
                       .index = s->op.flags & BP_EMBED_POSITION ? in->position
                                : s->op.flags & BP_EMBED_TYPE   ? in->type
                                                                : in->token,
                       .scale = s->args.embed.scale,
                       .rows = rows,
                       .out = place_of(model, s->op.out[0])};
    launch_embed(stream, &args);
}

static void run_norm(const bp_model *model, gpu_stream *stream, const step *s, uint32_t rows)
{
    norm_args args = {.in = place_of(model, s->op.in[0]),
                      .residual = place_of(model, s->op.in[1]),
                      .sum = place_of(model, s->op.out[1]),
                      .out = place_of(model, s->op.out[0]),
                      .weight = vector_of(model, s->op.weight[0]),
                      .bias = vector_of(model, s->op.weight[1]),
                      .epsilon = s->args.norm.epsilon,
                      .rows = rows,
                      .kind = s->args.norm.kind,
                      .flags = s->op.flags};
    launch_norm(stream, &args);
}

/* LINEAR and LOGITS. */
static void run_product(const bp_model *model, gpu_stream *stream, const step *s, uint32_t rows)
{
    bool logits = s->op.kind == BP_OP_LOGITS;
    matrix residual = place_of(model, s->op.in[1]);
    matmul_args args = {.weight = {model->weights[s->op.weight[0]].packed},
                        .in = place_of(model, s->op.in[0]),
                        .out = place_of(model, s->op.out[0]),
                        .bias = vector_of(model, s->op.weight[1]),
                        .residual = residual.floats,
                        .residual_stride = residual.stride,
                        .scale = logits ? s->args.logits.scale : 1.0f,
                        .soft_cap = logits ? s->args.logits.soft_cap : 0.0f,
                        .rows = rows,
                        .stable = model->stable,
                        .activation = logits ? BP_ACT_NONE : s->args.linear.activation};
    if (logits) {
        uint32_t width = (uint32_t)model->output_width;
        args.out = (matrix){.floats = model->result, .width = width, .stride = width};
    }
    launch_matmul(stream, &args);
}

/* Two weights of one type go together; of two types the second's product waits in the scratch. */
static void run_gated(const bp_model *model, gpu_stream *stream, const step *s, uint32_t rows)
{
    const packed *gate = &model->weights[s->op.weight[0]].packed, *up = &model->weights[s->op.weight[1]].packed;
    matmul_args args = {.weight = {*gate, *up},
                        .in = place_of(model, s->op.in[0]),
                        .out = place_of(model, s->op.out[0]),
                        .scale = 1.0f,
                        .rows = rows,
                        .stable = model->stable,
                        .activation = s->args.linear.activation};
    if (gate->dtype != up->dtype) {
        matmul_args second = args;
        second.weight[0] = *up;
        second.weight[1] = (packed){0};
        second.out = (matrix){.floats = model->scratch, .width = args.out.width, .stride = args.out.stride};
        second.activation = BP_ACT_NONE;
        launch_matmul(stream, &second);
        args.weight[1] = (packed){0};
        args.factor = model->scratch;
    }
    launch_matmul(stream, &args);
}

/* `next` begins where the tiles of `before` end, and is of the same type: both are one weight. */
static bool continues(const packed *before, const packed *next)
{
    return next->dtype == before->dtype && next->k == before->k && before->n % TILE_COLUMNS == 0 &&
           next->data == before->data + before->n / TILE_COLUMNS * before->tile_bytes;
}

static void run_qkv(const bp_model *model, gpu_stream *stream, const step *s, uint32_t rows)
{
    const bp_qkv_args *qkv = &s->args.qkv;
    const int32_t *w = s->op.weight;
    const value *out = &model->values[s->op.out[0]];
    uint32_t q = qkv->heads * qkv->head_dim, kv = qkv->kv_heads * qkv->head_dim, stride = q + 2 * kv;
    for (uint32_t i = 0, at = 0; i < 3;) {
        packed together = model->weights[w[i]].packed;
        for (i++; i < 3 && continues(&together, &model->weights[w[i]].packed); i++)
            together.n += model->weights[w[i]].packed.n;
        matmul_args args = {.weight = {together},
                            .in = place_of(model, s->op.in[0]),
                            .out = {.floats = model->scratch + at, .width = together.n, .stride = stride},
                            .scale = 1.0f,
                            .rows = rows,
                            .stable = model->stable};
        launch_matmul(stream, &args);
        at += together.n;
    }
    heads_args args = {.in = model->scratch,
                       .bias = {vector_of(model, w[3]), vector_of(model, w[4]), vector_of(model, w[5])},
                       .weight = {vector_of(model, w[6]), vector_of(model, w[7])},
                       .rope = qkv->rope_mode == BP_ROPE_NONE ? NULL : vector_of(model, qkv->rope_table),
                       .out = floats_first(out),
                       .cache = place_of_cache(model, s->op.cache),
                       .batch = model->batch.place,
                       .tokens = rows,
                       .stride = stride,
                       .heads = qkv->heads,
                       .kv_heads = qkv->kv_heads,
                       .head_dim = qkv->head_dim,
                       .rope_mode = qkv->rope_mode,
                       .rope_dim = qkv->rope_dim,
                       .epsilon = qkv->norm_epsilon};
    launch_heads(stream, &args);
    store_later(model, stream, out);
}

/* The parts that attention is split into, 0 where it is not: where blocks are few, chunks several, and room is left. */
static size_t split_attention(const bp_model *model, const cache *c, uint32_t heads, size_t rows)
{
    size_t parts = attention_chunks(c, model->batch.depth);
    size_t blocks = rows * attention_blocks(heads, (uint32_t)c->kv_heads, (uint32_t)c->head_dim);
    bool few = parts > 1 && blocks <= SPLIT_BLOCKS * (size_t)model->device->processors;
    return few && rows * heads * parts * (c->head_dim + 2) <= model->partial_floats ? parts : 0;
}

static void run_attention(const bp_model *model, gpu_stream *stream, const step *s, uint32_t rows)
{
    const value *out = &model->values[s->op.out[0]];
    attention_args args = {.q = place_of(model, s->op.in[0]),
                           .out = floats_first(out),
                           .cache = place_of_cache(model, s->op.cache),
                           .batch = model->batch.place,
                           .scale = s->args.attention.scale,
                           .soft_cap = s->args.attention.soft_cap,
                           .tokens = rows,
                           .heads = s->args.attention.heads,
                           .parts = (uint32_t)split_attention(model, &model->caches[s->op.cache],
                                                              s->args.attention.heads, rows),
                           .partial = model->partial,
                           .causal = s->args.attention.mask == BP_MASK_CAUSAL};
    launch_attention(stream, &args);
    store_later(model, stream, out);
}

/* ADD, SCALE and ROWS. */
static void run_elements(const bp_model *model, gpu_stream *stream, const step *s, uint32_t rows)
{
    elements_args args = {.a = place_of(model, s->op.in[0]),
                          .b = place_of(model, s->op.in[1]),
                          .out = place_of(model, s->op.out[0]),
                          .index = model->batch.place.row,
                          .scale = s->op.kind == BP_OP_SCALE ? s->args.scale.scale : 0.0f,
                          .rows = rows,
                          .what = s->op.kind == BP_OP_ADD     ? ELEMENTS_ADD
                                  : s->op.kind == BP_OP_SCALE ? ELEMENTS_SCALE
                                                              : ELEMENTS_SELECT};
    launch_elements(stream, &args);
}

static void run_pool(const bp_model *model, gpu_stream *stream, const step *s, uint32_t rows)
{
    pool_args args = {.in = place_of(model, s->op.in[0]),
                      .first = model->batch.place.first,
                      .out = model->result,
                      .seqs = rows,
                      .pooling = s->args.pool.pooling,
                      .normalise = s->args.pool.normalise};
    launch_pool(stream, &args);
}

/* `rows` of its result. */
typedef void step_fn(const bp_model *model, gpu_stream *stream, const step *s, uint32_t rows);

static step_fn *const runners[] = {[BP_OP_EMBED] = run_embed,
                                   [BP_OP_NORM] = run_norm,
                                   [BP_OP_LINEAR] = run_product,
                                   [BP_OP_QKV] = run_qkv,
                                   [BP_OP_ATTENTION] = run_attention,
                                   [BP_OP_GATED_MLP] = run_gated,
                                   [BP_OP_ADD] = run_elements,
                                   [BP_OP_SCALE] = run_elements,
                                   [BP_OP_ROWS] = run_elements,
                                   [BP_OP_LOGITS] = run_product,
                                   [BP_OP_POOL] = run_pool};

/* A step may ask for no row; then ops on outputs have nothing to do. */
void execute_steps(bp_model *model, gpu_stream *stream)
{
    for (size_t i = 0; i < model->step_count; i++) {
        const step *s = &model->steps[i];
        size_t rows = model->pools ? model->batch.seqs : model->batch.rows;
        if (s->op.out[0] >= 0)
            rows = value_rows(model, &model->values[s->op.out[0]]);
        if (rows > 0)
            runners[s->op.kind](model, stream, s, (uint32_t)rows);
    }
}
