/* score: log-probabilities of a prompt's own tokens, each from the row of the token before it. They are published as the rows
 * come, in order and once, however the prompt was cut into steps. Threads: as request.h. */
#ifndef BACKPLANE_ENGINE_SCORE_H
#define BACKPLANE_ENGINE_SCORE_H

#include "engine/request.h"

/* BP_EINVAL where a request wants what its other fields rule out. */
bp_status score_check(const bp_request *request, bp_error *error);
/* The first token, which has no log-probability; nothing where the request wants none. */
void score_begin(bp_stream *r);
/* Publishes the token at `position` of the prompt, from the row of logits of the one before it. False: the request is over. */
bool score_token(bp_stream *r, const float *logits, uint32_t position);

#endif
