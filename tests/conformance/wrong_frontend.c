/* wrong_frontend: answers lines of standard input, with one promise broken, which the option `fault` names. */
#include <backplane/engine.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAULTS(X)                                                                                                          \
    X(close_null) X(ignores_stop) X(forgets_stop) X(hangs_in_answer) X(keeps_stream) X(hangs_when_failing) X(reads_on)    \
    X(releases_twice) X(cancels_late) X(no_size) X(no_request_size) X(no_sentence) X(leaves_frontend) X(one_at_a_time)            \
    X(leaks_file) X(run_fails) X(crashes_when_busy) X(needs_model)

#define ENUM(name) fault_##name,
typedef enum fault { fault_none, FAULTS(ENUM) } fault;
#undef ENUM
#define WORD(name) "|" #name
static const char words[] = "none" FAULTS(WORD);
#undef WORD

typedef struct wrong_config {
    const char *text;
    int32_t fault;
} wrong_config;

struct bp_frontend {
    const bp_engine_api *api;
    bp_engine *engine;
    atomic_bool stopping;
};

static fault now; /* of the frontend that was opened last */
static int open_frontends;

static bp_status fail(bp_error *error, bp_status status, const char *sentence)
{
    error->code = status;
    snprintf(error->message, sizeof error->message, "wrong_frontend: %s", sentence);
    return status;
}

static bp_status wrong_open(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *config,
                            bp_frontend **out, bp_error *error)
{
    const wrong_config *c = config;
    (void)host;
    now = (fault)c->fault;
    if (now == fault_no_sentence && c->text[0] == '/')
        return BP_ENOTFOUND;
    if (now == fault_leaves_frontend && c->text[0] == '/') {
        *out = (bp_frontend *)(void *)&open_frontends;
        return fail(error, BP_ENOTFOUND, "there is no such text");
    }
    if (now == fault_one_at_a_time && open_frontends > 0)
        return BP_OK;
    if (now == fault_needs_model && api->model_count(engine) == 0)
        raise(SIGSEGV);
    bp_frontend *f = *out = calloc(1, sizeof *f);
    f->api = api;
    f->engine = engine;
    open_frontends++;
    if (now == fault_leaks_file && open("/dev/null", O_RDONLY) < 0)
        now = fault_none;
    return BP_OK;
}

static void read_events(bp_frontend *f, bp_stream *stream)
{
    bp_event event = {.size = now == fault_no_size ? 0 : sizeof event};
    bp_error error;
    do
        if (f->api->next(stream, 10000000, &event, &error) != BP_OK)
            return;
    while (event.kind != BP_EVENT_DONE && event.kind != BP_EVENT_ERROR && event.size &&
           (now == fault_hangs_in_answer || !atomic_load(&f->stopping)));
    if (now == fault_reads_on)
        f->api->next(stream, 0, &event, &error);
    if (event.kind == BP_EVENT_ERROR && now == fault_hangs_when_failing)
        pause();
}

static void ask(bp_frontend *f)
{
    bp_request request = {.size = sizeof request};
    bp_stream *stream = NULL;
    bp_error error;
    f->api->defaults(f->engine, NULL, &request);
    request.input = BP_INPUT_TEXT;
    request.text = "Hello";
    request.text_bytes = 5;
    if (now == fault_no_request_size)
        request.size = 0;
    if (f->api->submit(f->engine, &request, &stream, &error) != BP_OK) {
        if (now == fault_crashes_when_busy)
            raise(SIGSEGV);
        return;
    }
    read_events(f, stream);
    if (now != fault_keeps_stream)
        f->api->release(stream);
    if (now == fault_releases_twice)
        f->api->release(stream);
    if (now == fault_cancels_late)
        f->api->cancel(stream);
}

static bp_status wrong_run(bp_frontend *f, bp_error *error)
{
    char bytes[4096];
    if (now == fault_forgets_stop)
        atomic_store(&f->stopping, false);
    while (!atomic_load(&f->stopping) || now == fault_ignores_stop) {
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        if (poll(&in, 1, 10) <= 0)
            continue;
        if (read(STDIN_FILENO, bytes, sizeof bytes) <= 0)
            break;
        ask(f);
    }
    return now == fault_run_fails ? fail(error, BP_EIO, "nothing can be written") : BP_OK;
}

static void wrong_stop(bp_frontend *f)
{
    atomic_store(&f->stopping, true);
}

static void wrong_close(bp_frontend *f)
{
    if (!f && now == fault_close_null)
        raise(SIGSEGV);
    open_frontends -= f != NULL;
    free(f);
}

static const bp_frontend_ops ops = {.size = sizeof ops, .open = wrong_open, .run = wrong_run, .stop = wrong_stop,
                                    .close = wrong_close};
static const bp_option options[] = {
    {.name = "fault", .type = BP_OPTION_ENUM, .choices = words, .fallback = "none", .offset = offsetof(wrong_config, fault),
     .help = "Which promise is broken."},
    {.name = "text", .type = BP_OPTION_STRING, .fallback = "Hello", .offset = offsetof(wrong_config, text),
     .help = "A text; some faults show with one that begins with /."},
    {0},
};
static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_FRONTEND,
    .config_size = sizeof(wrong_config),
    .name = "wrong_frontend",
    .version = "1",
    .summary = "A frontend with one promise broken, for tests.",
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
