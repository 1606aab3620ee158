/* jinja_parse_literal: strings with Python's escapes, and numbers. */
#include "base/utf8.h"
#include "text/jinja.h"

#include <string.h>

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "xHH", "uHHHH", "UHHHHHHHH" at text[at]: the character, or -1; *length is what it takes. */
static int32_t hex_escape(const char *text, size_t at, size_t end, size_t *length)
{
    size_t digits = text[at] == 'x' ? 2 : text[at] == 'u' ? 4 : 8;
    if (end - at <= digits)
        return -1;
    uint32_t code = 0;
    for (size_t i = 1; i <= digits; i++) {
        int digit = hex_digit(text[at + i]);
        if (digit < 0)
            return -1;
        code = code << 4 | (uint32_t)digit;
    }
    *length = digits + 1;
    return code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF) ? -1 : (int32_t)code;
}

static int32_t octal_escape(const char *text, size_t at, size_t end, size_t *length)
{
    int32_t code = 0;
    for (*length = 0; *length < 3 && at + *length < end && text[at + *length] >= '0' && text[at + *length] <= '7';
         ++*length)
        code = code * 8 + (text[at + *length] - '0');
    return code;
}

/* One escape behind its backslash: appends it to `out` and returns how many bytes it took, 0 when it is malformed. */
static size_t put_escape(const char *text, size_t at, size_t end, char *out, size_t *written)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *simple = strchr(from, text[at]);
    size_t length = 1;
    if (simple && *simple) {
        out[(*written)++] = to[simple - from];
    } else if (text[at] == '\n') {
        return 1; /* a line that goes on */
    } else if (strchr("xuU", text[at]) && text[at]) {
        int32_t code = hex_escape(text, at, end, &length);
        if (code < 0)
            return 0;
        *written += utf8_encode(code, out + *written);
    } else if (text[at] >= '0' && text[at] <= '7') {
        *written += utf8_encode(octal_escape(text, at, end, &length), out + *written);
    } else { /* not an escape: both characters stay */
        out[(*written)++] = '\\';
        out[(*written)++] = text[at];
    }
    return length;
}

/* Appends what the string token stands for; no escape is longer than its spelling. */
static bool unescape(jinja_parser *p, const jinja_token *token, char *out, size_t *written)
{
    const char *text = token->start;
    for (size_t i = 1, end = token->length - 1; i < end;) {
        if (text[i] != '\\' || i + 1 == end) {
            out[(*written)++] = text[i++];
            continue;
        }
        size_t length = put_escape(text, i + 1, end, out, written);
        if (length == 0)
            return parser_fail(p, "a string has a malformed escape");
        i += 1 + length;
    }
    return true;
}

/* Neighbouring strings are one. */
const jinja_node *parse_string_literal(jinja_parser *p)
{
    size_t bytes = 0, count = 0, length = 0;
    while (p->token[count].kind == TOKEN_STRING)
        bytes += p->token[count++].length;
    jinja_node *node = parser_node(p, NODE_CONST, NULL, NULL, NULL);
    jinja_text *text = arena_alloc(p->memory, sizeof *text);
    char *out = arena_alloc(p->memory, bytes);
    if (!node || !text || !out)
        return parser_fail(p, "out of memory");
    for (; count; count--, p->token++)
        if (!unescape(p, p->token, out, &length))
            return NULL;
    *text = (jinja_text){.bytes = out, .length = length, .trusted = true};
    node->constant = jinja_from_text(text);
    return node;
}

const jinja_node *parse_integer_literal(jinja_parser *p)
{
    const jinja_token *token = p->token;
    int64_t value = 0, base = 10;
    size_t i = 0;
    if (token->length > 2 && token->start[0] == '0' && hex_digit(token->start[1]) != 0) {
        char letter = (char)(token->start[1] | 0x20);
        base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
        i = base == 10 ? 0 : 2;
    }
    for (; i < token->length; i++) {
        int digit = hex_digit(token->start[i]);
        if (token->start[i] == '_')
            continue;
        if (digit < 0 || digit >= base || __builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return parser_fail(p, "\"%.*s\" is not a number, or too large a one",
                               (int)(token->length < 64 ? token->length : 64), token->start);
    }
    jinja_node *node = parser_node(p, NODE_CONST, NULL, NULL, NULL);
    if (!node)
        return NULL;
    node->constant = jinja_int(value);
    node->constant.trusted = true;
    p->token++;
    return node;
}

const jinja_node *parse_real_literal(jinja_parser *p)
{
    char digits[128];
    size_t length = 0;
    for (size_t i = 0; i < p->token->length && length < sizeof digits; i++)
        if (p->token->start[i] != '_')
            digits[length++] = p->token->start[i];
    double value;
    if (length == sizeof digits || !jinja_parse_float(digits, length, &value))
        return parser_fail(p, "a number that cannot be read");
    jinja_node *node = parser_node(p, NODE_CONST, NULL, NULL, NULL);
    if (!node)
        return NULL;
    node->constant = jinja_float(value);
    node->constant.trusted = true;
    p->token++;
    return node;
}
