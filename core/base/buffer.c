#include "base/buffer.h"

#include "base/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_free(buffer *b)
{
    free(b->data);
    *b = (buffer){0};
}

bool buffer_reserve(buffer *b, size_t more)
{
    size_t need, grown;
    if (!checked_add(b->size, more, &need) || !checked_add(need, 1, &need))
        return false;
    if (need <= b->capacity)
        return true;
    if (!checked_mul(b->capacity, 2, &grown) || grown < need)
        grown = need < 64 ? 64 : need;
    char *data = realloc(b->data, grown);
    if (!data)
        return false;
    b->data = data;
    b->capacity = grown;
    b->data[b->size] = '\0';
    return true;
}

bool buffer_append(buffer *b, const void *bytes, size_t count)
{
    if (!buffer_reserve(b, count))
        return false;
    if (count)
        memcpy(b->data + b->size, bytes, count);
    b->size += count;
    b->data[b->size] = '\0';
    return true;
}

bool buffer_text(buffer *b, const char *text)
{
    return buffer_append(b, text, strlen(text));
}

bool buffer_format(buffer *b, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    bool ok = length >= 0 && buffer_reserve(b, (size_t)length);
    if (ok) {
        vsnprintf(b->data + b->size, (size_t)length + 1, format, again);
        b->size += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
    return ok;
}
