/* fit: what the models of a configuration will hold in memory, and what of them memory_budget has room for at a time.
 *
 * From the headers of their files, and so what the engine reckons with itself until a model has been loaded once. Models whose
 * file cannot be read are passed over: others say why. */
#ifndef BACKPLANE_COMMANDS_FIT_H
#define BACKPLANE_COMMANDS_FIT_H

#include "commands/session.h"

/* One line for people. `problem`: a model that cannot be loaded as it is configured. */
typedef void (*fit_say)(void *user, bool problem, const char *line);

/* `models` are those of `c`, in its order. `backends`, in its order too, say which devices hold weights once that several models read;
 * NULL: all may. */
bp_status fit_tell(const config *c, const engine_model *models, const engine_backend *backends, fit_say say, void *user, bp_error *error);

#endif
