/* tokenizer_split: text to pre-tokens, with PCRE2.
 *
 * A pre-tokenizer is one row: its name, and patterns applied one after another, each to the pieces that the one before
 * left; matches and what lies between them are pieces alike. The reference is HF's `tokenizers` 0.23, whose regular
 * expressions know Unicode 16 and whose digit splitter knows Unicode 17; PCRE2 10.42 knows Unicode 14 and counts U+180E as
 * space. Therefore classes are written out below: \p{…} plus what newer Unicode added, and White_Space as a list. A newer
 * PCRE2 gives the same.
 *
 * Quantifiers are possessive where nothing after them could need a character back: the same matches without
 * backtracking. The others repeat one class, never a group or a call of one: giving a character of a class back takes no
 * memory, and each turn of a group takes some of a stack that the JIT has 32 KiB of. Match limits bound the rest. Rules are immutable; a split_state belongs to one call. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/buffer.h"
#include "base/error.h"
#include "text/tokenizer_parts.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* Inside brackets. */
#define SPACE "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define LETTER                                                                                                        \
    "\\p{L}\\x{1C89}\\x{1C8A}\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{105C0}-\\x{105F3}\\x{10D4A}-\\x{10D65}"             \
    "\\x{10D6F}-\\x{10D85}\\x{10EC2}-\\x{10EC4}\\x{1123F}\\x{11240}\\x{11380}-\\x{11389}\\x{1138B}\\x{1138E}" \
    "\\x{11390}-\\x{113B5}\\x{113B7}\\x{113D1}\\x{113D3}\\x{11BC0}-\\x{11BE0}\\x{11F02}\\x{11F04}-\\x{11F10}" \
    "\\x{11F12}-\\x{11F33}\\x{1342F}\\x{13441}-\\x{13446}\\x{13460}-\\x{143FA}\\x{16100}-\\x{1611D}\\x{16D40}-\\x{16D6C}" \
    "\\x{18CFF}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}\\x{1E5D0}-\\x{1E5ED}" \
    "\\x{1E5F0}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}"
#define NUMBER                                                                                                        \
    "\\p{N}\\x{10D40}-\\x{10D49}\\x{116D0}-\\x{116E3}\\x{11BF0}-\\x{11BF9}\\x{11F50}-\\x{11F59}\\x{16130}-\\x{16139}" \
    "\\x{16D70}-\\x{16D79}\\x{1CCF0}-\\x{1CCF9}\\x{1D2C0}-\\x{1D2D3}\\x{1E4F0}-\\x{1E4F9}\\x{1E5F1}-\\x{1E5FA}"
#define NUMBER_17 NUMBER "\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}"

/* Letters that are neither upper nor lower case, and marks; and with them what may begin and end a cased word. */
#define OTHER                                                                                                         \
    "\\p{Lm}\\p{Lo}\\p{M}"                                                                                            \
    "\\x{897}\\x{CF3}\\x{ECE}\\x{105C0}-\\x{105F3}\\x{10D4A}-\\x{10D4F}\\x{10D69}-\\x{10D6D}\\x{10D6F}"               \
    "\\x{10EC2}-\\x{10EC4}\\x{10EFC}-\\x{10EFF}\\x{1123F}-\\x{11241}\\x{11380}-\\x{11389}\\x{1138B}"                  \
    "\\x{1138E}\\x{11390}-\\x{113B5}\\x{113B7}-\\x{113C0}\\x{113C2}\\x{113C5}\\x{113C7}-\\x{113CA}"                   \
    "\\x{113CC}-\\x{113D3}\\x{113E1}\\x{113E2}\\x{11BC0}-\\x{11BE0}\\x{11F00}-\\x{11F10}"                             \
    "\\x{11F12}-\\x{11F3A}\\x{11F3E}-\\x{11F42}\\x{11F5A}\\x{1342F}\\x{13440}-\\x{13455}"                             \
    "\\x{13460}-\\x{143FA}\\x{16100}-\\x{1612F}\\x{16D40}-\\x{16D6C}\\x{18CFF}\\x{1B132}\\x{1B155}"                   \
    "\\x{1E030}-\\x{1E06D}\\x{1E08F}\\x{1E4D0}-\\x{1E4EF}\\x{1E5D0}-\\x{1E5F0}\\x{2B739}"                             \
    "\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}"
#define UPPER "\\p{Lu}\\p{Lt}\\x{1C89}\\x{A7CB}\\x{A7CC}\\x{A7DA}\\x{A7DC}\\x{10D50}-\\x{10D65}" OTHER
#define LOWER "\\p{Ll}\\x{1C8A}\\x{A7CD}\\x{A7DB}\\x{10D70}-\\x{10D85}\\x{1DF25}-\\x{1DF2A}" OTHER

#define DIGITS_ONE_BY_ONE "[" NUMBER_17 "]"
#define GPT2                                                                                                          \
    "'(?:[stmd]|re|ve|ll)| ?[" LETTER "]++| ?[" NUMBER "]++| ?[^" SPACE LETTER NUMBER "]++"                           \
    "|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]++"
/* Llama 3's, with the quantifier of its numbers left open. `(?i:…)` folds as Unicode does, the long s included. */
#define LLAMA3(number_quantifier)                                                                                     \
    "(?i:'(?:[stmd]|re|ve|ll))|[^\\r\\n" LETTER NUMBER "]?[" LETTER "]++|[" NUMBER "]" number_quantifier               \
    "| ?[^" SPACE LETTER NUMBER "]++[\\r\\n]*+|[" SPACE "]*[\\r\\n]++|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]++"

/* Words that change from upper to lower case once, and what may follow them: parts of a pattern, because one string literal
 * would be longer than C promises. */
#define CASED(number_quantifier, ending)                                                                              \
    "[^\\r\\n" LETTER NUMBER "]?", "[" UPPER "]*", "[" LOWER "]++" ending "|[^\\r\\n" LETTER NUMBER "]?",            \
    "[" UPPER "]++", "[" LOWER "]*+" ending "|[" NUMBER "]" number_quantifier                                          \
    "| ?[^" SPACE LETTER NUMBER "]++[\\r\\n/]*+|[" SPACE "]*[\\r\\n]++|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]++"

enum { MAX_PATTERNS = 2, MAX_PARTS = 5 };
enum { NORMALISE = 1, WHOLE_WORDS = 2 };

typedef struct split_row {
    const char *names; /* separated by spaces, one at each end too */
    const char *patterns[MAX_PATTERNS][MAX_PARTS]; /* each in parts; NULL ends them */
    unsigned flags;
} split_row;

static const split_row rows[] = {
    {" gpt-2 phi-2 ", {{GPT2}}, 0},
    {" smollm starcoder refact ", {{DIGITS_ONE_BY_ONE}, {GPT2}}, 0},
    {" command-r ", {{DIGITS_ONE_BY_ONE}, {GPT2}}, NORMALISE},
    {" llama-bpe llama3 llama-v3 ", {{LLAMA3("{1,3}+")}}, WHOLE_WORDS},
    {" smaug-bpe dbrx falcon3 ", {{LLAMA3("{1,3}+")}}, 0},
    {" qwen2 deepseek-r1-qwen ", {{LLAMA3("")}}, NORMALISE},
    {" tekken ", {{CASED("", "")}}, WHOLE_WORDS},
    {" gpt-4o ", {{CASED("{1,3}+", "(?i:'(?:[stmd]|re|ve|ll))?+")}}, 0},
};

struct split_rules {
    unsigned flags;
    uint32_t pattern_count;
    pcre2_code *patterns[MAX_PATTERNS];
};

struct split_state {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

enum { MATCH_LIMIT = 50 * 1000 * 1000, HEAP_LIMIT_KIB = 64 << 10 };

static const split_row *find_row(const char *pre)
{
    size_t length = strlen(pre);
    for (size_t i = 0; length && !strchr(pre, ' ') && i < sizeof rows / sizeof *rows; i++)
        for (const char *at = rows[i].names; (at = strstr(at, pre)) != NULL; at++)
            if (at[-1] == ' ' && at[length] == ' ')
                return &rows[i];
    return NULL;
}

static bp_status unknown_row(const char *pre, bp_error *error)
{
    buffer names = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        buffer_text(&names, rows[i].names + (i ? 1 : 0));
    bp_status status = error_set(error, BP_EUNSUPPORTED, "the pre-tokenizer \"%.64s\" is not supported; these are:%s", pre,
                                 names.data ? names.data : "");
    buffer_free(&names);
    return status;
}

static bp_status compile(const char *pre, const char *const parts[MAX_PARTS], pcre2_code **out, bp_error *error)
{
    buffer whole = {0};
    bool good = true;
    for (size_t i = 0; i < MAX_PARTS && parts[i]; i++)
        good = good && buffer_text(&whole, parts[i]);
    int code = PCRE2_ERROR_NOMEMORY;
    PCRE2_SIZE offset = 0;
    if (good)
        *out = pcre2_compile((PCRE2_SPTR)whole.data, whole.size, PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    buffer_free(&whole);
    if (!*out)
        return error_set(error, good ? BP_EINTERNAL : BP_ENOMEM,
                         "PCRE2 refuses the pattern of pre-tokenizer \"%.64s\" at %zu (error %d)", pre, (size_t)offset, code);
    /* Where there is no JIT, matching is interpreted: slower, the same. */
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return BP_OK;
}

bp_status split_rules_new(const char *pre, split_rules **out, bp_error *error)
{
    const split_row *row = find_row(pre);
    if (!row)
        return unknown_row(pre, error);
    split_rules *rules = calloc(1, sizeof *rules);
    if (!rules)
        return error_set(error, BP_ENOMEM, "out of memory for a pre-tokenizer");
    rules->flags = row->flags;
    bp_status status = BP_OK;
    for (uint32_t i = 0; i < MAX_PATTERNS && row->patterns[i][0] && status == BP_OK; i++) {
        status = compile(pre, row->patterns[i], &rules->patterns[i], error);
        rules->pattern_count += status == BP_OK;
    }
    if (status != BP_OK)
        split_rules_free(rules);
    else
        *out = rules;
    return status;
}

void split_rules_free(split_rules *rules)
{
    for (uint32_t i = 0; rules && i < rules->pattern_count; i++)
        pcre2_code_free(rules->patterns[i]);
    free(rules);
}

bool split_rules_normalise(const split_rules *rules)
{
    return rules->flags & NORMALISE;
}

bool split_rules_whole_words(const split_rules *rules)
{
    return rules->flags & WHOLE_WORDS;
}

split_state *split_state_new(const split_rules *rules)
{
    (void)rules;
    split_state *state = calloc(1, sizeof *state);
    if (!state)
        return NULL;
    state->data = pcre2_match_data_create(1, NULL);
    state->context = pcre2_match_context_create(NULL);
    if (!state->data || !state->context) {
        split_state_free(state);
        return NULL;
    }
    pcre2_set_match_limit(state->context, MATCH_LIMIT);
    pcre2_set_heap_limit(state->context, HEAP_LIMIT_KIB);
    return state;
}

void split_state_free(split_state *state)
{
    if (!state)
        return;
    pcre2_match_data_free(state->data);
    pcre2_match_context_free(state->context);
    free(state);
}

typedef struct splitting {
    const split_rules *rules;
    split_state *state;
    split_emit emit;
    void *user;
    bp_error *error;
} splitting;

/* Applies the patterns from `level` on to one piece. Depth: MAX_PATTERNS. */
static bp_status split_piece(const splitting *s, uint32_t level, const char *text, size_t bytes)
{
    if (bytes == 0)
        return BP_OK;
    if (level == s->rules->pattern_count)
        return s->emit(s->user, text, bytes, s->error);
    for (size_t at = 0; at < bytes;) {
        int found = pcre2_match(s->rules->patterns[level], (PCRE2_SPTR)text, bytes, at, PCRE2_NO_UTF_CHECK, s->state->data,
                                s->state->context);
        if (found == PCRE2_ERROR_NOMATCH)
            return split_piece(s, level + 1, text + at, bytes - at);
        if (found < 0)
            return error_set(s->error, found == PCRE2_ERROR_NOMEMORY ? BP_ENOMEM : BP_ELIMIT,
                             "the text cannot be split into words: PCRE2 error %d", found);
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(s->state->data);
        size_t begin = range[0], end = range[1];
        bp_status status = split_piece(s, level + 1, text + at, begin - at);
        if (status == BP_OK)
            status = split_piece(s, level + 1, text + begin, end - begin);
        if (status != BP_OK)
            return status;
        at = end;
    }
    return BP_OK;
}

bp_status split_text(const split_rules *rules, split_state *state, const char *text, size_t bytes, split_emit emit,
                     void *user, bp_error *error)
{
    splitting s = {rules, state, emit, user, error};
    return split_piece(&s, 0, text, bytes);
}
