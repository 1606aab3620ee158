/* What a backend says of what it cannot do: in which words, with which status, and that nothing else happens.
 *
 * The core checks what it hands over, so nothing here is of everyday use; but a plugin that meets a broken program with a crash
 * takes every other model with it. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The ops of small_decoder, in order; LOGITS is the last. */
enum { EMBED, NORM, QKV, ATTENTION, LINEAR, FFN_NORM, GATED };
enum { WIDTH = 64 };

/* A llama of two layers, of weights of that type. */
static void small_decoder(net *n, uint32_t dtype)
{
    uint32_t width = (uint32_t)net_block_elements(dtype) > WIDTH ? 256 : WIDTH;
    const recipe small = {.name = "small", .dtype = dtype, .kv_dtype = BP_KV_F32, .features = HAS_TIED_HEAD, .width = width,
                          .hidden = width, .heads = 4, .kv_heads = 2, .dim = 16};
    recipe_build(&small, n);
}

static bool names(const char *sentence, const char *word)
{
    for (; *sentence; sentence++)
        if (strncasecmp(sentence, word, strlen(word)) == 0)
            return true;
    return false;
}

static bp_limits small_limits(const net *n)
{
    bp_limits limits = rig_limits(n, BP_KV_F32);
    limits.max_tokens = limits.max_rows = 32;
    limits.max_seqs = 4;
    return limits;
}

/* supports and compile agree; a refusal names `word`, or its number, or the family of a program that it does not know. */
static bp_status ask(subject *u, bp_device *device, const bp_program *program, const bp_limits *limits, const char *what,
                     const char *word, uint32_t number)
{
    answer a, b;
    bp_model *model = NULL;
    char digits[16];
    bp_status status = CALL(u, &a, u->ops, supports, device, program);
    bp_status compiled = CALL(u, &b, u->ops, compile, device, program, limits, &model);
    snprintf(digits, sizeof digits, "%u", number);
    if (compiled != BP_OK && model)
        failed("compile of %s failed with %d and left a model", what, compiled);
    if (status == BP_OK && compiled != BP_OK)
        failed("supports says that it runs %s, and compile fails: %s", what, b.error.message);
    if (status != BP_OK && compiled == BP_OK)
        failed("supports refuses %s (%s), and compile succeeds", what, a.error.message);
    if (status != BP_OK && status != BP_EUNSUPPORTED)
        failed("supports of %s returned %d where %d, unsupported, belongs: %s", what, status, BP_EUNSUPPORTED, a.error.message);
    bool by_family = names(a.error.message, "family") && names(a.error.message, program->family);
    if (status != BP_OK && !names(a.error.message, word) && !strstr(a.error.message, digits) && !by_family)
        failed("supports of %s gives a sentence that names neither %s nor %u: %s", what, word, number, a.error.message);
    if (compiled == BP_OK)
        CALL_VOID(u->ops, release, model);
    return status;
}

static const struct {
    uint32_t dtype;
    const char *name;
} dtypes[] = {
#define ROW(name, number, ...) {number, #name},
    BP_DTYPES(ROW)
#undef ROW
};

static void supports(subject *u, uint32_t which)
{
    (void)which;
    net n;
    bp_device *device = subject_device(u);
    uint32_t runs = 0;
    for (size_t i = 0; i < NET_DTYPES; i++) {
        char what[64];
        small_decoder(&n, dtypes[i].dtype);
        bp_program program = net_program(&n);
        bp_limits limits = small_limits(&n);
        snprintf(what, sizeof what, "a decoder of %s weights", dtypes[i].name);
        runs += ask(u, device, &program, &limits, what, dtypes[i].name, dtypes[i].dtype) == BP_OK;
        net_end(&n);
    }
    if (runs == 0)
        not_offered("it runs a small decoder of no weight type, and says so");
    subject_close(u, device);
    subject_unload(u);
}

/* What no backend of this ABI can run: a type and ops that do not exist, or are reserved. */
static void unknown(subject *u, uint32_t which)
{
    static const struct {
        const char *what, *word;
        uint32_t kind;
    } ops[] = {{"a program with an op of the kind 99", "unknown", 99},
               {"a program with the reserved op MOE", "MOE", BP_OP_MOE},
               {"a program with the reserved op ALL_REDUCE", "ALL_REDUCE", BP_OP_ALL_REDUCE}};
    (void)which;
    net n;
    bp_device *device = subject_device(u);
    for (size_t i = 0; i < 4; i++) {
        small_decoder(&n, BP_F32);
        n.family = NULL; /* a family that somebody knows says what to compute, whatever the ops are */
        bp_program program = net_program(&n);
        bp_limits limits = small_limits(&n);
        const char *what = i < 3 ? ops[i].what : "a program with a weight of the type 211";
        if (i < 3)
            n.ops[LINEAR].kind = (uint16_t)ops[i].kind;
        else
            n.weights[2].dtype = 211;
        if (ask(u, device, &program, &limits, what, i < 3 ? ops[i].word : "unknown", i < 3 ? ops[i].kind : 211) == BP_OK)
            failed("supports and compile take %s, which nobody can run", what);
        net_end(&n);
    }
    subject_close(u, device);
    subject_unload(u);
}

/* --- programs and limits that are wrong ------------------------------------------------------------------------------------- */

typedef struct wreck {
    net *n;
    bp_program *program;
    bp_limits *limits;
} wreck;

/* Unused caches beside those that are there. */
static void huge_caches(const wreck *w)
{
    for (uint32_t i = w->program->cache_count; i < 8; i++)
        w->n->caches[i] = (bp_cache){.kv_heads = 64, .head_dim = 1024};
    w->program->cache_count = 8;
}

/* Each damages one thing of a fresh program. */
#define WRECKS(X)                                                                                                          \
    X("an op that reads a value that does not exist", w->n->ops[LINEAR].in[0] = 500)                                        \
    X("an op that reads a value before it is written", w->n->ops[NORM].in[0] = w->n->ops[GATED].out[0])                     \
    X("an op that writes a value that does not exist", w->n->ops[GATED].out[0] = 500)                                       \
    X("an op that uses a weight that does not exist", w->n->ops[LINEAR].weight[0] = 500)                                    \
    X("an op without its arguments", w->n->ops[QKV].args = NULL)                                                            \
    X("an op whose arguments end early", w->n->ops[QKV].args_size = 3)                                                      \
    X("a cache that does not exist", w->n->ops[QKV].cache = 7)                                                              \
    X("a weight that is wider than its input", w->n->ops[LINEAR].weight[0] = w->n->ops[EMBED].weight[0])                    \
    X("a weight of more rows than its bytes hold", w->n->weights[w->n->ops[GATED].weight[0]].bytes = 64)                    \
    X("a weight of a negative number of columns", w->n->weights[w->n->ops[GATED].weight[0]].shape[0] = -WIDTH)              \
    X("a weight of 2^62 columns", w->n->weights[w->n->ops[GATED].weight[0]].shape[0] = INT64_C(1) << 62)                    \
    X("a rope table of fewer rows than positions", w->n->weights[w->n->args[QKV].qkv.rope_table].shape[1] = 3)              \
    X("heads that do not share evenly", w->n->args[ATTENTION].attention.heads = 3)                                          \
    X("a cache of no heads", w->n->caches[0].kv_heads = 0)                                                                  \
    X("no ops", w->program->op_count = 0)                                                                                   \
    X("no result", w->program->op_count--)

#define LIMITS(X)                                                                                                          \
    X("a cache larger than any memory",                                                                                     \
      (w->limits->page_tokens = 256, w->limits->page_count = INT32_MAX, huge_caches(w)))

#define FUNCTION(what, change) what,
static const char *const wreck_names[] = {WRECKS(FUNCTION)};
static const char *const limit_names[] = {LIMITS(FUNCTION)};
#undef FUNCTION

enum { WRECK_COUNT = sizeof wreck_names / sizeof *wreck_names, LIMIT_COUNT = sizeof limit_names / sizeof *limit_names };

static void damage(const wreck *w, size_t number)
{
    size_t i = 0;
#define FUNCTION(what, change)                                                                                             \
    if (i++ == number)                                                                                                     \
        change;
    WRECKS(FUNCTION)
#undef FUNCTION
}

static void exceed(const wreck *w, size_t number)
{
    size_t i = 0;
#define FUNCTION(what, change)                                                                                             \
    if (i++ == number)                                                                                                     \
        change;
    LIMITS(FUNCTION)
#undef FUNCTION
}

/* A decoder whose weights the plugin runs. */
static bool runs_decoder(subject *u, bp_device *device, uint32_t *dtype, answer *a)
{
    for (size_t i = 0; i < NET_DTYPES; i++) {
        net n;
        rig r;
        small_decoder(&n, *dtype = dtypes[i].dtype);
        bp_limits limits = small_limits(&n);
        bool runs = rig_try(&r, u, device, &n, &limits, a);
        if (runs)
            rig_close(&r);
        net_end(&n);
        if (runs)
            return true;
    }
    return false;
}

static void refusals(subject *u, uint32_t of_limits)
{
    answer a;
    uint32_t dtype = BP_F32;
    bp_device *device = subject_device(u);
    if (!runs_decoder(u, device, &dtype, &a))
        not_offered("%s", a.error.message);
    for (size_t i = 0; i < (of_limits ? LIMIT_COUNT : WRECK_COUNT); i++) {
        net n;
        small_decoder(&n, dtype);
        n.family = of_limits ? n.family : NULL;
        bp_program program = net_program(&n);
        bp_limits limits = small_limits(&n);
        bp_model *model = NULL;
        const wreck w = {&n, &program, &limits};
        const char *what = of_limits ? limit_names[i] : wreck_names[i];
        char said[64];
        if (of_limits)
            exceed(&w, i);
        else
            damage(&w, i);
        bp_status status = CALL(u, &a, u->ops, compile, device, &program, &limits, &model);
        snprintf(said, sizeof said, "%.60s", a.error.message);
        if (status == BP_OK)
            failed("compile takes %s", what);
        if (strcmp(said, "(no sentence)") == 0)
            failed("compile refuses %s without a sentence", what);
        if (model)
            failed("compile refuses %s and leaves a model", what);
        net_end(&n);
    }
    /* As good as before. */
    if (!runs_decoder(u, device, &dtype, &a))
        failed("the device runs nothing after refusals: %s", a.error.message);
    subject_close(u, device);
    subject_unload(u);
}

/* --- the rules of errors ------------------------------------------------------------------------------------------------------ */

typedef struct bench_model {
    net n;
    rig r;
    int32_t tokens[40], pages[4];
} bench_model;

static void begin_model(bench_model *m, subject *u)
{
    answer a;
    uint32_t dtype = BP_F32;
    bp_device *device = subject_device(u);
    if (!runs_decoder(u, device, &dtype, &a))
        not_offered("%s", a.error.message);
    small_decoder(&m->n, dtype);
    bp_limits limits = small_limits(&m->n);
    rig_open(&m->r, u, device, &m->n, &limits);
    for (int32_t i = 0; i < 40; i++)
        m->tokens[i] = i;
    for (int32_t i = 0; i < 4; i++)
        m->pages[i] = 3 - i;
}

static void end_model(bench_model *m, subject *u)
{
    rig_close(&m->r);
    subject_close(u, m->r.device);
    net_end(&m->n);
    subject_unload(u);
}

/* Calls that go well and calls that cannot, each listened to closely: subject.c's hold_to_rules. */
static void errors(subject *u, uint32_t which)
{
    (void)which;
    bench_model m;
    answer a;
    u->strict = true;
    begin_model(&m, u);
    bp_device_info device_info = {.size = sizeof device_info};
    bp_model_memory memory = {.size = sizeof memory};
    CALL(u, &a, u->ops, info, m.r.device, &device_info);
    CALL(u, &a, u->ops, memory, m.r.model, &memory);
    turn t = {m.tokens, 0, 9, m.pages};
    float *out = floats(9 * (size_t)m.r.width);
    rig_step(&m.r, &t, 1, out);
    feed f;
    feed_make(&f, &m.r, &t, 1);
    int32_t from = 0, to = 1;
    float k[32], v[32];
    CALL(u, &a, u->ops, copy_pages, m.r.model, &from, &to, 1);
    CALL(u, &a, u->ops, read_kv, m.r.model, 0, 0, 0, k, v);
    CALL(u, &a, u->ops, submit, m.r.model, &f.batch);
    feed_free(&f);
    CALL(u, &a, u->ops, wait, m.r.model, out, 1);
    CALL(u, &a, u->ops, wait, m.r.model, out, 9 * (uint64_t)m.r.width);
    net n;
    bp_model *model = NULL;
    small_decoder(&n, BP_F32);
    n.family = NULL;
    n.ops[LINEAR].kind = 99;
    bp_program program = net_program(&n);
    bp_limits limits = small_limits(&n);
    CALL(u, &a, u->ops, supports, m.r.device, &program);
    if (CALL(u, &a, u->ops, compile, m.r.device, &program, &limits, &model) == BP_OK)
        CALL_VOID(u->ops, release, model); /* calls.unknown minds */
    net_end(&n);
    free(out);
    end_model(&m, u);
}

static void wait_count(subject *u, uint32_t which)
{
    (void)which;
    const float mark = 12345.5f;
    bench_model m;
    answer a;
    begin_model(&m, u);
    turn t = {m.tokens, 0, 9, m.pages};
    size_t count = 9 * (size_t)m.r.width;
    float *out = floats(count + 8), *expected = floats(count);
    rig_step(&m.r, &t, 1, expected);
    for (int i = 0; i < 2; i++) {
        feed f;
        feed_make(&f, &m.r, &t, 1);
        rig_submit(&m.r, &f);
        feed_free(&f);
        for (size_t k = 0; k < count + 8; k++)
            out[k] = mark;
        uint64_t wrong = i ? count + 3 : count - 5;
        if (CALL(u, &a, u->ops, wait, m.r.model, out, wrong) == BP_OK)
            failed("wait succeeds for %llu floats where the step has %zu", (unsigned long long)wrong, count);
        for (size_t k = i ? 0 : (size_t)wrong; k < count + 8; k++)
            if (out[k] != mark)
                failed("wait refused %llu floats and wrote number %zu", (unsigned long long)wrong, k);
        CALL(u, &a, u->ops, wait, m.r.model, out, count); /* whether or not the step is over now */
    }
    rig_step(&m.r, &t, 1, out);
    same_bits(&m.r, expected, out, count, "after a wait for another number of floats");
    free(out);
    free(expected);
    end_model(&m, u);
}

void checks_add_calls(check_list *list)
{
    checks_add(list, "calls.supports", supports, 0, "supports and compile agree, and a refusal names the weight type.");
    checks_add(list, "calls.unknown", unknown, 0, "Ops and types that nobody can run are refused, by name or number.");
    checks_add(list, "calls.programs", refusals, 0, "compile refuses broken programs with a sentence, and runs others after it.");
    checks_add(list, "calls.limits", refusals, 1, "compile refuses a cache larger than any memory.");
    checks_add(list, "calls.errors", errors, 0,
               "A failure has a code and one sentence that ends; a success leaves the caller's error alone.");
    checks_add(list, "calls.wait", wait_count, 0, "wait for another number of floats fails and writes nothing.");
}
