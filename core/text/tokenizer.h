/* tokenizer: text to token ids and back.
 *
 * Immutable once built; any thread may use it at the same time. Built from a plain description (tokenizer_spec), so that
 * this module knows no file format. Byte-level BPE after Sennrich et al. 2016 and GPT-2's byte alphabet; SentencePiece's
 * BPE after Kudo and Richardson 2018; WordPiece as BERT has it. */
#ifndef BACKPLANE_TEXT_TOKENIZER_H
#define BACKPLANE_TEXT_TOKENIZER_H

#include "base/buffer.h"

#include <backplane/plugin.h>

typedef struct text_piece {
    const char *bytes;
    uint32_t length;
} text_piece;

/* Token types, with GGUF's numbers. */
enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4, TOKEN_UNUSED = 5, TOKEN_BYTE = 6 };

typedef struct wordpiece_options {
    bool lowercase, strip_accents, clean_text, split_chinese; /* ideographs are words of their own */
    uint32_t max_word;                                        /* characters; a longer word is unknown */
} wordpiece_options;

typedef struct tokenizer_spec {
    const char *model;        /* "gpt2": byte-level BPE; "llama": SentencePiece's; "bert": WordPiece */
    const char *pre;          /* of BPE, the pre-tokenizer: "smollm", "gpt-2", "llama-bpe", "qwen2", … */
    const text_piece *pieces; /* [count], as the file spells them; borrowed while building */
    const int32_t *types;     /* [count] TOKEN_…; NULL: all normal */
    uint32_t count;
    const text_piece *merges; /* [merge_count] "left right" */
    uint32_t merge_count;
    const float *scores; /* [count] of SentencePiece: pieces of higher ones are made first */
    bool space_prefix;   /* of SentencePiece: a space comes before a text and before what follows a special token */
    int32_t bos, eos, eot, unknown, padding; /* -1 where there is none */
    bool add_bos, add_eos;
    wordpiece_options wordpiece;
} tokenizer_spec;

typedef struct tokenizer tokenizer;
bp_status tokenizer_new(const tokenizer_spec *spec, tokenizer **out, bp_error *error);
void tokenizer_free(tokenizer *t); /* NULL is fine */

typedef struct token_list {
    int32_t *ids;
    size_t count, capacity;
} token_list;
void token_list_free(token_list *list);
bool token_list_append(token_list *list, int32_t id);

enum { TOKENIZER_SPECIAL = 1 << 0, TOKENIZER_BOS = 1 << 1, TOKENIZER_EOS = 1 << 2 };
/* Appends the ids of `text` to *out. `special_mask` (may be NULL) has one byte per byte of text: a special token is
 * recognised only where every byte of its spelling is marked; NULL means all of it with TOKENIZER_SPECIAL and none
 * without. BOS and EOS are added where asked for and the model's file has them on. Every maximal invalid UTF-8 subpart is
 * read as U+FFFD. */
bp_status tokenizer_encode(const tokenizer *t, const char *text, size_t bytes, const unsigned char *special_mask,
                           unsigned flags, token_list *out, bp_error *error);

uint32_t tokenizer_count(const tokenizer *t);
size_t tokenizer_memory(const tokenizer *t); /* bytes that it holds */
int32_t tokenizer_bos(const tokenizer *t);
int32_t tokenizer_eos(const tokenizer *t);
bool tokenizer_is_special(const tokenizer *t, int32_t id); /* control and unknown tokens, and ids out of range */
bool tokenizer_ends_text(const tokenizer *t, int32_t id);  /* eos, eot, and other ends of a turn in the vocabulary */
/* The token's own bytes (not always whole characters), valid as long as the tokenizer. Special tokens: their spelling. */
text_piece tokenizer_bytes(const tokenizer *t, int32_t id);
/* The id of a token spelled exactly so, or -1. */
int32_t tokenizer_find(const tokenizer *t, const char *piece, size_t bytes);

/* detokenizer: tokens one by one to text that only ever holds whole characters. */
typedef struct detokenizer {
    unsigned char held[4];
    uint8_t held_count, emit_special;
} detokenizer;
/* Appends what became certain to *out; false when out of memory. Special tokens give nothing unless emit_special. */
bool detokenizer_push(detokenizer *d, const tokenizer *t, int32_t id, buffer *out);
/* The end: held bytes become one U+FFFD. */
bool detokenizer_finish(detokenizer *d, buffer *out);

#endif
