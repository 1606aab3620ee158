/* safetensors: a reader for safetensors files (huggingface/safetensors) that trusts nothing in them.
 *
 * A file is a length, that many bytes of JSON, and data. Every name, type, shape, offset and product of the header is checked
 * before any of it is used; every tensor's data lies inside the file and overlaps no other's. Time and memory are in
 * proportion to the header. Any thread. */
#ifndef BACKPLANE_MODEL_SAFETENSORS_H
#define BACKPLANE_MODEL_SAFETENSORS_H

#include "base/arena.h"

#include <backplane/program.h>
#include <stdbool.h>

typedef struct safetensors_tensor {
    bp_weight weight; /* shape[0] is the contiguous dimension, the last of the file's; `name` is NUL-terminated */
    const char *type; /* as the file names it: "F32", "I64" */
    bool readable;    /* a type of bp_dtype; else weight.dtype means nothing */
} safetensors_tensor;

/* The tensors of a file in memory, in no particular order. What is read lives in `memory`; data points into `data`. */
bp_status safetensors_read(const void *data, uint64_t bytes, arena *memory, safetensors_tensor **out, uint64_t *count,
                           bp_error *error);

#endif
