/* no_descriptor: its entry returns nothing. */
#include <backplane/backend.h>

const bp_plugin *bp_plugin_entry(void)
{
    return NULL;
}
