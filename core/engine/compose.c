/* What a step is made of: entries of the sequences that run, within the limits of a step. */
#include "engine/scheduler_parts.h"

#include <stdlib.h>
#include <string.h>

static plan_entry entry_of(sequence *q, uint32_t count)
{
    bool row = count == sequence_remaining(q);
    uint32_t first = sequence_first_row(q), end = q->computed + count, before = first > q->computed ? first : q->computed;
    uint32_t rows = end > before ? end - before : 0;
    return (plan_entry){.sequence = q, .start = q->computed, .count = count, .row = row, .token = -1, .scores = rows - row,
                        .copy_from = q->copy_from, .copy_to = q->copy_from < 0 ? -1 : q->pages[q->registered]};
}

static void put_entry(plan *out, sequence *q, uint32_t count)
{
    plan_entry *e = &out->entries[out->count++];
    *e = entry_of(q, count);
    out->token_count += count;
    out->row_count += e->scores + e->row;
}

static void take_entry_back(plan *out, const plan_entry *e)
{
    out->token_count -= e->count;
    out->row_count -= e->scores + e->row;
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

/* How many tokens the step may have once prompts are in it. */
static uint32_t tokens_with_prompts(const scheduler *s, const plan *p)
{
    uint32_t most = s->limits.max_tokens;
    for (uint32_t i = 0; i < p->count && s->limits.mixed_tokens; i++) {
        const sequence *q = p->entries[i].sequence;
        if (q->token_count > q->prompt_count && s->limits.mixed_tokens < most - p->token_count)
            return p->token_count + s->limits.mixed_tokens;
    }
    return most;
}

static void put_whole_prompts(scheduler *s, plan *out)
{
    for (uint32_t i = 0; i < s->running_count && out->token_count < s->limits.max_tokens; i++) {
        sequence *q = s->running[i];
        if (fitting(s, out, q, s->limits.max_tokens - out->token_count) == sequence_remaining(q))
            put_entry(out, q, sequence_remaining(q));
    }
}

static int shortest_first(const void *left, const void *right)
{
    const sequence *a = *(sequence *const *)left, *b = *(sequence *const *)right;
    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    uint32_t first = sequence_remaining(a), second = sequence_remaining(b);
    if (first != second)
        return first < second ? -1 : 1;
    return sequence_before(a, b) ? -1 : 1;
}

/* C3; what the others leave is the most urgent one's again. */
static void put_prompts(scheduler *s, plan *out)
{
    uint32_t most = tokens_with_prompts(s, out), count = 0, place = out->count;
    for (uint32_t i = 0; i < s->running_count; i++)
        if (sequence_remaining(s->running[i]) > 1)
            s->prompts[count++] = s->running[i];
    uint32_t first = 0, half = 0;
    for (; first < count && half == 0; first++) {
        sequence *q = s->prompts[first];
        half = fitting(s, out, q, most - out->token_count - (most - out->token_count) / 2);
        half = half && next_page_is_coming(s, out, q) ? 0 : half;
        if (half)
            put_entry(out, q, half);
    }
    qsort(s->prompts + first, count - first, sizeof *s->prompts, shortest_first);
    for (uint32_t i = first; i < count && out->token_count < most; i++) {
        uint32_t fits = fitting(s, out, s->prompts[i], most - out->token_count);
        if (fits && !next_page_is_coming(s, out, s->prompts[i]))
            put_entry(out, s->prompts[i], fits);
    }
    if (half && out->token_count < most) {
        plan_entry *e = &out->entries[place];
        take_entry_back(out, e);
        *e = entry_of(e->sequence, fitting(s, out, e->sequence, most - out->token_count));
        out->token_count += e->count;
        out->row_count += e->scores + e->row;
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
    (s->limits.whole_prompts ? put_whole_prompts : put_prompts)(s, out);
    if (s->limits.max_drafts)
        put_guesses(s, out);
}
