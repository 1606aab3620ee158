/* input: what a person or a script says, entry by entry.
 *
 * An entry is one line, or several: a line that ends in a backslash goes on with the next one, and a line that begins with
 * three double quotes goes on until a line that ends in them. Where lines come from is the source's matter: a terminal or
 * a plain file.
 *
 * Invariants:
 *   - An entry is valid UTF-8 without NUL, of at most INPUT_LIMIT bytes. A longer one is read to its end and refused.
 * Threads: one. */
#ifndef BACKPLANE_REPL_INPUT_H
#define BACKPLANE_REPL_INPUT_H

#include "common/text.h"
#include <backplane/plugin.h>

enum { INPUT_LIMIT = 4 << 20 };

typedef enum input_result {
    INPUT_LINE,
    INPUT_TOO_LONG,    /* a line, of which the rest was dropped */
    INPUT_INTERRUPTED, /* Ctrl-C: forget what was typed */
    INPUT_END
} input_result;

/* Appends one line without its newline. `more`: inside an entry. */
typedef struct input_source {
    void *user;
    input_result (*line)(void *user, bool more, text *out);
} input_source;

/* *out is replaced. An end inside an entry gives what there is. */
input_result input_entry(const input_source *source, text *out);

#endif
