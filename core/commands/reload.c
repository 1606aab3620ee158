/* reload: a session whose configuration is read again while it serves (session.h). */
#include "commands/session.h"

#include "base/error.h"
#include "base/log.h"
#include "model/model.h"

#include <string.h>

/* --- what the file says now ------------------------------------------------------------------------------------------------- */

static bp_status bind(session *s, config *c, bp_error *error)
{
    bp_status status = BP_OK;
    for (size_t i = 0; i < c->backend_count && status == BP_OK; i++)
        status = config_bind_entry(c, &c->backends[i], BP_PLUGIN_BACKEND, s->plugins, error);
    return status;
}

/* That each model's file has a header that can be read; what else it holds is looked at when it is loaded. */
static bp_status check_files(const config *c, bp_error *error)
{
    for (size_t i = 0; i < c->model_count; i++) {
        const config_model *m = &c->models[i];
        const model_options wanted = {.context = m->context == CONFIG_AUTO ? 0 : (uint32_t)m->context,
                                      .numerics = (uint32_t)m->numerics};
        model_file *file;
        bp_error why = {0};
        bp_status status = model_open(m->file, &wanted, &file, &why);
        if (status != BP_OK)
            return error_set(error, status, "%s: model %s: %.380s", c->path, m->name, why.message);
        model_close(file);
    }
    return BP_OK;
}

static bool same_paths(const config *a, const config *b)
{
    if (a->plugin_path_count != b->plugin_path_count)
        return false;
    for (size_t i = 0; i < a->plugin_path_count; i++)
        if (strcmp(a->plugin_path[i], b->plugin_path[i]) != 0)
            return false;
    return true;
}

/* What a running process does not take up. */
static void warn_of_the_rest(const config *old, const config *new)
{
    if (!yaml_same(yaml_get(yaml_root(old->tree), "frontends"), yaml_get(yaml_root(new->tree), "frontends")))
        log_line(BP_LOG_WARN, "frontends: changed in %s; that is taken up when the program is started again", new->path);
    if (!same_paths(old, new))
        log_line(BP_LOG_WARN, "plugin_path: changed in %s; that is taken up when the program is started again", new->path);
}

/* --- devices ---------------------------------------------------------------------------------------------------------------- */

/* The device of the same entry, as the configuration that is served has it. */
static const session_device *find_device(const session *s, const config *c, const config_plugin *entry)
{
    for (size_t i = 0; i < s->config->backend_count; i++) {
        const session_device *d = s->backends[i].owner; /* NULL: it did not open */
        if (d && strcmp(d->entry->name, entry->name) == 0 && d->entry->loaded == entry->loaded &&
            d->step_ns == (uint64_t)c->step_seconds * 1000000000u && yaml_same(d->entry->node, entry->node))
            return d;
    }
    return NULL;
}

static bp_status take_devices(session *s, const config *c, engine_backend *out, bp_error *error)
{
    bp_status status = BP_OK;
    for (size_t i = 0; i < c->backend_count && status == BP_OK; i++) {
        const session_device *d = find_device(s, c, &c->backends[i]);
        bp_error why = {0};
        if (d)
            out[i] = d->backend;
        else if ((status = session_open_device(s, c, &c->backends[i], &out[i], &why)) != BP_OK)
            error_set(error, status, "%s: backend %s: %.400s", c->path, c->backends[i].name, why.message);
    }
    return status;
}

/* Those that were opened since. */
static void close_devices(session *s, const session_device *before)
{
    for (; s->devices != before; s->devices = s->devices->next)
        s->devices->backend.close(&s->devices->backend);
}

/* --- the change ------------------------------------------------------------------------------------------------------------- */

static bp_status serve_config(session *s, config *c, engine_changes *changes, bp_error *error)
{
    session_device *before = s->devices;
    engine_backend *backends = arena_array(s->memory, c->backend_count, sizeof *backends);
    session_past *past = arena_alloc(s->memory, sizeof *past);
    engine_model *models = NULL;
    if (!backends || !past)
        return error_set(error, BP_ENOMEM, "no memory for %s", c->path);
    bp_status status = take_devices(s, c, backends, error);
    if (status == BP_OK)
        status = session_models(s, c, &models, error);
    if (status == BP_OK)
        status = engine_replace(s->engine, backends, (uint32_t)c->backend_count, models, (uint32_t)c->model_count,
                                c->memory_budget, changes, error);
    if (status != BP_OK) {
        close_devices(s, before);
        return status;
    }
    *past = (session_past){.next = s->past, .config = s->config};
    s->past = past;
    s->config = c;
    s->backends = backends;
    s->models = models;
    return BP_OK;
}

bp_status session_reload(session *s, yaml_lookup_fn lookup, engine_changes *changes, bp_error *error)
{
    config *c;
    const config *old = s->config;
    bp_status status = config_load(old->path, lookup, NULL, &c, error);
    if (status != BP_OK)
        return status;
    status = bind(s, c, error);
    if (status == BP_OK)
        status = check_files(c, error);
    if (status == BP_OK)
        status = serve_config(s, c, changes, error);
    if (status != BP_OK) {
        config_free(c);
        return status;
    }
    log_set_level(c->log_level);
    warn_of_the_rest(old, c);
    return BP_OK;
}
