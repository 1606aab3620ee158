/* /v1/rerank and /rerank: documents in the order of how well they answer to a query, as Cohere's and Jina's clients read it. Texts
 * in `texts` instead of `documents` are Text Embeddings Inference's, whose clients read a bare list. */
#include "http/vectors.h"

#include "openai/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DOCUMENTS = 2048 };

typedef struct scored {
    uint32_t index;
    float score;
} scored;

typedef struct rerank {
    bp_request request;
    bp_message pair[2];
    json_t *texts;   /* borrowed: [count] documents as they came */
    scored *results; /* [count] */
    uint32_t count, top;
    bool bare, documents; /* Text Embeddings Inference's shape; with the texts */
} rerank;

/* A document's text: a string, or the one of an object. */
static json_t *text_of(json_t *document)
{
    return json_is_object(document) ? openai_given(document, "text") : document;
}

static void choose(void *user, uint32_t index)
{
    rerank *m = user;
    const json_t *document = text_of(json_array_get(m->texts, index));
    m->pair[1] = (bp_message){.content = json_string_value(document), .content_bytes = json_string_length(document)};
}

static bool keep(void *user, uint32_t index, const bp_event *event)
{
    rerank *m = user;
    m->results[index] = (scored){index, event->embedding[0]};
    return true;
}

static void blame(void *user, const bp_error *error, refusal *why)
{
    const rerank *m = user;
    refuse_status(why, error);
    if (error->code == BP_EUNSUPPORTED)
        memcpy(why->param, "model", sizeof "model");
    else if (error->code == BP_ECONTEXT || error->code == BP_ELIMIT || error->code == BP_EINVAL)
        snprintf(why->param, sizeof why->param, "%s", m->bare ? "texts" : "documents");
}

/* The best first; of equals the one that came first. */
static int compare(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static json_t *entry_of(const rerank *m, const scored *s)
{
    json_t *words = text_of(json_array_get(m->texts, s->index));
    const char *score = m->bare ? "score" : "relevance_score";
    if (!m->documents)
        return json_pack("{si sf}", "index", (int)s->index, score, (double)s->score);
    if (m->bare)
        return json_pack("{si sf sO}", "index", (int)s->index, score, (double)s->score, "text", words);
    return json_pack("{si sf s{sO}}", "index", (int)s->index, score, (double)s->score, "document", "text", words);
}

static json_t *response_of(rerank *m, const exchange *e)
{
    json_t *list = json_array();
    json_int_t tokens = e->usage.prompt_tokens;
    qsort(m->results, m->count, sizeof *m->results, compare);
    for (uint32_t i = 0; list && i < m->top; i++)
        list = openai_push(list, entry_of(m, &m->results[i]));
    if (m->bare)
        return list;
    return json_pack("{ss ss ss so s{sI sI}}", "id", e->id, "object", "list", "model", e->model, "results", list, "usage",
                     "prompt_tokens", tokens, "total_tokens", tokens);
}

static void run(rerank *m, exchange *e)
{
    vectors v = {.exchange = e, .request = &m->request, .count = m->count, .user = m, .choose = choose, .keep = keep,
                 .blame = blame};
    m->results = calloc(m->count, sizeof *m->results);
    int end = m->results || refuse_memory(&v.why) ? vectors_run(&v) : VECTORS_REFUSED;
    if (end == VECTORS_DONE)
        reply_json(e, 200, response_of(m, e));
    else
        vectors_reply(&v, end);
    vectors_clear(&v);
    free(m->results);
}

/* --- the body --------------------------------------------------------------------------------------------------------- */

static bool read_model(rerank *m, exchange *e, const json_t *body, refusal *why)
{
    http *server = e->server;
    const json_t *named = openai_given(body, "model");
    const char *model = openai_string(named);
    uint32_t index;
    bp_error error = {0};
    bp_model_info info = {.size = sizeof info};
    if (!json_is_string(named))
        return refuse(why, "model", "invalid_value", named ? "model is not a string" : "model is missing");
    if (!model)
        return refuse(why, "model", "model_not_found", "there is no model of that name");
    if (server->api->find_model(server->engine, model, &index, &error) != BP_OK) {
        refuse_status(why, &error);
        return false;
    }
    m->request.size = sizeof m->request;
    server->api->defaults(server->engine, model, &m->request);
    m->request.model = model;
    m->request.task = BP_TASK_RANK;
    m->request.input = BP_INPUT_MESSAGES;
    m->request.messages = m->pair;
    m->request.message_count = 2;
    m->request.salt = keys_tenant(e);
    if (server->api->model_info(server->engine, index, &info, NULL) == BP_OK)
        memcpy(e->model, info.name, sizeof info.name);
    return true;
}

static bool read_texts(rerank *m, const json_t *body, refusal *why)
{
    const json_t *query = openai_given(body, "query");
    json_t *documents = openai_given(body, "documents"), *texts = openai_given(body, "texts");
    const char *name = documents || !texts ? "documents" : "texts";
    if (!json_is_string(query))
        return refuse(why, "query", "invalid_value", query ? "query is not a string" : "query is missing");
    if (documents && texts)
        return refuse(why, "texts", "invalid_value", "there are both documents and texts");
    m->texts = documents ? documents : texts;
    m->bare = texts;
    m->count = m->top = (uint32_t)json_array_size(m->texts);
    if (m->count == 0 || json_array_size(m->texts) > MAX_DOCUMENTS)
        return refuse(why, name, "invalid_value", "%s is not a list of 1 to %d texts", name, MAX_DOCUMENTS);
    for (uint32_t i = 0; i < m->count; i++)
        if (!json_is_string(text_of(json_array_get(m->texts, i))))
            return refuse(why, name, "invalid_value", "%s[%u] is neither a string nor an object with a text", name, i);
    m->pair[0] = (bp_message){.content = json_string_value(query), .content_bytes = json_string_length(query)};
    return true;
}

static bool read_switch(const json_t *body, const char *name, bool *out, refusal *why)
{
    const json_t *value = openai_given(body, name);
    *out = json_is_true(value);
    return !value || json_is_boolean(value) || refuse(why, name, "invalid_value", "%s is not true or false", name);
}

static bool read_rest(rerank *m, const json_t *body, refusal *why)
{
    const json_t *top = openai_given(body, "top_n");
    bool truncate, raw;
    if (top && (!json_is_integer(top) || json_integer_value(top) < 1))
        return refuse(why, "top_n", "invalid_value", "top_n is not a whole number from 1 on");
    if (top && json_integer_value(top) < m->top)
        m->top = (uint32_t)json_integer_value(top);
    if (!read_switch(body, m->bare ? "return_text" : "return_documents", &m->documents, why) ||
        !read_switch(body, "truncate", &truncate, why))
        return false;
    if (!read_switch(body, "raw_scores", &raw, why))
        return false;
    if (raw)
        return refuse(why, "raw_scores", "unsupported", "raw_scores is not supported: scores are the model's own");
    m->request.flags |= truncate ? (uint32_t)BP_REQUEST_TRUNCATE : 0;
    return true;
}

void route_rerank(exchange *e)
{
    rerank m = {0};
    refusal why;
    json_t *body = body_json(e, &why);
    if (!body || !read_model(&m, e, body, &why) || !read_texts(&m, body, &why) || !read_rest(&m, body, &why))
        reply_refused(e, &why);
    else
        run(&m, e);
    json_decref(body);
}
