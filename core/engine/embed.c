#include "engine/embed.h"

#include "base/error.h"
#include "engine/prompt.h"
#include "engine/rank.h"

#include <math.h>
#include <string.h>

enum { NORM_LANES = 32 };

bp_status embed_check(const loaded *l, const bp_request *request, bp_error *error)
{
    static const char *const gives[] = {"answers", "vectors of texts", "scores of pairs of texts"};
    const char *name = l->config->name;
    if (request->task != l->task)
        return error_set(error, BP_EUNSUPPORTED, "model \"%s\" gives %s and no %s", name, gives[l->task], gives[request->task]);
    if (l->task == BP_TASK_RANK)
        return request->input == BP_INPUT_MESSAGES && request->messages && request->message_count == 2
                   ? BP_OK
                   : error_set(error, BP_EINVAL, "model \"%s\" reads a text and another one: two messages", name);
    if (l->embedder && request->dimensions > l->output_width)
        return error_set(error, BP_EINVAL, "dimensions is %u and the vectors of model \"%s\" have %u", request->dimensions, name,
                         l->output_width);
    if (request->prompt_name && request->input == BP_INPUT_TOKENS)
        return error_set(error, BP_EINVAL, "prompt_name is of no use to token ids, before which nothing is put");
    if (l->embedder && request->input == BP_INPUT_MESSAGES)
        return error_set(error, BP_EINVAL, "model \"%s\" reads a text or tokens, not messages", name);
    return BP_OK;
}

bp_status embed_encode(const loaded *l, const bp_request *request, token_list *out, bp_error *error)
{
    bp_status status = prompt_encode(l, request, out, error);
    if (status != BP_OK || out->count <= l->context)
        return status;
    if (!(request->flags & BP_REQUEST_TRUNCATE))
        return error_set(error, BP_ECONTEXT, "the input has %zu tokens and the context of model \"%s\" is %u: it must be shorter",
                         out->count, l->config->name, l->context);
    /* What ends a text ends it however long it was. */
    if (l->ends_texts && request->input == BP_INPUT_TEXT && !(request->flags & BP_REQUEST_NO_BOS))
        out->ids[l->context - 1] = out->ids[out->count - 1];
    out->count = l->context;
    return BP_OK;
}

/* A vector that is not all numbers is no answer, and this request's trouble alone. */
static bool is_finite(const bp_stream *r, const float *vector)
{
    for (uint32_t i = 0; i < r->vector_width; i++)
        if (!isfinite(vector[i]))
            return false;
    return true;
}

/* As POOL normalises (docs/numerics.md). */
static void normalise(float *vector, uint32_t width)
{
    float lanes[NORM_LANES] = {0};
    for (uint32_t i = 0; i < width; i++)
        lanes[i % NORM_LANES] = fmaf(vector[i], vector[i], lanes[i % NORM_LANES]);
    for (uint32_t half = NORM_LANES / 2; half > 0; half /= 2)
        for (uint32_t i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    float length = sqrtf(lanes[0]);
    for (uint32_t i = 0; i < width && length != 0; i++)
        vector[i] /= length;
}

void embed_give(bp_stream *r, const float *vector, uint64_t now)
{
    bp_error why = {0};
    r->first_token_at = now;
    if (!is_finite(r, vector)) {
        error_set(&why, BP_EINTERNAL, "the model gave a vector with NaN or infinity");
        request_fail(r, &why);
    }
    if (r->outcome.kind)
        return;
    memcpy(r->vector, vector, r->vector_width * sizeof *vector);
    if (r->cut_unit_vector)
        normalise(r->vector, r->vector_width);
    if (r->sigmoid)
        r->vector[0] = rank_sigmoid(r->vector[0]);
    stream_slot *slot = stream_stage(&r->events); /* the second of a ring of two */
    slot->kind = BP_EVENT_EMBEDDING;
    slot->vector = r->vector;
    slot->vector_width = r->vector_width;
    stream_publish(&r->events, "", 0);
    r->outcome.kind = BP_EVENT_DONE;
    r->outcome.finish = BP_FINISH_STOP;
}
