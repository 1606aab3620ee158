/* check: everything that can be said about a configuration without opening a device: its own rules, its plugins and their
 * options, the headers of its models. All problems are told, not the first alone. */
#include "commands/commands.h"
#include "commands/fit.h"
#include "commands/session.h"

#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>

static const cli_option options[] = {{0}};

static size_t check_plugins(session *s, config_plugin *entries, size_t count, uint32_t kind)
{
    size_t problems = 0;
    for (size_t i = 0; i < count; i++) {
        config_plugin *entry = &entries[i];
        bp_error error = {0};
        if (config_bind_entry(s->config, entry, kind, s->plugins, &error) == BP_OK) {
            printf("%-8s %s: %s %s, %s\n", plugins_kind_name(kind), entry->name, entry->loaded->name,
                   entry->loaded->version, entry->loaded->path);
        } else {
            cli_fail(&error);
            problems++;
        }
    }
    return problems;
}

static bool check_model(const config_model *m)
{
    bp_error error = {0};
    model_file *file;
    const model_options wanted = {.context = m->context == CONFIG_AUTO ? 0 : (uint32_t)m->context,
                                  .numerics = (uint32_t)m->numerics};
    if (model_open(m->file, &wanted, &file, &error) != BP_OK) {
        const yaml_node *place = yaml_get(m->node, "file");
        bp_error placed = error;
        yaml_fail(place ? place : m->node, &placed, "model %s: %.380s", m->name, error.message);
        cli_fail(&placed);
        return false;
    }
    const model_shape *shape = model_shape_of(file);
    printf("model    %s: %s, %.1f million parameters, mostly %s, %.1f MiB, context %" PRIu32 " on %s\n", m->name,
           shape->architecture, (double)shape->parameters / 1e6, shape->weight_type,
           (double)shape->file_bytes / (1024.0 * 1024.0), model_program(file)->max_context, m->backend_entry->name);
    model_close(file);
    return true;
}

static void print_fit(void *user, bool problem, const char *line)
{
    size_t *problems = user;
    *problems += problem;
    fprintf(problem ? stderr : stdout, "%s%s\n", problem ? "backplane: " : "memory   ", line);
}

/* Whether the models that can be read have room. */
static size_t check_memory(session *s)
{
    size_t problems = 0;
    engine_model *models;
    bp_error error = {0};
    bp_status status = session_models(s, s->config, &models, &error);
    if (status == BP_OK)
        status = fit_tell(s->config, models, NULL, print_fit, &problems, &error);
    if (status == BP_OK)
        return problems;
    cli_fail(&error);
    return problems + 1;
}

static int check(session *s)
{
    config *c = s->config;
    size_t problems = check_plugins(s, c->backends, c->backend_count, BP_PLUGIN_BACKEND);
    for (size_t i = 0; i < c->model_count; i++)
        problems += !check_model(&c->models[i]);
    problems += check_memory(s);
    problems += check_plugins(s, c->frontends, c->frontend_count, BP_PLUGIN_FRONTEND);
    if (problems)
        fprintf(stderr, "backplane: %s has %zu problem%s\n", c->path, problems, problems == 1 ? "" : "s");
    else
        printf("%s is fine\n", c->path);
    return problems ? CLI_FAILED : CLI_DONE;
}

static int run(const cli_values *values)
{
    session s;
    bp_error error = {0};
    bp_status status = session_init(&s, &error);
    if (status == BP_OK)
        status = session_load(&s, values->arguments[0], values->environment, &error);
    if (status == BP_OK)
        status = config_add_plugin_path(s.config, s.plugins, &error);
    if (status == BP_OK)
        status = session_add_default_directories(s.plugins, &error);
    int code = status == BP_OK ? check(&s) : cli_fail(&error);
    session_end(&s);
    return code;
}

const cli_command command_check = {
    .name = "check",
    .arguments = "CONFIG",
    .summary = "Say what a configuration holds and what is wrong with it, without starting anything",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = options,
    .run = run,
};
