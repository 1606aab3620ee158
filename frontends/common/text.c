#include "common/text.h"

#include <stdlib.h>
#include <string.h>

void text_free(text *t)
{
    free(t->data);
    *t = (text){0};
}

void text_cut(text *t, size_t size)
{
    t->size = size;
    if (t->data)
        t->data[size] = '\0';
}

void text_clear(text *t)
{
    text_cut(t, 0);
}

static bool reserve(text *t, size_t more)
{
    if (more > SIZE_MAX / 4 || t->size > SIZE_MAX / 4)
        return false;
    size_t needed = t->size + more + 1;
    if (needed <= t->capacity)
        return true;
    size_t capacity = t->capacity < 128 ? 128 : t->capacity;
    while (capacity < needed)
        capacity += capacity / 2;
    char *data = realloc(t->data, capacity);
    if (!data)
        return false;
    t->data = data;
    t->capacity = capacity;
    return true;
}

bool text_append(text *t, const void *bytes, size_t count)
{
    if (!reserve(t, count))
        return false;
    if (count)
        memcpy(t->data + t->size, bytes, count);
    t->size += count;
    t->data[t->size] = '\0';
    return true;
}

bool text_append_clean(text *t, const char *bytes, size_t count)
{
    size_t before = t->size, good = 0; /* bytes[0, good) are whole characters that are not yet appended */
    while (good < count) {
        int32_t code;
        size_t length = utf8_next(bytes + good, count - good, &code);
        if (code > 0) {
            good += length;
            continue;
        }
        if (!text_append(t, bytes, good) || !text_append(t, "\xEF\xBF\xBD", 3)) {
            t->size = before;
            return false;
        }
        bytes += good + length;
        count -= good + length;
        good = 0;
    }
    if (text_append(t, bytes, good))
        return true;
    t->size = before;
    return false;
}

const char *text_string(const text *t)
{
    return t->data ? t->data : "";
}

/* --- UTF-8 -------------------------------------------------------------------------------------------------------- */

/* The length that a first byte asks for, 0 if it is none, and the range of the second byte (Unicode 15, table 3-7). */
static size_t sequence_of(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    if (first == 0xE0)
        *low = 0xA0;
    if (first == 0xED)
        *high = 0x9F;
    if (first == 0xF0)
        *low = 0x90;
    if (first == 0xF4)
        *high = 0x8F;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

size_t utf8_next(const char *string, size_t bytes, int32_t *code)
{
    const unsigned char *s = (const unsigned char *)string;
    unsigned char low, high;
    size_t length = sequence_of(s[0], &low, &high);
    if (length == 1) {
        *code = s[0];
        return 1;
    }
    *code = -1;
    if (length == 0)
        return 1;
    int32_t value = s[0] & (0x7F >> length);
    for (size_t i = 1; i < length; i++) {
        if (i >= bytes || s[i] < low || s[i] > high)
            return i;
        value = value << 6 | (s[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    *code = value;
    return length;
}

bool utf8_begins(const char *string, size_t bytes)
{
    unsigned char low, high;
    int32_t code;
    return sequence_of((unsigned char)string[0], &low, &high) > bytes && utf8_next(string, bytes, &code) == bytes;
}
