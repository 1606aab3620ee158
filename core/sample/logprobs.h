/* logprobs: natural logarithms of the probabilities that the model itself gave, before any stage of sampling. */
#ifndef BACKPLANE_SAMPLE_LOGPROBS_H
#define BACKPLANE_SAMPLE_LOGPROBS_H

#include "sample/row.h"
#include "sample/sampler.h"

/* Sets out->logprob, that of `chosen`, and the `count` likeliest tokens, fewer if fewer are possible: descending, ties to
 * the lowest id. `r` is the row without changes; count <= BP_MAX_LOGPROBS. */
void logprobs_fill(const row *r, int32_t chosen, uint32_t count, sampler_choice *out);

#endif
