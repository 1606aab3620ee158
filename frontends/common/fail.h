/* fail: errors in the caller's memory. Any thread. */
#ifndef BACKPLANE_FRONTENDS_FAIL_H
#define BACKPLANE_FRONTENDS_FAIL_H

#include <backplane/plugin.h>

/* Fills *error, which may be NULL, and returns `code`. A message that is too long ends on a whole character. */
bp_status fail(bp_error *error, bp_status code, const char *format, ...) BP_PRINTF(3, 4);
bp_status fail_memory(bp_error *error);

#endif
