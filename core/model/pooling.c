#include "model/pooling.h"

#include "base/error.h"
#include "model/architecture.h"

#include <backplane/engine.h>
#include <inttypes.h>
#include <stdio.h>

static bp_status read_file(const architecture_job *job, uint32_t fallback, model_pooling *out, bp_error *error)
{
    char key[96];
    snprintf(key, sizeof key, "%s.pooling_normalize", job->arch->name);
    bp_status status = gguf_bool(job->file, key, true, NULL, &out->normalise, error);
    if (status != BP_OK)
        return status;
    snprintf(key, sizeof key, "%s.pooling_type", job->arch->name);
    if ((status = gguf_u32(job->file, key, fallback, NULL, &out->kind, error)) != BP_OK)
        return status;
    if (out->kind > MODEL_POOLING_LAST || (out->kind == MODEL_POOLING_FILE && fallback != MODEL_POOLING_FILE))
        return error_set(error, BP_EUNSUPPORTED, "key \"%s\" is %" PRIu32 "; this build knows mean (%d), cls (%d) and last (%d)", key,
                         out->kind, MODEL_POOLING_MEAN, MODEL_POOLING_CLS, MODEL_POOLING_LAST);
    return BP_OK;
}

bp_status pooling_read(const architecture_job *job, uint32_t fallback, model_pooling *out, bp_error *error)
{
    const model_options *o = job->options;
    bool headless;
    char key[96];
    snprintf(key, sizeof key, "%s.headless", job->arch->name);
    bp_status status = read_file(job, fallback, out, error);
    if (status == BP_OK)
        status = gguf_bool(job->file, key, false, NULL, &headless, error);
    if (status != BP_OK)
        return status;
    bool encoder = fallback != MODEL_POOLING_FILE;
    if (o->task == MODEL_TASK_GENERATE && (encoder || headless))
        return error_set(error, BP_EUNSUPPORTED, "it has no head that makes answers of its vectors: its task is embed");
    if (o->task == MODEL_TASK_GENERATE)
        out->kind = MODEL_POOLING_FILE;
    else if (o->task == MODEL_TASK_EMBED && out->kind == MODEL_POOLING_FILE)
        out->kind = MODEL_POOLING_LAST;
    if (out->kind == MODEL_POOLING_FILE && (o->pooling || o->normalise))
        return error_set(error, BP_EINVAL, "pooling and normalize are an embedder's, and this model gives answers: write task: embed");
    if (o->pooling)
        out->kind = o->pooling;
    if (o->normalise)
        out->normalise = o->normalise == MODEL_YES;
    return BP_OK;
}

void pooling_add(const model_pooling *pooling, builder *b, int32_t rows)
{
    static const uint32_t kinds[] = {[MODEL_POOLING_MEAN] = BP_POOL_MEAN, [MODEL_POOLING_CLS] = BP_POOL_FIRST,
                                     [MODEL_POOLING_LAST] = BP_POOL_LAST};
    bp_pool_args args = {.pooling = kinds[pooling->kind], .normalise = pooling->normalise};
    builder_op(b, BP_OP_POOL, 0, 0, rows, &args, sizeof args);
}

uint32_t pooling_task(const model_pooling *pooling)
{
    return pooling->kind == MODEL_POOLING_FILE ? BP_TASK_GENERATE : BP_TASK_EMBED;
}
