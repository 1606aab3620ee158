#include "harness.h"

#include "base/arena.h"
#include "base/log.h"
#include "host/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAGES_EACH = HARNESS_CONTEXT / HARNESS_PAGE };

struct harness {
    model_file *file;
    plugins *plugins;
    const plugin *plugin;
    arena *memory;
    bp_device *device;
    bp_model *model;
    int32_t pages[HARNESS_SEQUENCES][PAGES_EACH];
    int32_t tokens[HARNESS_STEP], positions[HARNESS_STEP], rows[HARNESS_STEP];
};

static void check(bp_status status, const bp_error *error)
{
    if (status != BP_OK)
        fail_msg("%s", error->message);
}

const char *harness_fetched(const char *variable)
{
    const char *path = getenv(variable);
    if (!path || !*path)
        fail_msg("%s does not name a model file; tools/test sets it to what tools/fetch prints", variable);
    return path;
}

static void *filled_options(harness *h, const char *const *settings)
{
    bp_error error = {0};
    void *config = arena_alloc(h->memory, h->plugin->config_size + 1);
    options_target target = {.options = h->plugin->options, .config = config, .memory = h->memory, .directory = "/"};
    check(options_defaults(&target, &error), &error);
    for (size_t i = 0; settings && settings[i]; i += 2)
        check(options_set(&target, settings[i], settings[i + 1], &error), &error);
    return config;
}

harness *harness_open_model(model_file *model, const char *backend, const char *const *settings, uint32_t kv_dtype)
{
    bp_error error = {0};
    harness *h = calloc(1, sizeof *h);
    assert_non_null(h);
    h->file = model;
    h->memory = arena_new();
    h->plugins = plugins_new();
    check(plugins_load(h->plugins, backend, BP_PLUGIN_BACKEND, &h->plugin, &error), &error);
    const bp_backend_ops *ops = &h->plugin->backend;
    check(ops->open(log_host(), filled_options(h, settings), &h->device, &error), &error);
    uint32_t longest = model_program(model)->max_context;
    const bp_limits limits = {.size = sizeof limits,
                              .max_tokens = HARNESS_STEP,
                              .max_seqs = HARNESS_SEQUENCES,
                              .max_rows = HARNESS_STEP,
                              .page_tokens = HARNESS_PAGE,
                              .page_count = HARNESS_SEQUENCES * PAGES_EACH,
                              .max_context = longest < HARNESS_CONTEXT ? longest : HARNESS_CONTEXT,
                              .kv_dtype = kv_dtype};
    check(ops->supports(h->device, model_program(h->file), &error), &error);
    check(ops->compile(h->device, model_program(h->file), &limits, &h->model, &error), &error);
    harness_reset(h, false);
    return h;
}

harness *harness_open(const char *model, const char *backend, const char *const *settings)
{
    bp_error error = {0};
    model_file *file = NULL;
    const model_options options = {.context = HARNESS_CONTEXT};
    check(model_open(model, &options, &file, &error), &error);
    return harness_open_model(file, backend, settings, BP_KV_F16);
}

void harness_close(harness *h)
{
    h->plugin->backend.release(h->model);
    h->plugin->backend.close(h->device);
    model_close(h->file);
    plugins_free(h->plugins);
    arena_free(h->memory);
    free(h);
}

void harness_reset(harness *h, bool odd)
{
    enum { TOTAL = HARNESS_SEQUENCES * PAGES_EACH };
    int32_t next = 0;
    for (uint32_t s = 0; s < HARNESS_SEQUENCES; s++)
        for (uint32_t p = 0; p < PAGES_EACH; p++, next++)
            h->pages[s][p] = odd ? TOTAL - 1 - next : next;
}

/* `rows` are numbers of tokens of the step. */
static void step(harness *h, const piece *pieces, uint32_t count, const int32_t *rows, uint32_t row_count, float *out)
{
    int32_t first[HARNESS_SEQUENCES + 1], context[HARNESS_SEQUENCES], pages[HARNESS_SEQUENCES][PAGES_EACH];
    bp_error error = {0};
    uint32_t total = 0;
    assert_true(count <= HARNESS_SEQUENCES);
    for (uint32_t i = 0; i < count; i++) {
        const piece *p = &pieces[i];
        assert_true(p->start + p->count <= HARNESS_CONTEXT && total + p->count <= HARNESS_STEP);
        first[i] = (int32_t)total;
        context[i] = (int32_t)(p->start + p->count);
        memcpy(pages[i], h->pages[p->sequence], sizeof pages[i]);
        for (uint32_t t = 0; t < p->count; t++, total++) {
            h->tokens[total] = p->tokens[t];
            h->positions[total] = (int32_t)(p->start + t);
        }
    }
    first[count] = (int32_t)total;
    const bp_batch batch = {.size = sizeof batch,
                            .seq_count = count,
                            .token_count = total,
                            .row_count = row_count,
                            .page_stride = PAGES_EACH,
                            .tokens = h->tokens,
                            .positions = h->positions,
                            .first = first,
                            .context = context,
                            .pages = &pages[0][0],
                            .rows = rows};
    check(h->plugin->backend.submit(h->model, &batch, &error), &error);
    const bp_program *program = model_program(h->file);
    uint64_t results = program->ops[program->op_count - 1].kind == BP_OP_POOL ? count : row_count;
    check(h->plugin->backend.wait(h->model, out, results * harness_vocabulary(h), &error), &error);
}

void harness_step(harness *h, const piece *pieces, uint32_t count, float *out)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += pieces[i].count;
    assert_true(total <= HARNESS_STEP);
    for (uint32_t t = 0; t < total; t++)
        h->rows[t] = (int32_t)t;
    step(h, pieces, count, h->rows, total, out);
}

void harness_positions(harness *h, const int32_t *tokens, uint32_t count, const int32_t *positions, uint32_t wanted, float *out)
{
    step(h, &(piece){0, 0, count, tokens}, 1, positions, wanted, out);
}

void harness_prefill(harness *h, uint32_t sequence, const int32_t *tokens, uint32_t count, uint32_t chunk, float *out)
{
    for (uint32_t start = 0; start < count; start += chunk) {
        uint32_t n = count - start < chunk ? count - start : chunk;
        harness_step(h, &(piece){sequence, start, n, tokens + start}, 1, out + (size_t)start * harness_vocabulary(h));
    }
}

uint32_t harness_vocabulary(const harness *h)
{
    return model_program(h->file)->output_width;
}

const bp_program *harness_program(const harness *h)
{
    return model_program(h->file);
}

void harness_read_kv(harness *h, uint32_t cache, uint32_t sequence, uint32_t position, float *k, float *v)
{
    bp_error error = {0};
    int32_t page = h->pages[sequence][position / HARNESS_PAGE];
    check(h->plugin->backend.read_kv(h->model, cache, page, position % HARNESS_PAGE, k, v, &error), &error);
}
