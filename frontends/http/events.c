/* A completion as server-sent events. Tokens that are ready together go out in one write.
 *
 * The response begins with the first event of the engine, so that a request which never starts is refused with a status of
 * its own. Afterwards a failure is an event. */
#include "http/generate.h"

#include "openai/answer.h"

#include <stdlib.h>
#include <string.h>

bool outgoing_add(outgoing *o, const char *name, json_t *value)
{
    text *out = &o->bytes;
    size_t before = out->size;
    bool good = (!name || (text_append(out, "event: ", 7) && text_append(out, name, strlen(name)) && text_append(out, "\n", 1))) &&
                text_append(out, "data: ", 6) && openai_dump(out, value, JSON_REAL_PRECISION(9)) && text_append(out, "\n\n", 2);
    json_decref(value);
    if (!good)
        text_cut(out, before);
    return good;
}

static json_t *chunk_of(const generation *g, json_t *choices, json_t *usage)
{
    const char *object = g->request.kind == OPENAI_CHAT ? "chat.completion.chunk" : "text_completion";
    json_t *chunk = json_pack("{ss ss sI ss ss so}", "id", g->id, "object", object, "created", (json_int_t)g->created, "model",
                              g->exchange->model, "system_fingerprint", "backplane", "choices", choices);
    if (!chunk || !g->request.include_usage) {
        json_decref(usage);
    } else if (json_object_set_new(chunk, "usage", usage ? usage : json_null()) != 0) {
        json_decref(chunk);
        chunk = NULL;
    }
    return chunk;
}

/* A choice of this much text; `delta` of a chat. */
static json_t *choice_of(const generation *g, const answer *a, json_t *delta, json_t *content, json_t *logprobs,
                         const char *reason)
{
    if (g->request.kind == OPENAI_CHAT) {
        json_decref(content);
        return json_pack("{si so so ss?}", "index", (int)a->index, "delta", delta, "logprobs", logprobs, "finish_reason", reason);
    }
    json_decref(delta);
    return json_pack("{si so so ss?}", "index", (int)a->index, "text", content, "logprobs", logprobs, "finish_reason", reason);
}

static bool add_choice(const generation *g, const answer *a, outgoing *out, json_t *delta, json_t *content, json_t *logprobs,
                       const char *reason)
{
    return outgoing_add(out, NULL, chunk_of(g, json_pack("[o]", choice_of(g, a, delta, content, logprobs, reason)), NULL));
}

/* The role of a chat; the prompt of a text completion that echoes it. */
static bool open_answer(generation *g, answer *a, outgoing *out)
{
    a->begun = true;
    if (g->request.kind == OPENAI_CHAT)
        return add_choice(g, a, out, json_pack("{ss ss sn}", "role", "assistant", "content", "", "refusal"), NULL, json_null(),
                          NULL);
    json_t *prompt;
    if (!generation_echo(g, a, &prompt))
        return false;
    if (!prompt)
        return true;
    a->characters = openai_length(prompt);
    return add_choice(g, a, out, NULL, prompt, a->prompt ? openai_logprobs(OPENAI_TEXT, a->prompt, NULL, a->characters) : json_null(),
                      NULL);
}

/* What came since the last round. */
static bool flush_answer(generation *g, answer *a, outgoing *out)
{
    size_t entries = json_array_size(a->logprobs);
    if (a->text.size == 0 && entries == 0)
        return true;
    json_t *content = openai_text(text_string(&a->text), a->text.size);
    json_t *logprobs = a->logprobs ? openai_logprobs(g->request.kind, NULL, a->logprobs, a->characters) : json_null();
    a->characters += openai_characters(a->logprobs);
    text_clear(&a->text);
    if (a->logprobs) { /* the chunk holds the old list */
        json_decref(a->logprobs);
        a->logprobs = json_array();
    }
    return add_choice(g, a, out, json_pack("{sO}", "content", content), content, logprobs, NULL);
}

/* What came of calls, which are behind the text. */
static bool flush_calls(generation *g, answer *a, outgoing *out)
{
    for (;;) {
        json_t *piece;
        if (!calls_delta(&a->calls, &piece))
            return false;
        if (!piece)
            return true;
        if (!add_choice(g, a, out, json_pack("{s[o]}", "tool_calls", piece), NULL, json_null(), NULL))
            return false;
    }
}

static bool close_answer(generation *g, answer *a, outgoing *out)
{
    return add_choice(g, a, out, json_object(), json_string(""), json_null(),
                      openai_finish_reason(a->finish, a->calls.count > 0));
}

static bool note(generation *g, answer *a, const bp_event *event)
{
    (void)g, (void)a, (void)event;
    return true;
}

/* Makes the chunks of a round. `before` says which answers ran when it began. */
static bool collect(generation *g, outgoing *out)
{
    for (uint32_t i = 0; i < g->count; i++) {
        answer *a = &g->answers[i];
        bool over = !a->stream && a->finish != 0;
        bool some = a->text.size || json_array_size(a->logprobs) || a->calls.count || over;
        if (!a->begun && some && !open_answer(g, a, out))
            return refuse_memory(&g->why);
        if (!flush_answer(g, a, out) || !flush_calls(g, a, out))
            return refuse_memory(&g->why);
        if (over) {
            if (!close_answer(g, a, out))
                return refuse_memory(&g->why);
            a->finish = 0; /* told */
        }
    }
    return true;
}

bool outgoing_send(generation *g, outgoing *o)
{
    exchange *e = g->exchange;
    if (o->bytes.size == 0)
        return !client_gone(e);
    bool good = (o->begun || reply_stream_begin(e)) && reply_stream_write(e, &o->bytes);
    o->begun = true;
    text_clear(&o->bytes);
    return good;
}

void generation_lost(generation *g)
{
    client_left(g->exchange);
}

static void finish(generation *g, outgoing *o, bool failed)
{
    exchange *e = g->exchange;
    json_t *usage = !failed && g->request.include_usage ? generation_usage(g) : NULL;
    if (!failed && g->request.include_usage && !(usage && outgoing_add(o, NULL, chunk_of(g, json_array(), usage))))
        failed = !refuse_memory(&g->why);
    if (failed && !o->begun) {
        reply_refused(e, &g->why);
        return;
    }
    bool good = !failed || outgoing_add(o, NULL, json_pack("{so}", "error", refusal_json(&g->why)));
    static const char done[] = "data: [DONE]\n\n";
    if (!good || !text_append(&o->bytes, done, sizeof done - 1) || !outgoing_send(g, o) || !reply_stream_end(e))
        generation_lost(g);
}

void generation_events(generation *g)
{
    outgoing out = {0};
    bool good = true;
    while (good && generation_going(g)) {
        good = generation_round(g, note) && collect(g, &out);
        if (good && !outgoing_send(g, &out)) {
            generation_lost(g);
            text_free(&out.bytes);
            return;
        }
    }
    finish(g, &out, !good);
    text_free(&out.bytes);
}
