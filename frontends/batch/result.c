/* A job's line of the output. Nothing in it depends on time, on neighbours or on how the work was shared out, so that the
 * same input gives the same bytes. */
#include "batch/job.h"
#include "openai/answer.h"

#include <stdlib.h>
#include <string.h>

bool job_add_logprob(job *j, const bp_event *event)
{
    int32_t top = j->body.request.sampling.logprobs;
    json_t *list = event->kind == BP_EVENT_PROMPT ? j->prompt : j->logprobs;
    return json_array_append_new(list, openai_token(j->body.kind, event, top > 0 ? (uint32_t)top : 0)) == 0;
}

bool job_add_embedding(job *j, const bp_event *event)
{
    return json_array_append_new(j->data, openai_embedding(event, j->ended, j->body.base64)) == 0;
}

static bool put_line(job *j, const char *key, json_t *value)
{
    json_t *root = json_pack("{sI ss? so}", "line", (json_int_t)j->line, "custom_id", j->custom_id, key, value);
    text_clear(&j->result);
    j->done = openai_dump(&j->result, root, JSON_REAL_PRECISION(9)) && text_append(&j->result, "\n", 1);
    json_decref(root);
    return j->done;
}

static json_t *choice_of(job *j, const bp_event *last)
{
    json_t *content = openai_text(text_string(&j->answer), j->answer.size);
    if (j->echo && content) {
        json_t *both = json_sprintf("%s%s", json_string_value(j->echo), json_string_value(content));
        json_decref(content);
        content = both;
    }
    json_t *logprobs = j->logprobs ? openai_logprobs(j->body.kind, j->prompt, j->logprobs, openai_length(j->echo)) : json_null();
    const char *reason = openai_finish_reason(last->finish, j->calls.count > 0);
    if (j->body.kind == OPENAI_CHAT)
        return json_pack("{si so so ss}", "index", 0, "message", openai_message(content, &j->calls), "logprobs", logprobs,
                         "finish_reason", reason);
    return json_pack("{si so so ss}", "index", 0, "text", content, "logprobs", logprobs, "finish_reason", reason);
}

bool job_answer(job *j, const bp_event *last)
{
    const bp_usage *u = &last->usage;
    json_int_t prompt = u->prompt_tokens, completion = u->completion_tokens;
    json_t *usage = json_pack("{sI sI sI}", "prompt_tokens", prompt, "completion_tokens", completion, "total_tokens",
                              prompt + completion);
    const char *object = j->body.kind == OPENAI_CHAT ? "chat.completion" : "text_completion";
    return put_line(j, "response", json_pack("{ss ss? s[o] so}", "object", object, "model", j->body.request.model, "choices",
                                             choice_of(j, last), "usage", usage));
}

bool job_answer_embeddings(job *j)
{
    json_int_t tokens = (json_int_t)j->input_tokens;
    return put_line(j, "response", json_pack("{ss ss? sO s{sI sI}}", "object", "list", "model", j->body.request.model, "data",
                                             j->data, "usage", "prompt_tokens", tokens, "total_tokens", tokens));
}

bool job_refuse(job *j, const refusal *why)
{
    j->refused = true;
    return put_line(j, "error", refusal_json(why));
}
