#include "sample/grammar.h"

#include "base/error.h"
#include "base/json.h"
#include "sample/gbnf.h"
#include "sample/json_schema.h"
#include "sample/regex.h"
#include "sample/tool_calls.h"

#include <backplane/engine.h>

static void read_regex(rules *r, const char *text, size_t bytes, uint32_t *root)
{
    *root = rules_declare(r);
    rules_define(r, *root, regex_parse(r, "regex", text, bytes, 0));
}

static bool read(rules *r, uint32_t kind, const char *text, size_t bytes, uint32_t *root);

static void read_tool_calls(rules *r, const char *text, size_t bytes, uint32_t *root)
{
    bool memory;
    json_t *asked = json_read(text, bytes, JSON_ALLOW_NUL, NULL, &memory);
    const json_t *grammar = json_object_get(asked, "grammar");
    uint32_t kind = (uint32_t)json_integer_value(json_object_get(asked, "kind")), otherwise = 0;
    if (!asked)
        rules_fail(r, memory ? BP_ENOMEM : BP_EINVAL, memory ? "no memory for the tools" : "the tools are not JSON");
    if (grammar && (kind == GRAMMAR_TOOL_CALLS || !read(r, kind, json_string_value(grammar), json_string_length(grammar), &otherwise)))
        rules_fail(r, BP_EINVAL, "grammar kind %u is not known", kind);
    tool_calls_read(r, asked, otherwise, root);
    json_decref(asked);
}

static bool read(rules *r, uint32_t kind, const char *text, size_t bytes, uint32_t *root)
{
    switch (kind) {
    case BP_GRAMMAR_GBNF: gbnf_parse(r, text, bytes, root); return true;
    case BP_GRAMMAR_REGEX: read_regex(r, text, bytes, root); return true;
    case BP_GRAMMAR_JSON_SCHEMA: json_schema_read(r, text, bytes, root); return true;
    case GRAMMAR_TOOL_CALLS: read_tool_calls(r, text, bytes, root); return true;
    default: return false;
    }
}

bp_status grammar_compile(uint32_t kind, const char *text, size_t bytes, machine **out, bp_error *error)
{
    rules r;
    program p = {0};
    uint32_t root = 0;
    bp_error why = {0};
    rules_init(&r);
    bp_status status = read(&r, kind, text, bytes, &root) ? program_compile(&r, root, &p, &why)
                                                          : error_set(&why, BP_EINVAL, "grammar kind %u is not known", kind);
    rules_clear(&r);
    if (status == BP_OK)
        status = machine_new(&p, out, &why);
    if (status == BP_OK)
        return status;
    bool ours = status == BP_ENOMEM;
    return error_set(error, ours ? status : BP_EGRAMMAR, "%s", why.message);
}
