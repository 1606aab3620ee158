#include "openai/request.h"

#include "openai/answer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void openai_request_clear(openai_request *r)
{
    json_decref(r->body);
    json_decref(r->kept);
    free(r->prompts);
    free(r->messages);
    free(r->stops);
    free(r->biases);
    free(r->tokens);
    free(r->stop_tokens);
    *r = (openai_request){0};
}

const char *openai_keep(openai_request *r, const char *bytes, size_t count)
{
    json_t *copy = json_stringn(bytes, count);
    if (!copy || json_array_append_new(r->kept, copy) != 0)
        return NULL;
    return json_string_value(copy);
}

const char *openai_keep_json(openai_request *r, const json_t *value)
{
    text dumped = {0};
    const char *kept = openai_dump(&dumped, value, 0) ? openai_keep(r, dumped.data, dumped.size) : NULL;
    text_free(&dumped);
    return kept;
}

json_t *openai_given(const json_t *body, const char *name)
{
    json_t *value = json_object_get(body, name);
    return json_is_null(value) ? NULL : value;
}

const char *openai_string(const json_t *value)
{
    const char *string = json_string_value(value);
    return string && strlen(string) == json_string_length(value) ? string : NULL;
}

static bool choose_model(openai_request *r, const bp_engine_api *api, bp_engine *engine, const char *model, refusal *why)
{
    const json_t *named = openai_given(r->body, "model");
    if (named && !json_is_string(named))
        return refuse(why, "model", "invalid_value", "model is not a string");
    if (named && !openai_string(named))
        return refuse(why, "model", "model_not_found", "there is no model of that name");
    if (named)
        model = openai_string(named);
    uint32_t index;
    bp_error error = {0};
    if (api->find_model(engine, model, &index, &error) != BP_OK) {
        refuse_status(why, &error);
        return false;
    }
    r->request = (bp_request){.size = sizeof r->request};
    api->defaults(engine, model, &r->request);
    r->request.model = model;
    return true;
}

static bool check_tools(const openai_request *r, refusal *why)
{
    const json_t *tools = openai_given(r->body, "tools");
    bool found = !r->request.tool_name;
    if (r->request.tool_choice != BP_TOOLS_REQUIRED)
        return true;
    for (size_t i = 0; i < json_array_size(tools) && !found; i++) {
        const char *name = json_string_value(json_object_get(json_object_get(json_array_get(tools, i), "function"), "name"));
        found = name && strcmp(name, r->request.tool_name) == 0;
    }
    if (!r->request.tools_json)
        return refuse(why, "tool_choice", "invalid_value", "tool_choice asks for a call, and there are no tools");
    if (!found)
        return refuse(why, "tool_choice", "invalid_value", "tool_choice names the function \"%.64s\", which is not among the tools",
                      r->request.tool_name);
    return !r->shaped_by || refuse(why, "tool_choice", "invalid_value", "tool_choice and %s cannot both shape an answer", r->shaped_by);
}

/* What single fields cannot tell. */
static bool check_whole(const openai_request *r, refusal *why)
{
    const json_t *body = r->body;
    if (r->kind == OPENAI_CHAT && !openai_given(body, "messages"))
        return refuse(why, "messages", "invalid_value", "messages are missing");
    if (r->kind == OPENAI_TEXT && !openai_given(body, "prompt"))
        return refuse(why, "prompt", "invalid_value", "prompt is missing");
    if (r->kind == OPENAI_EMBEDDING && !openai_given(body, "input"))
        return refuse(why, "input", "invalid_value", "input is missing");
    if (openai_given(body, "top_logprobs") && !json_is_true(openai_given(body, "logprobs")))
        return refuse(why, "top_logprobs", "invalid_value", "top_logprobs needs \"logprobs\": true");
    if (!check_tools(r, why))
        return false;
    if (openai_given(body, "stream_options") && !r->stream)
        return refuse(why, "stream_options", "invalid_value", "stream_options needs \"stream\": true");
    if (r->candidates && r->candidates < r->answers)
        return refuse(why, "best_of", "invalid_value", "best_of is %u and n is %u: it must not be less", r->candidates,
                      r->answers);
    if (r->candidates > r->answers && r->stream)
        return refuse(why, "best_of", "invalid_value", "best_of is chosen of whole answers, which cannot be streamed");
    return true;
}

/* What follows from several fields together. */
static void settle(openai_request *r)
{
    int32_t *logprobs = &r->request.sampling.logprobs;
    if (r->no_tools)
        r->request.tools_json = NULL;
    if (r->request.tools_json && !r->shaped_by)
        r->shaped_by = "tools";
    if (r->candidates == 0)
        r->candidates = r->answers;
    if (r->candidates > r->answers && *logprobs < 0)
        *logprobs = 0;
    if (r->echo && r->logprobs)
        r->request.flags |= BP_REQUEST_PROMPT_LOGPROBS;
    r->request.task = r->kind == OPENAI_EMBEDDING ? BP_TASK_EMBED : BP_TASK_GENERATE;
}

static bool read_body(openai_request *r, bool strict, refusal *why)
{
    const char *key;
    json_t *value;
    json_object_foreach(r->body, key, value)
        if (!json_is_null(value) && !openai_read_field(r, key, value, strict, why))
            return false;
    return check_whole(r, why);
}

bool openai_request_read(openai_request *r, json_t *body, unsigned kind, bool strict, const bp_engine_api *api,
                         bp_engine *engine, const char *model, refusal *why)
{
    *r = (openai_request){.kind = kind, .answers = 1, .body = json_incref(body), .kept = json_array()};
    bool good = r->kept || refuse_memory(why);
    if (good && choose_model(r, api, engine, model, why) && read_body(r, strict, why)) {
        if (kind != OPENAI_CHAT)
            openai_request_choose(r, 0);
        settle(r);
        return true;
    }
    openai_request_clear(r);
    return false;
}

static void blame_grammar(const openai_request *r, const bp_error *error, refusal *why)
{
    if (error->code == BP_EGRAMMAR && r->shaped_by)
        snprintf(why->param, sizeof why->param, "%s", r->shaped_by);
}

void openai_request_refused(const openai_request *r, const bp_error *error, refusal *why)
{
    refuse_status(why, error);
    blame_grammar(r, error, why);
}

void openai_request_failed(const openai_request *r, const bp_error *error, refusal *why)
{
    refuse_failure(why, error);
    blame_grammar(r, error, why);
}

void openai_request_choose(openai_request *r, uint32_t prompt)
{
    const openai_prompt *p = &r->prompts[prompt];
    r->request.input = p->text ? BP_INPUT_TEXT : BP_INPUT_TOKENS;
    r->request.text = p->text;
    r->request.text_bytes = p->bytes;
    r->request.tokens = p->tokens;
    r->request.token_count = p->count;
}

bool openai_request_echo(const openai_request *r, uint32_t prompt, const bp_engine_api *api, bp_engine *engine, text *out)
{
    const openai_prompt *p = &r->prompts[prompt];
    if (p->text)
        return text_append(out, p->text, p->bytes);
    const char *model = r->request.model;
    uint64_t bytes = 0;
    if (api->detokenize(engine, model, p->tokens, p->count, NULL, 0, &bytes, NULL) != BP_OK || bytes >= SIZE_MAX / 2)
        return false;
    char *words = malloc((size_t)bytes + 1);
    bool good = words && api->detokenize(engine, model, p->tokens, p->count, words, bytes, &bytes, NULL) == BP_OK &&
                text_append(out, words, (size_t)bytes);
    free(words);
    return good;
}

/* A field of token ids that the model does not have; NULL if there is none. */
static const char *foreign_ids(const openai_request *r, uint32_t vocabulary)
{
    const bp_sampling *s = &r->request.sampling;
    for (uint32_t i = 0; i < s->logit_bias_count; i++)
        if ((uint32_t)s->logit_bias[i].token >= vocabulary)
            return "logit_bias";
    for (uint32_t i = 0; i < r->request.stop_token_count; i++)
        if ((uint32_t)r->request.stop_tokens[i] >= vocabulary)
            return "stop_token_ids";
    return NULL;
}

void openai_request_blame(const openai_request *r, const bp_engine_api *api, bp_engine *engine, const bp_error *error,
                          refusal *why)
{
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    openai_request_refused(r, error, why);
    refuse_blame(why, r->body);
    if (*why->param || (error->code != BP_EINVAL && error->code != BP_EUNSUPPORTED && error->code != BP_ECONTEXT &&
                        error->code != BP_ELIMIT))
        return;
    const char *param = r->kind == OPENAI_CHAT ? "messages" : r->kind == OPENAI_TEXT ? "prompt" : "input", *ids;
    bool known = api->find_model(engine, r->request.model, &index, NULL) == BP_OK &&
                 api->model_info(engine, index, &info, NULL) == BP_OK && info.state == BP_MODEL_READY;
    if (known && info.task != r->request.task)
        param = "model";
    else if (known && r->request.task == BP_TASK_GENERATE && (ids = foreign_ids(r, info.vocab_size)))
        param = ids;
    snprintf(why->param, sizeof why->param, "%s", param);
}
