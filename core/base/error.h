/* error: how the core's functions report failure.
 *
 * Functions that can fail return bp_status and take a bp_error that may be NULL. A message is one sentence without a full
 * stop or newline: what is wrong, where, and what to do about it. Text from files and users goes in through %s only and is
 * cut to the message's size at a character boundary. */
#ifndef BACKPLANE_BASE_ERROR_H
#define BACKPLANE_BASE_ERROR_H

#include <backplane/plugin.h>

/* Fills *error (when not NULL) and returns `code`, so that a caller writes `return error_set(error, BP_EINVAL, …)`. */
bp_status error_set(bp_error *error, bp_status code, const char *format, ...) BP_PRINTF(3, 4);

/* Puts "prefix: " before the message that is already there: errors gain context on their way up. Returns error->code, or
 * `code` if error is NULL. */
bp_status error_prefix(bp_error *error, bp_status code, const char *format, ...) BP_PRINTF(3, 4);

/* The word for a status, for logs: "invalid input". */
const char *status_name(bp_status status);

#endif
