/* jinja_lexer: source to tokens.
 *
 * Whitespace control follows Jinja's lexer with trim_blocks and lstrip_blocks: the newline after a block or comment goes,
 * blanks before one that begins its line go, `-` takes all whitespace on its side and `+` keeps it. Only a tag's own
 * brackets can hide its end: inside ( [ {, "}}" and "%}" are operators. */
#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BRACKETS = JINJA_MAX_NESTING };

typedef struct lexer {
    const char *source;
    size_t bytes, at;
    uint32_t line;
    size_t counted; /* newlines before it are in `line` */
    bool line_starting;
    jinja_tokens *tokens;
    bp_error *error;
} lexer;

static bp_status lexer_fail(lexer *l, const char *what)
{
    return error_set(l->error, BP_EINVAL, "chat template line %u: %s", l->line, what);
}

static uint32_t line_at(lexer *l, size_t at)
{
    for (; l->counted < at; l->counted++)
        l->line += l->source[l->counted] == '\n';
    return l->line;
}

static bool add_token(lexer *l, uint8_t kind, size_t start, size_t length)
{
    jinja_tokens *tokens = l->tokens;
    if (tokens->count == tokens->capacity) {
        size_t capacity = tokens->capacity ? tokens->capacity * 2 : 256;
        jinja_token *list = realloc(tokens->list, capacity * sizeof *list);
        if (!list)
            return false;
        tokens->list = list;
        tokens->capacity = capacity;
    }
    tokens->list[tokens->count++] = (jinja_token){kind, line_at(l, start), l->source + start, length};
    return true;
}

static bp_status out_of_memory(lexer *l)
{
    return error_set(l->error, BP_ENOMEM, "out of memory for a chat template");
}

static bool starts(const lexer *l, size_t at, const char *text)
{
    size_t length = strlen(text);
    return l->bytes - at >= length && memcmp(l->source + at, text, length) == 0;
}

/* Length of the whitespace character at `at`, or 0. */
static size_t space_at(const lexer *l, size_t at)
{
    if (at >= l->bytes)
        return 0;
    int32_t code;
    size_t length = utf8_decode(l->source + at, l->bytes - at, &code);
    return jinja_is_space(code) ? length : 0;
}

static size_t skip_spaces(const lexer *l, size_t at)
{
    for (size_t length; (length = space_at(l, at)) != 0;)
        at += length;
    return at;
}

/* The end of text[start, end) without the whitespace at its end. */
static size_t strip_right(const lexer *l, size_t start, size_t end)
{
    size_t kept = start;
    for (size_t at = start; at < end;) {
        int32_t code;
        at += utf8_decode(l->source + at, end - at, &code);
        if (!jinja_is_space(code))
            kept = at;
    }
    return kept;
}

/* Emits the data before a tag whose sign is `sign`. */
static bool add_data(lexer *l, size_t start, size_t end, char sign, bool variable)
{
    if (sign == '-') {
        end = strip_right(l, start, end);
    } else if (sign != '+' && !variable) {
        size_t line = end;
        while (line > start && l->source[line - 1] != '\n')
            line--;
        if ((line > start || l->line_starting) && line < end && strip_right(l, line, end) == line)
            end = line;
    }
    return end == start || add_token(l, TOKEN_DATA, start, end - start);
}

/* The end of a tag at `at`: `text` with an optional sign before it. Returns what it consumes, or 0. */
static size_t tag_end(const lexer *l, size_t at, const char *text, bool trims)
{
    if (at >= l->bytes)
        return 0;
    if (l->source[at] == '-' && starts(l, at + 1, text))
        return skip_spaces(l, at + 3) - at;
    if (l->source[at] == '+' && trims && starts(l, at + 1, text))
        return 3;
    if (!starts(l, at, text))
        return 0;
    return trims && at + 2 < l->bytes && l->source[at + 2] == '\n' ? 3 : 2;
}

static void consume(lexer *l, size_t length)
{
    l->at += length;
    l->line_starting = length && l->source[l->at - 1] == '\n';
}

static bp_status lex_comment(lexer *l)
{
    for (size_t at = l->at; at < l->bytes; at++) {
        size_t length = tag_end(l, at, "#}", true);
        if (length) {
            l->at = at;
            consume(l, length);
            return BP_OK;
        }
    }
    line_at(l, l->at);
    return lexer_fail(l, "a comment is not closed: #} is missing");
}

/* "raw" or "endraw" as a whole tag after its "{%" and sign; returns where it ends, or 0. */
static size_t raw_tag(const lexer *l, size_t at, const char *word, bool trims)
{
    at = skip_spaces(l, at);
    if (!starts(l, at, word))
        return 0;
    at = skip_spaces(l, at + strlen(word));
    size_t length = tag_end(l, at, "%}", trims);
    if (length && !trims && l->source[at] == '%')
        length = 2;
    return length ? at + length : 0;
}

static bp_status lex_raw(lexer *l)
{
    size_t start = l->at;
    for (size_t at = start; at < l->bytes; at++) {
        if (!starts(l, at, "{%"))
            continue;
        size_t inside = at + 2;
        char sign = inside < l->bytes && (l->source[inside] == '-' || l->source[inside] == '+') ? l->source[inside] : 0;
        size_t end = raw_tag(l, inside + (sign != 0), "endraw", true);
        if (!end)
            continue;
        if (!add_data(l, start, at, sign, false))
            return out_of_memory(l);
        l->at = at;
        consume(l, end - at);
        return BP_OK;
    }
    line_at(l, start);
    return lexer_fail(l, "a raw block is not closed: endraw is missing");
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

/* Digits with single underscores between them. */
static size_t digits_at(const lexer *l, size_t at)
{
    size_t start = at;
    while (at < l->bytes && (is_digit(l->source[at]) ||
                             (l->source[at] == '_' && at > start && at + 1 < l->bytes && is_digit(l->source[at + 1]))))
        at++;
    return at;
}

/* Length of the number at `at`; *real when it has a fraction or an exponent. A number after a dot is an index. */
static size_t number_length(const lexer *l, size_t at, bool *real)
{
    size_t end = digits_at(l, at);
    *real = false;
    if (end == at + 1 && l->source[at] == '0' && end + 1 < l->bytes && strchr("xXoObB", l->source[end])) {
        size_t more = end + 1;
        while (more < l->bytes && (is_name(l->source[more]) && (unsigned char)l->source[more] < 0x80))
            more++;
        return more - at;
    }
    if (at > 0 && l->source[at - 1] == '.')
        return end - at;
    if (end + 1 < l->bytes && l->source[end] == '.' && is_digit(l->source[end + 1])) {
        end = digits_at(l, end + 1);
        *real = true;
    }
    if (end < l->bytes && (l->source[end] == 'e' || l->source[end] == 'E')) {
        size_t exponent = end + 1;
        if (exponent < l->bytes && (l->source[exponent] == '+' || l->source[exponent] == '-'))
            exponent++;
        if (exponent < l->bytes && is_digit(l->source[exponent])) {
            end = digits_at(l, exponent);
            *real = true;
        }
    }
    return end - at;
}

/* Length of the string at its opening quote, or 0 when it is not closed. */
static size_t string_length(const lexer *l, size_t at)
{
    char quote = l->source[at];
    for (size_t i = at + 1; i < l->bytes; i++) {
        if (l->source[i] == '\\')
            i++;
        else if (l->source[i] == quote)
            return i + 1 - at;
    }
    return 0;
}

static uint8_t long_operator(const lexer *l, size_t at)
{
    static const struct {
        char text[3];
        uint8_t kind;
    } operators[] = {
        {"==", TOKEN_EQUAL},   {"!=", TOKEN_NOT_EQUAL}, {">=", TOKEN_AT_LEAST},
        {"<=", TOKEN_AT_MOST}, {"**", TOKEN_POWER},     {"//", TOKEN_FLOOR_DIVIDE},
    };
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (starts(l, at, operators[i].text))
            return operators[i].kind;
    return 0;
}

/* One token inside a tag. */
static bp_status lex_one(lexer *l, char *brackets, size_t *depth)
{
    char c = l->source[l->at];
    size_t length = 1;
    uint8_t kind = (uint8_t)c;
    bool real;
    if (is_digit(c)) {
        length = number_length(l, l->at, &real);
        kind = real ? TOKEN_REAL : TOKEN_INTEGER;
    } else if (is_name(c)) {
        while (l->at + length < l->bytes && is_name(l->source[l->at + length]))
            length++;
        kind = TOKEN_NAME;
    } else if (c == '"' || c == '\'') {
        length = string_length(l, l->at);
        kind = TOKEN_STRING;
    } else if (long_operator(l, l->at)) {
        kind = long_operator(l, l->at);
        length = 2;
    } else if (!strchr("+-/*%~[](){}><=.:|,;", c) || c == '\0') {
        length = 0;
    }
    line_at(l, l->at);
    if (length == 0)
        return lexer_fail(l, kind == TOKEN_STRING ? "a string is not closed" : "a character that has no meaning in a tag");
    if (c == '(' || c == '[' || c == '{') {
        if (*depth == MAX_BRACKETS)
            return lexer_fail(l, "brackets are nested too deeply");
        brackets[(*depth)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (*depth == 0 || brackets[--*depth] != c)
            return lexer_fail(l, "a closing bracket without its opening one");
    }
    if (!add_token(l, kind, l->at, length))
        return out_of_memory(l);
    l->at += length;
    return BP_OK;
}

static bp_status lex_tag(lexer *l, bool variable)
{
    char brackets[MAX_BRACKETS];
    size_t depth = 0;
    for (;;) {
        size_t length = depth ? 0 : tag_end(l, l->at, variable ? "}}" : "%}", !variable);
        if (length) {
            if (!add_token(l, variable ? TOKEN_VARIABLE_END : TOKEN_BLOCK_END, l->at, 2))
                return out_of_memory(l);
            consume(l, length);
            return BP_OK;
        }
        length = space_at(l, l->at);
        l->at += length;
        if (length)
            continue;
        if (l->at >= l->bytes) {
            line_at(l, l->at);
            return lexer_fail(l, variable ? "a tag is not closed: }} is missing" : "a tag is not closed: %} is missing");
        }
        bp_status status = lex_one(l, brackets, &depth);
        if (status != BP_OK)
            return status;
    }
}

/* Everything up to and with the next tag. */
static bp_status lex_root(lexer *l)
{
    size_t start = l->at, tag = start;
    while (tag < l->bytes && !(l->source[tag] == '{' && tag + 1 < l->bytes && strchr("{%#", l->source[tag + 1]) &&
                               l->source[tag + 1] != '\0'))
        tag++;
    if (tag == l->bytes) {
        l->at = tag;
        return start == tag || add_token(l, TOKEN_DATA, start, tag - start) ? BP_OK : out_of_memory(l);
    }
    char what = l->source[tag + 1], sign = 0;
    size_t inside = tag + 2;
    if (inside < l->bytes && (l->source[inside] == '-' || l->source[inside] == '+'))
        sign = l->source[inside++];
    if (!add_data(l, start, tag, sign, what == '{'))
        return out_of_memory(l);
    size_t raw = what == '%' ? raw_tag(l, inside, "raw", false) : 0;
    l->line_starting = false;
    if (raw) {
        l->at = raw;
        l->line_starting = l->source[raw - 1] == '\n';
        return lex_raw(l);
    }
    l->at = inside;
    if (what == '#')
        return lex_comment(l);
    if (!add_token(l, what == '{' ? TOKEN_VARIABLE_BEGIN : TOKEN_BLOCK_BEGIN, tag, 2))
        return out_of_memory(l);
    return lex_tag(l, what == '{');
}

bp_status jinja_tokenize(const char *source, size_t bytes, jinja_tokens *tokens, bp_error *error)
{
    lexer l = {.source = source, .bytes = bytes, .line = 1, .line_starting = true, .tokens = tokens, .error = error};
    while (l.at < bytes) {
        bp_status status = lex_root(&l);
        if (status != BP_OK)
            return status;
    }
    return add_token(&l, TOKEN_END, bytes, 0) ? BP_OK : out_of_memory(&l);
}
