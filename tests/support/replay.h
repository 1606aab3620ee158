/* replay: one model of the engine, stepped by hand, so that a test decides at which step what happens.
 *
 * It plays the part of loop.c for one request that is watched, and for an urgent one that comes at a step of the test's
 * choice and preempts it. Everything that the watched request's reader sees is kept to be compared. Failures end the running
 * cmocka test, whose header is included before. */
#ifndef BACKPLANE_TESTS_SUPPORT_REPLAY_H
#define BACKPLANE_TESTS_SUPPORT_REPLAY_H

#include "base/log.h"
#include "engine/request.h"
#include "engine/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPLAY_TOKENS = 256, REPLAY_TEXT = 4096, REPLAY_UNDISTURBED = INT32_MAX };

/* How the model is run. */
typedef struct replay_case {
    const char *name;
    uint32_t chunk;        /* tokens of one step */
    uint32_t drafts;
    uint32_t rows;         /* of one step; 0: as few as there can be */
    uint32_t pages;        /* of 16 tokens */
    bool share_prefixes, copy_pages;
    uint32_t urgent;       /* tokens of the urgent prompt */
    bool finds_its_pages;  /* what the preempted request had computed is still there when it runs again */
} replay_case;

typedef struct replay_answer {
    int32_t tokens[REPLAY_TOKENS];
    uint32_t logprobs[REPLAY_TOKENS]; /* bits */
    uint64_t tops;                    /* a hash of all others, and of the prompt's own */
    uint32_t scores[REPLAY_TOKENS];   /* bits of the prompt's */
    uint32_t prompt_tokens;           /* that came with their log-probabilities */
    char text[REPLAY_TEXT];
    uint32_t count, text_bytes, finish;
    bp_usage usage;
    uint32_t steps;                   /* until it ended */
    uint32_t computed_before;         /* when the urgent request came */
    uint64_t hits;                    /* tokens found in the prefix cache since then */
} replay_answer;

typedef struct replay {
    engine_model model;
    loaded *loaded;
    scheduler *scheduler;
    step step;
    plan plan;
    bp_stream *ended; /* the last request that did */
} replay;

static void replay_check(bp_status status, const bp_error *error)
{
    if (status != BP_OK)
        fail_msg("%s", error->message);
}

static void replay_open(replay *p, const char *file, const engine_backend *backend, const replay_case *c)
{
    bp_error error = {0};
    *p = (replay){.model = {.name = "replayed", .file = file, .max_batch = 1, .max_step_tokens = c->chunk, .page_tokens = 16,
                            .drafts = c->drafts, .kv_tokens = c->pages * 16}};
    replay_check(loaded_open(&p->model, backend, &p->loaded, &error), &error);
    replay_check(loaded_compile(p->loaded, &error), &error);
    const scheduler_limits limits = {.max_sequences = 1, .max_tokens = c->chunk, .max_drafts = c->drafts, .page_tokens = 16,
                                     .max_rows = c->rows,
                                     .page_count = c->pages, .queue_limit = 4, .share_prefixes = c->share_prefixes,
                                     .copy_pages = c->copy_pages};
    replay_check(scheduler_new(&limits, &p->scheduler, &error), &error);
    replay_check(step_init(&p->step, p->loaded, &error), &error);
}

static void replay_close(replay *p)
{
    assert_true(scheduler_idle(p->scheduler));
    assert_int_equal(scheduler_count(p->scheduler).pages_used, 0);
    step_clear(&p->step);
    scheduler_free(p->scheduler);
    loaded_free(p->loaded);
}

static bp_stream *replay_submit(replay *p, const bp_request *request)
{
    bp_error error = {0};
    bp_stream *r = NULL;
    token_list prompt = {0};
    for (uint64_t i = 0; i < request->token_count; i++)
        assert_true(token_list_append(&prompt, request->tokens[i]));
    replay_check(request_new(p->loaded, request, &prompt, clock_now(), &r, &error), &error);
    token_list_free(&prompt);
    replay_check(scheduler_reserve(p->scheduler, &error), &error);
    replay_check(scheduler_add(p->scheduler, &r->sequence, &error), &error);
    request_share(r);
    return r;
}

static void replay_end(replay *p, sequence *list)
{
    while (list) {
        sequence *next = list->next;
        p->ended = request_of(list);
        request_end(p->ended, clock_now());
        request_drop(p->ended);
        list = next;
    }
}

static void replay_step(replay *p)
{
    bp_error error = {0};
    scheduler_plan(p->scheduler, clock_now(), &p->plan);
    replay_end(p, p->plan.ended);
    for (uint32_t i = 0; i < p->plan.count; i++)
        request_announce(request_of(p->plan.entries[i].sequence));
    if (p->plan.count)
        replay_check(step_execute(&p->step, p->plan.entries, p->plan.count, &error), &error);
    replay_end(p, scheduler_commit(p->scheduler, &p->plan));
}

static void replay_mix(replay_answer *a, const bp_token_logprob *t)
{
    uint32_t bits;
    memcpy(&bits, &t->logprob, sizeof bits);
    a->tops = (a->tops ^ bits ^ (uint64_t)(uint32_t)t->token << 32) * 0x9e3779b97f4a7c15u;
}

static void replay_note(replay_answer *a, const bp_event *e)
{
    assert_int_not_equal(e->kind, BP_EVENT_ERROR);
    assert_true(a->count < REPLAY_TOKENS && a->text_bytes + e->text_bytes < REPLAY_TEXT);
    if (e->text_bytes)
        memcpy(a->text + a->text_bytes, e->text, e->text_bytes);
    a->text_bytes += e->text_bytes;
    if (e->kind == BP_EVENT_TOKEN) {
        memcpy(&a->logprobs[a->count], &e->chosen.logprob, sizeof e->chosen.logprob);
        a->tokens[a->count++] = e->chosen.token;
    }
    if (e->kind == BP_EVENT_PROMPT) {
        assert_int_equal(e->position, a->prompt_tokens);
        memcpy(&a->scores[a->prompt_tokens++], &e->chosen.logprob, sizeof e->chosen.logprob);
        assert_int_equal(a->count, 0);
        assert_true(e->position > 0 || (e->chosen.logprob == 0 && e->top_count == 0));
        replay_mix(a, &e->chosen);
    }
    for (uint32_t i = 0; i < e->top_count; i++)
        replay_mix(a, &e->top[i]);
    if (e->kind == BP_EVENT_DONE) {
        a->finish = e->finish;
        a->usage = e->usage;
    }
}

/* The request's answer where an urgent one comes before step `at`. */
static void replay_ask(replay *p, const replay_case *c, const bp_request *request, uint32_t at, replay_answer *out)
{
    int32_t *urgent_tokens = malloc(c->urgent * sizeof *urgent_tokens);
    bp_stream *r = replay_submit(p, request), *urgent = NULL;
    bp_error error = {0};
    uint64_t hits = 0;
    bool answered = false;
    char salt[32];
    snprintf(salt, sizeof salt, "urgent %u", at);
    assert_non_null(urgent_tokens);
    for (uint32_t i = 0; i < c->urgent; i++)
        urgent_tokens[i] = 100;
    *out = (replay_answer){0};
    for (uint32_t n = 0; !answered || !scheduler_idle(p->scheduler); n++) {
        if (n == at && !answered) {
            bp_request u = {.size = sizeof u, .input = BP_INPUT_TOKENS, .tokens = urgent_tokens, .token_count = c->urgent,
                            .max_tokens = 1, .priority = 1, .salt = salt};
            sampling_defaults(&u.sampling);
            out->computed_before = r->sequence.computed;
            hits = scheduler_count(p->scheduler).hit_tokens;
            urgent = replay_submit(p, &u);
        }
        p->ended = NULL;
        replay_step(p);
        answered = answered || p->ended == r;
        out->steps += !answered;
        assert_true(n < 10000);
    }
    out->hits = urgent ? scheduler_count(p->scheduler).hit_tokens - hits : 0;
    bp_event event;
    do {
        replay_check(stream_next(&r->events, 0, &event, &error), &error);
        replay_note(out, &event);
    } while (event.kind != BP_EVENT_DONE);
    request_drop(r);
    request_drop(urgent);
    free(urgent_tokens);
}

static void replay_expect_same(const replay_answer *a, const replay_answer *b, const char *name, uint32_t at)
{
    if (a->count != b->count || memcmp(a->tokens, b->tokens, a->count * sizeof *a->tokens) != 0 ||
        memcmp(a->logprobs, b->logprobs, a->count * sizeof *a->logprobs) != 0 || a->tops != b->tops ||
        a->prompt_tokens != b->prompt_tokens ||
        a->text_bytes != b->text_bytes || memcmp(a->text, b->text, a->text_bytes) != 0 || a->finish != b->finish ||
        a->usage.completion_tokens != b->usage.completion_tokens)
        fail_msg("%s, preempted at step %u: \"%s\" (%u tokens) is not \"%s\" (%u)", name, at, a->text, a->count, b->text,
                 b->count);
}

/* A preemption before each step of the request in turn changes nothing that its reader sees. Each is asked under a salt of
 * its own, so that it finds nothing but what it computed itself. */
static void replay_preempt_everywhere(const char *file, const engine_backend *backend, const replay_case *c, bp_request request,
                                      const replay_answer *expected)
{
    replay p;
    replay_answer a;
    uint32_t preempted = 0;
    char salt[16];
    replay_open(&p, file, backend, c);
    request.salt = "undisturbed";
    replay_ask(&p, c, &request, REPLAY_UNDISTURBED, &a);
    replay_expect_same(&a, expected, c->name, REPLAY_UNDISTURBED);
    assert_int_equal(a.usage.preemptions, 0);
    const uint32_t steps = a.steps;
    for (uint32_t at = 1; at <= steps; at++) {
        snprintf(salt, sizeof salt, "%u", at);
        request.salt = salt;
        replay_ask(&p, c, &request, at, &a);
        replay_expect_same(&a, expected, c->name, at);
        assert_int_equal(a.usage.preemptions, 1);
        assert_int_equal(a.usage.cached_tokens, 0);
        assert_int_equal(a.hits, c->finds_its_pages ? a.computed_before / 16 * 16 : 0);
        preempted++;
    }
    print_message("%s: %u steps, preempted before each\n", c->name, steps);
    assert_int_equal(preempted, steps);
    assert_true(c->drafts ? a.usage.accepted_tokens > 0 : steps >= expected->count);
    replay_close(&p);
}

#endif
