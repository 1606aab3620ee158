/* builder: puts a bp_program together, one op a call, in an arena.
 *
 *   1. The first error stays; afterwards every call does nothing and gives -1, so that an architecture reads as its network
 *      and asks once, in builder_finish.
 *   2. Every weight is one that the file has, in the shape asked for; a program is valid by construction.
 *   3. A tensor of the file that no op used is an error: a network that is almost right gives almost right answers.
 * One thread. */
#ifndef BACKPLANE_MODEL_BUILDER_H
#define BACKPLANE_MODEL_BUILDER_H

#include "base/arena.h"
#include "model/gguf.h"

#include <backplane/program.h>

typedef struct builder {
    const gguf *file;
    arena *memory;
    bp_status status;
    bp_error *error; /* may be NULL */
    bp_op *ops;
    bp_weight *weights;
    bp_cache *caches;
    bp_value *values;
    uint32_t op_count, weight_count, cache_count, value_count;
    uint32_t op_room, weight_room, cache_room, value_room;
    uint8_t *used; /* [tensor count] */
    int32_t layer; /* of the ops that follow; -1 outside layers */
    bp_op nowhere; /* what builder_last gives after an error */
} builder;

/* `ops` is the most that there will be; room for weights, values and caches follows from it. */
void builder_begin(builder *b, const gguf *file, arena *memory, uint32_t ops, bp_error *error);

/* A tensor of the file, "blk.<layer>." put before `name` inside layers: a matrix of n rows and k columns, or a vector of n,
 * which is not quantised. An optional one that is absent is -1. */
int32_t builder_matrix(builder *b, const char *name, uint32_t n, uint32_t k);
int32_t builder_optional_matrix(builder *b, const char *name, uint32_t n, uint32_t k);
/* n rows of a matrix of `rows`, from row `first` on. */
int32_t builder_matrix_rows(builder *b, const char *name, uint32_t rows, uint32_t k, uint32_t first, uint32_t n);
int32_t builder_vector(builder *b, const char *name, uint32_t n);
int32_t builder_optional_vector(builder *b, const char *name, uint32_t n);
/* A weight that the file does not have. `data` outlives the program. */
int32_t builder_table(builder *b, const char *name, const float *data, uint32_t rows, uint32_t columns);
int32_t builder_cache(builder *b, uint32_t kv_heads, uint32_t head_dim, uint32_t window);
/* Tells that a tensor of the file is used otherwise. */
void builder_mark_used(builder *b, const bp_weight *tensor);

/* Adds an op with no slots named, whose out0 is a new value of `width` columns (0: no value), and gives that value. The
 * op can be completed through builder_last until the next one is added. `args` are copied. */
int32_t builder_op(builder *b, bp_op_kind kind, uint32_t width, uint32_t rows, int32_t in0, const void *args,
                   uint32_t args_size);
bp_op *builder_last(builder *b); /* never NULL */

bp_status builder_fail(builder *b, bp_status code, const char *format, ...) BP_PRINTF(3, 4);
/* Checks that every tensor was used and fills the tables of *out. */
bp_status builder_finish(builder *b, bp_program *out);

#endif
