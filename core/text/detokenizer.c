/* detokenizer: bytes of tokens come in, whole characters go out.
 *
 * Held: the bytes at the end that begin a character which more bytes could complete, at most three. Every other invalid
 * sequence becomes one U+FFFD per maximal subpart at once. */
#include "base/utf8.h"
#include "text/tokenizer.h"

#include <string.h>

static bool append_replacement(buffer *out)
{
    return buffer_append(out, "\xEF\xBF\xBD", 3);
}

/* Appends all characters of `bytes`; with `more` to come, keeps an incomplete tail in *d. */
static bool push_bytes(detokenizer *d, const char *bytes, size_t count, bool more, buffer *out)
{
    size_t tail = more ? utf8_incomplete_tail(bytes, count) : 0;
    for (size_t i = 0, run = 0; i < count - tail || run < i;) {
        int32_t code = 0;
        size_t length = i < count - tail ? utf8_decode(bytes + i, count - tail - i, &code) : 0;
        if (length && code >= 0) {
            i += length;
            continue;
        }
        if (!buffer_append(out, bytes + run, i - run) || (length && !append_replacement(out)))
            return false;
        i += length;
        run = i;
    }
    memcpy(d->held, bytes + count - tail, tail);
    d->held_count = (uint8_t)tail;
    return true;
}

bool detokenizer_push(detokenizer *d, const tokenizer *t, int32_t id, buffer *out)
{
    if (tokenizer_is_special(t, id) && !d->emit_special)
        return true;
    text_piece piece = tokenizer_bytes(t, id);
    size_t before = out->size;
    const char *bytes = piece.bytes;
    size_t count = piece.length;
    buffer joined = {0};
    if (d->held_count) {
        if (!buffer_append(&joined, d->held, d->held_count) || !buffer_append(&joined, bytes, count)) {
            buffer_free(&joined);
            return false;
        }
        bytes = joined.data;
        count = joined.size;
    }
    detokenizer next = *d;
    bool ok = push_bytes(&next, bytes, count, true, out);
    buffer_free(&joined);
    if (!ok) {
        out->size = before;
        return false;
    }
    *d = next;
    return true;
}

bool detokenizer_finish(detokenizer *d, buffer *out)
{
    if (d->held_count && !append_replacement(out))
        return false;
    d->held_count = 0;
    return true;
}
