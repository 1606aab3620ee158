/* sampler: one request's way from logits to a token.
 *
 * Pure: the token is a function of the logits row, the parameters, the tokens so far and (seed, position). One random
 * number is made of (seed, position) and walks the tokens in ascending id: nothing depends on the order of candidates, on
 * other requests or on earlier draws. Probabilities are integers, so sums are the same in any order. Ties go to the lowest
 * id. No stage sorts the whole vocabulary. docs/sampling.md is the specification.
 * One thread at a time per sampler. */
#ifndef BACKPLANE_SAMPLE_SAMPLER_H
#define BACKPLANE_SAMPLE_SAMPLER_H

#include "base/wide.h"

#include <backplane/engine.h>
#include <stdbool.h>

typedef struct sampler sampler;

/* Checks every parameter's range (sentences name the field). Copies what it needs. */
bp_status sampler_new(const bp_sampling *parameters, uint32_t vocab_size, sampler **out, bp_error *error);
void sampler_free(sampler *s); /* NULL is fine */

/* Another instruction set than the best; the choices are the same. It must be one that this processor has. */
void sampler_use(sampler *s, wide_set set);

/* A token of the prompt or the answer that penalties see. */
bp_status sampler_accept(sampler *s, int32_t token, bp_error *error);

typedef struct sampler_choice {
    int32_t token;
    float logprob; /* of the chosen token in the model's own distribution; 0 unless logprobs were asked for */
    uint32_t top_count; /* as many as were asked for, fewer where fewer have a logit above -inf */
    int32_t top_tokens[BP_MAX_LOGPROBS];
    float top_logprobs[BP_MAX_LOGPROBS];
} sampler_choice;

/* Chooses the token at `position` (the absolute position it will have). `logits` [vocab_size] is left as it was.
 * `allowed` is NULL or has a bit for each token, in whole blocks of a row: others have no chance, as if their logit were
 * -inf; log-probabilities are not changed by it. Logits with NaN, or with nothing above -inf, are BP_EINTERNAL: the request fails alone. BP_ENOMEM is possible. On an error *out is
 * zeroed. */
bp_status sampler_choose(sampler *s, const float *logits, const uint64_t *allowed, uint64_t position, sampler_choice *out,
                         bp_error *error);

/* Whether the highest logit is all that sampler_choose looks at: greedy, no logit is changed, no log-probability told. */
bool sampler_is_greedy(const sampler *s);
/* sampler_choose of such a one whose row has its highest logit, `top`, at `token`, the lowest of those that have it. A NaN is the highest. */
bp_status sampler_choose_highest(const sampler *s, int32_t token, float top, sampler_choice *out, bp_error *error);

/* What the row says of a token that is known already: its log-probability and the highest. Errors as sampler_choose. The sampler
 * was made with logprobs. */
bp_status sampler_score(sampler *s, const float *logits, int32_t token, sampler_choice *out, bp_error *error);

void sampling_defaults(bp_sampling *out);

#endif
