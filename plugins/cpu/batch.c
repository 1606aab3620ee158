/* A step's input: copied, so that the caller may reuse its arrays, and checked once more, so that no index of it can reach
 * outside our memory. */
#include "model.h"

#include <stdlib.h>

bp_status batch_new(bp_model *model)
{
    const bp_limits *limits = &model->limits;
    batch *b = &model->batch;
    size_t pages = size_multiply(limits->max_seqs, size_max(model->max_pages, 1));
    b->token = calloc(limits->max_tokens, sizeof *b->token);
    b->position = calloc(limits->max_tokens, sizeof *b->position);
    b->seq_of = calloc(limits->max_tokens, sizeof *b->seq_of);
    b->first = calloc((size_t)limits->max_seqs + 1, sizeof *b->first);
    b->context = calloc(limits->max_seqs, sizeof *b->context);
    b->pages = calloc(pages, sizeof *b->pages);
    b->row = calloc((size_t)limits->max_rows + 1, sizeof *b->row);
    bool complete = b->token && b->position && b->seq_of && b->first && b->context && b->pages && b->row;
    return complete ? BP_OK : BP_ENOMEM;
}

void batch_free(batch *b)
{
    free(b->token);
    free(b->position);
    free(b->seq_of);
    free(b->first);
    free(b->context);
    free(b->pages);
    free(b->row);
    *b = (batch){0};
}

static bp_status check_sizes(const bp_model *model, const bp_batch *in, bp_error *error)
{
    const bp_limits *limits = &model->limits;
    if (in->size < sizeof *in)
        return fail(error, BP_EINVAL, "cpu: the batch is of an older or unknown form");
    if (in->token_count < 1 || in->token_count > limits->max_tokens || in->seq_count < 1 ||
        in->seq_count > limits->max_seqs || in->row_count > limits->max_rows) {
        return fail(error, BP_ELIMIT,
                    "cpu: a step of %u tokens, %u sequences and %u rows, where the limits are %u, %u and %u",
                    in->token_count, in->seq_count, in->row_count, limits->max_tokens, limits->max_seqs, limits->max_rows);
    }
    if (!in->tokens || !in->positions || !in->first || (in->row_count && !in->rows)) {
        return fail(error, BP_EINVAL, "cpu: the batch has an array missing");
    }
    if (model->cache_count && (!in->context || !in->pages))
        return fail(error, BP_EINVAL, "cpu: the batch has no cache pages");
    return BP_OK;
}

static bp_status copy_sequence(bp_model *model, const bp_batch *in, uint32_t seq, bp_error *error)
{
    batch *b = &model->batch;
    int32_t from = in->first[seq], to = in->first[seq + 1];
    if (from < 0 || to <= from || (uint32_t)to > in->token_count)
        return fail(error, BP_EINVAL, "cpu: sequence %u has tokens %d to %d", seq, from, to);
    for (int32_t t = from; t < to; t++) {
        int32_t token = in->tokens[t], position = in->positions[t];
        if (token < 0 || (size_t)token >= model->vocab_size)
            return fail(error, BP_EINVAL, "cpu: token %d is not in the vocabulary", token);
        if (position < 0 || (uint32_t)position >= model->limits.max_context ||
            (t > from && position != in->positions[t - 1] + 1)) {
            return fail(error, BP_EINVAL, "cpu: sequence %u has a token at position %d", seq, position);
        }
        b->token[t] = token;
        b->position[t] = position;
        b->seq_of[t] = (int32_t)seq;
    }
    b->first[seq] = from;
    if (model->cache_count == 0)
        return BP_OK;
    int32_t context = in->context[seq];
    if (context != b->position[to - 1] + 1)
        return fail(error, BP_EINVAL, "cpu: sequence %u ends at %d, not at its context %d", seq, b->position[to - 1],
                    context);
    size_t pages = divide_up((size_t)context, model->limits.page_tokens);
    if (pages > in->page_stride)
        return fail(error, BP_EINVAL, "cpu: sequence %u needs %zu pages and has %u", seq, pages, in->page_stride);
    for (size_t i = 0; i < pages; i++) {
        int32_t page = in->pages[(size_t)seq * in->page_stride + i];
        if (page < 0 || (uint32_t)page >= model->limits.page_count)
            return fail(error, BP_EINVAL, "cpu: page %d does not exist", page);
        b->pages[seq * model->max_pages + i] = page;
    }
    b->context[seq] = context;
    return BP_OK;
}

bp_status model_submit(bp_model *model, const bp_batch *input, bp_error *error)
{
    if (!model || !input)
        return fail(error, BP_EINVAL, "cpu: submit needs a model and a batch");
    batch *b = &model->batch;
    model->submitted = false;
    bp_status status = check_sizes(model, input, error);
    if (status != BP_OK)
        return status;
    if (input->first[0] != 0 || (uint32_t)input->first[input->seq_count] != input->token_count) {
        return fail(error, BP_EINVAL, "cpu: the sequences do not cover the tokens of the batch");
    }
    for (uint32_t seq = 0; seq < input->seq_count; seq++) {
        status = copy_sequence(model, input, seq, error);
        if (status != BP_OK)
            return status;
    }
    for (uint32_t i = 0; i < input->row_count; i++) {
        int32_t row = input->rows[i];
        if (row < 0 || (uint32_t)row >= input->token_count)
            return fail(error, BP_EINVAL, "cpu: row %d is not in the batch", row);
        b->row[i] = row;
    }
    b->first[input->seq_count] = (int32_t)input->token_count;
    b->seqs = input->seq_count;
    b->tokens = input->token_count;
    b->rows = input->row_count;
    b->page_stride = model->max_pages;
    model->submitted = true;
    return BP_OK;
}
