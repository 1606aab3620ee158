/* @NAME@: a frontend for Backplane, built against its installed headers and nothing else.
 *
 * Standard input has a text a line; standard output gets a line for each, on which the model has continued the text. A request
 * that fails costs its own line and nothing else: the log has the reason. */
#include <backplane/engine.h>

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 1 << 16, TICK_MS = 100 };

typedef struct config {
    const char *model;
    int64_t max_tokens;
} config;

static const bp_option options[] = {
    {.name = "model", .type = BP_OPTION_STRING, .offset = offsetof(config, model),
     .help = "The model that continues the lines; needed where there are several."},
    {.name = "max_tokens", .type = BP_OPTION_INT, .fallback = "16", .min = 1, .max = 1 << 20,
     .offset = offsetof(config, max_tokens), .help = "Tokens that a line is continued by at most."},
    {0},
};

struct bp_frontend {
    const bp_host *host;
    const bp_engine_api *api;
    bp_engine *engine;
    const config *config; /* the host's, filled from YAML by the table above */
    atomic_bool stopping; /* set from another thread */
    size_t used;
    char line[LINE_BYTES]; /* `used` bytes that were read and not answered yet */
};

/* An error is a status and one sentence in the caller's memory: what, where, what to do. */
static bp_status fail(bp_error *error, bp_status code, const char *sentence)
{
    error->code = code;
    snprintf(error->message, sizeof error->message, "%s", sentence);
    return code;
}

static bp_status open_frontend(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *filled,
                               bp_frontend **out, bp_error *error)
{
    bp_frontend *f = *out = calloc(1, sizeof *f);
    if (!f)
        return fail(error, BP_ENOMEM, "out of memory for a frontend");
    f->host = host, f->api = api, f->engine = engine, f->config = filled;
    return BP_OK;
}

static bp_status print_events(bp_frontend *f, bp_stream *stream, bp_error *error)
{
    while (!atomic_load(&f->stopping)) {
        bp_event event = {.size = sizeof event};
        bp_status status = f->api->next(stream, TICK_MS * UINT64_C(1000000), &event, error);
        if (status == BP_ETIMEOUT)
            continue;
        if (status == BP_OK && event.kind == BP_EVENT_ERROR)
            *error = event.error, status = event.error.code;
        if (status != BP_OK)
            return status;
        if (event.text_bytes) /* of TOKEN and DONE */
            fwrite(event.text, 1, event.text_bytes, stdout);
        fflush(stdout);
        if (event.kind == BP_EVENT_DONE)
            return BP_OK;
    }
    return BP_OK;
}

static void answer(bp_frontend *f, const char *text, size_t bytes)
{
    bp_request request = {.size = sizeof request};
    f->api->defaults(f->engine, f->config->model, &request);
    request.model = f->config->model, request.max_tokens = (uint32_t)f->config->max_tokens;
    request.input = BP_INPUT_TEXT, request.text = text, request.text_bytes = bytes;
    request.stop = (const char *const[]){"\n"}, request.stop_count = 1;
    bp_stream *stream = NULL;
    bp_error error = {0};
    bp_status status = f->api->submit(f->engine, &request, &stream, &error);
    if (status == BP_OK && fwrite(text, 1, bytes, stdout) == bytes)
        status = print_events(f, stream, &error);
    f->api->release(stream); /* cancels what still runs */
    putchar('\n'), fflush(stdout);
    if (status != BP_OK)
        f->host->log(f->host->context, BP_LOG_ERROR, "@NAME@: %s", error.message);
}

/* Answers each whole line that has been read, and keeps what is behind the last. */
static void answer_lines(bp_frontend *f)
{
    char *begin = f->line, *end = f->line + f->used, *newline;
    while (!atomic_load(&f->stopping) && (newline = memchr(begin, '\n', (size_t)(end - begin)))) {
        answer(f, begin, (size_t)(newline - begin));
        begin = newline + 1;
    }
    f->used = (size_t)(end - begin);
    memmove(f->line, begin, f->used);
}

/* Never waits longer than a tick without looking whether stop() was called. */
static bp_status run(bp_frontend *f, bp_error *error)
{
    for (ssize_t got = 1; got && !atomic_load(&f->stopping);) {
        if (poll(&(struct pollfd){.fd = STDIN_FILENO, .events = POLLIN}, 1, TICK_MS) <= 0)
            continue;
        got = read(STDIN_FILENO, f->line + f->used, LINE_BYTES - f->used);
        if (got < 0)
            return fail(error, BP_EIO, "standard input cannot be read");
        f->used += (size_t)got;
        answer_lines(f);
        if (atomic_load(&f->stopping))
            break;
        if (f->used == LINE_BYTES)
            return fail(error, BP_ELIMIT, "a line of standard input is longer than 64 KiB; cut it into shorter ones");
        if (got == 0 && f->used)
            answer(f, f->line, f->used); /* a last line that has no end */
        if (ferror(stdout))
            return fail(error, BP_EIO, "standard output cannot be written");
    }
    return BP_OK;
}

static void stop(bp_frontend *f)
{
    atomic_store(&f->stopping, 1);
}

static void close_frontend(bp_frontend *f)
{
    free(f);
}

static const bp_frontend_ops ops = {.size = sizeof ops, .open = open_frontend, .run = run, .stop = stop, .close = close_frontend};

static const bp_plugin descriptor = {.size = sizeof descriptor, .abi_major = BP_ABI_MAJOR, .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_FRONTEND, .name = "@NAME@", .version = "0.1", .summary = "Continues each line of standard input.",
    .config_size = sizeof(config), .options = options, .ops = &ops};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
