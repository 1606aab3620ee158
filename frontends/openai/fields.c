/* The fields of a body: one table, one reader a shape. */
#include "openai/request.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_STOP_STRINGS = 4, MAX_STOP_TOKENS = 64, MAX_TOP_CHAT = 20, MAX_TOP_TEXT = 5, MAX_BIASES = 1024, MAX_ANSWERS = 128,
    MAX_PROMPTS = 2048, MAX_TOOLS = 128, MAX_NAME = 64, MAX_CANDIDATES = 20
};

typedef struct field {
    const char *name;
    unsigned kinds; /* of the bodies that have it */
    bool (*read)(openai_request *r, const struct field *f, json_t *value, refusal *why);
    size_t offset; /* of numbers, in bp_request */
    double min, max;
} field;

static bool refuse_value(const field *f, const char *expected, refusal *why)
{
    return refuse(why, f->name, "invalid_value", "%s is not %s", f->name, expected);
}

/* --- numbers and switches ----------------------------------------------------------------------------------------- */

static bool read_real(openai_request *r, const field *f, json_t *value, refusal *why)
{
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(number >= f->min && number <= f->max))
        return refuse(why, f->name, "invalid_value", "%s is not a number from %g to %g", f->name, f->min, f->max);
    float stored = (float)number;
    memcpy((char *)&r->request + f->offset, &stored, sizeof stored);
    return true;
}

/* The whole number of a field that has a range. */
static bool whole(const field *f, const json_t *value, uint32_t *out, refusal *why)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || (double)number < f->min || (double)number > f->max)
        return refuse(why, f->name, "invalid_value", "%s is not a whole number from %.0f to %.0f", f->name, f->min, f->max);
    *out = (uint32_t)number;
    return true;
}

static bool read_whole(openai_request *r, const field *f, json_t *value, refusal *why)
{
    uint32_t number = 0;
    if (!whole(f, value, &number, why))
        return false;
    memcpy((char *)&r->request + f->offset, &number, sizeof number);
    return true;
}

static bool read_answers(openai_request *r, const field *f, json_t *value, refusal *why)
{
    return whole(f, value, &r->answers, why);
}

static bool read_candidates(openai_request *r, const field *f, json_t *value, refusal *why)
{
    return whole(f, value, &r->candidates, why);
}

/* No tokens are an answer too, where the prompt is what matters. */
static bool read_length(openai_request *r, const field *f, json_t *value, refusal *why)
{
    if (!whole(f, value, &r->request.max_tokens, why))
        return false;
    if (r->request.max_tokens == 0)
        r->request.flags |= BP_REQUEST_NO_ANSWER;
    return true;
}

static bool read_seed(openai_request *r, const field *f, json_t *value, refusal *why)
{
    if (!json_is_integer(value))
        return refuse_value(f, "a whole number", why);
    r->request.sampling.seed = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_switch(const field *f, const json_t *value, bool *out, refusal *why)
{
    if (!json_is_boolean(value))
        return refuse_value(f, "true or false", why);
    *out = json_is_true(value);
    return true;
}

static bool read_stream(openai_request *r, const field *f, json_t *value, refusal *why)
{
    return read_switch(f, value, &r->stream, why);
}

static bool read_echo(openai_request *r, const field *f, json_t *value, refusal *why)
{
    return read_switch(f, value, &r->echo, why);
}

static bool read_stream_options(openai_request *r, const field *f, json_t *value, refusal *why)
{
    if (!json_is_object(value))
        return refuse_value(f, "an object", why);
    const json_t *usage = openai_given(value, "include_usage");
    return !usage || read_switch(&(field){.name = "stream_options.include_usage"}, usage, &r->include_usage, why);
}

static bool read_ignore_eos(openai_request *r, const field *f, json_t *value, refusal *why)
{
    bool ignored = false;
    if (!read_switch(f, value, &ignored, why))
        return false;
    if (ignored)
        r->request.flags |= BP_REQUEST_IGNORE_EOS;
    return true;
}

/* --- log-probabilities -------------------------------------------------------------------------------------------- */

static bool want_logprobs(openai_request *r, int32_t count)
{
    if (count > r->request.sampling.logprobs)
        r->request.sampling.logprobs = count;
    return r->logprobs = true;
}

static bool read_logprobs(openai_request *r, const field *f, json_t *value, refusal *why)
{
    if (r->kind == OPENAI_CHAT) {
        bool wanted = false;
        return read_switch(f, value, &wanted, why) && (!wanted || want_logprobs(r, 0));
    }
    json_int_t count = json_integer_value(value);
    if (!json_is_integer(value) || count < 0 || count > MAX_TOP_TEXT)
        return refuse_value(f, "a whole number from 0 to 5", why);
    return want_logprobs(r, (int32_t)count);
}

static bool read_top_logprobs(openai_request *r, const field *f, json_t *value, refusal *why)
{
    json_int_t count = json_integer_value(value);
    if (!json_is_integer(value) || count < 0 || count > MAX_TOP_CHAT)
        return refuse_value(f, "a whole number from 0 to 20", why);
    return want_logprobs(r, (int32_t)count);
}

static bool read_logit_bias(openai_request *r, const field *f, json_t *value, refusal *why)
{
    size_t total = json_object_size(value);
    if (!json_is_object(value) || total > MAX_BIASES)
        return refuse_value(f, "an object of at most 1024 tokens", why);
    r->biases = calloc(total + 1, sizeof *r->biases);
    if (!r->biases)
        return refuse_memory(why);
    const char *key;
    json_t *bias;
    uint32_t count = 0;
    json_object_foreach(value, key, bias)
    {
        char *end;
        errno = 0;
        long id = strtol(key, &end, 10);
        double amount = json_is_number(bias) ? json_number_value(bias) : NAN;
        if (!*key || (*key == '0' && key[1]) || key[strspn(key, "0123456789")] || *end || errno || id > INT32_MAX)
            return refuse(why, f->name, "invalid_value", "logit_bias has the key \"%.40s\", which is not a token id", key);
        if (!(amount >= -100 && amount <= 100))
            return refuse(why, f->name, "invalid_value", "logit_bias of token %ld is not a number from -100 to 100", id);
        r->biases[count++] = (bp_logit_bias){.token = (int32_t)id, .bias = (float)amount};
    }
    r->request.sampling.logit_bias = r->biases;
    r->request.sampling.logit_bias_count = count;
    return true;
}

/* --- stops and prompts -------------------------------------------------------------------------------------------- */

static bool read_stop(openai_request *r, const field *f, json_t *value, refusal *why)
{
    size_t total = json_is_string(value) ? 1 : json_array_size(value);
    if ((!json_is_string(value) && !json_is_array(value)) || total > MAX_STOP_STRINGS)
        return refuse_value(f, "a string or a list of at most 4", why);
    r->stops = calloc(total + 1, sizeof *r->stops);
    if (!r->stops)
        return refuse_memory(why);
    for (size_t i = 0; i < total; i++) {
        const json_t *entry = json_is_string(value) ? value : json_array_get(value, i);
        if (!json_string_length(entry) || !openai_string(entry))
            return refuse(why, f->name, "invalid_value", "stop[%zu] is not a string of at least one character, without NUL",
                          i);
        r->stops[i] = json_string_value(entry);
    }
    r->request.stop = r->stops;
    r->request.stop_count = (uint32_t)total;
    return true;
}

/* Token ids of a list; ids beyond the vocabulary are the engine's to refuse. */
static bool read_ids(const field *f, const json_t *list, int32_t *out, refusal *why)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        json_int_t id = json_integer_value(entry);
        if (!json_is_integer(entry) || id < 0 || id > INT32_MAX)
            return refuse(why, f->name, "invalid_value", "%s: element %zu is not a token id", f->name, i);
        out[i] = (int32_t)id;
    }
    return true;
}

static bool read_stop_tokens(openai_request *r, const field *f, json_t *value, refusal *why)
{
    size_t total = json_array_size(value);
    if (!json_is_array(value) || total > MAX_STOP_TOKENS)
        return refuse_value(f, "a list of at most 64 token ids", why);
    r->stop_tokens = calloc(total + 1, sizeof *r->stop_tokens);
    if (!r->stop_tokens)
        return refuse_memory(why);
    r->request.stop_tokens = r->stop_tokens;
    r->request.stop_token_count = (uint32_t)total;
    return read_ids(f, value, r->stop_tokens, why);
}

/* A list of prompts, each a string or a list of ids. */
static bool read_prompts(openai_request *r, const field *f, const json_t *list, refusal *why)
{
    size_t total = json_array_size(list), ids = 0, at = 0;
    if (total > MAX_PROMPTS)
        return refuse_value(f, "a list of at most 2048 prompts", why);
    for (size_t i = 0; i < total; i++)
        ids += json_array_size(json_array_get(list, i));
    r->prompts = calloc(total, sizeof *r->prompts);
    r->tokens = calloc(ids + 1, sizeof *r->tokens);
    if (!r->prompts || !r->tokens)
        return refuse_memory(why);
    for (size_t i = 0; i < total; i++) {
        const json_t *entry = json_array_get(list, i);
        size_t count = json_array_size(entry);
        r->prompts[i] = (openai_prompt){.text = json_string_value(entry), .bytes = json_string_length(entry),
                                        .tokens = r->tokens + at, .count = count};
        if (!json_is_string(entry) && count == 0)
            return refuse(why, f->name, "invalid_value", "%s[%zu] is neither a string nor a list of token ids", f->name, i);
        if (count && !read_ids(f, entry, r->tokens + at, why))
            return false;
        at += count;
    }
    r->prompt_count = (uint32_t)total;
    return true;
}

/* A string, a list of ids, or a list of either. */
static bool read_prompt(openai_request *r, const field *f, json_t *value, refusal *why)
{
    if (!json_is_string(value) && json_array_size(value) == 0)
        return refuse_value(f, "a string, a list of token ids, or a list of such prompts", why);
    bool many = json_is_array(value) && !json_is_number(json_array_get(value, 0));
    json_t *list = many ? json_incref(value) : json_pack("[O]", value);
    bool good = list ? read_prompts(r, f, list, why) : refuse_memory(why);
    json_decref(list);
    return good;
}

static bool read_encoding(openai_request *r, const field *f, json_t *value, refusal *why)
{
    const char *encoding = json_is_string(value) ? json_string_value(value) : "";
    r->base64 = strcmp(encoding, "base64") == 0;
    return r->base64 || strcmp(encoding, "float") == 0 || refuse_value(f, "\"float\" or \"base64\"", why);
}

static bool read_truncate(openai_request *r, const field *f, json_t *value, refusal *why)
{
    bool wanted = false;
    if (!read_switch(f, value, &wanted, why))
        return false;
    if (wanted)
        r->request.flags |= BP_REQUEST_TRUNCATE;
    return true;
}

static bool read_prompt_name(openai_request *r, const field *f, json_t *value, refusal *why)
{
    r->request.prompt_name = openai_string(value);
    return r->request.prompt_name || refuse_value(f, "a string without NUL", why);
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

static bool is_name(const json_t *value)
{
    const char *name = openai_string(value);
    size_t length = name ? strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") : 0;
    return length > 0 && length <= MAX_NAME && !name[length];
}

static bool read_tools(openai_request *r, const field *f, json_t *value, refusal *why)
{
    if (!json_is_array(value) || json_array_size(value) > MAX_TOOLS)
        return refuse_value(f, "a list of at most 128 tools", why);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *tool = json_array_get(value, i), *function = json_object_get(tool, "function");
        const json_t *parameters = openai_given(function, "parameters"), *strict = openai_given(function, "strict");
        const char *type = json_string_value(json_object_get(tool, "type"));
        if (!type || strcmp(type, "function") != 0 || !json_is_object(function))
            return refuse(why, f->name, "invalid_value", "tools[%zu] is not of the type function, with a function", i);
        if (!is_name(json_object_get(function, "name")))
            return refuse(why, f->name, "invalid_value", "tools[%zu].function.name is not 1 to 64 letters, digits, _ and -", i);
        if ((parameters && !json_is_object(parameters)) || (strict && !json_is_boolean(strict)))
            return refuse(why, f->name, "invalid_value", "tools[%zu].function has parameters that are no object, or a strict that is not true or false", i);
    }
    r->request.tools_json = json_array_size(value) ? openai_keep_json(r, value) : NULL;
    return r->request.tools_json || json_array_size(value) == 0 || refuse_memory(why);
}

/* Whether the tools are there is checked with all fields read. */
static bool read_tool_choice(openai_request *r, const field *f, json_t *value, refusal *why)
{
    const char *choice = json_string_value(value), *type = json_string_value(json_object_get(value, "type"));
    const json_t *name = json_object_get(json_object_get(value, "function"), "name");
    r->no_tools = choice && strcmp(choice, "none") == 0;
    if (r->no_tools || (choice && strcmp(choice, "auto") == 0))
        return true;
    r->request.tool_choice = BP_TOOLS_REQUIRED;
    if (choice && strcmp(choice, "required") == 0)
        return true;
    if (!type || strcmp(type, "function") != 0 || !is_name(name))
        return refuse_value(f, "\"none\", \"auto\", \"required\" or the name of a function", why);
    r->request.tool_name = json_string_value(name);
    return true;
}

static bool read_parallel(openai_request *r, const field *f, json_t *value, refusal *why)
{
    bool many = true;
    if (!read_switch(f, value, &many, why))
        return false;
    if (!many)
        r->request.flags |= BP_REQUEST_ONE_TOOL_CALL;
    return true;
}

/* What a template has from the server is not a client's to replace. */
static bool read_kwargs(openai_request *r, const field *f, json_t *value, refusal *why)
{
    static const char *const own[] = {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token",
                                      "raise_exception", "strftime_now", "range", "namespace", "dict", "loop"};
    if (!json_is_object(value))
        return refuse_value(f, "an object", why);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (json_object_get(value, own[i]))
            return refuse(why, f->name, "invalid_value", "%s may not set %s", f->name, own[i]);
    r->request.template_kwargs_json = openai_keep_json(r, value);
    return r->request.template_kwargs_json || refuse_memory(why);
}

static bool read_messages(openai_request *r, const field *f, json_t *value, refusal *why)
{
    (void)f;
    return openai_read_messages(r, value, why);
}

/* --- what shapes an answer ---------------------------------------------------------------------------------------- */

static bool shape(openai_request *r, const char *field_name, uint32_t kind, const char *source, size_t bytes, refusal *why)
{
    if (bytes > UINT32_MAX)
        return refuse(why, field_name, "invalid_value", "%s is too long", field_name);
    if (r->shaped_by)
        return refuse(why, field_name, "invalid_value", "%s and %s cannot both shape an answer", r->shaped_by, field_name);
    r->shaped_by = field_name;
    r->request.grammar_kind = kind;
    r->request.grammar = source;
    r->request.grammar_bytes = (uint32_t)bytes;
    return true;
}

static bool read_grammar(openai_request *r, const field *f, json_t *value, refusal *why)
{
    uint32_t kind = strcmp(f->name, "grammar") == 0 ? BP_GRAMMAR_GBNF : BP_GRAMMAR_REGEX;
    if (!json_is_string(value))
        return refuse_value(f, "a string", why);
    return shape(r, f->name, kind, json_string_value(value), json_string_length(value), why);
}

static bool read_schema(openai_request *r, const field *f, const json_t *format, refusal *why)
{
    const json_t *described = openai_given(format, "json_schema"), *schema = openai_given(described, "schema");
    const json_t *name = openai_given(described, "name"), *strict = openai_given(described, "strict");
    if (!json_is_object(described) || !json_is_object(schema))
        return refuse(why, f->name, "invalid_value", "response_format.json_schema is not an object with a schema");
    if (name && !json_is_string(name))
        return refuse(why, f->name, "invalid_value", "response_format.json_schema.name is not a string");
    if (strict && !json_is_boolean(strict))
        return refuse(why, f->name, "invalid_value", "response_format.json_schema.strict is not true or false");
    const char *source = openai_keep_json(r, schema);
    return source ? shape(r, f->name, BP_GRAMMAR_JSON_SCHEMA, source, strlen(source), why) : refuse_memory(why);
}

static bool read_response_format(openai_request *r, const field *f, json_t *value, refusal *why)
{
    static const char object[] = "{\"type\":\"object\"}";
    const char *type = json_string_value(json_object_get(value, "type"));
    if (!type)
        return refuse_value(f, "an object with a type", why);
    if (strcmp(type, "text") == 0)
        return true;
    if (strcmp(type, "json_object") == 0)
        return shape(r, f->name, BP_GRAMMAR_JSON_SCHEMA, object, sizeof object - 1, why);
    return strcmp(type, "json_schema") == 0 ? read_schema(r, f, value, why)
                                            : refuse_value(f, "of the type text, json_object or json_schema", why);
}

/* --- what is not built -------------------------------------------------------------------------------------------- */

static bool ignore(openai_request *r, const field *f, json_t *value, refusal *why)
{
    (void)r, (void)f, (void)value, (void)why;
    return true;
}

static bool refuse_unsupported(openai_request *r, const field *f, json_t *value, refusal *why)
{
    (void)r, (void)value;
    return refuse(why, f->name, "unsupported", "%s is not supported", f->name);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

#define SAMPLING(name) offsetof(bp_request, sampling.name)

enum { BOTH = OPENAI_CHAT | OPENAI_TEXT, ALL = BOTH | OPENAI_EMBEDDING };

static const field fields[] = {
    {"model", ALL, ignore, 0, 0, 0},
    {"messages", OPENAI_CHAT, read_messages, 0, 0, 0},
    {"prompt", OPENAI_TEXT, read_prompt, 0, 0, 0},
    {"input", OPENAI_EMBEDDING, read_prompt, 0, 0, 0},
    {"encoding_format", OPENAI_EMBEDDING, read_encoding, 0, 0, 0},
    {"truncate", OPENAI_EMBEDDING, read_truncate, 0, 0, 0},
    {"dimensions", OPENAI_EMBEDDING, read_whole, offsetof(bp_request, dimensions), 1, INT32_MAX},
    {"prompt_name", OPENAI_EMBEDDING, read_prompt_name, 0, 0, 0},
    {"tools", OPENAI_CHAT, read_tools, 0, 0, 0},
    {"tool_choice", OPENAI_CHAT, read_tool_choice, 0, 0, 0},
    {"chat_template_kwargs", OPENAI_CHAT, read_kwargs, 0, 0, 0},
    {"response_format", BOTH, read_response_format, 0, 0, 0},
    {"grammar", BOTH, read_grammar, 0, 0, 0},
    {"regex", BOTH, read_grammar, 0, 0, 0},
    {"stop", BOTH, read_stop, 0, 0, 0},
    {"stop_token_ids", BOTH, read_stop_tokens, 0, 0, 0},
    {"seed", BOTH, read_seed, 0, 0, 0},
    {"n", BOTH, read_answers, 0, 1, MAX_ANSWERS},
    {"stream", BOTH, read_stream, 0, 0, 0},
    {"stream_options", BOTH, read_stream_options, 0, 0, 0},
    {"echo", OPENAI_TEXT, read_echo, 0, 0, 0},
    {"logprobs", BOTH, read_logprobs, 0, 0, 0},
    {"top_logprobs", OPENAI_CHAT, read_top_logprobs, 0, 0, 0},
    {"logit_bias", BOTH, read_logit_bias, 0, 0, 0},
    {"ignore_eos", BOTH, read_ignore_eos, 0, 0, 0},
    {"best_of", OPENAI_TEXT, read_candidates, 0, 1, MAX_CANDIDATES},
    {"max_tokens", OPENAI_CHAT, read_whole, offsetof(bp_request, max_tokens), 1, INT32_MAX},
    {"max_tokens", OPENAI_TEXT, read_length, 0, 0, INT32_MAX},
    {"max_completion_tokens", OPENAI_CHAT, read_whole, offsetof(bp_request, max_tokens), 1, INT32_MAX},
    {"temperature", BOTH, read_real, SAMPLING(temperature), 0, 2},
    {"top_p", BOTH, read_real, SAMPLING(top_p), 0, 1},
    {"top_k", BOTH, read_whole, SAMPLING(top_k), 0, INT32_MAX},
    {"min_p", BOTH, read_real, SAMPLING(min_p), 0, 1},
    {"typical_p", BOTH, read_real, SAMPLING(typical_p), 0, 1},
    {"repetition_penalty", BOTH, read_real, SAMPLING(repetition_penalty), 0.01, 100},
    {"repeat_penalty", BOTH, read_real, SAMPLING(repetition_penalty), 0.01, 100}, /* its other name */
    {"frequency_penalty", BOTH, read_real, SAMPLING(frequency_penalty), -2, 2},
    {"presence_penalty", BOTH, read_real, SAMPLING(presence_penalty), -2, 2},
    {"priority", ALL, read_whole, offsetof(bp_request, priority), -100, 100}, /* two's complement either way */
    /* Nothing of the answer depends on these. */
    {"user", ALL, ignore, 0, 0, 0},
    {"metadata", ALL, ignore, 0, 0, 0},
    {"store", ALL, ignore, 0, 0, 0},
    {"service_tier", ALL, ignore, 0, 0, 0},
    {"safety_identifier", ALL, ignore, 0, 0, 0},
    {"prompt_cache_key", BOTH, ignore, 0, 0, 0},
    {"parallel_tool_calls", OPENAI_CHAT, read_parallel, 0, 0, 0},
    /* An answer without these would be another one. */
    {"suffix", OPENAI_TEXT, refuse_unsupported, 0, 0, 0},
    {"functions", OPENAI_CHAT, refuse_unsupported, 0, 0, 0},
    {"function_call", OPENAI_CHAT, refuse_unsupported, 0, 0, 0},
    {"audio", OPENAI_CHAT, refuse_unsupported, 0, 0, 0},
    {"modalities", OPENAI_CHAT, refuse_unsupported, 0, 0, 0},
    {"prediction", OPENAI_CHAT, refuse_unsupported, 0, 0, 0},
    {"web_search_options", OPENAI_CHAT, refuse_unsupported, 0, 0, 0},
    {"reasoning_effort", OPENAI_CHAT, refuse_unsupported, 0, 0, 0},
    {"chat_template", OPENAI_CHAT, refuse_unsupported, 0, 0, 0},
    {"n_predict", BOTH, refuse_unsupported, 0, 0, 0},
    {"n_keep", BOTH, refuse_unsupported, 0, 0, 0},
    {"n_discard", BOTH, refuse_unsupported, 0, 0, 0},
    {"mirostat", BOTH, refuse_unsupported, 0, 0, 0},
    {"dry_multiplier", BOTH, refuse_unsupported, 0, 0, 0},
    {"xtc_probability", BOTH, refuse_unsupported, 0, 0, 0},
};

bool openai_read_field(openai_request *r, const char *name, json_t *value, bool strict, refusal *why)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(fields[i].name, name) == 0 && (fields[i].kinds & r->kind))
            return fields[i].read(r, &fields[i], value, why);
    return !strict || refuse(why, name, "unknown_parameter",
                             "there is no field \"%.64s\" here, and ignoring it could change the answer", name);
}
