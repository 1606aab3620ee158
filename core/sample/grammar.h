/* grammar: the kinds of texts that say what an answer may be, each compiled to a machine. Any thread. */
#ifndef BACKPLANE_SAMPLE_GRAMMAR_H
#define BACKPLANE_SAMPLE_GRAMMAR_H

#include "sample/machine.h"

enum { GRAMMAR_TOOL_CALLS = 1000 }; /* a kind of the core's own: tool_calls.h */

/* `kind` is one of BP_GRAMMAR_… or the above. Errors: BP_EGRAMMAR, with the place in the text; BP_ENOMEM. */
bp_status grammar_compile(uint32_t kind, const char *text, size_t bytes, machine **out, bp_error *error);

#endif
