#include "batch_check.h"

static bp_status check_sizes(const batch_rules *rules, const bp_batch *in, bp_error *error)
{
    const bp_limits *limits = rules->limits;
    if (in->size < sizeof *in)
        return fail(error, BP_EINVAL, "%s: the batch is of an older or unknown form", rules->backend);
    if (in->token_count < 1 || in->token_count > limits->max_tokens || in->seq_count < 1 ||
        in->seq_count > limits->max_seqs || in->row_count > limits->max_rows) {
        return fail(error, BP_ELIMIT,
                    "%s: a step of %u tokens, %u sequences and %u rows, where the limits are %u, %u and %u", rules->backend,
                    in->token_count, in->seq_count, in->row_count, limits->max_tokens, limits->max_seqs, limits->max_rows);
    }
    if (!in->tokens || !in->positions || !in->first || (in->row_count && !in->rows))
        return fail(error, BP_EINVAL, "%s: the batch has an array missing", rules->backend);
    if (rules->caches && (!in->context || !in->pages))
        return fail(error, BP_EINVAL, "%s: the batch has no cache pages", rules->backend);
    if (in->first[0] != 0 || (uint32_t)in->first[in->seq_count] != in->token_count)
        return fail(error, BP_EINVAL, "%s: the sequences do not cover the tokens of the batch", rules->backend);
    return BP_OK;
}

static bp_status check_tokens(const batch_rules *rules, const bp_batch *in, uint32_t seq, bp_error *error)
{
    int32_t from = in->first[seq], to = in->first[seq + 1];
    if (from < 0 || to <= from || (uint32_t)to > in->token_count)
        return fail(error, BP_EINVAL, "%s: sequence %u has tokens %d to %d", rules->backend, seq, from, to);
    for (int32_t t = from; t < to; t++) {
        int32_t token = in->tokens[t], position = in->positions[t];
        if (token < 0 || (size_t)token >= rules->vocab_size)
            return fail(error, BP_EINVAL, "%s: token %d is not in the vocabulary", rules->backend, token);
        if (rules->types && in->types && (in->types[t] < 0 || (size_t)in->types[t] >= rules->types))
            return fail(error, BP_EINVAL, "%s: a token is of type %d, and there are %zu", rules->backend, in->types[t], rules->types);
        if (position < 0 || (uint32_t)position >= rules->limits->max_context ||
            (t > from && position != in->positions[t - 1] + 1)) {
            return fail(error, BP_EINVAL, "%s: sequence %u has a token at position %d", rules->backend, seq, position);
        }
    }
    return BP_OK;
}

static bp_status check_pages(const batch_rules *rules, const bp_batch *in, uint32_t seq, bp_error *error)
{
    int32_t context = in->context[seq], last = in->positions[in->first[seq + 1] - 1];
    if (context != last + 1) {
        return fail(error, BP_EINVAL, "%s: sequence %u ends at %d, not at its context %d", rules->backend, seq, last,
                    context);
    }
    size_t pages = divide_up((size_t)context, rules->limits->page_tokens);
    if (pages > in->page_stride) {
        return fail(error, BP_EINVAL, "%s: sequence %u needs %zu pages and has %u", rules->backend, seq, pages,
                    in->page_stride);
    }
    for (size_t i = 0; i < pages; i++) {
        int32_t page = in->pages[(size_t)seq * in->page_stride + i];
        if (page < 0 || (uint32_t)page >= rules->limits->page_count)
            return fail(error, BP_EINVAL, "%s: page %d does not exist", rules->backend, page);
    }
    return BP_OK;
}

bp_status check_batch(const batch_rules *rules, const bp_batch *batch, bp_error *error)
{
    bp_status status = check_sizes(rules, batch, error);
    for (uint32_t seq = 0; status == BP_OK && seq < batch->seq_count; seq++) {
        status = check_tokens(rules, batch, seq, error);
        if (status == BP_OK && rules->caches)
            status = check_pages(rules, batch, seq, error);
    }
    for (uint32_t i = 0; status == BP_OK && i < batch->row_count; i++) {
        int32_t row = batch->rows[i];
        if (row < 0 || (uint32_t)row >= batch->token_count)
            status = fail(error, BP_EINVAL, "%s: row %d is not in the batch", rules->backend, row);
    }
    return status;
}
