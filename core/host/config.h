/* config: one YAML file as typed values, checked as far as possible before anything is opened.
 *
 *     backends:  { NAME: { plugin: NAME|PATH, …the plugin's options } }
 *     models:    { NAME: { file: PATH, backend: NAME, …config_model_options } }
 *     frontends: { NAME: { plugin: NAME|PATH, …the plugin's options } }
 *     plugin_path: [DIRECTORY]
 *     log_level: info
 *
 * Two steps: config_load reads the file and checks all that the file alone can tell; config_bind loads the plugins that it
 * names and reads their options. Every error is "file:line:column: sentence". Relative paths are relative to the
 * file. Immutable after config_bind; any thread. The plugins of a bound configuration outlive it. */
#ifndef BACKPLANE_HOST_CONFIG_H
#define BACKPLANE_HOST_CONFIG_H

#include "base/yaml.h"
#include "host/plugins.h"

enum { CONFIG_LOAD_LAZY = 0, CONFIG_LOAD_EAGER = 1 };
#define CONFIG_AUTO INT64_MIN /* of an int64_t: left to the engine */

/* A backend or a frontend. */
typedef struct config_plugin {
    const char *name;
    const char *plugin;      /* a plugin's name or an absolute path, as plugins_load takes it */
    const plugin *loaded;    /* after config_bind */
    const void *options;     /* after config_bind: the struct that the plugin's table fills */
    const yaml_node *node;   /* NULL where no file holds it */
    const char *const *settings; /* pairs of option and value that follow the node's, ending with NULL; or NULL */
} config_plugin;

/* Filled through config_model_options; the defaults are in that table. */
typedef struct config_model {
    const char *name;
    const config_plugin *backend_entry;
    const char *const *aliases; /* [alias_count] further names that requests may use */
    size_t alias_count;

    const char *file;          /* absolute */
    const char *backend;
    int64_t context;           /* tokens of one sequence; CONFIG_AUTO: what the model was trained for */
    int32_t numerics;          /* BP_NUMERICS_… */
    int32_t kv_type;           /* BP_KV_… */
    int32_t load;              /* CONFIG_LOAD_… */
    uint8_t pinned;            /* stays in memory once it is loaded */
    int64_t idle_seconds;      /* leaves memory after so long without a request; 0: never */
    int64_t max_batch;         /* sequences of one step */
    int64_t max_step_tokens;   /* tokens of one step */
    int64_t mixed_step_tokens; /* tokens of prompts in a step that also continues answers */
    int64_t drafts;            /* tokens that a step may guess ahead; 0: none */
    int32_t page_size;         /* as written; page_tokens is the number */
    uint32_t page_tokens;
    int64_t kv_tokens;         /* tokens that all sequences together may cache; CONFIG_AUTO: kv_memory's, or the engine's own */
    uint64_t kv_memory;        /* bytes of the same; 0: from kv_tokens */
    uint8_t prefix_cache;      /* keep the pages of what was computed, for requests that begin alike */
    int64_t queue_limit;       /* requests that may wait */
    int64_t max_tokens;        /* of an answer, where a request names none; 0: as many as fit */
    double temperature, top_p, min_p, typical_p, repetition_penalty, frequency_penalty, presence_penalty;
    int64_t top_k, penalty_window, seed;
    int32_t task, pooling;     /* MODEL_TASK_…, MODEL_POOLING_… */
    int32_t normalize, append_eos; /* MODEL_AUTO, YES or NO */
    const char *prefix;        /* before an embedder's texts; NULL: what its file says */
    const char *system_prompt; /* put before requests that have no system message; NULL is none */
    const yaml_node *node;     /* NULL where no file holds it */
} config_model;

typedef struct config {
    const char *path;          /* as given; what messages call it */
    const char *directory;     /* absolute; of the file */
    config_plugin *backends, *frontends;
    config_model *models;
    size_t backend_count, frontend_count, model_count;
    const char *const *plugin_path; /* [plugin_path_count] absolute directories, searched before the default ones */
    size_t plugin_path_count;
    int32_t log_level;         /* BP_LOG_… */
    uint64_t memory_budget;    /* bytes; 0: none */
    int64_t step_seconds;      /* of one step of a backend; 0: no limit */
    struct arena *memory;
    yaml_tree *tree;           /* NULL where no file holds it */
} config;

bp_status config_load(const char *path, yaml_lookup_fn lookup, void *user, config **out, bp_error *error);
/* As if `text` were a file named `name` in `directory`. */
bp_status config_from_text(const char *name, const char *directory, const char *text, size_t bytes, yaml_lookup_fn lookup,
                           void *user, config **out, bp_error *error);
void config_free(config *c); /* NULL is fine */

/* One model, one backend and one frontend without a file: every value a default, then the settings, which are arrays of
 * option, value, option, value, NULL, or NULL. Names are copied. */
typedef struct config_single {
    const char *file;                            /* the model; relative to `directory` */
    const char *directory;                       /* absolute */
    const char *backend, *frontend;              /* plugins; a NULL frontend is none */
    const char *const *model_settings, *const *backend_settings, *const *frontend_settings;
} config_single;
bp_status config_from_single(const config_single *single, config **out, bp_error *error);

/* Adds plugin_path to the set's directories; call it before directories of lower rank are added. */
bp_status config_add_plugin_path(const config *c, plugins *p, bp_error *error);
/* Changes a model's options, in the same form as in config_single, and checks it again. */
bp_status config_set_model(config *c, const char *name, const char *const *settings, bp_error *error);
/* Loads what backends and frontends name and fills their options. */
bp_status config_bind(config *c, plugins *p, bool with_frontends, bp_error *error);
/* The same for one of them. A failure with entry->loaded set is the configuration's; without, the plugin was refused. */
bp_status config_bind_entry(const config *c, config_plugin *entry, uint32_t kind, plugins *p, bp_error *error);

/* By name or alias; NULL where there is none. */
const config_model *config_find_model(const config *c, const char *name);

/* The rows behind a model's keys and the top level's, for help and the reference page. */
extern const bp_option config_model_options[], config_top_options[];

#endif
