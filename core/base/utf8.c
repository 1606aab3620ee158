#include "base/utf8.h"

/* The range of the second byte decides overlong forms, surrogates and the end of Unicode (table 3-7 of the standard). */
static size_t sequence_length(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 2;
    if (lead >= 0xE0 && lead <= 0xEF) {
        if (lead == 0xE0)
            *low = 0xA0;
        if (lead == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        if (lead == 0xF0)
            *low = 0x90;
        if (lead == 0xF4)
            *high = 0x8F;
        return 4;
    }
    return 0;
}

/* Length of the valid prefix of the sequence at `text`, at least 1; *need is the length it would have when whole. */
static size_t valid_prefix(const unsigned char *text, size_t bytes, size_t *need)
{
    unsigned char low, high;
    *need = sequence_length(text[0], &low, &high);
    if (*need == 0)
        return 1;
    size_t have = 1;
    while (have < *need && have < bytes && text[have] >= low && text[have] <= high) {
        low = 0x80;
        high = 0xBF;
        have++;
    }
    return have;
}

size_t utf8_decode(const char *text, size_t bytes, int32_t *code)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) {
        *code = p[0];
        return 1;
    }
    size_t need, have = valid_prefix(p, bytes, &need);
    if (need == 0 || have < need) {
        *code = -1;
        return have;
    }
    int32_t value = p[0] & (0xFF >> (need + 1));
    for (size_t i = 1; i < need; i++)
        value = value << 6 | (p[i] & 0x3F);
    *code = value;
    return need;
}

size_t utf8_encode(int32_t code, char out[4])
{
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        code = 0xFFFD;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)((0xF00 >> length & 0xFF) | code);
    return length;
}

bool utf8_valid(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        int32_t code;
        i += utf8_decode(text + i, bytes - i, &code);
        if (code < 0)
            return false;
    }
    return true;
}

size_t utf8_incomplete_tail(const char *text, size_t bytes)
{
    for (size_t back = 1; back <= 3 && back <= bytes; back++) {
        const unsigned char *p = (const unsigned char *)text + bytes - back;
        if ((p[0] & 0xC0) == 0x80)
            continue;
        size_t need, have = valid_prefix(p, back, &need);
        return need > back && have == back ? back : 0;
    }
    return 0;
}
