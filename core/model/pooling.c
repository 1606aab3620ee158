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
    bool encoder = fallback != MODEL_POOLING_FILE;
    uint32_t last = encoder ? MODEL_POOLING_RANK : MODEL_POOLING_LAST;
    if (out->kind > last || (out->kind == MODEL_POOLING_FILE && encoder))
        return error_set(error, BP_EUNSUPPORTED, "key \"%s\" is %" PRIu32 "; this build knows mean (%d), cls (%d)%s last (%d)%s", key,
                         out->kind, MODEL_POOLING_MEAN, MODEL_POOLING_CLS, encoder ? "," : " and", MODEL_POOLING_LAST,
                         encoder ? " and rank (4)" : "");
    return BP_OK;
}

/* A reranker is one by its head, whatever is asked of it. */
static bp_status check_ranker(const model_options *o, bool ranks, bp_error *error)
{
    if (ranks && (o->task == MODEL_TASK_GENERATE || o->task == MODEL_TASK_EMBED || o->pooling || o->normalise))
        return error_set(error, BP_EUNSUPPORTED, "its head scores pairs of texts: its task is rank, without pooling and normalize");
    if (!ranks && o->task == MODEL_TASK_RANK)
        return error_set(error, BP_EUNSUPPORTED, "it has no head that scores pairs of texts: its task is not rank");
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
    if (status == BP_OK)
        status = check_ranker(o, out->kind == MODEL_POOLING_RANK, error);
    if (status != BP_OK || out->kind == MODEL_POOLING_RANK)
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
                                     [MODEL_POOLING_LAST] = BP_POOL_LAST, [MODEL_POOLING_RANK] = BP_POOL_FIRST};
    bp_pool_args args = {.pooling = kinds[pooling->kind],
                         .normalise = pooling->normalise && pooling->kind != MODEL_POOLING_RANK};
    builder_op(b, BP_OP_POOL, 0, 0, rows, &args, sizeof args);
}

uint32_t pooling_task(const model_pooling *pooling)
{
    return pooling->kind == MODEL_POOLING_FILE   ? BP_TASK_GENERATE
           : pooling->kind == MODEL_POOLING_RANK ? BP_TASK_RANK
                                                 : BP_TASK_EMBED;
}
