/* tokenizer_vocabulary: pieces and merges as tables.
 *
 * Rules for vocabularies that are not as they should be: of two pieces that stand for the same bytes the normal one wins,
 * then the lower id; an empty piece is never found; of two merges of one pair the later wins, as in HF's `tokenizers`.
 * A merge that makes a control token is left out: plain text never becomes one. Oversize pieces, unknown types, malformed
 * merges and merges of pieces that do not exist are errors.
 *
 * The hash is keyed with numbers of each tokenizer's own: with a known one a file could put all its pieces into one place, and
 * reading it would take the square of their number. Nothing but time depends on it.
 *
 * This runs while a server starts: two passes, no allocation a piece, and a guess that saves most look-ups of merge
 * results, because vocabularies list them in the merges' order. */
#include "base/checked.h"
#include "base/error.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    MAX_MERGE = 2 * TOKENIZER_MAX_PIECE + 1,
    GROUP = 16,     /* how many look-ups are under way at a time */
    LEFT_OUT = 0x80 /* set in types[] between the two passes */
};

/* Both halves of the product: what of it depends on each bit is not to be told without the factor. */
static uint64_t fold(uint64_t value, uint64_t factor)
{
    __extension__ unsigned __int128 product = (unsigned __int128)value * factor;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_bytes(const tokenizer *t, const char *bytes, size_t length)
{
    uint64_t hash = t->seed[0] ^ length, chunk;
    while (length >= 8) {
        memcpy(&chunk, bytes, 8);
        hash = fold(hash ^ chunk, t->seed[1]);
        bytes += 8;
        length -= 8;
    }
    chunk = 0;
    memcpy(&chunk, bytes, length);
    return (uint32_t)fold(hash ^ chunk, t->seed[1]);
}

static uint32_t hash_pair(const tokenizer *t, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (uint32_t)fold(pair ^ t->seed[0], t->seed[1]);
}

/* Two numbers that nobody who wrote the file could know, the second odd. Where there is no randomness to be had, what differs
 * from run to run. */
static void choose_seed(tokenizer *t)
{
    struct timespec now = {0};
    if (getrandom(t->seed, sizeof t->seed, GRND_NONBLOCK) != sizeof t->seed) {
        clock_gettime(CLOCK_REALTIME, &now);
        t->seed[0] = (uint64_t)(uintptr_t)t ^ (uint64_t)now.tv_sec << 32;
        t->seed[1] = fold((uint64_t)now.tv_nsec ^ (uint64_t)(uintptr_t)&now, UINT64_C(0x9E3779B97F4A7C15));
    }
    t->seed[1] |= UINT64_C(0x8000000000000001);
}

/* The byte that a character of GPT-2's alphabet stands for, or -1: printable Latin-1 stands for itself, the other 68 bytes
 * follow in order from U+0100. */
static int alphabet_byte(int32_t code)
{
    if ((code >= 0x21 && code <= 0x7E) || (code >= 0xA1 && code <= 0xFF && code != 0xAD))
        return code;
    int32_t n = code - 0x100;
    if (n < 0 || n > 67)
        return -1;
    return n < 33 ? n : n < 67 ? n - 33 + 0x7F : 0xAD;
}

/* Writes the bytes that a piece stands for, at most as many as it has; false when a character is not of the alphabet. */
static bool alphabet_decode(const char *piece, size_t length, char *out, size_t *written)
{
    size_t count = 0;
    for (size_t i = 0; i < length;) {
        int32_t code = (unsigned char)piece[i++];
        /* The alphabet ends at U+0143: longer sequences than two bytes are not of it. */
        if (code >= 0x80) {
            if (code < 0xC2 || code > 0xC5 || i == length || ((unsigned char)piece[i] & 0xC0) != 0x80)
                return false;
            code = (code & 0x1F) << 6 | ((unsigned char)piece[i++] & 0x3F);
        }
        int byte = alphabet_byte(code);
        if (byte < 0)
            return false;
        out[count++] = (char)byte;
    }
    *written = count;
    return true;
}

/* "<0xHH>" exactly. */
static bool decode_byte_piece(text_piece piece, char *out)
{
    if (piece.length != 6 || memcmp(piece.bytes, "<0x", 3) != 0 || piece.bytes[5] != '>')
        return false;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        char c = piece.bytes[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                           : -1;
        if (digit < 0)
            return false;
        value = value * 16 + digit;
    }
    *out = (char)value;
    return true;
}

/* The bytes of an ordinary piece, at most as many as it has; false where the model kind has none of that spelling. */
static bool decode_piece(const tokenizer *t, text_piece piece, char *out, size_t *written)
{
    static const char begins[] = "\xE2\x96\x81"; /* a word, in WordPiece */
    if (t->kind == TOKENIZER_BPE)
        return alphabet_decode(piece.bytes, piece.length, out, written);
    if (t->kind == TOKENIZER_SENTENCEPIECE) {
        *written = sentencepiece_decode(piece.bytes, piece.length, out);
        return true;
    }
    size_t mark = piece.length >= 3 && memcmp(piece.bytes, begins, 3) == 0 ? 3 : 0;
    if (mark)
        *out++ = ' ';
    if (piece.length > mark)
        memcpy(out, piece.bytes + mark, piece.length - mark);
    *written = piece.length - mark + (mark > 0);
    return true;
}

/* The piece's id or NO_TOKEN; *slot is where it is, or where it belongs. */
static int32_t find_hashed(const tokenizer *t, const char *bytes, size_t length, uint32_t hash, uint32_t *slot)
{
    for (uint32_t i = hash & t->piece_mask;; i = (i + 1) & t->piece_mask) {
        const piece_slot *p = &t->pieces[i];
        *slot = i;
        if (p->length == 0)
            return NO_TOKEN;
        if (p->hash == hash && p->length == length && memcmp(t->pool + p->offset, bytes, length) == 0)
            return (int32_t)p->id;
    }
}

int32_t vocabulary_find(const tokenizer *t, const char *bytes, size_t length)
{
    uint32_t slot;
    if (length == 0 || length > TOKENIZER_MAX_PIECE)
        return NO_TOKEN;
    return find_hashed(t, bytes, length, hash_bytes(t, bytes, length), &slot);
}

const merge_slot *vocabulary_merge(const tokenizer *t, int32_t left, int32_t right)
{
    for (uint32_t i = hash_pair(t, left, right) & t->merge_mask;; i = (i + 1) & t->merge_mask) {
        const merge_slot *slot = &t->merges[i];
        if (slot->left == left && slot->right == right)
            return slot;
        if (slot->left < 0)
            return NULL;
    }
}

/* A power of two with at least a third of the slots free. */
static uint32_t table_size(uint32_t entries)
{
    uint64_t size = 16;
    while (size < (uint64_t)entries + entries / 2)
        size *= 2;
    return (uint32_t)size;
}

static bp_status allocate(tokenizer *t, const tokenizer_spec *spec, bp_error *error)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < spec->count; i++) {
        if (spec->pieces[i].length > TOKENIZER_MAX_PIECE)
            return error_set(error, BP_EINVAL, "token %u of the vocabulary has %u bytes, over the limit of %d", i,
                             spec->pieces[i].length, TOKENIZER_MAX_PIECE);
        if (!checked_add(bytes, spec->pieces[i].length, &bytes))
            return error_set(error, BP_EINVAL, "the vocabulary is too large");
    }
    if (bytes > INT32_MAX)
        return error_set(error, BP_EINVAL, "the vocabulary's pieces have %zu bytes together, over the limit of 2 GiB",
                         bytes);
    uint32_t slots = table_size(spec->count), merges = table_size(spec->merge_count);
    t->pool = arena_alloc(t->memory, bytes + 1);
    t->offsets = arena_array(t->memory, (size_t)spec->count + 1, sizeof *t->offsets);
    t->types = arena_alloc(t->memory, spec->count);
    t->ends = arena_alloc(t->memory, spec->count);
    t->pieces = arena_array(t->memory, slots, sizeof *t->pieces);
    t->merges = arena_array(t->memory, merges, sizeof *t->merges);
    if (!t->pool || !t->offsets || !t->types || !t->ends || !t->pieces || !t->merges)
        return error_set(error, BP_ENOMEM, "out of memory for a vocabulary of %u tokens", spec->count);
    t->count = spec->count;
    t->piece_mask = slots - 1;
    t->merge_mask = merges - 1;
    for (uint32_t i = 0; i < merges; i++)
        t->merges[i] = (merge_slot){.left = -1, .right = -1};
    return BP_OK;
}

static void insert_piece(tokenizer *t, piece_slot piece)
{
    uint32_t slot;
    if (piece.length && find_hashed(t, t->pool + piece.offset, piece.length, piece.hash, &slot) == NO_TOKEN)
        t->pieces[slot] = piece;
}

/* A ring of pieces between hashing and insertion: a place in the table needs time to come into the cache. */
typedef struct piece_queue {
    piece_slot ring[GROUP];
    uint32_t count;
} piece_queue;

static void queue_piece(tokenizer *t, piece_queue *queue, uint32_t id)
{
    uint32_t length = t->offsets[id + 1] - t->offsets[id];
    piece_slot piece = {hash_bytes(t, t->pool + t->offsets[id], length), id, t->offsets[id], length};
    piece_slot *place = &queue->ring[queue->count % GROUP];
    if (queue->count >= GROUP)
        insert_piece(t, *place);
    __builtin_prefetch(&t->pieces[piece.hash & t->piece_mask], 1);
    *place = piece;
    queue->count++;
}

static void flush_pieces(tokenizer *t, piece_queue *queue)
{
    for (uint32_t i = queue->count < GROUP ? 0 : queue->count - GROUP; i < queue->count; i++)
        insert_piece(t, queue->ring[i % GROUP]);
    queue->count = 0;
}

/* Decodes every piece and inserts the ordinary ones; the others follow in a second pass, so that they lose against them. */
static bp_status read_pieces(tokenizer *t, const tokenizer_spec *spec, bp_error *error)
{
    uint32_t used = 0, left_out = 0;
    piece_queue queue = {.count = 0};
    for (uint32_t i = 0; i < spec->count; i++) {
        text_piece piece = spec->pieces[i];
        int32_t type = spec->types ? spec->types[i] : TOKEN_NORMAL;
        if (type < 0 || type > TOKEN_BYTE)
            return error_set(error, BP_EINVAL, "token %u of the vocabulary has the unknown type %d", i, type);
        t->types[i] = (uint8_t)(type == 0 ? TOKEN_NORMAL : type);
        t->offsets[i] = used;
        size_t length = 1;
        bool ordinary = t->types[i] == TOKEN_NORMAL && decode_piece(t, piece, t->pool + used, &length);
        if (type == TOKEN_BYTE) {
            if (!decode_byte_piece(piece, t->pool + used))
                return error_set(error, BP_EINVAL, "token %u of the vocabulary is a byte, but spelled \"%.*s\", not <0xHH>",
                                 i,
                                 (int)(piece.length < 64 ? piece.length : 64), piece.bytes);
        } else if (!ordinary && type == TOKEN_USER_DEFINED && t->kind == TOKENIZER_SENTENCEPIECE) {
            length = sentencepiece_decode(piece.bytes, piece.length, t->pool + used);
        } else if (!ordinary) {
            if (piece.length)
                memcpy(t->pool + used, piece.bytes, piece.length);
            length = piece.length;
        }
        used += (uint32_t)length;
        t->offsets[i + 1] = used;
        if (length > t->longest_piece)
            t->longest_piece = (uint32_t)length;
        if (ordinary)
            queue_piece(t, &queue, i);
        else
            t->types[left_out = i] |= LEFT_OUT;
    }
    flush_pieces(t, &queue);
    for (uint32_t i = 0; i <= left_out && i < spec->count; i++)
        if (t->types[i] & LEFT_OUT) {
            t->types[i] &= LEFT_OUT - 1;
            queue_piece(t, &queue, i);
        }
    flush_pieces(t, &queue);
    return BP_OK;
}

static bp_status merge_error(uint32_t index, text_piece merge, const char *what, bp_error *error)
{
    return error_set(error, BP_EINVAL, "merge %u of the vocabulary, \"%.*s\", %s", index,
                     (int)(merge.length < 64 ? merge.length : 64), merge.bytes, what);
}

/* Bytes of one half of a merge: decoded, or as spelled where it is not of the alphabet. */
static size_t decode_half(const char *half, size_t length, char *out)
{
    size_t written;
    if (alphabet_decode(half, length, out, &written))
        return written;
    memcpy(out, half, length);
    return length;
}

static void insert_merge(tokenizer *t, merge_slot merge)
{
    uint32_t i = hash_pair(t, merge.left, merge.right) & t->merge_mask;
    while (t->merges[i].left >= 0 && (t->merges[i].left != merge.left || t->merges[i].right != merge.right))
        i = (i + 1) & t->merge_mask;
    t->merges[i] = merge;
}

/* A merge whose halves are decoded and hashed, and whose places in the table are on their way into the cache. */
typedef struct pending_merge {
    const char *bytes;
    size_t left, length;
    uint32_t left_hash, right_hash;
} pending_merge;

static bp_status prepare_merge(const tokenizer *t, const tokenizer_spec *spec, uint32_t index, char *bytes,
                               pending_merge *pending, bp_error *error)
{
    text_piece merge = spec->merges[index];
    if (merge.length > MAX_MERGE)
        return merge_error(index, merge, "is too long", error);
    const char *space = merge.length ? memchr(merge.bytes, ' ', merge.length) : NULL;
    size_t left_spelled = space ? (size_t)(space - merge.bytes) : 0, right_spelled = merge.length - left_spelled;
    if (left_spelled == 0 || right_spelled < 2 || memchr(space + 1, ' ', right_spelled - 1))
        return merge_error(index, merge, "is not two pieces with one space between them", error);
    size_t left = decode_half(merge.bytes, left_spelled, bytes);
    size_t right = decode_half(space + 1, right_spelled - 1, bytes + left);
    *pending = (pending_merge){bytes, left, left + right, hash_bytes(t, bytes, left), hash_bytes(t, bytes + left, right)};
    __builtin_prefetch(&t->pieces[pending->left_hash & t->piece_mask]);
    __builtin_prefetch(&t->pieces[pending->right_hash & t->piece_mask]);
    return BP_OK;
}

/* What the halves and the whole are; *guess is the token after the last merge's. */
static bp_status resolve_merge(tokenizer *t, const tokenizer_spec *spec, uint32_t index, const pending_merge *pending,
                               uint32_t *guess, merge_slot *merge, bp_error *error)
{
    const char *bytes = pending->bytes;
    size_t length = pending->length;
    uint32_t slot;
    int32_t left = find_hashed(t, bytes, pending->left, pending->left_hash, &slot), result;
    int32_t right = find_hashed(t, bytes + pending->left, length - pending->left, pending->right_hash, &slot);
    if (*guess < t->count && t->types[*guess] == TOKEN_NORMAL && t->offsets[*guess + 1] - t->offsets[*guess] == length &&
        memcmp(t->pool + t->offsets[*guess], bytes, length) == 0)
        result = (int32_t)*guess;
    else
        result = vocabulary_find(t, bytes, length);
    if (left == NO_TOKEN || right == NO_TOKEN || result == NO_TOKEN)
        return merge_error(index, spec->merges[index], "names or makes a piece that the vocabulary does not have", error);
    *guess = (uint32_t)result + 1;
    *merge = (merge_slot){left, right, index, result};
    __builtin_prefetch(&t->merges[hash_pair(t, left, right) & t->merge_mask], 1);
    return BP_OK;
}

/* In groups, because a look-up is mostly waiting for memory. */
static bp_status read_merges(tokenizer *t, const tokenizer_spec *spec, char *bytes, bp_error *error)
{
    uint32_t guess = 0;
    pending_merge group[GROUP];
    merge_slot merges[GROUP];
    for (uint32_t i = 0; i < spec->merge_count; i += GROUP) {
        uint32_t count = spec->merge_count - i < GROUP ? spec->merge_count - i : GROUP;
        bp_status status = BP_OK;
        for (uint32_t k = 0; k < count && status == BP_OK; k++)
            status = prepare_merge(t, spec, i + k, bytes + (size_t)k * MAX_MERGE, &group[k], error);
        for (uint32_t k = 0; k < count && status == BP_OK; k++)
            status = resolve_merge(t, spec, i + k, &group[k], &guess, &merges[k], error);
        if (status != BP_OK)
            return status;
        for (uint32_t k = 0; k < count; k++)
            if (t->types[merges[k].result] != TOKEN_CONTROL)
                insert_merge(t, merges[k]);
    }
    return BP_OK;
}

/* Of SentencePiece the tokens of type byte, the first of each; else whatever stands for one byte and is not control. */
static void find_bytes(tokenizer *t)
{
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        int32_t id = t->kind == TOKENIZER_SENTENCEPIECE ? NO_TOKEN : vocabulary_find(t, &text, 1);
        t->byte_ids[byte] = id != NO_TOKEN && t->types[id] == TOKEN_CONTROL ? NO_TOKEN : id;
    }
    for (uint32_t i = 0; t->kind == TOKENIZER_SENTENCEPIECE && i < t->count; i++) {
        if (t->types[i] != TOKEN_BYTE)
            continue;
        int32_t *id = &t->byte_ids[(unsigned char)t->pool[t->offsets[i]]];
        if (*id == NO_TOKEN)
            *id = (int32_t)i;
    }
}

static bp_status read_scores(tokenizer *t, const tokenizer_spec *spec, bp_error *error)
{
    uint32_t bad;
    t->ranks = arena_array(t->memory, t->count, sizeof *t->ranks);
    if (!t->ranks)
        return error_set(error, BP_ENOMEM, "out of memory for a vocabulary of %u tokens", spec->count);
    if (!sentencepiece_rank(t, spec->scores, &bad))
        return error_set(error, BP_EINVAL, "token %u of the vocabulary has a score that is not a finite number", bad);
    return BP_OK;
}

bp_status vocabulary_build(tokenizer *t, const tokenizer_spec *spec, bp_error *error)
{
    choose_seed(t);
    bp_status status = allocate(t, spec, error);
    if (status == BP_OK)
        status = read_pieces(t, spec, error);
    if (status == BP_OK && t->kind == TOKENIZER_SENTENCEPIECE)
        status = read_scores(t, spec, error);
    if (status != BP_OK)
        return status;
    find_bytes(t);
    char *bytes = malloc((size_t)GROUP * MAX_MERGE);
    if (!bytes)
        return error_set(error, BP_ENOMEM, "out of memory for a vocabulary of %u tokens", spec->count);
    status = read_merges(t, spec, bytes, error);
    free(bytes);
    return status;
}
