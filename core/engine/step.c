#include "engine/step.h"

#include "base/error.h"
#include "base/log.h"
#include "engine/embed.h"
#include "engine/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bp_status step_init(step *s, const loaded *l, bp_error *error)
{
    const bp_limits *limits = &l->limits;
    size_t stride = limits->max_context / limits->page_tokens + 1;
    *s = (step){.loaded = l};
    atomic_init(&s->owner, STEP_HERE);
    s->tokens = calloc(limits->max_tokens, sizeof *s->tokens);
    s->positions = calloc(limits->max_tokens, sizeof *s->positions);
    s->types = calloc(limits->max_tokens, sizeof *s->types);
    s->first = calloc((size_t)limits->max_seqs + 1, sizeof *s->first);
    s->context = calloc(limits->max_seqs, sizeof *s->context);
    s->pages = calloc(limits->max_seqs, stride * sizeof *s->pages);
    s->rows = calloc(limits->max_rows, sizeof *s->rows);
    s->copy_from = calloc(limits->max_seqs, sizeof *s->copy_from);
    s->copy_to = calloc(limits->max_seqs, sizeof *s->copy_to);
    s->output = calloc(limits->max_rows, l->output_width * sizeof *s->output);
    s->highest = calloc(limits->max_rows, sizeof *s->highest);
    if (s->tokens && s->positions && s->types && s->first && s->context && s->pages && s->rows && s->copy_from && s->copy_to && s->output && s->highest)
        return BP_OK;
    step_clear(s);
    return error_set(error, BP_ENOMEM, "no memory for steps of %u tokens and %u rows", limits->max_tokens, limits->max_rows);
}

void step_clear(step *s)
{
    free(s->tokens);
    free(s->positions);
    free(s->types);
    free(s->first);
    free(s->context);
    free(s->pages);
    free(s->rows);
    free(s->copy_from);
    free(s->copy_to);
    free(s->output);
    free(s->highest);
    *s = (step){0};
}

bool step_abandon(step *s)
{
    unsigned owner = STEP_BACKEND;
    return atomic_compare_exchange_strong(&s->owner, &owner, STEP_ABANDONED);
}

static void lend(step *s)
{
    atomic_store(&s->owner, STEP_BACKEND);
}

static bool take_back(step *s)
{
    unsigned owner = STEP_BACKEND;
    return atomic_compare_exchange_strong(&s->owner, &owner, STEP_HERE);
}

/* Pages that the first `tokens` tokens lie in. */
static uint32_t pages_for(const loaded *l, uint32_t tokens)
{
    return (tokens + l->limits.page_tokens - 1) / l->limits.page_tokens;
}

/* Of an entry; its last tokens want them. */
static uint32_t rows_of(const plan_entry *e)
{
    return e->scores + (e->row ? e->drafts + 1 : 0);
}

static bp_batch build_batch(step *s, const plan_entry *entries, uint32_t count)
{
    bp_batch b = {.size = sizeof b, .seq_count = count, .tokens = s->tokens, .positions = s->positions, .first = s->first,
                  .context = s->context, .pages = s->pages, .rows = s->rows, .types = s->types};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t needed = pages_for(s->loaded, entries[i].start + entries[i].count);
        b.page_stride = needed > b.page_stride ? needed : b.page_stride;
    }
    for (uint32_t i = 0; i < count; i++) {
        const plan_entry *e = &entries[i];
        const sequence *q = e->sequence;
        int32_t *table = s->pages + (size_t)i * b.page_stride;
        uint32_t needed = pages_for(s->loaded, e->start + e->count);
        memcpy(table, q->pages, needed * sizeof *table);
        for (uint32_t p = needed; p < b.page_stride; p++)
            table[p] = -1;
        s->first[i] = (int32_t)b.token_count;
        s->context[i] = (int32_t)(e->start + e->count);
        for (uint32_t t = 0; t < e->count; t++) {
            s->tokens[b.token_count] = q->tokens[e->start + t];
            s->types[b.token_count] = q->second_at && e->start + t >= q->second_at;
            s->positions[b.token_count++] = (int32_t)(e->start + t);
        }
        for (uint32_t row = rows_of(e); row > 0; row--)
            s->rows[b.row_count++] = (int32_t)(b.token_count - row);
    }
    s->first[count] = (int32_t)b.token_count;
    return b;
}

/* Pages that are shared so far and are written to from this step on. Copying them twice does no harm. */
static bp_status copy_pages(step *s, const plan_entry *entries, uint32_t count, bp_error *error)
{
    uint32_t copies = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].copy_from < 0)
            continue;
        s->copy_from[copies] = entries[i].copy_from;
        s->copy_to[copies++] = entries[i].copy_to;
    }
    if (copies == 0)
        return BP_OK;
    return s->loaded->backend->ops->copy_pages(s->loaded->model, s->copy_from, s->copy_to, copies, error);
}

/* Whether the step's tokens are all those of the highest logits, and the device finds these itself: then they are all that leaves it. */
static bool is_greedy(const step *s, const plan_entry *entries, uint32_t count)
{
    bool greedy = s->loaded->backend->info.caps & BP_CAP_TOPK && !s->loaded->embedder;
    for (uint32_t i = 0; greedy && i < count; i++)
        greedy = entries[i].scores == 0 && (!entries[i].row || request_is_greedy(request_of(entries[i].sequence)));
    return greedy;
}

/* What a backend leaves out of its result is not to pass for numbers: those of the step before lie there. */
static void mark_rows(step *s, uint32_t rows)
{
    size_t width = s->greedy ? 1 : s->loaded->output_width;
    for (uint32_t r = 0; r < rows; r++)
        s->output[r * width] = s->output[(r + 1) * width - 1] = NAN;
}

static bp_status run_batch(step *s, const bp_batch *batch, bp_error *error)
{
    const bp_backend_ops *ops = s->loaded->backend->ops;
    mark_rows(s, batch->row_count);
    bp_status status = ops->submit(s->loaded->model, batch, error);
    if (status != BP_OK)
        return status;
    if (s->greedy)
        return ops->wait_topk(s->loaded->model, 1, s->highest, s->output, error);
    return ops->wait(s->loaded->model, s->output, (uint64_t)batch->row_count * s->loaded->output_width, error);
}

/* What the entry's first rows say of the tokens of its prompt that stand behind theirs. */
static void score_entry(const step *s, plan_entry *e, const float *row)
{
    uint32_t end = e->start + e->count - (e->row ? 1 : 0);
    for (uint32_t i = end - e->scores; i < end && !e->over; i++, row += s->loaded->output_width)
        e->over = !score_token(request_of(e->sequence), row, i + 1);
}

static request_row row_at(const step *s, size_t index)
{
    if (s->greedy)
        return (request_row){.token = s->highest[index], .top = s->output[index]};
    return (request_row){.logits = s->output + index * s->loaded->output_width};
}

/* Samples from the entry's rows in turn, for as long as the guess behind each is what was sampled from it. */
static void accept_entry(step *s, plan_entry *e, size_t first, uint64_t now)
{
    const sequence *q = e->sequence;
    for (size_t index = first;; index++) {
        uint32_t position = q->token_count + e->accepted;
        request_row row = row_at(s, index);
        e->over = !request_accept(request_of(e->sequence), &row, position, now, &e->token);
        if (e->over || e->accepted == e->drafts || q->tokens[position] != e->token)
            return;
        e->accepted++;
    }
}

static void accept_rows(step *s, plan_entry *entries, uint32_t count)
{
    uint64_t now = clock_now();
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        plan_entry *e = &entries[i];
        const float *row = s->output + at * s->loaded->output_width;
        if (s->loaded->embedder && e->row) {
            embed_give(request_of(e->sequence), row, now);
            e->over = true;
        } else {
            if (!s->greedy)
                score_entry(s, e, row);
            if (e->row && !e->over)
                accept_entry(s, e, at + e->scores, now);
        }
        at += rows_of(e);
    }
}

static void fail_entries(plan_entry *entries, uint32_t count, const bp_error *why)
{
    for (uint32_t i = 0; i < count; i++) {
        request_fail(request_of(entries[i].sequence), why);
        entries[i].failed = entries[i].over = true;
    }
}

bp_status step_execute(step *s, plan_entry *entries, uint32_t count, bp_error *error)
{
    bp_error why = {0};
    bp_batch batch = build_batch(s, entries, count);
    s->greedy = is_greedy(s, entries, count);
    lend(s);
    bp_status status = copy_pages(s, entries, count, &why);
    if (status == BP_OK)
        status = run_batch(s, &batch, &why);
    if (!take_back(s))
        return error_set(error, BP_ECANCELLED, "the step was abandoned");
    if (model_damaged(s->loaded->file))
        return error_set(error, BP_EIO, "its file %s changed while it was in use", s->loaded->config->file);
    if (status == BP_OK) {
        accept_rows(s, entries, count);
        return BP_OK;
    }
    if (status == BP_EDEVICE)
        return error_set(error, status, "%s", why.message);
    if (status == BP_ENOMEM && count > 1) {
        status = step_execute(s, entries, count / 2, error);
        return status == BP_OK ? step_execute(s, entries + count / 2, count - count / 2, error) : status;
    }
    log_line(BP_LOG_WARN, "model \"%s\": a step of %u tokens failed: %s", s->loaded->config->name, batch.token_count,
             why.message);
    fail_entries(entries, count, &why);
    return BP_OK;
}
