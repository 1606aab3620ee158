/* pooling: how an embedder makes one vector of a text's rows: what its file says, and what the options say instead.
 *
 * Keys: "<architecture>.pooling_type" as llama.cpp's files have it, and ours: "<architecture>.pooling_normalize", without which
 * vectors are of length 1, and "<architecture>.headless", of a decoder that can only be an embedder. A decoder whose file has the first is an embedder unless it is asked to
 * answer; one whose file has none becomes one on demand, by its last row. */
#ifndef BACKPLANE_MODEL_POOLING_H
#define BACKPLANE_MODEL_POOLING_H

#include "model/builder.h"
#include "model/model.h"

struct architecture_job;

typedef struct model_pooling {
    uint32_t kind; /* MODEL_POOLING_…; FILE: none, the model gives logits */
    bool normalise;
} model_pooling;

/* `fallback` is the kind where neither file nor options name one, FILE for models that give logits then; others are encoders, and
 * these alone may be of kind RANK. */
bp_status pooling_read(const struct architecture_job *job, uint32_t fallback, model_pooling *out, bp_error *error);
/* The op that ends the program. */
void pooling_add(const model_pooling *pooling, builder *b, int32_t rows);
/* BP_TASK_… */
uint32_t pooling_task(const model_pooling *pooling);

#endif
