#include "engine/scheduler.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

struct scheduler {
    scheduler_limits limits;
    pages *pages;
    uint64_t next_number, preemptions;
    sequence **running; /* [max_sequences], most urgent first */
    uint32_t running_count;
    sequence *waiting;  /* most urgent first */
    uint32_t waiting_count, reserved;
    plan_entry *entries; /* [max_sequences] */
};

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
    bp_status status = pages_new(limits->page_count, &s->pages, error);
    s->running = calloc(s->limits.max_sequences, sizeof(sequence *));
    s->entries = calloc(s->limits.max_sequences, sizeof *s->entries);
    if (status == BP_OK && (!s->running || !s->entries))
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
    pages_free(s->pages);
    free(s->running);
    free(s->entries);
    free(s);
}

uint32_t scheduler_pages_for(const scheduler *s, uint32_t tokens)
{
    return tokens / s->limits.page_tokens + (tokens % s->limits.page_tokens != 0);
}

/* --- places ----------------------------------------------------------------------------------------------------------- */

bp_status scheduler_reserve(scheduler *s, bp_error *error)
{
    uint64_t present = (uint64_t)s->running_count + s->waiting_count + s->reserved;
    if (present >= (uint64_t)s->limits.max_sequences + s->limits.queue_limit)
        return error_set(error, BP_ELIMIT, "the queue is full: %u requests run and %u wait; try again later", s->running_count,
                         s->waiting_count + s->reserved);
    s->reserved++;
    return BP_OK;
}

void scheduler_unreserve(scheduler *s)
{
    s->reserved--;
}

static void insert_waiting(scheduler *s, sequence *q)
{
    sequence **place = &s->waiting;
    while (*place && sequence_before(*place, q))
        place = &(*place)->next;
    q->next = *place;
    *place = q;
    q->state = SEQUENCE_WAITING;
    s->waiting_count++;
}

bp_status scheduler_add(scheduler *s, sequence *q, bp_error *error)
{
    s->reserved--;
    if (q->token_count == 0 || q->token_limit < q->token_count)
        return error_set(error, BP_EINVAL, "a sequence of %u tokens with a limit of %u is not possible", q->token_count,
                         q->token_limit);
    if (scheduler_pages_for(s, q->token_limit) > pages_total(s->pages))
        return error_set(error, BP_ELIMIT, "%u tokens never fit the cache of %u pages of %u tokens", q->token_limit,
                         pages_total(s->pages), s->limits.page_tokens);
    q->number = s->next_number++;
    q->computed = q->page_count = 0;
    q->cause = SEQUENCE_CAUSE_NONE;
    insert_waiting(s, q);
    return BP_OK;
}

bool scheduler_remove(scheduler *s, sequence *q)
{
    if (q->state != SEQUENCE_WAITING)
        return false;
    sequence **place = &s->waiting;
    while (*place != q)
        place = &(*place)->next;
    *place = q->next;
    q->next = NULL;
    q->state = SEQUENCE_ENDED;
    s->waiting_count--;
    return true;
}

static void release_pages(scheduler *s, sequence *q)
{
    pages_release(s->pages, q->pages, q->page_count);
    q->page_count = 0;
    q->computed = 0;
}

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
    insert_waiting(s, victim);
}

/* --- plan ------------------------------------------------------------------------------------------------------------- */

static sequence_cause cause_to_end(sequence *q, uint64_t now)
{
    if (atomic_load_explicit(&q->cancelled, memory_order_relaxed))
        return SEQUENCE_CAUSE_CANCELLED;
    return q->deadline && q->deadline <= now ? SEQUENCE_CAUSE_EXPIRED : SEQUENCE_CAUSE_NONE;
}

static void push_ended(sequence **list, sequence *q, sequence_cause cause)
{
    q->state = SEQUENCE_ENDED;
    q->cause = cause;
    q->next = *list;
    *list = q;
}

static void expire_waiting(scheduler *s, uint64_t now, sequence **ended)
{
    for (sequence **place = &s->waiting; *place;) {
        sequence *q = *place;
        sequence_cause cause = cause_to_end(q, now);
        if (cause == SEQUENCE_CAUSE_NONE) {
            place = &q->next;
            continue;
        }
        *place = q->next;
        s->waiting_count--;
        push_ended(ended, q, cause);
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
        push_ended(ended, q, cause);
    }
}

sequence *scheduler_expire(scheduler *s, uint64_t now)
{
    sequence *ended = NULL;
    expire_waiting(s, now, &ended);
    expire_running(s, now, &ended);
    return ended;
}

/* Gives every running sequence pages for all its tokens, the most urgent first, at the cost of the least urgent. */
static void grow_running(scheduler *s)
{
    for (uint32_t i = 0; i < s->running_count; i++) {
        sequence *q = s->running[i];
        uint32_t missing = scheduler_pages_for(s, q->token_count) - q->page_count;
        while (i < s->running_count && !pages_take(s->pages, missing, q->pages + q->page_count))
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

/* Room for `q`, by preempting lower priorities if need be; nobody is preempted in vain. */
static bool make_room(scheduler *s, const sequence *q, uint32_t needed)
{
    uint32_t running = s->running_count, available = pages_available(s->pages);
    while (!has_room(s, running, available, needed)) {
        if (running == 0 || s->running[running - 1]->priority >= q->priority)
            return false;
        available += s->running[--running]->page_count;
    }
    while (s->running_count > running)
        preempt_last(s);
    return true;
}

static uint64_t pending_tokens(const scheduler *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->running_count; i++)
        sum += sequence_remaining(s->running[i]);
    return sum;
}

/* The head of the waiting, as long as there are pages and places for it and the step has tokens left. A preempted sequence
 * comes behind the one that it made room for, so `waiting` stays the most urgent. */
static void admit_waiting(scheduler *s, uint64_t now)
{
    while (s->waiting) {
        sequence *q = s->waiting;
        uint32_t needed = scheduler_pages_for(s, q->token_count);
        bool lower = s->running_count > 0 && s->running[s->running_count - 1]->priority < q->priority;
        if ((!lower && pending_tokens(s) >= s->limits.max_tokens) || !make_room(s, q, needed))
            return;
        s->waiting = q->next;
        s->waiting_count--;
        q->next = NULL;
        pages_take(s->pages, needed, q->pages);
        q->page_count = needed;
        q->state = SEQUENCE_RUNNING;
        if (!q->admitted_at)
            q->admitted_at = now;
        uint32_t place = s->running_count++;
        for (; place > 0 && sequence_before(q, s->running[place - 1]); place--)
            s->running[place] = s->running[place - 1];
        s->running[place] = q;
    }
}

static void put_entry(plan *out, sequence *q, uint32_t count)
{
    bool row = count == sequence_remaining(q);
    out->entries[out->count++] = (plan_entry){.sequence = q, .start = q->computed, .count = count, .row = row, .token = -1};
    out->token_count += count;
    out->row_count += row;
}

static void compose(scheduler *s, plan *out)
{
    for (uint32_t i = 0; i < s->running_count; i++)
        if (sequence_remaining(s->running[i]) == 1)
            put_entry(out, s->running[i], 1);
    for (uint32_t i = 0; i < s->running_count && out->token_count < s->limits.max_tokens; i++) {
        uint32_t remaining = sequence_remaining(s->running[i]), left = s->limits.max_tokens - out->token_count;
        if (remaining > 1)
            put_entry(out, s->running[i], remaining < left ? remaining : left);
    }
}

void scheduler_plan(scheduler *s, uint64_t now, plan *out)
{
    *out = (plan){.entries = s->entries, .ended = scheduler_expire(s, now)};
    grow_running(s);
    admit_waiting(s, now);
    compose(s, out);
}

/* --- commit ----------------------------------------------------------------------------------------------------------- */

sequence *scheduler_commit(scheduler *s, const plan *done)
{
    sequence *ended = NULL;
    for (uint32_t i = 0; i < done->count; i++) {
        const plan_entry *e = &done->entries[i];
        sequence *q = e->sequence;
        if (e->over) {
            uint32_t place = 0;
            while (s->running[place] != q)
                place++;
            stop_running(s, place);
            push_ended(&ended, q, SEQUENCE_CAUSE_NONE);
        } else if (!e->failed) {
            q->computed += e->count;
            if (e->row)
                q->tokens[q->token_count++] = e->token;
        }
    }
    return ended;
}

sequence *scheduler_end_all(scheduler *s)
{
    sequence *ended = NULL;
    while (s->running_count) {
        sequence *q = s->running[s->running_count - 1];
        stop_running(s, s->running_count - 1);
        push_ended(&ended, q, SEQUENCE_CAUSE_NONE);
    }
    while (s->waiting) {
        sequence *q = s->waiting;
        s->waiting = q->next;
        s->waiting_count--;
        push_ended(&ended, q, SEQUENCE_CAUSE_NONE);
    }
    return ended;
}

/* --- questions -------------------------------------------------------------------------------------------------------- */

bool scheduler_idle(const scheduler *s)
{
    return s->running_count == 0 && s->waiting == NULL;
}

uint64_t scheduler_next_deadline(const scheduler *s)
{
    uint64_t soonest = UINT64_MAX;
    for (const sequence *q = s->waiting; q; q = q->next)
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
    return (scheduler_counts){.running = s->running_count, .waiting = s->waiting_count,
                              .pages_used = total - pages_available(s->pages), .pages_total = total,
                              .preemptions = s->preemptions};
}

uint32_t scheduler_page_references(const scheduler *s, int32_t page)
{
    return pages_references(s->pages, page);
}

const sequence *scheduler_running(const scheduler *s, uint32_t index)
{
    return s->running[index];
}
