/* decoder: what the files of the decoder family share; nobody else includes it.
 *
 *   decoder.c       the network
 *   decoder_keys.c  sizes, heads, windows, vocabulary and context from the file's keys, each checked
 *   decoder_rope.c  how positions rotate: scaling and the tables */
#ifndef BACKPLANE_MODEL_DECODER_H
#define BACKPLANE_MODEL_DECODER_H

#include "model/architecture.h"
#include "model/builder.h"
#include "model/pooling.h"

typedef struct decoder_rope {
    uint32_t mode;          /* BP_ROPE_…: how the rows of Q and K are ordered */
    uint32_t dim;           /* of head_dim, even */
    double base, scale;     /* as in rope_spec */
    double magnitude;       /* of every rotation */
    const double *divisors; /* [dim / 2] or NULL */
    double window_base;     /* of layers with a window, which are not scaled; 0: they rotate as the others */
    int32_t table, window_table; /* weight numbers */
} decoder_rope;

typedef struct decoder {
    const architecture_job *job;
    const decoder_traits *traits;
    uint32_t layers, width, ffn_width, heads, kv_heads, head_dim, vocab_size, train_context, context;
    uint32_t window, window_pattern; /* 0: no layer has a window */
    uint32_t longest;                /* the most positions that this build can run, however many were trained */
    float epsilon, attention_scale, attention_cap, logit_cap; /* a cap of 0 is none */
    decoder_rope rope;
    model_pooling pooling;    /* of an embedder */
    int32_t caches[2];        /* of an embedder: what layers without and with a window share; -1: not needed yet */
    bp_error *error;
} decoder;

/* Keys, named without their "<architecture>.". A count is in [1, limit]; without a fallback (0) it must be there. */
bp_status decoder_count(const decoder *d, const char *name, uint32_t fallback, uint32_t limit, uint32_t *out);
/* A number in [low, high]; without a fallback (0) it must be there. */
bp_status decoder_real(const decoder *d, const char *name, float fallback, float low, float high, float *out);
/* The same, but *out stays where the key is absent or 0. */
bp_status decoder_maybe_real(const decoder *d, const char *name, float low, float high, float *out);
const char *decoder_key(const decoder *d, const char *name, char out[96]);

/* Fills everything but the rope; rope needs the heads, and the context needs the rope. */
bp_status decoder_read_sizes(decoder *d);
bp_status decoder_read_vocabulary(decoder *d);
bp_status decoder_choose_context(decoder *d);
bool decoder_has_window(const decoder *d, uint32_t layer);

bp_status decoder_read_rope(decoder *d);
/* Divisors that are tensors: Llama 3's, and LongRoPE's for the chosen context. */
bp_status decoder_read_rope_divisors(decoder *d, builder *b);
/* Weights for the tables; their numbers, which cost time, are made by decoder_fill_rope. */
void decoder_add_rope(decoder *d, builder *b);
bp_status decoder_fill_rope(const decoder *d, builder *b);

#endif
