/* gguf_table: a model's keys and tensors from other files than GGUF, under GGUF's names.
 *
 *   1. The first error stays; afterwards every call does nothing, and gguf_table_finish gives it.
 *   2. What is put in is copied, but for lists of strings, which are in the table's memory already, and tensors' data, which
 *      is in one of its maps or in that memory.
 *   3. A table that never was finished is freed with gguf_table_drop.
 * One thread. */
#ifndef BACKPLANE_MODEL_GGUF_TABLE_H
#define BACKPLANE_MODEL_GGUF_TABLE_H

#include "base/arena.h"
#include "model/gguf.h"

typedef struct gguf_table {
    gguf *g;
    arena *memory; /* lives as long as the table that comes of it */
    uint64_t tensor_room;
    bp_status status;
    bp_error *error; /* may be NULL */
} gguf_table;

void gguf_table_begin(gguf_table *t, uint32_t maps, bp_error *error);
bp_status gguf_table_finish(gguf_table *t, gguf **out);
void gguf_table_drop(gguf_table *t);
bp_status gguf_table_fail(gguf_table *t, bp_status code, const char *format, ...) BP_PRINTF(3, 4);

/* Maps a file for as long as the table lives; NULL after an error. */
const mapping *gguf_table_map(gguf_table *t, const char *path, unsigned mapping_flags);
/* Memory of the table; NULL after an error. */
void *gguf_table_alloc(gguf_table *t, size_t count, size_t size);
gguf_string gguf_table_string(gguf_table *t, const char *bytes, size_t length);

void gguf_put_u32(gguf_table *t, const char *key, uint32_t value);
void gguf_put_f32(gguf_table *t, const char *key, float value);
void gguf_put_bool(gguf_table *t, const char *key, bool value);
void gguf_put_text(gguf_table *t, const char *key, const char *text);
void gguf_put_strings(gguf_table *t, const char *key, const gguf_string *strings, uint64_t count);
void gguf_put_i32s(gguf_table *t, const char *key, const int32_t *values, uint64_t count);
/* Before the tensors: how many there are at most. */
void gguf_put_room(gguf_table *t, uint64_t tensors);
/* Under another name than the tensor's own. */
void gguf_put_tensor(gguf_table *t, const char *name, const bp_weight *tensor);

#endif
