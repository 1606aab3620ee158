/* lines: a file's lines one by one, of whatever length, in bounded memory, without waiting unless asked to. One thread. */
#ifndef BACKPLANE_BATCH_LINES_H
#define BACKPLANE_BATCH_LINES_H

#include "common/text.h"
#include <backplane/plugin.h>

enum { LINE_LIMIT = 16 << 20 };

typedef enum line_result { LINE_READ, LINE_TOO_LONG, LINE_NOT_YET, LINE_END, LINE_FAILED } line_result;

typedef struct lines {
    int descriptor;
    uint64_t number; /* of the last line that was given out, from 1 */
    uint64_t offset; /* bytes up to the end of that line */
    bool whole;      /* that line ended in a newline */
    bool given;      /* `line` is the caller's; else it is the beginning of the next one */
    bool ended, too_long;
    text line, block;
    size_t begin; /* of block: what is before it was taken */
} lines;

void lines_init(lines *l, int descriptor);
void lines_free(lines *l); /* the descriptor stays open */
/* The next line, without its newline, in l->line until the next call. A line that is too long is dropped to its end.
 * LINE_NOT_YET after wait_ms without input; LINE_FAILED sets errno. */
line_result lines_next(lines *l, int wait_ms);

#endif
