/* architecture: one row per value of general.architecture that this build can open; one file per family of them.
 *
 * A family reads its keys, checks them, and builds the program. More architectures are more rows. */
#ifndef BACKPLANE_MODEL_ARCHITECTURE_H
#define BACKPLANE_MODEL_ARCHITECTURE_H

#include "base/arena.h"
#include "model/model.h"

typedef struct architecture architecture;

/* What a family's build function gets and fills: the program but its size and numerics, and the shape's numbers. */
typedef struct architecture_job {
    const architecture *arch;
    const gguf *file;
    arena *memory; /* lives as long as the program */
    const model_options *options;
    const model_vocabulary *vocabulary;
    bp_program *program;
    model_shape *shape;
} architecture_job;

struct architecture {
    const char *name;   /* as in general.architecture, and before its keys */
    uint32_t rope_mode; /* how the file's Q and K rows are ordered: BP_ROPE_… */
    bp_status (*build)(const architecture_job *job, bp_error *error);
};

const architecture *architecture_find(gguf_string name); /* NULL if there is none */

bp_status decoder_build(const architecture_job *job, bp_error *error);
bp_status bert_build(const architecture_job *job, bp_error *error);

#endif
