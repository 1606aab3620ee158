/* The messages of a chat, and the lists of text parts that a message's content may be. */
#include "openai/request.h"

#include "common/text.h"

#include <stdlib.h>
#include <string.h>

/* The texts of [{"type": "text", "text": …}, …] as one. */
static bool join_parts(openai_request *r, const json_t *parts, size_t message, refusal *why)
{
    text joined = {0};
    bool good = true;
    for (size_t i = 0; good && i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i), *content = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || strcmp(type, "text") != 0 || !json_is_string(content))
            good = refuse(why, "messages", "invalid_value",
                          "messages[%zu].content[%zu] is not a text part; other kinds are not supported", message, i);
        else if (!text_append(&joined, json_string_value(content), json_string_length(content)))
            good = refuse_memory(why);
    }
    if (good) {
        bp_message *m = &r->messages[message];
        m->content = openai_keep(r, text_string(&joined), joined.size);
        m->content_bytes = joined.size;
        good = m->content || refuse_memory(why);
    }
    text_free(&joined);
    return good;
}

static bool refuse_part(size_t message, const char *key, refusal *why)
{
    return refuse(why, "messages", "invalid_value", "messages[%zu].%.40s is unknown or not what it should be", message, key);
}

static bool read_part(openai_request *r, size_t index, const char *key, const json_t *value, refusal *why)
{
    bp_message *m = &r->messages[index];
    const struct { const char *name, **out; } words[] = {
        {"role", &m->role}, {"name", &m->name}, {"tool_call_id", &m->tool_call_id}};
    if (strcmp(key, "content") == 0 && json_is_array(value))
        return join_parts(r, value, index, why);
    if (strcmp(key, "content") == 0) {
        m->content = json_string_value(value);
        m->content_bytes = json_string_length(value);
        return m->content || refuse_part(index, key, why);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(key, words[i].name) != 0)
            continue;
        *words[i].out = openai_string(value);
        return *words[i].out || refuse_part(index, key, why);
    }
    if (strcmp(key, "tool_calls") != 0 || !json_is_array(value))
        return refuse_part(index, key, why);
    m->tool_calls_json = openai_keep_json(r, value);
    return m->tool_calls_json || refuse_memory(why);
}

/* OpenAI's roles, and two that templates add. A template that does not know a role passes over its message, or writes it as it is. */
static bool is_role(const char *role)
{
    static const char *const known[] = {"system", "developer", "user", "assistant", "tool", "function", "ipython", "model"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(role, known[i]) == 0)
            return true;
    return false;
}

static bool read_message(openai_request *r, size_t index, json_t *message, refusal *why)
{
    const char *key;
    json_t *value;
    if (!json_is_object(message))
        return refuse(why, "messages", "invalid_value", "messages[%zu] is not an object", index);
    json_object_foreach(message, key, value)
        if (!json_is_null(value) && !read_part(r, index, key, value, why))
            return false;
    const char *role = r->messages[index].role;
    if (!role || !*role)
        return refuse(why, "messages", "invalid_value", "messages[%zu] has no role", index);
    return is_role(role) || refuse(why, "messages", "invalid_value", "messages[%zu].role is none of system, developer, user, assistant "
                                   "and tool", index);
}

bool openai_read_messages(openai_request *r, json_t *value, refusal *why)
{
    size_t total = json_array_size(value);
    if (total == 0 || total > UINT32_MAX / 2)
        return refuse(why, "messages", "invalid_value", "messages is not a list of at least one message");
    r->messages = calloc(total, sizeof *r->messages);
    if (!r->messages)
        return refuse_memory(why);
    for (size_t i = 0; i < total; i++)
        if (!read_message(r, i, json_array_get(value, i), why))
            return false;
    r->request.input = BP_INPUT_MESSAGES;
    r->request.messages = r->messages;
    r->request.message_count = (uint32_t)total;
    return true;
}
