/* Many lives of devices and models: side by side, from two threads, and one after the other without a trace. */
#include "leaks.h"
#include "rig.h"

#include <pthread.h>
#include <stdlib.h>

enum { TOKENS = 30, TIMES = 24 };

typedef struct life {
    subject *u;
    void *with; /* what is used many times: a configuration, a device or a rig */
    net n;
    uint32_t kv_dtype;
    int32_t tokens[TOKENS], pages[2];
} life;

/* A net that the plugin runs, and that net's number of another seed. */
static bp_device *life_begin(life *l, subject *u, int32_t shift)
{
    static const int candidates[] = {3, 0, 1, 4, 12};
    answer a;
    rig r;
    l->u = u;
    bp_device *device = subject_device(u);
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        const recipe *tried = &recipes[candidates[i]];
        recipe_build(tried, &l->n);
        l->kv_dtype = tried->kv_dtype;
        for (int32_t t = 0; t < TOKENS; t++)
            l->tokens[t] = (t * 31 + shift) % (RECIPE_VOCABULARY - 2);
        l->pages[0] = 7 + shift;
        l->pages[1] = 2 + shift;
        bp_limits limits = rig_limits(&l->n, l->kv_dtype);
        if (rig_try(&r, u, device, &l->n, &limits, &a)) {
            rig_close(&r);
            return device;
        }
        net_end(&l->n);
    }
    not_offered("%s", a.error.message);
}

static void life_open(rig *r, const life *l, bp_device *device)
{
    bp_limits limits = rig_limits(&l->n, l->kv_dtype);
    rig_open(r, l->u, device, &l->n, &limits);
}

static float *life_run(rig *r, const life *l)
{
    turn t = {l->tokens, 0, TOKENS, l->pages};
    float *out = floats((size_t)TOKENS * r->width);
    rig_step(r, &t, 1, out);
    return out;
}

/* --- side by side ------------------------------------------------------------------------------------------------------------ */

/* Submit and wait of one between those of the other: `a` and `b` are models of one device, or of two. */
static void alternate(rig *a, rig *b, const life *la, const life *lb, const char *what)
{
    float *alone[2] = {life_run(a, la), life_run(b, lb)}, *out = floats((size_t)TOKENS * a->width);
    rig *rigs[2] = {a, b};
    const life *lives[2] = {la, lb};
    for (int32_t at = 0; at < TOKENS; at += 5) {
        for (int i = 0; i < 2; i++) {
            turn t = {lives[i]->tokens, at, 5, lives[i]->pages};
            rig_step(rigs[i], &t, 1, out);
            same_bits(rigs[i], alone[i] + (size_t)at * rigs[i]->width, out, 5 * (size_t)rigs[i]->width, "%s", what);
        }
    }
    free(alone[0]);
    free(alone[1]);
    free(out);
}

static void two_models(subject *u, uint32_t which)
{
    (void)which;
    static life a, b;
    rig ra, rb;
    bp_device *device = life_begin(&a, u, 0);
    subject_close(u, life_begin(&b, u, 3));
    life_open(&ra, &a, device);
    life_open(&rb, &b, device);
    alternate(&ra, &rb, &a, &b, "beside another model of the device");
    rig_close(&ra);
    float *alone = life_run(&rb, &b), *again = life_run(&rb, &b);
    same_bits(&rb, alone, again, (size_t)TOKENS * rb.width, "after another model of the device was released");
    free(alone);
    free(again);
    rig_close(&rb);
    subject_close(u, device);
    net_end(&a.n);
    net_end(&b.n);
    subject_unload(u);
}

/* Steps of two devices overlap: each is its loop thread's. */
static void two_devices(subject *u, uint32_t which)
{
    (void)which;
    static life a, b;
    rig ra, rb;
    bp_device *da = life_begin(&a, u, 0), *db = life_begin(&b, u, 3);
    life_open(&ra, &a, da);
    life_open(&rb, &b, db);
    float *alone_a = life_run(&ra, &a), *alone_b = life_run(&rb, &b), *out = floats((size_t)TOKENS * ra.width);
    turn ta = {a.tokens, 0, TOKENS, a.pages}, tb = {b.tokens, 0, TOKENS, b.pages};
    feed fa, fb;
    feed_make(&fa, &ra, &ta, 1);
    feed_make(&fb, &rb, &tb, 1);
    rig_submit(&ra, &fa);
    rig_submit(&rb, &fb);
    rig_wait(&ra, out, (uint64_t)TOKENS * ra.width);
    same_bits(&ra, alone_a, out, (size_t)TOKENS * ra.width, "while a step of another device was submitted");
    rig_wait(&rb, out, (uint64_t)TOKENS * rb.width);
    same_bits(&rb, alone_b, out, (size_t)TOKENS * rb.width, "while a step of another device was submitted");
    feed_free(&fa);
    feed_free(&fb);
    rig_close(&ra);
    subject_close(u, da);
    rig_step(&rb, &tb, 1, out);
    same_bits(&rb, alone_b, out, (size_t)TOKENS * rb.width, "after another device was closed");
    rig_close(&rb);
    subject_close(u, db);
    free(alone_a);
    free(alone_b);
    free(out);
    net_end(&a.n);
    net_end(&b.n);
    subject_unload(u);
}

typedef struct worker {
    life life;
    bp_device *device;
    pthread_t thread;
} worker;

static void *work(void *argument)
{
    worker *w = argument;
    rig r;
    life_open(&r, &w->life, w->device);
    float *alone = life_run(&r, &w->life);
    for (int round = 0; round < 40; round++) {
        float *again = life_run(&r, &w->life);
        same_bits(&r, alone, again, (size_t)TOKENS * r.width, "on one of two threads, each with a device of its own");
        free(again);
    }
    free(alone);
    rig_close(&r);
    return NULL;
}

static void threads(subject *u, uint32_t which)
{
    (void)which;
    static worker workers[2];
    for (int i = 0; i < 2; i++)
        workers[i].device = life_begin(&workers[i].life, u, 3 * i);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            failed("there is no thread for the check itself");
    for (int i = 0; i < 2; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < 2; i++) {
        subject_close(u, workers[i].device);
        net_end(&workers[i].life.n);
    }
    subject_unload(u);
}

/* --- one after the other -------------------------------------------------------------------------------------------------------- */

static void once_device(void *with)
{
    life *l = with;
    answer a;
    bp_device *device = NULL;
    if (CALL(l->u, &a, l->u->ops, open, subject_host(), l->with, &device) != BP_OK)
        failed("open, after it has gone well: %s", a.error.message);
    subject_close(l->u, device);
}

static void once_model(void *with)
{
    life *l = with;
    rig r;
    turn t = {l->tokens, 0, 3, l->pages};
    float out[3 * RECIPE_VOCABULARY];
    life_open(&r, l, l->with);
    rig_step(&r, &t, 1, out);
    rig_close(&r);
}

static void once_step(void *with)
{
    life *l = with;
    turn t = {l->tokens, 0, 2, l->pages};
    float out[2 * RECIPE_VOCABULARY];
    rig_step(l->with, &t, 1, out);
}

/* Compilations that fail late, or early, keep nothing. */
static void once_refusal(void *with)
{
    life *l = with;
    answer a;
    bp_model *model = NULL;
    bp_program program = net_program(&l->n);
    bp_limits limits = rig_limits(&l->n, l->kv_dtype);
    limits.page_count = INT32_MAX;
    limits.page_tokens = 256;
    if (CALL(l->u, &a, l->u->ops, compile, l->with, &program, &limits, &model) == BP_OK)
        CALL_VOID(l->u->ops, release, model); /* a cache that is nothing but addresses */
    limits = rig_limits(&l->n, l->kv_dtype);
    program.op_count--;
    program.family = "test"; /* which says nothing */
    if (CALL(l->u, &a, l->u->ops, compile, l->with, &program, &limits, &model) == BP_OK)
        not_offered("it takes a program whose result is cut off; calls.programs says more");
}

static void leak_devices(subject *u, uint32_t which)
{
    (void)which;
    static life l;
    l.u = u;
    subject_close(u, subject_device(u));
    l.with = subject_config(u);
    leaks_of(once_device, &l, TIMES, "a device was opened and closed");
    subject_unload(u);
}

static void leak_models(subject *u, uint32_t refused)
{
    static life l;
    bp_device *device = life_begin(&l, u, 0);
    l.with = device;
    if (refused)
        leaks_of(once_refusal, &l, TIMES, "a program was refused");
    else
        leaks_of(once_model, &l, TIMES, "a program was compiled, run and released");
    subject_close(u, device);
    net_end(&l.n);
    subject_unload(u);
}

static void leak_steps(subject *u, uint32_t which)
{
    (void)which;
    static life l;
    rig r;
    bp_device *device = life_begin(&l, u, 0);
    life_open(&r, &l, device);
    l.with = &r;
    leaks_of(once_step, &l, TIMES, "a step was run");
    rig_close(&r);
    subject_close(u, device);
    net_end(&l.n);
    subject_unload(u);
}

void checks_add_lives(check_list *list)
{
    checks_add(list, "lives.two_models", two_models, 0, "Two models of a device take turns, and one outlives the other.");
    checks_add(list, "lives.two_devices", two_devices, 0, "Steps of two devices may overlap, and one outlives the other.");
    checks_add(list, "lives.threads", threads, 0, "Two devices are used by two threads at the same time.");
    checks_add(list, "leaks.devices", leak_devices, 0, "Opening and closing leaves no memory, thread or file behind.");
    checks_add(list, "leaks.models", leak_models, 0, "Compiling and releasing leaves nothing behind.");
    checks_add(list, "leaks.refusals", leak_models, 1, "A compilation that fails leaves nothing behind.");
    checks_add(list, "leaks.steps", leak_steps, 0, "Steps leave nothing behind.");
}
