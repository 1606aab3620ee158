#include "engine/scheduler_parts.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

bp_status scheduler_new(const scheduler_limits *limits, scheduler **out, bp_error *error)
{
    if (limits->max_sequences == 0 || limits->max_tokens == 0 || limits->page_tokens == 0)
        return error_set(error, BP_EINVAL, "a step of no sequences or tokens, or a page of no tokens, is not possible");
    scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(error, BP_ENOMEM, "no memory for a scheduler");
    s->limits = *limits;
    if (s->limits.max_sequences > s->limits.max_tokens)
        s->limits.max_sequences = s->limits.max_tokens; /* C2 */
    uint32_t rows = s->limits.max_drafts < s->limits.max_sequences ? s->limits.max_sequences : s->limits.max_drafts + 1;
    s->limits.max_rows = s->limits.max_rows < rows ? rows : s->limits.max_rows;
    bp_status status = pages_new(limits->page_count, &s->pages, error);
    if (status == BP_OK)
        status = prefix_new(s->pages, limits->page_tokens, &s->prefix, error);
    s->running = calloc(s->limits.max_sequences, sizeof(sequence *));
    s->entries = calloc(s->limits.max_sequences, sizeof *s->entries);
    s->prompts = calloc(s->limits.max_sequences, sizeof *s->prompts);
    s->given_up = calloc(limits->page_count, sizeof *s->given_up);
    if (status == BP_OK && (!s->running || !s->entries || !s->prompts || !s->given_up))
        status = error_set(error, BP_ENOMEM, "no memory for a scheduler of %u sequences", s->limits.max_sequences);
    if (status != BP_OK) {
        scheduler_free(s);
        return status;
    }
    *out = s;
    return BP_OK;
}

void scheduler_free(scheduler *s)
{
    if (!s)
        return;
    queue_clear(&s->queue);
    prefix_free(s->prefix);
    pages_free(s->pages);
    free(s->given_up);
    free(s->running);
    free(s->entries);
    free(s->prompts);
    free(s);
}

uint32_t scheduler_pages_for(const scheduler *s, uint32_t tokens)
{
    return tokens / s->limits.page_tokens + (tokens % s->limits.page_tokens != 0);
}

/* --- places ----------------------------------------------------------------------------------------------------------- */

bp_status scheduler_reserve(scheduler *s, bp_error *error)
{
    uint64_t present = (uint64_t)s->running_count + s->queue.count + s->reserved;
    if (present >= (uint64_t)s->limits.max_sequences + s->limits.queue_limit)
        return error_set(error, BP_EBUSY, "the queue is full: %u requests run and %u wait; try again later", s->running_count,
                         s->queue.count + s->reserved);
    s->reserved++;
    return BP_OK;
}

void scheduler_unreserve(scheduler *s)
{
    s->reserved--;
}

bp_status scheduler_add(scheduler *s, sequence *q, bp_error *error)
{
    s->reserved--;
    if (q->token_count == 0 || q->token_limit < q->token_count)
        return error_set(error, BP_EINVAL, "a sequence of %u tokens with a limit of %u is not possible", q->token_count,
                         q->token_limit);
    if (scheduler_pages_for(s, q->token_limit) > pages_total(s->pages))
        return error_set(error, BP_ECONTEXT, "%u tokens never fit the cache of %u pages of %u tokens", q->token_limit,
                         pages_total(s->pages), s->limits.page_tokens);
    q->computed = q->page_count = q->registered = q->cached = 0;
    q->copy_from = -1;
    q->draft = (draft){0};
    q->scored = 0;
    q->cause = SEQUENCE_CAUSE_NONE;
    return queue_enter(&s->queue, q, error);
}

bool scheduler_remove(scheduler *s, sequence *q)
{
    if (q->state != SEQUENCE_WAITING)
        return false;
    queue_take(&s->queue, q);
    queue_leave(&s->queue, q);
    q->state = SEQUENCE_ENDED;
    return true;
}

/* --- pages ------------------------------------------------------------------------------------------------------------ */

uint32_t scheduler_pages_at_hand(const scheduler *s)
{
    return pages_available(s->pages) + prefix_idle(s->prefix);
}

bool scheduler_take_pages(scheduler *s, uint32_t count, int32_t *out)
{
    if (count > scheduler_pages_at_hand(s))
        return false;
    while (pages_available(s->pages) < count)
        prefix_evict(s->prefix);
    return pages_take(s->pages, count, out);
}

static void drop_copy(scheduler *s, sequence *q)
{
    if (q->copy_from >= 0)
        prefix_release(s->prefix, &q->copy_from, 1);
    q->copy_from = -1;
}

static void release_pages(scheduler *s, sequence *q)
{
    drop_copy(s, q); /* before its parent: prefix.h, X3 */
    prefix_release(s->prefix, q->pages, q->page_count);
    q->page_count = q->registered = 0;
    q->computed = 0;
}

/* The page behind those of `q` that are registered. */
static int32_t find_next_page(const scheduler *s, const sequence *q)
{
    return prefix_find(s->prefix, q->salt, q->registered ? q->pages[q->registered - 1] : PREFIX_ROOT,
                       q->tokens + (size_t)q->registered * s->limits.page_tokens);
}

/* Puts the registered page into the table of `q`, in place of one of its own where it has that. */
static void share_next_page(scheduler *s, sequence *q, int32_t page)
{
    prefix_hold(s->prefix, page);
    if (q->registered < q->page_count)
        prefix_release(s->prefix, &q->pages[q->registered], 1);
    else
        q->page_count++;
    q->pages[q->registered++] = page;
}

/* Takes the whole pages that are known of what `q` has to compute, but for tokens whose rows it wants. */
static void adopt_pages(scheduler *s, sequence *q)
{
    const uint32_t size = s->limits.page_tokens;
    int32_t page;
    if (!s->limits.share_prefixes || q->computed / size != q->registered)
        return;
    while ((q->registered + 1) * size <= sequence_first_row(q) && (page = find_next_page(s, q)) != PREFIX_NONE) {
        drop_copy(s, q);
        share_next_page(s, q, page);
        q->computed = q->registered * size;
    }
}

/* Plans to copy the page that agrees with the next tokens of `q` longest. */
static void adopt_beginning(scheduler *s, sequence *q)
{
    uint32_t start = q->registered * s->limits.page_tokens, end = sequence_first_row(q), agree;
    if (!s->limits.share_prefixes || !s->limits.copy_pages || start >= end)
        return;
    int32_t page = prefix_find_longest(s->prefix, q->salt, q->registered ? q->pages[q->registered - 1] : PREFIX_ROOT,
                                       q->tokens + start, end - start, &agree);
    if (page == PREFIX_NONE)
        return;
    prefix_hold(s->prefix, page);
    q->copy_from = page;
    q->computed = start + agree;
}

static void count_hit(scheduler *s, sequence *q, uint32_t before)
{
    s->hit_tokens += q->computed - before;
    if (q->preemptions == 0)
        q->cached += q->computed - before;
}

static void register_pages(scheduler *s, sequence *q)
{
    const uint32_t size = s->limits.page_tokens;
    while (s->limits.share_prefixes && (q->registered + 1) * size <= q->computed) {
        int32_t page = find_next_page(s, q);
        if (page != PREFIX_NONE)
            share_next_page(s, q, page);
        else if (prefix_add(s->prefix, q->salt, q->registered ? q->pages[q->registered - 1] : PREFIX_ROOT,
                            q->tokens + (size_t)q->registered * size, q->pages[q->registered]))
            q->registered++;
        else
            return;
    }
}

/* --- running ---------------------------------------------------------------------------------------------------------- */

static void stop_running(scheduler *s, uint32_t index)
{
    release_pages(s, s->running[index]);
    s->running_count--;
    memmove(&s->running[index], &s->running[index + 1], (s->running_count - index) * sizeof *s->running);
}

static void preempt_last(scheduler *s)
{
    sequence *victim = s->running[s->running_count - 1];
    stop_running(s, s->running_count - 1);
    victim->preemptions++;
    s->preemptions++;
    queue_return(&s->queue, victim);
}

/* --- plan ------------------------------------------------------------------------------------------------------------- */

static sequence_cause cause_to_end(sequence *q, uint64_t now)
{
    if (atomic_load_explicit(&q->cancelled, memory_order_relaxed))
        return SEQUENCE_CAUSE_CANCELLED;
    return q->deadline && q->deadline <= now ? SEQUENCE_CAUSE_EXPIRED : SEQUENCE_CAUSE_NONE;
}

static void push_ended(scheduler *s, sequence **list, sequence *q, sequence_cause cause)
{
    queue_leave(&s->queue, q);
    q->state = SEQUENCE_ENDED;
    q->cause = cause;
    q->next = *list;
    *list = q;
}

static void expire_waiting(scheduler *s, uint64_t now, sequence **ended)
{
    for (sequence *q = s->queue.first, *next; q; q = next) {
        next = q->next;
        sequence_cause cause = cause_to_end(q, now);
        if (cause == SEQUENCE_CAUSE_NONE)
            continue;
        queue_take(&s->queue, q);
        push_ended(s, ended, q, cause);
    }
}

static void expire_running(scheduler *s, uint64_t now, sequence **ended)
{
    for (uint32_t i = s->running_count; i-- > 0;) {
        sequence *q = s->running[i];
        sequence_cause cause = cause_to_end(q, now);
        if (cause == SEQUENCE_CAUSE_NONE)
            continue;
        stop_running(s, i);
        push_ended(s, ended, q, cause);
    }
}

sequence *scheduler_expire(scheduler *s, uint64_t now)
{
    sequence *ended = NULL;
    expire_waiting(s, now, &ended);
    expire_running(s, now, &ended);
    return ended;
}

/* What has become known since of prompts that are being read. */
static void look_again(scheduler *s)
{
    for (uint32_t i = 0; i < s->running_count; i++) {
        sequence *q = s->running[i];
        uint32_t before = q->computed;
        if (sequence_remaining(q) > 1)
            adopt_pages(s, q);
        count_hit(s, q, before);
    }
}

/* Gives every running sequence pages for all its tokens, the most urgent first, at the cost of the least urgent. */
static void grow_running(scheduler *s)
{
    for (uint32_t i = 0; i < s->running_count; i++) {
        sequence *q = s->running[i];
        uint32_t needed = scheduler_pages_for(s, q->token_count); /* less than it has where it had guesses */
        uint32_t missing = needed > q->page_count ? needed - q->page_count : 0;
        while (i < s->running_count && !scheduler_take_pages(s, missing, q->pages + q->page_count))
            preempt_last(s);
        if (i < s->running_count)
            q->page_count += missing;
    }
}

static bool has_room(const scheduler *s, uint32_t running, uint32_t available, uint32_t needed)
{
    if (running >= s->limits.max_sequences || needed > available)
        return false;
    return running == 0 || available - needed >= running; /* C4 */
}

/* How many pages nobody holds any more once this sequence goes too, after others that were counted in given_up. */
static uint32_t give_up(scheduler *s, const sequence *q)
{
    uint32_t count = q->copy_from >= 0 && ++s->given_up[q->copy_from] == prefix_holders(s->prefix, q->copy_from);
    for (uint32_t i = 0; i < q->page_count; i++)
        count += ++s->given_up[q->pages[i]] == prefix_holders(s->prefix, q->pages[i]);
    return count;
}

static void keep(scheduler *s, const sequence *q)
{
    if (q->copy_from >= 0)
        s->given_up[q->copy_from] = 0;
    for (uint32_t i = 0; i < q->page_count; i++)
        s->given_up[q->pages[i]] = 0;
}

/* Room for what `q` has not got yet, by preempting lower priorities if need be; nobody is preempted in vain. */
static bool make_room(scheduler *s, const sequence *q)
{
    uint32_t running = s->running_count, available = scheduler_pages_at_hand(s);
    uint32_t needed = scheduler_pages_for(s, q->token_count) - q->page_count;
    bool room;
    while (!(room = has_room(s, running, available, needed)) && running > 0 && s->running[running - 1]->priority < q->priority)
        available += give_up(s, s->running[--running]);
    for (uint32_t i = running; i < s->running_count; i++)
        keep(s, s->running[i]);
    while (room && s->running_count > running)
        preempt_last(s);
    return room;
}

/* Gives `q` what the cache knows and room for the rest, or nothing. A copy that does not fit beside its source is left out. */
static bool place(scheduler *s, sequence *q)
{
    adopt_pages(s, q);
    adopt_beginning(s, q);
    bool room = make_room(s, q);
    if (!room && q->copy_from >= 0) {
        drop_copy(s, q);
        q->computed = q->registered * s->limits.page_tokens;
        room = make_room(s, q);
    }
    if (!room) {
        release_pages(s, q);
        return false;
    }
    uint32_t needed = scheduler_pages_for(s, q->token_count) - q->page_count;
    scheduler_take_pages(s, needed, q->pages + q->page_count);
    q->page_count += needed;
    count_hit(s, q, 0);
    return true;
}

static uint64_t pending_tokens(const scheduler *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->running_count; i++)
        sum += sequence_remaining(s->running[i]);
    return sum;
}

/* Who is next, as long as there are pages and places; whole prompts only until they fill a step. A preempted sequence comes behind the one
 * that it made room for, so that one stays the next. */
static void admit_waiting(scheduler *s, uint64_t now)
{
    while (s->queue.first) {
        bool lower = s->running_count > 0 && s->running[s->running_count - 1]->priority < s->queue.first->priority;
        bool full = s->running_count == s->limits.max_sequences || (s->limits.whole_prompts && pending_tokens(s) >= s->limits.max_tokens);
        if (full && !lower)
            return;
        sequence *q = queue_next(&s->queue);
        if (!place(s, q))
            return;
        queue_admit(&s->queue, q, sequence_remaining(q));
        q->state = SEQUENCE_RUNNING;
        if (!q->admitted_at)
            q->admitted_at = now;
        uint32_t place = s->running_count++;
        for (; place > 0 && sequence_before(q, s->running[place - 1]); place--)
            s->running[place] = s->running[place - 1];
        s->running[place] = q;
    }
}

void scheduler_plan(scheduler *s, uint64_t now, plan *out)
{
    *out = (plan){.entries = s->entries, .ended = scheduler_expire(s, now)};
    look_again(s);
    grow_running(s);
    admit_waiting(s, now);
    scheduler_compose(s, out);
}

/* --- commit ----------------------------------------------------------------------------------------------------------- */

/* What the step has computed is computed, but for guesses that were wrong: their K and V are written over later. */
static void take_result(scheduler *s, const plan_entry *e)
{
    sequence *q = e->sequence;
    drop_copy(s, q);
    q->computed += e->count - e->drafts + e->accepted;
    register_pages(s, q);
    q->scored = q->computed > q->scored ? q->computed : q->scored;
    q->scores = q->scores && q->scored < q->prompt_count;
    if (e->drafts)
        draft_note(&q->draft, e->drafts, e->accepted);
    s->drafted += e->drafts;
    s->accepted += e->accepted;
    if (e->row)
        queue_serve(q, e->accepted + 1);
    if (!e->row || e->over)
        return;
    q->token_count += e->accepted;
    q->tokens[q->token_count++] = e->token;
}

sequence *scheduler_commit(scheduler *s, const plan *done)
{
    sequence *ended = NULL;
    for (uint32_t i = 0; i < done->count; i++) {
        const plan_entry *e = &done->entries[i];
        if (!e->failed)
            take_result(s, e);
        if (!e->over)
            continue;
        uint32_t place = 0;
        while (s->running[place] != e->sequence)
            place++;
        stop_running(s, place);
        push_ended(s, &ended, e->sequence, SEQUENCE_CAUSE_NONE);
    }
    return ended;
}

sequence *scheduler_end_all(scheduler *s)
{
    sequence *ended = NULL;
    while (s->running_count) {
        sequence *q = s->running[s->running_count - 1];
        stop_running(s, s->running_count - 1);
        push_ended(s, &ended, q, SEQUENCE_CAUSE_NONE);
    }
    while (s->queue.first) {
        sequence *q = s->queue.first;
        queue_take(&s->queue, q);
        push_ended(s, &ended, q, SEQUENCE_CAUSE_NONE);
    }
    return ended;
}

/* --- questions -------------------------------------------------------------------------------------------------------- */

bool scheduler_idle(const scheduler *s)
{
    return s->running_count == 0 && s->queue.first == NULL;
}

uint64_t scheduler_next_deadline(const scheduler *s)
{
    uint64_t soonest = UINT64_MAX;
    for (const sequence *q = s->queue.first; q; q = q->next)
        if (q->deadline && q->deadline < soonest)
            soonest = q->deadline;
    for (uint32_t i = 0; i < s->running_count; i++)
        if (s->running[i]->deadline && s->running[i]->deadline < soonest)
            soonest = s->running[i]->deadline;
    return soonest;
}

scheduler_counts scheduler_count(const scheduler *s)
{
    uint32_t total = pages_total(s->pages);
    return (scheduler_counts){.running = s->running_count, .waiting = s->queue.count,
                              .pages_used = total - scheduler_pages_at_hand(s), .pages_total = total,
                              .pages_cached = prefix_idle(s->prefix), .preemptions = s->preemptions,
                              .hit_tokens = s->hit_tokens, .drafted = s->drafted, .accepted = s->accepted};
}

uint32_t scheduler_page_references(const scheduler *s, int32_t page)
{
    return pages_references(s->pages, page);
}

bool scheduler_page_registered(const scheduler *s, int32_t page)
{
    return prefix_registered(s->prefix, page);
}

const sequence *scheduler_running(const scheduler *s, uint32_t index)
{
    return s->running[index];
}
