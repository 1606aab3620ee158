/* tokenizer_sentencepiece: text to ids as SentencePiece's BPE does (Kudo and Richardson 2018).
 *
 * Nothing splits the text: its characters merge, the neighbours whose piece has the highest score first, the leftmost of
 * those, until no two make a piece. A character that is no piece becomes its bytes' tokens, or without these the unknown
 * token, one for a run. Pieces are spelled with U+2581 for a space; behind tokenizer_vocabulary.c both are a space. */
#include "base/utf8.h"
#include "text/tokenizer_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char MARK[] = "\xE2\x96\x81"; /* U+2581 */
enum { MARK_BYTES = 3 };

size_t sentencepiece_decode(const char *piece, size_t bytes, char *out)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes;) {
        bool mark = bytes - i >= MARK_BYTES && memcmp(piece + i, MARK, MARK_BYTES) == 0;
        out[count++] = mark ? ' ' : piece[i];
        i += mark ? MARK_BYTES : 1;
    }
    return count;
}

bool sentencepiece_normalise(const char **text, size_t *bytes, bool prefix, buffer *held)
{
    const char *from = *text, *end = from + *bytes, *mark = memmem(from, *bytes, MARK, MARK_BYTES);
    if (!mark && !prefix)
        return true;
    if (prefix && !buffer_append(held, " ", 1))
        return false;
    for (; mark; mark = memmem(from, (size_t)(end - from), MARK, MARK_BYTES)) {
        if (!buffer_append(held, from, (size_t)(mark - from)) || !buffer_append(held, " ", 1))
            return false;
        from = mark + MARK_BYTES;
    }
    if (!buffer_append(held, from, (size_t)(end - from)))
        return false;
    *text = held->data;
    *bytes = held->size;
    return true;
}

/* Floats in falling order as integers in rising order; NO_RANK is none of them. */
static uint32_t rank_of(float score)
{
    uint32_t bits;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : 0x7FFFFFFFu - bits;
}

bool sentencepiece_rank(tokenizer *t, const float *scores, uint32_t *bad)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (!isfinite(scores[i])) {
            *bad = i;
            return false;
        }
        t->ranks[i] = rank_of(scores[i]);
    }
    return true;
}

/* The token of the bytes, if plain text may become it. */
static int32_t find_piece(const tokenizer *t, const char *bytes, size_t length)
{
    int32_t id = length > t->longest_piece ? NO_TOKEN : vocabulary_find(t, bytes, length);
    return id != NO_TOKEN && (t->types[id] == TOKEN_NORMAL || t->types[id] == TOKEN_USER_DEFINED) ? id : NO_TOKEN;
}

static bool find_pair(const tokenizer *t, const char *text, const bpe_symbol *left, const bpe_symbol *right, uint32_t *rank,
                      int32_t *result)
{
    *result = find_piece(t, text + left->offset, (size_t)left->length + right->length);
    if (*result == NO_TOKEN)
        return false;
    *rank = t->ranks[*result];
    return true;
}

/* The bytes of a character that is no piece. `unknown` says that the last token is the unknown one, and is kept so. */
static bool append_bytes(const tokenizer *t, const char *bytes, size_t count, bool *unknown, token_list *out)
{
    bool known = true;
    for (size_t i = 0; i < count; i++)
        known = known && t->byte_ids[(unsigned char)bytes[i]] != NO_TOKEN;
    if (!known) {
        bool again = *unknown;
        *unknown = true;
        return again || t->unknown == NO_TOKEN || token_list_append(out, t->unknown);
    }
    *unknown = false;
    for (size_t i = 0; i < count; i++)
        if (!token_list_append(out, t->byte_ids[(unsigned char)bytes[i]]))
            return false;
    return true;
}

static size_t count_characters(const char *text, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

bool sentencepiece_encode(const tokenizer *t, bpe_memory *memory, const char *text, size_t bytes, token_list *out)
{
    if (bytes == 0)
        return true;
    if (!bpe_memory_reserve(memory, count_characters(text, bytes)))
        return false;
    uint32_t count = 0;
    for (size_t i = 0; i < bytes; count++) {
        int32_t code;
        size_t length = utf8_decode(text + i, bytes - i, &code);
        memory->symbols[count] = (bpe_symbol){.id = find_piece(t, text + i, length), .offset = (uint32_t)i,
                                              .length = (uint32_t)length};
        i += length;
    }
    bpe_merge(t, memory, count, find_pair, text);
    bool unknown = false;
    for (uint32_t at = 0; at != BPE_END; at = memory->symbols[at].next) {
        const bpe_symbol *symbol = &memory->symbols[at];
        bool piece = symbol->id != NO_TOKEN;
        if (piece ? !token_list_append(out, symbol->id)
                  : !append_bytes(t, text + symbol->offset, symbol->length, &unknown, out))
            return false;
        unknown = unknown && !piece;
    }
    return true;
}
