/* embed: requests that want a text's vector instead of an answer.
 *
 * Such a request is a sequence of its whole input and nothing behind it: its tokens see each other, so they come in one step
 * (scheduler_limits.whole_prompts), nothing of it is shared with others, and it ends with that step. Threads: as request.h. */
#ifndef BACKPLANE_ENGINE_EMBED_H
#define BACKPLANE_ENGINE_EMBED_H

#include "engine/request.h"

/* Whether the model is of the request's task, and can read its kind of input. */
bp_status embed_check(const loaded *l, const bp_request *request, bp_error *error);
/* The input's tokens, with those that begin and end a text, as many as fit the context where the request says so. */
bp_status embed_encode(const loaded *l, const bp_request *request, token_list *out, bp_error *error);
/* The event with the vector, which stays the request's, and the request's end. */
void embed_give(bp_stream *r, const float *vector, uint64_t now);

#endif
