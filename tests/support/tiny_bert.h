/* tiny_bert: a BERT of a few thousand random weights as a Hugging Face folder, with a WordPiece vocabulary of letters and a few
 * words. Its parts can be changed before the folder is written, and files of a folder replaced afterwards. */
#ifndef TESTS_SUPPORT_TINY_BERT_H
#define TESTS_SUPPORT_TINY_BERT_H

#include "base/buffer.h"

#include <stdint.h>

/* Zero means the default where one is named. */
typedef struct tiny_bert {
    uint32_t layers, width, heads, ffn_width, positions; /* 2, 32, 2, 64, 64 */
    const char *type;                                    /* "F32", "F16" or "BF16"; NULL: F32 */
    const char *prefix;                                  /* before every tensor's name; NULL: none */
    bool sharded;                                        /* two files and an index */
    bool no_modules;                                     /* as a model that sentence-transformers never saw */
} tiny_bert;

enum { TINY_BERT_VOCABULARY = 64 };

/* The folder exists. False when a file cannot be written. */
bool tiny_bert_write(const char *folder, const tiny_bert *options);
bool tiny_bert_write_file(const char *folder, const char *name, const void *bytes, size_t count);
/* Removes what tiny_bert_write made, and the folder. */
void tiny_bert_remove(const char *folder);

/* A safetensors file put together by hand: a header, which gets its length before it, and `zeros` bytes of data. */
void safetensors_bytes(const char *header, size_t zeros, buffer *out);

#endif
