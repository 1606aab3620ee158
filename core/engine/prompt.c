#include "engine/prompt.h"

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"

#include <ctype.h>
#include <string.h>

static bp_status fail_memory(bp_error *error)
{
    return error_set(error, BP_ENOMEM, "no memory for the prompt");
}

/* The values that a request may not set through template_kwargs. */
static const char *const own_variables[] = {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", NULL};

/* --- messages as variables of a template ---------------------------------------------------------------------------------- */

static bp_status put_bytes(json_t *object, const char *key, const char *text, size_t bytes, uint32_t index, bp_error *error)
{
    if (!utf8_valid(text, bytes))
        return error_set(error, BP_EINVAL, "messages[%u].%s is not valid UTF-8", index, key);
    return json_object_set_new(object, key, json_stringn(text, bytes)) == 0 ? BP_OK : fail_memory(error);
}

static bp_status put_text(json_t *object, const char *key, const char *text, uint32_t index, bp_error *error)
{
    return put_bytes(object, key, text, strlen(text), index, error);
}

static bp_status parse_json(const char *text, json_type type, const char *what, json_t **out, bp_error *error)
{
    json_error_t why;
    bool memory;
    *out = json_read(text, strlen(text), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why, &memory);
    if (memory)
        return fail_memory(error);
    if (!*out)
        return error_set(error, BP_EINVAL, "%s: invalid JSON at line %d, column %d", what, why.line, why.column);
    if (json_typeof(*out) == type)
        return BP_OK;
    json_decref(*out);
    *out = NULL;
    return error_set(error, BP_EINVAL, "%s is not a JSON %s", what, type == JSON_ARRAY ? "array" : "object");
}

static bp_status put_json(json_t *object, const char *key, const char *text, json_type type, bp_error *error)
{
    json_t *value;
    bp_status status = parse_json(text, type, key, &value, error);
    if (status != BP_OK)
        return status;
    return json_object_set_new(object, key, value) == 0 ? BP_OK : fail_memory(error);
}

static bp_status put_content(json_t *object, const bp_message *m, uint32_t index, bp_error *error)
{
    size_t bytes = m->content_bytes ? (size_t)m->content_bytes : strlen(m->content);
    return put_bytes(object, "content", m->content, bytes, index, error);
}

/* Templates write a call's arguments as JSON; what they are told is an object, where OpenAI has the text of one. */
static bp_status put_calls(json_t *object, const char *text, bp_error *error)
{
    bp_status status = put_json(object, "tool_calls", text, JSON_ARRAY, error);
    json_t *calls = json_object_get(object, "tool_calls");
    for (size_t i = 0; status == BP_OK && i < json_array_size(calls); i++) {
        json_t *function = json_object_get(json_array_get(calls, i), "function"), *arguments = json_object_get(function, "arguments");
        bool memory = false;
        json_t *parsed = NULL;
        if (json_is_string(arguments))
            parsed = json_read(json_string_value(arguments), json_string_length(arguments), JSON_REJECT_DUPLICATES, NULL, &memory);
        if (memory || (json_is_object(parsed) && json_object_set(function, "arguments", parsed) != 0))
            status = fail_memory(error);
        json_decref(parsed);
    }
    return status;
}

static bp_status append_message(json_t *messages, const bp_message *m, uint32_t index, bp_error *error)
{
    json_t *object = json_object();
    if (!object || json_array_append_new(messages, object) != 0)
        return fail_memory(error);
    if (!m->role || !*m->role)
        return error_set(error, BP_EINVAL, "messages[%u] has no role", index);
    bp_status status = put_text(object, "role", m->role, index, error);
    if (status == BP_OK && m->content)
        status = put_content(object, m, index, error);
    else if (status == BP_OK && json_object_set_new(object, "content", json_null()) != 0)
        status = fail_memory(error);
    if (status == BP_OK && m->name)
        status = put_text(object, "name", m->name, index, error);
    if (status == BP_OK && m->tool_call_id)
        status = put_text(object, "tool_call_id", m->tool_call_id, index, error);
    if (status == BP_OK && m->tool_calls_json)
        status = put_calls(object, m->tool_calls_json, error);
    return status;
}

static bool has_system_message(const bp_request *request)
{
    for (uint32_t i = 0; i < request->message_count; i++) {
        const char *role = request->messages[i].role;
        if (role && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0))
            return true;
    }
    return false;
}

static bp_status put_messages(const loaded *l, const bp_request *request, uint32_t count, json_t *variables, bp_error *error)
{
    json_t *messages = json_array();
    if (!messages || json_object_set_new(variables, "messages", messages) != 0)
        return fail_memory(error);
    bp_status status = BP_OK;
    const char *system = l->config->system_prompt;
    if (system && *system && !has_system_message(request))
        status = append_message(messages, &(bp_message){.role = "system", .content = system}, 0, error);
    for (uint32_t i = 0; status == BP_OK && i < count; i++)
        status = append_message(messages, &request->messages[i], i, error);
    return status;
}

static bp_status put_kwargs(const bp_request *request, json_t *variables, bp_error *error)
{
    if (!request->template_kwargs_json)
        return BP_OK;
    json_t *kwargs;
    bp_status status = parse_json(request->template_kwargs_json, JSON_OBJECT, "template_kwargs", &kwargs, error);
    if (status != BP_OK)
        return status;
    for (size_t i = 0; status == BP_OK && own_variables[i]; i++)
        if (json_object_get(kwargs, own_variables[i]))
            status = error_set(error, BP_EINVAL, "template_kwargs may not set %s", own_variables[i]);
    if (status == BP_OK && json_object_update(variables, kwargs) != 0)
        status = fail_memory(error);
    json_decref(kwargs);
    return status;
}

/* --- continuing ----------------------------------------------------------------------------------------------------------- */

static bool is_blank(const char *text)
{
    for (; text && *text; text++)
        if (!isspace((unsigned char)*text))
            return false;
    return true;
}

/* Cuts the prompt behind the last byte that came from a message. Whatever the template does to a message's text, that is
 * where the text ends; searching for the text would miss one that the template trimmed. */
static void cut_behind_message(buffer *text, buffer *trusted, size_t begin)
{
    size_t end = text->size;
    while (end > begin && trusted->data[end - 1])
        end--;
    text->size = trusted->size = end;
}

/* --- rendering ------------------------------------------------------------------------------------------------------------ */

/* A token's spelling, NUL-terminated; empty where there is none or it does not fit. */
static const char *spelling(const tokenizer *t, int32_t token, char *out, size_t capacity)
{
    text_piece piece = token >= 0 ? tokenizer_bytes(t, token) : (text_piece){0};
    size_t length = piece.length < capacity ? piece.length : 0;
    if (length)
        memcpy(out, piece.bytes, length);
    out[length] = '\0';
    return out;
}

static bp_status render(const loaded *l, const bp_request *request, uint32_t count, bool generate, json_t *variables,
                        buffer *text, buffer *trusted, bp_error *error)
{
    bp_status status = put_kwargs(request, variables, error);
    if (status == BP_OK)
        status = put_messages(l, request, count, variables, error);
    if (status == BP_OK && request->tools_json && !l->takes_tools)
        status = error_set(error, BP_EUNSUPPORTED, "tools are given, and the chat template of model \"%s\" knows none", l->config->name);
    if (status == BP_OK && request->tools_json)
        status = put_json(variables, "tools", request->tools_json, JSON_ARRAY, error);
    if (status == BP_OK && json_object_set_new(variables, "add_generation_prompt", json_boolean(generate)) != 0)
        status = fail_memory(error);
    if (status != BP_OK)
        return status;
    char bos[256], eos[256];
    chat_template_input input = {.variables = variables,
                                 .bos_token = spelling(l->tokenizer, tokenizer_bos(l->tokenizer), bos, sizeof bos),
                                 .eos_token = spelling(l->tokenizer, tokenizer_eos(l->tokenizer), eos, sizeof eos)};
    return chat_template_render(l->chat, &input, text, trusted, error);
}

bp_status prompt_render(const loaded *l, const bp_request *request, buffer *text, buffer *trusted, bp_error *error)
{
    if (!l->chat)
        return error_set(error, l->chat_error.code, "%s", l->chat_error.message);
    if (request->message_count == 0 || !request->messages)
        return error_set(error, BP_EINVAL, "the request has no messages");
    uint32_t count = request->message_count;
    const bp_message *last = &request->messages[count - 1];
    bool continues = request->flags & BP_REQUEST_CONTINUE;
    if (continues && (!last->role || strcmp(last->role, "assistant") != 0))
        return error_set(error, BP_EINVAL, "the message to continue is not the assistant's");
    if (continues && is_blank(last->content)) { /* continuing nothing is beginning */
        continues = false;
        count--;
    }
    json_t *variables = json_object();
    if (!variables)
        return fail_memory(error);
    size_t begin = text->size;
    bp_status status = render(l, request, count, !continues, variables, text, trusted, error);
    json_decref(variables);
    if (status == BP_OK && continues)
        cut_behind_message(text, trusted, begin);
    return status;
}

/* --- tokens --------------------------------------------------------------------------------------------------------------- */

/* A template writes its own bos_token where the model wants one, so none is added here. */
static bp_status encode_messages(const loaded *l, const bp_request *request, token_list *out, bp_error *error)
{
    buffer text = {0}, trusted = {0};
    bp_status status = prompt_render(l, request, &text, &trusted, error);
    if (status == BP_OK)
        status = tokenizer_encode(l->tokenizer, text.data ? text.data : "", text.size, (const unsigned char *)trusted.data,
                                  TOKENIZER_SPECIAL, out, error);
    buffer_free(&text);
    buffer_free(&trusted);
    return status;
}

/* The model's prompt of that name; NULL is its default, or what the configuration has in its place. */
static bp_status find_prompt(const loaded *l, const char *name, text_piece *out, bp_error *error)
{
    const model_prompts *p = model_prompts_of(l->file);
    uint64_t i = name ? 0 : p->chosen;
    *out = (text_piece){"", 0};
    if (!name && l->config->prefix) {
        *out = (text_piece){l->config->prefix, (uint32_t)strlen(l->config->prefix)};
        return BP_OK;
    }
    while (name && i < p->count && (p->names[i].length != strlen(name) || memcmp(p->names[i].bytes, name, p->names[i].length) != 0))
        i++;
    if (i < p->count)
        *out = (text_piece){p->texts[i].bytes, (uint32_t)p->texts[i].length};
    else if (name && p->count)
        return error_set(error, BP_EINVAL, "prompt_name \"%.100s\" is none of model \"%s\"; there are %llu, of which one is \"%.*s\"",
                         name, l->config->name, (unsigned long long)p->count,
                         (int)(p->names[0].length < 100 ? p->names[0].length : 100), p->names[0].bytes);
    else if (name)
        return error_set(error, BP_EINVAL, "prompt_name \"%.100s\" is none of model \"%s\", which has no prompts", name,
                         l->config->name);
    return BP_OK;
}

static bp_status encode_behind(const loaded *l, text_piece prompt, const bp_request *request, unsigned flags, token_list *out,
                               bp_error *error)
{
    buffer whole = {0};
    bp_status status = buffer_append(&whole, prompt.bytes, prompt.length) &&
                               buffer_append(&whole, request->text, (size_t)request->text_bytes)
                           ? tokenizer_encode(l->tokenizer, whole.data, whole.size, NULL, flags, out, error)
                           : fail_memory(error);
    buffer_free(&whole);
    return status;
}

static bp_status encode_text(const loaded *l, const bp_request *request, token_list *out, bp_error *error)
{
    if (!request->text && request->text_bytes)
        return error_set(error, BP_EINVAL, "the request has no text");
    unsigned flags = request->flags & BP_REQUEST_PARSE_SPECIAL ? TOKENIZER_SPECIAL : 0;
    if (!(request->flags & BP_REQUEST_NO_BOS))
        flags |= TOKENIZER_BOS;
    text_piece prompt = {"", 0};
    bp_status status = l->embedder ? find_prompt(l, request->prompt_name, &prompt, error) : BP_OK;
    if (status == BP_OK && prompt.length)
        status = encode_behind(l, prompt, request, flags, out, error);
    else if (status == BP_OK)
        status = tokenizer_encode(l->tokenizer, request->text ? request->text : "", (size_t)request->text_bytes, NULL, flags, out,
                                  error);
    bool ends = l->ends_texts && !(request->flags & BP_REQUEST_NO_BOS);
    if (status == BP_OK && ends && !token_list_append(out, tokenizer_eos(l->tokenizer)))
        status = fail_memory(error);
    return status;
}

static bp_status copy_tokens(const loaded *l, const bp_request *request, token_list *out, bp_error *error)
{
    if (!request->tokens && request->token_count)
        return error_set(error, BP_EINVAL, "the request has no tokens");
    for (uint64_t i = 0; i < request->token_count; i++) {
        int32_t id = request->tokens[i];
        if (id < 0 || (uint32_t)id >= l->vocab_size)
            return error_set(error, BP_EINVAL, "token %d is not in the vocabulary of %u tokens", id, l->vocab_size);
        if (!token_list_append(out, id))
            return fail_memory(error);
    }
    return BP_OK;
}

/* Tokens of an answer that there must be room for. */
static uint64_t least_answer(const loaded *l, const bp_request *request)
{
    return !l->embedder && !(request->flags & BP_REQUEST_NO_ANSWER);
}

bp_status prompt_encode(const loaded *l, const bp_request *request, token_list *out, bp_error *error)
{
    switch (request->input) {
    case BP_INPUT_MESSAGES: return encode_messages(l, request, out, error);
    case BP_INPUT_TEXT: return encode_text(l, request, out, error);
    case BP_INPUT_TOKENS:
        /* Before the copy: a list that cannot fit is not worth its memory. */
        if (request->token_count + least_answer(l, request) > l->context && !(request->flags & BP_REQUEST_TRUNCATE))
            return error_set(error, BP_ECONTEXT,
                             "the prompt has %llu tokens and the context of model \"%s\" is %u: it must be shorter",
                             (unsigned long long)request->token_count, l->config->name, l->context);
        return copy_tokens(l, request, out, error);
    default: return error_set(error, BP_EINVAL, "input kind %u is not known", request->input);
    }
}
