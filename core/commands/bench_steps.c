/* bench_steps: prefill, decode and embedding as ragged batches of random tokens, without sampling, text or scheduling, so that
 * token counts are exact. Every sequence has its own pages; repetitions write the same positions again. */
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
    bool embeds;      /* the program pools: a step gives a vector a sequence */
    bench_cost *cost; /* NULL, or what the steps are added to */
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

/* Pages of the texts of one step, whatever their length. */
static uint64_t pages_for_texts(const bench_plan *cases, uint32_t step_tokens, uint32_t page)
{
    uint64_t most = 0;
    uint32_t batch = largest(&cases->batches);
    for (size_t i = 0; i < cases->embeds.count; i++) {
        uint32_t text = cases->embeds.values[i], together = step_tokens / text < batch ? step_tokens / text : batch;
        uint64_t needed = (uint64_t)together * pages_for(text, page);
        most = needed > most ? needed : most;
    }
    return most;
}

void bench_limits(const bench_plan *cases, bool embeds, engine_model *model)
{
    uint32_t page = model->page_tokens ? model->page_tokens : ENGINE_PAGE_TOKENS, batch = largest(&cases->batches);
    uint32_t decode = largest(&cases->decodes), prompt = largest(&cases->prompts), text = embeds ? largest(&cases->embeds) : 0;
    uint32_t alone = largest(&cases->depths) + decode;
    alone = embeds ? text : prompt > alone ? prompt : alone;
    /* An embedded text is one step's, whole. */
    uint32_t least = batch > text ? batch : text;
    if (model->max_step_tokens < least)
        model->max_step_tokens = least;
    uint64_t single = pages_for(alone, page), together = (uint64_t)batch * pages_for(cases->depths.values[0] + decode, page);
    if (embeds)
        together = pages_for_texts(cases, model->max_step_tokens, page);
    model->context = alone;
    model->max_batch = batch;
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
    uint64_t rows = d->embeds ? b->seq_count : b->row_count;
    if (d->cost)
        bench_cost_add(d->cost, d->loaded->file, d->loaded->limits.kv_dtype, b);
    bp_status status = ops->submit(d->loaded->model, b, error);
    if (status == BP_OK)
        status = ops->wait(d->loaded->model, d->step.output, rows * d->loaded->output_width, error);
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

/* Texts of `count` tokens, as many in a step as fit. */
static bp_status embed(driver *d, uint32_t batch, uint32_t count, bp_error *error)
{
    uint32_t together = d->loaded->limits.max_tokens / count; /* at least one: bench_limits */
    bp_status status = BP_OK;
    for (uint32_t done = 0; done < batch && status == BP_OK;) {
        bp_batch b = empty_batch(d);
        for (; b.seq_count < together && done < batch; done++)
            add_tokens(d, &b, b.seq_count, 0, count, false);
        status = run_step(d, &b, error);
    }
    return status;
}

/* --- cases ------------------------------------------------------------------------------------------------------------ */

typedef enum kind { PREFILL, DECODE, EMBED } kind;

static bp_status run_once(driver *d, kind what, const bench_row *row, bp_error *error)
{
    switch (what) {
    case PREFILL:
        return prefill(d, 0, row->tokens, error);
    case DECODE:
        return decode(d, row->batch, row->depth, row->tokens, error);
    default:
        return embed(d, row->batch, row->tokens, error);
    }
}

/* One untimed round, whose steps are counted, then the repetitions. The row says what is run: only a decode has a depth. */
static bp_status measure(driver *d, const bench_plan *cases, bench_row row, kind what, bench_report *report, bp_error *error)
{
    double amount = (double)row.batch * (what == EMBED ? 1 : row.tokens);
    double samples[BENCH_MAX_REPETITIONS];
    d->pages = pages_for(row.depth + row.tokens, d->loaded->limits.page_tokens);
    bp_status status = BP_OK;
    for (uint32_t i = 0; i < row.batch && row.depth && status == BP_OK; i++)
        status = prefill(d, i, row.depth, error);
    for (uint32_t r = 0; r <= cases->repetitions && status == BP_OK; r++) {
        uint64_t begin = clock_now();
        d->cost = r ? NULL : &row.cost;
        status = run_once(d, what, &row, error);
        double seconds = (double)(clock_now() - begin) / 1e9;
        if (r)
            samples[r - 1] = amount / seconds;
    }
    d->cost = NULL;
    if (status == BP_OK)
        bench_add(report, row, amount, samples, cases->repetitions);
    return status;
}

static bp_status measure_decodes(driver *d, const bench_plan *cases, uint32_t tokens, bench_report *report, bp_error *error)
{
    bp_status status = BP_OK;
    bench_row row = {.name = "decode", .unit = "tok/s", .tokens = tokens, .depth = cases->depths.values[0]};
    for (size_t i = 0; i < cases->batches.count && status == BP_OK; i++) {
        row.batch = cases->batches.values[i];
        status = measure(d, cases, row, DECODE, report, error);
    }
    row.batch = 1;
    for (size_t i = 1; i < cases->depths.count && status == BP_OK; i++) {
        row.depth = cases->depths.values[i];
        status = measure(d, cases, row, DECODE, report, error);
    }
    return status;
}

static bp_status measure_embeds(driver *d, const bench_plan *cases, bench_report *report, bp_error *error)
{
    bp_status status = BP_OK;
    for (size_t t = 0; t < cases->embeds.count && status == BP_OK; t++)
        for (size_t i = 0; i < cases->batches.count && status == BP_OK; i++) {
            bench_row row = {.name = "embed", .unit = "emb/s", .tokens = cases->embeds.values[t],
                             .batch = cases->batches.values[i]};
            status = measure(d, cases, row, EMBED, report, error);
        }
    return status;
}

static bp_status measure_decoder(driver *d, const bench_plan *cases, bench_report *report, bp_error *error)
{
    bp_status status = BP_OK;
    for (size_t i = 0; i < cases->prompts.count && status == BP_OK; i++) {
        bench_row row = {.name = "prefill", .unit = "tok/s", .tokens = cases->prompts.values[i], .batch = 1};
        status = measure(d, cases, row, PREFILL, report, error);
    }
    for (size_t i = 0; i < cases->decodes.count && status == BP_OK; i++)
        status = measure_decodes(d, cases, cases->decodes.values[i], report, error);
    return status;
}

static bp_status check_limits(const bench_plan *cases, const loaded *l, bool embeds, bp_error *error)
{
    uint32_t needed = embeds ? largest(&cases->embeds) : largest(&cases->depths) + largest(&cases->decodes);
    if (!embeds && needed < largest(&cases->prompts))
        needed = largest(&cases->prompts);
    if (needed > l->limits.max_context)
        return error_set(error, BP_EINVAL, "these measurements need a context of %u tokens and the model has %u", needed,
                         l->limits.max_context);
    return BP_OK;
}

bp_status bench_steps(const bench_plan *cases, const loaded *l, bench_report *report, bp_error *error)
{
    driver d = {.loaded = l, .random = 1, .embeds = l->embedder};
    bp_status status = check_limits(cases, l, d.embeds, error);
    if (status == BP_OK)
        status = step_init(&d.step, l, error);
    if (status != BP_OK)
        return status;
    status = d.embeds ? measure_embeds(&d, cases, report, error) : measure_decoder(&d, cases, report, error);
    step_clear(&d.step);
    return status;
}
