/* fuzz_template: any bytes as a chat template. Whatever they are, they are rendered within tight limits or refused, and
 * what comes out is UTF-8 with one mark a byte, none of them on text that came from a message. The seeds are the golden
 * templates. */
#include "base/utf8.h"
#include "text/template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"\\u0001 be\\n \"},"
    " {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"\\u0002\"}]},"
    " {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"abcdef123\", \"type\": \"function\","
    " \"function\": {\"name\": \"f\", \"arguments\": {\"a\": [1, -2.5, true, null, \"\\u00e9\"]}}}]},"
    " {\"role\": \"tool\", \"name\": \"f\", \"tool_call_id\": \"abcdef123\", \"content\": \"\\ud83d\\ude00\"},"
    " {\"role\": \"user\", \"content\": \"\\u0001\"}],"
    " \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\","
    " \"items\": {}}}}], \"add_generation_prompt\": true}";

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* The characters 1 and 2 are in the messages only, unless the source spells them itself. */
static void check_output(const buffer *out, const buffer *trusted, bool spelled)
{
    require(out->size == trusted->size && out->size <= 65536 && utf8_valid(out->data ? out->data : "", out->size));
    for (size_t i = 0; i < out->size; i++) {
        require(trusted->data[i] == 0 || trusted->data[i] == 1);
        require(spelled || out->data[i] > 2 || out->data[i] < 1 || !trusted->data[i]);
    }
}

static bool spells_controls(const uint8_t *data, size_t size)
{
    return memchr(data, 1, size) || memchr(data, 2, size) || memchr(data, '\\', size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    chat_template *t = NULL;
    bp_error error = {0};
    bp_status status = chat_template_new((const char *)data, size, &t, &error);
    require((status == BP_OK) == (t != NULL) && status == error.code);
    if (!t)
        return 0;
    json_t *variables = json_loads(conversation, 0, NULL);
    require(variables != NULL);
    chat_template_input input = {.variables = variables, .bos_token = "<s>", .eos_token = "</s>", .date = "2025-02-03",
                                 .max_steps = 20000, .max_output = 65536};
    buffer out = {0}, trusted = {0};
    status = chat_template_render(t, &input, &out, &trusted, &error);
    require(status == BP_OK || (status == error.code && out.size == 0));
    check_output(&out, &trusted, size && spells_controls(data, size));
    buffer_free(&out);
    buffer_free(&trusted);
    json_decref(variables);
    chat_template_free(t);
    return 0;
}
