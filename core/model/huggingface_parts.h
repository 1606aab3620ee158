/* huggingface_parts: what the files that read a Hugging Face folder share; nobody else includes it.
 *
 *   huggingface.c           the folder: its JSON files, its safetensors, the walk over both
 *   huggingface_families.c  one table row a class of models: keys of config.json, names of tensors
 *   huggingface_pooling.c   modules.json: how an embedder makes one vector of many, and a reranker a score
 *   huggingface_tokenizer.c tokenizer.json: pieces, WordPiece, what stands around a text
 *   huggingface_bpe.c       tokenizer.json of byte-level BPE
 *
 * All of it writes into one gguf_table, whose first error stays. */
#ifndef BACKPLANE_MODEL_HUGGINGFACE_PARTS_H
#define BACKPLANE_MODEL_HUGGINGFACE_PARTS_H

#include "model/gguf_table.h"
#include "model/model.h"

#include <jansson.h>

typedef struct hf_folder {
    const char *path;
    gguf_table table;
    json_t *config;
    const char *arch; /* as in general.architecture */
    bool pairs;       /* the class reads pairs of texts */
    bool headless;    /* the class is a network without what makes answers of its rows */
    bool has_bos, has_eos; /* their keys have been put */
    bp_weight extra;       /* a tensor that is computed from config.json; no data: none */
} hf_folder;

/* "PATH/FILE: sentence"; returns the table's status. */
bp_status hf_fail(hf_folder *f, bp_status code, const char *file, const char *format, ...) BP_PRINTF(4, 5);
/* A JSON object of the folder, which the caller owns; NULL after an error, and where an optional file is missing. */
json_t *hf_read_json(hf_folder *f, const char *file, bool required);
/* A text file of the folder, in the table's memory; NULL where it is missing. */
const char *hf_read_text(hf_folder *f, const char *file);
/* The string at a key; "" where there is none. */
const char *hf_text(const json_t *object, const char *key);
/* Puts the key "<arch>.<name>". */
void hf_put_u32(hf_folder *f, const char *name, uint32_t value);
void hf_put_f32(hf_folder *f, const char *name, double value);
void hf_put_bool(hf_folder *f, const char *name, bool value);
void hf_put_text(hf_folder *f, const char *name, const char *value);

/* One class of models, by the names of `architectures` in config.json. */
typedef struct hf_family hf_family;
const hf_family *hf_family_find(hf_folder *f); /* NULL after an error */
const char *hf_family_arch(const hf_family *family);
void hf_family_put_keys(hf_folder *f, const hf_family *family);
/* The tensor's name here: true, and an empty one for a tensor that is not needed. */
bool hf_family_rename(const hf_family *family, const char *name, char out[64]);

/* Where neither modules.json says it nor this, MODEL_POOLING_…, the model gives logits. Puts the context as well. */
void hf_put_pooling(hf_folder *f, uint32_t fallback);
/* The same for a cross-encoder: how its head's number becomes a score. */
void hf_put_ranking(hf_folder *f);
/* The merges, and the name of the pre-tokenizer. */
void hf_put_bpe(hf_folder *f, const json_t *root, const json_t *model);
/* `count` is the number of rows of the embedding. */
void hf_put_tokenizer(hf_folder *f, uint32_t count);

#endif
