/* plugins: finds, checks and holds the shared objects that backends and frontends come from.
 *
 * A plugin is named by its name, and is then NAME.so in the first search directory that has it, or by an absolute path.
 * Nothing of a file runs before its ELF headers were found whole and of this machine. Every refusal is one sentence
 * that begins with the file. A plugin's strings and functions live as long as the set.
 *
 * One thread at a time; a loaded plugin is immutable. */
#ifndef BACKPLANE_HOST_PLUGINS_H
#define BACKPLANE_HOST_PLUGINS_H

#include <backplane/backend.h>
#include <backplane/engine.h>

#include <stdbool.h>
#include <stddef.h>

typedef struct plugin {
    const char *path; /* without links */
    const char *name, *version, *summary; /* never NULL */
    uint32_t kind, config_size;
    uint16_t abi_major, abi_minor;
    const bp_option *options; /* checked; NULL where there are none */
    /* By kind; no slot is empty. */
    bp_backend_ops backend;
    bp_frontend_ops frontend;
} plugin;

typedef struct plugins plugins;

plugins *plugins_new(void); /* NULL when out of memory */
/* Unloads every plugin: what they opened must be closed. NULL is fine. */
void plugins_free(plugins *p);

/* Appends a search directory: an absolute path. One that does not exist is kept for messages and finds nothing; one that is
 * already there is left out. */
bp_status plugins_add_directory(plugins *p, const char *directory, bp_error *error);
/* The directories that plugins ship in, seen from the folder of the running program: a build tree's, an installation's
 * around the program, and the one this build was configured for. */
bp_status plugins_add_default_directories(plugins *p, const char *executable_directory, bp_error *error);
const char *const *plugins_directories(const plugins *p, size_t *count);

/* Loads, or finds loaded, the plugin of that kind. */
bp_status plugins_load(plugins *p, const char *name_or_path, uint32_t kind, const plugin **out, bp_error *error);

typedef struct plugins_report {
    const char *path;
    const plugin *plugin; /* NULL where it was refused */
    const char *refusal;  /* the sentence; NULL where it was not */
} plugins_report;

/* Tries every *.so of every search directory, in order. The array lives as long as the set. */
bp_status plugins_list(plugins *p, const plugins_report **out, size_t *count, bp_error *error);

const char *plugins_kind_name(uint32_t kind); /* "backend" */

enum { PLUGINS_MAX_NAME = 32 };
bool plugins_is_name(const char *name); /* 1 to PLUGINS_MAX_NAME of a-z, 0-9, _ and -; NULL is none */

#endif
