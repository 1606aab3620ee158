/* subject: what is proved: a program, prompts for it, and what the oracle makes of them.
 *
 * The oracle is a plugin's scalar kernels on one thread, each prompt alone, one token a step (an encoder's prompt in one, as it
 * must be), its pages new and used once. It keeps the logits of every position and a hash of K and V of every position and
 * layer. */
#ifndef PROOF_SUBJECT_H
#define PROOF_SUBJECT_H

#include "machine.h"
#include "recipes.h"

#include "model/model.h"

enum { SUBJECT_PROMPTS = 6 };

typedef struct subject {
    char name[64];
    const recipe *recipe; /* NULL for a model of a file */
    net *net;
    model_file *file;
    bp_program program;
    uint32_t kv_dtype, prompts; /* prompts that the oracle has run */
    bool pools;
    int32_t length[SUBJECT_PROMPTS];
    int32_t *tokens[SUBJECT_PROMPTS];  /* [length] */
    int32_t *poison;                   /* [longest length]: tokens that make NaN of a sequence; NULL if there are none */
    float *logits[SUBJECT_PROMPTS];    /* [length][output width], or [output width] of a program that pools */
    uint64_t *kv[SUBJECT_PROMPTS];     /* [length][caches] */
    uint64_t hash;                     /* of prompt 0's logits */
    uint64_t layer_hash[64];           /* of prompt 0's K and V, cache by cache */
} subject;

subject *subject_of_recipe(const recipe *r, uint32_t numerics); /* BP_NUMERICS_… */
/* `mapping_flags` as base/mapping.h has them; prompts of `length` tokens. */
subject *subject_of_file(const char *name, const char *path, unsigned mapping_flags, int32_t length);
void subject_free(subject *s); /* NULL is fine */

/* Runs the oracle: `isa` is "generic" but for models too large for a test of seconds. */
void subject_run_oracle(subject *s, const plugin *backend, const char *isa, uint32_t prompts);

size_t subject_rows(const subject *s, uint32_t prompt); /* of logits */

#endif
