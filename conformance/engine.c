#include "engine.h"

#include "base/error.h"
#include "base/log.h"
#include "check.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_STREAMS = 4096, WORDS = 5, WORD_NS = 3000000 };
static const char model_name[] = "test";
static const char *const words[WORDS] = {"one ", "two ", "three ", "vier — ", "five"};

struct bp_stream {
    bp_engine *engine;
    uint32_t given; /* events */
    uint64_t due;   /* the next one */
    bool read, ended, released, cancelled;
};

/* Streams stay until the end, so that one that is used after its release is seen and harms nothing. */
struct bp_engine {
    pthread_mutex_t lock;
    engine_mood mood;
    unsigned submitted, count, held;
    bp_stream *streams[MOST_STREAMS];
    char complaint[300];
};

bp_engine *engine_new(engine_mood mood)
{
    bp_engine *e = calloc(1, sizeof *e);
    if (!e)
        failed("there is no memory for the check itself");
    pthread_mutex_init(&e->lock, NULL);
    e->mood = mood;
    return e;
}

void engine_free(bp_engine *e)
{
    for (unsigned i = 0; i < e->count; i++)
        free(e->streams[i]);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

/* Of a call that holds the lock; the first one stays. */
static void complain(bp_engine *e, const char *format, ...) BP_PRINTF(2, 3);
static void complain(bp_engine *e, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (!e->complaint[0])
        vsnprintf(e->complaint, sizeof e->complaint, format, arguments);
    va_end(arguments);
}

static unsigned locked(bp_engine *e, const unsigned *number)
{
    pthread_mutex_lock(&e->lock);
    unsigned value = *number;
    pthread_mutex_unlock(&e->lock);
    return value;
}

unsigned engine_submitted(bp_engine *e)
{
    return locked(e, &e->submitted);
}

unsigned engine_held(bp_engine *e)
{
    return locked(e, &e->held);
}

const char *engine_complaint(bp_engine *e)
{
    pthread_mutex_lock(&e->lock);
    const char *complaint = e->complaint[0] ? e->complaint : NULL;
    pthread_mutex_unlock(&e->lock);
    return complaint;
}

/* Fills a struct of the frontend's with as much of ours as it has room for; its own size stays. */
static void give(bp_engine *e, const char *what, void *out, const void *ours, uint32_t size)
{
    uint32_t room;
    memcpy(&room, out, sizeof room);
    if (room < sizeof room || room > 1 << 16) {
        pthread_mutex_lock(&e->lock);
        complain(e, "%s was given a struct whose size is %u: set it first", what, room);
        pthread_mutex_unlock(&e->lock);
        return;
    }
    memcpy((char *)out + sizeof room, (const char *)ours + sizeof room, (room < size ? room : size) - sizeof room);
}

static bp_status find_model(bp_engine *e, const char *name, uint32_t *index, bp_error *error)
{
    if (e->mood == MOOD_EMPTY || (name && strcmp(name, model_name) != 0))
        return error_set(error, BP_ENOTFOUND, "no model \"%.40s\"", name ? name : "");
    if (index)
        *index = 0;
    return BP_OK;
}

static void defaults(bp_engine *e, const char *model, bp_request *out)
{
    bp_request request = {.size = sizeof request, .model = model, .max_tokens = WORDS};
    request.sampling = (bp_sampling){.size = sizeof request.sampling, .temperature = 1, .top_p = 1, .typical_p = 1,
                                     .repetition_penalty = 1, .logprobs = -1};
    give(e, "defaults", out, &request, sizeof request);
}

/* What engine.h asks of a request's pointers. */
static bp_status check_request(bp_engine *e, const bp_request *r, bp_error *error)
{
    if (r->size < offsetof(bp_request, sampling) || r->size > 1 << 16) {
        complain(e, "submit was given a request whose size is %u: set it, then call defaults", r->size);
        return error_set(error, BP_EINVAL, "the request's size is not set: fill it with defaults()");
    }
    if (r->input > BP_INPUT_TOKENS || r->task > BP_TASK_RANK)
        complain(e, "submit was given the input %u and the task %u, of which one does not exist", r->input, r->task);
    if ((r->input == BP_INPUT_MESSAGES && r->message_count && !r->messages) || (r->input == BP_INPUT_TEXT && !r->text && r->text_bytes))
        complain(e, "submit was given a request without its text");
    if (r->task != BP_TASK_GENERATE)
        return error_set(error, BP_EINVAL, "the model test gives answers, and nothing else");
    if (r->input == BP_INPUT_MESSAGES && r->message_count == 0)
        return error_set(error, BP_EINVAL, "there are no messages");
    return find_model(e, r->model, NULL, error);
}

static bp_status submit(bp_engine *e, const bp_request *request, bp_stream **out, bp_error *error)
{
    pthread_mutex_lock(&e->lock);
    e->submitted++;
    bp_status status = check_request(e, request, error);
    if (status == BP_OK && (e->mood == MOOD_BUSY || e->count == MOST_STREAMS))
        status = error_set(error, BP_EBUSY, "the queue is full; try again later");
    bp_stream *s = status == BP_OK ? calloc(1, sizeof *s) : NULL;
    if (status == BP_OK && !s)
        status = error_set(error, BP_ENOMEM, "out of memory");
    if (s) {
        s->engine = e;
        e->streams[e->count++] = s;
        e->held++;
        *out = s;
    }
    pthread_mutex_unlock(&e->lock);
    return status;
}

/* Of a call that holds the lock. */
static void fill_event(bp_stream *s, bp_event *event)
{
    engine_mood mood = s->engine->mood;
    uint32_t word = s->given - 1;
    event->usage = (bp_usage){.prompt_tokens = 3, .completion_tokens = word < WORDS ? word : WORDS};
    if (s->given == 0) {
        event->kind = BP_EVENT_START;
    } else if (mood == MOOD_FAILING && word > 0) {
        event->kind = BP_EVENT_ERROR;
        error_set(&event->error, BP_EINTERNAL, "the device forgot what it was doing");
    } else if (s->cancelled || (word == WORDS && mood != MOOD_ENDLESS)) {
        event->kind = BP_EVENT_DONE;
        event->finish = s->cancelled ? BP_FINISH_CANCELLED : BP_FINISH_LENGTH;
        event->text = "";
    } else {
        event->kind = BP_EVENT_TOKEN;
        event->text = words[word % WORDS];
        event->text_bytes = (uint32_t)strlen(event->text);
        event->chosen = (bp_token_logprob){.token = (int32_t)(word % WORDS), .bytes = event->text, .byte_count = event->text_bytes};
    }
    s->given++;
    s->ended = event->kind == BP_EVENT_DONE || event->kind == BP_EVENT_ERROR;
    s->due = clock_now() + WORD_NS;
}

/* Waits for the next event, word by word; false where the time is over first. Cancelled streams do not wait. */
static bool await_event(bp_stream *s, uint64_t timeout_ns)
{
    uint64_t now = clock_now(), wait = s->due > now ? s->due - now : 0;
    bool comes = wait <= timeout_ns;
    if (!comes)
        wait = timeout_ns;
    const struct timespec t = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
    nanosleep(&t, NULL);
    return comes;
}

/* Whether anything may come on the stream, which is then being read. */
static bool begin_reading(bp_stream *s)
{
    pthread_mutex_lock(&s->engine->lock);
    bool may = !s->released && !s->ended && !s->read;
    if (!may)
        complain(s->engine, "next was called %s", s->released ? "on a stream that was released"
                                                  : s->ended  ? "on a stream after its last event"
                                                              : "by two threads on one stream");
    if (may)
        s->read = true;
    if (s->cancelled)
        s->due = 0;
    pthread_mutex_unlock(&s->engine->lock);
    return may;
}

static bp_status next(bp_stream *s, uint64_t timeout_ns, bp_event *out, bp_error *error)
{
    bp_event event = {.size = sizeof event};
    if (!begin_reading(s))
        return error_set(error, BP_EINVAL, "nothing comes on this stream");
    bool comes = await_event(s, timeout_ns);
    pthread_mutex_lock(&s->engine->lock);
    s->read = false;
    if (comes)
        fill_event(s, &event);
    pthread_mutex_unlock(&s->engine->lock);
    if (!comes)
        return error_set(error, BP_ETIMEOUT, "no event yet");
    give(s->engine, "next", out, &event, sizeof event);
    return BP_OK;
}

static void cancel(bp_stream *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->engine->lock);
    if (s->released)
        complain(s->engine, "cancel was called on a stream that was released");
    s->cancelled = true;
    pthread_mutex_unlock(&s->engine->lock);
}

static void release(bp_stream *s)
{
    if (!s)
        return;
    bp_engine *e = s->engine;
    pthread_mutex_lock(&e->lock);
    if (s->released)
        complain(e, "release was called twice on one stream");
    else
        e->held--;
    s->released = true;
    pthread_mutex_unlock(&e->lock);
}

/* --- models and text --------------------------------------------------------------------------------------------------------- */

static uint32_t model_count(bp_engine *e)
{
    return e->mood != MOOD_EMPTY;
}

static bp_status model_info(bp_engine *e, uint32_t index, bp_model_info *out, bp_error *error)
{
    if (index >= model_count(e))
        return error_set(error, BP_ENOTFOUND, "no model has the number %u", index);
    bp_model_info info = {.size = sizeof info, .state = BP_MODEL_READY, .name = "test", .backend = "none", .family = "test",
                          .weight_type = "F32", .path = "/nowhere/test.gguf", .parameters = 1000, .file_bytes = 4000,
                          .weight_bytes = 4000, .context = 512, .train_context = 512, .vocab_size = 256, .layers = 1, .width = 32,
                          .has_chat_template = 1, .task = BP_TASK_GENERATE, .bos_token = -1, .eos_token = -1};
    give(e, "model_info", out, &info, sizeof info);
    return BP_OK;
}

static bp_status load(bp_engine *e, const char *model, bp_progress_fn progress, void *user, bp_error *error)
{
    bp_status status = find_model(e, model, NULL, error);
    if (status == BP_OK && progress)
        progress(user, 1.0, "ready");
    return status;
}

static bp_status stats(bp_engine *e, const char *model, bp_model_stats *out, bp_error *error)
{
    bp_model_stats all = {.size = sizeof all, .pages_total = 32, .requests = engine_submitted(e), .loads = 1};
    bp_status status = find_model(e, model, NULL, error);
    if (status == BP_OK)
        give(e, "stats", out, &all, sizeof all);
    return status;
}

/* A token is a byte. */
static bp_status tokenize(bp_engine *e, const char *model, const char *text, uint64_t bytes, uint32_t flags, int32_t *ids,
                          uint64_t capacity, uint64_t *count, bp_error *error)
{
    (void)flags;
    for (uint64_t i = 0; i < bytes && i < capacity; i++)
        ids[i] = (unsigned char)text[i];
    *count = bytes;
    return find_model(e, model, NULL, error);
}

static bp_status detokenize(bp_engine *e, const char *model, const int32_t *ids, uint64_t count, char *text, uint64_t capacity,
                            uint64_t *bytes, bp_error *error)
{
    for (uint64_t i = 0; i < count && i < capacity; i++)
        text[i] = (char)ids[i];
    *bytes = count;
    return find_model(e, model, NULL, error);
}

static bp_status render(bp_engine *e, const bp_request *request, char *text, uint64_t capacity, uint64_t *bytes, bp_error *error)
{
    static const char prompt[] = "user: ...\nassistant:";
    *bytes = sizeof prompt - 1;
    memcpy(text, prompt, capacity < *bytes ? capacity : *bytes);
    return find_model(e, request->model, NULL, error);
}

static bp_status unload(bp_engine *e, const char *model, bp_error *error)
{
    return find_model(e, model, NULL, error);
}

static uint32_t draining(bp_engine *e)
{
    (void)e;
    return 0;
}

const bp_engine_api *engine_api(void)
{
    static const bp_engine_api api = {.size = sizeof api, .defaults = defaults, .submit = submit, .next = next, .cancel = cancel,
                                      .release = release, .model_count = model_count, .model_info = model_info,
                                      .find_model = find_model, .load = load, .stats = stats, .tokenize = tokenize,
                                      .detokenize = detokenize, .render = render, .unload = unload, .draining = draining};
    return &api;
}
