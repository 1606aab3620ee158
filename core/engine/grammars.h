/* grammars: what a model's requests share to hold their answers to grammars; made by the first request that has one, since
 * most models never get any. Any thread. */
#ifndef BACKPLANE_ENGINE_GRAMMARS_H
#define BACKPLANE_ENGINE_GRAMMARS_H

#include "sample/constraint.h"
#include "text/tokenizer.h"

#include <backplane/engine.h>

typedef struct grammars grammars;

bp_status grammars_new(grammars **out, bp_error *error);
void grammars_free(grammars *g); /* with no request left; NULL is fine */

/* *out is NULL where the request has neither a grammar nor tools that ask for one. `vocab_size` is how many logits a row has;
 * `tools` is the model's format, or NULL; the tokenizer outlives the grammars. Errors: BP_EGRAMMAR, BP_ENOMEM. */
bp_status grammars_constrain(grammars *g, const tokenizer *t, uint32_t vocab_size, const bp_tool_format *tools,
                             const bp_request *request, constraint **out, bp_error *error);
/* The special token that is the mark of the model's calls, which is text of an answer of a request with tools; -1: none. */
int32_t grammars_mark(const tokenizer *t, const bp_tool_format *tools);

#endif
