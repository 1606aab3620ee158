/* output: the file of results, which may have been begun before.
 *
 * Invariants:
 *   - A regular file holds whole results, in the order of their requests, at any moment but within a write; what a killed
 *     run left behind the last whole one is cut when the file is opened again.
 *   - A file that is something else is refused and left as it is.
 * Threads: one. One process at a time has a file open. */
#ifndef BACKPLANE_BATCH_OUTPUT_H
#define BACKPLANE_BATCH_OUTPUT_H

#include "batch/lines.h"

typedef struct output {
    int descriptor;
    bool opened, regular;
    const char *path;
    lines before;    /* results of earlier runs */
    text pending;    /* being written */
    size_t written;  /* of pending */
} output;

/* "-" is the standard output. */
bp_status output_open(output *o, const char *path, bp_error *error);
void output_close(output *o);
/* The next result of an earlier run: the number of its request's line and its custom_id ("" where it has none). After the
 * last one *line is 0, and the file is ready to be added to. */
bp_status output_earlier(output *o, uint64_t *line, text *custom_id, bp_error *error);
/* Takes a whole line, once output_flush has said that nothing is pending. */
bool output_put(output *o, const text *line);
/* Writes what can be written without waiting; *clear: nothing is left. */
bp_status output_flush(output *o, int wait_ms, bool *clear, bp_error *error);

#endif
