/* harness: a real model on a real backend, stepped by hand, so that tests compare logits and not text.
 *
 * It plays the engine's part at its plainest: every sequence has its own pages, a step is a list of pieces of sequences, and
 * the logits of every token come back, or the vector of every piece where the model is an embedder. Failures end the running cmocka test with the backend's sentence. */
#ifndef TESTS_MODELS_HARNESS_H
#define TESTS_MODELS_HARNESS_H

#include "host/plugins.h"
#include "model/model.h"

enum { HARNESS_CONTEXT = 1024, HARNESS_SEQUENCES = 8, HARNESS_PAGE = 32, HARNESS_STEP = 1024 };

typedef struct harness harness;

/* Tokens [start, start + count) of a sequence whose earlier ones have been run. */
typedef struct piece {
    uint32_t sequence; /* below HARNESS_SEQUENCES */
    uint32_t start, count;
    const int32_t *tokens; /* [count] */
} piece;

/* Where tools/fetch put a model: what the variable says, which tools/test sets. */
const char *harness_fetched(const char *variable);

/* `backend` is the path of a backend's shared object; `settings` are pairs of option and value, NULL at the end. */
harness *harness_open(const char *model, const char *backend, const char *const *settings);
/* The same on a model that is open, which the harness owns from here on; kv_dtype is BP_KV_…. */
harness *harness_open_model(model_file *model, const char *backend, const char *const *settings, uint32_t kv_dtype);
void harness_close(harness *h);

/* Pages are handed out backwards with `odd`, to show that their numbers do not matter. */
void harness_reset(harness *h, bool odd);

/* One step. out: [tokens of all pieces][vocabulary], in the order of the pieces; [pieces][width] of an embedder, whose pieces
 * are whole texts. */
void harness_step(harness *h, const piece *pieces, uint32_t count, float *out);

/* A whole sequence from its first token in steps of `chunk` tokens; out: [count][vocabulary]. */
void harness_prefill(harness *h, uint32_t sequence, const int32_t *tokens, uint32_t count, uint32_t chunk, float *out);

/* A whole sequence in one step; out: [wanted][vocabulary], the logits at these positions. */
void harness_positions(harness *h, const int32_t *tokens, uint32_t count, const int32_t *positions, uint32_t wanted, float *out);

uint32_t harness_vocabulary(const harness *h);

/* K and V of a token of a sequence in one cache, as floats: [kv_heads * head_dim] each. */
void harness_read_kv(harness *h, uint32_t cache, uint32_t sequence, uint32_t position, float *k, float *v);
const bp_program *harness_program(const harness *h);

#endif
