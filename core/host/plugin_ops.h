/* plugin_ops: a plugin's operations table as the host's own, with no empty slot, so that no caller tests for NULL. */
#ifndef BACKPLANE_HOST_PLUGIN_OPS_H
#define BACKPLANE_HOST_PLUGIN_OPS_H

#include <backplane/backend.h>
#include <backplane/engine.h>

/* `from` begins with its size, which is at most that of the host's table; what it lacks becomes a function that fails with
 * BP_EUNSUPPORTED, or, for what ends a lifetime, one that does nothing. */
void plugin_ops_copy_backend(const void *from, bp_backend_ops *out);
void plugin_ops_copy_frontend(const void *from, bp_frontend_ops *out);

#endif
