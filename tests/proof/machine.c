#include "machine.h"

#include "base/arena.h"
#include "base/log.h"
#include "host/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LOADED = 128 };
static plugins *loaded[MAX_LOADED];
static size_t loaded_count;

struct machine {
    const plugin *backend;
    const bp_program *program;
    uint32_t page_tokens;
    arena *memory;
    bp_device *device;
    bp_model *model;
    bool pools, has_topk;
    uint32_t steps;
    float *kv; /* K and V of one position */
    int32_t tokens[MACHINE_STEP], positions[MACHINE_STEP], rows[MACHINE_STEP];
    int32_t first[MACHINE_SEQUENCES + 1], context[MACHINE_SEQUENCES], pages[MACHINE_SEQUENCES * MACHINE_STRIDE];
};

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "proof: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(2);
}

static void check(bp_status status, const bp_error *error)
{
    if (status != BP_OK)
        die("%s", error->message);
}

/* A set of its own for each file: plugins of one name exclude each other in a set. */
const plugin *machine_load(const char *path)
{
    bp_error error = {0};
    const plugin *found = NULL;
    if (loaded_count == MAX_LOADED || !(loaded[loaded_count] = plugins_new()))
        die("no room for plugin %s", path);
    check(plugins_load(loaded[loaded_count++], path, BP_PLUGIN_BACKEND, &found, &error), &error);
    return found;
}

void machine_unload_all(void)
{
    while (loaded_count > 0)
        plugins_free(loaded[--loaded_count]);
}

static void set_option(machine *m, void *config, const char *name, const char *value)
{
    bp_error error = {0};
    options_target target = {.options = m->backend->options, .config = config, .memory = m->memory, .directory = "/"};
    if (options_find(target.options, name))
        check(options_set(&target, name, value, &error), &error);
}

static void open_device(machine *m, const char *isa, uint32_t threads)
{
    bp_error error = {0};
    char number[16];
    void *config = arena_alloc(m->memory, m->backend->config_size + 1);
    options_target target = {.options = m->backend->options, .config = config, .memory = m->memory, .directory = "/"};
    snprintf(number, sizeof number, "%u", threads);
    check(options_defaults(&target, &error), &error);
    set_option(m, config, "isa", isa);
    set_option(m, config, "threads", number);
    /* There may be more threads than cores: whoever waits should sleep. */
    set_option(m, config, "spin_us", threads > 2 ? "0" : "20");
    check(m->backend->backend.open(log_host(), config, &m->device, &error), &error);
    bp_device_info info = {.size = sizeof info};
    check(m->backend->backend.info(m->device, &info, &error), &error);
    m->has_topk = info.caps & BP_CAP_TOPK;
}

machine *machine_open(const bp_program *program, const machine_setup *how)
{
    bp_error error = {0};
    machine *m = calloc(1, sizeof *m);
    if (!m || !(m->memory = arena_new()))
        die("no memory for a machine");
    m->backend = how->backend;
    m->program = program;
    m->page_tokens = how->page_tokens;
    m->pools = program->ops[program->op_count - 1].kind == BP_OP_POOL;
    size_t widest = 1;
    for (uint32_t i = 0; i < program->cache_count; i++) {
        size_t width = (size_t)program->caches[i].kv_heads * program->caches[i].head_dim;
        widest = width > widest ? width : widest;
    }
    if (!(m->kv = arena_array(m->memory, 2 * widest, sizeof *m->kv)))
        die("no memory for a machine");
    open_device(m, how->isa, how->threads);
    uint32_t context = program->max_context, most = MACHINE_STRIDE * how->page_tokens;
    const bp_limits limits = {.size = sizeof limits,
                              .max_tokens = MACHINE_STEP,
                              .max_seqs = MACHINE_SEQUENCES,
                              .max_rows = MACHINE_STEP,
                              .page_tokens = how->page_tokens,
                              .page_count = how->page_count,
                              .max_context = context < most ? context : most,
                              .kv_dtype = how->kv_dtype};
    check(m->backend->backend.supports(m->device, program, &error), &error);
    check(m->backend->backend.compile(m->device, program, &limits, &m->model, &error), &error);
    return m;
}

void machine_close(machine *m)
{
    if (!m)
        return;
    m->backend->backend.release(m->model);
    m->backend->backend.close(m->device);
    arena_free(m->memory);
    free(m);
}

/* a comes before b among the highest logits: NaN first, then descending, ties to the lowest id. */
static bool is_higher(const float *row, uint32_t a, uint32_t b)
{
    bool odd_a = row[a] != row[a], odd_b = row[b] != row[b];
    if (odd_a != odd_b)
        return odd_a;
    return odd_a || row[a] == row[b] ? a < b : row[a] > row[b];
}

/* The same step once more, whose highest logits must be those of `out`. */
static void check_topk(machine *m, const bp_batch *batch, const float *out)
{
    enum { K = 3 };
    bp_error error = {0};
    uint32_t width = m->program->output_width;
    static int32_t ids[MACHINE_STEP * K];
    static float logits[MACHINE_STEP * K];
    check(m->backend->backend.submit(m->model, batch, &error), &error);
    check(m->backend->backend.wait_topk(m->model, K, ids, logits, &error), &error);
    for (uint32_t r = 0; r < batch->row_count; r++) {
        const float *row = out + (size_t)r * width;
        for (uint32_t i = 0; i < K; i++) {
            uint32_t id = (uint32_t)ids[r * K + i], before = 0;
            for (uint32_t other = 0; id < width && other < width; other++)
                before += is_higher(row, other, id);
            if (id >= width || before != i || first_difference(&row[id], &logits[r * K + i], 1) >= 0)
                die("%s: the %u. highest logit of row %u is not %d", m->backend->name, i + 1, r, ids[r * K + i]);
        }
    }
}

void machine_step(machine *m, const piece *pieces, uint32_t count, float *out)
{
    bp_error error = {0};
    uint32_t total = 0;
    if (count > MACHINE_SEQUENCES)
        die("a step of %u sequences", count);
    for (uint32_t i = 0; i < count; i++) {
        const piece *p = &pieces[i];
        uint32_t pages = ((uint32_t)(p->start + p->count) + m->page_tokens - 1) / m->page_tokens;
        if (total + (uint32_t)p->count > MACHINE_STEP || pages > MACHINE_STRIDE)
            die("a step of more than %d tokens, or a sequence of %u pages", MACHINE_STEP, pages);
        m->first[i] = (int32_t)total;
        m->context[i] = p->start + p->count;
        memcpy(m->pages + i * MACHINE_STRIDE, p->pages, pages * sizeof *p->pages);
        for (int32_t t = 0; t < p->count; t++, total++) {
            m->tokens[total] = p->tokens[t];
            m->positions[total] = p->start + t;
            m->rows[total] = (int32_t)total;
        }
    }
    m->first[count] = (int32_t)total;
    const bp_batch batch = {.size = sizeof batch,
                            .seq_count = count,
                            .token_count = total,
                            .row_count = m->pools ? count : total,
                            .page_stride = MACHINE_STRIDE,
                            .tokens = m->tokens,
                            .positions = m->positions,
                            .first = m->first,
                            .context = m->context,
                            .pages = m->pages,
                            .rows = m->rows};
    uint64_t floats = (uint64_t)batch.row_count * m->program->output_width;
    check(m->backend->backend.submit(m->model, &batch, &error), &error);
    check(m->backend->backend.wait(m->model, out, floats, &error), &error);
    if (m->has_topk && !m->pools && m->steps++ % 8 == 0)
        check_topk(m, &batch, out);
}

void machine_copy_pages(machine *m, const int32_t *from, const int32_t *to, uint32_t count)
{
    bp_error error = {0};
    check(m->backend->backend.copy_pages(m->model, from, to, count, &error), &error);
}

uint64_t machine_kv_hash(machine *m, uint32_t cache, int32_t page, uint32_t slot)
{
    bp_error error = {0};
    size_t width = (size_t)m->program->caches[cache].kv_heads * m->program->caches[cache].head_dim;
    check(m->backend->backend.read_kv(m->model, cache, page, slot, m->kv, m->kv + width, &error), &error);
    return hash_floats(HASH_BEGIN, m->kv, 2 * width);
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? 0x7fc00000u : bits;
}

uint64_t hash_floats(uint64_t hash, const float *values, size_t count)
{
    hash = hash == HASH_BEGIN ? 0xcbf29ce484222325u : hash;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = bits_of(values[i]);
        for (int b = 0; b < 32; b += 8)
            hash = (hash ^ (bits >> b & 255)) * 0x100000001b3u;
    }
    return hash;
}

long first_difference(const float *a, const float *b, size_t count)
{
    if (memcmp(a, b, count * sizeof *a) == 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (bits_of(a[i]) != bits_of(b[i]))
            return (long)i;
    return -1;
}
