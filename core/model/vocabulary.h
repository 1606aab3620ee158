/* vocabulary: the tokenizer.ggml.* keys of a file, checked, as a model_vocabulary. */
#ifndef BACKPLANE_MODEL_VOCABULARY_H
#define BACKPLANE_MODEL_VOCABULARY_H

#include "base/arena.h"
#include "model/model.h"

/* Arrays and words are in the file or in `memory`. A file without a tokenizer gives an empty vocabulary, model "none". */
bp_status vocabulary_read(const gguf *file, arena *memory, model_vocabulary *out, bp_error *error);
/* tokenizer.chat_template, NUL-terminated; *out is NULL where there is none. */
bp_status vocabulary_template(const gguf *file, arena *memory, const char **out, bp_error *error);

#endif
