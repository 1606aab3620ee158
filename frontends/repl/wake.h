/* wake: one pipe through which signals and other threads reach a frontend that waits.
 *
 * Ctrl-C and a changed window arrive by signal, and stop() from another thread; all become a byte in a pipe that the
 * frontend's waits look at. While it is catching, SIGINT is the frontend's own; wake_release puts the host's handler back.
 *
 * Threads: wake_stop from any; the rest from the frontend's own. Only one frontend of a process catches signals. */
#ifndef BACKPLANE_REPL_WAKE_H
#define BACKPLANE_REPL_WAKE_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <backplane/plugin.h>

typedef struct wake {
    int pipe[2];
    atomic_bool stopping;
    bool interrupted, resized; /* seen by wake_read, cleared by whoever acts on them */
    bool catching;
    struct sigaction interrupt_before, resize_before;
} wake;

bp_status wake_init(wake *w, bp_error *error);
void wake_clear(wake *w);
void wake_catch(wake *w);
void wake_release(wake *w);
void wake_stop(wake *w);
/* Takes what has arrived, without waiting. */
void wake_read(wake *w);
/* Waits for `descriptor` to have something to read; false when woken instead, with the reason in the fields above. */
bool wake_wait(wake *w, int descriptor);

#endif
