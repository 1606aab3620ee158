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

/* In what decoders differ; what is not said is as in llama. */
enum { WINDOWS_EVERYWHERE = 1 };
typedef struct decoder_traits {
    uint32_t rope_mode;       /* how the file's Q and K rows are ordered: BP_ROPE_… */
    uint32_t activation;      /* of the gate: BP_ACT_… */
    bool head_norms;          /* each head of Q and K is normalised */
    bool post_norms;          /* what attention and MLP give is normalised before it is added */
    bool fused;               /* Q, K, V are one tensor, and so are gate and up */
    bool scaled_embedding;    /* by the root of the width */
    bool longrope;            /* the file may hold two sets of divisors of the frequencies */
    uint32_t window_pattern;  /* the last of every n layers sees all tokens, the others a window; 1: every layer has one;
                                 0: windows are not known */
    uint32_t window;          /* where the file does not say; 0: none */
    float window_base;        /* of the rotations in layers with a window, where the file does not say; 0: as elsewhere */
    uint32_t scaled_by_width; /* the number of layers of the size that scales scores by width / heads, not head_dim */
    float attention_cap, logit_cap; /* soft caps where the file does not say; 0: none */
} decoder_traits;

struct architecture {
    const char *name;              /* as in general.architecture, and before its keys */
    const decoder_traits *decoder; /* NULL outside that family */
    bp_status (*build)(const architecture_job *job, bp_error *error);
};

const architecture *architecture_find(gguf_string name); /* NULL if there is none */

bp_status decoder_build(const architecture_job *job, bp_error *error);
bp_status bert_build(const architecture_job *job, bp_error *error);

#endif
