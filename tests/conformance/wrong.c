/* wrong: the CPU backend with one promise broken, which the option `fault` names.
 *
 * Whatever is not at fault is the CPU backend's own. Some faults show with the second device, or in a call that has no device;
 * so the fault of the device that was opened last counts for all. */
#include <backplane/backend.h>

#include <fcntl.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

const bp_plugin *cpu_plugin_entry(void);

#define FAULTS(X)                                                                                                          \
    X(close_null) X(release_null) X(one_device) X(info_overrun) X(info_caps) X(memory_overrun) X(memory_zero)         \
    X(last_bit) X(rope) X(gelu) X(window) X(epsilon)                                                                         \
    X(neighbours) X(nan_spreads) X(pages) X(chunks) X(late_read) X(overrun) X(row_order) X(counts_steps) X(full_step)          \
    X(rounding) X(page_size) X(rewound)                                                                                      \
    X(supports_all) X(vague) X(takes_all) X(crashes) X(exits) X(leaves_model) X(takes_petabytes)                              \
    X(no_end) X(wrong_code) X(no_sentence) X(empty_sentence) X(touches_error) X(no_status)                 \
    X(wait_any) X(wait_writes) X(topk_missing) X(topk_ties) X(copy_half) X(shares_nothing) X(kv_swapped)                                        \
    X(one_step_for_all) X(one_scratch) X(leaks_file) X(leaks_thread) X(leaks_heap) X(leaks_pages) X(leaks_refusal)             \
    X(leaks_step) X(hangs)

#define ENUM(name) fault_##name,
typedef enum fault { fault_none, FAULTS(ENUM) } fault;
#undef ENUM
#define WORD(name) "|" #name
static const char words[] = "none" FAULTS(WORD);
#undef WORD

typedef struct wrong_config {
    int32_t fault;
} wrong_config;

static fault now; /* of the last device */
static int devices;

struct bp_device {
    bp_device *inner;
    void *config; /* the CPU's */
};

struct bp_model {
    bp_model *inner; /* NULL: of a program that nobody can run */
    uint32_t width, max_tokens, page_tokens;
    bp_batch late;
    uint32_t rows, steps;
    int32_t highest; /* position that the first sequence has reached */
    bool spoil; /* this step's result */
};

static bp_model *last_submitted;
static float scratch[1 << 16];

static const bp_backend_ops *cpu(void)
{
    return cpu_plugin_entry()->ops;
}

static bp_status fail(bp_error *error, bp_status status, const char *sentence)
{
    error->code = status;
    snprintf(error->message, sizeof error->message, "wrong: %s", sentence);
    return status;
}

/* --- errors that break the rules ------------------------------------------------------------------------------------------ */

static bp_status tamper(bp_status status, bp_error *error)
{
    if (status == BP_OK) {
        if (now == fault_touches_error)
            error->code = BP_OK;
        return now == fault_no_status ? 7 : status;
    }
    if (now == fault_no_end)
        memset(error->message, 'x', sizeof error->message);
    if (now == fault_wrong_code)
        error->code = status - 1;
    if (now == fault_no_sentence)
        memset(error->message, 0xa5, sizeof error->message); /* as the caller left it */
    if (now == fault_empty_sentence)
        error->message[0] = '\0';
    if (now == fault_vague)
        memcpy(error->message, "no", 3);
    return status;
}

/* --- devices ---------------------------------------------------------------------------------------------------------------- */

/* Every option its fallback, and two threads. The CPU's fallbacks of words are its first ones. */
static void *cpu_config(void)
{
    const bp_plugin *p = cpu_plugin_entry();
    char *config = calloc(1, p->config_size);
    for (const bp_option *o = p->options; config && o->name; o++) {
        int64_t number = strcmp(o->name, "threads") == 0 ? 2 : atoll(o->fallback);
        if (o->type == BP_OPTION_INT)
            memcpy(config + o->offset, &number, sizeof number);
    }
    return config;
}

static void *sleep_on(void *nothing)
{
    for (;;)
        pause();
    return nothing;
}

static void break_promises_of_open(void)
{
    pthread_t thread;
    if (now == fault_leaks_file && open("/dev/null", O_RDONLY) < 0)
        now = fault_none;
    if (now == fault_leaks_thread && pthread_create(&thread, NULL, sleep_on, NULL) == 0)
        pthread_detach(thread);
}

static bp_status wrong_open(const bp_host *host, const void *config, bp_device **out, bp_error *error)
{
    now = (fault)((const wrong_config *)config)->fault;
    if (now == fault_one_device && devices > 0)
        return fail(error, BP_EDEVICE, "the device is in use");
    bp_device *d = calloc(1, sizeof *d);
    d->config = cpu_config();
    bp_status status = cpu()->open(host, d->config, &d->inner, error);
    if (status != BP_OK) {
        free(d->config);
        free(d);
        return status;
    }
    devices++;
    break_promises_of_open();
    *out = d;
    return tamper(status, error);
}

static void wrong_close(bp_device *d)
{
    if (!d && now == fault_close_null)
        raise(SIGSEGV);
    if (!d)
        return;
    devices--;
    cpu()->close(d->inner);
    free(d->config);
    free(d);
}

static bp_status wrong_info(bp_device *d, bp_device_info *out, bp_error *error)
{
    uint32_t size = out->size;
    if (now == fault_info_overrun)
        out->size = sizeof *out;
    bp_status status = cpu()->info(d->inner, out, error);
    out->size = size;
    if (now == fault_topk_missing || now == fault_topk_ties)
        out->caps |= BP_CAP_TOPK;
    if (now == fault_info_caps)
        out->caps |= 1u << 20;
    return tamper(status, error);
}

/* --- models ----------------------------------------------------------------------------------------------------------------- */

/* Copies of what compile changes in a program. */
typedef struct altered {
    bp_program program;
    bp_op *ops;
    bp_cache *caches;
    bp_weight *weights;
    float *rope;
    bp_linear_args gelu_tanh;
    bp_norm_args norm;
} altered;

/* Position p of the table is that of p + 1, from the second page on. */
static void alter_rope(altered *a, const bp_program *p, const bp_qkv_args *qkv)
{
    bp_weight *w = &a->weights[qkv->rope_table];
    size_t row = (size_t)w->shape[0], rows = (size_t)p->max_context;
    if (a->rope || rows < 18)
        return;
    a->rope = malloc(rows * row * sizeof *a->rope);
    memcpy(a->rope, w->data, rows * row * sizeof *a->rope);
    memmove(a->rope + 16 * row, a->rope + 17 * row, (rows - 17) * row * sizeof *a->rope);
    w->data = a->rope;
}

static void alter(altered *a, const bp_program *p)
{
    *a = (altered){.program = *p, .ops = calloc(p->op_count + 1, sizeof *a->ops), .caches = calloc(9, sizeof *a->caches),
                   .weights = calloc(p->weight_count + 1, sizeof *a->weights), .gelu_tanh = {BP_ACT_GELU_TANH}};
    memcpy(a->ops, p->ops, p->op_count * sizeof *a->ops);
    memcpy(a->caches, p->caches, p->cache_count * sizeof *a->caches);
    memcpy(a->weights, p->weights, p->weight_count * sizeof *a->weights);
    a->program.ops = a->ops;
    a->program.caches = a->caches;
    a->program.weights = a->weights;
    for (uint32_t i = 0; i < p->cache_count; i++)
        a->caches[i].window += now == fault_window && a->caches[i].window;
    for (uint32_t i = 0; i < p->op_count; i++) {
        bp_op *o = &a->ops[i];
        if (now == fault_rope && o->kind == BP_OP_QKV && o->args && ((const bp_qkv_args *)o->args)->rope_mode != BP_ROPE_NONE)
            alter_rope(a, p, o->args);
        if (now == fault_gelu && o->kind == BP_OP_LINEAR && ((const bp_linear_args *)o->args)->activation == BP_ACT_GELU)
            o->args = &a->gelu_tanh;
        if (now == fault_epsilon && o->kind == BP_OP_NORM) {
            a->norm = *(const bp_norm_args *)o->args;
            a->norm.epsilon = 0.1f;
            o->args = &a->norm;
        }
    }
}

static void alter_end(altered *a)
{
    free(a->ops);
    free(a->caches);
    free(a->weights);
}

static bp_status wrong_supports(bp_device *d, const bp_program *program, bp_error *error)
{
    if (now == fault_supports_all || now == fault_takes_all)
        return BP_OK;
    return tamper(cpu()->supports(d->inner, program, error), error);
}

static void *keep(size_t bytes)
{
    static void *volatile kept;
    char *leaked = malloc(bytes);
    memset(leaked, 1, bytes);
    kept = leaked;
    return kept;
}

static void leak_page(void)
{
    char *page = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED)
        memset(page, 1, 2 * 4096);
}

/* The inner model did not come about. */
static bp_status refuse(bp_model *m, bp_model **out, bp_status status, bp_error *error)
{
    if (now == fault_crashes)
        raise(SIGSEGV);
    if (now == fault_exits)
        _exit(3);
    if (now == fault_leaks_refusal)
        keep(100);
    if (now == fault_takes_all || (now == fault_takes_petabytes && status == BP_ENOMEM)) {
        *out = m;
        return BP_OK;
    }
    free(m);
    if (now == fault_leaves_model)
        *out = (bp_model *)(void *)scratch;
    return tamper(status, error);
}

static bp_status wrong_compile(bp_device *d, const bp_program *program, const bp_limits *limits, bp_model **out, bp_error *error)
{
    altered a = {.program = *program};
    bool alters = now == fault_window || now == fault_rope || now == fault_gelu || now == fault_epsilon;
    bp_model *m = calloc(1, sizeof *m);
    *m = (bp_model){.width = program->output_width, .max_tokens = limits->max_tokens, .page_tokens = limits->page_tokens};
    if (alters)
        alter(&a, program);
    bp_status status = cpu()->compile(d->inner, &a.program, limits, &m->inner, error);
    alter_end(&a); /* the rope table stays, as weights do */
    if (status != BP_OK)
        return refuse(m, out, status, error);
    if (now == fault_leaks_heap)
        keep(100);
    if (now == fault_leaks_pages)
        leak_page();
    *out = m;
    return tamper(BP_OK, error);
}

static void wrong_release(bp_model *m)
{
    if (!m && now == fault_release_null)
        raise(SIGSEGV);
    if (!m)
        return;
    cpu()->release(m->inner);
    free(m);
}

static bp_status wrong_memory(bp_model *m, bp_model_memory *out, bp_error *error)
{
    uint32_t size = out->size;
    if (now == fault_memory_overrun)
        out->size = sizeof *out;
    bp_status status = cpu()->memory(m->inner, out, error);
    out->size = size;
    if (now == fault_shares_nothing)
        out->weights = 100000;
    if (now == fault_memory_zero)
        out->weights = 0;
    return tamper(status, error);
}

/* --- steps ------------------------------------------------------------------------------------------------------------------ */

/* Whether this step's circumstances reach its result. */
static bool is_spoilt(const bp_model *m, const bp_batch *b)
{
    switch (now) {
    case fault_last_bit:
        return true;
    case fault_neighbours:
        return b->seq_count > 1;
    case fault_pages:
        return b->pages[0] % 2 == 1;
    case fault_chunks:
        return b->token_count > 20;
    case fault_counts_steps:
        return m->steps > 5;
    case fault_page_size:
        return m->page_tokens > 64;
    case fault_rewound:
        return b->positions[0] > 0 && b->positions[0] + 1 < m->highest;
    default:
        return false;
    }
}

static bp_status wrong_submit(bp_model *m, const bp_batch *batch, bp_error *error)
{
    static int32_t reversed[1024];
    bp_batch b = *batch;
    if (b.token_count == m->max_tokens && now == fault_full_step)
        return fail(error, BP_ELIMIT, "a step of too many tokens");
    if (now == fault_row_order)
        for (uint32_t i = 0; i < b.row_count; i++)
            reversed[i] = b.rows[b.row_count - 1 - i];
    if (now == fault_row_order)
        b.rows = reversed;
    if (now == fault_leaks_step)
        keep(100);
    m->steps++;
    m->spoil = is_spoilt(m, &b);
    m->highest = b.positions[0] == 0 ? b.context[0] : b.context[0] > m->highest ? b.context[0] : m->highest;
    m->rows = b.row_count;
    m->late = b;
    last_submitted = m;
    return now == fault_late_read ? BP_OK : tamper(cpu()->submit(m->inner, &b, error), error);
}

static void flip(float *x)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    bits ^= 1;
    memcpy(x, &bits, sizeof bits);
}

static void spread_nan(const bp_model *m, float *out, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (out[i] != out[i])
            for (uint64_t row = 0; row < count; row += m->width)
                out[row] = out[i];
}

/* The result goes through memory that all devices have in common, and stays there until another one has used it as well, or for
 * a moment. */
static bp_status wait_in_scratch(bp_model *m, float *out, uint64_t count, bp_error *error)
{
    static atomic_uint uses;
    const struct timespec moment = {.tv_nsec = 1000000};
    bp_status status = cpu()->wait(m->inner, scratch, count, error);
    unsigned mine = atomic_fetch_add(&uses, 1) + 1;
    for (int i = 0; i < 300 && atomic_load(&uses) == mine; i++)
        nanosleep(&moment, NULL);
    memcpy(out, scratch, count * sizeof *out);
    return status;
}

static bp_status wrong_wait(bp_model *m, float *out, uint64_t count, bp_error *error)
{
    bp_status status;
    uint64_t right = (uint64_t)m->rows * m->width;
    bp_model *whose = now == fault_one_step_for_all ? last_submitted : m;
    while (now == fault_hangs)
        pause();
    if (now == fault_late_read && (status = cpu()->submit(m->inner, &m->late, error)) != BP_OK)
        return status;
    if (count != right && now == fault_wait_any && count > right)
        return cpu()->wait(m->inner, out, right, error);
    if (count != right && now == fault_wait_any)
        return BP_OK;
    if (count != right && now == fault_wait_writes)
        memset(out, 0, count * sizeof *out);
    if (now == fault_one_scratch)
        return wait_in_scratch(m, out, count, error);
    status = cpu()->wait(whose->inner, out, count, error);
    if (status != BP_OK)
        return tamper(status, error);
    if (now == fault_rounding)
        fesetround(FE_TONEAREST);
    if (now == fault_overrun)
        out[count] = 0.0f;
    if (now == fault_nan_spreads)
        spread_nan(m, out, count);
    for (uint64_t i = 0; i < count && m->spoil; i++)
        flip(&out[i]);
    return tamper(status, error);
}

/* The highest of each row; of equal ones the last where that is the fault. */
static bp_status wrong_wait_topk(bp_model *m, uint32_t k, int32_t *ids, float *logits, bp_error *error)
{
    if (now != fault_topk_ties)
        return fail(error, BP_EUNSUPPORTED, "there is no wait_topk");
    float *out = calloc((size_t)m->rows * m->width, sizeof *out);
    bp_status status = cpu()->wait(m->inner, out, (uint64_t)m->rows * m->width, error);
    for (uint32_t row = 0; row < m->rows && status == BP_OK; row++) {
        float *x = out + (size_t)row * m->width;
        for (uint32_t i = 0; i < k; i++) {
            uint32_t best = 0;
            for (uint32_t c = 1; c < m->width; c++)
                best = x[c] >= x[best] ? c : best;
            ids[row * k + i] = (int32_t)best;
            logits[row * k + i] = x[best];
            x[best] = -3.0e38f;
        }
    }
    free(out);
    return status;
}

static bp_status wrong_copy_pages(bp_model *m, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error)
{
    if (now == fault_copy_half)
        count = (count + 1) / 2;
    return tamper(cpu()->copy_pages(m->inner, from, to, count, error), error);
}

static bp_status wrong_read_kv(bp_model *m, uint32_t cache, int32_t page, uint32_t slot, float *k, float *v, bp_error *error)
{
    bool swaps = now == fault_kv_swapped;
    return tamper(cpu()->read_kv(m->inner, cache, page, slot, swaps ? v : k, swaps ? k : v, error), error);
}

/* --- what the host sees ------------------------------------------------------------------------------------------------------ */

static const bp_backend_ops ops = {.size = sizeof ops, .open = wrong_open, .close = wrong_close, .info = wrong_info,
                                   .supports = wrong_supports, .compile = wrong_compile, .release = wrong_release,
                                   .memory = wrong_memory, .submit = wrong_submit, .wait = wrong_wait,
                                   .wait_topk = wrong_wait_topk, .copy_pages = wrong_copy_pages, .read_kv = wrong_read_kv};

static const bp_option options[] = {
    {.name = "fault", .type = BP_OPTION_ENUM, .choices = words, .fallback = "none", .offset = offsetof(wrong_config, fault),
     .help = "Which promise is broken."},
    {0},
};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .config_size = sizeof(wrong_config),
    .name = "wrong",
    .version = "1",
    .summary = "The CPU backend with one promise broken, for tests.",
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
