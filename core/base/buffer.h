/* buffer: bytes that grow. A zeroed buffer is empty and valid; after a failed append it is unchanged. */
#ifndef BACKPLANE_BASE_BUFFER_H
#define BACKPLANE_BASE_BUFFER_H

#include <backplane/plugin.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct buffer {
    char *data; /* NUL-terminated whenever not NULL; `size` does not count that NUL */
    size_t size, capacity;
} buffer;

void buffer_free(buffer *b); /* leaves an empty buffer */
bool buffer_reserve(buffer *b, size_t more); /* false when out of memory, here and below */
bool buffer_append(buffer *b, const void *bytes, size_t count);
bool buffer_text(buffer *b, const char *text);
bool buffer_format(buffer *b, const char *format, ...) BP_PRINTF(2, 3);
static inline void buffer_clear(buffer *b)
{
    b->size = 0;
    if (b->data)
        b->data[0] = '\0';
}

#endif
