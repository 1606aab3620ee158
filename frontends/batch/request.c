/* A line of the input as a request: {"custom_id", "body": {…}}, or the body alone. */
#include "batch/job.h"

#include "openai/answer.h"

#include <stdlib.h>
#include <string.h>

void job_clear(job *j)
{
    openai_request_clear(&j->body);
    json_decref(j->json);
    json_decref(j->logprobs);
    json_decref(j->prompt);
    json_decref(j->echo);
    json_decref(j->data);
    free(j->streams);
    text_free(&j->answer);
    calls_clear(&j->calls);
    text_free(&j->result);
    *j = (job){0};
}

static bool check_url(const json_t *url, unsigned kind, refusal *why)
{
    const char *expected = kind == OPENAI_CHAT   ? "/v1/chat/completions"
                           : kind == OPENAI_TEXT ? "/v1/completions"
                                                 : "/v1/embeddings";
    const char *text_of = json_string_value(url);
    if (!url || (text_of && strcmp(text_of, expected) == 0))
        return true;
    return refuse(why, "url", "unknown_url", "url is not %s, which the body is for", expected);
}

static bool is_beside_body(const char *key)
{
    return strcmp(key, "custom_id") == 0 || strcmp(key, "body") == 0 || strcmp(key, "method") == 0 || strcmp(key, "url") == 0;
}

/* *body is a new reference to the object that has the request's fields. */
static bool open_envelope(job *j, json_t **body, refusal *why)
{
    json_t *id = json_object_get(j->json, "custom_id");
    if (json_is_string(id))
        j->custom_id = json_string_value(id);
    else if (id && !json_is_null(id))
        return refuse(why, "custom_id", "invalid_value", "custom_id is not a string");
    json_t *inner = json_object_get(j->json, "body");
    if (!inner) {
        *body = openai_copy(j->json);
        return (*body && (!id || json_object_del(*body, "custom_id") == 0)) || refuse_memory(why);
    }
    if (!json_is_object(inner))
        return refuse(why, "body", "invalid_value", "body is not an object");
    const char *key;
    json_t *value;
    json_object_foreach(j->json, key, value)
        if (!is_beside_body(key))
            return refuse(why, key, "unknown_parameter", "there is no field \"%.64s\" beside body", key);
    *body = json_incref(inner);
    return true;
}

/* What a line cannot ask for: it has one answer, and is written when that is whole. */
static bool check_single(const openai_request *r, refusal *why)
{
    if (r->answers != 1)
        return refuse(why, "n", "invalid_value", "n is not 1: give the line several times");
    if (r->candidates != 1)
        return refuse(why, "best_of", "invalid_value", "best_of is not 1: give the line several times");
    if (r->stream)
        return refuse(why, "stream", "invalid_value", "stream is not false: results are whole lines");
    if (r->prompt_count > 1 && r->kind == OPENAI_TEXT)
        return refuse(why, "prompt", "invalid_value", "prompt is a list of prompts: give each its own line");
    return true;
}

bool job_echo(job *j, const bp_engine_api *api, bp_engine *engine)
{
    text prompt = {0};
    if (openai_request_echo(&j->body, 0, api, engine, &prompt))
        j->echo = openai_text(text_string(&prompt), prompt.size);
    text_free(&prompt);
    return j->echo != NULL;
}

static bool parse_body(job *j, json_t *body, const bp_engine_api *api, bp_engine *engine, const char *model, refusal *why)
{
    const json_t *messages = openai_given(body, "messages"), *prompt = openai_given(body, "prompt");
    const json_t *input = openai_given(body, "input");
    if (!messages && !prompt && !input)
        return refuse(why, "messages", "invalid_value", "there are neither messages nor a prompt nor an input");
    if (messages && prompt)
        return refuse(why, "prompt", "invalid_value", "there are both messages and a prompt");
    if (input && (messages || prompt))
        return refuse(why, "input", "invalid_value", "there are both an input and %s", messages ? "messages" : "a prompt");
    unsigned kind = messages ? OPENAI_CHAT : prompt ? OPENAI_TEXT : OPENAI_EMBEDDING;
    if (!check_url(json_object_get(j->json, "body") ? json_object_get(j->json, "url") : NULL, kind, why) ||
        !openai_request_read(&j->body, body, kind, true, api, engine, model, why) || !check_single(&j->body, why))
        return false;
    j->count = kind == OPENAI_EMBEDDING ? j->body.prompt_count : 1;
    j->streams = calloc(j->count, sizeof(bp_stream *));
    j->logprobs = j->body.logprobs ? json_array() : NULL;
    j->prompt = j->body.logprobs && j->body.echo ? json_array() : NULL;
    j->data = kind == OPENAI_EMBEDDING ? json_array() : NULL;
    bool enough = j->streams && (j->logprobs || !j->body.logprobs) && (j->prompt || !j->logprobs || !j->body.echo) &&
                  (j->data || kind != OPENAI_EMBEDDING);
    return enough || refuse_memory(why);
}

bool job_parse(job *j, const char *line, size_t bytes, const bp_engine_api *api, bp_engine *engine, const char *model,
               refusal *why)
{
    json_error_t at;
    json_t *body = NULL;
    bool memory;
    j->json = openai_load(line, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at, &memory);
    if (memory)
        return refuse_memory(why);
    if (!j->json)
        return refuse(why, "", "invalid_json", "the line is not JSON: column %d, %.200s", at.column, at.text);
    if (!json_is_object(j->json))
        return refuse(why, "", "invalid_json", "the line is not a JSON object");
    bool good = open_envelope(j, &body, why) && parse_body(j, body, api, engine, model, why);
    json_decref(body);
    return good;
}
