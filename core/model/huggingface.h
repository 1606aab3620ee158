/* huggingface: a folder as Hugging Face lays it out (config.json, model.safetensors or its shards, tokenizer.json and, for
 * embedders, modules.json) as a table of GGUF's keys and tensors. What a file says and this build does not know is an error
 * that names the file, unless it is known to change nothing. */
#ifndef BACKPLANE_MODEL_HUGGINGFACE_H
#define BACKPLANE_MODEL_HUGGINGFACE_H

#include "model/gguf.h"

bool huggingface_is_folder(const char *path);
bp_status huggingface_open(const char *path, unsigned mapping_flags, gguf **out, bp_error *error);

#endif
