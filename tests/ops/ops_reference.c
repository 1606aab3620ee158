/* Every op as a small program, on every instruction set with 1, 2 and 3 threads: the same bits everywhere, and within
 * rounding of a plain reference in double precision that shares nothing with the backend but the formats. */
#include "kernels/half.h"
#include "session.h"
#include "weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TOKENS = 70, VOCABULARY = 90 };

static net n;
static int32_t tokens[1024], pages[64], token_type;

static int set_up(void **state)
{
    (void)state;
    net_begin(&n, 11);
    for (int i = 0; i < 1024; i++)
        tokens[i] = (i * 37 + 5) % VOCABULARY;
    for (int i = 0; i < 64; i++)
        pages[i] = (i * 29 + 3) % 64;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    net_end(&n);
    return 0;
}

static float *floats(size_t count)
{
    float *x = calloc(count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

/* --- running ---------------------------------------------------------------------------------------------------------- */

/* Runs the net on all sets and thread counts; `out` is what all of them gave. */
static void everywhere(const part *parts, uint32_t count, bool all, uint32_t kv_dtype, size_t values, float *out)
{
    int32_t isas[4];
    int sets = session_isas(isas);
    float *other = floats(values);
    for (int i = 0; i < sets; i++) {
        for (int32_t threads = 1; threads <= 3; threads++) {
            bool first = i == 0 && threads == 1;
            setup how = {.isa = isas[i], .threads = threads, .max_seqs = 128, .max_tokens = 640, .kv_dtype = kv_dtype,
                         .type = token_type};
            session s;
            session_open(&s, &n, &how);
            session_step(&s, parts, count, all, first ? out : other);
            session_close(&s);
            long at = first ? -1 : different_bits(out, other, values);
            if (at >= 0)
                fail_msg("isa %d, %d threads: value %ld is %a, not %a", isas[i], threads, at, other[at], out[at]);
        }
    }
    free(other);
}

/* Every token is a sequence of its own, and the value is the result. */
static float *each_token(int32_t v)
{
    static part parts[TOKENS];
    size_t values = (size_t)TOKENS * n.values[v].width;
    float *out = floats(values);
    net_pool(&n, v, BP_POOL_LAST, 0);
    for (int i = 0; i < TOKENS; i++)
        parts[i] = (part){tokens + i, 1, 0, NULL};
    everywhere(parts, TOKENS, false, BP_KV_F32, values, out);
    return out;
}

/* One sequence; all its rows of the value are the result, through a product with the identity. */
static float *whole_sequence(int32_t v, int32_t count, uint32_t kv_dtype)
{
    uint32_t width = n.values[v].width;
    float *identity = floats((size_t)width * width), *out = floats((size_t)count * width);
    for (uint32_t i = 0; i < width; i++)
        identity[i * width + i] = 1.0f;
    net_logits(&n, net_rows(&n, v), net_float_weight(&n, identity, width, width), 1.0f, 0.0f);
    free(identity);
    everywhere(&(part){tokens, count, 0, pages}, 1, true, kv_dtype, (size_t)count * width, out);
    return out;
}

static void near(const char *what, size_t i, double want, float got, double tolerance)
{
    if (!(fabs(want - (double)got) <= tolerance))
        fail_msg("%s: value %zu is %.9g, not %.9g (tolerance %.3g)", what, i, (double)got, want, tolerance);
}

/* --- the reference ---------------------------------------------------------------------------------------------------- */

static double half(const uint8_t *at)
{
    uint16_t h;
    memcpy(&h, at, 2);
    int exponent = h >> 10 & 31;
    double m = exponent ? 1024 + (h & 1023) : h & 1023;
    return (h & 0x8000 ? -1 : 1) * ldexp(m, (exponent ? exponent : 1) - 25);
}

/* The element of the other types by the backend's own function, which ops_blocks holds to gguf's. */
static float dequantised(const bp_weight *w, size_t row, size_t k)
{
    static float elements[1024];
    static const uint8_t *held;
    const weight_type *type = weight_type_of(w->dtype);
    size_t row_bytes = weight_row_bytes(type, (size_t)w->shape[0]);
    const uint8_t *at = (const uint8_t *)w->data + row * row_bytes;
    assert_true(w->shape[0] <= 1024);
    if (at != held || k == 0)
        type->dequantise(at, (size_t)w->shape[0], elements);
    held = at;
    return elements[k];
}

static double element(const bp_weight *w, size_t row, size_t k)
{
    const uint8_t *data = w->data;
    size_t width = (size_t)w->shape[0], at = row * width + k, block = at / 32, e = at % 32;
    const uint8_t *b;
    float f;
    uint32_t bits;
    switch (w->dtype) {
    case BP_F16:
        return half(data + at * 2);
    case BP_BF16:
        bits = (uint32_t)(data[at * 2] | data[at * 2 + 1] << 8) << 16;
        memcpy(&f, &bits, 4);
        return (double)f;
    case BP_Q8_0:
        b = data + block * 34;
        return half(b) * (int8_t)b[2 + e];
    case BP_Q4_0:
        b = data + block * 18;
        return half(b) * ((e < 16 ? b[2 + e] & 15 : b[2 + e - 16] >> 4) - 8);
    case BP_Q4_1:
        b = data + block * 20;
        return half(b) * (e < 16 ? b[4 + e] & 15 : b[4 + e - 16] >> 4) + half(b + 2);
    case BP_F32:
        memcpy(&f, data + at * 4, 4);
        return (double)f;
    default:
        return (double)dequantised(w, row, k);
    }
}

static double product(int32_t weight, size_t row, const double *x, double *size)
{
    const bp_weight *w = &n.weights[weight];
    double sum = 0;
    *size = 0;
    for (size_t k = 0; k < (size_t)w->shape[0]; k++) {
        double term = element(w, row, k) * x[k];
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

static double activate(uint32_t kind, double x)
{
    switch (kind) {
    case BP_ACT_SILU:
        return x / (1 + exp(-x));
    case BP_ACT_GELU:
        return 0.5 * x * erfc(-x / sqrt(2.0));
    case BP_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case BP_ACT_TANH:
        return tanh(x);
    default:
        return x;
    }
}

static void row_of(int32_t table, int32_t token, double *x)
{
    for (size_t k = 0; k < (size_t)n.weights[table].shape[0]; k++)
        x[k] = element(&n.weights[table], (size_t)token, k);
}

/* --- inputs ----------------------------------------------------------------------------------------------------------- */

/* Rows that the quantisation of activations keeps exactly: whole numbers, the largest of each block being 127. */
static int32_t whole_table(size_t k)
{
    float *x = floats(VOCABULARY * k);
    for (size_t i = 0; i < VOCABULARY * k; i++)
        x[i] = i % 32 == 5 ? 127.0f : (float)((int32_t)(net_next(&n) % 253) - 126);
    int32_t table = net_float_weight(&n, x, k, VOCABULARY);
    free(x);
    return table;
}

static int32_t uniform_table(size_t k)
{
    float *x = floats(VOCABULARY * k);
    for (size_t i = 0; i < VOCABULARY * k; i++)
        x[i] = net_uniform(&n);
    int32_t table = net_float_weight(&n, x, k, VOCABULARY);
    free(x);
    return table;
}

/* --- ops -------------------------------------------------------------------------------------------------------------- */

static void embed_reads_rows_of_every_type(void **state)
{
    (void)state;
    for (size_t d = 0; d < NET_DTYPES; d++) {
        size_t k = net_block_elements(net_dtypes[d]) == 256 ? 512 : 96;
        int32_t table = net_random_weight(&n, net_dtypes[d], k, VOCABULARY), v = net_embed(&n, table);
        n.args[0].embed.scale = 2.5f;
        float *out = each_token(v);
        for (size_t i = 0; i < TOKENS * k; i++) {
            double want = 2.5 * element(&n.weights[table], (size_t)tokens[i / k], i % k);
            near("EMBED", i, want, out[i], 1e-6 * (fabs(want) + 1));
        }
        free(out);
        net_end(&n);
    }
}

static void check_linear(uint32_t dtype, size_t k, size_t columns, uint32_t activation, bool more, bool whole)
{
    int32_t table = whole ? whole_table(k) : uniform_table(k), added = uniform_table(columns);
    int32_t w = net_random_weight(&n, dtype, k, columns), bias = more ? net_random_weight(&n, BP_BF16, columns, 1) : -1;
    int32_t residual = more ? net_embed(&n, added) : -1;
    float *out = each_token(net_linear(&n, net_embed(&n, table), w, bias, residual, activation));
    double *x = calloc(k, sizeof *x), *r = calloc(columns, sizeof *r), size;
    assert_true(x && r);
    for (size_t t = 0; t < TOKENS; t++) {
        row_of(table, tokens[t], x);
        row_of(added, tokens[t], r);
        for (size_t c = 0; c < columns; c++) {
            double want = product(w, c, x, &size);
            want = activate(activation, want + (more ? element(&n.weights[bias], 0, c) : 0)) + (more ? r[c] : 0);
            /* Quantising uniform inputs costs half of 1/127 of the largest, at random. */
            double tolerance = whole ? 3e-6 * (size + 1) : 0.02 * sqrt(size + 1) + 0.004 * size / sqrt((double)k);
            near("LINEAR", t * columns + c, want, out[t * columns + c], tolerance);
        }
    }
    free(x);
    free(r);
    free(out);
    net_end(&n);
}

static void embed_reads_rows_of_types(void **state)
{
    (void)state;
    for (token_type = 0; token_type < 3; token_type++) {
        bp_embed_args args = {0.5f};
        int32_t table = net_random_weight(&n, BP_F16, 96, 3);
        bp_op *op = net_op(&n, BP_OP_EMBED, &args, sizeof args);
        n.vocab_size = VOCABULARY;
        op->flags = BP_EMBED_TYPE;
        op->weight[0] = table;
        int32_t v = op->out[0] = net_value(&n, 96, BP_ROWS_TOKENS);
        float *out = each_token(v);
        for (size_t i = 0; i < (size_t)TOKENS * 96; i++)
            near("EMBED by type", i, 0.5 * element(&n.weights[table], (size_t)token_type, i % 96), out[i], 0);
        free(out);
        net_end(&n);
    }
    token_type = 0;
}

static void linear_is_the_product(void **state)
{
    static const size_t ks[] = {32, 288, 544}, columns[] = {32, 64, 100};
    (void)state;
    for (size_t d = 0; d < NET_DTYPES; d++) {
        bool super = net_block_elements(net_dtypes[d]) == 256;
        for (size_t i = 0; i < 3; i++)
            check_linear(net_dtypes[d], super ? 256 + 256 * i : ks[i], columns[(i + d) % 3], (uint32_t)(i + d) % 5, i > 0, true);
        check_linear(net_dtypes[d], super ? 256 : 320, 33, BP_ACT_NONE, false, false);
    }
    check_linear(BP_F32, 259, 1, BP_ACT_TANH, false, true);
    check_linear(BP_F16, 17, 47, BP_ACT_SILU, true, true);
}

static void gated_is_the_product_of_products(void **state)
{
    (void)state;
    for (uint32_t activation = BP_ACT_NONE; activation <= BP_ACT_TANH; activation++) {
        static const uint32_t dtypes[] = {BP_F16, BP_BF16, BP_Q8_0, BP_Q4_0, BP_Q4_1};
        uint32_t dtype = dtypes[activation];
        int32_t table = whole_table(64), gate = net_random_weight(&n, dtype, 64, 96),
                up = net_random_weight(&n, BP_Q4_1, 64, 96);
        float *out = each_token(net_gated(&n, net_embed(&n, table), gate, up, activation));
        double x[64], size, up_size;
        for (size_t i = 0; i < TOKENS * 96; i++) {
            row_of(table, tokens[i / 96], x);
            double g = activate(activation, product(gate, i % 96, x, &size)), u = product(up, i % 96, x, &up_size);
            near("GATED_MLP", i, g * u, out[i], 4e-6 * (size + 1) * (up_size + 1));
        }
        free(out);
        net_end(&n);
    }
}

/* A quantised reader after every op that can write blocks: what is quantised is what was stored. */
static void chains_quantise_what_they_store(void **state)
{
    (void)state;
    int32_t w = net_random_weight(&n, BP_Q4_0, 64, 64), norm = net_random_weight(&n, BP_F32, 64, 1);
    int32_t x = net_embed(&n, uniform_table(64));
    x = net_norm(&n, x, -1, 0, norm, -1, BP_NORM_RMS, NULL);
    x = net_linear(&n, x, w, -1, x, BP_ACT_SILU);
    x = net_gated(&n, x, w, w, BP_ACT_GELU);
    bp_scale_args by = {0.5f};
    bp_op *o = net_op(&n, BP_OP_SCALE, &by, sizeof by);
    o->in[0] = x;
    int32_t scaled = o->out[0] = net_value(&n, 64, BP_ROWS_TOKENS);
    o = net_op(&n, BP_OP_ADD, NULL, 0);
    o->in[0] = scaled;
    o->in[1] = x;
    x = o->out[0] = net_value(&n, 64, BP_ROWS_TOKENS);
    free(each_token(net_linear(&n, x, w, -1, -1, BP_ACT_NONE)));
}

static void check_norm(uint32_t kind, uint16_t flags, bool weights, size_t width)
{
    int32_t a = uniform_table(width), b = uniform_table(width), sum = -1;
    int32_t w = weights ? net_random_weight(&n, BP_F16, width, 1) : -1,
            bias = weights ? net_random_weight(&n, BP_F32, width, 1) : -1;
    int32_t in = net_embed(&n, a), residual = flags ? net_embed(&n, b) : -1;
    int32_t out = net_norm(&n, in, residual, flags, w, bias, kind, flags == BP_NORM_PRE_RESIDUAL ? &sum : NULL);
    if (sum >= 0) { /* so that out1 is looked at too */
        bp_op *o = net_op(&n, BP_OP_ADD, NULL, 0);
        o->in[0] = out;
        o->in[1] = sum;
        out = o->out[0] = net_value(&n, (uint32_t)width, BP_ROWS_TOKENS);
    }
    float *got = each_token(out);
    double x[160], r[160];
    for (size_t t = 0; t < TOKENS; t++) {
        double mean = 0, squares = 0;
        row_of(a, tokens[t], x);
        row_of(b, tokens[t], r);
        for (size_t i = 0; i < width; i++) {
            x[i] += flags == BP_NORM_PRE_RESIDUAL ? r[i] : 0;
            mean += kind == BP_NORM_LAYER ? x[i] / (double)width : 0;
        }
        for (size_t i = 0; i < width; i++)
            squares += (x[i] - mean) * (x[i] - mean) / (double)width;
        for (size_t i = 0; i < width; i++) {
            double y = (x[i] - mean) / sqrt(squares + (double)1e-5f);
            y = y * (weights ? element(&n.weights[w], 0, i) : 1) + (weights ? element(&n.weights[bias], 0, i) : 0);
            y += flags == BP_NORM_POST_RESIDUAL ? r[i] : flags == BP_NORM_PRE_RESIDUAL ? x[i] : 0;
            near("NORM", i, y, got[t * width + i], 2e-6 * (fabs(y) + 3));
        }
    }
    free(got);
    net_end(&n);
}

static void norms_of_every_kind(void **state)
{
    (void)state;
    for (uint32_t kind = BP_NORM_RMS; kind <= BP_NORM_LAYER; kind++)
        for (uint16_t flags = 0; flags <= BP_NORM_POST_RESIDUAL; flags++)
            for (size_t width = 20; width < 160; width += 43)
                check_norm(kind, flags, width % 2, width);
}

static void rows_select_and_logits_multiply(void **state)
{
    (void)state;
    int32_t table = uniform_table(48), head = net_random_weight(&n, BP_F32, 48, 77);
    net_logits(&n, net_rows(&n, net_embed(&n, table)), head, 0.5f, 3.0f);
    /* The last token of each of three sequences. */
    part parts[3] = {{tokens, 5, 0, NULL}, {tokens + 9, 1, 0, NULL}, {tokens + 20, 60, 0, NULL}};
    int32_t last[3] = {tokens[4], tokens[9], tokens[79]};
    float out[3 * 77];
    everywhere(parts, 3, false, BP_KV_F16, 3 * 77, out);
    double x[48], size;
    for (size_t i = 0; i < 3 * 77; i++) {
        row_of(table, last[i / 77], x);
        double y = 0.5 * product(head, i % 77, x, &size);
        near("LOGITS", i, 3.0 * tanh(y / 3.0), out[i], 2e-6 * (size + 1));
    }
}

static void pools_of_every_kind(void **state)
{
    (void)state;
    for (uint32_t pooling = BP_POOL_LAST; pooling <= BP_POOL_FIRST; pooling++) {
        for (uint32_t normalise = 0; normalise < 2; normalise++) {
            int32_t table = uniform_table(50);
            net_pool(&n, net_embed(&n, table), pooling, normalise);
            part parts[2] = {{tokens + 3, 7, 0, NULL}, {tokens + 30, 1, 0, NULL}};
            float out[100];
            everywhere(parts, 2, false, BP_KV_F16, 100, out);
            for (size_t s = 0; s < 2; s++) {
                double mean[50] = {0}, x[50], length = 0;
                for (int32_t t = 0; t < parts[s].count; t++) {
                    bool counts = pooling == BP_POOL_MEAN || t == (pooling == BP_POOL_LAST ? parts[s].count - 1 : 0);
                    row_of(table, parts[s].tokens[t], x);
                    for (size_t i = 0; counts && i < 50; i++)
                        mean[i] += x[i] / (pooling == BP_POOL_MEAN ? parts[s].count : 1);
                }
                for (size_t i = 0; i < 50; i++)
                    length += mean[i] * mean[i];
                for (size_t i = 0; i < 50; i++)
                    near("POOL", i, mean[i] / (normalise ? sqrt(length) : 1), out[s * 50 + i], 1e-6);
            }
            net_end(&n);
        }
    }
}

/* --- attention -------------------------------------------------------------------------------------------------------- */

typedef struct heads {
    uint32_t heads, kv_heads, dim, rope_mode, rope_dim, mask, window;
    float soft_cap;
    bool more; /* biases and norms of q and k */
    uint32_t kv_dtype;
    int32_t count; /* tokens */
} heads;

/* One head's vector of one token, normalised and rotated. */
static void reference_head(const heads *h, const int32_t *w, int which, size_t head, const double *x, size_t position,
                           double *out)
{
    double size, squares = 0;
    for (size_t i = 0; i < h->dim; i++) {
        out[i] = product(w[which], head * h->dim + i, x, &size) +
                 (h->more ? element(&n.weights[w[3 + which]], 0, head * h->dim + i) : 0);
        squares += out[i] * out[i] / h->dim;
    }
    for (size_t i = 0; h->more && which < 2 && i < h->dim; i++)
        out[i] *= element(&n.weights[w[6 + which]], 0, i) / sqrt(squares + (double)1e-6f);
    for (size_t i = 0; which < 2 && h->rope_mode != BP_ROPE_NONE && i < h->rope_dim / 2; i++) {
        double angle = (double)position * pow(10000.0, -2.0 * (double)i / h->rope_dim);
        size_t p = h->rope_mode == BP_ROPE_NEOX ? i : 2 * i,
               q = h->rope_mode == BP_ROPE_NEOX ? i + h->rope_dim / 2 : 2 * i + 1;
        double a = out[p], b = out[q];
        out[p] = a * cos(angle) - b * sin(angle);
        out[q] = b * cos(angle) + a * sin(angle);
    }
}

static double *all_heads(const heads *h, const int32_t *w, int which, int32_t table)
{
    size_t count = which ? h->kv_heads : h->heads;
    double *out = calloc((size_t)h->count * count * h->dim, sizeof *out), x[64];
    assert_non_null(out);
    for (size_t t = 0; t < (size_t)h->count; t++) {
        row_of(table, tokens[t], x);
        for (size_t head = 0; head < count; head++)
            reference_head(h, w, which, head, x, t, out + (t * count + head) * h->dim);
    }
    return out;
}

static void reference_attention(const heads *h, const double *q, const double *k, const double *v, size_t t, size_t head,
                                double *out)
{
    size_t group = h->heads / h->kv_heads, to = h->mask == BP_MASK_CAUSAL ? t + 1 : (size_t)h->count, from = 0;
    double p[640], top = -1e300, sum = 0;
    if (h->window && t + 1 > h->window)
        from = t + 1 - h->window;
    for (size_t i = from; i < to; i++) {
        p[i] = 0;
        for (size_t d = 0; d < h->dim; d++)
            p[i] += 0.25 * q[(t * h->heads + head) * h->dim + d] * k[(i * h->kv_heads + head / group) * h->dim + d];
        p[i] = h->soft_cap != 0 ? (double)h->soft_cap * tanh(p[i] / (double)h->soft_cap) : p[i];
        top = fmax(top, p[i]);
    }
    for (size_t i = from; i < to; i++)
        sum += p[i] = exp(p[i] - top);
    for (size_t d = 0; d < h->dim; d++) {
        out[d] = 0;
        for (size_t i = from; i < to; i++)
            out[d] += p[i] / sum * v[(i * h->kv_heads + head / group) * h->dim + d];
    }
}

static void check_attention(const heads *h)
{
    int32_t table = uniform_table(64), w[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    uint32_t widths[3] = {h->heads * h->dim, h->kv_heads * h->dim, h->kv_heads * h->dim};
    for (int i = 0; i < 3; i++) {
        w[i] = net_random_weight(&n, BP_F32, 64, widths[i]);
        w[3 + i] = h->more ? net_random_weight(&n, BP_F32, widths[i], 1) : -1;
    }
    for (int i = 6; h->more && i < 8; i++)
        w[i] = net_random_weight(&n, BP_F32, h->dim, 1);
    n.caches[0] = (bp_cache){.kv_heads = h->kv_heads, .head_dim = h->dim, .window = h->window};
    n.cache_count = 1;
    bp_qkv_args qkv = {h->heads, h->kv_heads, h->dim, h->rope_mode, h->rope_dim, -1, 1e-6f};
    if (h->rope_mode != BP_ROPE_NONE)
        qkv.rope_table = net_rope_table(&n, n.max_context, h->rope_dim);
    bp_attention_args attention = {h->heads, h->mask, 0.25f, h->soft_cap, -1};
    int32_t v = net_attention(&n, net_qkv(&n, net_embed(&n, table), w, 0, &qkv), 0, &attention);
    float *out = whole_sequence(v, h->count, h->kv_dtype);
    double *q = all_heads(h, w, 0, table), *k = all_heads(h, w, 1, table), *values = all_heads(h, w, 2, table), want[80];
    double tolerance = h->kv_dtype == BP_KV_F32 ? 2e-5 : h->kv_dtype == BP_KV_F16 ? 4e-3 : 3e-2;
    for (size_t t = 0; t < (size_t)h->count; t++) {
        for (size_t head = 0; head < h->heads; head++) {
            reference_attention(h, q, k, values, t, head, want);
            for (size_t d = 0; d < h->dim; d++) {
                size_t at = (t * h->heads + head) * h->dim + d;
                near("ATTENTION", at, want[d], out[at], tolerance);
            }
        }
    }
    free(q);
    free(k);
    free(values);
    free(out);
    net_end(&n);
}

static void attention_is_softmax(void **state)
{
    (void)state;
    static const heads cases[] = {
        {6, 2, 32, BP_ROPE_NORMAL, 32, BP_MASK_CAUSAL, 0, 0.0f, false, BP_KV_F32, 40},
        {6, 2, 32, BP_ROPE_NEOX, 16, BP_MASK_CAUSAL, 0, 0.0f, true, BP_KV_F32, 33},
        {4, 4, 16, BP_ROPE_NONE, 0, BP_MASK_NONE, 0, 0.0f, true, BP_KV_F32, 50},
        {3, 1, 80, BP_ROPE_NEOX, 80, BP_MASK_CAUSAL, 20, 0.0f, false, BP_KV_F32, 70},
        {2, 1, 48, BP_ROPE_NORMAL, 10, BP_MASK_CAUSAL, 300, 4.0f, false, BP_KV_F32, 600},
        {4, 1, 16, BP_ROPE_NONE, 0, BP_MASK_CAUSAL, 1, 0.0f, false, BP_KV_F32, 30},
        {6, 2, 32, BP_ROPE_NORMAL, 32, BP_MASK_CAUSAL, 0, 0.0f, false, BP_KV_F16, 530},
        {6, 2, 32, BP_ROPE_NORMAL, 32, BP_MASK_CAUSAL, 0, 2.0f, true, BP_KV_BF16, 40},
        {6, 2, 32, BP_ROPE_NORMAL, 32, BP_MASK_CAUSAL, 0, 0.0f, false, BP_KV_Q8_0, 300},
        {4, 2, 64, BP_ROPE_NEOX, 64, BP_MASK_CAUSAL, 20, 3.0f, true, BP_KV_Q8_0, 70},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_attention(&cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(embed_reads_rows_of_every_type, set_up, tear_down),
        cmocka_unit_test_setup_teardown(embed_reads_rows_of_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(linear_is_the_product, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gated_is_the_product_of_products, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chains_quantise_what_they_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(norms_of_every_kind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_select_and_logits_multiply, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pools_of_every_kind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(attention_is_softmax, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
