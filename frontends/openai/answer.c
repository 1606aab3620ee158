#include "openai/answer.h"

#include "common/text.h"
#include "openai/request.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *openai_text(const char *bytes, size_t count)
{
    text clean = {0};
    json_t *string = text_append_clean(&clean, bytes, count) ? json_stringn(text_string(&clean), clean.size) : NULL;
    text_free(&clean);
    return string;
}

static json_t *bytes_of(const bp_token_logprob *t)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < t->byte_count; i++)
        list = openai_push(list, json_integer((unsigned char)t->bytes[i]));
    return list;
}

/* JSON has no infinity. */
static json_t *number_of(const bp_token_logprob *t)
{
    return json_real(isfinite(t->logprob) ? (double)t->logprob : -9999.0);
}

static json_t *describe(const bp_token_logprob *t)
{
    return json_pack("{so so so}", "token", openai_text(t->bytes, t->byte_count), "logprob", number_of(t), "bytes", bytes_of(t));
}

static json_t *token_of_chat(const bp_event *event, uint32_t top)
{
    json_t *entry = describe(&event->chosen), *list = json_array();
    for (uint32_t i = 0; list && i < event->top_count && i < top; i++)
        list = openai_push(list, describe(&event->top[i]));
    if (!entry || !list || json_object_set(entry, "top_logprobs", list) != 0) {
        json_decref(entry);
        entry = NULL;
    }
    json_decref(list);
    return entry;
}

/* Adds a token's log-probability under its name; of tokens of one name the first stays. NULL where *named* was or becomes it. */
static json_t *name_token(json_t *named, const bp_token_logprob *t)
{
    json_t *name = named ? openai_text(t->bytes, t->byte_count) : NULL;
    const char *key = json_string_value(name);
    bool good = key && (json_object_get(named, key) || json_object_set_new(named, key, number_of(t)) == 0);
    json_decref(name);
    if (!good)
        json_decref(named);
    return good ? named : NULL;
}

/* Bytes that begin a character. */
static size_t characters_of(const char *bytes, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += ((unsigned char)bytes[i] & 0xC0) != 0x80;
    return count;
}

/* A request may have a million of these: no more than its lists need. The token itself is among its alternatives. */
static json_t *token_of_text(const bp_event *event, uint32_t top)
{
    const bp_token_logprob *t = &event->chosen;
    bool known = event->kind != BP_EVENT_PROMPT || event->position > 0;
    json_t *named = known ? json_object() : json_null();
    for (uint32_t i = 0; known && i < event->top_count && i < top; i++)
        named = name_token(named, &event->top[i]);
    if (known)
        named = name_token(named, t);
    return json_pack("{so so so si}", "token", openai_text(t->bytes, t->byte_count), "logprob", known ? number_of(t) : json_null(),
                     "top_logprobs", named, "characters", (int)characters_of(t->bytes, t->byte_count));
}

json_t *openai_token(unsigned kind, const bp_event *event, uint32_t top)
{
    return kind == OPENAI_CHAT ? token_of_chat(event, top) : token_of_text(event, top);
}

static size_t length_of(const json_t *entry)
{
    return (size_t)json_integer_value(json_object_get(entry, "characters"));
}

size_t openai_characters(const json_t *entries)
{
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(entries); i++)
        count += length_of(json_array_get(entries, i));
    return count;
}

size_t openai_length(const json_t *string)
{
    return characters_of(json_string_value(string), json_string_length(string));
}

/* Parallel lists of entries: tokens, token_logprobs, top_logprobs, text_offset. */
typedef struct lists {
    json_t *tokens, *numbers, *tops, *offsets;
} lists;

/* Once a list is NULL it stays so, and json_pack refuses it. */
static void add_entry(lists *l, const json_t *entry, size_t offset)
{
    l->tokens = openai_push(l->tokens, json_incref(json_object_get(entry, "token")));
    l->numbers = openai_push(l->numbers, json_incref(json_object_get(entry, "logprob")));
    l->tops = openai_push(l->tops, json_incref(json_object_get(entry, "top_logprobs")));
    l->offsets = openai_push(l->offsets, json_integer((json_int_t)offset));
}

/* The prompt's tokens may have more characters than its text: a beginning of text that was put before it, a space that is
 * part of the first word. They stand before all others. */
static json_t *flatten(const json_t *prompt, const json_t *entries, size_t offset)
{
    lists l = {json_array(), json_array(), json_array(), json_array()};
    size_t total = openai_characters(prompt), more = total > offset ? total - offset : 0, at = 0;
    for (size_t i = 0; i < json_array_size(prompt); i++) {
        const json_t *entry = json_array_get(prompt, i);
        add_entry(&l, entry, at > more ? at - more : 0);
        at += length_of(entry);
    }
    for (size_t i = 0; i < json_array_size(entries); i++) {
        const json_t *entry = json_array_get(entries, i);
        add_entry(&l, entry, offset);
        offset += length_of(entry);
    }
    return json_pack("{so so so so}", "tokens", l.tokens, "token_logprobs", l.numbers, "top_logprobs", l.tops, "text_offset",
                     l.offsets);
}

json_t *openai_logprobs(unsigned kind, const json_t *prompt, const json_t *entries, size_t offset)
{
    return kind == OPENAI_CHAT ? json_pack("{sO}", "content", entries) : flatten(prompt, entries, offset);
}

const char *openai_finish_reason(uint32_t finish, bool called)
{
    return finish == BP_FINISH_LENGTH ? "length" : called ? "tool_calls" : "stop";
}

json_t *openai_message(json_t *content, const calls *called)
{
    bool empty = called->count && json_string_length(content) == 0;
    json_t *message = json_pack("{ss so sn}", "role", "assistant", "content", empty ? json_incref(json_null()) : json_incref(content),
                                "refusal");
    json_decref(content);
    if (message && called->count && json_object_set_new(message, "tool_calls", calls_json(called)) != 0) {
        json_decref(message);
        message = NULL;
    }
    return message;
}

/* Little-endian, whatever this machine is. */
static json_t *base64_of(const float *values, uint32_t count)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t bytes = (size_t)count * 4, room = (bytes + 2) / 3 * 4;
    char *out = malloc(room + 1), *at = out;
    uint32_t bits = 0, held = 0;
    for (size_t i = 0; out && i < bytes; i++) {
        uint32_t number;
        memcpy(&number, &values[i / 4], sizeof number);
        bits = bits << 8 | (number >> (8 * (i % 4)) & 0xFF);
        for (held += 8; held >= 6; held -= 6)
            *at++ = alphabet[bits >> (held - 6) & 0x3F];
    }
    if (out && held)
        *at++ = alphabet[bits << (6 - held) & 0x3F];
    while (out && at < out + room)
        *at++ = '=';
    json_t *string = out ? json_stringn(out, room) : NULL;
    free(out);
    return string;
}

json_t *openai_embedding(const bp_event *event, uint32_t index, bool base64)
{
    json_t *vector = base64 ? base64_of(event->embedding, event->embedding_width) : json_array();
    for (uint32_t i = 0; !base64 && vector && i < event->embedding_width; i++)
        vector = openai_push(vector, json_real((double)event->embedding[i]));
    return json_pack("{ss si so}", "object", "embedding", "index", (int)index, "embedding", vector);
}
