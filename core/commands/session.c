#include "commands/session.h"

#include "base/error.h"
#include "base/log.h"
#include "commands/refused.h"
#include "host/suggest.h"
#include "model/shelf.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bp_status fail_memory(bp_error *error)
{
    return error_set(error, BP_ENOMEM, "out of memory for the configuration");
}

/* --- the command line ------------------------------------------------------------------------------------------------- */

void session_add(session_settings *settings, const char *option, const char *value)
{
    if (!value || settings->count + 2 >= sizeof settings->pairs / sizeof *settings->pairs)
        return;
    settings->pairs[settings->count++] = option;
    settings->pairs[settings->count++] = value;
}

/* "model.temperature=0" into the settings of its part. */
static bool read_setting(session *s, const char *text, session_selection *out)
{
    static const char *const parts[] = {"model.", "backend.", "frontend."};
    session_settings *const settings[] = {&out->model_settings, &out->backend_settings, &out->frontend_settings};
    const char *equals = strchr(text, '=');
    for (size_t i = 0; equals && i < 3; i++) {
        size_t length = strlen(parts[i]);
        if (strncmp(text, parts[i], length) != 0 || equals <= text + length)
            continue;
        const char *option = arena_copy(s->memory, text + length, (size_t)(equals - text) - length);
        if (!option) {
            cli_usage("out of memory for the settings");
            return false;
        }
        session_add(settings[i], option, equals + 1);
        return true;
    }
    cli_usage("--set takes model.KEY=VALUE, backend.KEY=VALUE or frontend.KEY=VALUE, not \"%s\"", text);
    return false;
}

bool session_read_options(session *s, const cli_values *values, session_selection *out)
{
    *out = (session_selection){.config_file = values->option[SESSION_CONFIG], .backend = values->option[SESSION_BACKEND]};
    for (size_t i = 0; i < values->repeat_count; i++)
        if (!read_setting(s, values->repeated[i], out))
            return false;
    return true;
}

const char *session_absolute(session *s, const char *path, bp_error *error)
{
    char directory[PATH_MAX];
    if (path[0] == '/')
        return path;
    if (!getcwd(directory, sizeof directory)) {
        error_set(error, BP_EIO, "the working directory cannot be found");
        return NULL;
    }
    buffer joined = {0};
    const char *copy = buffer_format(&joined, "%s/%s", directory, path) ? arena_string(s->memory, joined.data) : NULL;
    buffer_free(&joined);
    if (!copy)
        fail_memory(error);
    return copy;
}

/* --- configurations --------------------------------------------------------------------------------------------------- */

bp_status session_init(session *s, bp_error *error)
{
    *s = (session){.memory = arena_new(), .plugins = plugins_new()};
    return s->memory && s->plugins ? BP_OK : fail_memory(error);
}

bp_status session_add_default_directories(plugins *p, bp_error *error)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0)
        return error_set(error, BP_EIO, "the program's own folder cannot be found: /proc/self/exe is not readable");
    program[length] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash)
        return error_set(error, BP_EIO, "the program's own folder cannot be found in \"%.200s\"", program);
    slash[slash == program] = '\0';
    return plugins_add_default_directories(p, program, error);
}

bp_status session_load(session *s, const char *config_file, yaml_lookup_fn lookup, bp_error *error)
{
    bp_status status = config_load(config_file, lookup, NULL, &s->config, error);
    if (status == BP_OK)
        log_set_level(s->config->log_level);
    return status;
}

static const config_plugin *find_frontend(const config *c, const char *name)
{
    for (size_t i = 0; i < c->frontend_count; i++)
        if (strcmp(c->frontends[i].plugin, name) == 0)
            return &c->frontends[i];
    return NULL;
}

/* The frontend of the configuration that is this plugin, or a new one, becomes the only one. */
static void choose_frontend(session *s, const session_selection *selection)
{
    const char *name = selection->frontend;
    const config_plugin *written = name ? find_frontend(s->config, name) : NULL;
    s->chosen = written ? *written : (config_plugin){.name = name, .plugin = name};
    s->chosen.settings = selection->frontend_settings.pairs;
    s->config->frontends = &s->chosen;
    s->config->frontend_count = name != NULL;
}

/* What was asked for, else what the frontend names, else the first. */
static bp_status choose_model(session *s, const char *name, bp_error *error)
{
    const yaml_node *written = yaml_get(s->chosen.node, "model");
    if (!name && written && written->kind == YAML_TEXT)
        name = written->text;
    s->model = name ? config_find_model(s->config, name) : &s->config->models[0];
    if (s->model)
        return BP_OK;
    suggestion guess = suggest_for(name);
    for (size_t i = 0; i < s->config->model_count; i++)
        suggest_add(&guess, s->config->models[i].name);
    char hint[96], others[96];
    snprintf(others, sizeof others, "; the first of %zu is %.63s", s->config->model_count, s->config->models[0].name);
    return error_set(error, BP_ENOTFOUND, "%s: no model \"%.64s\" under models%s", s->config->path, name,
                     *suggest_text(&guess, hint, sizeof hint) ? hint : others);
}

static bp_status select_from_file(session *s, const session_selection *selection, yaml_lookup_fn lookup, bp_error *error)
{
    bp_status status = session_load(s, selection->config_file, lookup, error);
    if (status != BP_OK)
        return status;
    choose_frontend(s, selection);
    status = choose_model(s, selection->model, error);
    if (status != BP_OK)
        return status;
    session_settings settings = selection->model_settings;
    session_add(&settings, "backend", selection->backend);
    status = config_set_model(s->config, s->model->name, settings.pairs, error);
    if (status != BP_OK)
        return status;
    for (size_t i = 0; i < s->config->backend_count; i++)
        if (&s->config->backends[i] == s->model->backend_entry)
            s->config->backends[i].settings = selection->backend_settings.pairs;
    return BP_OK;
}

static bp_status select_file(session *s, const session_selection *selection, bp_error *error)
{
    if (access(selection->model, F_OK) != 0 && !strchr(selection->model, '/'))
        return error_set(error, BP_ENOTFOUND, "there is no file \"%.200s\"; a model's name needs --config FILE",
                         selection->model);
    const char *directory = session_absolute(s, ".", error);
    if (!directory)
        return BP_EIO;
    const config_single single = {
        .file = selection->model, .directory = directory, .backend = selection->backend ? selection->backend : "cpu",
        .model_settings = selection->model_settings.pairs, .backend_settings = selection->backend_settings.pairs};
    bp_status status = config_from_single(&single, &s->config, error);
    if (status != BP_OK)
        return status;
    choose_frontend(s, selection);
    s->model = &s->config->models[0];
    return BP_OK;
}

bp_status session_select(session *s, const session_selection *selection, yaml_lookup_fn lookup, bp_error *error)
{
    bp_status status =
        selection->config_file ? select_from_file(s, selection, lookup, error) : select_file(s, selection, error);
    /* A person at a terminal wants the answer alone, unless the file says otherwise. */
    if (status == BP_OK && !(s->config->tree && yaml_get(yaml_root(s->config->tree), "log_level")))
        log_set_level(BP_LOG_WARN);
    return status;
}

/* --- plugins ---------------------------------------------------------------------------------------------------------- */

static bp_status bind_backends(session *s, bp_error *error)
{
    config *c = s->config;
    s->refusals = arena_array(s->memory, c->backend_count, sizeof *s->refusals);
    if (!s->refusals)
        return fail_memory(error);
    for (size_t i = 0; i < c->backend_count; i++) {
        bp_status status = config_bind_entry(c, &c->backends[i], BP_PLUGIN_BACKEND, s->plugins, &s->refusals[i]);
        if (status != BP_OK && c->backends[i].loaded)
            return error_set(error, status, "%s", s->refusals[i].message);
        if (status != BP_OK)
            log_line(BP_LOG_ERROR, "backend %s is left out: %s", c->backends[i].name, s->refusals[i].message);
    }
    return BP_OK;
}

static bp_status bind_frontends(session *s, bp_error *error)
{
    config *c = s->config;
    for (size_t i = 0; i < c->frontend_count; i++) {
        bp_error why = {0};
        bp_status status = config_bind_entry(c, &c->frontends[i], BP_PLUGIN_FRONTEND, s->plugins, &why);
        if (status != BP_OK && (c->frontends[i].loaded || &c->frontends[i] == &s->chosen))
            return error_set(error, status, "%s", why.message);
        if (status != BP_OK)
            log_line(BP_LOG_ERROR, "frontend %s is left out: %s", c->frontends[i].name, why.message);
    }
    return BP_OK;
}

bp_status session_bind(session *s, bp_error *error)
{
    bp_status status = config_add_plugin_path(s->config, s->plugins, error);
    if (status == BP_OK)
        status = session_add_default_directories(s->plugins, error);
    if (status == BP_OK)
        status = bind_backends(s, error);
    return status == BP_OK ? bind_frontends(s, error) : status;
}

/* --- devices and models ----------------------------------------------------------------------------------------------- */

static void close_device(const engine_backend *backend)
{
    session_device *d = backend->owner;
    if (d->open)
        backend->ops->close(backend->device);
    d->open = false;
}

bp_status session_open_device(session *s, const config *c, const config_plugin *entry, engine_backend *out, bp_error *error)
{
    session_device *d = arena_alloc(s->memory, sizeof *d);
    if (!d)
        return fail_memory(error);
    *d = (session_device){.next = s->devices, .entry = entry, .step_ns = (uint64_t)c->step_seconds * 1000000000u};
    engine_backend *b = &d->backend;
    *b = (engine_backend){.name = entry->name, .ops = &entry->loaded->backend, .step_ns = d->step_ns, .close = close_device, .owner = d};
    bp_status status = b->ops->open(log_host(), entry->options, &b->device, error);
    if (status != BP_OK)
        return status;
    d->open = true;
    s->devices = d;
    b->info.size = sizeof b->info;
    if (b->ops->info(b->device, &b->info, NULL) != BP_OK)
        b->info = (bp_device_info){.size = sizeof b->info};
    log_line(BP_LOG_INFO, "backend %s: %s", b->name, b->info.name);
    *out = *b;
    return BP_OK;
}

/* A device that does not open is replaced by one whose models fail with the reason. */
static bp_status open_or_refuse(session *s, size_t i, bool *opened, bp_error *error)
{
    const config_plugin *entry = &s->config->backends[i];
    engine_backend *b = &s->backends[i];
    *opened = entry->loaded && session_open_device(s, s->config, entry, b, &s->refusals[i]) == BP_OK;
    if (*opened)
        return BP_OK;
    if (entry->loaded)
        log_line(BP_LOG_ERROR, "backend %s is left out: %s: %s", entry->name, entry->loaded->path, s->refusals[i].message);
    *b = (engine_backend){.name = entry->name, .ops = refused_ops(), .device = refused_device(s->memory, &s->refusals[i])};
    return b->device ? BP_OK : fail_memory(error);
}

static bp_status open_devices(session *s, bp_error *error)
{
    size_t count = s->config->backend_count, usable = 0;
    s->backends = arena_array(s->memory, count, sizeof *s->backends);
    if (!s->backends)
        return fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        bool opened;
        bp_status status = open_or_refuse(s, i, &opened, error);
        if (status != BP_OK)
            return status;
        usable += opened;
    }
    /* A single refusal is the whole story; the log has told longer ones. */
    if (usable == 0)
        return error_set(error, s->refusals[0].code, "no backend can be used: %s", s->refusals[0].message);
    return BP_OK;
}

static uint64_t number_or_zero(int64_t value)
{
    return value == CONFIG_AUTO ? 0 : (uint64_t)value;
}

static bp_sampling sampling_of(const config_model *m)
{
    return (bp_sampling){.size = sizeof(bp_sampling),
                         .top_k = (uint32_t)m->top_k,
                         .temperature = (float)m->temperature,
                         .top_p = (float)m->top_p,
                         .min_p = (float)m->min_p,
                         .typical_p = (float)m->typical_p,
                         .repetition_penalty = (float)m->repetition_penalty,
                         .frequency_penalty = (float)m->frequency_penalty,
                         .presence_penalty = (float)m->presence_penalty,
                         .penalty_window = (uint32_t)m->penalty_window,
                         .seed = (uint64_t)m->seed,
                         .logprobs = -1};
}

/* The ranges of the option table keep every conversion whole. */
static engine_model model_of(const config *c, const config_model *m, model_shelf *shelf)
{
    return (engine_model){.name = m->name,
                          .aliases = m->aliases,
                          .alias_count = (uint32_t)m->alias_count,
                          .file = m->file,
                          .file_stamp = model_shelf_stamp(m->file),
                          .backend = (uint32_t)(m->backend_entry - c->backends),
                          .context = (uint32_t)number_or_zero(m->context),
                          .numerics = (uint32_t)m->numerics,
                          .kv_dtype = (uint32_t)m->kv_type,
                          .max_batch = (uint32_t)m->max_batch,
                          .max_step_tokens = (uint32_t)m->max_step_tokens,
                          .mixed_step_tokens = (uint32_t)m->mixed_step_tokens,
                          .drafts = (uint32_t)m->drafts,
                          .page_tokens = m->page_tokens,
                          .queue_limit = (uint32_t)m->queue_limit,
                          .no_prefix_cache = !m->prefix_cache,
                          .kv_tokens = number_or_zero(m->kv_tokens),
                          .kv_memory = m->kv_memory,
                          .max_tokens = (uint32_t)m->max_tokens,
                          .pinned = m->pinned,
                          .idle_ns = m->pinned ? 0 : (uint64_t)m->idle_seconds * 1000000000u,
                          .task = (uint32_t)m->task,
                          .pooling = (uint32_t)m->pooling,
                          .normalise = (uint32_t)m->normalize,
                          .append_eos = (uint32_t)m->append_eos,
                          .prefix = m->prefix,
                          .shelf = shelf,
                          .system_prompt = m->system_prompt,
                          .sampling = sampling_of(m)};
}

bp_status session_models(session *s, const config *c, engine_model **out, bp_error *error)
{
    engine_model *models = arena_array(s->memory, c->model_count, sizeof *models);
    if (!models)
        return fail_memory(error);
    for (size_t i = 0; i < c->model_count; i++)
        models[i] = model_of(c, &c->models[i], s->shelf);
    *out = models;
    return BP_OK;
}

bp_status session_start(session *s, bp_error *error)
{
    const config *c = s->config;
    bp_status status = open_devices(s, error);
    s->shelf = model_shelf_new();
    if (status == BP_OK)
        status = session_models(s, c, &s->models, error);
    if (status != BP_OK)
        return status;
    return engine_new(s->backends, (uint32_t)c->backend_count, s->models, (uint32_t)c->model_count, c->memory_budget,
                      &s->engine, error);
}

void session_end(session *s)
{
    engine_free(s->engine);
    model_shelf_free(s->shelf);
    for (session_device *d = s->devices; d; d = d->next)
        close_device(&d->backend);
    config_free(s->config);
    for (session_past *p = s->past; p; p = p->next)
        config_free(p->config);
    plugins_free(s->plugins);
    arena_free(s->memory);
    *s = (session){0};
}
