/* jinja_text: text with provenance as it is built, and values as Python prints them.
 *
 * A builder keeps one mark beside every byte. Everything that a value's printing adds of its own (quotes, brackets, words
 * like None) is untrusted: only the template's own text and trusted variables can spell a special token. */
#include "base/checked.h"
#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

bool jinja_trusted(const jinja_text *text, size_t at)
{
    return text->marks ? text->marks[at] : text->trusted;
}

/* --- building --------------------------------------------------------------------------------------------------------- */

/* Room for `more` bytes, in the arena: the marks lie behind the bytes. */
static bool grow(jinja_run *run, jinja_builder *b, size_t more)
{
    size_t need, capacity = b->capacity ? b->capacity * 2 : 64;
    if (!checked_add(b->length, more, &need))
        return jinja_fail_limit(run, "makes too long a text");
    if (need <= b->capacity)
        return true;
    if (capacity < need || b->capacity == 0)
        capacity = need < 24 ? 24 : need;
    char *bytes = jinja_alloc(run, capacity, 2);
    if (!bytes)
        return false;
    if (b->length) {
        memcpy(bytes, b->bytes, b->length);
        memcpy(bytes + capacity, b->marks, b->length);
    }
    b->bytes = bytes;
    b->marks = (unsigned char *)bytes + capacity;
    b->capacity = capacity;
    return true;
}

/* At the root: straight into the caller's buffers. */
static bool put_out(jinja_run *run, jinja_builder *b, const char *bytes, const unsigned char *marks, size_t length,
                    bool trusted)
{
    if (length > run->max_output - b->length)
        return jinja_fail_limit(run, "writes more than its limit allows");
    if (!buffer_reserve(b->out, length) || !buffer_reserve(b->trusted, length)) {
        run->status = error_set(run->error, BP_ENOMEM, "out of memory for a chat template");
        return false;
    }
    buffer_append(b->out, bytes, length);
    if (marks) {
        buffer_append(b->trusted, marks, length);
    } else {
        memset(b->trusted->data + b->trusted->size, trusted, length);
        b->trusted->size += length;
        b->trusted->data[b->trusted->size] = '\0';
    }
    b->length += length;
    return true;
}

static bool put(jinja_run *run, jinja_builder *b, const char *bytes, const unsigned char *marks, size_t length,
                bool trusted)
{
    if (length == 0)
        return true;
    if (!jinja_steps(run, length / 128))
        return false;
    if (b->out)
        return put_out(run, b, bytes, marks, length, trusted);
    if (!grow(run, b, length))
        return false;
    memcpy(b->bytes + b->length, bytes, length);
    if (marks)
        memcpy(b->marks + b->length, marks, length);
    else
        memset(b->marks + b->length, trusted, length);
    b->length += length;
    return true;
}

bool jinja_put(jinja_run *run, jinja_builder *b, const char *bytes, size_t length, bool trusted)
{
    return put(run, b, bytes, NULL, length, trusted);
}

bool jinja_put_slice(jinja_run *run, jinja_builder *b, const jinja_text *text, size_t from, size_t to)
{
    return put(run, b, text->bytes + from, text->marks ? text->marks + from : NULL, to - from, text->trusted);
}

bool jinja_put_text(jinja_run *run, jinja_builder *b, const jinja_text *text)
{
    return jinja_put_slice(run, b, text, 0, text->length);
}

bool jinja_finish(jinja_run *run, jinja_builder *b, jinja_value *out)
{
    jinja_text *text = jinja_alloc(run, 1, sizeof *text);
    if (!text)
        return false;
    *text = (jinja_text){.bytes = b->length ? b->bytes : "", .marks = b->marks, .length = b->length};
    *out = jinja_from_text(text);
    return true;
}

bool jinja_slice_text(jinja_run *run, const jinja_text *text, size_t from, size_t to, jinja_value *out)
{
    jinja_text *slice = jinja_alloc(run, 1, sizeof *slice);
    if (!slice)
        return false;
    *slice = (jinja_text){text->bytes + from, text->marks ? text->marks + from : NULL, to - from, text->trusted};
    *out = jinja_from_text(slice);
    return true;
}

/* --- printing --------------------------------------------------------------------------------------------------------- */

/* The fewest digits that read back as `n`: digits[] without a point, and the exponent of the first. Nothing here depends on
 * the locale's decimal sign. */
static int shortest_digits(double n, char digits[20], int *exponent)
{
    char text[40];
    for (int precision = 0; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, n);
        if (strtod(text, NULL) == n)
            break;
    }
    int count = 0;
    const char *c = text;
    for (; *c && *c != 'e'; c++)
        if (*c >= '0' && *c <= '9' && count < 19)
            digits[count++] = *c;
    *exponent = *c ? atoi(c + 1) : 0;
    while (count > 1 && digits[count - 1] == '0')
        count--;
    digits[count] = '\0';
    return count;
}

/* As Python's repr: plain from 1e-4 up to 1e16, and else with an exponent of two digits or more. */
void jinja_print_float(double n, char out[40])
{
    if (!isfinite(n)) {
        snprintf(out, 40, "%s", isnan(n) ? "nan" : n < 0 ? "-inf" : "inf");
        return;
    }
    char digits[20];
    int exponent, count = shortest_digits(fabs(n), digits, &exponent);
    const char *sign = signbit(n) ? "-" : "";
    if (exponent < -4 || exponent >= 16)
        snprintf(out, 40, "%s%c%s%se%c%02d", sign, digits[0], count > 1 ? "." : "", digits + 1, exponent < 0 ? '-' : '+',
                 abs(exponent));
    else if (exponent < 0)
        snprintf(out, 40, "%s0.%.*s%s", sign, -exponent - 1, "000", digits);
    else if (count <= exponent + 1)
        snprintf(out, 40, "%s%s%.*s.0", sign, digits, exponent + 1 - count, "0000000000000000");
    else
        snprintf(out, 40, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
}

static bool put_word(jinja_run *run, jinja_builder *b, const char *word, bool trusted)
{
    return jinja_put(run, b, word, strlen(word), trusted);
}

static bool put_number(jinja_run *run, jinja_builder *b, jinja_value v)
{
    char text[40];
    if (v.kind == JINJA_BOOL)
        return put_word(run, b, v.as.truth ? "True" : "False", v.trusted);
    if (v.kind == JINJA_INT)
        snprintf(text, sizeof text, "%" PRId64, v.as.integer);
    else
        jinja_print_float(v.as.number, text);
    return put_word(run, b, text, v.trusted);
}

/* What Python's repr escapes as \x, \u or \U: control, format, unassigned and private characters, and all blanks but
 * one. */
static bool is_printable(int32_t code)
{
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return code == ' ';
    default:
        return true;
    }
}

/* The escape of a character in a string quoted with `quote`; "" where it stands for itself. */
static void escape_repr(int32_t code, char quote, char out[16])
{
    out[0] = '\0';
    if (code == '\\' || code == quote)
        snprintf(out, 16, "\\%c", (char)code);
    else if (code == '\n' || code == '\r' || code == '\t')
        snprintf(out, 16, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    else if (code >= 0x20 && code < 0x7F)
        return;
    else if (!is_printable(code))
        snprintf(out, 16, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)code);
}

static bool put_quoted(jinja_run *run, jinja_builder *b, const jinja_text *text)
{
    bool single = text->length && memchr(text->bytes, '\'', text->length);
    char quote = single && !memchr(text->bytes, '"', text->length) ? '"' : '\'';
    size_t from = 0;
    if (!jinja_put(run, b, &quote, 1, false) || !jinja_steps(run, text->length / 16))
        return false;
    for (size_t at = 0; at < text->length;) {
        int32_t code;
        char escape[16];
        size_t length = utf8_decode(text->bytes + at, text->length - at, &code);
        escape_repr(code, quote, escape);
        if (*escape) {
            if (!jinja_put_slice(run, b, text, from, at) || !put_word(run, b, escape, jinja_trusted(text, at)))
                return false;
            from = at + length;
        }
        at += length;
    }
    return jinja_put_slice(run, b, text, from, text->length) && jinja_put(run, b, &quote, 1, false);
}

static bool put_repr(jinja_run *run, jinja_builder *b, jinja_value v);

static bool put_list(jinja_run *run, jinja_builder *b, jinja_value v)
{
    const jinja_list *list = v.as.list;
    bool tuple = v.kind == JINJA_TUPLE, ok = put_word(run, b, tuple ? "(" : "[", false);
    for (size_t i = 0; ok && i < list->count; i++)
        ok = (i == 0 || put_word(run, b, ", ", false)) && put_repr(run, b, list->items[i]);
    return ok && put_word(run, b, !tuple ? "]" : list->count == 1 ? ",)" : ")", false);
}

static bool put_dict(jinja_run *run, jinja_builder *b, const jinja_dict *dict)
{
    bool ok = put_word(run, b, "{", false);
    for (size_t i = 0; ok && i < dict->count; i++)
        ok = (i == 0 || put_word(run, b, ", ", false)) && put_repr(run, b, dict->pairs[i].key) &&
             put_word(run, b, ": ", false) && put_repr(run, b, dict->pairs[i].value);
    return ok && put_word(run, b, "}", false);
}

static bool put_repr(jinja_run *run, jinja_builder *b, jinja_value v)
{
    if (!jinja_steps(run, 1))
        return false;
    switch ((jinja_kind)v.kind) {
    case JINJA_NONE:
        return put_word(run, b, "None", false);
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_FLOAT:
        return put_number(run, b, v);
    case JINJA_TEXT:
        return put_quoted(run, b, v.as.text);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT: {
        if (!jinja_enter(run))
            return false;
        bool ok = v.kind == JINJA_DICT ? put_dict(run, b, v.as.dict) : put_list(run, b, v);
        jinja_leave(run);
        return ok;
    }
    case JINJA_NAMESPACE:
        return put_word(run, b, "<Namespace>", false);
    case JINJA_LOOP:
        return put_word(run, b, "<LoopContext>", false);
    case JINJA_CALLABLE:
        return put_word(run, b, "<function>", false);
    default:
        return put_word(run, b, "Undefined", false);
    }
}

bool jinja_put_value(jinja_run *run, jinja_builder *b, jinja_value v)
{
    if (v.kind == JINJA_TEXT)
        return jinja_put_text(run, b, v.as.text);
    return v.kind == JINJA_UNDEFINED || put_repr(run, b, v);
}

bool jinja_to_text(jinja_run *run, jinja_value v, const jinja_text **out)
{
    jinja_builder builder = {0};
    jinja_value text = v;
    if (v.kind != JINJA_TEXT && !(jinja_put_value(run, &builder, v) && jinja_finish(run, &builder, &text)))
        return false;
    *out = text.as.text;
    return true;
}
