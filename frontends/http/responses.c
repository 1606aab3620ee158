/* /v1/responses: the newer shape of a chat. Nothing is stored: a request brings its whole conversation.
 *
 * The body becomes that of a chat completion, which knows how to read the rest; the answer is told in this shape's own
 * objects and events. */
#include "http/generate.h"

#include "openai/answer.h"

#include <string.h>

typedef enum progress { IN_PROGRESS, COMPLETED, INCOMPLETE } progress;
static const char *const progress_names[] = {"in_progress", "completed", "incomplete"};

typedef struct response {
    generation g;
    json_t *asked; /* the body as it came */
    char message[48];
    int sequence; /* of the next event */
    text whole;   /* the answer so far */
    outgoing out;
} response;

/* --- from the body to that of a chat -------------------------------------------------------------------------------- */

/* Parts of the type input_text or output_text become a chat's. */
static bool convert_content(json_t *message, const json_t *content, size_t index, refusal *why)
{
    if (json_is_string(content))
        return json_object_set(message, "content", (json_t *)content) == 0 || refuse_memory(why);
    if (content && !json_is_array(content))
        return refuse(why, "input", "invalid_value", "input[%zu].content is neither a string nor a list of parts", index);
    json_t *parts = json_array();
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || (strcmp(type, "input_text") != 0 && strcmp(type, "output_text") != 0)) {
            json_decref(parts);
            return refuse(why, "input", "invalid_value", "input[%zu].content[%zu] is not text; other kinds are not supported",
                          index, i);
        }
        parts = openai_push(parts, json_pack("{ss sO?}", "type", "text", "text", json_object_get(part, "text")));
    }
    return json_object_set_new(message, "content", parts) == 0 || refuse_memory(why);
}

static bool convert_item(json_t *messages, const json_t *item, size_t index, refusal *why)
{
    const json_t *given = openai_given(item, "type"), *role = json_object_get(item, "role");
    const char *type = given ? json_string_value(given) : "message";
    if (!type || strcmp(type, "message") != 0 || !json_is_string(role))
        return refuse(why, "input", "invalid_value", "input[%zu] is not a message; other items are not supported", index);
    json_t *message = json_pack("{sO}", "role", role);
    return message && json_array_append_new(messages, message) == 0
               ? convert_content(message, json_object_get(item, "content"), index, why) : refuse_memory(why);
}

static bool convert_input(const json_t *body, json_t *messages, refusal *why)
{
    const json_t *input = openai_given(body, "input"), *instructions = openai_given(body, "instructions");
    if (instructions && !json_is_string(instructions))
        return refuse(why, "instructions", "invalid_value", "instructions is not a string");
    if (instructions && json_array_append_new(messages, json_pack("{ss sO}", "role", "system", "content", instructions)) != 0)
        return refuse_memory(why);
    if (json_is_string(input))
        return json_array_append_new(messages, json_pack("{ss sO}", "role", "user", "content", input)) == 0 || refuse_memory(why);
    if (json_array_size(input) == 0)
        return refuse(why, "input", "invalid_value", "input is not a string or a list of at least one message");
    for (size_t i = 0; i < json_array_size(input); i++)
        if (!convert_item(messages, json_array_get(input, i), i, why))
            return false;
    return true;
}

static bool check_fields(const json_t *body, refusal *why)
{
    static const char *const unsupported[] = {"previous_response_id", "conversation", "prompt", "background", "include",
                                              "reasoning", "max_tool_calls", "top_logprobs"};
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        const json_t *value = openai_given(body, unsupported[i]);
        if (value && !json_is_false(value) && !(json_is_array(value) && json_array_size(value) == 0))
            return refuse(why, unsupported[i], "unsupported", "%s is not supported", unsupported[i]);
    }
    const char *format = json_string_value(json_object_get(json_object_get(openai_given(body, "text"), "format"), "type"));
    if (format && strcmp(format, "text") != 0)
        return refuse(why, "text", "unsupported", "text.format other than text is not supported");
    if (json_array_size(openai_given(body, "tools")) > 0)
        return refuse(why, "tools", "unsupported", "tools are not supported here");
    const char *truncation = json_string_value(openai_given(body, "truncation"));
    if (truncation && strcmp(truncation, "disabled") != 0)
        return refuse(why, "truncation", "unsupported", "truncation other than \"disabled\" is not supported");
    const json_t *most = openai_given(body, "max_output_tokens");
    if (most && (!json_is_integer(most) || json_integer_value(most) < 16))
        return refuse(why, "max_output_tokens", "invalid_value", "max_output_tokens is not a whole number from 16");
    return true;
}

/* A field that is there. */
static bool copy_field(json_t *chat, const char *name, json_t *value)
{
    return !value || json_object_set(chat, name, value) == 0;
}

/* A new reference; NULL with the reason. */
static json_t *convert(const json_t *body, refusal *why)
{
    static const char *const kept[] = {"model", "temperature", "top_p", "stream", "seed", "top_k", "min_p"};
    json_t *chat = json_object(), *messages = json_array();
    if (!chat || json_object_set_new(chat, "messages", messages) != 0) {
        json_decref(chat);
        refuse_memory(why);
        return NULL;
    }
    bool good = true;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        good = good && copy_field(chat, kept[i], json_object_get(body, kept[i]));
    good = good && copy_field(chat, "max_completion_tokens", openai_given(body, "max_output_tokens"));
    if ((good || refuse_memory(why)) && check_fields(body, why) && convert_input(body, messages, why))
        return chat;
    json_decref(chat);
    return NULL;
}

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

static json_t *object_of(const response *r, progress status)
{
    const bp_sampling *s = &r->g.request.request.sampling;
    bool over = status != IN_PROGRESS, cut = status == INCOMPLETE;
    json_t *object = json_pack(
        "{ss ss sI ss sn so ss so so}", "id", r->g.id, "object", "response", "created_at", (json_int_t)r->g.created, "status",
        progress_names[status], "error", "incomplete_details", cut ? json_pack("{ss}", "reason", "max_output_tokens") : json_null(), "model",
        r->g.exchange->model, "output", over ? json_pack("[o]", item_of(r, status)) : json_array(),
        "usage", over ? usage_of(r) : json_null());
    json_t *rest = json_pack(
        "{so so so so so s[] ss sb ss s{s{ss}} sb sn}", "instructions", asked(r, "instructions", json_null()),
        "max_output_tokens", asked(r, "max_output_tokens", json_null()), "metadata", asked(r, "metadata", json_object()),
        "temperature", asked(r, "temperature", json_real((double)s->temperature)), "top_p",
        asked(r, "top_p", json_real((double)s->top_p)), "tools", "tool_choice", "auto", "parallel_tool_calls", 1, "truncation",
        "disabled", "text", "format", "type", "text", "store", 0, "previous_response_id");
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
    return add(r, type, json_pack("{ss si si so}", "item_id", r->message, "output_index", 0, "content_index", 0, key, value));
}

static bool add_item(response *r, const char *type, progress status)
{
    return add(r, type, json_pack("{si so}", "output_index", 0, "item", item_of(r, status)));
}

static bool add_object(response *r, const char *type, progress status)
{
    return add(r, type, json_pack("{so}", "response", object_of(r, status)));
}

static bool begin(response *r)
{
    return add_object(r, "response.created", IN_PROGRESS) && add_object(r, "response.in_progress", IN_PROGRESS) &&
           add_item(r, "response.output_item.added", IN_PROGRESS) &&
           add_part(r, "response.content_part.added", "part", part_of(r));
}

static progress outcome(const response *r)
{
    return r->g.answers[0].finish == BP_FINISH_LENGTH ? INCOMPLETE : COMPLETED;
}

static bool end(response *r)
{
    progress status = outcome(r);
    json_t *whole = openai_text(text_string(&r->whole), r->whole.size);
    json_t *done = json_pack("{ss si si so s[]}", "item_id", r->message, "output_index", 0, "content_index", 0, "text", whole,
                             "logprobs");
    return add(r, "response.output_text.done", done) && add_part(r, "response.content_part.done", "part", part_of(r)) &&
           add_item(r, "response.output_item.done", status) &&
           add_object(r, status == INCOMPLETE ? "response.incomplete" : "response.completed", status);
}

static bool keep(generation *g, answer *a, const bp_event *event)
{
    (void)g, (void)a, (void)event;
    return true;
}

/* Takes the text that came; of a stream also as an event. */
static bool take_text(response *r, bool streamed)
{
    answer *a = &r->g.answers[0];
    if (a->text.size == 0)
        return true;
    json_t *delta = streamed ? openai_text(text_string(&a->text), a->text.size) : NULL;
    bool good = text_append(&r->whole, text_string(&a->text), a->text.size) &&
                (!streamed || add(r, "response.output_text.delta",
                                  json_pack("{ss si si so s[]}", "item_id", r->message, "output_index", 0, "content_index", 0,
                                            "delta", delta, "logprobs")));
    text_clear(&a->text);
    return good || refuse_memory(&r->g.why);
}

static bool fail_stream(response *r)
{
    json_t *error = refusal_json(&r->g.why);
    return add(r, "error", error) && outgoing_send(&r->g, &r->out) && reply_stream_end(r->g.exchange);
}

static void stream(response *r)
{
    generation *g = &r->g;
    bool good = true, begun = false;
    while (good && g->running > 0) {
        good = generation_round(g, keep);
        if (good && !begun && (g->answers[0].text.size || g->running == 0)) {
            good = begin(r) || refuse_memory(&g->why);
            begun = true;
        }
        good = good && take_text(r, true);
        if (good && !outgoing_send(g, &r->out)) {
            generation_lost(g);
            return;
        }
    }
    good = good && (end(r) || refuse_memory(&g->why));
    if (!good && !r->out.begun)
        reply_refused(g->exchange, &g->why);
    else if (!(good ? outgoing_send(g, &r->out) && reply_stream_end(g->exchange) : fail_stream(r)))
        generation_lost(g);
}

static void whole(response *r)
{
    generation *g = &r->g;
    while (g->running > 0) {
        if (!generation_round(g, keep) || !take_text(r, false)) {
            reply_refused(g->exchange, &g->why);
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
    json_t *chat = r.asked ? convert(r.asked, &why) : NULL;
    if (!chat) {
        reply_refused(e, &why);
    } else if (generation_open(&r.g, e, chat, OPENAI_CHAT, "resp_")) {
        memcpy(r.message, "msg_", 4);
        memcpy(r.message + 4, r.g.id + 5, strlen(r.g.id + 5) + 1);
        (r.g.request.stream ? stream : whole)(&r);
        generation_clear(&r.g);
    }
    text_free(&r.whole);
    text_free(&r.out.bytes);
    json_decref(chat);
    json_decref(r.asked);
}
