/* queue and scheduler: one tenant's many requests do not keep another's from being served. Steps are played: every token is
 * 1, and a sequence ends where its limit is. */
#include "engine/queue.h"
#include "engine/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 400, ROOM = 64 };

typedef struct request {
    sequence sequence;
    int32_t tokens[ROOM], pages[ROOM];
    uint64_t ended_at; /* step; 0: not yet */
} request;

typedef struct play {
    scheduler *scheduler;
    request requests[MOST];
    uint32_t count;
    uint64_t step, served[3]; /* tokens of prompts and answers, by tenant */
} play;

static const char *const names[] = {"many", "few", "other"};

static play *start(uint32_t places)
{
    play *p = calloc(1, sizeof *p);
    bp_error error = {0};
    assert_non_null(p);
    scheduler_limits limits = {.max_sequences = places, .max_tokens = 64, .page_tokens = 4, .page_count = 1024, .queue_limit = MOST};
    assert_int_equal(scheduler_new(&limits, &p->scheduler, &error), BP_OK);
    return p;
}

static void finish(play *p)
{
    scheduler_end_all(p->scheduler);
    scheduler_free(p->scheduler);
    free(p);
}

static request *ask(play *p, uint32_t who, uint32_t prompt, uint32_t answer, int32_t priority)
{
    bp_error error = {0};
    request *r = &p->requests[p->count++];
    assert_true(p->count <= MOST && prompt + answer <= ROOM);
    r->sequence = (sequence){.tokens = r->tokens, .pages = r->pages, .prompt_count = prompt, .token_count = prompt,
                             .token_limit = prompt + answer, .priority = priority, .salt = names[who]};
    for (uint32_t i = 0; i < prompt; i++)
        r->tokens[i] = (int32_t)(p->count * 1000 + i);
    assert_int_equal(scheduler_reserve(p->scheduler, &error), BP_OK);
    assert_int_equal(scheduler_add(p->scheduler, &r->sequence, &error), BP_OK);
    return r;
}

static void run(play *p)
{
    plan now;
    scheduler_plan(p->scheduler, ++p->step, &now);
    for (uint32_t i = 0; i < now.count; i++) {
        plan_entry *e = &now.entries[i];
        e->token = 1;
        e->over = e->row && e->sequence->token_count + 1 == e->sequence->token_limit;
        for (uint32_t t = 0; t < 3; t++)
            if (strcmp(e->sequence->salt, names[t]) == 0)
                p->served[t] += (e->start < e->sequence->prompt_count ? e->count : 0) + e->row;
    }
    for (sequence *q = scheduler_commit(p->scheduler, &now); q; q = q->next)
        ((request *)q)->ended_at = p->step;
}

static void run_until(play *p, const request *r)
{
    while (!r->ended_at) {
        run(p);
        assert_true(p->step < 100000);
    }
}

static uint32_t ended(const play *p)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->count; i++)
        count += p->requests[i].ended_at > 0;
    return count;
}

static void one_request_waits_for_one_of_two_hundred(void **state)
{
    (void)state;
    play *p = start(2);
    for (int i = 0; i < 200; i++)
        ask(p, 0, 10, 10, 0);
    for (int i = 0; i < 25; i++)
        run(p);
    uint32_t before = ended(p);
    request *late = ask(p, 1, 10, 10, 0);
    run_until(p, late);
    assert_true(ended(p) - before <= 2 + 2 + 1); /* who ran, one for each place meanwhile, and itself */
    run_until(p, &p->requests[199]);
    finish(p);
}

static void tenants_get_equal_shares_of_tokens_not_of_requests(void **state)
{
    (void)state;
    play *p = start(3);
    for (int i = 0; i < 60; i++)
        ask(p, 0, 40, 10, 0);
    for (int i = 0; i < 300; i++)
        ask(p, 1, 3, 4, 0);
    while (p->requests[59].ended_at == 0 && p->requests[359].ended_at == 0) {
        run(p);
        int64_t ahead = (int64_t)p->served[0] - (int64_t)p->served[1];
        assert_true(p->step < 40 || llabs(ahead) <= 3 * 50 + 3 * 7); /* what may be under way */
    }
    finish(p);
}

static void nobody_saves_up_turns_by_staying_away(void **state)
{
    (void)state;
    play *p = start(1);
    for (int i = 0; i < 150; i++)
        ask(p, 0, 5, 5, 0);
    for (int i = 0; i < 600; i++)
        run(p);
    uint32_t before = ended(p);
    request *last = NULL;
    for (int i = 0; i < 20; i++)
        last = ask(p, 1, 5, 5, 0);
    run_until(p, last);
    uint32_t both = ended(p) - before;
    assert_true(both >= 38 && both <= 42); /* one for one */
    finish(p);
}

/* Who comes back after each answer, with long requests, does not get one turn for each short one of the other's. */
static void what_was_served_is_remembered_while_away(void **state)
{
    (void)state;
    play *p = start(1);
    request *mine = ask(p, 1, 40, 20, 0);
    for (int i = 0; i < 300; i++)
        ask(p, 0, 2, 2, 0);
    for (int i = 0; i < 5; i++) {
        run_until(p, mine);
        run(p);
        mine = ask(p, 1, 40, 20, 0);
    }
    assert_true(p->served[1] <= p->served[0] + 60);
    finish(p);
}

static void priorities_go_before_turns(void **state)
{
    (void)state;
    play *p = start(1);
    request *low = ask(p, 1, 4, 4, -1), *first = ask(p, 0, 4, 4, 0), *second = ask(p, 0, 4, 4, 0), *high = ask(p, 0, 4, 4, 1);
    run_until(p, low);
    assert_true(high->ended_at < first->ended_at && first->ended_at < second->ended_at && second->ended_at < low->ended_at);
    finish(p);
}

static void within_a_tenant_it_is_first_come_first_served(void **state)
{
    (void)state;
    play *p = start(2);
    for (int i = 0; i < 100; i++)
        ask(p, 0, 1 + (uint32_t)(i * 7 % 20), 5, 0);
    run_until(p, &p->requests[99]);
    for (int i = 2; i < 100; i++)
        assert_true(p->requests[i].sequence.admitted_at >= p->requests[i - 1].sequence.admitted_at);
    finish(p);
}

/* Tenants that left with more than others had are remembered, but not without end. */
static void few_of_those_away_are_remembered(void **state)
{
    (void)state;
    queue w = {0};
    bp_error error = {0};
    static sequence stays, others[4000];
    char names_of[4000][16];
    stays.salt = "stays";
    assert_int_equal(queue_enter(&w, &stays, &error), BP_OK);
    for (int i = 0; i < 4000; i++) {
        snprintf(names_of[i], sizeof names_of[i], "tenant %d", i);
        others[i].salt = names_of[i];
        assert_int_equal(queue_enter(&w, &others[i], &error), BP_OK);
        queue_admit(&w, &others[i], 10);
        queue_leave(&w, &others[i]);
    }
    uint32_t known = 0;
    for (const tenant *t = w.tenants; t; t = t->next)
        known++;
    assert_in_range(known, QUEUE_AWAY, QUEUE_AWAY + 2);
    assert_ptr_equal(queue_next(&w), &stays);
    queue_take(&w, &stays);
    queue_leave(&w, &stays);
    assert_null(w.tenants);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_request_waits_for_one_of_two_hundred),
        cmocka_unit_test(tenants_get_equal_shares_of_tokens_not_of_requests),
        cmocka_unit_test(nobody_saves_up_turns_by_staying_away),
        cmocka_unit_test(what_was_served_is_remembered_while_away),
        cmocka_unit_test(priorities_go_before_turns),
        cmocka_unit_test(within_a_tenant_it_is_first_come_first_served),
        cmocka_unit_test(few_of_those_away_are_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
