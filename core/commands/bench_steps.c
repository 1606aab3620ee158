/* bench_steps: prefill and decode as ragged batches of random tokens, without sampling, text or scheduling, so that token
 * counts are exact. Every sequence has its own pages; repetitions write the same positions again. */
#include "commands/bench.h"

#include "base/error.h"
#include "base/log.h"
#include "engine/step.h"

#include <string.h>

typedef struct driver {
    const loaded *loaded;
    step step;
    uint32_t pages;  /* of one sequence */
    uint32_t random;
} driver;

static uint32_t largest(const bench_list *list)
{
    uint32_t most = 0;
    for (size_t i = 0; i < list->count; i++)
        most = list->values[i] > most ? list->values[i] : most;
    return most;
}

static uint32_t pages_for(uint32_t tokens, uint32_t page_tokens)
{
    return tokens / page_tokens + (tokens % page_tokens != 0);
}

void bench_limits(const bench_plan *cases, engine_model *model)
{
    uint32_t page = model->page_tokens ? model->page_tokens : ENGINE_PAGE_TOKENS;
    uint32_t decode = largest(&cases->decodes), first = cases->depths.values[0];
    uint32_t alone = largest(&cases->depths) + decode, prompt = largest(&cases->prompts), batch = largest(&cases->batches);
    alone = prompt > alone ? prompt : alone;
    uint64_t together = (uint64_t)batch * pages_for(first + decode, page), single = pages_for(alone, page);
    model->context = alone;
    model->max_batch = batch;
    if (model->max_step_tokens < batch)
        model->max_step_tokens = batch;
    model->kv_memory = 0;
    model->kv_tokens = (together > single ? together : single) * page;
}

/* --- steps ------------------------------------------------------------------------------------------------------------ */

static int32_t random_token(driver *d)
{
    d->random = d->random * 1664525u + 1013904223u;
    return (int32_t)((d->random >> 8) % d->loaded->vocab_size);
}

static bp_status run_step(driver *d, bp_batch *b, bp_error *error)
{
    const bp_backend_ops *ops = d->loaded->backend->ops;
    bp_status status = ops->submit(d->loaded->model, b, error);
    if (status == BP_OK)
        status = ops->wait(d->loaded->model, d->step.output, (uint64_t)b->row_count * d->loaded->output_width, error);
    return status;
}

/* Adds `count` tokens of sequence `index` from position `start` on to the step. */
static void add_tokens(driver *d, bp_batch *b, uint32_t index, uint32_t start, uint32_t count, bool row)
{
    step *s = &d->step;
    uint32_t i = b->seq_count++;
    s->first[i] = (int32_t)b->token_count;
    s->context[i] = (int32_t)(start + count);
    for (uint32_t p = 0; p < d->pages; p++)
        s->pages[(size_t)i * d->pages + p] = (int32_t)(index * d->pages + p);
    for (uint32_t t = 0; t < count; t++) {
        s->tokens[b->token_count] = random_token(d);
        s->positions[b->token_count++] = (int32_t)(start + t);
    }
    s->first[i + 1] = (int32_t)b->token_count;
    if (row)
        s->rows[b->row_count++] = (int32_t)(b->token_count - 1);
}

static bp_batch empty_batch(const driver *d)
{
    const step *s = &d->step;
    return (bp_batch){.size = sizeof(bp_batch), .page_stride = d->pages, .tokens = s->tokens, .positions = s->positions,
                      .first = s->first, .context = s->context, .pages = s->pages, .rows = s->rows};
}

/* Tokens 0 … count - 1 of one sequence, in steps as large as the limits allow, with the logits of the last. */
static bp_status prefill(driver *d, uint32_t index, uint32_t count, bp_error *error)
{
    bp_status status = BP_OK;
    for (uint32_t done = 0; done < count && status == BP_OK;) {
        uint32_t some = count - done < d->loaded->limits.max_tokens ? count - done : d->loaded->limits.max_tokens;
        bp_batch b = empty_batch(d);
        add_tokens(d, &b, index, done, some, done + some == count);
        status = run_step(d, &b, error);
        done += some;
    }
    return status;
}

static bp_status decode(driver *d, uint32_t batch, uint32_t depth, uint32_t count, bp_error *error)
{
    bp_status status = BP_OK;
    for (uint32_t t = 0; t < count && status == BP_OK; t++) {
        bp_batch b = empty_batch(d);
        for (uint32_t i = 0; i < batch; i++)
            add_tokens(d, &b, i, depth + t, 1, true);
        status = run_step(d, &b, error);
    }
    return status;
}

/* --- cases ------------------------------------------------------------------------------------------------------------ */

/* One untimed round, then the repetitions. The row says what is run: a prefill has no depth here. */
static bp_status measure(driver *d, const bench_plan *cases, bench_row row, bool is_prefill, bench_report *report,
                         bp_error *error)
{
    double samples[BENCH_MAX_REPETITIONS];
    d->pages = pages_for(row.depth + row.tokens, d->loaded->limits.page_tokens);
    bp_status status = BP_OK;
    for (uint32_t i = 0; i < row.batch && row.depth && status == BP_OK; i++)
        status = prefill(d, i, row.depth, error);
    for (uint32_t r = 0; r <= cases->repetitions && status == BP_OK; r++) {
        uint64_t begin = clock_now();
        status = is_prefill ? prefill(d, 0, row.tokens, error) : decode(d, row.batch, row.depth, row.tokens, error);
        double seconds = (double)(clock_now() - begin) / 1e9;
        if (r)
            samples[r - 1] = (double)row.tokens * row.batch / seconds;
    }
    if (status == BP_OK)
        bench_add(report, row, samples, cases->repetitions);
    return status;
}

static bp_status measure_decodes(driver *d, const bench_plan *cases, uint32_t tokens, bench_report *report, bp_error *error)
{
    bp_status status = BP_OK;
    bench_row row = {.name = "decode", .unit = "tok/s", .tokens = tokens, .depth = cases->depths.values[0]};
    for (size_t i = 0; i < cases->batches.count && status == BP_OK; i++) {
        row.batch = cases->batches.values[i];
        status = measure(d, cases, row, false, report, error);
    }
    row.batch = 1;
    for (size_t i = 1; i < cases->depths.count && status == BP_OK; i++) {
        row.depth = cases->depths.values[i];
        status = measure(d, cases, row, false, report, error);
    }
    return status;
}

static bp_status check_limits(const bench_plan *cases, const loaded *l, bp_error *error)
{
    uint32_t needed = largest(&cases->depths) + largest(&cases->decodes);
    needed = needed < largest(&cases->prompts) ? largest(&cases->prompts) : needed;
    if (needed > l->limits.max_context)
        return error_set(error, BP_EINVAL, "these measurements need a context of %u tokens and the model has %u", needed,
                         l->limits.max_context);
    return BP_OK;
}

bp_status bench_steps(const bench_plan *cases, const loaded *l, bench_report *report, bp_error *error)
{
    driver d = {.loaded = l, .random = 1};
    bp_status status = check_limits(cases, l, error);
    if (status == BP_OK)
        status = step_init(&d.step, l, error);
    if (status != BP_OK)
        return status;
    for (size_t i = 0; i < cases->prompts.count && status == BP_OK; i++) {
        bench_row row = {.name = "prefill", .unit = "tok/s", .tokens = cases->prompts.values[i], .batch = 1};
        status = measure(&d, cases, row, true, report, error);
    }
    for (size_t i = 0; i < cases->decodes.count && status == BP_OK; i++)
        status = measure_decodes(&d, cases, cases->decodes.values[i], report, error);
    step_clear(&d.step);
    return status;
}
