/* no_symbol: a shared object that is no plugin. */
#include <backplane/backend.h>

BP_EXPORT int no_symbol_value(void);

int no_symbol_value(void)
{
    return 1;
}
