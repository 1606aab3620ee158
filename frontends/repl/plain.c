#include "repl/plain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 16 };

struct plain {
    wake *wake;
    int descriptor;
    size_t begin, end; /* of block, not yet given out */
    char block[BLOCK];
};

plain *plain_new(int descriptor, wake *w)
{
    plain *p = malloc(sizeof *p);
    if (!p)
        return NULL;
    p->wake = w;
    p->descriptor = descriptor;
    p->begin = p->end = 0;
    return p;
}

void plain_free(plain *p)
{
    free(p);
}

/* The next block; false at the end, when stopped, and where it cannot be read. */
static bool fill(plain *p)
{
    for (;;) {
        if (!wake_wait(p->wake, p->descriptor)) {
            if (atomic_load(&p->wake->stopping))
                return false;
            p->wake->interrupted = p->wake->resized = false;
            continue;
        }
        ssize_t count = read(p->descriptor, p->block, BLOCK);
        if (count < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        p->begin = 0;
        p->end = count > 0 ? (size_t)count : 0;
        return count > 0;
    }
}

/* The bytes of one line. Past the limit they are dropped, so that memory stays bounded whatever comes in. */
static input_result read_line(plain *p, text *raw)
{
    bool any = false, too_long = false;
    for (;;) {
        if (p->begin == p->end && !fill(p))
            return too_long ? INPUT_TOO_LONG : any ? INPUT_LINE : INPUT_END;
        any = true;
        const char *start = p->block + p->begin, *newline = memchr(start, '\n', p->end - p->begin);
        size_t count = newline ? (size_t)(newline - start) : p->end - p->begin;
        p->begin += count + (newline != NULL);
        too_long = too_long || raw->size + count > INPUT_LIMIT || !text_append(raw, start, count);
        if (newline)
            return too_long ? INPUT_TOO_LONG : INPUT_LINE;
    }
}

static input_result next_line(void *user, bool more, text *out)
{
    (void)more;
    text raw = {0};
    input_result result = read_line(user, &raw);
    if (raw.size && raw.data[raw.size - 1] == '\r')
        raw.size--;
    if (result == INPUT_LINE && !text_append_clean(out, text_string(&raw), raw.size))
        result = INPUT_TOO_LONG;
    text_free(&raw);
    return result;
}

input_source plain_source(plain *p)
{
    return (input_source){.user = p, .line = next_line};
}
