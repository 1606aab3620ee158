/* A step: its input is checked and staged in one piece, and everything is launched. */
#include "batch_check.h"
#include "model.h"

#include <stdlib.h>

bp_status batch_new(bp_model *model, bp_error *error)
{
    const bp_limits *limits = &model->limits;
    size_t pages = model->cache_count ? divide_up(limits->max_context, limits->page_tokens) : 0;
    size_t numbers = size_add(size_multiply(limits->max_seqs, pages), 4 * (size_t)limits->max_tokens);
    numbers = size_add(numbers, 2 * (size_t)limits->max_seqs + 1 + limits->max_rows);
    void *staged = NULL, *placed = NULL;
    bp_status status = gpu_allocate_host(model->device->gpu, size_multiply(numbers, sizeof(int32_t)), &staged, error);
    model->batch.staged = staged;
    if (status == BP_OK)
        status = gpu_allocate(model->device->gpu, size_multiply(numbers, sizeof(int32_t)), &placed, error);
    model->batch.placed = placed;
    model->batch.capacity = numbers;
    return status;
}

void batch_free(bp_model *model)
{
    gpu_free_host(model->device->gpu, model->batch.staged);
    gpu_free(model->device->gpu, model->batch.placed);
    model->batch = (batch){0};
}

/* The next `count` numbers of the stage; where they will be on the device. */
static const int32_t *add(batch *b, size_t *at, const int32_t *from, size_t count)
{
    if (count > 0)
        memcpy(b->staged + *at, from, count * sizeof *from);
    *at += count;
    return b->placed + *at - count;
}

/* Tokens whose types the batch leaves out are of the first. */
static void add_types(bp_model *model, const bp_batch *in, size_t *at)
{
    batch *b = &model->batch;
    b->place.type = b->placed + *at;
    for (uint32_t t = 0; t < in->token_count; t++)
        b->staged[(*at)++] = in->types ? in->types[t] : 0;
}

/* So that a sequence has another shape (graphs.c) a few times only. */
static size_t rounded_depth(const bp_model *model, size_t longest)
{
    size_t depth = CHUNK_TOKENS;
    while (depth < longest)
        depth *= 2;
    return size_min(depth, model->limits.max_context);
}

/* Pages of all sequences, as many each as the longest may have. */
static void add_pages(bp_model *model, const bp_batch *in, size_t *at)
{
    batch *b = &model->batch;
    size_t most = 0;
    for (uint32_t seq = 0; seq < in->seq_count; seq++)
        b->depth = size_max(b->depth, (size_t)in->context[seq]);
    b->depth = rounded_depth(model, b->depth);
    most = divide_up(b->depth, model->limits.page_tokens);
    b->pages = b->placed + *at;
    b->page_stride = most;
    for (uint32_t seq = 0; seq < in->seq_count; seq++) {
        size_t used = divide_up((size_t)in->context[seq], model->limits.page_tokens);
        memcpy(b->staged + *at, in->pages + (size_t)seq * in->page_stride, used * sizeof(int32_t));
        memset(b->staged + *at + used, 0, (most - used) * sizeof(int32_t));
        *at += most;
    }
}

static void stage_batch(bp_model *model, const bp_batch *in)
{
    batch *b = &model->batch;
    size_t at = 0;
    *b = (batch){.seqs = in->seq_count,
                 .tokens = in->token_count,
                 .rows = in->row_count,
                 .staged = b->staged,
                 .placed = b->placed,
                 .capacity = b->capacity};
    b->place.token = add(b, &at, in->tokens, in->token_count);
    b->place.position = add(b, &at, in->positions, in->token_count);
    if (model->types > 0)
        add_types(model, in, &at);
    b->place.first = add(b, &at, in->first, (size_t)in->seq_count + 1);
    b->place.row = add(b, &at, in->rows, in->row_count);
    b->place.seq_of = b->placed + at;
    for (uint32_t seq = 0; seq < in->seq_count; seq++)
        for (int32_t t = in->first[seq]; t < in->first[seq + 1]; t++)
            b->staged[at++] = (int32_t)seq;
    if (model->cache_count > 0) {
        b->place.context = add(b, &at, in->context, in->seq_count);
        add_pages(model, in, &at);
    }
    gpu_upload(model->device->gpu, b->placed, b->staged, at * sizeof(int32_t));
}

bp_status model_submit(bp_model *model, const bp_batch *input, bp_error *error)
{
    if (!model || !input)
        return fail(error, BP_EINVAL, "%s: submit needs a model and a batch", gpu_backend_name);
    gpu *g = model->device->gpu;
    bp_status waited = model->submitted ? gpu_wait(g, error) : BP_OK; /* for a step that nobody waited for: its stage is used */
    model->submitted = false;
    if (waited != BP_OK)
        return waited;
    const batch_rules rules = {.backend = gpu_backend_name,
                               .limits = &model->limits,
                               .vocab_size = model->vocab_size,
                               .caches = model->cache_count > 0,
                               .types = model->types};
    bp_status status = check_batch(&rules, input, error);
    if (status == BP_OK)
        status = reserve_result(model, model->pools ? input->seq_count : input->row_count, error);
    if (status != BP_OK)
        return status;
    gpu_stream *stream = gpu_bind(g);
    stage_batch(model, input);
    run_steps(model, stream);
    model->submitted = true;
    return BP_OK;
}
