#include "commands/serve.h"

#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { STOP_MILLISECONDS = 5000 }; /* that frontends have to return after stop() */

typedef struct served {
    const config_plugin *entry;
    bp_frontend *frontend;
    pthread_t thread;
    bool threaded, failed;
} served;

typedef struct server {
    session *session;
    served *frontends;
    size_t count;
    const serve_options *options;
    int wake[2]; /* a pipe: 's' from the signal handler, 'q' once every frontend has returned */
    int again[2]; /* another, where there is a reload: 'h' from the signal handler, 'q' at the end */
    pthread_t watcher, reloader;
    bool reloads;
} server;

/* --- signals ---------------------------------------------------------------------------------------------------------- */

/* A handler is given nothing but its number. */
static volatile sig_atomic_t signals_seen, wake_descriptor = -1, hangup_seen, again_descriptor = -1;

static void tell(int descriptor, char word)
{
    ssize_t ignored = write(descriptor, &word, 1);
    (void)ignored;
}

static void on_signal(int number)
{
    int saved = errno;
    if (signals_seen++)
        _exit(128 + number);
    tell(wake_descriptor, 's');
    errno = saved;
}

/* Any number of them, until the reloader looks, are one. */
static void on_hangup(int number)
{
    (void)number;
    int saved = errno;
    if (!hangup_seen) {
        hangup_seen = 1;
        tell(again_descriptor, 'h');
    }
    errno = saved;
}

/* What the frontend does with its own output is cut short here, and only here. */
static void leave_anyway(const server *v)
{
    log_line(BP_LOG_WARN, "a frontend did not stop within %d seconds; leaving it", STOP_MILLISECONDS / 1000);
    _exit(v->options->stop_is_success ? CLI_DONE : CLI_FAILED);
}

static char await_word(int descriptor)
{
    char word = 'q';
    while (read(descriptor, &word, 1) < 0 && errno == EINTR)
        ;
    return word;
}

static void *watch(void *user)
{
    server *v = user;
    if (await_word(v->wake[0]) == 'q')
        return NULL;
    log_line(BP_LOG_INFO, "stopping; a second signal stops at once");
    if (!engine_drain(v->session->engine, v->options->drain_ns))
        log_line(BP_LOG_WARN, "requests were cut short: the time to drain was over");
    for (size_t i = 0; i < v->count; i++)
        v->frontends[i].entry->loaded->frontend.stop(v->frontends[i].frontend);
    struct pollfd waiting = {.fd = v->wake[0], .events = POLLIN};
    if (poll(&waiting, 1, STOP_MILLISECONDS) == 0)
        leave_anyway(v);
    return NULL;
}

static void *reload(void *user)
{
    server *v = user;
    while (await_word(v->again[0]) == 'h') {
        hangup_seen = 0;
        if (!signals_seen)
            v->options->reload(v->session);
    }
    return NULL;
}

static void hear(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

/* Signals are heard from here on, and answered once start_reloading has been called. */
static bool start_hearing_hangups(server *v)
{
    if (!v->options->reload)
        return true;
    if (pipe(v->again) != 0)
        return false;
    again_descriptor = v->again[1];
    hear(SIGHUP, on_hangup);
    return true;
}

static void start_reloading(server *v)
{
    if (!v->options->reload)
        return;
    v->reloads = pthread_create(&v->reloader, NULL, reload, v) == 0;
    if (!v->reloads)
        log_line(BP_LOG_ERROR, "there is no thread to read the configuration again: SIGHUP does nothing");
}

static void stop_reloading(server *v)
{
    if (!v->options->reload)
        return;
    signal(SIGHUP, SIG_IGN);
    tell(v->again[1], 'q');
    if (v->reloads)
        pthread_join(v->reloader, NULL);
    close(v->again[0]);
    close(v->again[1]);
}

static bool start_watching(server *v)
{
    if (pipe(v->wake) != 0)
        return false;
    if (pthread_create(&v->watcher, NULL, watch, v) != 0) {
        close(v->wake[0]);
        close(v->wake[1]);
        return false;
    }
    wake_descriptor = v->wake[1];
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return true;
}

/* From here on a signal has nothing left to drain. */
static void stop_watching(server *v)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    tell(v->wake[1], 'q');
    pthread_join(v->watcher, NULL);
    close(v->wake[0]);
    close(v->wake[1]);
}

/* --- frontends -------------------------------------------------------------------------------------------------------- */

static void open_frontends(server *v)
{
    session *s = v->session;
    for (size_t i = 0; i < s->config->frontend_count; i++) {
        const config_plugin *entry = &s->config->frontends[i];
        if (!entry->loaded)
            continue;
        bp_error why = {0};
        served *f = &v->frontends[v->count];
        if (entry->loaded->frontend.open(log_host(), engine_api(), s->engine, entry->options, &f->frontend, &why) !=
            BP_OK) {
            log_line(BP_LOG_ERROR, "frontend %s: %s", entry->name, why.message);
            continue;
        }
        f->entry = entry;
        v->count++;
    }
}

static void *run_frontend(void *user)
{
    served *f = user;
    bp_error why = {0};
    if (f->entry->loaded->frontend.run(f->frontend, &why) != BP_OK) {
        log_line(BP_LOG_ERROR, "frontend %s: %s", f->entry->name, why.message);
        f->failed = true;
    }
    return NULL;
}

static size_t run_frontends(server *v)
{
    size_t failed = 0;
    for (size_t i = 1; i < v->count; i++) {
        served *f = &v->frontends[i];
        f->threaded = pthread_create(&f->thread, NULL, run_frontend, f) == 0;
        f->failed = !f->threaded;
        if (!f->threaded)
            log_line(BP_LOG_ERROR, "frontend %s: there is no thread for it", f->entry->name);
    }
    run_frontend(&v->frontends[0]);
    for (size_t i = 0; i < v->count; i++) {
        if (v->frontends[i].threaded)
            pthread_join(v->frontends[i].thread, NULL);
        failed += v->frontends[i].failed;
    }
    return failed;
}

int serve(session *s, const serve_options *options)
{
    server v = {.session = s, .options = options};
    v.frontends = arena_array(s->memory, s->config->frontend_count + 1, sizeof *v.frontends);
    if (!v.frontends || !start_hearing_hangups(&v) || !start_watching(&v)) {
        log_line(BP_LOG_ERROR, "no memory or descriptors to serve with");
        return CLI_FAILED;
    }
    if (options->prepare)
        options->prepare(s);
    if (!signals_seen)
        open_frontends(&v);
    start_reloading(&v);
    size_t failed = v.count ? run_frontends(&v) : 1;
    stop_watching(&v);
    stop_reloading(&v);
    for (size_t i = 0; i < v.count; i++)
        v.frontends[i].entry->loaded->frontend.close(v.frontends[i].frontend);
    int code = failed && !(signals_seen && options->stop_is_success) ? CLI_FAILED : CLI_DONE;
    if (engine_stuck(s->engine)) {
        log_line(BP_LOG_WARN, "a backend does not come back from its step; leaving it");
        fflush(NULL);
        _exit(code);
    }
    return code;
}

static bp_status start_single(session *s, session_selection *selection, const cli_values *values,
                              const single_service *service, bp_error *error)
{
    bp_status status = service->complete(s, selection, values, error);
    if (status == BP_OK)
        status = session_select(s, selection, values->environment, error);
    if (status != BP_OK)
        return status;
    session_add(&selection->frontend_settings, "model", s->model->name);
    status = session_bind(s, error);
    return status == BP_OK ? session_start(s, error) : status;
}

int serve_single(const cli_values *values, const single_service *service)
{
    session s;
    session_selection selection;
    bp_error error = {0};
    if (session_init(&s, &error) != BP_OK)
        return cli_fail(&error);
    int code = CLI_USAGE;
    if (session_read_options(&s, values, &selection)) {
        selection.frontend = service->frontend;
        selection.model = service->model;
        if (!selection.model && !selection.config_file)
            cli_usage("%s", service->usage);
        else if (start_single(&s, &selection, values, service, &error) != BP_OK)
            code = cli_fail(&error);
        else
            code = serve(&s, &service->serve);
    }
    session_end(&s);
    return code;
}
