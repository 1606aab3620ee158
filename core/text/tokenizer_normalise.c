/* tokenizer_normalise: text as a tokenizer reads it: valid UTF-8, and NFC where the family asks for it.
 *
 * Characters below U+0300 begin a normalisation segment and never change, so only the stretches around others go through
 * utf8proc: from the character before one to the next below U+0300. */
#include "base/utf8.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <utf8proc.h>

bool normalise_repair(const char **text, size_t *bytes, buffer *held)
{
    if (utf8_valid(*text, *bytes))
        return true;
    for (size_t i = 0, run = 0; i < *bytes || run < i;) {
        int32_t code = 0;
        size_t length = i < *bytes ? utf8_decode(*text + i, *bytes - i, &code) : 0;
        if (length && code >= 0) {
            i += length;
            continue;
        }
        if (!buffer_append(held, *text + run, i - run) || (length && !buffer_append(held, "\xEF\xBF\xBD", 3)))
            return false;
        i += length;
        run = i;
    }
    *text = held->data;
    *bytes = held->size;
    return true;
}

/* The lead byte of U+0300 and of everything above it is at least 0xCC; no continuation byte is. */
static bool is_inert(char byte)
{
    return (unsigned char)byte < 0xCC;
}

/* The end of the stretch that begins at text[i], a character that is not inert: the next inert character. */
static size_t stretch_end(const char *text, size_t bytes, size_t i)
{
    while (i < bytes && (!is_inert(text[i]) || ((unsigned char)text[i] & 0xC0) == 0x80))
        i++;
    return i;
}

static bool append_nfc(const char *text, size_t bytes, buffer *out)
{
    utf8proc_uint8_t *normal = NULL;
    utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &normal,
                                           UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    bool ok = length >= 0 && buffer_append(out, normal, (size_t)length);
    free(normal);
    return ok;
}

bool normalise_nfc(const char **text, size_t *bytes, buffer *held)
{
    const char *from = *text;
    size_t done = 0, i = 0;
    while (i < *bytes) {
        if (is_inert(from[i])) {
            i++;
            continue;
        }
        size_t start = i;
        while (start > done && ((unsigned char)from[start - 1] & 0xC0) == 0x80)
            start--;
        start -= start > done; /* the lead byte, or the ASCII character */
        i = stretch_end(from, *bytes, i);
        if (!buffer_append(held, from + done, start - done) || !append_nfc(from + start, i - start, held))
            return false;
        done = i;
    }
    if (done == 0)
        return true;
    if (!buffer_append(held, from + done, *bytes - done))
        return false;
    *text = held->data;
    *bytes = held->size;
    return true;
}
