/* progress: a bar on the standard error output while a model loads, where that is a terminal and loading takes its time.
 * Threads: progress_show from the loading thread; the rest before and after it. */
#ifndef BACKPLANE_REPL_PROGRESS_H
#define BACKPLANE_REPL_PROGRESS_H

#include "repl/screen.h"

typedef struct progress {
    const bp_host *host;
    screen *screen;
    uint64_t began;
    int shown; /* percent; -1: nothing yet */
} progress;

void progress_begin(progress *p, const bp_host *host, screen *s);
void progress_show(void *user, double fraction, const char *what); /* a bp_progress_fn */
void progress_end(progress *p);

#endif
