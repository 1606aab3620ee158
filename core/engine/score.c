#include "engine/score.h"

#include "base/error.h"

bp_status score_check(const bp_request *request, bp_error *error)
{
    bool scores = request->flags & BP_REQUEST_PROMPT_LOGPROBS, none = request->flags & BP_REQUEST_NO_ANSWER;
    if ((scores || none) && request->task != BP_TASK_GENERATE)
        return error_set(error, BP_EINVAL, "an input to embed has no log-probabilities and no answer");
    if (scores && request->sampling.logprobs < 0)
        return error_set(error, BP_EINVAL, "log-probabilities of the prompt need logprobs of at least 0");
    return BP_OK;
}

static bp_status show(bp_stream *r, uint32_t position, const sampler_choice *choice, bp_error *error)
{
    bp_status status = answer_show_prompt(&r->answer, position, choice, error);
    if (status != BP_OK)
        request_fail(r, error);
    return status;
}

void score_begin(bp_stream *r)
{
    bp_error why = {0};
    if (r->sequence.scores)
        show(r, 0, &(sampler_choice){.token = r->sequence.tokens[0]}, &why);
}

bool score_token(bp_stream *r, const float *logits, uint32_t position)
{
    sampler_choice choice;
    bp_error why = {0};
    if (sampler_score(r->sampler, logits, r->sequence.tokens[position], &choice, &why) == BP_OK)
        return show(r, position, &choice, &why) == BP_OK;
    request_fail(r, &why);
    return false;
}
