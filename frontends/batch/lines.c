#include "batch/lines.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 16 };

void lines_init(lines *l, int descriptor)
{
    *l = (lines){.descriptor = descriptor};
}

void lines_free(lines *l)
{
    text_free(&l->line);
    text_free(&l->block);
}

static line_result fill(lines *l, int wait_ms)
{
    struct pollfd ready = {.fd = l->descriptor, .events = POLLIN};
    int arrived = poll(&ready, 1, wait_ms);
    if (arrived == 0 || (arrived < 0 && errno == EINTR))
        return LINE_NOT_YET;
    char bytes[BLOCK];
    ssize_t count = read(l->descriptor, bytes, sizeof bytes);
    if (count < 0)
        return errno == EINTR || errno == EAGAIN ? LINE_NOT_YET : LINE_FAILED;
    text_clear(&l->block);
    l->begin = 0;
    if (!text_append(&l->block, bytes, (size_t)count)) {
        errno = ENOMEM;
        return LINE_FAILED;
    }
    l->ended = count == 0;
    return LINE_READ;
}

static line_result give(lines *l, bool whole)
{
    line_result result = l->too_long ? LINE_TOO_LONG : LINE_READ;
    l->number++;
    l->given = true;
    l->whole = whole;
    l->too_long = false;
    return result;
}

line_result lines_next(lines *l, int wait_ms)
{
    if (l->given)
        text_clear(&l->line);
    l->given = false;
    for (;;) {
        while (l->begin == l->block.size && !l->ended) {
            line_result result = fill(l, wait_ms);
            if (result != LINE_READ)
                return result;
        }
        if (l->begin == l->block.size) {
            if (l->line.size == 0 && !l->too_long)
                return LINE_END;
            return give(l, false);
        }
        const char *start = l->block.data + l->begin, *newline = memchr(start, '\n', l->block.size - l->begin);
        size_t count = newline ? (size_t)(newline - start) : l->block.size - l->begin;
        l->begin += count + (newline != NULL);
        l->offset += count + (newline != NULL);
        if (!l->too_long && (l->line.size + count > LINE_LIMIT || !text_append(&l->line, start, count))) {
            l->too_long = true;
            text_clear(&l->line);
        }
        if (newline)
            return give(l, true);
    }
}
