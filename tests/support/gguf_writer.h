/* gguf_writer: makes GGUF files for tests, good ones and, where it is told so, bad ones.
 *
 * Keys and tensors are collected in plain structs, which a test may change before the file is put together: every number
 * that a reader must not trust can be set to anything. A writer that runs out of memory aborts the test. */
#ifndef TESTS_SUPPORT_GGUF_WRITER_H
#define TESTS_SUPPORT_GGUF_WRITER_H

#include "base/buffer.h"

#include <backplane/program.h>

/* Types of values, with GGUF's numbers. */
enum {
    WRITE_U8, WRITE_I8, WRITE_U16, WRITE_I16, WRITE_U32, WRITE_I32, WRITE_F32, WRITE_BOOL, WRITE_STRING, WRITE_ARRAY,
    WRITE_U64, WRITE_I64, WRITE_F64
};

typedef struct writer_key {
    buffer name;
    uint32_t type;
    buffer value; /* as it will be in the file */
} writer_key;

typedef struct writer_tensor {
    buffer name;
    uint32_t type, rank;
    uint64_t shape[8];
    uint64_t offset; /* WRITER_AUTO: after the tensor before it, aligned */
    buffer data;
} writer_tensor;

#define WRITER_AUTO UINT64_MAX

typedef struct gguf_writer {
    char magic[4];
    uint32_t version, alignment;       /* the alignment is written by whoever sets it as a key, too */
    uint64_t key_count, tensor_count;  /* WRITER_AUTO: as many as there are */
    writer_key *keys;
    writer_tensor *tensors;
    size_t keys_used, tensors_used;
} gguf_writer;

void writer_begin(gguf_writer *w);
void writer_free(gguf_writer *w);

/* Sets a key, and replaces it where there is one of that name. writer_value makes it from bytes as they are. */
void writer_value(gguf_writer *w, const char *key, uint32_t type, const void *bytes, size_t count);
void writer_u32(gguf_writer *w, const char *key, uint32_t value);
void writer_i32(gguf_writer *w, const char *key, int32_t value);
void writer_f32(gguf_writer *w, const char *key, float value);
void writer_bool(gguf_writer *w, const char *key, bool value);
void writer_text(gguf_writer *w, const char *key, const char *text);
void writer_texts(gguf_writer *w, const char *key, const char *const *texts, uint64_t count);
void writer_i32s(gguf_writer *w, const char *key, const int32_t *values, uint64_t count);
void writer_remove(gguf_writer *w, const char *key);
/* A second key of the same name. */
writer_key *writer_add(gguf_writer *w, const char *key, uint32_t type, const void *bytes, size_t count);
writer_key *writer_find(gguf_writer *w, const char *key); /* NULL if absent */

/* A tensor of one or two dimensions (rows 0: one) from float32 values, quantised to `type`. */
writer_tensor *writer_matrix(gguf_writer *w, const char *name, uint32_t type, uint32_t columns, uint32_t rows,
                             const float *values);
writer_tensor *writer_find_tensor(gguf_writer *w, const char *name); /* NULL if absent */
void writer_remove_tensor(gguf_writer *w, const char *name);

/* The file's bytes, appended to *out; false when it could not be saved. */
void writer_finish(const gguf_writer *w, buffer *out);
bool writer_save(const gguf_writer *w, const char *path);

/* Appends `count` float32 values as `type`: F32, F16, BF16, Q8_0, Q4_0 or Q4_1. Count is a multiple of the block. */
void quantise(uint32_t type, const float *values, size_t count, buffer *out);

#endif
