/* dtype: the table of weight types, BP_DTYPES of backplane/program.h, and sizes computed from it. */
#ifndef BACKPLANE_MODEL_DTYPE_H
#define BACKPLANE_MODEL_DTYPE_H

#include <backplane/program.h>
#include <stdbool.h>

typedef struct dtype {
    const char *name;
    uint32_t number;   /* bp_dtype */
    uint32_t elements; /* per quantisation block; 1 where there are no blocks */
    uint32_t bytes;    /* per block */
} dtype;

const dtype *dtype_find(uint32_t number);  /* NULL for a type that is not in the table */
bool dtype_is_float(uint32_t number);      /* F32, F16, BF16 */
const char *dtype_name(uint32_t number);   /* "unknown" for such a one */
const char *dtype_names(void);             /* all of them, for messages: "F32, F16, …" */

/* Bytes of a row-major tensor. False if a dimension is not positive, the product overflows or a row is not whole blocks. */
bool dtype_tensor_bytes(const dtype *type, const int64_t shape[4], uint64_t *out);

/* Numbers of a floating-point type as float32, exactly. */
void dtype_widen(uint32_t number, const void *data, size_t count, float *out);

#endif
