/* A job's line of the output. Nothing in it depends on time, on neighbours or on how the work was shared out, so that the
 * same input gives the same bytes. */
#include "batch/job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- log-probabilities -------------------------------------------------------------------------------------------- */

/* A token's bytes are not always text. */
static json_t *token_text(const bp_token_logprob *t)
{
    text clean = {0};
    json_t *string =
        text_append_clean(&clean, t->bytes, t->byte_count) ? json_stringn(text_string(&clean), clean.size) : NULL;
    text_free(&clean);
    return string;
}

static json_t *token_number(float logprob)
{
    return json_real(isfinite(logprob) ? (double)logprob : -9999.0);
}

static json_t *token_bytes(const bp_token_logprob *t)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < t->byte_count; i++)
        json_array_append_new(list, json_integer((unsigned char)t->bytes[i]));
    return list;
}

static json_t *describe(const bp_token_logprob *t)
{
    return json_pack("{so so so}", "token", token_text(t), "logprob", token_number(t->logprob), "bytes", token_bytes(t));
}

bool job_add_logprob(job *j, const bp_event *event)
{
    json_t *entry = describe(&event->chosen), *top = json_array();
    bool good = entry && top;
    uint32_t wanted = j->request.sampling.logprobs > 0 ? (uint32_t)j->request.sampling.logprobs : 0;
    for (uint32_t i = 0; good && i < event->top_count && i < wanted; i++)
        good = json_array_append_new(top, describe(&event->top[i])) == 0;
    if (!good) {
        json_decref(entry);
        json_decref(top);
        return false;
    }
    return json_object_set_new(entry, "top_logprobs", top) == 0 && json_array_append_new(j->logprobs, entry) == 0;
}

/* The older shape of plain completions, made of the same entries. */
static json_t *flatten(const json_t *entries)
{
    json_t *tokens = json_array(), *numbers = json_array(), *tops = json_array();
    for (size_t i = 0; i < json_array_size(entries); i++) {
        const json_t *entry = json_array_get(entries, i), *top = json_object_get(entry, "top_logprobs");
        json_array_append(tokens, json_object_get(entry, "token"));
        json_array_append(numbers, json_object_get(entry, "logprob"));
        json_t *named = json_object();
        for (size_t k = 0; k < json_array_size(top); k++) {
            const json_t *other = json_array_get(top, k);
            const char *name = json_string_value(json_object_get(other, "token"));
            if (name && !json_object_get(named, name))
                json_object_set(named, name, json_object_get(other, "logprob"));
        }
        json_array_append_new(tops, named);
    }
    return json_pack("{so so so}", "tokens", tokens, "token_logprobs", numbers, "top_logprobs", tops);
}

static json_t *logprobs_of(job *j)
{
    if (!j->logprobs)
        return json_null();
    return j->chat ? json_pack("{sO}", "content", j->logprobs) : flatten(j->logprobs);
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static bool put_line(job *j, const char *key, json_t *value)
{
    json_t *root = json_pack("{sI ss? so}", "line", (json_int_t)j->line, "custom_id", j->custom_id, key, value);
    char *bytes = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    text_clear(&j->result);
    j->done = bytes && text_append(&j->result, bytes, strlen(bytes)) && text_append(&j->result, "\n", 1);
    free(bytes);
    return j->done;
}

static json_t *choice_of(job *j, const bp_event *last)
{
    const char *reason = last->finish == BP_FINISH_LENGTH ? "length" : "stop";
    text clean = {0}; /* NUL is no text in JSON for most who read it */
    bool enough = text_append_clean(&clean, text_string(&j->answer), j->answer.size);
    json_t *content = enough ? json_stringn(text_string(&clean), clean.size) : NULL;
    text_free(&clean);
    if (j->chat)
        return json_pack("{si s{ss so} so ss}", "index", 0, "message", "role", "assistant", "content", content, "logprobs",
                         logprobs_of(j), "finish_reason", reason);
    return json_pack("{si so so ss}", "index", 0, "text", content, "logprobs", logprobs_of(j), "finish_reason", reason);
}

bool job_answer(job *j, const bp_event *last)
{
    const bp_usage *u = &last->usage;
    json_int_t prompt = u->prompt_tokens, completion = u->completion_tokens;
    json_t *usage = json_pack("{sI sI sI}", "prompt_tokens", prompt, "completion_tokens", completion, "total_tokens",
                              prompt + completion);
    return put_line(j, "response", json_pack("{ss ss? s[o] so}", "object", j->chat ? "chat.completion" : "text_completion",
                                             "model", j->request.model, "choices", choice_of(j, last), "usage", usage));
}

bool job_refuse(job *j, const refusal *why)
{
    text message = {0}, param = {0}; /* cut or quoted in the middle of a character, maybe */
    bool enough = text_append_clean(&message, why->message, strlen(why->message)) &&
                  text_append_clean(&param, why->param, strlen(why->param));
    enough = enough && put_line(j, "error",
                                json_pack("{ss ss ss? ss?}", "message", text_string(&message), "type", why->type, "param",
                                          param.size ? param.data : NULL, "code", why->code));
    text_free(&message);
    text_free(&param);
    j->refused = true;
    return enough;
}
