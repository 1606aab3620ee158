/* screen: where text is shown, a terminal or a file.
 *
 * Invariants:
 *   - Text of others (a model's, a file's, an error's) reaches a terminal without control characters other than newline
 *     and tab: it can be read and cannot move the cursor, rename the window or answer for the user.
 *   - After the first failed write nothing more is written; `failure` says why.
 * Threads: one at a time per screen. */
#ifndef BACKPLANE_REPL_SCREEN_H
#define BACKPLANE_REPL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

#include <backplane/plugin.h>

typedef struct screen {
    int descriptor;
    bool terminal, color;
    bool within_line; /* the last byte written was not a newline */
    int failure;      /* errno, 0 while all is well */
} screen;

void screen_init(screen *s, int descriptor, bool color);
/* Whole UTF-8 characters. */
void screen_write(screen *s, const char *bytes, size_t count);
void screen_text(screen *s, const char *text);
void screen_format(screen *s, const char *format, ...) BP_PRINTF(2, 3);
/* A whole line, dim on a terminal with colors. */
void screen_dim(screen *s, const char *line);
void screen_end_line(screen *s); /* a newline, unless the last character was one */
/* Back to the start of the line, which becomes `line`; for terminals. */
void screen_replace_line(screen *s, const char *line);

#endif
