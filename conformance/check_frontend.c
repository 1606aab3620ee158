/* What a frontend is held to: that it opens, serves, stops when it is told to, and gives back every stream and everything else.
 *
 * It talks to an engine that is played (engine.h), has a pipe for standard input, and prints to nowhere. What it serves by other
 * ways, a port say, nobody asks for here; who it answers is its own tests' matter. */
#include "engine.h"
#include "leaks.h"
#include "subject.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char lines[] = "Hello, who is there?\n\nOne, two, three\n\nand no end of the last line\n";

/* An open frontend and the engine behind it. */
typedef struct service {
    subject *u;
    bp_engine *engine;
    bp_frontend *frontend;
    pthread_t thread;
    int input; /* our end of its standard input; -1 once it is closed */
    answer ran;
    bp_status status;
    bool told; /* stop was called */
    bool over; /* the thread is at its end */
    pthread_mutex_t lock;
} service;

static void sleep_for(unsigned milliseconds)
{
    const struct timespec t = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* Standard input becomes a pipe, of which we keep the other end open; standard output nothing. */
static int take_input(void)
{
    int ends[2], nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0 || pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[0], STDIN_FILENO) < 0 || dup2(nowhere, STDOUT_FILENO) < 0)
        failed("there are no files for the check itself");
    close(ends[0]);
    close(nowhere);
    return ends[1];
}

static bp_frontend *open_frontend(subject *u, bp_engine *engine, const void *config)
{
    answer a;
    bp_frontend *f = NULL;
    if (CALL(u, &a, &u->plugin->frontend, open, subject_host(), engine_api(), engine, config, &f) != BP_OK)
        failed("open: %s", a.error.message);
    if (!f)
        failed("open succeeded without a frontend");
    return f;
}

static void close_frontend(subject *u, bp_frontend *f)
{
    CALL_VOID(&u->plugin->frontend, close, f);
}

static void *serve(void *argument)
{
    service *s = argument;
    bp_status status = s->u->plugin->frontend.run(s->frontend, &s->ran.error);
    pthread_mutex_lock(&s->lock);
    s->status = status;
    s->over = true;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool is_over(service *s)
{
    pthread_mutex_lock(&s->lock);
    bool over = s->over;
    pthread_mutex_unlock(&s->lock);
    return over;
}

/* Of an open frontend. */
static void service_run(service *s, subject *u, bp_engine *engine, bp_frontend *frontend, int input)
{
    *s = (service){.u = u, .engine = engine, .frontend = frontend, .input = input};
    pthread_mutex_init(&s->lock, NULL);
    answer_prepare(&s->ran, "run");
    if (pthread_create(&s->thread, NULL, serve, s) != 0)
        failed("there is no thread for the check itself");
}

static void service_begin(service *s, subject *u, engine_mood mood)
{
    int input = take_input();
    bp_engine *engine = engine_new(mood);
    subject_load(u);
    service_run(s, u, engine, open_frontend(u, engine, subject_config(u)), input);
}

/* Stops it, unless it is done, and holds it to what it leaves. */
static bp_status service_end(service *s)
{
    subject *u = s->u;
    if (!s->told && !is_over(s))
        u->plugin->frontend.stop(s->frontend);
    doing("run, after stop,");
    pthread_join(s->thread, NULL);
    doing(NULL);
    bp_status status = answer_take(u, &s->ran, s->status);
    close_frontend(u, s->frontend);
    const char *complaint = engine_complaint(s->engine);
    if (complaint)
        failed("%s", complaint);
    if (engine_held(s->engine))
        failed("%u of %u streams were not released when the frontend was closed", engine_held(s->engine),
               engine_submitted(s->engine));
    engine_free(s->engine);
    if (s->input >= 0)
        close(s->input);
    pthread_mutex_destroy(&s->lock);
    return status;
}

static void write_lines(service *s)
{
    if (write(s->input, lines, sizeof lines - 1) != (ssize_t)(sizeof lines - 1))
        failed("the check's own pipe takes no lines");
}

/* --- checks ---------------------------------------------------------------------------------------------------------------------- */

static void nothing(subject *u, uint32_t which)
{
    (void)which;
    subject_load(u);
    close_frontend(u, NULL);
    bp_engine *engine = engine_new(MOOD_FINE);
    close_frontend(u, open_frontend(u, engine, subject_config(u)));
    close_frontend(u, NULL);
    engine_free(engine);
    subject_unload(u);
}

/* What only one can have, a port or a file, the second does not get, and says so; the first does not notice. */
static void two(subject *u, uint32_t which)
{
    (void)which;
    answer a;
    subject_load(u);
    close(take_input());
    for (int order = 0; order < 2; order++) {
        bp_engine *engine = engine_new(MOOD_FINE);
        bp_frontend *f[2] = {open_frontend(u, engine, subject_config(u)), NULL};
        u->strict = true;
        bp_status status = CALL(u, &a, &u->plugin->frontend, open, subject_host(), engine_api(), engine, subject_config(u), &f[1]);
        if ((status == BP_OK) != (f[1] != NULL))
            failed("open of a second one returned %d and gave %s", status, f[1] ? "a frontend" : "none");
        close_frontend(u, f[order]);
        close_frontend(u, f[!order]);
        engine_free(engine);
    }
    subject_unload(u);
}

static void stop(subject *u, uint32_t milliseconds)
{
    service s;
    int input = take_input();
    bp_engine *engine = engine_new(MOOD_FINE);
    subject_load(u);
    bp_frontend *f = open_frontend(u, engine, subject_config(u));
    if (milliseconds == 0)
        u->plugin->frontend.stop(f);
    service_run(&s, u, engine, f, input);
    s.told = milliseconds == 0;
    sleep_for(milliseconds);
    bp_status status = service_end(&s);
    if (status != BP_OK && status != BP_ECANCELLED)
        failed("run: %s", s.ran.error.message);
    subject_unload(u);
}

/* Lines of standard input, then its end; the frontend ends by itself, or is stopped when nothing more happens. */
static void serve_lines(service *s)
{
    write_lines(s);
    close(s->input);
    s->input = -1;
    for (int i = 0; i < 40 && !is_over(s); i++)
        sleep_for(25);
}

static void requests(subject *u, uint32_t mood)
{
    service s;
    service_begin(&s, u, (engine_mood)mood);
    serve_lines(&s);
    unsigned submitted = engine_submitted(s.engine);
    bp_status status = service_end(&s);
    if (mood == MOOD_FINE && status != BP_OK)
        failed("run: %s", s.ran.error.message);
    subject_unload(u);
    if (submitted == 0)
        not_offered("it asked for nothing, given lines of standard input and what --set says");
}

/* Without a model there is nothing to do: open may say so, or run, or it waits for better times. */
static void no_model(subject *u, uint32_t which)
{
    (void)which;
    answer a;
    service s;
    bp_frontend *f = NULL;
    int input = take_input();
    bp_engine *engine = engine_new(MOOD_EMPTY);
    u->strict = true;
    subject_load(u);
    if (CALL(u, &a, &u->plugin->frontend, open, subject_host(), engine_api(), engine, subject_config(u), &f) == BP_OK) {
        service_run(&s, u, engine, f, input);
        serve_lines(&s);
        service_end(&s);
    } else {
        engine_free(engine);
    }
    subject_unload(u);
}

static void stop_answer(subject *u, uint32_t which)
{
    (void)which;
    service s;
    service_begin(&s, u, MOOD_ENDLESS);
    write_lines(&s);
    for (int i = 0; i < 40 && engine_submitted(s.engine) == 0 && !is_over(&s); i++)
        sleep_for(25);
    sleep_for(20);
    unsigned submitted = engine_submitted(s.engine);
    service_end(&s);
    subject_unload(u);
    if (submitted == 0)
        not_offered("it asked for nothing, given lines of standard input and what --set says");
}

/* Each option that holds a text names something that is not there. The frontend may mind or not. */
static void odd_options(subject *u, uint32_t which)
{
    (void)which;
    u->strict = true;
    subject_load(u);
    close(take_input());
    uint32_t tried = 0;
    for (const bp_option *o = u->plugin->options; o && o->name; o++) {
        if (o->type != BP_OPTION_STRING && o->type != BP_OPTION_PATH)
            continue;
        answer a;
        bp_frontend *f = NULL;
        bp_engine *engine = engine_new(MOOD_FINE);
        char *config = subject_config(u);
        const char *odd = "/nowhere/\xc3\xa9 %s%n ../\x01";
        memcpy(config + o->offset, &odd, sizeof odd);
        if (CALL(u, &a, &u->plugin->frontend, open, subject_host(), engine_api(), engine, config, &f) == BP_OK)
            close_frontend(u, f);
        else if (f)
            failed("open failed with %s of something that is not there, and left a frontend", o->name);
        engine_free(engine);
        tried++;
    }
    subject_unload(u);
    if (tried == 0)
        not_offered("it has no option that holds a text");
}

typedef struct lives {
    subject *u;
    bp_engine *engine;
    void *config;
} lives;

static void once(void *with)
{
    lives *l = with;
    close_frontend(l->u, open_frontend(l->u, l->engine, l->config));
}

static void leaks(subject *u, uint32_t which)
{
    (void)which;
    subject_load(u);
    close(take_input());
    lives l = {u, engine_new(MOOD_FINE), subject_config(u)};
    leaks_of(once, &l, 8, "a frontend was opened and closed");
    engine_free(l.engine);
    subject_unload(u);
}

void checks_add_frontend(check_list *list)
{
    checks_add(list, "frontend.nothing", nothing, 0, "close(NULL) does nothing, and close needs no run.");
    checks_add(list, "frontend.two", two, 0, "Two are open at once, or the second is refused with a sentence; they close in either order.");
    checks_add(list, "frontend.stop", stop, 150, "run returns once stop is called, whatever it waits for.");
    checks_add(list, "frontend.stop_at_once", stop, 0, "stop may come before run has begun.");
    checks_add(list, "frontend.requests", requests, MOOD_FINE, "Every stream is read to its end and released.");
    checks_add(list, "frontend.busy", requests, MOOD_BUSY, "Requests that are refused leave nothing behind.");
    checks_add(list, "frontend.failing", requests, MOOD_FAILING, "Answers that end with an error are released too.");
    checks_add(list, "frontend.no_model", no_model, 0, "Without a model it ends with a sentence, or waits until it is stopped.");
    checks_add(list, "frontend.stop_answer", stop_answer, 0, "stop ends an answer that has no end, and its stream is released.");
    checks_add(list, "frontend.options", odd_options, 0, "Options that name what is not there are refused with a sentence, or do no harm.");
    checks_add(list, "frontend.leaks", leaks, 0, "Opening and closing leaves no memory, thread or file behind.");
}
