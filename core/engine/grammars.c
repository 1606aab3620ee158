#include "engine/grammars.h"

#include "base/error.h"
#include "base/json.h"
#include "sample/grammar.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct grammars {
    pthread_mutex_t lock;
    constraints *constraints; /* NULL until the first request; the rest is set with it */
    const tokenizer *tokenizer;
    int32_t mark;
};

bp_status grammars_new(grammars **out, bp_error *error)
{
    grammars *g = calloc(1, sizeof *g);
    if (!g)
        return error_set(error, BP_ENOMEM, "no memory for grammars");
    pthread_mutex_init(&g->lock, NULL);
    *out = g;
    return BP_OK;
}

void grammars_free(grammars *g)
{
    if (!g)
        return;
    constraints_free(g->constraints);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

int32_t grammars_mark(const tokenizer *t, const bp_tool_format *tools)
{
    int32_t mark = tools && *tools->begin ? tokenizer_find(t, tools->begin, strlen(tools->begin)) : -1;
    return mark >= 0 && tokenizer_is_special(t, mark) ? mark : -1;
}

/* Control tokens stand for no text: no grammar allows them, but for the mark of calls. */
static const char *text_of(const void *user, uint32_t token, uint32_t *length)
{
    const grammars *g = user;
    *length = 0;
    if (tokenizer_is_special(g->tokenizer, (int32_t)token) && (int32_t)token != g->mark)
        return NULL;
    text_piece piece = tokenizer_bytes(g->tokenizer, (int32_t)token);
    *length = piece.length;
    return piece.bytes;
}

static bool ends(const void *user, uint32_t token)
{
    const grammars *g = user;
    return tokenizer_ends_text(g->tokenizer, (int32_t)token);
}

static bp_status open_constraints(grammars *g, const tokenizer *t, uint32_t vocab_size, const bp_tool_format *tools, bp_error *error)
{
    bp_status status = BP_OK;
    token_source source = {.count = vocab_size, .user = g, .text = text_of, .ends = ends};
    pthread_mutex_lock(&g->lock);
    if (!g->constraints) {
        g->tokenizer = t;
        g->mark = grammars_mark(t, tools);
        status = constraints_new(&source, &g->constraints, error);
    }
    pthread_mutex_unlock(&g->lock);
    return status;
}

/* --- tools ---------------------------------------------------------------------------------------------------------------------- */

/* How a request's tools shape its answer; NULL: not at all. Without a demand of its own a model may call as it likes, and
 * who reads the answer sees whether it is a call. */
static const char *mode_of(const bp_request *request, const bp_tool_format *format, const json_t *tools)
{
    if (request->tool_choice == BP_TOOLS_REQUIRED)
        return "required";
    if (!format)
        return NULL;
    if (request->grammar_kind != BP_GRAMMAR_NONE)
        return "either";
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (json_is_true(json_object_get(json_object_get(json_array_get(tools, i), "function"), "strict")))
            return "text";
    return request->flags & BP_REQUEST_ONE_TOOL_CALL ? "text" : NULL;
}

/* The text that tool_calls.h reads; NULL when out of memory. Takes `tools`. */
static char *describe_calls(const bp_request *request, const bp_tool_format *format, const char *mode, json_t *tools)
{
    json_t *asked = json_pack("{ss ss ss ss sb sb so}", "mode", mode, "begin", format->begin, "end", format->end, "arguments",
                              format->arguments, "list", format->list != 0, "many", !(request->flags & BP_REQUEST_ONE_TOOL_CALL),
                              "tools", tools);
    bool good = asked != NULL;
    if (request->tool_name)
        good = good && json_object_set_new(asked, "name", json_string(request->tool_name)) == 0;
    if (request->grammar_kind)
        good = good && json_object_set_new(asked, "kind", json_integer(request->grammar_kind)) == 0 &&
               json_object_set_new(asked, "grammar", json_stringn(request->grammar, request->grammar_bytes)) == 0;
    char *text = good ? json_write(asked, JSON_COMPACT) : NULL;
    json_decref(asked);
    return text;
}

/* *text is NULL where the tools ask for nothing. */
static bp_status shape_calls(const bp_request *request, const bp_tool_format *format, char **text, bp_error *error)
{
    *text = NULL;
    if (!request->tools_json)
        return request->tool_choice == BP_TOOLS_AUTO
                   ? BP_OK : error_set(error, BP_EGRAMMAR, "a tool is to be called, and the request has none");
    bool memory;
    json_t *tools = json_read(request->tools_json, strlen(request->tools_json), JSON_REJECT_DUPLICATES, NULL, &memory);
    if (memory)
        return error_set(error, BP_ENOMEM, "no memory for the tools");
    if (!json_is_array(tools)) {
        json_decref(tools);
        return error_set(error, BP_EGRAMMAR, "tools_json is not a JSON array");
    }
    const char *mode = mode_of(request, format, tools);
    if (!mode || !format) {
        json_decref(tools);
        return mode ? error_set(error, BP_EGRAMMAR, "how this model calls tools is not known, so it cannot be made to") : BP_OK;
    }
    *text = describe_calls(request, format, mode, tools);
    return *text ? BP_OK : error_set(error, BP_ENOMEM, "no memory for the grammar of tools");
}

bp_status grammars_constrain(grammars *g, const tokenizer *t, uint32_t vocab_size, const bp_tool_format *tools,
                             const bp_request *request, constraint **out, bp_error *error)
{
    char *calls = NULL;
    *out = NULL;
    bp_status status = shape_calls(request, tools, &calls, error);
    if (status == BP_OK && (calls || request->grammar_kind)) {
        status = open_constraints(g, t, vocab_size, tools, error);
        if (status == BP_OK && calls)
            status = constraint_new(g->constraints, GRAMMAR_TOOL_CALLS, calls, strlen(calls), out, error);
        else if (status == BP_OK)
            status = constraint_new(g->constraints, request->grammar_kind, request->grammar, request->grammar_bytes, out, error);
    }
    free(calls);
    return status;
}
