/* terminal: lines that a person edits, with history, through libedit.
 *
 * The descriptor is read here, byte by byte, so that a signal or stop() reaches a waiting prompt, and bytes that are no
 * UTF-8 arrive as U+FFFD. libedit wants a locale for what it draws: it gets one of this thread's own, and the process keeps
 * its own.
 *
 * Threads: the one that made it. */
#ifndef BACKPLANE_REPL_TERMINAL_H
#define BACKPLANE_REPL_TERMINAL_H

#include "repl/input.h"
#include "repl/wake.h"

typedef struct terminal terminal;

/* `history`: a file that keeps lines from one run to the next, or NULL. */
bp_status terminal_new(wake *w, const char *history, bool color, terminal **out, bp_error *error);
/* Writes the history file; NULL is fine. */
void terminal_free(terminal *t);
input_source terminal_source(terminal *t);

#endif
