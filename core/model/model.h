/* model: a file on disk, or a Hugging Face folder, as a program, a tokenizer's description and a chat template.
 *
 * A model_file owns the mapping, the program and everything the program points at; it outlives what a backend compiled
 * from it. Immutable once open; any thread. */
#ifndef BACKPLANE_MODEL_MODEL_H
#define BACKPLANE_MODEL_MODEL_H

#include "model/gguf.h"

#include <backplane/program.h>

/* What is wanted of a model; 0 is what its file says. */
enum { MODEL_TASK_FILE = 0, MODEL_TASK_GENERATE = 1, MODEL_TASK_EMBED = 2, MODEL_TASK_RANK = 3 };
/* As in files, RANK in these alone: a head makes a score of the first row. */
enum { MODEL_POOLING_FILE = 0, MODEL_POOLING_MEAN = 1, MODEL_POOLING_CLS = 2, MODEL_POOLING_LAST = 3, MODEL_POOLING_RANK = 4 };
enum { MODEL_AUTO = 0, MODEL_YES = 1, MODEL_NO = 2 };

typedef struct model_options {
    struct model_shelf *shelf; /* NULL, or where files are that other models have open; outlives the model */
    unsigned mapping_flags;
    uint32_t context;  /* positions wanted; 0: as many as the model was trained for; more are refused */
    uint32_t numerics; /* BP_NUMERICS_… */
    uint32_t task, pooling, normalise; /* MODEL_TASK_…, MODEL_POOLING_…, MODEL_AUTO, YES or NO */
} model_options;

typedef struct model_file model_file;
bp_status model_open(const char *path, const model_options *options, model_file **out, bp_error *error);
/* The same from a file that is open already, which the model owns once this succeeds; `name` is for messages. */
bp_status model_from_gguf(gguf *file, const char *name, const model_options *options, model_file **out, bp_error *error);
void model_close(model_file *m); /* NULL is fine */

typedef struct model_shape { /* of a decoder; 0 where it has no meaning */
    uint32_t layers, width, heads, kv_heads, head_dim, ffn_width, vocab_size, train_context;
    uint64_t parameters, file_bytes, weight_bytes;
    uint32_t task, pooling;                            /* BP_TASK_…; of an embedder MODEL_POOLING_… */
    bool sigmoid;                                      /* of a reranker: its scores are its numbers' sigmoids */
    char architecture[32], name[128], weight_type[32]; /* weight_type: the type that holds most bytes */
} model_shape;

const bp_program *model_program(const model_file *m);
const model_shape *model_shape_of(const model_file *m);
const gguf *model_gguf(const model_file *m);
const char *model_chat_template(const model_file *m); /* NULL if it has none */
bool model_damaged(const model_file *m);              /* the file changed under its mapping */

typedef struct model_wordpiece { /* of vocabularies of model "bert" */
    bool lowercase, strip_accents, clean_text, split_chinese;
    uint32_t max_word; /* characters */
} model_wordpiece;

/* What a tokenizer is built from, in this module's words; arrays belong to the model. */
typedef struct model_vocabulary {
    const char *model, *pre;
    const gguf_string *pieces, *merges;
    const int32_t *types;
    uint32_t count, merge_count;
    const float *scores; /* [count] of vocabularies of model "llama"; else NULL */
    bool space_prefix;   /* of these: texts begin with a space */
    int32_t bos, eos, eot, unknown, padding;
    bool add_bos, add_eos;
    model_wordpiece wordpiece;
} model_vocabulary;
const model_vocabulary *model_vocabulary_of(const model_file *m);

/* What an embedder puts before texts, by name. */
typedef struct model_prompts {
    const gguf_string *names, *texts; /* [count] */
    uint64_t count, chosen;           /* chosen: for texts that come with no name; count: none */
} model_prompts;
const model_prompts *model_prompts_of(const model_file *m);

/* Bytes of keys and values for one token in all layers. */
uint64_t model_kv_bytes_per_token(const model_file *m, uint32_t kv_dtype);

/* The names of the architectures that this build can open, NULL-terminated. */
const char *const *model_architectures(void);

#endif
