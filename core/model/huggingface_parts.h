/* huggingface_parts: what the files that read a Hugging Face folder share; nobody else includes it.
 *
 *   huggingface.c           the folder: its JSON files, its safetensors, the walk over both
 *   huggingface_families.c  one table row a class of models: keys of config.json, names of tensors
 *   huggingface_pooling.c   modules.json: how an embedder makes one vector of many
 *   huggingface_tokenizer.c tokenizer.json
 *
 * All of it writes into one gguf_table, whose first error stays. */
#ifndef BACKPLANE_MODEL_HUGGINGFACE_PARTS_H
#define BACKPLANE_MODEL_HUGGINGFACE_PARTS_H

#include "model/gguf_table.h"

#include <jansson.h>

typedef struct hf_folder {
    const char *path;
    gguf_table table;
    json_t *config;
    const char *arch; /* as in general.architecture */
} hf_folder;

/* "PATH/FILE: sentence"; returns the table's status. */
bp_status hf_fail(hf_folder *f, bp_status code, const char *file, const char *format, ...) BP_PRINTF(4, 5);
/* A JSON object of the folder, which the caller owns; NULL after an error, and where an optional file is missing. */
json_t *hf_read_json(hf_folder *f, const char *file, bool required);
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

void hf_put_pooling(hf_folder *f);
/* `count` is the number of rows of the embedding. */
void hf_put_tokenizer(hf_folder *f, uint32_t count);

#endif
