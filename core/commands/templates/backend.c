/* @NAME@: a backend for Backplane, built against its installed headers and nothing else.
 *
 * Its model is a parrot: after a token comes what came after that token the first time in the same text, and after a token that is
 * new the one `step` further in the vocabulary. Like a real model it remembers a text by the pages that the core gives it. */
#include <backplane/backend.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct config {
    int64_t step;
} config;

static const bp_option options[] = {
    {.name = "step", .type = BP_OPTION_INT, .fallback = "1", .min = 1, .max = 1000, .offset = offsetof(config, step),
     .help = "How far from a token that is new the next one is."},
    {0},
};

/* An error is a status and one sentence in the caller's memory: what, where, what to do. */
static bp_status fail(bp_error *error, bp_status code, const char *sentence)
{
    error->code = code;
    snprintf(error->message, sizeof error->message, "@NAME@: %s", sentence);
    return code;
}

struct bp_device {
    const config *config; /* the host's, filled from YAML by the table above; lives until close_device */
};

static bp_status open_device(const bp_host *host, const void *filled, bp_device **out, bp_error *error)
{
    host->log(host->context, BP_LOG_DEBUG, "@NAME@: opened");
    if (!(*out = calloc(1, sizeof **out)))
        return fail(error, BP_ENOMEM, "out of memory for a device");
    (*out)->config = filled;
    return BP_OK;
}

static void close_device(bp_device *device)
{
    free(device);
}

static bp_status info(bp_device *device, bp_device_info *out, bp_error *error)
{
    (void)device, (void)error;
    bp_device_info filled = {.size = out->size, .name = "@NAME@ (a parrot)"};
    memcpy(out, &filled, out->size < sizeof filled ? out->size : sizeof filled); /* an older host's struct is shorter */
    return BP_OK;
}

static bp_status supports(bp_device *device, const bp_program *program, bp_error *error)
{
    (void)device;
    if (!program->op_count || program->ops[program->op_count - 1].kind != BP_OP_LOGITS)
        return fail(error, BP_EUNSUPPORTED, "it runs models that write text, whose last op is LOGITS, and this is none");
    return BP_OK;
}

/* A step waits between submit and wait as the favourite of each row. */
struct bp_model {
    const bp_device *device;
    bp_limits limits;
    uint32_t width, row_count; /* floats of a row, one for each token of the vocabulary; rows of the step */
    int32_t *cache;      /* [page_count][page_tokens]: the token at each slot, where a network has its keys and values */
    int32_t *favourites; /* [max_rows], row_count of them in use */
};

static void release(bp_model *m)
{
    if (m)
        free(m->cache), free(m->favourites);
    free(m);
}

static bp_status compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out, bp_error *error)
{
    bp_model *m = calloc(1, sizeof *m);
    if (m) {
        *m = (bp_model){.device = device, .limits = *limits, .width = program->output_width};
        m->cache = calloc(limits->page_count, limits->page_tokens * sizeof *m->cache);
        m->favourites = calloc(limits->max_rows, sizeof *m->favourites);
    }
    if (!m || !m->cache || !m->favourites) {
        release(m);
        return fail(error, BP_ENOMEM, "out of memory for the cache; choose a smaller context");
    }
    *out = m;
    return BP_OK;
}

/* Where the token at a position of a sequence is remembered; `pages` are the sequence's own. */
static int32_t *slot(const bp_model *m, const int32_t *pages, int32_t position)
{
    uint32_t p = (uint32_t)position;
    return &m->cache[(size_t)pages[p / m->limits.page_tokens] * m->limits.page_tokens + p % m->limits.page_tokens];
}

static int32_t favourite(const bp_model *m, const int32_t *pages, int32_t position)
{
    int32_t token = *slot(m, pages, position);
    for (int32_t p = 0; p < position; p++)
        if (*slot(m, pages, p) == token)
            return *slot(m, pages, p + 1);
    return (int32_t)((token + m->device->config->step) % m->width);
}

/* The core has checked every index of the batch, which is gone once submit has returned. */
static bp_status submit(bp_model *m, const bp_batch *b, bp_error *error)
{
    if (b->token_count > m->limits.max_tokens || b->row_count > m->limits.max_rows)
        return fail(error, BP_EINVAL, "a step is over the limits that it was promised");
    uint32_t row = 0;
    for (uint32_t s = 0; s < b->seq_count; s++) {
        const int32_t *pages = b->pages + (size_t)s * b->page_stride;
        for (int32_t t = b->first[s]; t < b->first[s + 1]; t++)
            *slot(m, pages, b->positions[t]) = b->tokens[t];
        for (; row < b->row_count && b->rows[row] < b->first[s + 1]; row++)
            m->favourites[row] = favourite(m, pages, b->positions[b->rows[row]]);
    }
    m->row_count = b->row_count;
    return BP_OK;
}

static bp_status wait(bp_model *m, float *out, uint64_t count, bp_error *error)
{
    if (count != (uint64_t)m->row_count * m->width)
        return fail(error, BP_EINVAL, "wait is asked for other rows than those of the step");
    memset(out, 0, count * sizeof *out); /* [row_count][width] */
    for (uint32_t row = 0; row < m->row_count; row++)
        out[(size_t)row * m->width + (size_t)m->favourites[row]] = 100.0f;
    return BP_OK;
}

/* What is left out, the host answers with "unsupported". */
static const bp_backend_ops ops = {.size = sizeof ops, .open = open_device, .close = close_device, .info = info,
    .supports = supports, .compile = compile, .release = release, .submit = submit, .wait = wait};

static const bp_plugin descriptor = {.size = sizeof descriptor, .abi_major = BP_ABI_MAJOR, .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND, .name = "@NAME@", .version = "0.1", .summary = "Says again what was said before.",
    .config_size = sizeof(config), .options = options, .ops = &ops};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
