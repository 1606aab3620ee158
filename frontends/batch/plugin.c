/* The plugin `batch`: lines of requests in, lines of results out, in the same order.
 *
 * A ring of `parallel` jobs holds the lines between the oldest without a written result and the newest that was read. One
 * thread reads lines, takes events of all jobs and writes results, and waits for none of the three while another has work:
 * an answer's events wait in the engine for a limited time only.
 *
 * Invariants:
 *   - A result is written when all before it are; memory is bounded by the ring.
 *   - No model is waited for while answers run: these may be what it waits for.
 *   - What ends early (stop(), a lost device, an output that is gone) leaves whole results; another run goes on there. */
#include "batch/job.h"
#include "batch/lines.h"
#include "batch/output.h"
#include "common/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct batch_config {
    const char *model, *input, *output;
    int64_t parallel;
} batch_config;

#define CONFIG(field) .offset = offsetof(batch_config, field)

static const bp_option options[] = {
    {.name = "model", .type = BP_OPTION_STRING, CONFIG(model),
     .help = "The model of requests that name none; not needed where there is only one."},
    {.name = "input", .type = BP_OPTION_STRING, .flags = BP_OPTION_REQUIRED, CONFIG(input),
     .help = "The file of requests, a JSON object a line; - is standard input."},
    {.name = "output", .type = BP_OPTION_STRING, .flags = BP_OPTION_REQUIRED, CONFIG(output),
     .help = "The file of results, added to where it was begun before; - is standard output."},
    {.name = "parallel", .type = BP_OPTION_INT, .fallback = "8", .min = 1, .max = 1024, CONFIG(parallel),
     .help = "Requests in flight at a time; the results are the same for any number."},
    {0},
};

enum { WAIT_MS = 100, GLANCE_NS = 5000000, INPUTS_IN_FLIGHT = 64 };

struct bp_frontend {
    const bp_host *host;
    const bp_engine_api *api;
    bp_engine *engine;
    const batch_config *config;
    atomic_bool stopping;
    int input;
    lines lines;
    output output;
    job *ring;             /* [capacity] */
    uint32_t capacity, first, count;
    uint32_t running;      /* streams of jobs */
    bool full;             /* the engine's queue was, or a model was not in memory: try again when a stream of ours ends, or later */
    bool input_ended;
    uint64_t results, errors;
};
typedef struct bp_frontend batch;

static job *job_at(batch *b, uint32_t index)
{
    return &b->ring[(b->first + index) % b->capacity];
}

/* --- one job ------------------------------------------------------------------------------------------------------ */

static bp_status refuse_job(job *j, const bp_error *why, bp_error *error)
{
    refusal r;
    openai_request_refused(&j->body, why, &r);
    refuse_blame(&r, j->body.body);
    return job_refuse(j, &r) ? BP_OK : fail_memory(error);
}

/* Statuses that say nothing about the request: the run ends, and the line is left for the next one. */
static bool ends_batch(const batch *b, bp_status status)
{
    return status == BP_EDEVICE || status == BP_ECANCELLED || atomic_load(&b->stopping);
}

/* The oldest that runs. */
static void end_stream(batch *b, job *j)
{
    b->api->release(j->streams[j->ended++]);
    b->running--;
    b->full = false;
}

static void end_streams(batch *b, job *j)
{
    while (j->ended < j->started)
        end_stream(b, j);
}

/* Whether more of it can be asked for. */
static bool is_startable(const job *j)
{
    return !j->done && j->started < j->count && j->started - j->ended < INPUTS_IN_FLIGHT;
}

/* As much of the job as the engine has room for. */
static bp_status start_job(batch *b, job *j, bp_error *error)
{
    while (is_startable(j) && !b->full) {
        bp_error why = {0};
        j->body.request.wait_ms = b->running ? 1 : WAIT_MS;
        if (j->body.prompts)
            openai_request_choose(&j->body, j->started);
        bp_status status = b->api->submit(b->engine, &j->body.request, &j->streams[j->started], &why);
        if (status == BP_OK) {
            snprintf(j->seed, sizeof j->seed, "%llu", (unsigned long long)j->line);
            calls_open(&j->calls, &j->body, b->api, b->engine, j->seed);
            j->started++;
            b->running++;
        } else if (status == BP_EBUSY || status == BP_ETIMEOUT) {
            b->full = true;
        } else if (ends_batch(b, status)) {
            return fail(error, status, "%s", why.message);
        } else {
            end_streams(b, j);
            return refuse_job(j, &why, error);
        }
    }
    return BP_OK;
}

static bp_status take_done(const batch *b, job *j, const bp_event *event, bp_error *error)
{
    bool good = !j->body.echo || job_echo(j, b->api, b->engine);
    j->input_tokens += event->usage.prompt_tokens;
    if (good && j->ended + 1 == j->count)
        good = j->data ? job_answer_embeddings(j) : job_answer(j, event);
    return good ? BP_OK : fail_memory(error);
}

static bp_status take_event(batch *b, job *j, const bp_event *event, bp_error *error)
{
    if (event->text_bytes && !calls_push(&j->calls, event->text, event->text_bytes, &j->answer))
        return fail_memory(error);
    if (event->kind == BP_EVENT_DONE && !calls_finish(&j->calls, &j->answer))
        return fail_memory(error);
    /* Where the prompt's tokens are listed, so is the one that ends the answer: readers count from the end. */
    bool ends = event->kind == BP_EVENT_DONE && j->prompt && event->chosen.byte_count > 0;
    bool lists = event->kind == BP_EVENT_TOKEN || event->kind == BP_EVENT_PROMPT || ends;
    if (lists && j->logprobs && !job_add_logprob(j, event))
        return fail_memory(error);
    if (event->kind == BP_EVENT_DONE && event->finish == BP_FINISH_CANCELLED)
        return fail(error, BP_ECANCELLED, "stopped before line %llu was answered", (unsigned long long)j->line);
    if (event->kind == BP_EVENT_EMBEDDING && j->data && !job_add_embedding(j, event))
        return fail_memory(error);
    if (event->kind == BP_EVENT_DONE)
        return take_done(b, j, event, error);
    if (event->kind == BP_EVENT_ERROR && ends_batch(b, event->error.code))
        return fail(error, event->error.code, "line %llu: %s", (unsigned long long)j->line, event->error.message);
    return event->kind == BP_EVENT_ERROR ? refuse_job(j, &event->error, error) : BP_OK;
}

/* All events that are there; the first may be waited for. */
static bp_status read_events(batch *b, job *j, uint64_t wait_ns, bp_error *error)
{
    while (j->ended < j->started && !j->done) {
        bp_event event = {.size = sizeof event};
        bp_status status = b->api->next(j->streams[j->ended], wait_ns, &event, error);
        if (status == BP_ETIMEOUT)
            return BP_OK;
        if (status == BP_OK)
            status = take_event(b, j, &event, error);
        if (status != BP_OK)
            return status;
        if (event.kind == BP_EVENT_DONE)
            end_stream(b, j);
        wait_ns = 0;
    }
    if (j->done)
        end_streams(b, j);
    return BP_OK;
}

/* --- from the input ----------------------------------------------------------------------------------------------- */

static bool is_blank(const text *line)
{
    return line->size == strspn(text_string(line), " \t\r");
}

/* The next line that is not blank. */
static line_result next_line(batch *b, int wait_ms)
{
    line_result result;
    do
        result = lines_next(&b->lines, wait_ms);
    while (result == LINE_READ && is_blank(&b->lines.line));
    return result;
}

static bp_status fail_input(const batch *b, bp_error *error)
{
    return fail(error, BP_EIO, "the input \"%.200s\" cannot be read: %s", b->config->input, strerror(errno));
}

/* Reads a line into the ring's next job. */
static bp_status read_job(batch *b, line_result result, bp_error *error)
{
    job *j = job_at(b, b->count++);
    *j = (job){.line = b->lines.number};
    refusal why;
    bool good;
    if (result == LINE_TOO_LONG)
        good = refuse(&why, "", "invalid_json", "the line is longer than %d MiB", LINE_LIMIT >> 20);
    else
        good = job_parse(j, text_string(&b->lines.line), b->lines.line.size, b->api, b->engine, b->config->model, &why);
    if (good)
        return start_job(b, j, error);
    return job_refuse(j, &why) ? BP_OK : fail_memory(error);
}

static bp_status fill_ring(batch *b, bp_error *error)
{
    bp_status status = BP_OK;
    if (b->full && b->running == 0) { /* of others' requests */
        poll(NULL, 0, WAIT_MS);
        b->full = false;
    }
    for (uint32_t i = 0; status == BP_OK && !b->full && i < b->count; i++) {
        if (is_startable(job_at(b, i)))
            status = start_job(b, job_at(b, i), error);
    }
    while (status == BP_OK && !b->full && !b->input_ended && b->count < b->capacity) {
        line_result result = next_line(b, b->count ? 0 : WAIT_MS);
        if (result == LINE_NOT_YET)
            break;
        if (result == LINE_FAILED)
            return fail_input(b, error);
        if (result == LINE_END)
            b->input_ended = true;
        else
            status = read_job(b, result, error);
    }
    return status;
}

/* --- to the output ------------------------------------------------------------------------------------------------ */

static bp_status write_results(batch *b, bp_error *error)
{
    for (;;) {
        bool clear;
        bp_status status = output_flush(&b->output, b->running ? 0 : WAIT_MS, &clear, error);
        if (status != BP_OK || !clear || b->count == 0 || !job_at(b, 0)->done)
            return status;
        job *j = job_at(b, 0);
        if (!output_put(&b->output, &j->result))
            return fail_memory(error);
        b->results++;
        b->errors += j->refused;
        job_clear(j);
        b->first = (b->first + 1) % b->capacity;
        b->count--;
    }
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

static const char *custom_id_of(const json_t *request)
{
    const char *id = json_string_value(json_object_get(request, "custom_id"));
    return id ? id : "";
}

/* Passes the requests that have results, and checks that they are the same ones. */
static bp_status resume(batch *b, bp_error *error)
{
    uint64_t line, passed = 0;
    text id = {0};
    bp_status status;
    while ((status = output_earlier(&b->output, &line, &id, error)) == BP_OK && line != 0) {
        line_result result;
        do
            result = next_line(b, WAIT_MS);
        while (result == LINE_NOT_YET && !atomic_load(&b->stopping));
        json_t *request = result == LINE_READ
                              ? json_loadb(b->lines.line.data, b->lines.line.size, JSON_REJECT_DUPLICATES, NULL) : NULL;
        bool same = (result == LINE_READ || result == LINE_TOO_LONG) && b->lines.number == line &&
                    (!request || strcmp(custom_id_of(request), text_string(&id)) == 0);
        json_decref(request);
        if (!same) {
            status = fail(error, BP_EINVAL,
                          "the output \"%.200s\" answers other requests: its result of line %llu is not for "
                          "what the input has there; choose another output",
                          b->config->output, (unsigned long long)line);
            break;
        }
        passed++;
    }
    text_free(&id);
    if (status == BP_OK && passed)
        b->host->log(b->host->context, BP_LOG_INFO, "%llu requests have results already", (unsigned long long)passed);
    return status;
}

static bp_status work(batch *b, bp_error *error)
{
    bp_status status = BP_OK;
    while (status == BP_OK && !atomic_load(&b->stopping)) {
        status = fill_ring(b, error);
        bool waited = false;
        for (uint32_t i = 0; status == BP_OK && i < b->count; i++) {
            job *j = job_at(b, i);
            if (j->ended == j->started)
                continue;
            status = read_events(b, j, waited ? 0 : GLANCE_NS, error);
            waited = true;
        }
        bp_error write_error = {0};
        bp_status written = write_results(b, &write_error);
        if (status == BP_OK && written != BP_OK)
            status = fail(error, written, "%s", write_error.message);
        if (b->input_ended && b->count == 0 && b->output.written == b->output.pending.size)
            return status;
    }
    return status == BP_OK ? fail(error, BP_ECANCELLED, "stopped; run it again to go on") : status;
}

static bp_status batch_run(bp_frontend *b, bp_error *error)
{
    bp_status status = resume(b, error);
    if (status == BP_OK)
        status = work(b, error);
    for (uint32_t i = 0; i < b->count; i++) {
        end_streams(b, job_at(b, i));
        job_clear(job_at(b, i));
    }
    b->count = 0;
    if (b->errors)
        b->host->log(b->host->context, BP_LOG_WARN, "%llu of %llu results are errors", (unsigned long long)b->errors,
                     (unsigned long long)b->results);
    return status;
}

static void batch_stop(bp_frontend *b)
{
    atomic_store(&b->stopping, true);
}

static void batch_close(bp_frontend *b)
{
    if (!b)
        return;
    lines_free(&b->lines);
    output_close(&b->output);
    if (b->input > STDIN_FILENO)
        close(b->input);
    free(b->ring);
    free(b);
}

static bp_status open_files(batch *b, bp_error *error)
{
    const batch_config *c = b->config;
    b->input = strcmp(c->input, "-") == 0 ? STDIN_FILENO : open(c->input, O_RDONLY | O_CLOEXEC);
    if (b->input < 0)
        return fail_input(b, error);
    lines_init(&b->lines, b->input);
    return output_open(&b->output, c->output, error);
}

static bp_status batch_open(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *config,
                            bp_frontend **out, bp_error *error)
{
    batch *b = calloc(1, sizeof *b);
    if (!b)
        return fail_memory(error);
    b->host = host;
    b->api = api;
    b->engine = engine;
    b->config = config;
    atomic_init(&b->stopping, false);
    b->capacity = (uint32_t)b->config->parallel;
    b->ring = calloc(b->capacity, sizeof *b->ring);
    bp_status status = b->ring ? open_files(b, error) : fail_memory(error);
    if (status != BP_OK) {
        batch_close(b);
        return status;
    }
    *out = b;
    return BP_OK;
}

static const bp_frontend_ops ops = {
    .size = sizeof ops, .open = batch_open, .run = batch_run, .stop = batch_stop, .close = batch_close};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_FRONTEND,
    .config_size = sizeof(batch_config),
    .name = "batch",
    .version = BACKPLANE_VERSION,
    .summary = "A file of requests into a file of results, one a line, in order, and on from where it was stopped.",
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
