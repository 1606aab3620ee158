/* calls: however an answer is cut into pieces, its text and its calls come out the same, and what is no call is text. */
#include "openai/calls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const bp_tool_format hermes = {.name = "hermes", .begin = "<tool_call>", .end = "</tool_call>", .arguments = "arguments"};
static const bp_tool_format mistral = {.name = "mistral", .begin = "[TOOL_CALLS]", .arguments = "arguments", .list = 1};
static const bp_tool_format llama = {.name = "llama", .arguments = "parameters"};

typedef struct expected {
    const bp_tool_format *format;
    const char *answer, *text, *calls; /* calls: "name(arguments) name(arguments)" */
} expected;

static json_t *tools_of(void)
{
    return json_loads("[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}, {\"type\": \"function\", \"function\": {\"name\": \"get-it\"}}]",
                      0, NULL);
}

/* What the deltas say, put together again; each first one has no arguments. */
static void take_deltas(calls *c, text *out)
{
    for (;;) {
        json_t *piece;
        assert_true(calls_delta(c, &piece));
        if (!piece)
            return;
        const json_t *function = json_object_get(piece, "function");
        const char *name = json_string_value(json_object_get(function, "name")), *more = json_string_value(json_object_get(function, "arguments"));
        assert_in_range(json_integer_value(json_object_get(piece, "index")), 0, c->count - 1);
        assert_true(name ? *more == 0 && strlen(json_string_value(json_object_get(piece, "id"))) == 9 : *more != 0);
        if (name && out->size)
            text_append(out, ") ", 2);
        if (name) {
            text_append(out, name, strlen(name));
            text_append(out, "(", 1);
        }
        text_append(out, more, strlen(more));
        json_decref(piece);
    }
}

static void check_cut(const expected *e, size_t first, size_t second)
{
    json_t *tools = tools_of();
    calls c = {.on = true, .format = *e->format, .tools = tools, .seed = "x", .bare = true};
    text out = {0}, told = {0};
    size_t length = strlen(e->answer), ends[] = {first, second, length};
    for (size_t i = 0, from = 0; i < 3; from = ends[i++]) {
        assert_true(calls_push(&c, e->answer + from, ends[i] - from, &out));
        take_deltas(&c, &told);
    }
    assert_true(calls_finish(&c, &out));
    take_deltas(&c, &told);
    if (told.size)
        text_append(&told, ")", 1);
    if (strcmp(text_string(&out), e->text) != 0 || strcmp(text_string(&told), e->calls) != 0)
        fail_msg("\"%s\" cut at %zu and %zu: text \"%s\", calls \"%s\"", e->answer, first, second, text_string(&out), text_string(&told));
    json_t *list = calls_json(&c);
    assert_int_equal(json_array_size(list), c.count);
    json_decref(list);
    calls_clear(&c);
    text_free(&out);
    text_free(&told);
    json_decref(tools);
}

static void test_text_and_calls_come_apart(void **context)
{
    (void)context;
    static const expected cases[] = {
        {&hermes, "Hello.", "Hello.", ""}, {&hermes, "", "", ""}, {&hermes, " \n", " \n", ""}, {&hermes, "a <tool", "a <tool", ""},
        {&hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>", "", "f({\"a\": 1})"},
        {&hermes, "Sure. \n<tool_call>{\"arguments\":{\"s\":\"}<\\\"/\"},\"name\":\"get-it\"}</tool_call>\n", "Sure.", "get-it({\"s\":\"}<\\\"/\"})"},
        {&hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"get-it\", \"arguments\": {\"x\": [[1], {}]}}\n"
                  "</tool_call> ok", " ok", "f({}) get-it({\"x\": [[1], {}]})"},
        {&hermes, "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>", "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>", ""},
        {&hermes, "<tool_call>{name: f}</tool_call>", "<tool_call>{name: f}</tool_call>", ""},
        {&hermes, "<tool_call><tool_call>{\"name\": \"f\"}</tool_call>", "<tool_call>", "f({})"},
        {&hermes, "<<tool_call>{\"name\": \"f\", \"id\": 3, \"arguments\": \"{\\\"a\\\": 2}\"}", "<", "f({\"a\": 2})"},
        {&hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"lo", "", "f({\"a\": \"lo)"},
        {&hermes, "<tool_call>{\"name\": \"f\"", "<tool_call>{\"name\": \"f\"", ""},
        {&hermes, "{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n{\"name\": \"f\", \"arguments\": {}}", "", "f({\"a\": 1}) f({})"},
        {&hermes, "{\"name\": \"f\", \"arguments\": {}}  <tool_call>{\"name\": \"f\"}", "", "f({}) f({})"},
        {&hermes, "<tool_call>{\"name\": \"f\"} <tool_call>{\"name\": \"get-it\"}", "", "f({}) get-it({})"},
        {&hermes, " \n <tool  <tool_call> \n x", " \n <tool  <tool_call> \n x", ""},
        {&hermes, "{\"city\": \"f\", \"arguments\": {}}", "{\"city\": \"f\", \"arguments\": {}}", ""},
        {&hermes, "x {\"name\": \"f\", \"arguments\": {}}", "x {\"name\": \"f\", \"arguments\": {}}", ""},
        {&mistral, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": \"]\"}}, {\"name\": \"get-it\", \"arguments\": {}}]", "",
         "f({\"a\": \"]\"}) get-it({})"},
        {&mistral, "Yes [TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}]", "Yes", "f({})"}, {&mistral, "[1, 2]", "[1, 2]", ""},
        {&mistral, "[TOOL_CALLS] none", "[TOOL_CALLS] none", ""},
        {&llama, "{\"name\": \"f\", \"parameters\": {\"a\": null}}", "", "f({\"a\": null})"},
        {&llama, "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"get-it\", \"parameters\": {}}", "", "f({}) get-it({})"},
        {&llama, "{\"x\": 1}", "{\"x\": 1}", ""}, {&llama, "The answer {is} 3.", "The answer {is} 3.", ""},
        {&llama, "{\"name\": \"f\", \"parameters\": {}} and more {", "and more {", "f({})"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t first = 0; first <= strlen(cases[i].answer); first++)
            for (size_t second = first; second <= strlen(cases[i].answer); second += 1 + second / 8)
                check_cut(&cases[i], first, second);
}

/* A model may write as much white space as its context has room for, where a call may begin, and NULs. */
static void test_long_white_space_is_text(void **context)
{
    (void)context;
    enum { BLANKS = 2000000 };
    static const bp_tool_format *const formats[] = {&hermes, &mistral, &llama};
    static const char *const before[] = {"", "a", "<tool_call>", "{\"name\": \"f\"}"};
    char *blanks = malloc(BLANKS);
    memset(blanks, ' ', BLANKS);
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 4; k++) {
            json_t *tools = tools_of();
            calls c = {.on = true, .format = *formats[i], .tools = tools, .seed = "x", .bare = true};
            text out = {0};
            assert_true(calls_push(&c, before[k], strlen(before[k]), &out) && calls_push(&c, blanks, BLANKS, &out) &&
                        calls_push(&c, "b\0c", 3, &out));
            bool called = c.count == 1;
            assert_true(called == (k == 3));
            assert_true(out.size == (called ? 0 : strlen(before[k])) + BLANKS + 3 || (called && out.size == 3));
            assert_memory_equal(out.data + out.size - 3, "b\0c", 3);
            assert_true(calls_finish(&c, &out));
            calls_clear(&c);
            text_free(&out);
            json_decref(tools);
        }
    free(blanks);
}

static void test_without_tools_all_is_text(void **context)
{
    (void)context;
    calls c = {0};
    text out = {0};
    const char *answer = "<tool_call>{\"name\": \"f\"}</tool_call>";
    assert_true(calls_push(&c, answer, strlen(answer), &out) && calls_finish(&c, &out));
    assert_string_equal(out.data, answer);
    assert_int_equal(c.count, 0);
    calls_clear(&c);
    text_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text_and_calls_come_apart),
                                       cmocka_unit_test(test_long_white_space_is_text), cmocka_unit_test(test_without_tools_all_is_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
