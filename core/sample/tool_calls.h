/* tool_calls: calls of tools, in a model's own format, as grammar.
 *
 * The text is a JSON object:
 *   begin, end, arguments, list   the format: engine.h, bp_tool_format
 *   tools                         as OpenAI has them
 *   name                          the only tool that may be called, where it is there
 *   many                          several calls may be made
 *   mode                          "required": calls and nothing else. "text": any text, in which calls may begin. "either": calls, or
 *                                 what fits `grammar` of the kind `kind`
 * A call's arguments fit the tool's parameters where the mode is "required" or the tool is strict; else they are any object. */
#ifndef BACKPLANE_SAMPLE_TOOL_CALLS_H
#define BACKPLANE_SAMPLE_TOOL_CALLS_H

#include "sample/rules.h"

#include <jansson.h>

enum { TOOL_CALLS_MOST = 16 /* calls in one answer */ };

/* `otherwise` is the rule of "either", which the caller has read; a failure is remembered in the rules. */
void tool_calls_read(rules *r, const json_t *asked, uint32_t otherwise, uint32_t *root);

#endif
