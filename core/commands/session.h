/* session: from a configuration, a file's or the command line's, to an engine on open devices.
 *
 *     session_init ─▶ session_load or session_select ─▶ session_bind ─▶ session_start ─▶ … ─▶ session_end
 *                                                                                        └─▶ session_reload, any number
 *
 * Invariants:
 *   - A backend whose plugin is refused or whose device does not open costs its own models and nothing else: they answer
 *     with the reason. Mistakes in the configuration itself stop the session.
 *   - session_end undoes as much as was done, from any of these states.
 *   - A configuration that is read again is served whole or not at all; those before it live on with their models' names.
 * Threads: one, until the engine has its own; session_reload's may be another than the rest's, which then leaves config,
 * backends and models alone. */
#ifndef BACKPLANE_COMMANDS_SESSION_H
#define BACKPLANE_COMMANDS_SESSION_H

#include "base/arena.h"
#include "commands/cli.h"
#include "engine/engine.h"
#include "host/config.h"
#include "host/plugins.h"

/* Pairs of option and value, then NULL, as config_single takes them. */
typedef struct session_settings {
    const char *pairs[2 * (CLI_MAX_OPTIONS + CLI_MAX_REPEATS) + 1];
    size_t count;
} session_settings;

/* One model and at most one frontend, as commands that a person types choose them. */
typedef struct session_selection {
    const char *config_file; /* NULL: `model` is a file and all else a default */
    const char *model;       /* a name in config_file, or a GGUF file; NULL: the frontend's, or the first */
    const char *backend;     /* a name in config_file, or a plugin; NULL: the model's, or "cpu" */
    const char *frontend;    /* the plugin to use, as the configuration has it or with defaults; NULL: none */
    session_settings model_settings, backend_settings, frontend_settings;
} session_selection;

/* A device that was opened, until it is closed by the engine or by session_end. */
typedef struct session_device {
    struct session_device *next;
    const config_plugin *entry; /* as it was opened */
    uint64_t step_ns;
    engine_backend backend;
    bool open;
} session_device;

/* What was before a configuration was read again. */
typedef struct session_past {
    struct session_past *next;
    config *config;
} session_past;

typedef struct session {
    arena *memory;
    config *config;
    plugins *plugins;
    const config_model *model;  /* after session_select: the one that was chosen */
    config_plugin chosen;       /* the frontend of session_select */
    bp_error *refusals;         /* [config->backend_count]: why a backend is unusable; message "" where it is not */
    engine_backend *backends;   /* [config->backend_count], in its order */
    session_device *devices;
    session_past *past;
    engine_model *models;       /* [config->model_count], in its order */
    struct model_shelf *shelf;  /* the files that they have open; NULL: each has its own */
    bp_engine *engine;
} session;

/* The first options of commands that call session_read_options. */
enum { SESSION_CONFIG, SESSION_BACKEND, SESSION_SET, SESSION_OPTION_COUNT };
#define SESSION_OPTIONS                                                                                                \
    {.name = "config", .letter = 'c', .value = "FILE", .help = "the configuration that names models and backends"},    \
        {.name = "backend", .letter = 'b', .value = "NAME", .help = "run the model on this backend of FILE, or plugin"}, \
        {.name = "set", .letter = 's', .value = "PART.KEY=VALUE", .repeats = true,                                     \
         .help = "change an option; PART is model, backend or frontend"}

/* For errors that are the command line's: session_read_options has printed them. */
bool session_read_options(session *s, const cli_values *values, session_selection *out);
void session_add(session_settings *settings, const char *option, const char *value); /* a NULL value adds nothing */

bp_status session_init(session *s, bp_error *error);
/* A file as it is, with all of its frontends. */
bp_status session_load(session *s, const char *config_file, yaml_lookup_fn lookup, bp_error *error);
bp_status session_select(session *s, const session_selection *selection, yaml_lookup_fn lookup, bp_error *error);
/* Loads plugins. A refused backend is kept in `refusals`; a refused frontend is left out, with a line in the log, unless it
 * is the chosen one. */
bp_status session_bind(session *s, bp_error *error);
/* Opens devices and makes the engine. Fails where no device at all opens. */
bp_status session_start(session *s, bp_error *error);
/* reload.c: reads the file of session_load again and serves what it says now. Strict where session_start is not: a plugin that is
 * refused, a device that does not open or a model whose header cannot be read is an error, and so is all that config_load
 * finds; then nothing has changed. Frontends stay as they are, with a warning where their section is another now. */
bp_status session_reload(session *s, yaml_lookup_fn lookup, engine_changes *changes, bp_error *error);
void session_end(session *s);

/* For session_reload: the device of a configuration's entry, and its models as the engine takes them. */
bp_status session_open_device(session *s, const config *c, const config_plugin *entry, engine_backend *out, bp_error *error);
bp_status session_models(session *s, const config *c, engine_model **out, bp_error *error);

/* `path` as seen from the working directory; the session's memory. NULL when that fails, with the error set. */
const char *session_absolute(session *s, const char *path, bp_error *error);
/* The directories of plugins_add_default_directories, after those that were added. */
bp_status session_add_default_directories(plugins *p, bp_error *error);

#endif
