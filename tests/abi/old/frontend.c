/* old_frontend: a frontend of plugin ABI 1.1. It asks a model one question through every function of the engine that it knows, and
 * prints what came: the answer must be that of today's frontends. Each struct that it fills or has filled ends where memory
 * does; those that had been shorter in 1.0 are used at that size too. */
#include "frontend.h"
#include "guarded.h"
#include "offsets_frontend.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    INFO_1_0 = offsetof(bp_model_info, task),
    STATS_1_0 = offsetof(bp_model_stats, loads),
    EVENT_1_0 = offsetof(bp_event, embedding),
    LONGEST = 4096 /* bytes of an answer */
};

typedef struct config {
    const char *model, *system, *question;
    int64_t max_tokens;
} config;

static const bp_option options[] = {
    {.name = "model", .type = BP_OPTION_STRING, .flags = BP_OPTION_REQUIRED, .offset = offsetof(config, model),
     .help = "Whom it asks."},
    {.name = "system", .type = BP_OPTION_STRING, .fallback = "You are a helpful assistant", .offset = offsetof(config, system),
     .help = "What it says first."},
    {.name = "question", .type = BP_OPTION_STRING, .flags = BP_OPTION_REQUIRED, .offset = offsetof(config, question),
     .help = "What it asks."},
    {.name = "max_tokens", .type = BP_OPTION_INT, .fallback = "16", .min = 1, .max = 64, .offset = offsetof(config, max_tokens),
     .help = "How long the answer may be."},
    {0},
};

struct bp_frontend {
    const bp_engine_api *api;
    bp_engine *engine;
    const config *config;
    uint32_t progress_calls;
};

typedef struct answer {
    char text[LONGEST];
    size_t bytes;
    bp_usage usage;
    uint32_t finish, tokens;
} answer;

static bp_status fail(bp_error *error, bp_status code, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        size_t used = (size_t)snprintf(error->message, sizeof error->message, "old_frontend: ");
        vsnprintf(error->message + used, sizeof error->message - used, format, arguments);
        va_end(arguments);
        error->code = code;
    }
    return code;
}

static bp_status fail_memory(bp_error *error)
{
    return fail(error, BP_ENOMEM, "out of memory");
}

/* A struct of that many bytes whose size is set. */
static void *sized(uint32_t size)
{
    void *memory = guarded(size);
    return memory ? memcpy(memory, &size, sizeof size) : NULL;
}

static bp_status open_frontend(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *filled,
                               bp_frontend **out, bp_error *error)
{
    if (host->size < sizeof *host || api->size < sizeof *api)
        return fail(error, BP_EINVAL, "the host or the engine is not that of ABI 1.1");
    host->log(host->context, BP_LOG_INFO, "old_frontend: opened with an engine of %u bytes", api->size);
    if (!(*out = calloc(1, sizeof **out)))
        return fail_memory(error);
    **out = (bp_frontend){.api = api, .engine = engine, .config = filled};
    return BP_OK;
}

/* --- what it asks ----------------------------------------------------------------------------------------------------- */

static void count_progress(void *user, double fraction, const char *what)
{
    if (fraction >= 0 && fraction <= 1 && what)
        ++*(uint32_t *)user;
}

/* The model as a struct of that many bytes has it. */
static bp_status describe(bp_frontend *f, uint32_t size, bp_error *error)
{
    uint32_t index;
    bp_model_info *info = sized(size);
    if (!info)
        return fail_memory(error);
    bp_status status = f->api->find_model(f->engine, f->config->model, &index, error);
    if (status == BP_OK)
        status = f->api->model_info(f->engine, index, info, error);
    if (status != BP_OK)
        return status;
    if (info->size != size || index >= f->api->model_count(f->engine) || strcmp(info->name, f->config->model) != 0 ||
        info->state != BP_MODEL_READY || !info->parameters || !info->context || !info->has_chat_template)
        return fail(error, BP_EINVAL, "the model's description in %u bytes is none", size);
    if (size >= sizeof *info && (info->task != BP_TASK_GENERATE || info->eos_token < 0))
        return fail(error, BP_EINVAL, "the end of the model's description is not that of ABI 1.1");
    printf("model: %s %u %u\n", info->family, info->vocab_size, info->layers);
    return BP_OK;
}

/* Text to tokens and back. */
static bp_status tokens(bp_frontend *f, bp_error *error)
{
    const char *question = f->config->question;
    int32_t ids[LONGEST];
    char text[LONGEST];
    uint64_t count = 0, bytes = 0;
    bp_status status = f->api->tokenize(f->engine, f->config->model, question, strlen(question), 0, ids, LONGEST, &count, error);
    if (status == BP_OK && count <= LONGEST)
        status = f->api->detokenize(f->engine, f->config->model, ids, count, text, LONGEST, &bytes, error);
    if (status == BP_OK && (bytes != strlen(question) || memcmp(text, question, bytes) != 0))
        status = fail(error, BP_EINVAL, "text is another after tokens");
    return status;
}

static bp_status make_request(const bp_frontend *f, bp_request **out, bp_error *error)
{
    const bp_message said[] = {{.role = "system", .content = f->config->system}, {.role = "user", .content = f->config->question}};
    bp_request *r = sized(sizeof *r);
    const bp_message *messages = guarded_copy(said, sizeof said);
    if (!r || !messages)
        return fail_memory(error);
    f->api->defaults(f->engine, f->config->model, r);
    if (r->size != sizeof *r || r->sampling.size != sizeof r->sampling || r->sampling.logprobs != -1)
        return fail(error, BP_EINVAL, "the defaults are not those of ABI 1.1");
    r->input = BP_INPUT_MESSAGES;
    r->messages = messages;
    r->message_count = 2;
    r->max_tokens = (uint32_t)f->config->max_tokens;
    r->sampling.temperature = 0;
    *out = r;
    char prompt[LONGEST];
    uint64_t bytes = 0;
    bp_status status = f->api->render(f->engine, r, prompt, LONGEST, &bytes, error);
    if (status == BP_OK && bytes < strlen(f->config->question))
        status = fail(error, BP_EINVAL, "the prompt is shorter than the question");
    return status;
}

static bp_status take(answer *a, const bp_event *e, bp_error *error)
{
    if (e->kind == BP_EVENT_ERROR)
        return fail(error, e->error.code, "%.400s", e->error.message);
    if (a->bytes + e->text_bytes > sizeof a->text)
        return fail(error, BP_ELIMIT, "the answer is too long");
    if (e->text_bytes)
        memcpy(a->text + a->bytes, e->text, e->text_bytes);
    a->bytes += e->text_bytes;
    a->tokens += e->kind == BP_EVENT_TOKEN && e->chosen.token >= 0;
    if (e->kind == BP_EVENT_DONE) {
        a->usage = e->usage;
        a->finish = e->finish;
    }
    return BP_OK;
}

/* One answer, read as events of that many bytes. */
static bp_status ask(bp_frontend *f, uint32_t event_size, answer *out, bp_error *error)
{
    bp_request *request = NULL;
    bp_stream *stream = NULL;
    bp_event *event = sized(event_size);
    bp_status status = event ? make_request(f, &request, error) : fail_memory(error);
    if (status == BP_OK)
        status = f->api->submit(f->engine, request, &stream, error);
    bool over = false;
    while (status == BP_OK && !over) {
        status = f->api->next(stream, UINT64_MAX, event, error);
        if (status == BP_OK && event->size != event_size)
            status = fail(error, BP_EINVAL, "an event of %u bytes became one of %u", event_size, event->size);
        if (status == BP_OK)
            status = take(out, event, error);
        over = event->kind == BP_EVENT_DONE;
    }
    f->api->release(stream);
    return status;
}

static bp_status ask_twice(bp_frontend *f, bp_error *error)
{
    answer first = {0}, second = {0};
    bp_status status = ask(f, sizeof(bp_event), &first, error);
    if (status == BP_OK)
        status = ask(f, EVENT_1_0, &second, error);
    if (status != BP_OK)
        return status;
    if (first.bytes != second.bytes || memcmp(first.text, second.text, first.bytes) != 0)
        return fail(error, BP_EINVAL, "the answers differ");
    if (!first.usage.prompt_tokens || first.usage.completion_tokens < first.tokens || !first.tokens || !first.usage.decode_ns)
        return fail(error, BP_EINVAL, "the usage is not that of ABI 1.1");
    printf("answer: %.*s\n", (int)first.bytes, first.text);
    printf("finish: %s\n", first.finish == BP_FINISH_LENGTH ? "length" : first.finish == BP_FINISH_STOP ? "stop" : "other");
    return BP_OK;
}

static bp_status count(bp_frontend *f, uint32_t size, bp_error *error)
{
    bp_model_stats *s = sized(size);
    if (!s)
        return fail_memory(error);
    bp_status status = f->api->stats(f->engine, f->config->model, s, error);
    if (status == BP_OK && (s->size != size || s->requests != 2 || s->failed || !s->steps || !s->completion_tokens ||
                            s->preemptions || (size >= sizeof *s && s->loads != 1)))
        status = fail(error, BP_EINVAL, "the counts in %u bytes are not those of two requests", size);
    return status;
}

static bp_status run(bp_frontend *f, bp_error *error)
{
    bp_status status = f->api->load(f->engine, f->config->model, count_progress, &f->progress_calls, error);
    if (status == BP_OK)
        status = describe(f, sizeof(bp_model_info), error);
    if (status == BP_OK)
        status = describe(f, INFO_1_0, error);
    if (status == BP_OK)
        status = tokens(f, error);
    if (status == BP_OK)
        status = ask_twice(f, error);
    if (status == BP_OK)
        status = count(f, sizeof(bp_model_stats), error);
    if (status == BP_OK)
        status = count(f, STATS_1_0, error);
    if (status == BP_OK)
        status = f->api->unload(f->engine, f->config->model, error);
    if (status == BP_OK)
        printf("all is as it was; %s of progress\n", f->progress_calls ? "told" : "not told");
    fflush(stdout);
    return status;
}

static void stop(bp_frontend *frontend)
{
    (void)frontend;
}

static void close_frontend(bp_frontend *frontend)
{
    free(frontend);
}

static const bp_frontend_ops ops = {.size = sizeof ops, .open = open_frontend, .run = run, .stop = stop, .close = close_frontend};

static const bp_plugin descriptor = {.size = sizeof descriptor, .abi_major = 1, .abi_minor = 1, .kind = BP_PLUGIN_FRONTEND,
    .name = "old_frontend", .version = "1.1", .summary = "Asks one question, as plugin ABI 1.1 has it.",
    .config_size = sizeof(config), .options = options};

const bp_plugin *bp_plugin_entry(void)
{
    static bp_plugin *copy;
    if (!copy && (copy = guarded_copy(&descriptor, sizeof descriptor)))
        copy->ops = guarded_copy(&ops, sizeof ops);
    return copy;
}
