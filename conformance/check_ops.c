/* Each op, weight type, cache type and a whole net of each kind, against the reference.
 *
 * The nets of an op are as small as can be: an embedding of random rows, the op, and logits whose weight is the identity, so that
 * what comes out is what the op made. A check has many nets, of shapes that fit nothing: it is "not offered" where the plugin
 * refuses all of them, and kept where those that it runs are right. Bits are promised of `numerics: portable`, so that is what
 * programs ask for; with a tolerance they ask for the usual `stable`. */
#include "rig.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOCABULARY = 29, LONGEST = 44, SEQUENCES = 4 };

/* A row of nets under way. */
typedef struct trial {
    subject *u;
    bp_device *device;
    uint32_t kv_dtype, page_tokens, ran, refused;
    uint32_t poisons; /* the last so many tokens are not finite: for steps.neighbours alone */
    char refusal[508]; /* the first */
    net n;
} trial;

static void trial_begin(trial *t, subject *u)
{
    *t = (trial){.u = u, .kv_dtype = BP_KV_F32, .page_tokens = 16};
    u->numerics = u->tolerance > 0 ? BP_NUMERICS_STABLE : BP_NUMERICS_PORTABLE;
    t->device = subject_device(u);
    net_begin(&t->n, 7);
}

static void trial_end(trial *t)
{
    net_end(&t->n);
    if (t->ran == 0)
        not_offered("%s", t->refusal);
    subject_close(t->u, t->device);
    subject_unload(t->u);
}

static void next_net(trial *t)
{
    uint64_t random = t->n.random;
    net_end(&t->n);
    net_begin(&t->n, 1);
    t->n.random = random;
}

/* Runs t->n on both, in steps of several sequences of different lengths and then one token more of each; a net that pools in
 * the first alone. */
static void compare(trial *t, const char *format, ...) BP_PRINTF(2, 3);
static void compare(trial *t, const char *format, ...)
{
    static const int32_t lengths[SEQUENCES] = {1, 19, LONGEST - 1, 6};
    static int32_t tokens[SEQUENCES][LONGEST], pages[SEQUENCES][4];
    char what[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    net *n = &t->n;
    answer a;
    rig r, reference;
    bp_limits limits = rig_limits(n, t->kv_dtype);
    limits.page_tokens = t->page_tokens;
    if (!rig_try(&r, t->u, t->device, n, &limits, &a)) {
        if (t->refused++ == 0)
            snprintf(t->refusal, sizeof t->refusal, "%s", a.error.message);
        next_net(t);
        return;
    }
    rig_reference(&reference, t->u, n, &limits);
    turn turns[SEQUENCES];
    for (int32_t s = 0; s < SEQUENCES; s++) {
        for (int32_t i = 0; i < LONGEST; i++)
            tokens[s][i] = (int32_t)(net_next(n) % (n->vocab_size - t->poisons));
        for (int32_t i = 0; i < 4; i++)
            pages[s][i] = (s * 4 + i) * 37 % RIG_PAGES;
        turns[s] = (turn){tokens[s], 0, lengths[s], pages[s]};
    }
    size_t count = rig_floats(&r, turns, SEQUENCES);
    float *expected = floats(count), *got = floats(count);
    for (int32_t step = 0; step < (r.pools ? 1 : 2); step++) {
        count = rig_floats(&r, turns, SEQUENCES);
        rig_step(&reference, turns, SEQUENCES, expected);
        rig_step(&r, turns, SEQUENCES, got);
        same_as_reference(&r, expected, got, count, "%s%s", what, step ? ", one token a sequence" : "");
        for (int32_t s = 0; s < SEQUENCES; s++) {
            turns[s].start = lengths[s];
            turns[s].count = 1;
        }
    }
    free(expected);
    free(got);
    rig_close(&r);
    rig_close(&reference);
    t->ran++;
    next_net(t);
}

/* --- parts of nets ---------------------------------------------------------------------------------------------------------- */

static int32_t random_rows(net *n, uint32_t width)
{
    return net_random_weight(n, BP_F32, width, VOCABULARY);
}

static int32_t vector(net *n, uint32_t width)
{
    return net_random_weight(n, BP_F32, width, 1);
}

static int32_t embedded(net *n, uint32_t width)
{
    return net_embed(n, random_rows(n, width));
}

/* Logits whose weight is the identity: 0 + 1 * x + 0 * others. */
static void yield(net *n, int32_t x)
{
    uint32_t width = n->values[x].width;
    float *identity = floats((size_t)width * width);
    for (uint32_t i = 0; i < width; i++)
        identity[(size_t)i * width + i] = 1.0f;
    int32_t weight = net_float_weight(n, identity, width, width);
    free(identity);
    net_logits(n, n->values[x].rows == BP_ROWS_TOKENS ? net_rows(n, x) : x, weight, 1.0f, 0.0f);
}

static const uint32_t widths[] = {1, 17, 96, 288};
static const char *const activations[] = {"none", "silu", "gelu", "gelu_tanh", "tanh"};

/* --- ops ------------------------------------------------------------------------------------------------------------------------ */

static void embed(subject *u, uint32_t which)
{
    (void)which;
    trial t;
    trial_begin(&t, u);
    for (size_t w = 0; w < 4; w++) {
        int32_t x = embedded(&t.n, widths[w]);
        t.n.args[0].embed.scale = 1.7f;
        yield(&t.n, x);
        compare(&t, "EMBED of %u columns with a scale", widths[w]);
    }
    trial_end(&t);
}

/* Positions or types, added to tokens. */
static void embed_other(subject *u, uint32_t flag)
{
    trial t;
    bp_embed_args args = {0.6f};
    trial_begin(&t, u);
    int32_t x = embedded(&t.n, 48);
    size_t rows = flag == BP_EMBED_POSITION ? t.n.max_context : 2;
    int32_t table = net_random_weight(&t.n, BP_F16, 48, rows);
    bp_op *o = net_op(&t.n, BP_OP_EMBED, &args, sizeof args);
    o->flags = (uint16_t)flag;
    o->weight[0] = table;
    int32_t y = o->out[0] = net_value(&t.n, 48, BP_ROWS_TOKENS);
    o = net_op(&t.n, BP_OP_ADD, NULL, 0);
    o->in[0] = x;
    o->in[1] = y;
    yield(&t.n, o->out[0] = net_value(&t.n, 48, BP_ROWS_TOKENS));
    compare(&t, "EMBED of %s", flag == BP_EMBED_POSITION ? "positions" : "types");
    trial_end(&t);
}

static void norm(subject *u, uint32_t which)
{
    static const char *const places[] = {"", ", residual before", ", residual after"};
    (void)which;
    trial t;
    trial_begin(&t, u);
    for (uint32_t i = 0; i < 4 * 2 * 3 * 2; i++) {
        uint32_t width = widths[i % 4], kind = i / 4 % 2, bias = i / 24;
        uint16_t flags = (uint16_t)(i / 8 % 3);
        int32_t x = embedded(&t.n, width), y = -1, sum = -1;
        if (flags) {
            bp_scale_args scale = {-0.4f};
            bp_op *o = net_op(&t.n, BP_OP_SCALE, &scale, sizeof scale);
            o->in[0] = x;
            y = o->out[0] = net_value(&t.n, width, BP_ROWS_TOKENS);
        }
        int32_t weight = vector(&t.n, width), shift = bias ? vector(&t.n, width) : -1;
        int32_t h = net_norm(&t.n, x, y, flags, weight, shift, kind, flags == BP_NORM_PRE_RESIDUAL ? &sum : NULL);
        if (sum >= 0) { /* out1 counts too */
            bp_op *o = net_op(&t.n, BP_OP_ADD, NULL, 0);
            o->in[0] = h;
            o->in[1] = sum;
            h = o->out[0] = net_value(&t.n, width, BP_ROWS_TOKENS);
        }
        yield(&t.n, h);
        compare(&t, "NORM (%s) of %u columns%s%s", kind == BP_NORM_RMS ? "RMS" : "layer", width, places[flags],
                bias ? ", with a bias" : "");
    }
    trial_end(&t);
}

static void linear(subject *u, uint32_t which)
{
    (void)which;
    trial t;
    trial_begin(&t, u);
    for (uint32_t i = 0; i < 5 * 4; i++) {
        uint32_t activation = i % 5, bias = i / 5 % 2, residual = i / 10, k = widths[(i * 7 + 1) % 4];
        uint32_t outputs = residual ? k : widths[i % 3] + 3;
        int32_t x = embedded(&t.n, k), weight = net_random_weight(&t.n, BP_F32, k, outputs);
        int32_t shift = bias ? vector(&t.n, outputs) : -1;
        yield(&t.n, net_linear(&t.n, x, weight, shift, residual ? x : -1, activation));
        compare(&t, "LINEAR [%u][%u], activation %s%s%s", outputs, k, activations[activation], bias ? ", with a bias" : "",
                residual ? ", with a residual" : "");
    }
    trial_end(&t);
}

static void gated(subject *u, uint32_t which)
{
    (void)which;
    trial t;
    trial_begin(&t, u);
    for (uint32_t activation = 0; activation < 5; activation++) {
        uint32_t k = widths[activation % 3 + 1], outputs = 5 + 31 * activation;
        int32_t x = embedded(&t.n, k), gate = net_random_weight(&t.n, BP_F32, k, outputs);
        int32_t up = net_random_weight(&t.n, BP_F32, k, outputs);
        yield(&t.n, net_gated(&t.n, x, gate, up, activation));
        compare(&t, "GATED_MLP [%u][%u], activation %s", outputs, k, activations[activation]);
    }
    trial_end(&t);
}

static void add_and_scale(subject *u, uint32_t kind)
{
    trial t;
    bp_scale_args scale = {-1.3f};
    trial_begin(&t, u);
    for (size_t w = 0; w < 4; w++) {
        int32_t x = embedded(&t.n, widths[w]);
        int32_t h = net_norm(&t.n, x, -1, 0, vector(&t.n, widths[w]), -1, BP_NORM_RMS, NULL);
        bp_op *o = kind == BP_OP_ADD ? net_op(&t.n, BP_OP_ADD, NULL, 0) : net_op(&t.n, BP_OP_SCALE, &scale, sizeof scale);
        o->in[0] = h;
        o->in[1] = kind == BP_OP_ADD ? x : -1;
        yield(&t.n, o->out[0] = net_value(&t.n, widths[w], BP_ROWS_TOKENS));
        compare(&t, "%s of %u columns", kind == BP_OP_ADD ? "ADD" : "SCALE", widths[w]);
    }
    trial_end(&t);
}

static void logits(subject *u, uint32_t which)
{
    (void)which;
    trial t;
    trial_begin(&t, u);
    for (uint32_t i = 0; i < 4; i++) {
        int32_t h = net_rows(&t.n, embedded(&t.n, widths[i]));
        net_logits(&t.n, h, net_random_weight(&t.n, BP_F32, widths[i], 61), i % 2 ? 0.3f : 1.0f, i / 2 ? 1.5f : 0.0f);
        compare(&t, "LOGITS [61][%u]%s%s", widths[i], i % 2 ? ", scaled" : "", i / 2 ? ", with a soft cap" : "");
    }
    trial_end(&t);
}

static void pool(subject *u, uint32_t which)
{
    static const char *const names[] = {"last", "mean", "first"};
    (void)which;
    trial t;
    trial_begin(&t, u);
    for (uint32_t i = 0; i < 6; i++) {
        net_pool(&t.n, embedded(&t.n, widths[i % 4]), i % 3, i / 3);
        compare(&t, "POOL of the %s, %u columns%s", names[i % 3], widths[i % 4], i / 3 ? ", normalised" : "");
    }
    trial_end(&t);
}

/* --- QKV and ATTENTION: neither can be seen without the other --------------------------------------------------------------------- */

typedef struct heads {
    const char *what;
    uint32_t heads, kv_heads, dim, rope, rope_dim, window;
    bool bias, norms, no_mask;
    float soft_cap;
} heads;

static void attention_net(net *n, const heads *h)
{
    uint32_t q = h->heads * h->dim, kv = h->kv_heads * h->dim, width = 48;
    int32_t x = embedded(n, width), w[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    bp_qkv_args qkv = {h->heads, h->kv_heads, h->dim, h->rope, h->rope_dim, -1, 1e-6f};
    bp_attention_args args = {h->heads, h->no_mask ? BP_MASK_NONE : BP_MASK_CAUSAL, 0.3f, h->soft_cap, -1};
    if (h->rope != BP_ROPE_NONE)
        qkv.rope_table = net_rope_table(n, n->max_context, h->rope_dim);
    for (int i = 0; i < 3; i++)
        w[i] = net_random_weight(n, BP_F32, width, i ? kv : q);
    for (int i = 3; i < 6 && h->bias; i++)
        w[i] = vector(n, i == 3 ? q : kv);
    for (int i = 6; i < 8 && h->norms; i++)
        w[i] = vector(n, h->dim);
    n->caches[0] = (bp_cache){.kv_heads = h->kv_heads, .head_dim = h->dim, .window = h->window};
    n->cache_count = 1;
    int32_t out = net_attention(n, net_qkv(n, x, w, 0, &qkv), 0, &args);
    if (h->no_mask) /* of a whole sequence, which comes in one step */
        net_pool(n, out, BP_POOL_MEAN, 0);
    else
        yield(n, out);
}

static const heads projections[] = {
    {"without rotation", 2, 2, 16, BP_ROPE_NONE, 0, 0, false, false, false, 0},
    {"rotating pairs", 2, 1, 32, BP_ROPE_NORMAL, 32, 0, false, false, false, 0},
    {"rotating halves", 3, 1, 16, BP_ROPE_NEOX, 16, 0, false, false, false, 0},
    {"rotating half of a head", 2, 2, 32, BP_ROPE_NEOX, 16, 0, false, false, false, 0},
    {"rotating pairs of half a head", 2, 2, 32, BP_ROPE_NORMAL, 16, 0, false, false, false, 0},
    {"with biases", 2, 1, 16, BP_ROPE_NORMAL, 16, 0, true, false, false, 0},
    {"with norms of heads", 4, 2, 16, BP_ROPE_NEOX, 16, 0, false, true, false, 0},
    {"with biases and norms of heads", 4, 2, 32, BP_ROPE_NORMAL, 32, 0, true, true, false, 0},
};
static const heads attentions[] = {
    {"causal", 2, 2, 32, BP_ROPE_NORMAL, 32, 0, false, false, false, 0},
    {"of 9 heads that share 3", 9, 3, 64, BP_ROPE_NONE, 0, 0, false, false, false, 0},
    {"of 7 heads that share 1", 7, 1, 32, BP_ROPE_NONE, 0, 0, false, false, false, 0},
    {"of heads of 80", 2, 1, 80, BP_ROPE_NONE, 0, 0, false, false, false, 0},
    {"of heads of 128", 2, 1, 128, BP_ROPE_NONE, 0, 0, false, false, false, 0},
    {"with a window of 1", 2, 1, 32, BP_ROPE_NEOX, 32, 1, false, false, false, 0},
    {"with a window of 21", 2, 1, 32, BP_ROPE_NEOX, 32, 21, false, false, false, 0},
    {"with a soft cap", 2, 1, 32, BP_ROPE_NEOX, 32, 0, false, false, false, 0.8f},
    {"without a mask", 2, 1, 32, BP_ROPE_NONE, 0, 0, false, false, true, 0},
};

static void qkv(subject *u, uint32_t which)
{
    (void)which;
    trial t;
    trial_begin(&t, u);
    for (size_t i = 0; i < sizeof projections / sizeof *projections; i++) {
        attention_net(&t.n, &projections[i]);
        compare(&t, "QKV %s", projections[i].what);
    }
    trial_end(&t);
}

static void attention(subject *u, uint32_t which)
{
    (void)which;
    trial t;
    trial_begin(&t, u);
    for (size_t i = 0; i < sizeof attentions / sizeof *attentions; i++) {
        attention_net(&t.n, &attentions[i]);
        compare(&t, "ATTENTION %s", attentions[i].what);
    }
    trial_end(&t);
}

static void cache(subject *u, uint32_t kv_dtype)
{
    static const heads shapes[] = {
        {"of 2 heads of 32", 4, 2, 32, BP_ROPE_NORMAL, 32, 0, false, false, false, 0},
        {"of a head of 64 with a window", 3, 1, 64, BP_ROPE_NEOX, 64, 18, false, true, false, 0},
    };
    trial t;
    trial_begin(&t, u);
    t.kv_dtype = kv_dtype;
    for (uint32_t i = 0; i < 10; i++) {
        t.page_tokens = 16u << i % 5;
        attention_net(&t.n, &shapes[i / 5]);
        compare(&t, "a cache of %s %s, in pages of %u", kv_names[kv_dtype], shapes[i / 5].what, t.page_tokens);
    }
    trial_end(&t);
}

/* --- weight types and whole nets ---------------------------------------------------------------------------------------------------- */

static const char *dtype_name(uint32_t dtype)
{
    switch (dtype) {
#define NAME(name, number, ...)                                                                                            \
    case number:                                                                                                           \
        return #name;
        BP_DTYPES(NAME)
#undef NAME
    default:
        return "?";
    }
}

/* A product with it, of more and fewer outputs than any tile, and an embedding that is of that type too. */
static void weight(subject *u, uint32_t dtype)
{
    static const uint32_t outputs[] = {1, 7, 33, 64, 131};
    uint32_t block = (uint32_t)net_block_elements(dtype);
    trial t;
    trial_begin(&t, u);
    for (uint32_t i = 0; i < 10; i++) {
        uint32_t k = block == 1 ? widths[i % 4] : block * (1 + i % 3), rows = outputs[i / 2];
        int32_t x = i % 2 ? embedded(&t.n, k) : net_embed(&t.n, net_random_weight(&t.n, dtype, k, VOCABULARY));
        int32_t w = net_random_weight(&t.n, dtype, k, rows);
        if (i % 3 == 0)
            net_logits(&t.n, net_rows(&t.n, x), w, 1.0f, 0.0f);
        else
            yield(&t.n, net_linear(&t.n, x, w, -1, -1, BP_ACT_NONE));
        compare(&t, "a weight of %s [%u][%u]", dtype_name(dtype), rows, k);
    }
    trial_end(&t);
}

static void whole(subject *u, uint32_t number)
{
    const recipe *r = &recipes[number];
    trial t;
    trial_begin(&t, u);
    recipe_build(r, &t.n);
    t.kv_dtype = r->kv_dtype;
    t.poisons = recipe_poisons(r) ? 2 : 0;
    compare(&t, "the net %s", r->name);
    trial_end(&t);
}

void checks_add_ops(check_list *list)
{
    static const struct {
        const char *name;
        void (*run)(subject *u, uint32_t which);
        uint32_t which;
    } ops[] = {{"op.embed", embed, 0},           {"op.embed_position", embed_other, BP_EMBED_POSITION},
               {"op.embed_type", embed_other, BP_EMBED_TYPE}, {"op.norm", norm, 0}, {"op.linear", linear, 0},
               {"op.gated_mlp", gated, 0},       {"op.add", add_and_scale, BP_OP_ADD}, {"op.scale", add_and_scale, BP_OP_SCALE},
               {"op.logits", logits, 0},         {"op.pool", pool, 0}, {"op.qkv", qkv, 0}, {"op.attention", attention, 0}};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        checks_add(list, ops[i].name, ops[i].run, ops[i].which, "The op gives what the reference gives, in every variant and ragged shape.");
    for (uint32_t i = 0; i < NET_DTYPES; i++) {
        char name[40];
        snprintf(name, sizeof name, "weight.%s", dtype_name(net_dtypes[i]));
        checks_add(list, name, weight, net_dtypes[i], "Products and embeddings of this weight type are the reference's.");
    }
    for (uint32_t i = 0; i < 4; i++) {
        char name[40];
        snprintf(name, sizeof name, "cache.%s", kv_names[i]);
        checks_add(list, name, cache, i, "Attention over a cache of this type is the reference's, for each page size.");
    }
    for (uint32_t i = 0; i < recipe_count; i++) {
        char name[40];
        snprintf(name, sizeof name, "net.%s", recipes[i].name);
        checks_add(list, name, whole, i, "A whole net with random weights gives the reference's logits.");
    }
}
