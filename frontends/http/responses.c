/* /v1/responses: the newer shape of a chat. Nothing is stored: a request brings its whole conversation.
 *
 * The body becomes that of a chat completion (responses_input.c); the answer is told in this shape's own objects and events.
 * Its items are one message, where there is text or nothing else, and the calls of tools, in the order in which they begin. */
#include "http/generate.h"
#include "http/responses.h"

#include "openai/answer.h"

#include <math.h>
#include <string.h>

typedef enum progress { IN_PROGRESS, COMPLETED, INCOMPLETE } progress;
static const char *const progress_names[] = {"in_progress", "completed", "incomplete"};

typedef struct response {
    generation g;
    json_t *asked; /* the body as it came */
    char message[48];
    int sequence; /* of the next event */
    text whole;   /* the answer's text so far */
    bool opened;  /* there is a message */
    size_t calls_before, calls_told; /* calls that began before it; those whose items a stream was told of */
    outgoing out;
} response;

/* --- objects -------------------------------------------------------------------------------------------------------- */

static json_t *part_of(const response *r)
{
    return json_pack("{ss so s[] s[]}", "type", "output_text", "text", openai_text(text_string(&r->whole), r->whole.size),
                     "annotations", "logprobs");
}

static json_t *item_of(const response *r, progress status)
{
    json_t *content = json_array();
    if (status != IN_PROGRESS)
        content = openai_push(content, part_of(r));
    return json_pack("{ss ss ss ss so}", "type", "message", "id", r->message, "status", progress_names[status], "role", "assistant", "content",
                     content);
}

static json_t *call_item(const call *one, progress status)
{
    bool over = status != IN_PROGRESS;
    return json_pack("{ss so ss ss ss ss%}", "type", "function_call", "id", json_sprintf("fc_%s", one->id), "status",
                     progress_names[over && !one->whole ? INCOMPLETE : status == INCOMPLETE ? COMPLETED : status], "call_id", one->id, "name",
                     one->name, "arguments", text_string(&one->arguments), over ? one->arguments.size : (size_t)0);
}

static int message_index(const response *r)
{
    return (int)r->calls_before;
}

static int call_index(const response *r, size_t number)
{
    return (int)(number + (r->opened && number >= r->calls_before));
}

/* All items of an answer that is over. */
static json_t *output_of(const response *r, progress status)
{
    const calls *c = &r->g.answers[0].calls;
    json_t *list = json_array();
    for (size_t i = 0; i <= c->count; i++) {
        if (r->opened && i == r->calls_before)
            list = openai_push(list, item_of(r, status));
        if (i < c->count)
            list = openai_push(list, call_item(&c->list[i], status));
    }
    return list;
}

static json_t *usage_of(const response *r)
{
    const bp_usage *u = &r->g.answers[0].usage;
    json_int_t in = u->prompt_tokens, out = u->completion_tokens, cached = u->cached_tokens;
    return json_pack("{sI s{sI} sI s{si} sI}", "input_tokens", in, "input_tokens_details", "cached_tokens", cached,
                     "output_tokens", out, "output_tokens_details", "reasoning_tokens", 0, "total_tokens", in + out);
}

static json_t *asked(const response *r, const char *name, json_t *otherwise)
{
    json_t *value = openai_given(r->asked, name);
    if (!value)
        return otherwise;
    json_decref(otherwise);
    return json_incref(value);
}

/* As it was written: 0.95, not the float beside it. */
static json_t *decimal(float value)
{
    return json_real(round((double)value * 1e6) / 1e6);
}

static json_t *object_of(const response *r, progress status)
{
    const bp_sampling *s = &r->g.request.request.sampling;
    bool over = status != IN_PROGRESS, cut = status == INCOMPLETE;
    json_t *object = json_pack(
        "{ss ss sI ss sn so ss so so}", "id", r->g.id, "object", "response", "created_at", (json_int_t)r->g.created, "status",
        progress_names[status], "error", "incomplete_details", cut ? json_pack("{ss}", "reason", "max_output_tokens") : json_null(), "model",
        r->g.exchange->model, "output", over ? output_of(r, status) : json_array(),
        "usage", over ? usage_of(r) : json_null());
    json_t *rest = json_pack(
        "{so so so so so so so so ss so sb sn}", "instructions", asked(r, "instructions", json_null()),
        "max_output_tokens", asked(r, "max_output_tokens", json_null()), "metadata", asked(r, "metadata", json_object()),
        "temperature", asked(r, "temperature", decimal(s->temperature)), "top_p",
        asked(r, "top_p", decimal(s->top_p)), "tools", asked(r, "tools", json_array()), "tool_choice",
        asked(r, "tool_choice", json_string("auto")), "parallel_tool_calls", asked(r, "parallel_tool_calls", json_true()), "truncation",
        "disabled", "text", asked(r, "text", json_pack("{s{ss}}", "format", "type", "text")), "store", 0, "previous_response_id");
    if (!object || !rest || json_object_update(object, rest) != 0) {
        json_decref(object);
        object = NULL;
    }
    json_decref(rest);
    return object;
}

/* --- events --------------------------------------------------------------------------------------------------------- */

/* Adds type and sequence number to the fields of an event, which are taken. */
static bool add(response *r, const char *type, json_t *fields)
{
    if (fields && (json_object_set_new(fields, "type", json_string(type)) != 0 ||
                   json_object_set_new(fields, "sequence_number", json_integer(r->sequence)) != 0)) {
        json_decref(fields);
        return false;
    }
    bool good = outgoing_add(&r->out, type, fields);
    r->sequence += good;
    return good;
}

/* An event about the one part of the one item. */
static bool add_part(response *r, const char *type, const char *key, json_t *value)
{
    return add(r, type, json_pack("{ss si si so}", "item_id", r->message, "output_index", message_index(r), "content_index", 0, key,
                               value));
}

static bool add_item(response *r, const char *type, progress status)
{
    return add(r, type, json_pack("{si so}", "output_index", message_index(r), "item", item_of(r, status)));
}

static bool add_object(response *r, const char *type, progress status)
{
    return add(r, type, json_pack("{so}", "response", object_of(r, status)));
}

static bool begin(response *r)
{
    return add_object(r, "response.created", IN_PROGRESS) && add_object(r, "response.in_progress", IN_PROGRESS);
}

/* The message begins, behind the calls that there are. */
static bool open_message(response *r, bool streamed)
{
    if (r->opened)
        return true;
    r->opened = true;
    r->calls_before = streamed ? r->calls_told : r->g.answers[0].calls.count;
    return !streamed || (add_item(r, "response.output_item.added", IN_PROGRESS) &&
                         add_part(r, "response.content_part.added", "part", part_of(r)));
}

/* An event about a call. */
static bool add_call(response *r, const char *type, size_t number, const char *key, const char *bytes, size_t count)
{
    const call *one = &r->g.answers[0].calls.list[number];
    return add(r, type, json_pack("{so si ss%}", "item_id", json_sprintf("fc_%s", one->id), "output_index", call_index(r, number), key,
                                  bytes, count));
}

static bool add_call_item(response *r, const char *type, size_t number, progress status)
{
    return add(r, type, json_pack("{si so}", "output_index", call_index(r, number), "item",
                                  call_item(&r->g.answers[0].calls.list[number], status)));
}

/* What came of calls. */
static bool tell_calls(response *r)
{
    calls *c = &r->g.answers[0].calls;
    for (size_t i = 0; i < c->count; i++) {
        call *one = &c->list[i];
        size_t more = one->arguments.size - one->told;
        if (!one->begun && (r->calls_told = i + 1, !add_call_item(r, "response.output_item.added", i, IN_PROGRESS)))
            return false;
        one->begun = true;
        if (more && !add_call(r, "response.function_call_arguments.delta", i, "delta", one->arguments.data + one->told, more))
            return false;
        one->told = one->arguments.size;
    }
    return true;
}

static bool end_calls(response *r, progress status)
{
    const calls *c = &r->g.answers[0].calls;
    for (size_t i = 0; i < c->count; i++) {
        const text *arguments = &c->list[i].arguments;
        if (!add_call(r, "response.function_call_arguments.done", i, "arguments", text_string(arguments), arguments->size) ||
            !add_call_item(r, "response.output_item.done", i, status))
            return false;
    }
    return true;
}

static progress outcome(const response *r)
{
    return r->g.answers[0].finish == BP_FINISH_LENGTH ? INCOMPLETE : COMPLETED;
}

static bool end_message(response *r, progress status)
{
    if (!r->opened)
        return true;
    json_t *whole = openai_text(text_string(&r->whole), r->whole.size);
    json_t *done = json_pack("{ss si si so s[]}", "item_id", r->message, "output_index", message_index(r), "content_index", 0, "text",
                             whole, "logprobs");
    return add(r, "response.output_text.done", done) && add_part(r, "response.content_part.done", "part", part_of(r)) &&
           add_item(r, "response.output_item.done", status);
}

static bool end(response *r)
{
    progress status = outcome(r);
    return end_message(r, status) && end_calls(r, status) &&
           add_object(r, status == INCOMPLETE ? "response.incomplete" : "response.completed", status);
}

static bool keep(generation *g, answer *a, const bp_event *event)
{
    (void)g, (void)a, (void)event;
    return true;
}

/* Takes the text that came; of a stream also as an event. An answer of nothing is an empty message. */
static bool take_text(response *r, bool streamed)
{
    answer *a = &r->g.answers[0];
    bool empty = r->g.running == 0 && a->calls.count == 0;
    if ((a->text.size || empty) && !open_message(r, streamed))
        return refuse_memory(&r->g.why);
    if (a->text.size == 0)
        return true;
    json_t *delta = streamed ? openai_text(text_string(&a->text), a->text.size) : NULL;
    bool good = text_append(&r->whole, text_string(&a->text), a->text.size) &&
                (!streamed || add(r, "response.output_text.delta",
                                  json_pack("{ss si si so s[]}", "item_id", r->message, "output_index", message_index(r),
                                            "content_index", 0, "delta", delta, "logprobs")));
    text_clear(&a->text);
    return good || refuse_memory(&r->g.why);
}

/* The chat's field as this shape calls it. */
static void rename_field(refusal *why)
{
    static const struct { const char *chat, *here; } names[] = {
        {"messages", "input"}, {"max_tokens", "max_output_tokens"}, {"response_format", "text"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(why->param, names[i].chat) == 0)
            strcpy(why->param, names[i].here);
}

static void reply_failed(response *r)
{
    rename_field(&r->g.why);
    reply_refused(r->g.exchange, &r->g.why);
}

static bool fail_stream(response *r)
{
    rename_field(&r->g.why);
    json_t *error = refusal_json(&r->g.why);
    return add(r, "error", error) && outgoing_send(&r->g, &r->out) && reply_stream_end(r->g.exchange);
}

static void stream(response *r)
{
    generation *g = &r->g;
    bool good = true, begun = false;
    while (good && g->running > 0) {
        good = generation_round(g, keep);
        if (good && !begun && (g->answers[0].text.size || g->answers[0].calls.count || g->running == 0)) {
            good = begin(r) || refuse_memory(&g->why);
            begun = true;
        }
        good = good && take_text(r, true) && (tell_calls(r) || refuse_memory(&g->why));
        if (good && !outgoing_send(g, &r->out)) {
            generation_lost(g);
            return;
        }
    }
    good = good && (end(r) || refuse_memory(&g->why));
    if (!good && !r->out.begun)
        reply_failed(r);
    else if (!(good ? outgoing_send(g, &r->out) && reply_stream_end(g->exchange) : fail_stream(r)))
        generation_lost(g);
}

static void whole(response *r)
{
    generation *g = &r->g;
    while (g->running > 0) {
        if (!generation_round(g, keep) || !take_text(r, false)) {
            reply_failed(r);
            return;
        }
        if (g->running > 0 && client_gone(g->exchange)) {
            generation_lost(g);
            return;
        }
    }
    reply_json(g->exchange, 200, object_of(r, outcome(r)));
}

void route_responses(exchange *e)
{
    response r = {0};
    refusal why;
    r.asked = body_json(e, &why);
    json_t *chat = r.asked ? response_convert(r.asked, &why) : NULL;
    if (!chat) {
        reply_refused(e, &why);
    } else if (generation_open(&r.g, e, chat, OPENAI_CHAT, "resp_")) {
        memcpy(r.message, "msg_", 4);
        memcpy(r.message + 4, r.g.id + 5, strlen(r.g.id + 5) + 1);
        (r.g.request.stream ? stream : whole)(&r);
        generation_clear(&r.g);
    } else {
        reply_failed(&r);
    }
    text_free(&r.whole);
    text_free(&r.out.bytes);
    json_decref(chat);
    json_decref(r.asked);
}
