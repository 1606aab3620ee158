/* A step's input: checked, and copied, so that the caller may reuse its arrays. */
#include "model.h"

#include "batch_check.h"

#include <stdlib.h>

bp_status batch_new(bp_model *model)
{
    const bp_limits *limits = &model->limits;
    batch *b = &model->batch;
    size_t pages = size_multiply(limits->max_seqs, size_max(model->max_pages, 1));
    b->token = calloc(limits->max_tokens, sizeof *b->token);
    b->position = calloc(limits->max_tokens, sizeof *b->position);
    b->type = calloc(limits->max_tokens, sizeof *b->type);
    b->seq_of = calloc(limits->max_tokens, sizeof *b->seq_of);
    b->first = calloc((size_t)limits->max_seqs + 1, sizeof *b->first);
    b->context = calloc(limits->max_seqs, sizeof *b->context);
    b->pages = calloc(pages, sizeof *b->pages);
    b->row = calloc((size_t)limits->max_rows + 1, sizeof *b->row);
    bool complete = b->token && b->position && b->type && b->seq_of && b->first && b->context && b->pages && b->row;
    return complete ? BP_OK : BP_ENOMEM;
}

void batch_free(batch *b)
{
    free(b->token);
    free(b->position);
    free(b->type);
    free(b->seq_of);
    free(b->first);
    free(b->context);
    free(b->pages);
    free(b->row);
    *b = (batch){0};
}

static void copy_sequence(bp_model *model, const bp_batch *in, uint32_t seq)
{
    batch *b = &model->batch;
    b->first[seq] = in->first[seq];
    for (int32_t t = in->first[seq]; t < in->first[seq + 1]; t++) {
        b->token[t] = in->tokens[t];
        b->position[t] = in->positions[t];
        b->type[t] = model->types && in->types ? in->types[t] : 0;
        b->seq_of[t] = (int32_t)seq;
    }
    if (model->cache_count == 0)
        return;
    size_t pages = divide_up((size_t)in->context[seq], model->limits.page_tokens);
    memcpy(b->pages + seq * model->max_pages, in->pages + (size_t)seq * in->page_stride, pages * sizeof *b->pages);
    b->context[seq] = in->context[seq];
}

bp_status model_submit(bp_model *model, const bp_batch *input, bp_error *error)
{
    if (!model || !input)
        return fail(error, BP_EINVAL, "cpu: submit needs a model and a batch");
    batch *b = &model->batch;
    model->submitted = false;
    const batch_rules rules = {
        .backend = "cpu", .limits = &model->limits, .vocab_size = model->vocab_size, .caches = model->cache_count > 0,
        .types = model->types};
    bp_status status = check_batch(&rules, input, error);
    if (status != BP_OK)
        return status;
    for (uint32_t seq = 0; seq < input->seq_count; seq++)
        copy_sequence(model, input, seq);
    if (input->row_count > 0)
        memcpy(b->row, input->rows, input->row_count * sizeof *b->row);
    b->first[input->seq_count] = (int32_t)input->token_count;
    b->seqs = input->seq_count;
    b->tokens = input->token_count;
    b->rows = input->row_count;
    b->page_stride = model->max_pages;
    model->submitted = true;
    return BP_OK;
}
