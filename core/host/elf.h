/* elf: whether a file is a whole shared object for this machine, decided by reading its headers and running nothing of it.
 * A truncated file that reached dlopen could kill the process with SIGBUS instead of being refused. */
#ifndef BACKPLANE_HOST_ELF_H
#define BACKPLANE_HOST_ELF_H

#include <backplane/plugin.h>

/* BP_OK, or a sentence that begins with the path. */
bp_status elf_check(const char *path, bp_error *error);

#endif
