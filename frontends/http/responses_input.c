/* A request of /v1/responses as one of a chat completion, which knows how to read the rest. */
#include "http/responses.h"

#include "openai/answer.h"

#include <string.h>

/* --- messages and calls ------------------------------------------------------------------------------------------- */

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

static bool convert_message(json_t *messages, const json_t *item, size_t index, refusal *why)
{
    const json_t *role = json_object_get(item, "role");
    if (!json_is_string(role))
        return refuse(why, "input", "invalid_value", "input[%zu] has no role", index);
    json_t *message = json_pack("{sO}", "role", role);
    return message && json_array_append_new(messages, message) == 0
               ? convert_content(message, json_object_get(item, "content"), index, why) : refuse_memory(why);
}

/* A call that was made: neighbours become those of one message. */
static bool convert_call(json_t *messages, const json_t *item, size_t index, refusal *why)
{
    const json_t *id = json_object_get(item, "call_id"), *name = json_object_get(item, "name");
    const json_t *arguments = json_object_get(item, "arguments");
    if (!json_is_string(id) || !json_is_string(name) || !json_is_string(arguments))
        return refuse(why, "input", "invalid_value", "input[%zu] lacks a call_id, a name or arguments, which are strings", index);
    json_t *last = json_array_get(messages, json_array_size(messages) - 1), *made = json_object_get(last, "tool_calls");
    if (!made) {
        json_t *message = json_pack("{ss sn s[]}", "role", "assistant", "content", "tool_calls");
        if (json_array_append_new(messages, message) != 0)
            return refuse_memory(why);
        made = json_object_get(message, "tool_calls");
    }
    json_t *one = json_pack("{sO ss s{sO sO}}", "id", id, "type", "function", "function", "name", name, "arguments", arguments);
    return json_array_append_new(made, one) == 0 || refuse_memory(why);
}

static bool convert_output(json_t *messages, const json_t *item, size_t index, refusal *why)
{
    const json_t *id = json_object_get(item, "call_id"), *output = json_object_get(item, "output");
    if (!json_is_string(id) || !json_is_string(output))
        return refuse(why, "input", "invalid_value", "input[%zu] lacks a call_id or an output, which are strings", index);
    json_t *message = json_pack("{ss sO sO}", "role", "tool", "tool_call_id", id, "content", output);
    return json_array_append_new(messages, message) == 0 || refuse_memory(why);
}

static bool convert_item(json_t *messages, const json_t *item, size_t index, refusal *why)
{
    static const struct { const char *type; bool (*convert)(json_t *, const json_t *, size_t, refusal *); } kinds[] = {
        {"message", convert_message}, {"function_call", convert_call}, {"function_call_output", convert_output}};
    const json_t *given = openai_given(item, "type");
    const char *type = given ? json_string_value(given) : "message";
    for (size_t i = 0; type && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0)
            return kinds[i].convert(messages, item, index, why);
    return refuse(why, "input", "invalid_value",
                  "input[%zu] is not a message, a function_call or a function_call_output; other items are not supported", index);
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
    const json_t *truncation = openai_given(body, "truncation");
    if (truncation && (!json_is_string(truncation) || strcmp(json_string_value(truncation), "disabled") != 0))
        return refuse(why, "truncation", "unsupported", "truncation other than \"disabled\" is not supported");
    const json_t *most = openai_given(body, "max_output_tokens");
    if (most && (!json_is_integer(most) || json_integer_value(most) < 16 || json_integer_value(most) > INT32_MAX))
        return refuse(why, "max_output_tokens", "invalid_value", "max_output_tokens is not a whole number from 16 to %d", INT32_MAX);
    return true;
}

/* --- what shapes an answer ---------------------------------------------------------------------------------------- */

/* A field that is there. */
static bool copy_field(json_t *chat, const char *name, json_t *value)
{
    return !value || json_object_set(chat, name, value) == 0;
}

/* A copy of the object in which all but its type stands in an object of its own; NULL when out of memory. */
static json_t *wrap(const json_t *flat, const char *key)
{
    json_t *inner = openai_copy((json_t *)flat);
    if (!inner)
        return NULL;
    json_object_del(inner, "type");
    return json_pack("{sO* so}", "type", json_object_get(flat, "type"), key, inner);
}

/* Functions stand flat here, and in an object of their own in a chat. */
static bool convert_tools(json_t *chat, const json_t *body, refusal *why)
{
    json_t *tools = openai_given(body, "tools"), *choice = openai_given(body, "tool_choice"), *list = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        const char *type = json_string_value(json_object_get(tool, "type"));
        if (!type || strcmp(type, "function") != 0) {
            json_decref(list);
            return refuse(why, "tools", "unsupported", "tools[%zu] is not of the type function; others are not supported", i);
        }
        list = openai_push(list, wrap(tool, "function"));
    }
    bool good = json_is_array(tools) || !tools ? json_object_set_new(chat, "tools", list) == 0 : (json_decref(list), copy_field(chat, "tools", tools));
    if (json_is_object(choice))
        good = good && json_object_set_new(chat, "tool_choice", wrap(choice, "function")) == 0;
    else
        good = good && copy_field(chat, "tool_choice", choice);
    return (good && copy_field(chat, "parallel_tool_calls", openai_given(body, "parallel_tool_calls"))) || refuse_memory(why);
}

static bool convert_format(json_t *chat, const json_t *body, refusal *why)
{
    json_t *about = openai_given(body, "text"), *format = openai_given(about, "format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (about && !json_is_object(about))
        return refuse(why, "text", "invalid_value", "text is not an object");
    if (!format)
        return true;
    if (!type || (strcmp(type, "text") != 0 && strcmp(type, "json_object") != 0 && strcmp(type, "json_schema") != 0))
        return refuse(why, "text", "invalid_value", "text.format is not of the type text, json_object or json_schema");
    json_t *converted = strcmp(type, "json_schema") == 0 ? wrap(format, "json_schema") : json_incref(format);
    return json_object_set_new(chat, "response_format", converted) == 0 || refuse_memory(why);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

json_t *response_convert(const json_t *body, refusal *why)
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
    if ((good || refuse_memory(why)) && check_fields(body, why) && convert_input(body, messages, why) &&
        convert_tools(chat, body, why) && convert_format(chat, body, why))
        return chat;
    json_decref(chat);
    return NULL;
}
