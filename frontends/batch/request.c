/* A line of the input as a request: {"custom_id", "body": {…}}, or the body alone. */
#include "batch/job.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool refuse(refusal *why, const char *param, const char *code, const char *format, ...)
{
    *why = (refusal){.type = "invalid_request_error", .code = code};
    snprintf(why->param, sizeof why->param, "%s", param);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why->message, sizeof why->message, format, arguments);
    va_end(arguments);
    return false;
}

void refuse_status(refusal *why, const bp_error *error)
{
    const char *code = NULL;
    bool ours = false;
    switch (error->code) {
    case BP_EINVAL: code = "invalid_value"; break;
    case BP_EUNSUPPORTED: code = "unsupported"; break;
    case BP_ENOTFOUND: code = "model_not_found"; break;
    case BP_ELIMIT: code = "context_length_exceeded"; break;
    case BP_ETIMEOUT: code = "timeout"; ours = true; break;
    default: code = "internal_error"; ours = true;
    }
    refuse(why, error->code == BP_ENOTFOUND ? "model" : "", code, "%s", error->message);
    if (ours)
        why->type = "server_error";
}

void job_clear(job *j)
{
    json_decref(j->json);
    json_decref(j->kept);
    json_decref(j->logprobs);
    free(j->messages);
    free(j->stops);
    free(j->biases);
    free(j->tokens);
    text_free(&j->answer);
    text_free(&j->result);
    *j = (job){0};
}

/* --- the envelope ------------------------------------------------------------------------------------------------- */

static bool check_url(const json_t *url, refusal *why)
{
    const char *text_of = json_string_value(url);
    if (!url || (text_of && (strcmp(text_of, "/v1/chat/completions") == 0 || strcmp(text_of, "/v1/completions") == 0)))
        return true;
    return refuse(why, "url", "unknown_url", "url is not /v1/chat/completions or /v1/completions");
}

static bool is_beside_body(const char *key)
{
    return strcmp(key, "custom_id") == 0 || strcmp(key, "body") == 0 || strcmp(key, "method") == 0 || strcmp(key, "url") == 0;
}

/* *body is the object that has the request's fields. */
static bool open_envelope(job *j, json_t **body, refusal *why)
{
    json_t *id = json_object_get(j->json, "custom_id");
    if (json_is_string(id))
        j->custom_id = json_string_value(id);
    else if (id && !json_is_null(id))
        return refuse(why, "custom_id", "invalid_value", "custom_id is not a string");
    *body = json_object_get(j->json, "body");
    if (!*body) {
        *body = j->json;
        return true;
    }
    if (!json_is_object(*body))
        return refuse(why, "body", "invalid_value", "body is not an object");
    const char *key;
    json_t *value;
    json_object_foreach(j->json, key, value)
        if (!is_beside_body(key))
            return refuse(why, key, "unknown_parameter", "there is no field \"%.64s\" beside body", key);
    return check_url(json_object_get(j->json, "url"), why);
}

static bool choose_model(job *j, const json_t *body, const bp_engine_api *api, bp_engine *engine, const char *model,
                         refusal *why)
{
    json_t *named = json_object_get(body, "model");
    if (named && !json_is_string(named) && !json_is_null(named))
        return refuse(why, "model", "invalid_value", "model is not a string");
    if (json_is_string(named))
        model = json_string_value(named);
    uint32_t index;
    bp_error error = {0};
    if (api->find_model(engine, model, &index, &error) != BP_OK) {
        refuse_status(why, &error);
        return false;
    }
    j->request = (bp_request){.size = sizeof j->request};
    api->defaults(engine, model, &j->request);
    j->request.model = model;
    return true;
}

/* A field that is null is as good as none. */
static const json_t *given(const json_t *body, const char *name)
{
    const json_t *value = json_object_get(body, name);
    return json_is_null(value) ? NULL : value;
}

/* What single fields cannot tell. */
static bool check_whole(const job *j, const json_t *body, refusal *why)
{
    const json_t *messages = given(body, "messages"), *prompt = given(body, "prompt");
    if (!messages && !prompt)
        return refuse(why, "messages", "invalid_value", "there are neither messages nor a prompt");
    if (messages && prompt)
        return refuse(why, "prompt", "invalid_value", "there are both messages and a prompt");
    if (given(body, "top_logprobs") && !json_is_true(given(body, "logprobs")))
        return refuse(why, "top_logprobs", "invalid_value", "top_logprobs needs \"logprobs\": true");
    if (!j->chat && (given(body, "tools") || given(body, "chat_template_kwargs")))
        return refuse(why, "prompt", "invalid_value",
                      "a prompt has no chat template, and so neither tools nor its variables");
    return true;
}

bool job_parse(job *j, const char *line, size_t bytes, const bp_engine_api *api, bp_engine *engine, const char *model,
               refusal *why)
{
    json_error_t at;
    json_t *body = NULL, *value;
    const char *key;
    j->json = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &at);
    if (!j->json)
        return refuse(why, "", "invalid_json", "the line is not JSON: column %d, %.200s", at.column, at.text);
    if (!json_is_object(j->json))
        return refuse(why, "", "invalid_json", "the line is not a JSON object");
    if (!open_envelope(j, &body, why) || !choose_model(j, body, api, engine, model, why))
        return false;
    j->kept = json_array();
    if (!j->kept)
        return refuse(why, "", "internal_error", "out of memory");
    j->chat = given(body, "messages") != NULL;
    if (!check_whole(j, body, why))
        return false;
    json_object_foreach(body, key, value)
        if (!json_is_null(value) && !job_read_field(j, key, value, why))
            return false;
    return true;
}
