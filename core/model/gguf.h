/* gguf: a model's keys and tensors under GGUF's names, and a reader for GGUF v2 and v3 files (ggml/docs/gguf.md) that trusts
 * nothing in them.
 *
 * Opening checks the whole header: every count, length, type, offset and product, before any of it is used; afterwards
 * every key and tensor has a name of its own, and every tensor's data lies inside the file and overlaps no other's.
 * Opening takes time and memory in proportion to the header, whatever is in it. Strings are borrowed from the file and
 * not NUL-terminated there. Immutable once open; any thread.
 *
 * What is in other files comes as such a table too (huggingface.h), so that an architecture is written once. */
#ifndef BACKPLANE_MODEL_GGUF_H
#define BACKPLANE_MODEL_GGUF_H

#include "base/mapping.h"

#include <backplane/program.h>
#include <stdbool.h>

typedef struct gguf gguf;

typedef struct gguf_string {
    const char *bytes; /* in the file */
    uint64_t length;
} gguf_string;

enum {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64,
    GGUF_I64, GGUF_F64
};

bp_status gguf_open(const char *path, unsigned mapping_flags, gguf **out, bp_error *error);
/* The same from memory that outlives it; for tests and fuzzing. */
bp_status gguf_parse(const void *data, uint64_t bytes, const char *name, gguf **out, bp_error *error);
void gguf_close(gguf *g); /* NULL is fine */
bool gguf_damaged(const gguf *g);  /* a file changed under its map */
uint64_t gguf_size(const gguf *g); /* bytes of the files */

uint32_t gguf_version(const gguf *g); /* 0: not from a GGUF file */
uint64_t gguf_key_count(const gguf *g);
gguf_string gguf_key(const gguf *g, uint64_t index, uint32_t *type, uint32_t *element_type, uint64_t *count);

/* Typed look-ups. `present` (may be NULL) says whether the key is there; without it the fallback is given. A key of
 * another type, or a value that does not fit, is BP_EINVAL. Integers of any width and sign convert when they fit. */
bp_status gguf_u32(const gguf *g, const char *key, uint32_t fallback, bool *present, uint32_t *out, bp_error *error);
bp_status gguf_f32(const gguf *g, const char *key, float fallback, bool *present, float *out, bp_error *error);
bp_status gguf_bool(const gguf *g, const char *key, bool fallback, bool *present, bool *out, bp_error *error);
bp_status gguf_text(const gguf *g, const char *key, bool *present, gguf_string *out, bp_error *error);
/* Arrays, with the number of their elements. Numbers lie little-endian and unaligned in the file. */
bp_status gguf_strings(const gguf *g, const char *key, bool *present, const gguf_string **out, uint64_t *count,
                       bp_error *error);
bp_status gguf_numbers(const gguf *g, const char *key, bool *present, uint32_t *element_type, const void **out,
                       uint64_t *count, bp_error *error);

uint64_t gguf_tensor_count(const gguf *g);
/* Names are NUL-terminated copies; data points into the mapping. */
const bp_weight *gguf_tensor(const gguf *g, uint64_t index);
const bp_weight *gguf_find_tensor(const gguf *g, const char *name); /* NULL if absent */

#endif
