/* The fields of a request's body: one table, one reader a shape. A field that is not in the table is refused, since leaving
 * it out could change the answer. */
#include "batch/job.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STOP_STRINGS = 4, MAX_TOP_CHAT = 20, MAX_TOP_TEXT = 5, MAX_BIASES = 1024 };

typedef struct field {
    const char *name;
    bool (*read)(job *j, const struct field *f, json_t *value, refusal *why);
    size_t offset; /* of numbers, in bp_request */
    double min, max;
} field;

static bool refuse_value(const field *f, const char *expected, refusal *why)
{
    return refuse(why, f->name, "invalid_value", "%s is not %s", f->name, expected);
}

static bool refuse_memory(refusal *why)
{
    return refuse(why, "", "internal_error", "out of memory");
}

/* A string that lives as long as the job; NULL when out of memory or not UTF-8. */
static const char *keep(job *j, const char *bytes, size_t count)
{
    json_t *copy = json_stringn(bytes, count);
    if (!copy || json_array_append_new(j->kept, copy) != 0)
        return NULL;
    return json_string_value(copy);
}

static const char *keep_json(job *j, const json_t *value)
{
    char *dumped = json_dumps(value, JSON_COMPACT);
    const char *kept = dumped ? keep(j, dumped, strlen(dumped)) : NULL;
    free(dumped);
    return kept;
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

static bool read_real(job *j, const field *f, json_t *value, refusal *why)
{
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(number >= f->min && number <= f->max))
        return refuse(why, f->name, "invalid_value", "%s is not a number from %g to %g", f->name, f->min, f->max);
    float stored = (float)number;
    memcpy((char *)&j->request + f->offset, &stored, sizeof stored);
    return true;
}

static bool read_whole(job *j, const field *f, json_t *value, refusal *why)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || (double)number < f->min || (double)number > f->max)
        return refuse(why, f->name, "invalid_value", "%s is not a whole number from %.0f to %.0f", f->name, f->min, f->max);
    uint32_t stored = (uint32_t)number;
    memcpy((char *)&j->request + f->offset, &stored, sizeof stored);
    return true;
}

static bool read_seed(job *j, const field *f, json_t *value, refusal *why)
{
    if (!json_is_integer(value))
        return refuse_value(f, "a whole number", why);
    j->request.sampling.seed = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_one(job *j, const field *f, json_t *value, refusal *why)
{
    (void)j;
    return (json_is_integer(value) && json_integer_value(value) == 1) ||
           refuse_value(f, "1: give the line several times", why);
}

static bool read_false(job *j, const field *f, json_t *value, refusal *why)
{
    (void)j;
    return json_is_false(value) || refuse_value(f, "false: results are whole lines", why);
}

static bool ignore(job *j, const field *f, json_t *value, refusal *why)
{
    (void)j, (void)f, (void)value, (void)why;
    return true;
}

static bool read_flag(job *j, const field *f, json_t *value, refusal *why)
{
    if (!json_is_boolean(value))
        return refuse_value(f, "true or false", why);
    if (json_is_true(value))
        j->request.flags |= BP_REQUEST_IGNORE_EOS;
    return true;
}

/* --- log-probabilities -------------------------------------------------------------------------------------------- */

static bool start_logprobs(job *j, int32_t count, refusal *why)
{
    if (count > j->request.sampling.logprobs)
        j->request.sampling.logprobs = count;
    if (!j->logprobs)
        j->logprobs = json_array();
    return j->logprobs || refuse_memory(why);
}

static bool read_logprobs(job *j, const field *f, json_t *value, refusal *why)
{
    if (j->chat && json_is_boolean(value))
        return json_is_false(value) || start_logprobs(j, 0, why);
    if (j->chat)
        return refuse_value(f, "true or false", why);
    json_int_t count = json_integer_value(value);
    if (!json_is_integer(value) || count < 0 || count > MAX_TOP_TEXT)
        return refuse_value(f, "a whole number from 0 to 5", why);
    return start_logprobs(j, (int32_t)count, why);
}

static bool read_top_logprobs(job *j, const field *f, json_t *value, refusal *why)
{
    json_int_t count = json_integer_value(value);
    if (!json_is_integer(value) || count < 0 || count > MAX_TOP_CHAT)
        return refuse_value(f, "a whole number from 0 to 20", why);
    return start_logprobs(j, (int32_t)count, why);
}

static bool read_logit_bias(job *j, const field *f, json_t *value, refusal *why)
{
    size_t total = json_object_size(value);
    if (!json_is_object(value) || total > MAX_BIASES)
        return refuse_value(f, "an object of at most 1024 tokens", why);
    j->biases = calloc(total + 1, sizeof *j->biases);
    if (!j->biases)
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
        if (!*key || key[strspn(key, "0123456789")] || *end || errno || id > INT32_MAX)
            return refuse(why, f->name, "invalid_value", "logit_bias has the key \"%.40s\", which is not a token id", key);
        if (!(amount >= -100 && amount <= 100))
            return refuse(why, f->name, "invalid_value", "logit_bias of token %ld is not a number from -100 to 100", id);
        j->biases[count++] = (bp_logit_bias){.token = (int32_t)id, .bias = (float)amount};
    }
    j->request.sampling.logit_bias = j->biases;
    j->request.sampling.logit_bias_count = count;
    return true;
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static bool read_stop(job *j, const field *f, json_t *value, refusal *why)
{
    size_t total = json_is_string(value) ? 1 : json_array_size(value);
    if ((!json_is_string(value) && !json_is_array(value)) || total > MAX_STOP_STRINGS)
        return refuse_value(f, "a string or a list of at most 4", why);
    j->stops = calloc(total + 1, sizeof *j->stops);
    if (!j->stops)
        return refuse_memory(why);
    for (size_t i = 0; i < total; i++) {
        const json_t *entry = json_is_string(value) ? value : json_array_get(value, i);
        if (!json_string_length(entry))
            return refuse(why, f->name, "invalid_value", "stop[%zu] is not a string of at least one character", i);
        j->stops[i] = json_string_value(entry);
    }
    j->request.stop = j->stops;
    j->request.stop_count = (uint32_t)total;
    return true;
}

static bool read_prompt(job *j, const field *f, json_t *value, refusal *why)
{
    if (json_is_string(value)) {
        j->request.input = BP_INPUT_TEXT;
        j->request.text = json_string_value(value);
        j->request.text_bytes = json_string_length(value);
        return true;
    }
    size_t count = json_array_size(value);
    if (count == 0)
        return refuse_value(f, "a string or a list of token ids", why);
    j->tokens = calloc(count, sizeof *j->tokens);
    if (!j->tokens)
        return refuse_memory(why);
    for (size_t i = 0; i < count; i++) {
        json_int_t id = json_integer_value(json_array_get(value, i));
        if (!json_is_integer(json_array_get(value, i)) || id < 0 || id > INT32_MAX)
            return refuse(why, f->name, "invalid_value", "prompt[%zu] is not a token id", i);
        j->tokens[i] = (int32_t)id;
    }
    j->request.input = BP_INPUT_TOKENS;
    j->request.tokens = j->tokens;
    j->request.token_count = count;
    return true;
}

static bool read_array(job *j, const field *f, json_t *value, refusal *why)
{
    if (!json_is_array(value))
        return refuse_value(f, "a list", why);
    j->request.tools_json = keep_json(j, value);
    return j->request.tools_json || refuse_memory(why);
}

static bool read_kwargs(job *j, const field *f, json_t *value, refusal *why)
{
    if (!json_is_object(value))
        return refuse_value(f, "an object", why);
    j->request.template_kwargs_json = keep_json(j, value);
    return j->request.template_kwargs_json || refuse_memory(why);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

/* The texts of [{"type": "text", "text": …}, …] as one; NULL where one of them is not. */
static const char *join_parts(job *j, const json_t *parts)
{
    text joined = {0};
    bool good = true;
    for (size_t i = 0; good && i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i), *content = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        good = type && strcmp(type, "text") == 0 && json_is_string(content) &&
               text_append(&joined, json_string_value(content), json_string_length(content));
    }
    const char *kept = good ? keep(j, text_string(&joined), joined.size) : NULL;
    text_free(&joined);
    return kept;
}

static bool read_message_field(job *j, bp_message *m, const char *key, const json_t *value)
{
    const char *string = json_string_value(value);
    if (json_is_null(value))
        return true;
    if (strcmp(key, "role") == 0)
        return (m->role = string) != NULL;
    if (strcmp(key, "name") == 0)
        return (m->name = string) != NULL;
    if (strcmp(key, "tool_call_id") == 0)
        return (m->tool_call_id = string) != NULL;
    if (strcmp(key, "content") == 0)
        return (m->content = json_is_array(value) ? join_parts(j, value) : string) != NULL;
    if (strcmp(key, "tool_calls") == 0)
        return json_is_array(value) && (m->tool_calls_json = keep_json(j, value)) != NULL;
    return false;
}

static bool read_messages(job *j, const field *f, json_t *value, refusal *why)
{
    size_t total = json_array_size(value);
    if (total == 0 || total > UINT32_MAX / 2)
        return refuse_value(f, "a list of at least one message", why);
    j->messages = calloc(total, sizeof *j->messages);
    if (!j->messages)
        return refuse_memory(why);
    for (size_t i = 0; i < total; i++) {
        const char *key;
        json_t *message = json_array_get(value, i), *part;
        json_object_foreach(message, key, part)
            if (!read_message_field(j, &j->messages[i], key, part))
                return refuse(why, f->name, "invalid_value", "messages[%zu].%.40s is unknown or not what it should be", i,
                              key);
        if (!j->messages[i].role || !*j->messages[i].role)
            return refuse(why, f->name, "invalid_value", "messages[%zu] has no role", i);
    }
    j->request.input = BP_INPUT_MESSAGES;
    j->request.messages = j->messages;
    j->request.message_count = (uint32_t)total;
    return true;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

#define SAMPLING(name) offsetof(bp_request, sampling.name)

static const field fields[] = {
    {"model", ignore, 0, 0, 0},     {"custom_id", ignore, 0, 0, 0}, {"user", ignore, 0, 0, 0},
    {"metadata", ignore, 0, 0, 0},  {"store", ignore, 0, 0, 0},     {"messages", read_messages, 0, 0, 0},
    {"prompt", read_prompt, 0, 0, 0}, {"tools", read_array, 0, 0, 0}, {"chat_template_kwargs", read_kwargs, 0, 0, 0},
    {"stop", read_stop, 0, 0, 0},   {"seed", read_seed, 0, 0, 0},   {"n", read_one, 0, 0, 0},
    {"stream", read_false, 0, 0, 0}, {"logprobs", read_logprobs, 0, 0, 0}, {"top_logprobs", read_top_logprobs, 0, 0, 0},
    {"logit_bias", read_logit_bias, 0, 0, 0}, {"ignore_eos", read_flag, 0, 0, 0},
    {"max_tokens", read_whole, offsetof(bp_request, max_tokens), 1, INT32_MAX},
    {"max_completion_tokens", read_whole, offsetof(bp_request, max_tokens), 1, INT32_MAX},
    {"temperature", read_real, SAMPLING(temperature), 0, 2},
    {"top_p", read_real, SAMPLING(top_p), 0, 1},
    {"top_k", read_whole, SAMPLING(top_k), 0, INT32_MAX},
    {"min_p", read_real, SAMPLING(min_p), 0, 1},
    {"typical_p", read_real, SAMPLING(typical_p), 0, 1},
    {"repetition_penalty", read_real, SAMPLING(repetition_penalty), 0.01, 100},
    {"frequency_penalty", read_real, SAMPLING(frequency_penalty), -2, 2},
    {"presence_penalty", read_real, SAMPLING(presence_penalty), -2, 2},
};

bool job_read_field(job *j, const char *name, json_t *value, refusal *why)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(fields[i].name, name) == 0)
            return fields[i].read(j, &fields[i], value, why);
    return refuse(why, name, "unknown_parameter", "there is no field \"%.64s\", and ignoring it could change the answer",
                  name);
}
