/* recipes: the tiny nets of the proof, each a model that could be, with random weights from a fixed generator.
 *
 * Between them they have every weight type, cache type and part that an architecture may have. Each embedding has two
 * poisoned rows for sequences that stand beside others: the last token is NaN, the one before it infinity.
 *
 * Those that are a llama say so, with the names that its weights have in a file: for backends that run whole models their own way. */
#ifndef CONFORMANCE_RECIPES_H
#define CONFORMANCE_RECIPES_H

#include "net.h"

enum {
    HAS_BIAS = 1 << 0,       /* of q, k, v and the attention's output */
    HAS_QK_NORM = 1 << 1,    /* per head */
    HAS_WINDOW = 1 << 2,     /* in every second layer */
    HAS_SOFT_CAP = 1 << 3,   /* of scores and of logits */
    HAS_POST_NORM = 1 << 4,  /* norms before the residual is added, and a scaled embedding */
    HAS_NEOX = 1 << 5,       /* rotates halves, not pairs */
    HAS_HALF_ROPE = 1 << 6,  /* rotates half of each head */
    HAS_TANH_GELU = 1 << 7,  /* instead of SiLU */
    HAS_TIED_HEAD = 1 << 8,  /* then nothing is poisoned: a poisoned row would be a poisoned logit */
    HAS_ENCODER = 1 << 9,    /* BERT: layer norms after residuals, GELU, no mask, mean pooling */
    HAS_FIRST_POOL = 1 << 10, /* an encoder's: the first token, unscaled */
    HAS_TIES = 1 << 11        /* the first products see the embedding itself, which lies halfway between quantised steps */
};

typedef struct recipe {
    const char *name;
    uint32_t dtype, kv_dtype, features;
    uint32_t width, hidden, heads, kv_heads, dim, window;
    uint32_t tokens; /* of the longest prompt worth running */
} recipe;

extern const recipe recipes[];
extern const uint32_t recipe_count;

enum { RECIPE_VOCABULARY = 67 };

/* Builds into an empty net. */
void recipe_build(const recipe *r, net *n);
bool recipe_poisons(const recipe *r);

#endif
