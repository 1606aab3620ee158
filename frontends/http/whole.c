/* A completion as one JSON object. */
#include "http/generate.h"

#include "openai/answer.h"

static bool keep(generation *g, answer *a, const bp_event *event)
{
    (void)g, (void)a, (void)event;
    return true;
}

static json_t *choice_of(const generation *g, answer *a)
{
    text whole = {0};
    bool good = generation_echo(g, a, &whole) && text_append(&whole, text_string(&a->text), a->text.size);
    json_t *content = good ? openai_text(text_string(&whole), whole.size) : NULL;
    text_free(&whole);
    json_t *logprobs = a->logprobs ? openai_logprobs(g->request.kind, a->logprobs, 0) : json_null();
    const char *reason = openai_finish_reason(a->finish);
    if (g->request.kind == OPENAI_CHAT)
        return json_pack("{si s{ss so sn} so ss}", "index", (int)a->index, "message", "role", "assistant", "content", content,
                         "refusal", "logprobs", logprobs, "finish_reason", reason);
    return json_pack("{si so so ss}", "index", (int)a->index, "text", content, "logprobs", logprobs, "finish_reason", reason);
}

static json_t *response_of(generation *g)
{
    json_t *choices = json_array();
    for (uint32_t i = 0; choices && i < g->count; i++) {
        if (json_array_append_new(choices, choice_of(g, &g->answers[i])) != 0) {
            json_decref(choices);
            choices = NULL;
        }
    }
    const char *object = g->request.kind == OPENAI_CHAT ? "chat.completion" : "text_completion";
    return json_pack("{ss ss sI ss ss so so}", "id", g->id, "object", object, "created", (json_int_t)g->created, "model",
                     g->exchange->model, "system_fingerprint", "backplane", "choices", choices, "usage", generation_usage(g));
}

void generation_whole(generation *g)
{
    exchange *e = g->exchange;
    while (g->running > 0) {
        if (!generation_round(g, keep)) {
            reply_refused(e, &g->why);
            return;
        }
        if (g->running > 0 && client_gone(e)) {
            generation_lost(g);
            return;
        }
    }
    reply_json(e, 200, response_of(g));
}
