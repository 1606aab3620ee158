/* serve: a session's frontends at work, until the last of them is done or a signal ends them.
 *
 * SIGINT and SIGTERM drain: the engine refuses new requests, those that run have drain_ns to finish, then frontends are
 * stopped. A second signal ends the process at once. A frontend that takes SIGINT for itself installs a handler of its own
 * while it runs and puts this one back.
 *
 * Threads: the first frontend runs on the caller's thread, so that it may have the terminal; the others on theirs. */
#ifndef BACKPLANE_COMMANDS_SERVE_H
#define BACKPLANE_COMMANDS_SERVE_H

#include "commands/session.h"

typedef struct serve_options {
    void (*prepare)(const session *s); /* or NULL: before frontends open, while signals are already heard */
    void (*reload)(session *s); /* or NULL: at SIGHUP, in a thread of its own, one call at a time, until a signal to stop */
    uint64_t drain_ns;
    bool stop_is_success; /* after a signal the exit code is CLI_DONE, whatever frontends say of what it cut short */
} serve_options;

/* After session_start. Returns the exit code: CLI_FAILED where no frontend opened or one ended with an error, which is
 * logged. Once in a process. */
int serve(session *s, const serve_options *options);

/* A command that is one model and one frontend. `complete` adds the command line's own settings to the selection. */
typedef struct single_service {
    const char *frontend, *model; /* model: NULL leaves the choice to --config */
    const char *usage;            /* where neither is given */
    bp_status (*complete)(session *s, session_selection *selection, const cli_values *values, bp_error *error);
    serve_options serve;
} single_service;

/* The whole life of such a command; returns its exit code. */
int serve_single(const cli_values *values, const single_service *service);

#endif
