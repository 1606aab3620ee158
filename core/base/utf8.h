/* utf8: decoding of bytes that may not be UTF-8 at all. */
#ifndef BACKPLANE_BASE_UTF8_H
#define BACKPLANE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one character at `text` (bytes > 0). Returns its length and sets *code; for an invalid sequence returns the
 * length of the maximal invalid subpart (Unicode 15, section 3.9, as WHATWG decodes) and sets *code to -1. */
size_t utf8_decode(const char *text, size_t bytes, int32_t *code);
/* Writes 1 to 4 bytes and returns how many; surrogates and values over 0x10FFFF become U+FFFD. */
size_t utf8_encode(int32_t code, char out[4]);
bool utf8_valid(const char *text, size_t bytes);
/* How many bytes at the end of `text` begin a character that more bytes could complete: 0 to 3. */
size_t utf8_incomplete_tail(const char *text, size_t bytes);

#endif
