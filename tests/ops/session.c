#include "session.h"

#include "platform.h"

static void log_line(void *context, int level, const char *format, ...)
{
    (void)context, (void)level, (void)format;
}

const bp_host *session_host(void)
{
    static const bp_host host = {.size = sizeof host, .log = log_line};
    return &host;
}

const bp_backend_ops *session_linked_ops(void)
{
    return bp_plugin_entry()->ops;
}

/* A core for each thread, on the nodes in turn: this machine's, several times if need be. */
static bp_status open_on_nodes(const cpu_config *config, int32_t nodes, bp_device **out, bp_error *error)
{
    core cores[MAX_WORKERS];
    size_t count = (size_t)config->threads, here = platform_cores();
    for (size_t i = 0; i < count; i++)
        cores[i] = (core){.processor = (uint32_t)(i % here), .node = (uint32_t)i % (uint32_t)nodes};
    placement where = place_workers(cores, count, count, 0, true);
    return device_open_placed(session_host(), config, &where, out, error);
}

void session_open(session *s, const net *n, const setup *how)
{
    bp_error error = {0};
    *s = (session){.how = *how, .width = n->output_width};
    setup *h = &s->how;
    h->ops = h->ops ? h->ops : session_linked_ops();
    h->page_tokens = h->page_tokens ? h->page_tokens : 16;
    h->max_tokens = h->max_tokens ? h->max_tokens : 512;
    h->max_seqs = h->max_seqs ? h->max_seqs : 64;
    h->page_count = h->page_count ? h->page_count : 256;
    cpu_config config = {.threads = h->threads ? h->threads : 1, .spin_us = 20, .isa = h->isa};
    bp_limits limits = {sizeof limits,  h->max_tokens, h->max_seqs,    h->max_tokens,
                        h->page_tokens, h->page_count, n->max_context, h->kv_dtype};
    bp_program program = net_program(n);
    bp_status status = h->nodes > 1 ? open_on_nodes(&config, h->nodes, &s->device, &error)
                                    : h->ops->open(session_host(), &config, &s->device, &error);
    if (status != BP_OK)
        net_stop("open", error.message);
    if (h->ops->compile(s->device, &program, &limits, &s->model, &error) != BP_OK)
        net_stop("compile", error.message);
}

void session_close(session *s)
{
    s->how.ops->release(s->model);
    s->how.ops->close(s->device);
    s->model = NULL;
    s->device = NULL;
}

void session_step(session *s, const part *parts, uint32_t count, bool all, float *out)
{
    enum { MOST = 1024 };
    static int32_t tokens[MOST], positions[MOST], first[MOST + 1], context[MOST], rows[MOST], types[MOST], pages[MOST * 128];
    bp_batch batch = {.size = sizeof batch,
                      .seq_count = count,
                      .page_stride = 128,
                      .tokens = tokens,
                      .positions = positions,
                      .first = first,
                      .context = context,
                      .pages = pages,
                      .rows = rows,
                      .types = s->how.type ? types : NULL};
    for (uint32_t i = 0; i < count; i++) {
        const part *p = &parts[i];
        first[i] = (int32_t)batch.token_count;
        context[i] = p->start + p->count;
        for (int32_t t = 0; t < p->count; t++) {
            if (all || t == p->count - 1)
                rows[batch.row_count++] = (int32_t)batch.token_count;
            tokens[batch.token_count] = p->tokens[p->start + t];
            types[batch.token_count] = s->how.type;
            positions[batch.token_count++] = p->start + t;
        }
        size_t used = p->pages ? ((size_t)context[i] + s->how.page_tokens - 1) / s->how.page_tokens : 0;
        for (size_t page = 0; page < used; page++)
            pages[i * 128 + page] = p->pages[page];
    }
    first[count] = (int32_t)batch.token_count;
    bp_error error = {0};
    if (s->how.ops->submit(s->model, &batch, &error) != BP_OK)
        net_stop("submit", error.message);
    if (s->how.ops->wait(s->model, out, (uint64_t)(all ? batch.row_count : count) * s->width, &error) != BP_OK)
        net_stop("wait", error.message);
}

int session_isas(int32_t isas[4])
{
    platform_features has = platform_processor();
    int count = 0;
    isas[count++] = ISA_GENERIC;
    if (has.avx2)
        isas[count++] = ISA_AVX2;
    if (has.avx512)
        isas[count++] = ISA_AVX512;
    return count;
}
