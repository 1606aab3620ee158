/* refused: the stand-in for a device that did not open. Its models fail to load, each with the reason, and the models of
 * other devices never notice. */
#ifndef BACKPLANE_COMMANDS_REFUSED_H
#define BACKPLANE_COMMANDS_REFUSED_H

#include "base/arena.h"

#include <backplane/backend.h>

const bp_backend_ops *refused_ops(void);
/* Of the arena; NULL when out of memory. It is never closed. */
bp_device *refused_device(arena *memory, const bp_error *why);

#endif
