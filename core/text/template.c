/* template: a parsed chat template, and one rendering of it. */
#include "text/template.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_STEPS = 10000000, DEFAULT_OUTPUT = 64 << 20 };

struct chat_template {
    arena *memory;
    const jinja_node *root;
};

/* The source as Jinja reads it: \n for every newline, and none at the end. */
static char *normal_source(arena *memory, const char *source, size_t bytes, size_t *length)
{
    char *copy = arena_copy(memory, source, bytes);
    size_t count = 0;
    for (size_t i = 0; copy && i < bytes; i++) {
        copy[count++] = source[i] == '\r' ? '\n' : source[i];
        if (source[i] == '\r' && i + 1 < bytes && source[i + 1] == '\n')
            i++;
    }
    if (count && copy[count - 1] == '\n')
        count--;
    *length = count;
    return copy;
}

static bp_status build(chat_template *t, const char *source, size_t bytes, bp_error *error)
{
    if (bytes > JINJA_MAX_SOURCE)
        return error_set(error, BP_ELIMIT, "a chat template of %zu bytes is over the limit of 4 MiB", bytes);
    if (!utf8_valid(source, bytes))
        return error_set(error, BP_EINVAL, "the chat template is not valid UTF-8");
    size_t length;
    char *copy = (t->memory = arena_new()) ? normal_source(t->memory, source, bytes, &length) : NULL;
    if (!copy)
        return error_set(error, BP_ENOMEM, "out of memory for a chat template");
    return jinja_parse(copy, length, t->memory, &t->root, error);
}

bp_status chat_template_new(const char *source, size_t bytes, chat_template **out, bp_error *error)
{
    *out = NULL;
    chat_template *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(error, BP_ENOMEM, "out of memory for a chat template");
    bp_status status = build(t, source, bytes, error);
    if (status != BP_OK)
        chat_template_free(t);
    else
        *out = t;
    return status;
}

void chat_template_free(chat_template *t)
{
    if (!t)
        return;
    arena_free(t->memory);
    free(t);
}

static bool bind_text(jinja_run *run, jinja_scope *scope, const char *name, const char *text)
{
    jinja_value value;
    const char *bytes = text ? text : "";
    size_t length = strlen(bytes);
    if (!utf8_valid(bytes, length)) /* a token's bytes need not be text */
        length = 0;
    return jinja_make_text(run, bytes, length, true, &value) &&
           jinja_bind(run, scope, (jinja_name){name, strlen(name)}, value);
}

/* What transformers defines for every template, and over it the caller's variables. */
static bool bind_variables(jinja_run *run, jinja_scope *scope, const chat_template_input *input)
{
    if (!jinja_bind(run, scope, (jinja_name){"tools", 5}, jinja_none()) ||
        !jinja_bind(run, scope, (jinja_name){"documents", 9}, jinja_none()))
        return false;
    json_t *variables = (json_t *)input->variables; /* iteration changes nothing in it, but jansson wants it so */
    for (void *at = json_object_iter(variables); at; at = json_object_iter_next(variables, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *json = json_object_iter_value(at);
        jinja_value value;
        bool ok = strcmp(name, "messages") == 0 ? jinja_messages_from_json(run, json, &value)
                                                : jinja_from_json(run, json, &value);
        if (!ok || !jinja_bind(run, scope, (jinja_name){name, strlen(name)}, value))
            return false;
    }
    return bind_text(run, scope, "bos_token", input->bos_token) && bind_text(run, scope, "eos_token", input->eos_token);
}

static void cut(buffer *b, size_t size)
{
    b->size = size;
    if (b->data)
        b->data[size] = '\0';
}

bp_status chat_template_render(const chat_template *t, const chat_template_input *input, buffer *out, buffer *trusted,
                               bp_error *error)
{
    jinja_builder sink = {.out = out, .trusted = trusted};
    jinja_run run = {.memory = arena_new(),
                     .steps = input->max_steps ? input->max_steps : DEFAULT_STEPS,
                     .line = 1,
                     .max_output = input->max_output ? input->max_output : DEFAULT_OUTPUT,
                     .date = input->date,
                     .sink = &sink,
                     .error = error};
    if (!run.memory)
        return error_set(error, BP_ENOMEM, "out of memory for a chat template");
    size_t before = out->size, trusted_before = trusted->size;
    jinja_scope *scope = jinja_scope_new(&run, NULL);
    if (scope && bind_variables(&run, scope, input))
        jinja_exec(&run, t->root, scope);
    if (run.status != BP_OK) {
        cut(out, before);
        cut(trusted, trusted_before);
    }
    arena_free(run.memory);
    return run.status;
}
