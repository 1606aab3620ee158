/* jinja_strings: cutting, searching and changing text, every byte keeping its mark. What Python's str methods do. */
#include "base/utf8.h"
#include "text/jinja.h"

#include <string.h>
#include <utf8proc.h>

bool jinja_is_space(int32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
           code == 0x205F || code == 0x3000;
}

size_t jinja_characters(const char *bytes, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)bytes[i] & 0xC0) != 0x80;
    return count;
}

size_t jinja_character_offset(const jinja_text *text, size_t index)
{
    size_t at = 0;
    for (; at < text->length; at++)
        if (((unsigned char)text->bytes[at] & 0xC0) != 0x80 && index-- == 0)
            break;
    return at;
}

size_t jinja_find(const char *bytes, size_t length, size_t from, const char *what, size_t what_length)
{
    if (from > length || what_length > length - from)
        return SIZE_MAX;
    if (what_length == 0)
        return from;
    const char *found = memmem(bytes + from, length - from, what, what_length);
    return found ? (size_t)(found - bytes) : SIZE_MAX;
}

/* Whether the character at text[at] is to go: one of `set`, whose search is paid for first, or whitespace without one. Not
 * when the steps are used up. */
static bool strips(jinja_run *run, const char *at, size_t length, int32_t code, const jinja_text *set)
{
    if (!set)
        return jinja_is_space(code);
    return jinja_steps(run, 1 + set->length / 64) && jinja_find(set->bytes, set->length, 0, at, length) != SIZE_MAX;
}

/* The start of the character that ends before `end`. */
static size_t previous(const char *bytes, size_t end)
{
    do
        end--;
    while (end > 0 && ((unsigned char)bytes[end] & 0xC0) == 0x80);
    return end;
}

bool jinja_strip(jinja_run *run, const jinja_text *text, const jinja_text *set, bool left, bool right, jinja_value *out)
{
    size_t from = 0, to = text->length;
    int32_t code;
    while (left && from < to) {
        size_t length = utf8_decode(text->bytes + from, to - from, &code);
        if (!strips(run, text->bytes + from, length, code, set))
            break;
        from += length;
    }
    while (right && to > from) {
        size_t start = previous(text->bytes, to);
        utf8_decode(text->bytes + start, to - start, &code);
        if (!strips(run, text->bytes + start, to - start, code, set))
            break;
        to = start;
    }
    return jinja_steps(run, 1 + (text->length - (to - from)) / 16) && jinja_slice_text(run, text, from, to, out);
}

/* An empty `old` is found before every character and at the end. */
bool jinja_replace(jinja_run *run, const jinja_text *text, const jinja_text *old, const jinja_text *with, int64_t limit,
                   jinja_value *out)
{
    jinja_builder b = {0};
    size_t from = 0, search = 0;
    while (limit != 0) {
        size_t at = jinja_find(text->bytes, text->length, search, old->bytes, old->length);
        if (at == SIZE_MAX)
            break;
        if (!jinja_steps(run, 1 + (at - search) / 64) || !jinja_put_slice(run, &b, text, from, at) ||
            !jinja_put_text(run, &b, with))
            return false;
        from = at + old->length;
        search = from;
        if (old->length == 0) {
            int32_t code;
            if (at == text->length)
                break;
            search += utf8_decode(text->bytes + at, text->length - at, &code);
        }
        limit -= limit > 0;
    }
    return jinja_steps(run, 1 + (text->length - from) / 64) && jinja_put_slice(run, &b, text, from, text->length) &&
           jinja_finish(run, &b, out);
}

static bool push_slice(jinja_run *run, jinja_values *parts, const jinja_text *text, size_t from, size_t to)
{
    jinja_value part;
    return jinja_steps(run, 1 + (to - from) / 64) && jinja_slice_text(run, text, from, to, &part) &&
           jinja_push(run, parts, part);
}

/* Words between runs of whitespace; the last part is the rest, without the whitespace around it. */
static bool split_words(jinja_run *run, const jinja_text *text, int64_t limit, jinja_values *parts)
{
    size_t at = 0, length;
    int32_t code = 0;
    for (;;) {
        for (; at < text->length; at += length) {
            length = utf8_decode(text->bytes + at, text->length - at, &code);
            if (!jinja_is_space(code))
                break;
        }
        if (at == text->length)
            return true;
        size_t from = at, end = at;
        for (; at < text->length; at += length) {
            length = utf8_decode(text->bytes + at, text->length - at, &code);
            if (!jinja_is_space(code))
                end = at + length;
            else if (limit != 0)
                break;
        }
        if (!push_slice(run, parts, text, from, end))
            return false;
        limit -= limit > 0;
    }
}

bool jinja_split(jinja_run *run, const jinja_text *text, const jinja_text *separator, int64_t limit, jinja_value *out)
{
    jinja_values parts = {0};
    if (!separator)
        return split_words(run, text, limit, &parts) && jinja_make_list(run, parts.items, parts.count, out);
    if (separator->length == 0)
        return jinja_fail(run, "empty separator");
    size_t from = 0;
    for (; limit != 0; limit -= limit > 0) {
        size_t at = jinja_find(text->bytes, text->length, from, separator->bytes, separator->length);
        if (at == SIZE_MAX)
            break;
        if (!push_slice(run, &parts, text, from, at))
            return false;
        from = at + separator->length;
    }
    return push_slice(run, &parts, text, from, text->length) && jinja_make_list(run, parts.items, parts.count, out);
}

static bool is_letter(int32_t code)
{
    utf8proc_category_t category = utf8proc_category(code);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

/* The character in the case that its place in the text asks for; *begins: whether it begins a word, and then
 * whether the next does. */
static int32_t change_character(int32_t code, jinja_case how, bool *begins)
{
    bool first = *begins;
    switch (how) {
    case CASE_UPPER:
        return utf8proc_toupper(code);
    case CASE_LOWER:
        return utf8proc_tolower(code);
    case CASE_CAPITALIZE:
        *begins = false;
        break;
    /* str.title: words are runs of letters. */
    case CASE_WORDS:
        *begins = !is_letter(code);
        break;
    /* Jinja's title: words end at blanks, hyphens and opening brackets. */
    case CASE_TITLE:
        *begins = jinja_is_space(code) || (code < 0x80 && code > 0 && strchr("-({[<", code));
        break;
    }
    return first ? utf8proc_totitle(code) : utf8proc_tolower(code);
}

bool jinja_change_case(jinja_run *run, const jinja_text *text, jinja_case how, jinja_value *out)
{
    jinja_builder b = {0};
    bool begins = true;
    for (size_t at = 0; at < text->length;) {
        int32_t code;
        char encoded[4];
        size_t length = utf8_decode(text->bytes + at, text->length - at, &code);
        size_t written = utf8_encode(change_character(code, how, &begins), encoded);
        if (!jinja_put(run, &b, encoded, written, jinja_trusted(text, at)))
            return false;
        at += length;
    }
    return jinja_steps(run, 1 + text->length / 8) && jinja_finish(run, &b, out);
}
