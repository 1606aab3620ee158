#include "text/tools.h"

#include <string.h>

/* A format is that of the first row all of whose marks are in the template. */
static const struct { const char *marks[3]; bp_tool_format format; } rows[] = {
    {{"<tool_call>"}, {.name = "hermes", .begin = "<tool_call>", .end = "</tool_call>", .arguments = "arguments"}},
    {{"[TOOL_CALLS]", "[ARGS]"}, {.name = ""}}, /* names outside of the JSON: not read */
    {{"[TOOL_CALLS]"}, {.name = "mistral", .begin = "[TOOL_CALLS]", .arguments = "arguments", .list = 1}},
    {{"\"parameters\"", "tools", "ipython"}, {.name = "llama", .arguments = "parameters"}},
};

const bp_tool_format *tools_format(const char *source)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool all = true;
        for (size_t k = 0; k < 3 && rows[i].marks[k]; k++)
            all = all && strstr(source, rows[i].marks[k]);
        if (all)
            return *rows[i].format.name ? &rows[i].format : NULL;
    }
    return NULL;
}

bool tools_known(const char *source)
{
    return strstr(source, "tools") != NULL;
}
