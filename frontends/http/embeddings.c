/* /v1/embeddings: a vector for each input, in the order of the inputs. */
#include "http/vectors.h"

#include "openai/answer.h"

#include <stdlib.h>
#include <string.h>

typedef struct embeddings {
    const http *server;
    openai_request request;
    json_t **entries; /* [prompt_count] of the response's data */
} embeddings;

static void choose(void *user, uint32_t index)
{
    embeddings *m = user;
    openai_request_choose(&m->request, index);
}

static bool keep(void *user, uint32_t index, const bp_event *event)
{
    embeddings *m = user;
    m->entries[index] = openai_embedding(event, index, m->request.base64);
    return m->entries[index] != NULL;
}

static void blame(void *user, const bp_error *error, refusal *why)
{
    embeddings *m = user;
    openai_request_blame(&m->request, m->server->api, m->server->engine, error, why);
}

static json_t *response_of(const embeddings *m, const exchange *e)
{
    json_t *data = json_array();
    json_int_t tokens = e->usage.prompt_tokens;
    for (uint32_t i = 0; data && i < m->request.prompt_count; i++)
        data = openai_push(data, json_incref(m->entries[i]));
    return json_pack("{ss so ss s{sI sI}}", "object", "list", "data", data, "model", e->model, "usage", "prompt_tokens", tokens,
                     "total_tokens", tokens);
}

static void run(embeddings *m, exchange *e)
{
    vectors v = {.exchange = e, .request = &m->request.request, .count = m->request.prompt_count, .user = m,
                 .choose = choose, .keep = keep, .blame = blame};
    m->entries = calloc(m->request.prompt_count, sizeof(json_t *));
    int end = m->entries || refuse_memory(&v.why) ? vectors_run(&v) : VECTORS_REFUSED;
    if (end == VECTORS_DONE)
        reply_json(e, 200, response_of(m, e));
    else
        vectors_reply(&v, end);
    vectors_clear(&v);
}

static bool read(embeddings *m, exchange *e, json_t *body, refusal *why)
{
    http *server = e->server;
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    if (!openai_given(body, "model"))
        return refuse(why, "model", "invalid_value", "model is missing");
    if (!openai_request_read(&m->request, body, OPENAI_EMBEDDING, false, server->api, server->engine, NULL, why))
        return false;
    if (!keys_apply(e, &m->request.request, why))
        return false;
    if (server->api->find_model(server->engine, m->request.request.model, &index, NULL) == BP_OK &&
        server->api->model_info(server->engine, index, &info, NULL) == BP_OK)
        memcpy(e->model, info.name, sizeof info.name);
    return true;
}

void route_embeddings(exchange *e)
{
    embeddings m = {.server = e->server};
    refusal why;
    json_t *body = body_json(e, &why);
    if (!body || !read(&m, e, body, &why))
        reply_refused(e, &why);
    else
        run(&m, e);
    for (uint32_t i = 0; m.entries && i < m.request.prompt_count; i++)
        json_decref(m.entries[i]);
    free(m.entries);
    openai_request_clear(&m.request);
    json_decref(body);
}
