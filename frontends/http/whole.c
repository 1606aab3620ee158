/* A completion as one JSON object. */
#include "http/generate.h"

#include "openai/answer.h"

#include <stdlib.h>

static bool keep(generation *g, answer *a, const bp_event *event)
{
    (void)g, (void)a, (void)event;
    return true;
}

/* The text of an answer, behind its prompt where that is echoed; *offset: characters of the prompt. */
static json_t *content_of(const generation *g, const answer *a, size_t *offset)
{
    json_t *prompt, *own = openai_text(text_string(&a->text), a->text.size);
    *offset = 0;
    bool good = generation_echo(g, a, &prompt) && own;
    if (!good || !prompt) {
        json_decref(prompt);
        return good ? own : (json_decref(own), NULL);
    }
    *offset = openai_length(prompt);
    json_t *both = json_sprintf("%s%s", json_string_value(prompt), json_string_value(own));
    json_decref(prompt);
    json_decref(own);
    return both;
}

static json_t *choice_of(const generation *g, answer *a)
{
    size_t offset;
    json_t *content = content_of(g, a, &offset);
    json_t *logprobs = a->logprobs ? openai_logprobs(g->request.kind, a->prompt, a->logprobs, offset) : json_null();
    const char *reason = openai_finish_reason(a->finish, a->calls.count > 0);
    if (g->request.kind == OPENAI_CHAT)
        return json_pack("{si so so ss}", "index", (int)a->index, "message", openai_message(content, &a->calls), "logprobs",
                         logprobs, "finish_reason", reason);
    return json_pack("{si so so ss}", "index", (int)a->index, "text", content, "logprobs", logprobs, "finish_reason", reason);
}

/* By the mean log-probability of their tokens, the end's included; the most likely first, equal ones by their seeds. */
static int compare_answers(const void *left, const void *right)
{
    const answer *a = *(const answer *const *)left, *b = *(const answer *const *)right;
    double x = a->likelihood / (a->usage.completion_tokens ? a->usage.completion_tokens : 1);
    double y = b->likelihood / (b->usage.completion_tokens ? b->usage.completion_tokens : 1);
    return x != y ? (x < y ? 1 : -1) : (a->index > b->index) - (a->index < b->index);
}

/* Appends the choices of one prompt, whose candidates begin at `first`. */
static bool append_choices(generation *g, uint32_t first, json_t *choices)
{
    const openai_request *r = &g->request;
    answer **order = malloc(r->candidates * sizeof *order);
    for (uint32_t i = 0; order && i < r->candidates; i++)
        order[i] = &g->answers[first + i];
    if (order && r->candidates > r->answers)
        qsort(order, r->candidates, sizeof *order, compare_answers);
    bool good = order != NULL;
    for (uint32_t i = 0; good && i < r->answers; i++) {
        order[i]->index = (uint32_t)json_array_size(choices);
        good = json_array_append_new(choices, choice_of(g, order[i])) == 0;
    }
    free(order);
    return good;
}

static json_t *response_of(generation *g)
{
    json_t *choices = json_array();
    for (uint32_t first = 0; choices && first < g->count; first += g->request.candidates) {
        if (!append_choices(g, first, choices)) {
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
    while (generation_going(g)) {
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
