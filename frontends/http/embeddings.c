/* /v1/embeddings: a vector for each input. Inputs are submitted as others end, so that a request of thousands does not fill the
 * model's queue; the vectors come back in the order of the inputs. */
#include "http/http.h"

#include "openai/answer.h"

#include <stdlib.h>
#include <string.h>

enum { IN_FLIGHT = 64, WAIT_NS = 100000000 };

typedef struct embeddings {
    exchange *exchange;
    openai_request request;
    bp_stream **streams; /* [prompt_count]; NULL before it is submitted and after it ended */
    json_t **vectors;    /* [prompt_count] */
    uint32_t submitted, running;
    refusal why;
} embeddings;

static bp_stream *any_running(const embeddings *m)
{
    for (uint32_t i = 0; i < m->submitted; i++)
        if (m->streams[i])
            return m->streams[i];
    return NULL;
}

/* A queue that is full is waited for while inputs of this request are in it. */
static bool submit_more(embeddings *m)
{
    const http *server = m->exchange->server;
    while (m->submitted < m->request.prompt_count && m->running < IN_FLIGHT) {
        bp_error error = {0};
        openai_request_choose(&m->request, m->submitted);
        m->request.request.beside = any_running(m);
        bp_status status = server->api->submit(server->engine, &m->request.request, &m->streams[m->submitted], &error);
        if (status == BP_EBUSY && m->running > 0)
            return true;
        if (status != BP_OK) {
            m->streams[m->submitted] = NULL;
            openai_request_blame(&m->request, server->api, server->engine, &error, &m->why);
            return false;
        }
        m->submitted++;
        m->running++;
    }
    return true;
}

static bool take(embeddings *m, uint32_t index, const bp_event *event)
{
    if (event->kind == BP_EVENT_EMBEDDING) {
        m->vectors[index] = openai_embedding(event, index, m->request.base64);
        return m->vectors[index] || refuse_memory(&m->why);
    }
    if (event->kind != BP_EVENT_DONE && event->kind != BP_EVENT_ERROR)
        return true;
    m->exchange->usage.prompt_tokens += event->usage.prompt_tokens;
    m->exchange->server->api->release(m->streams[index]);
    m->streams[index] = NULL;
    m->running--;
    if (event->kind == BP_EVENT_DONE && m->vectors[index])
        return true;
    bp_error cancelled = {BP_ECANCELLED, "the server is shutting down"};
    refuse_failure(&m->why, event->kind == BP_EVENT_ERROR ? &event->error : &cancelled);
    return false;
}

/* Takes the events that are there, waiting a while for the first. */
static bool take_round(embeddings *m)
{
    const bp_engine_api *api = m->exchange->server->api;
    uint64_t wait = WAIT_NS;
    for (uint32_t i = 0; i < m->submitted; i++) {
        while (m->streams[i]) {
            bp_event event = {.size = sizeof event};
            bp_error error = {0};
            bp_status status = api->next(m->streams[i], wait, &event, &error);
            wait = 0;
            if (status == BP_ETIMEOUT)
                break;
            if (status != BP_OK) {
                refuse_status(&m->why, &error);
                return false;
            }
            if (!take(m, i, &event))
                return false;
        }
    }
    return true;
}

static json_t *response_of(embeddings *m)
{
    json_t *data = json_array();
    json_int_t tokens = m->exchange->usage.prompt_tokens;
    for (uint32_t i = 0; data && i < m->request.prompt_count; i++)
        json_array_append(data, m->vectors[i]);
    return json_pack("{ss so ss s{sI sI}}", "object", "list", "data", data, "model", m->exchange->model, "usage",
                     "prompt_tokens", tokens, "total_tokens", tokens);
}

static void run(embeddings *m)
{
    exchange *e = m->exchange;
    m->streams = calloc(m->request.prompt_count, sizeof(bp_stream *));
    m->vectors = calloc(m->request.prompt_count, sizeof(json_t *));
    bool good = (m->streams && m->vectors) || refuse_memory(&m->why);
    while (good && (m->running > 0 || m->submitted < m->request.prompt_count)) {
        good = submit_more(m) && take_round(m);
        if (good && m->running > 0 && client_gone(e)) {
            e->status = 499;
            mg_disable_connection_keep_alive(e->connection);
            return;
        }
    }
    if (good)
        reply_json(e, 200, response_of(m));
    else
        reply_refused(e, &m->why);
}

static bool read(embeddings *m, json_t *body)
{
    http *server = m->exchange->server;
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    if (!openai_given(body, "model"))
        return refuse(&m->why, "model", "invalid_value", "model is missing");
    if (!openai_request_read(&m->request, body, OPENAI_EMBEDDING, false, server->api, server->engine, NULL, &m->why))
        return false;
    m->request.request.salt = keys_tenant(m->exchange);
    if (server->api->find_model(server->engine, m->request.request.model, &index, NULL) == BP_OK &&
        server->api->model_info(server->engine, index, &info, NULL) == BP_OK)
        memcpy(m->exchange->model, info.name, sizeof info.name);
    return true;
}

void route_embeddings(exchange *e)
{
    embeddings m = {.exchange = e};
    json_t *body = body_json(e, &m.why);
    if (!body || !read(&m, body))
        reply_refused(e, &m.why);
    else
        run(&m);
    for (uint32_t i = 0; i < m.request.prompt_count; i++) {
        if (m.streams && m.streams[i])
            e->server->api->release(m.streams[i]);
        if (m.vectors)
            json_decref(m.vectors[i]);
    }
    free(m.streams);
    free(m.vectors);
    openai_request_clear(&m.request);
    json_decref(body);
}
