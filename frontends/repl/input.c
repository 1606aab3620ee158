#include "repl/input.h"

#include <string.h>

#define FENCE "\"\"\""

static bool ends_in(const text *t, size_t from, const char *end)
{
    size_t length = strlen(end);
    return t->size >= from + length && memcmp(t->data + t->size - length, end, length) == 0;
}

static void cut(text *t, size_t bytes)
{
    t->size -= bytes;
    t->data[t->size] = '\0';
}

/* The lines after one that began with a fence, which is not in `out`. */
static input_result fenced(const input_source *source, text *out)
{
    for (;;) {
        text line = {0};
        input_result result = source->line(source->user, true, &line);
        bool closed = result == INPUT_LINE && ends_in(&line, 0, FENCE);
        if (closed)
            cut(&line, strlen(FENCE));
        bool last = closed && line.size == 0;
        if (result == INPUT_LINE && !last &&
            (!text_append(out, "\n", 1) || !text_append(out, text_string(&line), line.size) || out->size > INPUT_LIMIT))
            result = INPUT_TOO_LONG;
        text_free(&line);
        if (result != INPUT_LINE || closed)
            return result == INPUT_END ? INPUT_LINE : result;
    }
}

/* The lines after one that ended in a backslash, which is not in `out`. */
static input_result continued(const input_source *source, text *out)
{
    for (;;) {
        if (!text_append(out, "\n", 1))
            return INPUT_TOO_LONG;
        size_t begin = out->size;
        input_result result = source->line(source->user, true, out);
        if (result == INPUT_END)
            return INPUT_LINE;
        if (result != INPUT_LINE)
            return result;
        if (out->size > INPUT_LIMIT)
            return INPUT_TOO_LONG;
        if (!ends_in(out, begin, "\\"))
            return INPUT_LINE;
        cut(out, 1);
    }
}

input_result input_entry(const input_source *source, text *out)
{
    text_clear(out);
    input_result result = source->line(source->user, false, out);
    if (result != INPUT_LINE)
        return result;
    size_t fence = strlen(FENCE);
    if (out->size >= fence && memcmp(out->data, FENCE, fence) == 0) {
        bool closed = ends_in(out, fence, FENCE);
        if (closed)
            cut(out, fence);
        out->size -= fence;
        memmove(out->data, out->data + fence, out->size + 1);
        result = closed ? INPUT_LINE : fenced(source, out);
        if (out->size && out->data[0] == '\n' && result == INPUT_LINE) { /* the fence had its line to itself */
            out->size--;
            memmove(out->data, out->data + 1, out->size + 1);
        }
        return result;
    }
    if (!ends_in(out, 0, "\\"))
        return INPUT_LINE;
    cut(out, 1);
    return continued(source, out);
}
