/* Is a program well formed, and can this backend run it? Nothing past this point checks shapes again. */
#ifndef CPU_VALIDATE_H
#define CPU_VALIDATE_H

#include "device.h"

/* BP_OK; BP_EINVAL for a malformed program, BP_EUNSUPPORTED for one we cannot run, with a sentence that names the first
 * op or weight at fault. */
bp_status validate_program(const bp_program *program, bp_error *error);
bp_status validate_limits(const bp_program *program, const bp_limits *limits, bp_error *error);

/* The name of an op kind, for messages. */
const char *op_name(unsigned kind);

#endif
