#include "http/generate.h"

#include "openai/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { ALONE_NS = 100000000, SHARED_NS = 5000000, COMPLETION_TOKENS = 16, IN_FLIGHT = 128, SCORES_IN_FLIGHT = 32, MOST_ANSWERS = 4096,
       MOST_SCORED = 65536 };

static bool out_of_memory(generation *g)
{
    g->failed = true;
    return refuse_memory(&g->why);
}

static bool add_event(generation *g, answer *a, const bp_event *event)
{
    int32_t top = g->request.request.sampling.logprobs;
    if (event->text_bytes && !calls_push(&a->calls, event->text, event->text_bytes, &a->text))
        return out_of_memory(g);
    if (event->kind == BP_EVENT_DONE && !calls_finish(&a->calls, &a->text))
        return out_of_memory(g);
    /* Where the prompt's tokens are listed the answer's are all listed: readers count them from the end. */
    bool ends = event->kind == BP_EVENT_DONE && a->prompt && event->chosen.byte_count > 0;
    json_t *list = event->kind == BP_EVENT_PROMPT ? a->prompt : event->kind == BP_EVENT_TOKEN || ends ? a->logprobs : NULL;
    if (list && json_array_append_new(list, openai_token(g->request.kind, event, top > 0 ? (uint32_t)top : 0)) != 0)
        return out_of_memory(g);
    if (event->kind == BP_EVENT_PROMPT && ++g->scored > MOST_SCORED) {
        g->failed = true;
        return refuse(&g->why, "prompt", "invalid_value", "the prompts have more than %d tokens, too many for the logprobs of one "
                      "request: send them in several", MOST_SCORED);
    }
    if (event->kind == BP_EVENT_TOKEN || event->kind == BP_EVENT_DONE)
        a->likelihood += (double)event->chosen.logprob;
    return true;
}

static void end_answer(generation *g, answer *a)
{
    if (a->stream) {
        g->exchange->server->api->release(a->stream);
        a->stream = NULL;
        g->running--;
    }
}

static bool take_one(generation *g, answer *a, const bp_event *event, take_event take)
{
    bool last = event->kind == BP_EVENT_DONE || event->kind == BP_EVENT_ERROR;
    if (last)
        a->usage = event->usage;
    if (event->kind == BP_EVENT_TOKEN && g->exchange->first_token == 0) {
        const bp_host *host = g->exchange->server->host;
        g->exchange->first_token = (double)(host->now(host->context) - g->exchange->began) / 1e9;
        measures_first_token(&g->exchange->server->measures, g->exchange->first_token);
    }
    a->finish = event->finish;
    if (event->kind == BP_EVENT_ERROR || (event->kind == BP_EVENT_DONE && event->finish == BP_FINISH_CANCELLED)) {
        bp_error why = event->kind == BP_EVENT_ERROR ? event->error
                                                     : (bp_error){BP_ECANCELLED, "the server is shutting down"};
        openai_request_failed(&g->request, &why, &g->why);
        g->failed = true;
        return false;
    }
    bool good = add_event(g, a, event) && take(g, a, event);
    if (last)
        end_answer(g, a);
    return good;
}

/* --- to the engine ------------------------------------------------------------------------------------------------ */

static const bp_stream *any_running(const generation *g)
{
    for (uint32_t i = 0; i < g->submitted; i++)
        if (g->answers[i].stream)
            return g->answers[i].stream;
    return NULL;
}

/* The next answer, with its lists of log-probabilities. */
static bp_status submit_one(generation *g, bp_error *error)
{
    openai_request *r = &g->request;
    answer *a = &g->answers[g->submitted];
    const bool scores = r->request.flags & BP_REQUEST_PROMPT_LOGPROBS;
    bp_request request;
    if (r->kind == OPENAI_TEXT)
        openai_request_choose(r, g->submitted / r->candidates);
    request = r->request;
    request.sampling.seed += g->submitted % r->candidates;
    request.beside = any_running(g);
    *a = (answer){.index = g->submitted, .logprobs = r->logprobs ? json_array() : NULL, .prompt = scores ? json_array() : NULL};
    bp_status status = BP_ENOMEM;
    if ((a->logprobs || !r->logprobs) && (a->prompt || !scores))
        status = client_submit(g->exchange, &request, &a->stream, error);
    if (status == BP_OK) {
        calls_open(&a->calls, r, g->exchange->server->api, g->exchange->server->engine, g->id);
        return status;
    }
    json_decref(a->logprobs);
    json_decref(a->prompt);
    *a = (answer){.index = g->submitted};
    return status;
}

/* A queue that is full is waited for while answers of this request are in it. */
static bool submit_more(generation *g)
{
    const bool scores = g->request.request.flags & BP_REQUEST_PROMPT_LOGPROBS;
    while (g->submitted < g->count && g->running < (scores ? SCORES_IN_FLIGHT : IN_FLIGHT)) {
        bp_error error = {BP_ENOMEM, "out of memory"};
        bp_status status = submit_one(g, &error);
        if (status == BP_EBUSY && g->running > 0)
            return true;
        if (status != BP_OK) {
            openai_request_blame(&g->request, g->exchange->server->api, g->exchange->server->engine, &error, &g->why);
            g->failed = true;
            return false;
        }
        g->submitted++;
        g->running++;
    }
    return true;
}

static bool submit_first(generation *g)
{
    const openai_request *r = &g->request;
    uint64_t count = (uint64_t)r->candidates * (r->kind == OPENAI_TEXT ? r->prompt_count : 1);
    g->answers = calloc((size_t)count, sizeof *g->answers);
    if (!g->answers)
        return out_of_memory(g);
    g->count = (uint32_t)count;
    return submit_more(g);
}

bool generation_round(generation *g, take_event take)
{
    const bp_engine_api *api = g->exchange->server->api;
    uint64_t wait = g->running == 1 ? ALONE_NS : SHARED_NS;
    for (uint32_t i = 0; i < g->submitted; i++) {
        answer *a = &g->answers[i];
        while (a->stream) {
            bp_event event = {.size = sizeof event};
            bp_error error = {0};
            bp_status status = api->next(a->stream, wait, &event, &error);
            wait = 0;
            if (status == BP_ETIMEOUT)
                break;
            if (status != BP_OK) {
                refuse_status(&g->why, &error);
                g->failed = true;
                return false;
            }
            if (!take_one(g, a, &event, take))
                return false;
        }
    }
    return submit_more(g);
}

json_t *generation_usage(const generation *g)
{
    json_int_t prompt = 0, completion = 0, cached = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        const bp_usage *u = &g->answers[i].usage;
        completion += u->completion_tokens;
        if (i % g->request.candidates == 0) {
            prompt += u->prompt_tokens;
            cached += u->cached_tokens;
        }
    }
    return json_pack("{sI sI sI s{sI}}", "prompt_tokens", prompt, "completion_tokens", completion, "total_tokens",
                     prompt + completion, "prompt_tokens_details", "cached_tokens", cached);
}

bool generation_echo(const generation *g, const answer *a, json_t **out)
{
    const http *server = g->exchange->server;
    *out = NULL;
    if (!g->request.echo)
        return true;
    text prompt = {0};
    uint32_t number = (uint32_t)(a - g->answers) / g->request.candidates;
    if (openai_request_echo(&g->request, number, server->api, server->engine, &prompt))
        *out = openai_text(text_string(&prompt), prompt.size);
    text_free(&prompt);
    return *out != NULL;
}

/* --- from the body to the streams --------------------------------------------------------------------------------- */

static bool read_request(generation *g, json_t *body, unsigned kind, refusal *why)
{
    http *server = g->exchange->server;
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    bp_error error = {0};
    if (!openai_given(body, "model"))
        return refuse(why, "model", "invalid_value", "model is missing");
    if (!openai_request_read(&g->request, body, kind, false, server->api, server->engine, NULL, why))
        return false;
    bp_request *r = &g->request.request;
    if (kind == OPENAI_TEXT && (uint64_t)g->request.prompt_count * g->request.candidates > MOST_ANSWERS)
        return refuse(why, g->request.candidates > g->request.answers ? "best_of" : "n", "invalid_value",
                      "%u answers to %u prompts are more than the %d that one request may ask for", g->request.candidates,
                      g->request.prompt_count, MOST_ANSWERS);
    if (kind == OPENAI_TEXT && r->max_tokens == 0 && !(r->flags & BP_REQUEST_NO_ANSWER))
        r->max_tokens = COMPLETION_TOKENS;
    if (server->api->find_model(server->engine, r->model, &index, &error) != BP_OK ||
        server->api->model_info(server->engine, index, &info, &error) != BP_OK) {
        refuse_status(why, &error);
        return false;
    }
    memcpy(g->exchange->model, info.name, sizeof info.name);
    return keys_apply(g->exchange, r, why);
}

static void name_generation(generation *g, const char *prefix)
{
    unsigned char random[12] = {0};
    if (getrandom(random, sizeof random, GRND_NONBLOCK) != sizeof random)
        memcpy(random, g->exchange->id, sizeof random);
    size_t at = (size_t)snprintf(g->id, sizeof g->id, "%s", prefix);
    for (size_t i = 0; i < sizeof random; i++)
        at += (size_t)snprintf(g->id + at, sizeof g->id - at, "%02x", random[i]);
    g->created = time(NULL);
}

/* For the log and the metrics. */
static void note_usage(generation *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        const bp_usage *u = &g->answers[i].usage;
        bp_usage *sum = &g->exchange->usage;
        sum->prompt_tokens += u->prompt_tokens;
        sum->completion_tokens += u->completion_tokens;
        sum->cached_tokens += u->cached_tokens;
        if (u->completion_tokens > 1)
            measures_interval(&g->exchange->server->measures, (double)u->decode_ns / 1e9 / (u->completion_tokens - 1),
                              u->completion_tokens - 1);
    }
}

void generation_clear(generation *g)
{
    note_usage(g);
    for (uint32_t i = 0; i < g->count; i++) {
        end_answer(g, &g->answers[i]);
        text_free(&g->answers[i].text);
        calls_clear(&g->answers[i].calls);
        json_decref(g->answers[i].logprobs);
        json_decref(g->answers[i].prompt);
    }
    free(g->answers);
    openai_request_clear(&g->request);
}

bool generation_open(generation *g, exchange *e, json_t *body, unsigned kind, const char *prefix)
{
    *g = (generation){.exchange = e};
    name_generation(g, prefix);
    if (read_request(g, body, kind, &g->why) && submit_first(g))
        return true;
    generation_clear(g);
    return false;
}

static void generate(exchange *e, unsigned kind)
{
    generation g;
    refusal why;
    json_t *body = body_json(e, &why);
    if (!body) {
        reply_refused(e, &why);
        return;
    }
    if (generation_open(&g, e, body, kind, kind == OPENAI_CHAT ? "chatcmpl-" : "cmpl-")) {
        (g.request.stream ? generation_events : generation_whole)(&g);
        generation_clear(&g);
    } else {
        reply_refused(e, &g.why);
    }
    json_decref(body);
}

void route_chat(exchange *e)
{
    generate(e, OPENAI_CHAT);
}

void route_completions(exchange *e)
{
    generate(e, OPENAI_TEXT);
}
