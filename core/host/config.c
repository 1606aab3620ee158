#include "host/config.h"

#include "base/arena.h"
#include "base/error.h"
#include "host/options.h"
#include "host/suggest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 63 }; /* bp_model_info has room for as many */

static const char name_characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-";

static bp_status fail_memory(const config *c, bp_error *error)
{
    return error_set(error, BP_ENOMEM, "%s: out of memory", c->path);
}

/* --- parts ------------------------------------------------------------------------------------------------------------ */

static bp_status check_name(const yaml_node *node, const char *what, bp_error *error)
{
    size_t length = node->kind == YAML_TEXT ? strspn(node->text, name_characters) : 0;
    if (length == 0 || length > MAX_NAME || node->text[length])
        return yaml_fail(node, error, "a %s's name is 1 to %d of A-Z, a-z, 0-9, '.', '_', ':', '/' and '-'", what, MAX_NAME);
    return BP_OK;
}

/* A list of texts as an array of the arena. */
static bp_status read_list(config *c, const yaml_node *node, const char *what, const char *const **out, size_t *count,
                           bp_error *error)
{
    if (!node)
        return BP_OK;
    if (node->kind != YAML_LIST)
        return yaml_fail(node, error, "%s is %s; it takes a list", what, yaml_kind_name(node));
    const char **array = arena_array(c->memory, node->count + 1, sizeof *array);
    if (!array)
        return fail_memory(c, error);
    for (size_t i = 0; i < node->count; i++) {
        if (node->values[i]->kind != YAML_TEXT)
            return yaml_fail(node->values[i], error, "%s in %s; its entries are texts", yaml_kind_name(node->values[i]), what);
        array[i] = node->values[i]->text;
    }
    *out = array;
    *count = node->count;
    return BP_OK;
}

/* The section `key` of the file, checked to be a mapping whose keys are names; *out stays NULL where there is none. */
static bp_status open_section(const config *c, const char *key, const char *what, const yaml_node **out, bp_error *error)
{
    const yaml_node *section = yaml_get(yaml_root(c->tree), key);
    if (!section)
        return BP_OK;
    if (section->kind != YAML_MAP)
        return yaml_fail(section, error, "%s is %s; it takes a mapping of names to what they stand for", key,
                         yaml_kind_name(section));
    for (size_t i = 0; i < section->count; i++) {
        bp_status status = check_name(section->keys[i], what, error);
        if (status != BP_OK)
            return status;
        if (section->values[i]->kind != YAML_MAP)
            return yaml_fail(section->values[i], error, "%s %s is %s; it takes a mapping", what, section->keys[i]->text,
                             yaml_kind_name(section->values[i]));
    }
    *out = section;
    return BP_OK;
}

static options_target target_of(const config *c, const bp_option *options, void *filled)
{
    return (options_target){options, filled, c->memory, c->directory};
}

/* --- backends and frontends ------------------------------------------------------------------------------------------- */

/* A path as `plugin:` holds one is told from a name by its slash. */
static const char *plugin_reference(const config *c, const char *text)
{
    static const bp_option row[] = {{.name = "plugin", .type = BP_OPTION_PATH}, {0}};
    if (!strchr(text, '/'))
        return text;
    const char *path = NULL;
    options_target target = target_of(c, row, &path);
    return options_set(&target, "plugin", text, NULL) == BP_OK ? path : NULL;
}

static bp_status read_plugin(const config *c, const yaml_node *key, const yaml_node *node, const char *what, config_plugin *out,
                             bp_error *error)
{
    const yaml_node *reference = yaml_get(node, "plugin");
    if (!reference)
        return yaml_fail(node, error, "%s %s names no plugin; write plugin: NAME", what, key->text);
    if (reference->kind != YAML_TEXT || !*reference->text)
        return yaml_fail(reference, error, "plugin takes a plugin's name or a path");
    out->name = key->text;
    out->plugin = plugin_reference(c, reference->text);
    out->node = node;
    return out->plugin ? BP_OK : fail_memory(c, error);
}

static bp_status read_plugins(const config *c, const char *key, const char *what, config_plugin **out, size_t *count,
                              bp_error *error)
{
    const yaml_node *section = NULL;
    bp_status status = open_section(c, key, what, &section, error);
    if (status != BP_OK || !section)
        return status;
    *out = arena_array(c->memory, section->count + 1, sizeof **out);
    if (!*out)
        return fail_memory(c, error);
    *count = section->count;
    for (size_t i = 0; i < section->count && status == BP_OK; i++)
        status = read_plugin(c, section->keys[i], section->values[i], what, &(*out)[i], error);
    return status;
}

/* --- models ----------------------------------------------------------------------------------------------------------- */

/* Where a sentence about a model's key points: the value if it is written, else the model. */
static const yaml_node *place_of(const config_model *m, const char *key)
{
    const yaml_node *value = yaml_get(m->node, key);
    return value ? value : m->node;
}

static bp_status fail_model(const config *c, const config_model *m, const char *key, const char *sentence, bp_error *error)
{
    const yaml_node *place = place_of(m, key);
    return place ? yaml_fail(place, error, "%s", sentence) : error_set(error, BP_EINVAL, "%s: %s", c->path, sentence);
}

static bp_status resolve_backend(const config *c, config_model *m, bp_error *error)
{
    if (!m->backend && c->backend_count == 1)
        m->backend = c->backends[0].name;
    if (!m->backend)
        return fail_model(c, m, "backend", "a model names its backend where there is more than one; write backend: NAME", error);
    suggestion guess = suggest_for(m->backend);
    for (size_t i = 0; i < c->backend_count; i++) {
        suggest_add(&guess, c->backends[i].name);
        if (strcmp(c->backends[i].name, m->backend) == 0) {
            m->backend_entry = &c->backends[i];
            return BP_OK;
        }
    }
    char hint[100], sentence[300];
    snprintf(sentence, sizeof sentence, "no backend \"%.64s\" under backends%s", m->backend,
             suggest_text(&guess, hint, sizeof hint));
    return fail_model(c, m, "backend", sentence, error);
}

/* What one row of a table cannot say. */
static bp_status check_model(const config *c, config_model *m, bp_error *error)
{
    m->page_tokens = 16u << m->page_size;
    if (m->kv_memory && m->kv_tokens != CONFIG_AUTO)
        return fail_model(c, m, "kv_memory", "kv_tokens and kv_memory say the same thing; write one of them", error);
    if (m->max_step_tokens < m->max_batch)
        return fail_model(c, m, "max_step_tokens", "max_step_tokens is less than max_batch: each sequence needs a token", error);
    return resolve_backend(c, m, error);
}

static bp_status read_model(config *c, const yaml_node *key, const yaml_node *node, config_model *out, bp_error *error)
{
    static const char *const others[] = {"aliases", NULL};
    out->name = key->text;
    out->node = node;
    options_target target = target_of(c, config_model_options, out);
    bp_status status = options_fill(&target, node, others, error);
    if (status == BP_OK)
        status = read_list(c, yaml_get(node, "aliases"), "aliases", &out->aliases, &out->alias_count, error);
    for (size_t i = 0; i < out->alias_count && status == BP_OK; i++)
        status = check_name(yaml_get(node, "aliases")->values[i], "model", error);
    return status == BP_OK ? check_model(c, out, error) : status;
}

static const config_model *find_other(const config *c, const config_model *self, size_t own_aliases, const char *name)
{
    for (size_t i = 0; i < c->model_count; i++) {
        const config_model *m = &c->models[i];
        size_t aliases = m == self ? own_aliases : m->alias_count;
        if (strcmp(m->name, name) == 0)
            return m;
        for (size_t j = 0; j < aliases; j++)
            if (strcmp(m->aliases[j], name) == 0)
                return m;
    }
    return NULL;
}

/* Names differ because keys do; an alias may still be a name, or another model's alias. */
static bp_status check_aliases(const config *c, bp_error *error)
{
    for (size_t i = 0; i < c->model_count; i++)
        for (size_t j = 0; j < c->models[i].alias_count; j++) {
            const config_model *m = &c->models[i], *other = find_other(c, m, j, m->aliases[j]);
            if (other)
                return yaml_fail(yaml_get(m->node, "aliases")->values[j], error, "the alias %s is already a name of model %s",
                                 m->aliases[j], other->name);
        }
    return BP_OK;
}

static bp_status read_models(config *c, bp_error *error)
{
    const yaml_node *section = NULL;
    bp_status status = open_section(c, "models", "model", &section, error);
    if (status != BP_OK)
        return status;
    if (!section || section->count == 0)
        return yaml_fail(section ? section : yaml_root(c->tree), error, "there is no model; write models: { NAME: { file: PATH } }");
    c->models = arena_array(c->memory, section->count, sizeof *c->models);
    if (!c->models)
        return fail_memory(c, error);
    for (size_t i = 0; i < section->count && status == BP_OK; i++) {
        status = read_model(c, section->keys[i], section->values[i], &c->models[i], error);
        c->model_count++;
    }
    return status == BP_OK ? check_aliases(c, error) : status;
}

const config_model *config_find_model(const config *c, const char *name)
{
    return find_other(c, NULL, 0, name);
}

/* --- the file --------------------------------------------------------------------------------------------------------- */

static bp_status read_top(config *c, bp_error *error)
{
    static const char *const sections[] = {"backends", "models", "frontends", "plugin_path", NULL};
    options_target target = target_of(c, config_top_options, c);
    const yaml_node *root = yaml_root(c->tree), *list = yaml_get(root, "plugin_path");
    bp_status status = options_fill(&target, root, sections, error);
    if (status == BP_OK)
        status = read_list(c, list, "plugin_path", &c->plugin_path, &c->plugin_path_count, error);
    if (status != BP_OK)
        return status;
    static const bp_option row[] = {{.name = "plugin_path", .type = BP_OPTION_PATH}, {0}};
    const char **absolute = arena_array(c->memory, c->plugin_path_count + 1, sizeof *absolute);
    for (size_t i = 0; absolute && i < c->plugin_path_count; i++) {
        target = target_of(c, row, &absolute[i]);
        bp_error local = {0};
        if (options_set(&target, "plugin_path", c->plugin_path[i], &local) != BP_OK)
            return yaml_fail(list->values[i], error, "%s", local.message);
    }
    c->plugin_path = absolute;
    return absolute ? BP_OK : fail_memory(c, error);
}

static bp_status read_file(config *c, bp_error *error)
{
    const yaml_node *root = yaml_root(c->tree);
    if (root->kind != YAML_MAP)
        return yaml_fail(root, error, "%s where the mapping of backends, models and frontends belongs", yaml_kind_name(root));
    bp_status status = read_top(c, error);
    if (status == BP_OK)
        status = read_plugins(c, "backends", "backend", &c->backends, &c->backend_count, error);
    if (status == BP_OK && c->backend_count == 0)
        status = yaml_fail(root, error, "there is no backend; write backends: { cpu: { plugin: cpu } }");
    if (status == BP_OK)
        status = read_models(c, error);
    if (status == BP_OK)
        status = read_plugins(c, "frontends", "frontend", &c->frontends, &c->frontend_count, error);
    return status;
}

static config *new_config(const char *path, const char *directory)
{
    arena *memory = arena_new();
    config *c = memory ? arena_alloc(memory, sizeof *c) : NULL;
    if (!c || !(c->path = arena_string(memory, path)) || !(c->directory = arena_string(memory, directory))) {
        arena_free(memory);
        return NULL;
    }
    c->memory = memory;
    return c;
}

void config_free(config *c)
{
    if (!c)
        return;
    yaml_release(c->tree);
    arena_free(c->memory);
}

/* Takes the tree, also when it fails. */
static bp_status from_tree(const char *path, const char *directory, yaml_tree *tree, config **out, bp_error *error)
{
    config *c = new_config(path, directory);
    if (!c) {
        yaml_release(tree);
        return error_set(error, BP_ENOMEM, "%s: out of memory", path);
    }
    c->tree = tree;
    bp_status status = read_file(c, error);
    if (status == BP_OK)
        *out = c;
    else
        config_free(c);
    return status;
}

bp_status config_from_text(const char *name, const char *directory, const char *text, size_t bytes, yaml_lookup_fn lookup,
                           void *user, config **out, bp_error *error)
{
    yaml_tree *tree;
    bp_status status = yaml_parse(name, text, bytes, lookup, user, &tree, error);
    return status == BP_OK ? from_tree(name, directory, tree, out, error) : status;
}

bp_status config_load(const char *path, yaml_lookup_fn lookup, void *user, config **out, bp_error *error)
{
    yaml_tree *tree;
    bp_status status = yaml_load(path, lookup, user, &tree, error);
    if (status != BP_OK)
        return status;
    char *directory = realpath(path, NULL);
    if (!directory) {
        yaml_release(tree);
        return error_set(error, BP_EIO, "%s: its directory cannot be found", path);
    }
    char *slash = strrchr(directory, '/');
    slash[slash == directory] = '\0';
    status = from_tree(path, directory, tree, out, error);
    free(directory);
    return status;
}

/* --- without a file --------------------------------------------------------------------------------------------------- */

static const char *const *copy_settings(config *c, const char *const *settings)
{
    size_t count = 0;
    while (settings && settings[count])
        count++;
    const char **copy = arena_array(c->memory, count + 1, sizeof *copy);
    for (size_t i = 0; copy && i < count; i++)
        if (!(copy[i] = arena_string(c->memory, settings[i])))
            return NULL;
    return copy;
}

static bp_status apply_settings(const options_target *target, const char *const *settings, bp_error *error)
{
    bp_status status = BP_OK;
    for (size_t i = 0; settings && settings[i] && settings[i + 1] && status == BP_OK; i += 2)
        status = options_set(target, settings[i], settings[i + 1], error);
    return status;
}

static bp_status single_plugin(config *c, const char *name, const char *const *settings, config_plugin **out, size_t *count,
                               bp_error *error)
{
    *out = arena_alloc(c->memory, sizeof **out);
    const char *copy = arena_string(c->memory, name);
    if (!*out || !copy)
        return fail_memory(c, error);
    **out = (config_plugin){.name = copy, .plugin = plugin_reference(c, copy), .settings = copy_settings(c, settings)};
    *count = 1;
    return (*out)->plugin && (*out)->settings ? BP_OK : fail_memory(c, error);
}

/* The file's name without folder and ending, cut to what a name may hold. */
static char *model_name(config *c, const char *file)
{
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    size_t length = strlen(base);
    if (length > 5 && strcmp(base + length - 5, ".gguf") == 0)
        length -= 5;
    char *name = arena_copy(c->memory, base, length > MAX_NAME ? MAX_NAME : length);
    for (char *at = name; at && *at; at++)
        if (!strchr(name_characters, *at))
            *at = '-';
    return name && !*name ? arena_string(c->memory, "model") : name;
}

bp_status config_set_model(config *c, const char *name, const char *const *settings, bp_error *error)
{
    for (size_t i = 0; i < c->model_count; i++) {
        config_model *m = &c->models[i];
        if (strcmp(m->name, name) != 0)
            continue;
        options_target target = target_of(c, config_model_options, m);
        bp_status status = apply_settings(&target, settings, error);
        return status == BP_OK ? check_model(c, m, error) : status;
    }
    return error_set(error, BP_ENOTFOUND, "%s: no model \"%.64s\"", c->path, name);
}

static bp_status single_model(config *c, const config_single *single, bp_error *error)
{
    config_model *m = c->models = arena_alloc(c->memory, sizeof *m);
    if (!m || !(m->name = model_name(c, single->file)))
        return fail_memory(c, error);
    c->model_count = 1;
    options_target target = target_of(c, config_model_options, m);
    bp_status status = options_defaults(&target, error);
    if (status == BP_OK)
        status = options_set(&target, "file", single->file, error);
    if (status == BP_OK)
        status = apply_settings(&target, single->model_settings, error);
    return status == BP_OK ? check_model(c, m, error) : status;
}

bp_status config_from_single(const config_single *single, config **out, bp_error *error)
{
    config *c = new_config("the command line", single->directory);
    if (!c)
        return error_set(error, BP_ENOMEM, "out of memory for the configuration");
    options_target target = target_of(c, config_top_options, c);
    bp_status status = options_defaults(&target, error);
    if (status == BP_OK)
        status = single_plugin(c, single->backend, single->backend_settings, &c->backends, &c->backend_count, error);
    if (status == BP_OK && single->frontend)
        status = single_plugin(c, single->frontend, single->frontend_settings, &c->frontends, &c->frontend_count, error);
    if (status == BP_OK)
        status = single_model(c, single, error);
    if (status == BP_OK)
        *out = c;
    else
        config_free(c);
    return status;
}

/* --- binding ---------------------------------------------------------------------------------------------------------- */

bp_status config_add_plugin_path(const config *c, plugins *p, bp_error *error)
{
    bp_status status = BP_OK;
    for (size_t i = 0; i < c->plugin_path_count && status == BP_OK; i++)
        status = plugins_add_directory(p, c->plugin_path[i], error);
    return status;
}

/* A frontend's option named `model` is a model's name: a wrong one is found here, with its line. */
static bp_status check_model_option(const config *c, const config_plugin *entry, const void *filled, bp_error *error)
{
    const bp_option *row = options_find(entry->loaded->options, "model");
    if (entry->loaded->kind != BP_PLUGIN_FRONTEND || !row || row->type != BP_OPTION_STRING)
        return BP_OK;
    const char *name;
    memcpy(&name, (const char *)filled + row->offset, sizeof name);
    if (!name || !*name || config_find_model(c, name))
        return BP_OK;
    suggestion guess = suggest_for(name);
    for (size_t i = 0; i < c->model_count; i++)
        suggest_add(&guess, c->models[i].name);
    char hint[100];
    suggest_text(&guess, hint, sizeof hint);
    const yaml_node *place = yaml_get(entry->node, "model");
    if (place)
        return yaml_fail(place, error, "no model \"%.64s\" under models%s", name, hint);
    return error_set(error, BP_EINVAL, "%s: no model \"%.64s\"%s", c->path, name, hint);
}

static bp_status fill_plugin(const config *c, config_plugin *entry, bp_error *error)
{
    static const char *const others[] = {"plugin", NULL};
    uint32_t bytes = entry->loaded->config_size;
    void *filled = arena_alloc(c->memory, bytes ? bytes : 1);
    if (!filled)
        return fail_memory(c, error);
    options_target target = target_of(c, entry->loaded->options, filled);
    bp_status status = entry->node ? options_fill(&target, entry->node, others, error) : options_defaults(&target, error);
    if (status == BP_OK && (status = apply_settings(&target, entry->settings, error)) != BP_OK)
        return error_prefix(error, status, "%s %s", plugins_kind_name(entry->loaded->kind), entry->name);
    if (status == BP_OK)
        status = check_model_option(c, entry, filled, error);
    entry->options = filled;
    return status;
}

bp_status config_bind_entry(const config *c, config_plugin *entry, uint32_t kind, plugins *p, bp_error *error)
{
    bp_error local = {0};
    bp_status status = plugins_load(p, entry->plugin, kind, &entry->loaded, &local);
    if (status == BP_OK)
        return fill_plugin(c, entry, error);
    const yaml_node *place = yaml_get(entry->node, "plugin");
    if (!place)
        return error_set(error, status, "%s", local.message);
    yaml_fail(place, error, "%s", local.message);
    if (error)
        error->code = status;
    return status;
}

bp_status config_bind(config *c, plugins *p, bool with_frontends, bp_error *error)
{
    bp_status status = BP_OK;
    for (size_t i = 0; i < c->backend_count && status == BP_OK; i++)
        status = config_bind_entry(c, &c->backends[i], BP_PLUGIN_BACKEND, p, error);
    for (size_t i = 0; with_frontends && i < c->frontend_count && status == BP_OK; i++)
        status = config_bind_entry(c, &c->frontends[i], BP_PLUGIN_FRONTEND, p, error);
    return status;
}
