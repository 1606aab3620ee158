/* Is a program well formed, and can a backend that has every op run it? Nothing past this point checks shapes again.
 *
 * `backend` is the plugin's name, which begins each sentence. */
#ifndef PLUGINS_VALIDATE_H
#define PLUGINS_VALIDATE_H

#include "support.h"

/* BP_OK; BP_EINVAL for a malformed program, BP_EUNSUPPORTED for one we cannot run, with a sentence that names the first
 * op or weight at fault. `embeds` is the flags of EMBED that the backend runs. */
bp_status validate_program(const char *backend, uint32_t embeds, const bp_program *program, bp_error *error);
/* Of a program that is valid: how many types of tokens each table by type has a row for; 0 if there is no such table. */
size_t program_token_types(const bp_program *program);
bp_status validate_limits(const char *backend, const bp_program *program, const bp_limits *limits, bp_error *error);

/* The name of an op kind, for messages. */
const char *op_name(unsigned kind);

/* A row of BP_DTYPES. */
typedef struct dtype_facts {
    uint32_t dtype;
    const char *name;
    size_t block, block_bytes; /* elements that share a scale, 1 of floats, and their bytes in a file */
} dtype_facts;

/* NULL for a type that the table has not. */
const dtype_facts *dtype_of(uint32_t dtype);
/* Of a row of k elements in a file; SIZE_MAX where it does not fit. */
static inline size_t dtype_row_bytes(const dtype_facts *type, size_t k)
{
    return size_multiply(k / type->block, type->block_bytes);
}

#endif
