/* fake_engine: runs a frontend plugin on an engine that answers by script, so that every answer is known and quick.
 *
 *     fake_engine PLUGIN.so [option=value…]
 *
 * The last message or prompt says what the answer is:
 *     slow N      N words "tick", 20 ms apart
 *     late N      "late N" after N ms
 *     control     text with control characters
 *     nothing     no text at all
 *     fail        an error after the first word
 *     lost        a device that is lost
 *     refuse      an error instead of an answer; "long" the same, for a limit
 *     busy        the first three times the queue is full; then as below
 *     request     what the request had: messages, system message, temperature, seed, most tokens, model
 *     all else    "You said: " and the text
 * An embedding is the number of bytes or tokens of the input, a half, and minus one; scripts that end without an answer do so.
 * Models are `small` and `large`, which takes 1.2 s to load. SIGTERM calls stop(). */
#include <backplane/engine.h>

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 20, LOAD_MS = 1200, ANSWER_BYTES = 1 << 16 };

struct bp_stream {
    char *answer, word[256];
    size_t at;
    uint32_t words, total, prompt_tokens;
    uint64_t began_ms, word_ms;
    bp_status failure;
    atomic_bool cancelled;
    bool started, ended, embeds;
    float vector[3];
};

struct bp_engine {
    atomic_uint requests, busy;
    bool loaded[2];
};

static const char *const model_names[] = {"small", "large"};

static uint64_t now_ns(void *context)
{
    (void)context;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ms(void)
{
    return now_ns(NULL) / 1000000;
}

static void sleep_ms(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static bp_status fail(bp_error *error, bp_status code, const char *message)
{
    if (!error)
        return code;
    error->code = code;
    snprintf(error->message, sizeof error->message, "%s", message);
    return code;
}

/* --- models ------------------------------------------------------------------------------------------------------- */

static uint32_t model_count(bp_engine *engine)
{
    (void)engine;
    return 2;
}

static bp_status find_model(bp_engine *engine, const char *name, uint32_t *index, bp_error *error)
{
    (void)engine;
    *index = 0;
    if (!name)
        return BP_OK;
    for (uint32_t i = 0; i < 2; i++)
        if (strcmp(model_names[i], name) == 0) {
            *index = i;
            return BP_OK;
        }
    return fail(error, BP_ENOTFOUND, "there is no such model");
}

static bp_status model_info(bp_engine *engine, uint32_t index, bp_model_info *out, bp_error *error)
{
    if (index >= 2)
        return fail(error, BP_ENOTFOUND, "there is no such model");
    *out = (bp_model_info){.size = sizeof *out, .state = engine->loaded[index] ? BP_MODEL_READY : BP_MODEL_UNLOADED,
                           .backend = "fake", .family = "script", .context = 4096};
    snprintf(out->name, sizeof out->name, "%s", model_names[index]);
    return BP_OK;
}

static bp_status load(bp_engine *engine, const char *model, bp_progress_fn progress, void *user, bp_error *error)
{
    uint32_t index;
    bp_status status = find_model(engine, model, &index, error);
    for (int step = 0; status == BP_OK && index == 1 && !engine->loaded[1] && step <= 20; step++) {
        if (progress)
            progress(user, step / 20.0, "reading weights");
        sleep_ms(LOAD_MS / 20);
    }
    if (status == BP_OK)
        engine->loaded[index] = true;
    return status;
}

static bp_status stats(bp_engine *engine, const char *model, bp_model_stats *out, bp_error *error)
{
    (void)model, (void)error;
    *out = (bp_model_stats){.size = sizeof *out, .requests = atomic_load(&engine->requests), .pages_total = 64};
    return BP_OK;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void defaults(bp_engine *engine, const char *model, bp_request *out)
{
    (void)engine;
    *out = (bp_request){.size = sizeof *out, .model = model, .max_tokens = 100};
    out->sampling = (bp_sampling){.size = sizeof out->sampling, .temperature = 0.5f, .top_p = 1, .typical_p = 1,
                                  .repetition_penalty = 1, .seed = 7, .logprobs = -1};
}

static void describe(const bp_request *r, char *out)
{
    const char *system = r->message_count && strcmp(r->messages[0].role, "system") == 0 ? r->messages[0].content : "-";
    int used = snprintf(out, 512, "model=%s temperature=%.2f seed=%llu max=%u system=%.80s messages=", r->model,
                        (double)r->sampling.temperature, (unsigned long long)r->sampling.seed, r->max_tokens, system);
    for (uint32_t i = 0; i < r->message_count && used < ANSWER_BYTES / 2; i++)
        used += snprintf(out + used, 600, "%s%s:%.500s", i ? "|" : "", r->messages[i].role, r->messages[i].content);
}

static bp_status write_script(bp_stream *s, const bp_request *r, const char *text, bp_error *error)
{
    unsigned number = 0;
    s->total = UINT32_MAX;
    if (strcmp(text, "refuse") == 0)
        return fail(error, BP_EINVAL, "this is refused");
    if (strcmp(text, "long") == 0)
        return fail(error, BP_ECONTEXT, "this is too long for the context");
    if (strcmp(text, "limit") == 0)
        return fail(error, BP_ELIMIT, "this takes more steps than a template may");
    if (strcmp(text, "request") == 0)
        describe(r, s->answer);
    else if (sscanf(text, "slow %u", &number) == 1) {
        s->total = number;
        s->word_ms = TICK_MS;
        for (unsigned i = 0; i < number && i < ANSWER_BYTES / 8; i++)
            strcat(s->answer, "tick ");
    } else if (sscanf(text, "late %u", &number) == 1) {
        s->began_ms += number;
        snprintf(s->answer, ANSWER_BYTES, "late %u", number);
    } else if (strcmp(text, "control") == 0)
        strcpy(s->answer, "a\033]0;title\007b\rc\x7f" "d\302\233e\n\tend");
    else if (strcmp(text, "fail") == 0 || strcmp(text, "lost") == 0) {
        strcpy(s->answer, "half ");
        s->failure = text[0] == 'f' ? BP_EINTERNAL : BP_EDEVICE;
    } else if (strcmp(text, "nothing") != 0)
        snprintf(s->answer, ANSWER_BYTES, "You said: %s", text);
    return BP_OK;
}

static bp_status submit(bp_engine *engine, const bp_request *r, bp_stream **out, bp_error *error)
{
    const char *text = r->input == BP_INPUT_TEXT ? r->text
                       : r->message_count        ? r->messages[r->message_count - 1].content
                                                 : NULL;
    if (text && strcmp(text, "busy") == 0 && atomic_fetch_add(&engine->busy, 1) < 3)
        return fail(error, BP_EBUSY, "the queue is full");
    bp_stream *s = calloc(1, sizeof *s);
    atomic_fetch_add(&engine->requests, 1);
    if (!s || !(s->answer = calloc(1, ANSWER_BYTES + 1024)))
        abort();
    s->began_ms = now_ms();
    s->prompt_tokens = r->message_count;
    s->embeds = r->task == BP_TASK_EMBED;
    s->vector[0] = (float)(r->input == BP_INPUT_TEXT ? r->text_bytes : r->token_count);
    s->vector[1] = 0.5f;
    s->vector[2] = -1;
    if (s->embeds)
        s->prompt_tokens = r->flags & BP_REQUEST_TRUNCATE ? 100 : 1;
    bp_status status = write_script(s, r, text ? text : "", error);
    if (status != BP_OK) {
        free(s->answer);
        free(s);
        return status;
    }
    *out = s;
    return BP_OK;
}

static void finish(bp_stream *s, bp_event *out)
{
    s->ended = true;
    out->kind = s->failure && !atomic_load(&s->cancelled) ? BP_EVENT_ERROR : BP_EVENT_DONE;
    out->finish = atomic_load(&s->cancelled) ? BP_FINISH_CANCELLED : BP_FINISH_STOP;
    out->usage = (bp_usage){.prompt_tokens = s->prompt_tokens, .completion_tokens = s->words, .decode_ns = 1000000000};
    if (out->kind == BP_EVENT_ERROR)
        fail(&out->error, s->failure, "the script fails here");
}

/* Word by word, each with the space behind it. */
static bp_status next(bp_stream *s, uint64_t timeout_ns, bp_event *out, bp_error *error)
{
    *out = (bp_event){.size = sizeof *out};
    if (!s->started) {
        s->started = true;
        out->kind = BP_EVENT_START;
        return BP_OK;
    }
    uint64_t due = s->began_ms + (s->words + 1) * s->word_ms, now = now_ms();
    if (now < due && !atomic_load(&s->cancelled)) {
        uint64_t wait = due - now < timeout_ns / 1000000 ? due - now : timeout_ns / 1000000;
        sleep_ms(wait);
        if (wait < due - now)
            return fail(error, BP_ETIMEOUT, "not yet");
    }
    if (s->embeds && !s->failure && !s->words && !atomic_load(&s->cancelled)) {
        s->words = 1;
        s->answer[s->at] = '\0';
        out->kind = BP_EVENT_EMBEDDING;
        out->embedding = s->vector;
        out->embedding_width = 3;
        return BP_OK;
    }
    if (atomic_load(&s->cancelled) || !s->answer[s->at]) {
        finish(s, out);
        return BP_OK;
    }
    size_t length = strcspn(s->answer + s->at, " ");
    length += s->answer[s->at + length] == ' ';
    length = length < sizeof s->word ? length : sizeof s->word;
    memcpy(s->word, s->answer + s->at, length);
    s->at += length;
    s->words++;
    out->kind = BP_EVENT_TOKEN;
    out->text = s->word;
    out->text_bytes = (uint32_t)length;
    return BP_OK;
}

static void cancel(bp_stream *s)
{
    if (s)
        atomic_store(&s->cancelled, true);
}

static void release(bp_stream *s)
{
    if (s)
        free(s->answer);
    free(s);
}

/* Whoever asks after a request was refused learns nothing. */
static bp_status tokenize(bp_engine *engine, const char *model, const char *text, uint64_t bytes, uint32_t flags,
                          int32_t *ids, uint64_t capacity, uint64_t *count, bp_error *error)
{
    (void)engine, (void)model, (void)text, (void)bytes, (void)flags, (void)ids, (void)capacity, (void)count, (void)error;
    return BP_EUNSUPPORTED;
}

static bp_status render(bp_engine *engine, const bp_request *request, char *text, uint64_t capacity, uint64_t *bytes,
                        bp_error *error)
{
    (void)engine, (void)request, (void)text, (void)capacity, (void)bytes, (void)error;
    return BP_EUNSUPPORTED;
}

/* --- the host ----------------------------------------------------------------------------------------------------- */

static void BP_PRINTF(3, 4) log_line(void *context, int level, const char *format, ...)
{
    (void)context, (void)level;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static void store(const bp_option *o, char *config, const char *value)
{
    int64_t whole = strcmp(value, "auto") == 0 ? INT64_MIN : strtoll(value, NULL, 10);
    double real = strtod(value, NULL);
    uint8_t boolean = strcmp(value, "true") == 0;
    switch (o->type) {
    case BP_OPTION_BOOL: memcpy(config + o->offset, &boolean, sizeof boolean); break;
    case BP_OPTION_INT: memcpy(config + o->offset, &whole, sizeof whole); break;
    case BP_OPTION_FLOAT: memcpy(config + o->offset, &real, sizeof real); break;
    default: memcpy(config + o->offset, &value, sizeof value);
    }
}

static void *make_config(const bp_plugin *plugin, char **settings)
{
    char *config = calloc(1, plugin->config_size);
    if (!config)
        abort();
    for (const bp_option *o = plugin->options; o->name; o++) {
        if (o->fallback)
            store(o, config, o->fallback);
        size_t length = strlen(o->name);
        for (char **s = settings; *s; s++)
            if (strncmp(*s, o->name, length) == 0 && (*s)[length] == '=')
                store(o, config, *s + length + 1);
    }
    return config;
}

typedef struct stopper {
    const bp_frontend_ops *ops;
    bp_frontend *frontend;
} stopper;

static void *await_term(void *user)
{
    stopper *s = user;
    sigset_t set;
    int number;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigwait(&set, &number);
    s->ops->stop(s->frontend);
    return NULL;
}

static void interrupted(int number)
{
    _exit(128 + number);
}

int main(int argc, char **argv)
{
    static const bp_engine_api api = {.size = sizeof api,
                                      .defaults = defaults,
                                      .submit = submit,
                                      .next = next,
                                      .cancel = cancel,
                                      .release = release,
                                      .model_count = model_count,
                                      .model_info = model_info,
                                      .find_model = find_model,
                                      .load = load,
                                      .stats = stats,
                                      .tokenize = tokenize,
                                      .render = render};
    static const bp_host host = {.size = sizeof host, .log = log_line, .now = now_ns};
    bp_engine engine = {0};
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    bp_plugin_entry_fn entry = NULL;
    if (library)
        *(void **)&entry = dlsym(library, BP_PLUGIN_ENTRY_SYMBOL);
    if (!entry) {
        fprintf(stderr, "fake_engine: %s\n", argc > 1 ? dlerror() : "no plugin");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, interrupted);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    const bp_plugin *plugin = entry();
    stopper s = {.ops = plugin->ops};
    void *config = make_config(plugin, argv + 2);
    bp_error error = {0};
    bp_status status = s.ops->open(&host, &api, &engine, config, &s.frontend, &error);
    if (status == BP_OK) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, await_term, &s) != 0)
            abort();
        status = s.ops->run(s.frontend, &error);
        pthread_kill(thread, SIGTERM);
        pthread_join(thread, NULL);
        s.ops->close(s.frontend);
    }
    free(config);
    if (status != BP_OK)
        fprintf(stderr, "frontend: %s\n", error.message);
    return status == BP_OK ? 0 : 1;
}
