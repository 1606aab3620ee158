/* tiny_llama: whole models of the llama architecture and its relatives, with random weights and a byte-level BPE vocabulary, in a few kB. */
#ifndef TESTS_SUPPORT_TINY_LLAMA_H
#define TESTS_SUPPORT_TINY_LLAMA_H

#include "support/gguf_writer.h"

/* 0 chooses what stands behind it. */
typedef struct tiny_llama {
    uint32_t layers;    /* 2 */
    uint32_t width;     /* 64 */
    uint32_t heads;     /* 4 */
    uint32_t kv_heads;  /* 2 */
    uint32_t head_dim;  /* 16 */
    uint32_t ffn_width; /* 96 */
    uint32_t context;   /* 256 */
    /* 300: 3 control tokens (0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|>), 256 bytes, 41 merged pieces. Fewer are the
     * first of them, with the merges that make them. */
    uint32_t vocab_size;
    uint32_t weight_type;    /* BP_F32, which is 0; vectors are always F32 */
    uint32_t embedding_type; /* likewise */
    uint64_t seed;
    const char *architecture; /* "llama" */
    uint32_t window;          /* of attention; 0: no key */
    bool untied;  /* a head of its own */
    bool biases;  /* of Q, K, V and the attention's output */
    bool no_chat; /* no template */
    bool tools;   /* its template knows them, as Hermes writes calls */
    bool head_norms, post_norms, fused; /* as in decoder_traits: which tensors there are */
} tiny_llama;

void tiny_llama_fill(gguf_writer *w, const tiny_llama *options); /* into a writer that has begun */
bool tiny_llama_write(const char *path, const tiny_llama *options); /* false when it could not be saved */

#endif
