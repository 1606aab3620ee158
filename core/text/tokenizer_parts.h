/* tokenizer_parts: what the files of the tokenizer share; nobody else includes it.
 *
 *   tokenizer.c             the public functions: encode's walk over special tokens and text, look-ups
 *   tokenizer_vocabulary.c  pieces and merges: checking, decoding, the two hash tables
 *   tokenizer_special.c     which special token begins at a place
 *   tokenizer_normalise.c   text as the split reads it
 *   tokenizer_split.c       text to pre-tokens: one table row per pre-tokenizer
 *   tokenizer_bpe.c         a pre-token to ids
 *   tokenizer_sentencepiece.c, tokenizer_wordpiece.c
 *                           text to ids where that is the model; nothing is split before them
 *   detokenizer.c           ids to text
 *
 * Another model kind is one more file beside tokenizer_bpe.c and one more branch in tokenizer_new and encode_plain.
 *
 * Pieces are kept as the bytes they stand for, not as the file spells them, and so are the merges' two halves while they
 * are looked up: "Ġthe" is " the" everywhere behind this header, and so is WordPiece's and
 * SentencePiece's "▁the". */
#ifndef BACKPLANE_TEXT_TOKENIZER_PARTS_H
#define BACKPLANE_TEXT_TOKENIZER_PARTS_H

#include "base/arena.h"
#include "text/tokenizer.h"

enum {
    TOKENIZER_MAX_PIECE = 64 << 10,   /* bytes of one piece */
    TOKENIZER_MAX_SPECIAL = 1 << 10,  /* of a special token's spelling: what a search at one place can cost */
    TOKENIZER_MAX_TEXT = 1 << 30,     /* of one text */
    WORDPIECE_MAX_WORD = 1000         /* characters that a vocabulary may call a word: cutting one costs their square */
};
typedef enum tokenizer_kind { TOKENIZER_BPE, TOKENIZER_WORDPIECE, TOKENIZER_SENTENCEPIECE } tokenizer_kind;
#define NO_TOKEN (-1)
#define NO_RANK UINT32_MAX

/* A slot has all that a comparison needs, so that a look-up touches one line here and one in the pool. */
typedef struct piece_slot {
    uint32_t hash, id, offset;
    uint32_t length; /* 0: free */
} piece_slot;

typedef struct merge_slot {
    int32_t left, right; /* left < 0: free */
    uint32_t rank;       /* lower goes first */
    int32_t result;
} merge_slot;

typedef struct special_token {
    int32_t id;
    uint32_t length;
    const unsigned char *bytes;
} special_token;

typedef struct split_rules split_rules;

struct tokenizer {
    tokenizer_kind kind;
    arena *memory; /* of every array here */
    uint64_t seed[2]; /* of the two hash tables */
    uint32_t count;
    char *pool;        /* the pieces' bytes, one after another */
    uint32_t *offsets; /* [count + 1] into pool */
    uint8_t *types;    /* [count] TOKEN_… */
    uint8_t *ends;     /* [count] whether tokenizer_ends_text */

    piece_slot *pieces; /* open addressing by bytes */
    uint32_t piece_mask;
    merge_slot *merges; /* open addressing by (left, right) */
    uint32_t merge_mask;
    int32_t byte_ids[256]; /* the token of a single byte, or NO_TOKEN; of SentencePiece those of type byte only */

    special_token *specials; /* sorted by bytes: control and user-defined tokens with a spelling */
    uint32_t special_count;
    uint32_t special_first[257]; /* specials that begin with byte b: [special_first[b], special_first[b + 1]) */

    split_rules *split; /* of BPE; else NULL */
    wordpiece_options wordpiece;
    uint32_t *ranks;        /* [count] of SentencePiece: what goes first when it is made; else NULL */
    bool space_prefix;      /* SentencePiece: a space comes before a text, and before what follows a special token */
    uint32_t longest_piece; /* bytes */
    int32_t bos, eos, unknown;
    bool add_bos, add_eos;
};

/* vocabulary: fills pieces, tables and merges of a zeroed *t; what it allocated stays in *t, also after a failure. */
bp_status vocabulary_build(tokenizer *t, const tokenizer_spec *spec, bp_error *error);
int32_t vocabulary_find(const tokenizer *t, const char *bytes, size_t length);
/* The merge of two neighbours, or NULL. */
const merge_slot *vocabulary_merge(const tokenizer *t, int32_t left, int32_t right);

bp_status special_build(tokenizer *t, bp_error *error);
/* The longest special token at text[at]; control tokens only where every byte is marked (`all_marked`, or by `mask`).
 * NULL where there is none. */
const special_token *special_at(const tokenizer *t, const char *text, size_t bytes, size_t at, bool all_marked,
                                const unsigned char *mask);

/* normalise: each leaves *text as it is, or makes it a changed copy in *held; false when out of memory. */
bool normalise_repair(const char **text, size_t *bytes, buffer *held); /* U+FFFD for every maximal invalid subpart */
bool normalise_nfc(const char **text, size_t *bytes, buffer *held);    /* of valid UTF-8 */

/* split: `text` is valid UTF-8. Gives every pre-token in order to `emit`; stops when it fails. */
typedef bp_status (*split_emit)(void *user, const char *word, size_t bytes, bp_error *error);
bp_status split_rules_new(const char *pre, split_rules **out, bp_error *error);
void split_rules_free(split_rules *rules);
bool split_rules_normalise(const split_rules *rules);  /* the family asks for NFC */
bool split_rules_whole_words(const split_rules *rules); /* a pre-token that is a piece is not merged up */
typedef struct split_state split_state; /* a thread's own working memory */
split_state *split_state_new(const split_rules *rules);
void split_state_free(split_state *state);
bp_status split_text(const split_rules *rules, split_state *state, const char *text, size_t bytes, split_emit emit,
                     void *user, bp_error *error);

/* bpe: working memory that grows to the longest stretch of text that was merged; zeroed is empty. */
#define BPE_END UINT32_MAX
typedef struct bpe_symbol {
    int32_t id, result;      /* result: what merging with the next one gives */
    uint32_t previous, next; /* BPE_END where there is none */
    uint32_t rank;           /* of merging with the next one; NO_RANK when it does not merge, or is gone */
    uint32_t offset, length; /* its bytes in the text */
} bpe_symbol;
typedef struct bpe_memory {
    bpe_symbol *symbols;
    uint64_t *heap; /* rank << 32 | symbol */
    size_t symbol_capacity, heap_count, heap_capacity;
} bpe_memory;
void bpe_memory_free(bpe_memory *memory);
bool bpe_encode(const tokenizer *t, bpe_memory *memory, const char *word, size_t bytes, token_list *out);
bool bpe_memory_reserve(bpe_memory *memory, size_t symbols);
/* Whether two neighbours merge, into what, and how early: lower ranks first. */
typedef bool bpe_pair_fn(const tokenizer *t, const char *text, const bpe_symbol *left, const bpe_symbol *right,
                         uint32_t *rank, int32_t *result);
/* Merges the first `count` symbols (> 0), whose ids, offsets and lengths are set, until no two do. What is left begins at
 * symbol 0 and is linked by `next`. */
void bpe_merge(const tokenizer *t, bpe_memory *memory, uint32_t count, bpe_pair_fn *pair, const char *text);

/* sentencepiece: a piece's bytes, at most as many as it has; text with a space for every U+2581, and one in front where
 * `prefix` says so (as normalise); scores to ranks, false at a score that is not finite; and ids of valid UTF-8. */
size_t sentencepiece_decode(const char *piece, size_t bytes, char *out);
bool sentencepiece_normalise(const char **text, size_t *bytes, bool prefix, buffer *held);
bool sentencepiece_rank(tokenizer *t, const float *scores, uint32_t *bad);
bool sentencepiece_encode(const tokenizer *t, bpe_memory *memory, const char *text, size_t bytes, token_list *out);

/* wordpiece: `text` is valid UTF-8. */
bool wordpiece_encode(const tokenizer *t, const char *text, size_t bytes, token_list *out);

bool token_list_reserve(token_list *list, size_t more);

#endif
