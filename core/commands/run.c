/* run: everything that a configuration names, until a signal. */
#include "commands/commands.h"
#include "commands/fit.h"
#include "commands/serve.h"

#include "base/error.h"
#include "base/log.h"

enum { OPTION_DRAIN };
enum { DRAIN_SECONDS = 30 };

static yaml_lookup_fn environment; /* of the command, for the configuration when it is read again */

static const cli_option options[] = {
    {.name = "drain", .value = "SECONDS", .help = "what running requests have to finish after a signal (default 30)"},
    {0}};

static bool is_ready(const session *s, const char *name)
{
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    return engine_api()->find_model(s->engine, name, &index, NULL) == BP_OK &&
           engine_api()->model_info(s->engine, index, &info, NULL) == BP_OK && info.state == BP_MODEL_READY;
}

/* A model that does not load is refused with its reason, and asked-for again it says it again; the rest serves. */
static void load_eager(const session *s)
{
    for (size_t i = 0; i < s->config->model_count; i++) {
        const config_model *m = &s->config->models[i];
        if (m->load != CONFIG_LOAD_EAGER || is_ready(s, m->name))
            continue;
        bp_error why = {0};
        if (engine_api()->load(s->engine, m->name, NULL, NULL, &why) != BP_OK)
            log_line(BP_LOG_ERROR, "%s", why.message);
    }
}

static void log_fit(void *user, bool problem, const char *line)
{
    (void)user;
    log_line(problem ? BP_LOG_ERROR : BP_LOG_INFO, "%s", line);
}

static void tell_fit(const session *s)
{
    bp_error why = {0};
    if (fit_tell(s->config, s->models, s->backends, log_fit, NULL, &why) != BP_OK)
        log_line(BP_LOG_ERROR, "%s", why.message);
}

static void begin(const session *s)
{
    tell_fit(s);
    load_eager(s);
}

/* SIGHUP: what cannot be read or opened leaves everything as it was. */
static void read_again(session *s)
{
    engine_changes n;
    bp_error why = {0};
    uint64_t budget = s->config->memory_budget;
    log_line(BP_LOG_INFO, "reading %s again", s->config->path);
    if (session_reload(s, environment, &n, &why) != BP_OK) {
        log_line(BP_LOG_ERROR, "the configuration before it goes on: %s", why.message);
        return;
    }
    log_line(BP_LOG_INFO, "models of %s: %u new, %u changed, %u gone, %u as before", s->config->path, n.added, n.changed, n.removed,
             n.kept);
    if (n.added || n.changed || n.removed || s->config->memory_budget != budget)
        tell_fit(s);
    load_eager(s);
}

static int run(const cli_values *values)
{
    unsigned long drain;
    if (!cli_number("drain", values->option[OPTION_DRAIN], DRAIN_SECONDS, 86400, &drain))
        return CLI_USAGE;
    environment = values->environment;
    session s;
    bp_error error = {0};
    bp_status status = session_init(&s, &error);
    if (status == BP_OK)
        status = session_load(&s, values->arguments[0], values->environment, &error);
    if (status == BP_OK && s.config->frontend_count == 0)
        status = error_set(&error, BP_EINVAL,
                           "%s names no frontend, so there is nothing to run; write frontends: { repl: { plugin: repl } }",
                           s.config->path);
    if (status == BP_OK)
        status = session_bind(&s, &error);
    if (status == BP_OK)
        status = session_start(&s, &error);
    int code = CLI_FAILED;
    if (status == BP_OK) {
        code = serve(&s, &(serve_options){.prepare = begin, .reload = read_again, .drain_ns = (uint64_t)drain * 1000000000u,
                                          .stop_is_success = true});
    } else {
        cli_fail(&error);
    }
    session_end(&s);
    return code;
}

const cli_command command_run = {
    .name = "run",
    .arguments = "CONFIG",
    .summary = "Serve what a configuration names: its models through its frontends",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = options,
    .details =
        "SIGINT and SIGTERM refuse new requests, let running ones finish, and exit with 0; a second signal exits at once.\n"
        "SIGHUP reads CONFIG again: models and backends are added, changed and removed, and no request is lost.",
    .run = run,
};
