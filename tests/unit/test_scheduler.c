/* scheduler: seeded traces of arrivals, lengths, priorities, cancellations and deadlines over caches of few pages, with the
 * promises of scheduler.h checked after every plan.
 *
 * A model is played whose next token is a hash of the whole context as it reads it back through the pages: a wrong page, a
 * page in two hands or a token computed twice gives other tokens than the sequence gets alone. Every slot remembers under
 * which salt it was computed, and nobody may read another's. */
#include "engine/queue.h"
#include "engine/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_REQUESTS = 24, MAX_LENGTH = 48, TRACES = 4000, END_TOKEN = 7 };

/* What happened in all traces: a promise about something that never happens is not tested. */
typedef struct happened {
    uint64_t steps, chunks, mixed, full_steps, admitted, waited_for_pages, waited_for_places, preempted, preempted_by_priority,
        preempted_in_prefill, recomputed, expired_waiting, expired_running, cancelled_waiting, cancelled_running, removed, failed,
        again, ended_early, ended_full, refused_queue, hits, hits_in_prefill, hits_of_preempted, copies, twins, merged, evicted,
        shared, alike_under_other_salt, drafted, accepted, all_accepted, none_accepted, drafts_shared, ended_in_draft, held_back, overtaken, shorter_went_first,
        scored, scored_cut, scored_after_preemption, scored_hits, rows_short;
} happened;

typedef struct request {
    sequence sequence;
    int32_t tokens[MAX_LENGTH], pages[MAX_LENGTH];
    sequence_state before; /* of this plan */
    uint32_t computed_before, deepest, salt;
    uint32_t given;        /* rows of its prompt, where it is scored */
    bool scored;
    bool over;             /* by its own end or by a failure */
    bool failed;
} request;

typedef struct slot {
    int32_t token; /* computed there; -1 if none */
    uint32_t position, salt;
} slot;

typedef struct trace {
    uint64_t random, now, hash;
    scheduler_limits limits;
    scheduler *scheduler;
    slot *memory; /* [page_count * page_tokens] */
    bool registered[4 * MAX_LENGTH]; /* pages, before this plan */
    request requests[MAX_REQUESTS];
    uint32_t arrived, ended, target;
    happened *seen;
} trace;

static uint32_t roll(trace *t, uint32_t sides)
{
    t->random += 0x9e3779b97f4a7c15u;
    uint64_t x = t->random;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ x >> 31) >> 32) % sides;
}

static void mix(uint64_t *hash, uint64_t value)
{
    *hash = (*hash ^ value) * 0x100000001b3u;
    *hash ^= *hash >> 29;
}

/* --- the model that is played --------------------------------------------------------------------------------------------- */

/* Mostly what followed the last token before, so that it can be guessed. */
static int32_t next_token(uint64_t hash, int32_t last)
{
    return (hash >> 40) % 5 ? 40 + (last * 5 + 11) % 24 : (int32_t)((hash >> 11) % 1000);
}

/* What a prompt becomes when nothing else happens. */
static uint32_t answer_alone(const request *r, int32_t *out)
{
    const sequence *q = &r->sequence;
    uint64_t hash = 1;
    memcpy(out, r->tokens, q->prompt_count * sizeof *out);
    for (uint32_t i = 0; i < q->prompt_count; i++)
        mix(&hash, (uint64_t)out[i]);
    uint32_t count = q->prompt_count;
    while (count < q->token_limit) {
        int32_t token = next_token(hash, out[count - 1]);
        if (token % 32 == END_TOKEN)
            break;
        out[count++] = token;
        mix(&hash, (uint64_t)token);
    }
    return count;
}

static slot *slot_of(trace *t, const sequence *q, uint32_t position)
{
    uint32_t size = t->limits.page_tokens;
    return &t->memory[(uint32_t)q->pages[position / size] * size + position % size];
}

/* Computes an entry: writes its tokens to its pages, which nobody else holds, and reads the row's context back from there. */
static void compute(trace *t, plan_entry *e)
{
    const request *r = (const request *)e->sequence;
    const sequence *q = e->sequence;
    uint32_t size = t->limits.page_tokens;
    if (e->copy_from >= 0)
        memcpy(t->memory + (uint32_t)e->copy_to * size, t->memory + (uint32_t)e->copy_from * size, size * sizeof *t->memory);
    for (uint32_t i = e->start; i < e->start + e->count; i++) {
        assert_int_equal(scheduler_page_references(t->scheduler, q->pages[i / size]), 1);
        *slot_of(t, q, i) = (slot){.token = q->tokens[i], .position = i, .salt = r->salt};
    }
    request *scored = (request *)e->sequence;
    for (uint32_t i = e->start + e->count - e->row - e->scores; e->scores && i < e->start + e->count - e->row; i++)
        assert_int_equal(i, scored->given++); /* each once, in order */
    if (!e->row)
        return;
    uint64_t hash = 1;
    for (uint32_t i = 0; i < q->token_count + e->drafts; i++) {
        const slot *at = slot_of(t, q, i);
        assert_true(at->position == i && at->salt == r->salt);
        mix(&hash, (uint64_t)at->token);
        if (i + 1 < q->token_count)
            continue;
        e->token = next_token(hash, at->token);
        if (e->token % 32 == END_TOKEN || e->accepted == e->drafts || q->tokens[i + 1] != e->token)
            break;
        e->accepted++;
    }
    t->seen->drafted += e->drafts;
    t->seen->accepted += e->accepted;
    t->seen->all_accepted += e->drafts && e->accepted == e->drafts;
    t->seen->none_accepted += e->drafts && e->accepted == 0;
}

/* --- promises of a plan --------------------------------------------------------------------------------------------------- */

static uint32_t places(const trace *t)
{
    return t->limits.max_sequences < t->limits.max_tokens ? t->limits.max_sequences : t->limits.max_tokens;
}

/* C6, S6: only registered pages are in more than one table, and they hold what their holders' tokens say. */
static void check_pages(trace *t)
{
    scheduler_counts counts = scheduler_count(t->scheduler);
    uint32_t references[4 * MAX_LENGTH] = {0}, held = 0, cached = 0, size = t->limits.page_tokens;
    for (uint32_t i = 0; i < counts.running; i++) {
        const sequence *q = scheduler_running(t->scheduler, i);
        assert_true(q->page_count >= scheduler_pages_for(t->scheduler, q->token_count));
        assert_true(q->page_count <= scheduler_pages_for(t->scheduler, q->token_limit));
        assert_true(q->registered <= q->page_count && q->registered * size <= q->computed && q->computed < q->token_count);
        for (uint32_t p = 0; p < q->page_count; p++) {
            references[q->pages[p]]++;
            assert_int_equal(scheduler_page_registered(t->scheduler, q->pages[p]), p < q->registered);
        }
        for (uint32_t n = 0; n < q->registered * size; n++)
            assert_true(slot_of(t, q, n)->token == q->tokens[n] && slot_of(t, q, n)->salt == ((const request *)q)->salt);
        if (q->copy_from >= 0) {
            references[q->copy_from]++;
            assert_true(scheduler_page_registered(t->scheduler, q->copy_from));
            assert_int_equal(q->computed / size, q->registered);
        }
    }
    for (uint32_t p = 0; p < t->limits.page_count; p++) {
        bool registered = scheduler_page_registered(t->scheduler, (int32_t)p);
        assert_int_equal(references[p] + registered, scheduler_page_references(t->scheduler, (int32_t)p));
        assert_true(registered || references[p] <= 1);
        assert_true(t->limits.share_prefixes || !registered);
        held += references[p] > 0;
        cached += registered && references[p] == 0;
        t->seen->shared += references[p] > 1;
        t->seen->evicted += t->registered[p] && !registered;
    }
    assert_int_equal(held, counts.pages_used);
    assert_int_equal(cached, counts.pages_cached);
}

/* A prompt may leave a step out where a more urgent entry, or a decode, completes its next page. */
static bool page_is_coming(const trace *t, const plan *p, const sequence *q)
{
    uint32_t end = (q->registered + 1) * t->limits.page_tokens;
    const request *scored = (const request *)q;
    if (!t->limits.share_prefixes || end >= q->token_count || (scored->scored && end > scored->given &&
                                                                  scored->given + 1 < q->prompt_count))
        return false;
    for (uint32_t i = 0; i < p->count; i++) {
        const plan_entry *e = &p->entries[i];
        if (e->start + e->count >= end && e->sequence->registered == q->registered &&
            ((const request *)e->sequence)->salt == ((const request *)q)->salt &&
            memcmp(e->sequence->tokens, q->tokens, end * sizeof *q->tokens) == 0)
            return true;
    }
    return false;
}

static uint32_t rows_of_step(const trace *t)
{
    uint32_t least = 1 + t->limits.max_drafts > places(t) ? 1 + t->limits.max_drafts : places(t);
    return t->limits.max_rows > least ? t->limits.max_rows : least;
}

static uint32_t planned_tokens(const plan *p, const sequence *q)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->entries[i].sequence == q)
            return p->entries[i].count - p->entries[i].drafts;
    return 0;
}

/* C3: behind the most urgent one, nobody who is longer or of lower priority gets anything where a prompt is cut. */
static void check_shortest(trace *t, const plan *p, const sequence *first, const sequence *const *cut, uint32_t cuts)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const sequence *q = p->entries[i].sequence;
        for (uint32_t k = 0; k < cuts && q != first && sequence_remaining(q) > 1; k++) {
            if (cut[k] == first || cut[k] == q)
                continue;
            assert_true(q->priority > cut[k]->priority ||
                        (q->priority == cut[k]->priority && sequence_remaining(q) <= sequence_remaining(cut[k])));
            t->seen->shorter_went_first += cut[k]->number < q->number;
        }
    }
}

/* C2, C3, and that each entry goes on where its sequence is. */
static void check_entries(trace *t, const plan *p)
{
    scheduler_counts counts = scheduler_count(t->scheduler);
    uint32_t tokens = 0, rows = 0, decodes = 0, prompts = 0, single = 0, drafts = 0, drafters = 0, answers = 0, of_prompts = 0;
    assert_true(p->count <= places(t) && counts.running <= places(t));
    for (uint32_t i = 0; i < p->count; i++) {
        const plan_entry *e = &p->entries[i];
        const sequence *q = e->sequence;
        assert_int_equal(q->state, SEQUENCE_RUNNING);
        assert_false(atomic_load(&q->cancelled));
        assert_true(!q->deadline || q->deadline > t->now);
        assert_int_equal(e->start, q->computed);
        assert_true(e->count > e->drafts && e->start + e->count <= q->token_count + e->drafts);
        assert_true(e->start + e->count < q->token_limit || e->drafts == 0);
        assert_true(scheduler_pages_for(t->scheduler, e->start + e->count) <= q->page_count);
        assert_int_equal(e->row, e->start + e->count == q->token_count + e->drafts);
        assert_false(e->failed || e->over || e->accepted);
        assert_int_equal(e->copy_from, q->copy_from);
        assert_true(e->copy_from < 0 || e->copy_to == q->pages[e->start / t->limits.page_tokens]);
        t->seen->copies += e->copy_from >= 0;
        assert_true(e->copy_from < 0 || t->limits.copy_pages);
        for (uint32_t j = 0; j < i; j++)
            assert_ptr_not_equal(p->entries[j].sequence, q);
        tokens += e->count;
        rows += e->scores + e->row + e->drafts;
        assert_true(e->scores == 0 || (((const request *)q)->scored && e->scores + e->row <= e->count && e->drafts == 0));
        t->seen->scored += e->scores > 0;
        t->seen->scored_cut += e->scores > 0 && !e->row;
        t->seen->scored_after_preemption += e->scores > 0 && q->preemptions > 0;
        drafts += e->drafts;
        drafters += e->drafts > 0;
        single += sequence_remaining(q) == 1;
        decodes += e->count == 1 && e->start >= q->prompt_count;
        prompts += e->count - e->drafts > 1;
        answers += sequence_remaining(q) == 1 && q->token_count > q->prompt_count;
        of_prompts += sequence_remaining(q) == 1 ? 0 : e->count;
        t->seen->chunks += !e->row;
        t->seen->recomputed += e->count - e->drafts > 1 && e->start + e->count > q->prompt_count;
    }
    assert_true(drafts == 0 || tokens <= 1 + t->limits.max_drafts);
    assert_true(rows <= rows_of_step(t));
    bool mixed = answers && t->limits.mixed_tokens;
    assert_true(!mixed || of_prompts <= t->limits.mixed_tokens);
    t->seen->held_back += mixed && of_prompts == t->limits.mixed_tokens && tokens < t->limits.max_tokens;
    t->seen->drafts_shared += drafters > 1;
    assert_int_equal(tokens, p->token_count);
    assert_int_equal(rows, p->row_count);
    assert_true(tokens <= t->limits.max_tokens);
    t->seen->mixed += decodes && prompts;
    t->seen->full_steps += tokens == t->limits.max_tokens;
    /* Every sequence with one token to go is there, and prompts fill the rest. */
    bool gap = false;
    const sequence *cut[MAX_REQUESTS], *first = NULL; /* prompts that got less than they could use; and the most urgent of all */
    uint32_t cuts = 0;
    for (uint32_t i = 0; i < counts.running; i++) {
        const sequence *q = scheduler_running(t->scheduler, i);
        uint32_t planned = planned_tokens(p, q);
        single -= sequence_remaining(q) == 1;
        bool twin = planned == 0 && page_is_coming(t, p, q);
        bool rows_short = rows == rows_of_step(t) && planned < sequence_remaining(q) &&
                          q->computed + planned >= sequence_first_row(q);
        t->seen->rows_short += rows_short;
        t->seen->twins += twin;
        if (sequence_remaining(q) == 1)
            assert_int_equal(planned, 1);
        else if (!first && !twin && (planned || !rows_short)) {
            first = q;
            assert_true(planned == sequence_remaining(q) || 2 * planned >= of_prompts || rows_short);
        }
        if (planned < sequence_remaining(q) && !rows_short && !twin)
            cut[cuts++] = q;
        gap = cuts > 0;
    }
    check_shortest(t, p, first, cut, cuts);
    assert_int_equal(single, 0);
    assert_true(!gap || tokens == t->limits.max_tokens || (mixed && of_prompts == t->limits.mixed_tokens));
    assert_true(p->count > 0 || scheduler_idle(t->scheduler));
}

/* Whether `a`, who was admitted, went rightly before `b`, who waits: what b's tenant has been served only grew since. */
static bool came_before(const sequence *a, const sequence *b)
{
    uint64_t turn = b->turn == SEQUENCE_NO_TURN ? b->tenant->served : b->turn;
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->tenant == b->tenant && a->preemptions == 0 && b->preemptions == 0)
        return a->number < b->number;
    return a->turn != turn ? a->turn < turn : a->number < b->number;
}

/* C1, C5: who came in went before all who wait, who was put out was less urgent than all who run. */
static void check_order(trace *t)
{
    scheduler_counts counts = scheduler_count(t->scheduler);
    uint32_t running = 0, waiting = 0;
    for (uint32_t i = 1; i < counts.running; i++)
        assert_true(sequence_before(scheduler_running(t->scheduler, i - 1), scheduler_running(t->scheduler, i)));
    for (uint32_t i = 0; i < t->arrived; i++) {
        request *a = &t->requests[i];
        running += a->sequence.state == SEQUENCE_RUNNING;
        waiting += a->sequence.state == SEQUENCE_WAITING;
        bool came = a->before == SEQUENCE_WAITING && a->sequence.state == SEQUENCE_RUNNING;
        bool left = a->before == SEQUENCE_RUNNING && a->sequence.state == SEQUENCE_WAITING;
        for (uint32_t j = 0; (came || left) && j < t->arrived; j++) {
            const sequence *b = &t->requests[j].sequence;
            if (came && b->state == SEQUENCE_WAITING) {
                assert_true(came_before(&a->sequence, b));
                t->seen->overtaken += a->sequence.priority == b->priority && a->sequence.number > b->number &&
                                      a->sequence.preemptions == 0;
            }
            if (left && b->state == SEQUENCE_RUNNING) {
                assert_true(sequence_before(b, &a->sequence));
                t->seen->preempted_by_priority += t->requests[j].before == SEQUENCE_WAITING;
            }
        }
        const request *r = a;
        if (r->scored && a->sequence.state == SEQUENCE_RUNNING && r->given + 1 < a->sequence.prompt_count) {
            assert_true(a->sequence.computed <= r->given);
            t->seen->scored_hits += came && a->sequence.computed > 0;
        }
        if (came) {
            t->seen->hits += a->sequence.computed > 0;
            t->seen->hits_of_preempted += a->sequence.computed > 0 && a->sequence.preemptions > 0;
        }
        t->seen->hits_in_prefill += a->before == SEQUENCE_RUNNING && a->sequence.computed > a->computed_before;
        t->seen->admitted += came;
        t->seen->preempted += left;
        if (left) {
            assert_int_equal(a->sequence.computed, 0);
            assert_int_equal(a->sequence.page_count, 0);
            t->seen->preempted_in_prefill += a->computed_before < a->sequence.prompt_count;
        }
    }
    assert_int_equal(running, counts.running);
    assert_int_equal(waiting, counts.waiting);
    t->seen->waited_for_places += waiting && running == places(t);
    t->seen->waited_for_pages += waiting && running < places(t);
}

/* --- a trace -------------------------------------------------------------------------------------------------------------- */

static void note_end(trace *t, sequence *list)
{
    for (sequence *q = list; q; q = q->next) {
        request *r = (request *)q;
        assert_int_equal(q->state, SEQUENCE_ENDED);
        assert_int_equal(q->page_count, 0);
        bool ran = r->before == SEQUENCE_RUNNING;
        if (q->cause == SEQUENCE_CAUSE_CANCELLED) {
            assert_true(atomic_load(&q->cancelled));
            *(ran ? &t->seen->cancelled_running : &t->seen->cancelled_waiting) += 1;
        } else if (q->cause == SEQUENCE_CAUSE_EXPIRED) {
            assert_true(q->deadline && q->deadline <= t->now);
            *(ran ? &t->seen->expired_running : &t->seen->expired_waiting) += 1;
        } else {
            assert_true(r->over);
        }
        mix(&t->hash, q->number * 8 + q->cause);
        t->ended++;
    }
}

static void arrive(trace *t)
{
    bp_error error = {0};
    if (t->arrived == t->target)
        return;
    scheduler_counts counts = scheduler_count(t->scheduler);
    if (scheduler_reserve(t->scheduler, &error) != BP_OK) {
        assert_int_equal(error.code, BP_EBUSY);
        assert_int_equal(counts.running + counts.waiting, places(t) + t->limits.queue_limit);
        t->seen->refused_queue++;
        return;
    }
    if (roll(t, 16) == 0) {
        scheduler_unreserve(t->scheduler);
        return;
    }
    request *r = &t->requests[t->arrived++];
    sequence *q = &r->sequence;
    uint32_t room = t->limits.page_count * t->limits.page_tokens;
    room = room < MAX_LENGTH ? room : MAX_LENGTH;
    *r = (request){.sequence.tokens = r->tokens, .sequence.pages = r->pages};
    atomic_init(&q->cancelled, false);
    q->prompt_count = q->token_count = 1 + roll(t, roll(t, 2) ? 4 : room - 1);
    q->token_limit = q->prompt_count + 1 + roll(t, room - q->prompt_count);
    q->priority = (int32_t)roll(t, 3) - 1;
    q->deadline = roll(t, 4) ? 0 : t->now + 1 + roll(t, 60);
    r->scored = q->scores = roll(t, 3) == 0;
    r->salt = roll(t, 3);
    q->salt = (const char *const[]){NULL, "one", "another"}[r->salt];
    /* Often the beginning of an earlier conversation, and then something else. */
    const request *like = t->arrived > 1 && roll(t, 3) ? &t->requests[roll(t, t->arrived - 1)] : NULL;
    uint32_t known = like ? like->deepest > like->sequence.prompt_count ? like->deepest : like->sequence.prompt_count : 0;
    known = known && roll(t, 2) ? 1 + roll(t, known) : known;
    for (uint32_t i = 0; i < q->prompt_count; i++)
        r->tokens[i] = i < known ? like->tokens[i] : (int32_t)roll(t, 1000);
    t->seen->alike_under_other_salt += known && like->salt != r->salt;
    if (scheduler_add(t->scheduler, q, &error) != BP_OK)
        fail_msg("%s", error.message);
    r->before = SEQUENCE_WAITING;
}

static void cancel_someone(trace *t)
{
    if (t->arrived == 0)
        return;
    request *r = &t->requests[roll(t, t->arrived)];
    if (roll(t, 2)) {
        atomic_store(&r->sequence.cancelled, true);
    } else {
        bool waits = r->sequence.state == SEQUENCE_WAITING;
        assert_int_equal(scheduler_remove(t->scheduler, &r->sequence), waits);
        t->ended += waits;
        t->seen->removed += waits;
    }
}

static void run_entry(trace *t, plan_entry *e)
{
    request *r = (request *)e->sequence;
    sequence *q = e->sequence;
    mix(&t->hash, (q->number << 40) + ((uint64_t)e->start << 20) + e->count);
    uint32_t luck = roll(t, 200);
    if (luck == 0) {
        e->failed = e->over = r->over = r->failed = true;
        t->seen->failed++;
        return;
    }
    if (luck == 1) {
        e->failed = true;
        t->seen->again++;
        return;
    }
    compute(t, e);
    if (!e->row)
        return;
    uint32_t count = q->token_count + e->accepted;
    bool last = count + 1 == q->token_limit, end = e->token % 32 == END_TOKEN;
    if (!end)
        q->tokens[count] = e->token; /* as an owner may, who keeps the last token too */
    e->over = r->over = end || last;
    t->seen->ended_early += end;
    t->seen->ended_full += !end && last;
    t->seen->ended_in_draft += e->over && e->accepted;
    r->deepest = count + !end;
}

static void round_of(trace *t)
{
    plan p;
    struct next_page {
        const sequence *sequence;
        uint32_t index;
        int32_t page;
    } next[MAX_REQUESTS];
    t->now += 1 + roll(t, 3);
    for (uint32_t i = roll(t, 4); i > 0; i--)
        arrive(t);
    if (roll(t, 12) == 0)
        cancel_someone(t);
    for (uint32_t i = 0; i < t->arrived; i++) {
        t->requests[i].before = t->requests[i].sequence.state;
        t->requests[i].computed_before = t->requests[i].sequence.computed;
    }
    for (uint32_t i = 0; i < t->limits.page_count; i++)
        t->registered[i] = scheduler_page_registered(t->scheduler, (int32_t)i);
    scheduler_plan(t->scheduler, t->now, &p);
    note_end(t, p.ended);
    check_entries(t, &p);
    check_order(t);
    check_pages(t);
    t->seen->steps += p.count > 0;
    for (uint32_t i = 0; i < p.count; i++)
        run_entry(t, &p.entries[i]);
    /* Requests come and waiting ones go while a step runs. */
    if (roll(t, 4) == 0)
        arrive(t);
    if (roll(t, 24) == 0)
        cancel_someone(t);
    for (uint32_t i = 0; i < t->arrived; i++)
        t->requests[i].before = t->requests[i].sequence.state;
    for (uint32_t i = 0; i < p.count; i++) {
        next[i] = (struct next_page){p.entries[i].sequence, p.entries[i].sequence->registered, -1};
        next[i].page = next[i].sequence->pages[next[i].index];
    }
    note_end(t, scheduler_commit(t->scheduler, &p));
    for (uint32_t i = 0; i < p.count; i++)
        if (next[i].sequence->registered > next[i].index)
            t->seen->merged += next[i].sequence->pages[next[i].index] != next[i].page;
    mix(&t->hash, p.token_count);
}

/* What each sequence got is what it gets alone, or the beginning of it where it was ended from outside. */
static void check_answers(trace *t)
{
    for (uint32_t i = 0; i < t->arrived; i++) {
        const request *r = &t->requests[i];
        int32_t alone[MAX_LENGTH];
        uint32_t count = answer_alone(r, alone);
        if (r->sequence.cause == SEQUENCE_CAUSE_NONE && r->over && !r->failed)
            assert_int_equal(r->deepest, count);
        uint32_t got = r->deepest ? r->deepest : r->sequence.prompt_count;
        assert_true(got <= count);
        if (r->scored && r->deepest)
            assert_int_equal(r->given, r->sequence.prompt_count - 1);
        assert_true(r->scored || r->given == 0);
        assert_memory_equal(r->tokens, alone, got * sizeof *alone);
    }
}

static uint64_t run_trace(uint64_t seed, happened *seen)
{
    trace *t = calloc(1, sizeof *t);
    bp_error error = {0};
    assert_non_null(t);
    t->random = seed * 0x2545f4914f6cdd1du;
    t->seen = seen;
    t->limits = (scheduler_limits){.max_sequences = 1 + roll(t, 8), .max_tokens = 1 + roll(t, 24), .page_tokens = 1 + roll(t, 6),
                                   .queue_limit = roll(t, 12), .share_prefixes = roll(t, 4), .copy_pages = roll(t, 4)};
    t->limits.max_drafts = roll(t, 2) * roll(t, 8);
    t->limits.mixed_tokens = roll(t, 2) * roll(t, 8);
    t->limits.max_rows = roll(t, 2) * roll(t, 16);
    t->limits.page_count = (8 + t->limits.page_tokens) / t->limits.page_tokens + roll(t, 24);
    t->target = 4 + roll(t, MAX_REQUESTS - 4);
    t->memory = malloc(t->limits.page_count * t->limits.page_tokens * sizeof *t->memory);
    assert_non_null(t->memory);
    memset(t->memory, 0xff, t->limits.page_count * t->limits.page_tokens * sizeof *t->memory);
    if (scheduler_new(&t->limits, &t->scheduler, &error) != BP_OK)
        fail_msg("%s", error.message);
    uint32_t rounds = 0;
    while (t->arrived < t->target || !scheduler_idle(t->scheduler)) {
        round_of(t);
        if (++rounds > 20000)
            fail_msg("seed %llu does not end", (unsigned long long)seed);
    }
    assert_int_equal(t->ended, t->arrived);
    assert_int_equal(scheduler_count(t->scheduler).pages_used, 0);
    check_answers(t);
    uint64_t hash = t->hash;
    scheduler_free(t->scheduler);
    free(t->memory);
    free(t);
    return hash;
}

static void test_66_traces_keep_every_promise(void **state)
{
    (void)state;
    happened seen = {0};
    for (uint64_t seed = 1; seed <= TRACES; seed++)
        run_trace(seed, &seen);
#define SHOW(field) print_message("%22s %llu\n", #field, (unsigned long long)seen.field); assert_true(seen.field > 20)
    SHOW(steps); SHOW(chunks); SHOW(mixed); SHOW(full_steps); SHOW(admitted); SHOW(waited_for_pages); SHOW(waited_for_places);
    SHOW(preempted); SHOW(preempted_by_priority); SHOW(preempted_in_prefill); SHOW(recomputed);
    SHOW(expired_waiting); SHOW(expired_running); SHOW(cancelled_waiting); SHOW(cancelled_running); SHOW(removed);
    SHOW(failed); SHOW(again); SHOW(ended_early); SHOW(ended_full); SHOW(refused_queue);
    SHOW(hits); SHOW(hits_in_prefill); SHOW(hits_of_preempted); SHOW(copies); SHOW(twins); SHOW(merged); SHOW(evicted);
    SHOW(shared); SHOW(alike_under_other_salt); SHOW(drafted); SHOW(accepted); SHOW(all_accepted); SHOW(none_accepted);
    SHOW(drafts_shared); SHOW(ended_in_draft); SHOW(held_back); SHOW(overtaken); SHOW(shorter_went_first);
    SHOW(scored); SHOW(scored_cut); SHOW(scored_after_preemption); SHOW(scored_hits); SHOW(rows_short);
#undef SHOW
}

static void the_same_seed_gives_the_same_plans(void **state)
{
    (void)state;
    happened seen = {0};
    uint64_t last = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t hash = run_trace(seed, &seen);
        assert_true(hash == run_trace(seed, &seen));
        assert_true(hash != last);
        last = hash;
    }
}

/* --- cases ---------------------------------------------------------------------------------------------------------------- */

static scheduler *open_scheduler(scheduler_limits limits)
{
    scheduler *s = NULL;
    bp_error error = {0};
    if (scheduler_new(&limits, &s, &error) != BP_OK)
        fail_msg("%s", error.message);
    return s;
}

static void add(scheduler *s, request *r, uint32_t prompt, uint32_t limit, int32_t priority)
{
    bp_error error = {0};
    *r = (request){.sequence.tokens = r->tokens, .sequence.pages = r->pages, .sequence.prompt_count = prompt,
                   .sequence.token_count = prompt, .sequence.token_limit = limit, .sequence.priority = priority};
    assert_int_equal(scheduler_reserve(s, &error), BP_OK);
    assert_int_equal(scheduler_add(s, &r->sequence, &error), BP_OK);
}

static void commit(scheduler *s, plan *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        p->entries[i].token = 1;
    assert_null(scheduler_commit(s, p));
}

/* While a long prompt is read in chunks, a sequence that decodes gets its token in every step, and the step stays in budget. */
static void decodes_ride_along_with_a_long_prompt(void **state)
{
    (void)state;
    scheduler *s = open_scheduler((scheduler_limits){.max_sequences = 4, .max_tokens = 8, .page_tokens = 4, .page_count = 64});
    request decoding, prompt;
    plan p;
    add(s, &decoding, 3, 40, 0);
    scheduler_plan(s, 1, &p);
    commit(s, &p);
    add(s, &prompt, 29, 40, 0);
    for (uint32_t left = 29; left > 0;) {
        scheduler_plan(s, 2, &p);
        assert_int_equal(p.count, 2);
        assert_ptr_equal(p.entries[0].sequence, &decoding.sequence);
        assert_true(p.entries[0].row);
        assert_int_equal(p.entries[1].count, left < 7 ? left : 7);
        assert_int_equal(p.entries[1].row, left <= 7);
        left -= p.entries[1].count;
        commit(s, &p);
    }
    assert_null(scheduler_end_all(s)->next->next);
    assert_true(scheduler_idle(s));
    scheduler_free(s);
}

static void what_never_fits_is_refused(void **state)
{
    (void)state;
    scheduler *s = open_scheduler((scheduler_limits){.max_sequences = 2, .max_tokens = 8, .page_tokens = 4, .page_count = 4});
    request r = {.sequence.tokens = r.tokens, .sequence.pages = r.pages, .sequence.prompt_count = 2, .sequence.token_count = 2,
                 .sequence.token_limit = 17};
    bp_error error = {0};
    assert_int_equal(scheduler_reserve(s, &error), BP_OK);
    assert_int_equal(scheduler_add(s, &r.sequence, &error), BP_ECONTEXT);
    assert_string_equal(error.message, "17 tokens never fit the cache of 4 pages of 4 tokens");
    r.sequence.token_limit = 1;
    assert_int_equal(scheduler_reserve(s, &error), BP_OK);
    assert_int_equal(scheduler_add(s, &r.sequence, &error), BP_EINVAL);
    assert_int_equal(scheduler_reserve(s, &error), BP_OK);
    assert_int_equal(scheduler_reserve(s, &error), BP_OK);
    assert_int_equal(scheduler_reserve(s, &error), BP_EBUSY); /* two places and no queue */
    scheduler_free(s);
    assert_int_equal(scheduler_new(&(scheduler_limits){.page_count = 1}, &s, &error), BP_EINVAL);
}

static void deadlines_are_known_ahead(void **state)
{
    (void)state;
    scheduler *s = open_scheduler((scheduler_limits){.max_sequences = 1, .max_tokens = 8, .page_tokens = 4, .page_count = 4,
                                                     .queue_limit = 4});
    request a, b;
    plan p;
    assert_true(scheduler_next_deadline(s) == UINT64_MAX);
    add(s, &a, 2, 8, 0);
    scheduler_plan(s, 1, &p);
    commit(s, &p);
    add(s, &b, 2, 8, 0);
    assert_true(scheduler_next_deadline(s) == UINT64_MAX);
    a.sequence.deadline = 90;
    b.sequence.deadline = 50;
    assert_int_equal(scheduler_next_deadline(s), 50);
    assert_null(scheduler_expire(s, 49));
    assert_ptr_equal(scheduler_expire(s, 50), &b.sequence);
    assert_int_equal(b.sequence.cause, SEQUENCE_CAUSE_EXPIRED);
    assert_int_equal(scheduler_next_deadline(s), 90);
    assert_ptr_equal(scheduler_expire(s, 90), &a.sequence);
    assert_true(scheduler_idle(s));
    assert_int_equal(scheduler_count(s).pages_used, 0);
    scheduler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_66_traces_keep_every_promise),
        cmocka_unit_test(the_same_seed_gives_the_same_plans),
        cmocka_unit_test(decodes_ride_along_with_a_long_prompt),
        cmocka_unit_test(what_never_fits_is_refused),
        cmocka_unit_test(deadlines_are_known_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
