/* rank: requests that want a score of how well a second text answers to a first.
 *
 * Both are one sequence, which a cross-encoder reads: the token that begins texts, the first text, the one that ends texts, the
 * second text, the end again. Tokens from the second text on are of type 1. Otherwise it is as a request for a vector (embed.h)
 * of one number. Threads: as request.h. */
#ifndef BACKPLANE_ENGINE_RANK_H
#define BACKPLANE_ENGINE_RANK_H

#include "engine/request.h"

/* The pair's tokens. Where they are more than the context and the request allows it, the longer text loses its end first. */
bp_status rank_encode(const loaded *l, const bp_request *request, token_list *out, uint32_t *second_at, bp_error *error);
/* What a score is of the model's number: 1 / (1 + exp(-number)), by IEEE operations in double, rounded once. */
float rank_sigmoid(float number);

#endif
