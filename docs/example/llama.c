/* llama: a backend that runs whole models with an engine of its own, and interprets no ops.
 *
 * It matches bp_program.family. Of a "llama" it knows what the network is: it finds the weights by the names that GGUF gives them and takes
 * the few numbers that it needs from the ops' arguments. What it does not know, supports() refuses in one sentence. What an engine of
 * one's own cannot choose: keys and values are where the core's pages say, because sequences share pages, and a row depends on its own
 * sequence alone. Its sums have an order of their own, so its logits are those of `plugin: cpu` but for rounding.
 *
 * The network (Touvron et al. 2023), a token at a time, in floats: x is its embedding, its logits are head · norm(x). Each layer does
 * n = norm(x), x += O · attention(rope(Q · n), rope(K · n), V · n), then n = norm(x), x += down · (silu(gate · n) * (up · n)). */
#include <backplane/backend.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Its tensors: three outside the layers, and those of each layer. Without a head the embedding is the head. */
enum { EMBEDDING, LAST_NORM, HEAD, ATTENTION_NORM, Q, K, V, O, MLP_NORM, GATE, UP, DOWN, TENSORS };
enum { OUTSIDE = ATTENTION_NORM, PER_LAYER = TENSORS - OUTSIDE };

typedef struct shape {
    uint32_t layers, width, mlp, vocab, window; /* of attention; 0: all */
    float scale, epsilon;                       /* of attention; of norms */
    bp_qkv_args qkv;
} shape;

struct bp_device { int unused; };

struct bp_model {
    shape s;
    bp_limits limits;
    uint32_t row_count;
    size_t q, kv, slots;  /* floats of all heads of a token's query; of its keys; slots of all pages */
    const void **tensors; /* [OUTSIDE + layers * PER_LAYER] of floats [rows][columns], the host's; NULL: there is no head */
    const void *rope;     /* [positions][rope_dim], the host's: half of them cosines, then as many sines */
    float *cache;         /* [layers][slots][2][kv]: keys and values */
    float *scratch, *x, *n, *queries, *mixed, *gate, *up; /* of one token, parts of scratch */
    float *logits;        /* [max_rows][vocab] of the step between submit and wait */
};

BP_PRINTF(3, 4) static bp_status fail(bp_error *error, bp_status code, const char *format, ...)
{
    va_list arguments;
    size_t used = (size_t)snprintf(error->message, sizeof error->message, "llama: ");
    va_start(arguments, format);
    vsnprintf(error->message + used, sizeof error->message - used, format, arguments);
    va_end(arguments);
    return error->code = code;
}

#define TYPE_NAME(name, number, elements, bytes) [number] = #name,
static const char *const type_names[64] = {BP_DTYPES(TYPE_NAME)};

typedef struct tensor { char name[48]; int64_t columns, rows; } tensor;

/* Tensor `index` of a llama of this shape. */
static tensor describe(const shape *s, uint32_t index)
{
    int64_t width = s->width, mlp = s->mlp, q = (int64_t)s->qkv.heads * s->qkv.head_dim, kv = (int64_t)s->qkv.kv_heads * s->qkv.head_dim;
    const tensor table[TENSORS] = {
        {"token_embd", width, s->vocab}, {"output_norm", width, 1}, {"output", width, s->vocab},
        {"attn_norm", width, 1}, {"attn_q", width, q}, {"attn_k", width, kv}, {"attn_v", width, kv}, {"attn_output", q, width},
        {"ffn_norm", width, 1}, {"ffn_gate", width, mlp}, {"ffn_up", width, mlp}, {"ffn_down", mlp, width}};
    uint32_t layer = index < OUTSIDE ? 0 : (index - OUTSIDE) / PER_LAYER;
    tensor t = table[index - layer * PER_LAYER];
    int prefix = index < OUTSIDE ? 0 : snprintf(t.name, sizeof t.name, "blk.%u.", layer);
    snprintf(t.name + prefix, sizeof t.name - (size_t)prefix, "%s.weight", table[index - layer * PER_LAYER].name);
    return t;
}

static const bp_weight *find(const bp_program *p, const char *name)
{
    for (uint32_t i = 0; i < p->weight_count; i++)
        if (strcmp(p->weights[i].name, name) == 0)
            return &p->weights[i];
    return NULL;
}

/* The numbers of the network, from the ops that have them. */
static bp_status read_shape(const bp_program *p, shape *s, bp_error *error)
{
    *s = (shape){.vocab = p->vocab_size, .window = p->cache_count ? p->caches[0].window : 0};
    if (!p->family || strcmp(p->family, "llama") != 0)
        return fail(error, BP_EUNSUPPORTED, "its engine knows the family llama, and this is %.40s", p->family ? p->family : "none");
    if (!p->op_count || p->ops[p->op_count - 1].kind != BP_OP_LOGITS)
        return fail(error, BP_EUNSUPPORTED, "its engine makes logits, and the last op of this model is not LOGITS");
    for (const bp_op *op = p->ops; op < p->ops + p->op_count; op++) {
        if (op->kind == BP_OP_EMBED)
            s->width = p->values[op->out[0]].width;
        else if (op->kind == BP_OP_GATED_MLP)
            s->mlp = p->values[op->out[0]].width;
        else if (op->kind == BP_OP_NORM)
            s->epsilon = ((const bp_norm_args *)op->args)->epsilon;
        else if (op->kind == BP_OP_ATTENTION)
            s->scale = ((const bp_attention_args *)op->args)->scale;
        else if (op->kind == BP_OP_QKV && ++s->layers)
            s->qkv = *(const bp_qkv_args *)op->args;
    }
    return s->layers && s->qkv.rope_table >= 0 ? BP_OK : fail(error, BP_EUNSUPPORTED, "the model has no rotations");
}

/* That the program is a llama and no more than one. */
static bp_status supports(bp_device *device, const bp_program *p, bp_error *error)
{
    (void)device;
    shape s;
    uint32_t known = 1; /* the table of rotations */
    bp_status status = read_shape(p, &s, error);
    for (uint32_t i = 0; status == BP_OK && i < OUTSIDE + s.layers * PER_LAYER; i++) {
        tensor t = describe(&s, i);
        const bp_weight *w = find(p, t.name);
        known += w != NULL;
        if (!w && i != HEAD)
            return fail(error, BP_EUNSUPPORTED, "the model has no tensor %s", t.name);
        if (w && w->dtype != BP_F32)
            return fail(error, BP_EUNSUPPORTED, "tensor %s is %s, and its engine has F32 alone; choose another backend for this model",
                        t.name, w->dtype < 64 && type_names[w->dtype] ? type_names[w->dtype] : "of a newer type");
        if (w && (w->shape[0] != t.columns || w->shape[1] != t.rows))
            return fail(error, BP_EUNSUPPORTED, "tensor %s has not the shape that it has in a llama", t.name);
    }
    return status != BP_OK || known == p->weight_count ? status
        : fail(error, BP_EUNSUPPORTED, "the model has %u tensors, of which a llama has %u", p->weight_count, known);
}

static void release(bp_model *m)
{
    if (m)
        free(m->tensors), free(m->cache), free(m->scratch), free(m->logits);
    free(m);
}

static bp_status compile(bp_device *device, const bp_program *p, const bp_limits *limits, bp_model **out, bp_error *error)
{
    shape s;
    if (supports(device, p, error) != BP_OK || read_shape(p, &s, error) != BP_OK)
        return error->code;
    bp_model *m = calloc(1, sizeof *m);
    if (m) {
        *m = (bp_model){.s = s, .limits = *limits, .slots = (size_t)limits->page_count * limits->page_tokens,
                        .q = (size_t)s.qkv.heads * s.qkv.head_dim, .kv = (size_t)s.qkv.kv_heads * s.qkv.head_dim};
        m->tensors = calloc(OUTSIDE + s.layers * PER_LAYER, sizeof *m->tensors);
        m->cache = calloc(m->slots * s.layers, 2 * m->kv * sizeof *m->cache);
        m->logits = calloc(limits->max_rows, s.vocab * sizeof *m->logits);
        m->scratch = calloc(2, (s.width + m->q + s.mlp) * sizeof *m->scratch);
    }
    if (!m || !m->tensors || !m->cache || !m->logits || !m->scratch) {
        release(m);
        return fail(error, BP_ENOMEM, "out of memory for %u pages; choose a smaller context", limits->page_count);
    }
    m->x = m->scratch, m->n = m->x + s.width, m->queries = m->n + s.width, m->mixed = m->queries + m->q;
    m->gate = m->mixed + m->q, m->up = m->gate + s.mlp, m->rope = p->weights[s.qkv.rope_table].data;
    for (uint32_t i = 0; i < OUTSIDE + s.layers * PER_LAYER; i++) {
        const bp_weight *w = find(p, describe(&s, i).name);
        m->tensors[i] = w ? w->data : NULL;
    }
    *out = m;
    return BP_OK;
}

/* Float `i` of a weight, whose data may begin at any byte. */
static float at(const void *data, size_t i)
{
    float value;
    memcpy(&value, (const char *)data + i * sizeof value, sizeof value);
    return value;
}

static float dot(const void *w, const float *x, size_t count)
{
    float sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += at(w, i) * x[i];
    return sum;
}

static void multiply(const void *w, const float *x, size_t columns, size_t rows, int add, float *out)
{
    for (size_t r = 0; r < rows; r++)
        out[r] = (add ? out[r] : 0) + dot((const char *)w + r * columns * sizeof *x, x, columns);
}

static void normalise(const bp_model *m, const void *w)
{
    float scale = 1 / sqrtf(dot(m->x, m->x, m->s.width) / (float)m->s.width + m->s.epsilon);
    for (uint32_t i = 0; i < m->s.width; i++)
        m->n[i] = m->x[i] * scale * at(w, i);
}

static void rotate(const bp_model *m, float *head, uint32_t heads, uint32_t position)
{
    uint32_t dim = m->s.qkv.rope_dim, half = dim / 2, normal = m->s.qkv.rope_mode == BP_ROPE_NORMAL;
    for (uint32_t h = 0; h < heads; h++, head += m->s.qkv.head_dim)
        for (uint32_t i = 0; i < half; i++) {
            float *a = head + (normal ? 2 * i : i), *b = a + (normal ? 1 : half), was = *a;
            float c = at(m->rope, (size_t)position * dim + i), s = at(m->rope, (size_t)position * dim + half + i);
            *a = was * c - *b * s;
            *b = was * s + *b * c;
        }
}

/* Keys and then values of a position of a sequence; `pages` are the sequence's own. */
static float *place(const bp_model *m, uint32_t layer, const int32_t *pages, uint32_t position)
{
    size_t slot = (size_t)pages[position / m->limits.page_tokens] * m->limits.page_tokens + position % m->limits.page_tokens;
    return m->cache + (layer * m->slots + slot) * 2 * m->kv;
}

/* mixed = softmax(queries · keys) · values, kept normalised by the highest score so far (Milakov and Gimelshein 2018). */
static void attend(bp_model *m, uint32_t layer, const int32_t *pages, uint32_t position)
{
    uint32_t d = m->s.qkv.head_dim, first = m->s.window && position >= m->s.window ? position + 1 - m->s.window : 0;
    memset(m->mixed, 0, m->q * sizeof *m->mixed);
    for (uint32_t h = 0; h < m->s.qkv.heads; h++) {
        float top = -INFINITY, sum = 0, *out = m->mixed + (size_t)h * d;
        for (uint32_t p = first; p <= position; p++) {
            const float *key = place(m, layer, pages, p) + (size_t)(h / (m->s.qkv.heads / m->s.qkv.kv_heads)) * d, *value = key + m->kv;
            float score = m->s.scale * dot(key, m->queries + (size_t)h * d, d), higher = fmaxf(top, score);
            float kept = expf(top - higher), share = expf(score - higher);
            for (uint32_t i = 0; i < d; i++)
                out[i] = out[i] * kept + value[i] * share;
            sum = sum * kept + share, top = higher;
        }
        for (uint32_t i = 0; i < d; i++)
            out[i] /= sum;
    }
}

/* Writes the token's keys and values, and its logits where they are asked for. */
static void run_token(bp_model *m, int32_t token, const int32_t *pages, uint32_t position, float *logits)
{
    const shape *s = &m->s;
    memcpy(m->x, (const char *)m->tensors[EMBEDDING] + (size_t)token * s->width * sizeof *m->x, s->width * sizeof *m->x);
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        const void *const *w = m->tensors + layer * PER_LAYER;
        float *key = place(m, layer, pages, position);
        normalise(m, w[ATTENTION_NORM]);
        multiply(w[Q], m->n, s->width, m->q, 0, m->queries);
        multiply(w[K], m->n, s->width, m->kv, 0, key);
        multiply(w[V], m->n, s->width, m->kv, 0, key + m->kv);
        rotate(m, m->queries, s->qkv.heads, position);
        rotate(m, key, s->qkv.kv_heads, position);
        attend(m, layer, pages, position);
        multiply(w[O], m->mixed, m->q, s->width, 1, m->x);
        normalise(m, w[MLP_NORM]);
        multiply(w[GATE], m->n, s->width, s->mlp, 0, m->gate);
        multiply(w[UP], m->n, s->width, s->mlp, 0, m->up);
        for (uint32_t i = 0; i < s->mlp; i++)
            m->gate[i] *= m->up[i] / (1 + expf(-m->gate[i]));
        multiply(w[DOWN], m->gate, s->mlp, s->width, 1, m->x);
    }
    normalise(m, m->tensors[LAST_NORM]);
    if (logits)
        multiply(m->tensors[m->tensors[HEAD] ? HEAD : EMBEDDING], m->n, s->width, s->vocab, 0, logits);
}

static bp_status submit(bp_model *m, const bp_batch *b, bp_error *error)
{
    if (b->token_count > m->limits.max_tokens || b->row_count > m->limits.max_rows)
        return fail(error, BP_EINVAL, "a step of %u tokens and %u rows is over the limits", b->token_count, b->row_count);
    m->row_count = 0;
    for (uint32_t s = 0; s < b->seq_count; s++)
        for (int32_t t = b->first[s]; t < b->first[s + 1]; t++) {
            float *row = m->row_count < b->row_count && b->rows[m->row_count] == t ? m->logits + (size_t)m->row_count++ * m->s.vocab : NULL;
            run_token(m, b->tokens[t], b->pages + (size_t)s * b->page_stride, (uint32_t)b->positions[t], row);
        }
    return BP_OK;
}

static bp_status wait(bp_model *m, float *out, uint64_t count, bp_error *error)
{
    if (count != (uint64_t)m->row_count * m->s.vocab)
        return fail(error, BP_EINVAL, "a step of %u rows is asked for another number of floats", m->row_count);
    memcpy(out, m->logits, count * sizeof *out); /* [row_count][vocab] */
    return BP_OK;
}

static bp_status open_device(const bp_host *host, const void *config, bp_device **out, bp_error *error)
{
    (void)host, (void)config;
    return (*out = calloc(1, sizeof **out)) ? BP_OK : fail(error, BP_ENOMEM, "out of memory for a device");
}

static void close_device(bp_device *device)
{
    free(device);
}

static const bp_backend_ops ops = {.size = sizeof ops, .open = open_device, .close = close_device, .supports = supports,
    .compile = compile, .release = release, .submit = submit, .wait = wait};

static const bp_plugin descriptor = {.size = sizeof descriptor, .abi_major = BP_ABI_MAJOR, .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND, .name = "llama", .version = "1.0", .ops = &ops,
    .summary = "Runs whole models of the family llama, in F32."};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
