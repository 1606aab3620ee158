/* /tokenize, /detokenize, /apply-template and /tokenizer_info: text and ids as a model sees them.
 *
 * Two dialects are spoken, told apart by the field that has the text: `content`, plain unless switches say otherwise, and
 * `prompt`, in which special tokens are read and before which the model's first token stands unless they do. */
#include "http/http.h"

#include "openai/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The body and the model that it names, NULL for the only one; false after replying. */
static bool open_body(exchange *e, json_t **body, const char **model)
{
    refusal why;
    *body = body_json(e, &why);
    if (!*body) {
        reply_refused(e, &why);
        return false;
    }
    const json_t *named = openai_given(*body, "model");
    *model = openai_string(named);
    uint32_t index;
    bp_error error = {0};
    if (*model || (!named && e->server->api->find_model(e->server->engine, NULL, &index, &error) == BP_OK))
        return true;
    if (!named)
        refuse(&why, "model", "invalid_value", "%s", error.message);
    else if (json_is_string(named))
        refuse(&why, "model", "model_not_found", "there is no model of that name");
    else
        refuse(&why, "model", "invalid_value", "model is no name");
    reply_refused(e, &why);
    json_decref(*body);
    return false;
}

/* `field` is to blame where the request is. */
static void reply_error(exchange *e, const bp_error *error, const char *field)
{
    refusal why;
    refuse_status(&why, error);
    if (!*why.param && (error->code == BP_EINVAL || error->code == BP_ELIMIT))
        snprintf(why.param, sizeof why.param, "%s", field);
    reply_refused(e, &why);
}

static void refuse_field(exchange *e, const char *name, const char *expected)
{
    refusal why;
    refuse(&why, name, "invalid_value", "%s is not %s", name, expected);
    reply_refused(e, &why);
}

/* A switch of the body, where it is given; false where it is none, after replying. */
static bool read_switch(exchange *e, const json_t *body, const char *name, bool *out)
{
    const json_t *value = openai_given(body, name);
    if (!value)
        return true;
    *out = json_is_true(value);
    if (json_is_boolean(value))
        return true;
    refuse_field(e, name, "true or false");
    return false;
}

/* As text at once: a list of values would be many times its size. */
static void reply_ids(exchange *e, const int32_t *ids, uint64_t count)
{
    text out = {0};
    char id[16];
    bool good = text_append(&out, "{\"tokens\":[", 11);
    for (uint64_t i = 0; good && i < count; i++)
        good = text_append(&out, id, (size_t)snprintf(id, sizeof id, "%s%d", i ? "," : "", ids[i]));
    good = good && text_append(&out, "]}", 2);
    if (good)
        reply_bytes(e, 200, "application/json", "", out.data, out.size);
    else
        reply_json(e, 200, NULL);
    text_free(&out);
}

static void tokenize(exchange *e, const json_t *body, const char *model)
{
    http *server = e->server;
    const json_t *content = openai_given(body, "content"), *prompt = openai_given(body, "prompt");
    if (content && prompt) {
        refuse_field(e, "prompt", "possible beside content: it is another name for it");
        return;
    }
    content = content ? content : prompt;
    if (!json_is_string(content)) {
        refuse_field(e, prompt ? "prompt" : "content", "a string");
        return;
    }
    bool special = prompt, parse = prompt;
    if (!read_switch(e, body, "add_special", &special) || !read_switch(e, body, "add_special_tokens", &special) ||
        !read_switch(e, body, "parse_special", &parse))
        return;
    uint32_t flags = (special ? (uint32_t)BP_TOKENIZE_BOS : 0) | (parse ? (uint32_t)BP_TOKENIZE_SPECIAL : 0);
    const char *words = json_string_value(content);
    uint64_t bytes = json_string_length(content), capacity = bytes + 8, count = 0;
    int32_t *ids = calloc((size_t)capacity, sizeof *ids);
    bp_error error = {BP_ENOMEM, "out of memory"};
    if (!ids || server->api->tokenize(server->engine, model, words, bytes, flags, ids, capacity, &count, &error) != BP_OK)
        reply_error(e, &error, prompt ? "prompt" : "content");
    else
        reply_ids(e, ids, count < capacity ? count : capacity);
    free(ids);
}

static void detokenize(exchange *e, const json_t *body, const char *model)
{
    http *server = e->server;
    const json_t *tokens = openai_given(body, "tokens");
    size_t count = json_array_size(tokens);
    if (!json_is_array(tokens)) {
        refuse_field(e, "tokens", "a list of token ids");
        return;
    }
    int32_t *ids = calloc(count + 1, sizeof *ids);
    char *words = NULL;
    uint64_t bytes = 0;
    bp_error error = {BP_ENOMEM, "out of memory"};
    bool good = ids != NULL;
    for (size_t i = 0; good && i < count; i++) {
        json_int_t id = json_integer_value(json_array_get(tokens, i));
        if (!json_is_integer(json_array_get(tokens, i)) || id < 0 || id > INT32_MAX) {
            refuse_field(e, "tokens", "a list of token ids");
            free(ids);
            return;
        }
        ids[i] = (int32_t)id;
    }
    good = good && server->api->detokenize(server->engine, model, ids, count, NULL, 0, &bytes, &error) == BP_OK;
    if (good && bytes > server->config->body_limit) {
        error.code = BP_ELIMIT;
        snprintf(error.message, sizeof error.message, "these tokens are a text of %llu bytes, which is over body_limit",
                 (unsigned long long)bytes);
        good = false;
    }
    good = good && (words = malloc((size_t)bytes + 1)) &&
           server->api->detokenize(server->engine, model, ids, count, words, bytes, &bytes, &error) == BP_OK;
    if (good)
        reply_json(e, 200, json_pack("{so so}", "content", openai_text(words, (size_t)bytes), "prompt",
                                     openai_text(words, (size_t)bytes)));
    else
        reply_error(e, &error, "tokens");
    free(words);
    free(ids);
}

static void apply_template(exchange *e, json_t *body)
{
    http *server = e->server;
    openai_request r;
    refusal why;
    if (!openai_request_read(&r, body, OPENAI_CHAT, false, server->api, server->engine, NULL, &why)) {
        reply_refused(e, &why);
        return;
    }
    uint64_t bytes = 0;
    bp_error error = {BP_ENOMEM, "out of memory"};
    char *words = NULL;
    if (server->api->render(server->engine, &r.request, NULL, 0, &bytes, &error) == BP_OK && bytes < SIZE_MAX / 2 &&
        (words = malloc((size_t)bytes + 1)) &&
        server->api->render(server->engine, &r.request, words, bytes, &bytes, &error) == BP_OK)
        reply_json(e, 200, json_pack("{so}", "prompt", openai_text(words, (size_t)bytes)));
    else
        reply_error(e, &error, "messages");
    free(words);
    openai_request_clear(&r);
}

void route_tokenize(exchange *e)
{
    json_t *body;
    const char *model;
    if (open_body(e, &body, &model)) {
        tokenize(e, body, model);
        json_decref(body);
    }
}

void route_detokenize(exchange *e)
{
    json_t *body;
    const char *model;
    if (open_body(e, &body, &model)) {
        detokenize(e, body, model);
        json_decref(body);
    }
}

void route_apply_template(exchange *e)
{
    json_t *body;
    const char *model;
    if (open_body(e, &body, &model)) {
        apply_template(e, body);
        json_decref(body);
    }
}

/* A token's spelling; null where the model has no such token. */
static json_t *spell(const exchange *e, const char *model, int32_t token)
{
    const http *server = e->server;
    char words[256];
    uint64_t bytes = 0;
    if (token < 0 || server->api->detokenize(server->engine, model, &token, 1, words, sizeof words, &bytes, NULL) != BP_OK ||
        bytes > sizeof words)
        return json_null();
    return openai_text(words, (size_t)bytes);
}

/* ?model=NAME, or the only one. */
void route_tokenizer_info(exchange *e)
{
    http *server = e->server;
    const char *query = e->info->query_string;
    char name[256];
    int length = query ? mg_get_var(query, strlen(query), "model", name, sizeof name) : -1;
    const char *model = length >= 0 ? name : NULL;
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    bp_error error = {0};
    if (length < -1) {
        refuse_field(e, "model", "the name of a model");
    } else if (server->api->find_model(server->engine, model, &index, &error) != BP_OK ||
               server->api->load(server->engine, model, NULL, NULL, &error) != BP_OK ||
               server->api->model_info(server->engine, index, &info, &error) != BP_OK) {
        reply_error(e, &error, "model");
    } else {
        json_t *begin = spell(e, info.name, info.bos_token), *end = spell(e, info.name, info.eos_token);
        reply_json(e, 200, json_pack("{ss so so sI sI}", "model", info.name, "bos_token", begin, "eos_token", end, "vocab_size",
                                     (json_int_t)info.vocab_size, "model_max_length", (json_int_t)info.context));
    }
}
