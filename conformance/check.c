/* A check's process: forked, watched, and ended where it does not end itself. Its verdict is written into memory that both
 * share, so that what the plugin was doing is known even of a process that is no more. */
#include "check.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct outcome {
    verdict verdict;
    bool decided; /* the check came to an end; else the process did */
    _Atomic(const char *) doing; /* a literal, which is at one address in both */
    char sentence[SENTENCE_BYTES];
} outcome;

static outcome *shared; /* the running check's */

void checks_add(check_list *list, const char *name, void (*run)(subject *u, uint32_t which), uint32_t which, const char *proves)
{
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 64;
        list->items = realloc(list->items, list->room * sizeof *list->items);
        if (!list->items) {
            fprintf(stderr, "backplane-plugin-test: out of memory\n");
            exit(2);
        }
    }
    check *c = &list->items[list->count++];
    *c = (check){.proves = proves, .run = run, .which = which};
    snprintf(c->name, sizeof c->name, "%s", name);
}

/* Nothing of the plugin's runs after a verdict that is not "kept": it is in no state to be asked for more. */
static void decide(verdict v, const char *format, va_list arguments) __attribute__((noreturn));
static void decide(verdict v, const char *format, va_list arguments)
{
    vsnprintf(shared->sentence, sizeof shared->sentence, format, arguments);
    shared->verdict = v;
    shared->decided = true;
    _exit(0);
}

void failed(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    decide(BROKEN, format, arguments);
}

void not_offered(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    decide(NOT_OFFERED, format, arguments);
}

void doing(const char *what)
{
    atomic_store(&shared->doing, what);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* False where the time was over first; the process is gone either way. */
static bool await(pid_t child, unsigned seconds, int *status)
{
    double end = seconds_now() + seconds;
    for (;;) {
        pid_t ended = waitpid(child, status, WNOHANG);
        if (ended == child)
            return true;
        if (seconds_now() > end)
            break;
        const struct timespec moment = {.tv_nsec = 1000000};
        nanosleep(&moment, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, status, 0);
    return false;
}

/* What a process that ended by itself says of the plugin. */
static void explain(outcome *o, int status, bool in_time, unsigned seconds)
{
    char where[96] = "";
    const char *last = atomic_load(&o->doing);
    if (last)
        snprintf(where, sizeof where, " in %s", last);
    o->verdict = BROKEN;
    if (!in_time)
        snprintf(o->sentence, sizeof o->sentence, "no end%s within %u second%s; --seconds gives it more", where, seconds,
                 seconds == 1 ? "" : "s");
    else if (WIFSIGNALED(status))
        snprintf(o->sentence, sizeof o->sentence, "the process died%s of signal %d (%s)", where, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (o->decided)
        snprintf(o->sentence, sizeof o->sentence,
                 "all went well until the process ended, with the status %d; what was printed before this says why",
                 WEXITSTATUS(status));
    else
        snprintf(o->sentence, sizeof o->sentence, "the process ended%s with the status %d; a plugin may not end it", where,
                 WEXITSTATUS(status));
}

/* Leaves by exit(), so that a sanitizer that counts leaks at the end has its turn. */
static void run_here(const check *c, subject *u) __attribute__((noreturn));
static void run_here(const check *c, subject *u)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    c->run(u, c->which);
    shared->verdict = KEPT;
    shared->decided = true;
    doing("leaving");
    exit(0);
}

verdict check_run(const check *c, subject *u, unsigned seconds, char sentence[SENTENCE_BYTES])
{
    int status = 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(NULL);
    pid_t child = shared == MAP_FAILED ? -1 : fork();
    if (child < 0) {
        fprintf(stderr, "backplane-plugin-test: no process for %s: out of memory or processes\n", c->name);
        exit(2);
    }
    if (child == 0)
        run_here(c, u);
    bool in_time = await(child, seconds, &status);
    if (!shared->decided || !in_time || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        explain(shared, status, in_time, seconds);
    verdict v = shared->verdict;
    memcpy(sentence, shared->sentence, SENTENCE_BYTES);
    sentence[SENTENCE_BYTES - 1] = '\0';
    munmap(shared, sizeof *shared);
    return v;
}
