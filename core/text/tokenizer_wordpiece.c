/* tokenizer_wordpiece: text to ids as BERT does it (Schuster and Nakajima 2012, Devlin et al. 2018).
 *
 * One walk over the characters: cleaned, ideographs apart, accents stripped, lowered, and cut into words at spaces and
 * punctuation; each word into the longest pieces from its beginning, or into the one unknown token. The reference is HF's
 * `tokenizers` 0.23; wordpiece_characters.h holds its categories.
 *
 * Pieces that begin a word have a space before them in the vocabulary, and so has the word here: a piece that goes on is
 * found by the same look-up. Marks are not put into canonical order: those that it could move are stripped, but for a
 * handful of Hangul and musical ones. */
#include "base/utf8.h"
#include "text/tokenizer_parts.h"
#include "text/wordpiece_characters.h"

#include <string.h>
#include <utf8proc.h>

enum { MAX_DECOMPOSED = 8 }; /* characters that one decomposes into; Unicode has four */

#define IS_IN(table, code) is_in(table, sizeof(table) / sizeof *(table), code)

/* What a call works with. */
typedef struct wordpiece {
    const tokenizer *t;
    buffer word; /* a space, then what there is of the word */
    uint32_t characters;
    token_list *out;
} wordpiece;

static bool is_in(const character_range *ranges, size_t count, int32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (code > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && code >= ranges[low].first;
}

/* --- words ------------------------------------------------------------------------------------------------------------ */

/* The longest piece at word[from]; *to is where it ends. */
static int32_t longest_piece(const wordpiece *w, size_t from, size_t *to)
{
    size_t end = w->word.size, longest = w->t->longest_piece;
    if (end - from > longest)
        end = from + longest;
    for (; end > from; end--) {
        if (end < w->word.size && ((unsigned char)w->word.data[end] & 0xC0) == 0x80)
            continue; /* inside a character */
        int32_t id = vocabulary_find(w->t, w->word.data + from, end - from);
        if (id != NO_TOKEN && w->t->types[id] == TOKEN_NORMAL && (from > 0 || end > 1)) {
            *to = end;
            return id;
        }
    }
    return NO_TOKEN;
}

static bool end_word(wordpiece *w)
{
    size_t before = w->out->count, at = 0;
    bool known = w->characters <= w->t->wordpiece.max_word, good = true;
    if (w->characters == 0)
        return true;
    while (known && good && at < w->word.size) {
        int32_t id = longest_piece(w, at, &at);
        known = id != NO_TOKEN;
        good = !known || token_list_append(w->out, id);
    }
    if (!known) {
        w->out->count = before;
        good = token_list_append(w->out, w->t->unknown);
    }
    w->word.size = 1;
    w->characters = 0;
    return good;
}

static bool append_character(wordpiece *w, int32_t code)
{
    char bytes[4];
    w->characters++;
    /* A word that is too long is unknown, whatever else is in it. */
    return w->characters > w->t->wordpiece.max_word || buffer_append(&w->word, bytes, utf8_encode(code, bytes));
}

/* Of normalised text. */
static bool add_character(wordpiece *w, int32_t code)
{
    if (IS_IN(space_characters, code))
        return end_word(w);
    if (IS_IN(punctuation_characters, code))
        return end_word(w) && append_character(w, code) && end_word(w);
    return append_character(w, code);
}

/* --- normalising ------------------------------------------------------------------------------------------------------ */

/* One character in lower case, as Unicode 17 has it; U+0130 is the only one that becomes two. */
static int32_t lower(int32_t code)
{
    static const struct { character_range range; int32_t distance; } newer[] = {
        {{0x1C89, 0x1C89}, 1},      {{0xA7CB, 0xA7CB}, 0x264 - 0xA7CB}, {{0xA7CC, 0xA7CC}, 1},
        {{0xA7CE, 0xA7CE}, 1},      {{0xA7D2, 0xA7D2}, 1},              {{0xA7D4, 0xA7D4}, 1},
        {{0xA7DA, 0xA7DA}, 1},      {{0xA7DC, 0xA7DC}, 0x19B - 0xA7DC}, {{0x10D50, 0x10D65}, 0x20},
        {{0x16EA0, 0x16EB8}, 0x1B},
    };
    if (code < 0x80)
        return code >= 'A' && code <= 'Z' ? code + 0x20 : code;
    for (size_t i = 0; i < sizeof newer / sizeof *newer; i++)
        if (code >= newer[i].range.first && code <= newer[i].range.last)
            return code + newer[i].distance;
    return utf8proc_tolower(code);
}

static bool add_lowered(wordpiece *w, int32_t code)
{
    if (!w->t->wordpiece.lowercase)
        return add_character(w, code);
    if (code == 0x130)
        return add_character(w, 'i') && add_character(w, 0x307);
    return add_character(w, lower(code));
}

/* Canonical decomposition, of which accents are left out. U+11938 is younger than the reference's. */
static bool add_stripped(wordpiece *w, int32_t code)
{
    int32_t parts[MAX_DECOMPOSED] = {code};
    int class = 0;
    if (!w->t->wordpiece.strip_accents || code < 0x80)
        return add_lowered(w, code);
    utf8proc_ssize_t count = code == 0x11938 ? 1 : utf8proc_decompose_char(code, parts, MAX_DECOMPOSED, UTF8PROC_DECOMPOSE, &class);
    bool good = true;
    for (utf8proc_ssize_t i = 0; i < count && i < MAX_DECOMPOSED && good; i++)
        good = IS_IN(accent_characters, parts[i]) || add_lowered(w, parts[i]);
    return good;
}

static bool add_text(wordpiece *w, int32_t code)
{
    const wordpiece_options *options = &w->t->wordpiece;
    if (options->clean_text && IS_IN(removed_characters, code))
        return true;
    if (options->split_chinese && IS_IN(chinese_characters, code))
        return end_word(w) && add_stripped(w, code) && end_word(w);
    return add_stripped(w, code);
}

bool wordpiece_encode(const tokenizer *t, const char *text, size_t bytes, token_list *out)
{
    wordpiece w = {.t = t, .out = out};
    bool good = buffer_append(&w.word, " ", 1);
    for (size_t i = 0; i < bytes && good;) {
        int32_t code;
        i += utf8_decode(text + i, bytes - i, &code);
        good = add_text(&w, code);
    }
    good = good && end_word(&w);
    buffer_free(&w.word);
    return good;
}
