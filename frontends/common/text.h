/* text: bytes that grow, and UTF-8 that may not be. Any thread, one at a time per text. */
#ifndef BACKPLANE_FRONTENDS_TEXT_H
#define BACKPLANE_FRONTENDS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A zeroed one is empty and valid. */
typedef struct text {
    char *data; /* NUL-terminated whenever not NULL; `size` does not count that NUL */
    size_t size, capacity;
} text;

void text_free(text *t); /* leaves an empty text */
void text_clear(text *t);
void text_cut(text *t, size_t size); /* to its beginning; `size` is not more than it has */
bool text_append(text *t, const void *bytes, size_t count); /* false when out of memory, with the text unchanged */
/* Appends valid UTF-8 without NUL: each bad sequence and each NUL becomes U+FFFD. */
bool text_append_clean(text *t, const char *bytes, size_t count);
const char *text_string(const text *t); /* "" where there is nothing */

/* Decodes one character of `bytes` > 0; returns its length. *code is -1 for a bad sequence, of which at least one byte is
 * taken. */
size_t utf8_next(const char *string, size_t bytes, int32_t *code);
/* Whether `string`, of fewer than 4 bytes, is the beginning of a character that more bytes would complete. */
bool utf8_begins(const char *string, size_t bytes);

#endif
