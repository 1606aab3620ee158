/* What a step is made of: entries of the sequences that run, within the limits of a step. */
#include "engine/scheduler_parts.h"

#include <string.h>

static void put_entry(plan *out, sequence *q, uint32_t count)
{
    bool row = count == sequence_remaining(q);
    uint32_t first = sequence_first_row(q), end = q->computed + count, before = first > q->computed ? first : q->computed;
    uint32_t rows = end > before ? end - before : 0;
    out->entries[out->count++] = (plan_entry){.sequence = q, .start = q->computed, .count = count, .row = row, .token = -1,
                                              .scores = rows - row,
                                              .copy_from = q->copy_from,
                                              .copy_to = q->copy_from < 0 ? -1 : q->pages[q->registered]};
    out->token_count += count;
    out->row_count += rows;
}

/* Whether an entry of the plan completes the page that `q` needs next, which `q` then finds in the next plan. */
static bool next_page_is_coming(const scheduler *s, const plan *p, const sequence *q)
{
    const uint32_t size = s->limits.page_tokens, start = q->registered * size;
    if (!s->limits.share_prefixes || start + size > sequence_first_row(q))
        return false;
    for (uint32_t i = 0; i < p->count; i++) {
        const plan_entry *e = &p->entries[i];
        const sequence *other = e->sequence;
        bool alike = other->registered == q->registered && e->start + e->count >= start + size;
        if (alike && q->registered)
            alike = other->pages[q->registered - 1] == q->pages[q->registered - 1];
        else if (alike)
            alike = strcmp(other->salt ? other->salt : "", q->salt ? q->salt : "") == 0;
        if (alike && memcmp(other->tokens + start, q->tokens + start, size * sizeof *q->tokens) == 0)
            return true;
    }
    return false;
}

/* How many of the next tokens of `q` fit the rest of a step that has room for `left`. */
static uint32_t fitting(const scheduler *s, const plan *p, const sequence *q, uint32_t left)
{
    uint32_t remaining = sequence_remaining(q), first = sequence_first_row(q);
    uint32_t most = s->limits.max_rows - p->row_count;
    most += first > q->computed ? first - q->computed : 0;
    left = left < remaining ? left : remaining;
    return left < most ? left : most;
}

static void put_prompts(scheduler *s, plan *out)
{
    uint32_t most = s->limits.max_tokens;
    for (uint32_t i = 0; i < out->count && s->limits.mixed_tokens; i++) {
        const sequence *q = out->entries[i].sequence;
        if (q->token_count > q->prompt_count && s->limits.mixed_tokens < most - out->token_count)
            most = out->token_count + s->limits.mixed_tokens;
    }
    for (uint32_t i = 0; i < s->running_count && out->token_count < most; i++) {
        sequence *q = s->running[i];
        uint32_t remaining = sequence_remaining(q), count = fitting(s, out, q, most - out->token_count);
        if (s->limits.whole_prompts ? count == remaining : remaining > 1 && count && !next_page_is_coming(s, out, q))
            put_entry(out, q, count);
    }
}

/* How many tokens more the pages of `q` can hold, after one more page is taken if that leaves one for each who runs. */
static uint32_t room_in_pages(scheduler *s, sequence *q, uint32_t wanted)
{
    if (scheduler_pages_for(s, q->token_count + wanted) > q->page_count && scheduler_pages_at_hand(s) > s->running_count &&
        scheduler_take_pages(s, 1, q->pages + q->page_count))
        q->page_count++;
    uint32_t room = q->page_count * s->limits.page_tokens - q->token_count;
    return room < wanted ? room : wanted;
}

static void put_guesses(scheduler *s, plan *out)
{
    uint32_t most = s->limits.max_drafts + 1 < s->limits.max_tokens ? s->limits.max_drafts + 1 : s->limits.max_tokens;
    for (uint32_t i = 0; i < out->count && out->token_count < most; i++) {
        plan_entry *e = &out->entries[i];
        sequence *q = e->sequence;
        uint32_t share = (most - out->token_count) / (out->count - i), left = q->token_limit - q->token_count;
        if (e->count != 1 || !e->row || left < 2)
            continue;
        share = room_in_pages(s, q, share < left - 1 ? share : left - 1);
        e->drafts = share ? draft_propose(&q->draft, q->tokens, q->token_count, share) : 0;
        e->count += e->drafts;
        out->token_count += e->drafts;
        out->row_count += e->drafts;
    }
}

void scheduler_compose(scheduler *s, plan *out)
{
    for (uint32_t i = 0; i < s->running_count && !s->limits.whole_prompts; i++)
        if (sequence_remaining(s->running[i]) == 1)
            put_entry(out, s->running[i], 1);
    put_prompts(s, out);
    if (s->limits.max_drafts)
        put_guesses(s, out);
}
