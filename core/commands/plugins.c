/* plugins: every plugin file that is found, what it is or why it was refused, and the device that a backend opens; one plugin's
 * options; the reference page. */
#include "commands/commands.h"
#include "commands/session.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "host/options.h"

#include <stdio.h>
#include <string.h>

enum { OPTION_CONFIG, OPTION_PATH, OPTION_MARKDOWN };

static const cli_option options[] = {
    {.name = "config", .letter = 'c', .value = "FILE", .help = "search this configuration's plugin_path first"},
    {.name = "path", .value = "DIRECTORY", .repeats = true, .help = "search this directory before all others"},
    {.name = "markdown", .help = "print the reference of the configuration and of the plugins that are named"},
    {0}};

/* --- the list --------------------------------------------------------------------------------------------------------- */

static bool needs_options(const plugin *p)
{
    for (const bp_option *o = p->options; o && o->name; o++)
        if (o->flags & BP_OPTION_REQUIRED)
            return true;
    return false;
}

/* The device that a backend opens when nothing is configured. */
static bp_status describe_device(const plugin *p, arena *memory, bp_device_info *info, bp_error *error)
{
    bp_device *device = NULL;
    void *filled = memory ? arena_alloc(memory, p->config_size + 1) : NULL;
    if (!filled)
        return error_set(error, BP_ENOMEM, "out of memory for the options of %s", p->name);
    options_target target = {.options = p->options, .config = filled, .memory = memory, .directory = "/"};
    bp_status status = options_defaults(&target, error);
    if (status == BP_OK)
        status = p->backend.open(log_host(), filled, &device, error);
    if (status != BP_OK)
        return status;
    status = p->backend.info(device, info, error);
    p->backend.close(device);
    if (status != BP_EUNSUPPORTED)
        return status;
    snprintf(info->name, sizeof info->name, "without a name"); /* the operation is optional */
    return BP_OK;
}

static bool print_device(const plugin *p, buffer *out)
{
    bp_device_info info = {.size = sizeof info};
    bp_error error = {0};
    arena *memory = arena_new();
    bp_status status = describe_device(p, memory, &info, &error);
    arena_free(memory);
    return buffer_format(out, "           %s %.508s\n", status == BP_OK ? "device" : "no device:",
                         status == BP_OK ? info.name : error.message);
}

static bool print_plugin(const plugin *p, buffer *out)
{
    bool good = buffer_format(out, "%-10s %-9s %s\n", p->name, plugins_kind_name(p->kind), p->version) &&
                buffer_format(out, "           %s\n", p->path) &&
                (!*p->summary || buffer_format(out, "           %s\n", p->summary)) &&
                (p->kind != BP_PLUGIN_BACKEND || needs_options(p) || print_device(p, out));
    return good && options_print_help(p->options, "             ", out);
}

static bool print_list(plugins *p, const plugins_report *reports, size_t count, buffer *out)
{
    bool good = true;
    for (size_t i = 0; i < count && good; i++)
        good = reports[i].plugin ? print_plugin(reports[i].plugin, out)
                                 : buffer_format(out, "%-10s %s\n", "refused", reports[i].refusal);
    size_t directories;
    const char *const *directory = plugins_directories(p, &directories);
    good = good && buffer_text(out, "searched\n");
    for (size_t i = 0; i < directories && good; i++)
        good = buffer_format(out, "  %s\n", directory[i]);
    return good;
}

static int list(plugins *p)
{
    const plugins_report *reports;
    size_t count;
    bp_error error = {0};
    if (plugins_list(p, &reports, &count, &error) != BP_OK)
        return cli_fail(&error);
    buffer out = {0};
    int code = cli_print(print_list(p, reports, count, &out), &out);
    buffer_free(&out);
    return code;
}

/* --- plugins by name -------------------------------------------------------------------------------------------------- */

/* A name says nothing of the kind, so both are tried; what a file is refused for does not depend on it. */
static bp_status find(plugins *p, const char *name, const plugin **out, bp_error *error)
{
    bp_error other = {0};
    bp_status status = plugins_load(p, name, BP_PLUGIN_BACKEND, out, error);
    return status != BP_OK && plugins_load(p, name, BP_PLUGIN_FRONTEND, out, &other) == BP_OK ? BP_OK : status;
}

static const char page_head[] =
    "` from the tables that the program itself reads; a test\n"
    "compares the two. The README explains a configuration line by line, and config/ holds examples.\n\n"
    "A configuration is one YAML file with the sections `backends`, `models` and `frontends`, each a mapping of names\n"
    "to what they stand for, and the keys of the next section. Names are 1 to 63 of A-Z, a-z, 0-9, `.`, `_`, `:`, `/`\n"
    "and `-`. Unknown and duplicate keys, wrong types and values out of range are errors with line and column.\n\n"
    "- A relative path is relative to the file that holds it.\n"
    "- In values `${NAME}` is an environment variable, `${NAME:-text}` is `text` where it is unset or empty, and `$$`\n"
    "  is a dollar sign. Between braces or brackets such a value needs quotes: `{ threads: \"${THREADS:-auto}\" }`.\n"
    "- Sizes are written 512, 64KiB, 2GiB or 1.5GB.\n\n"
    "`backplane check FILE` says what is wrong with a file, and starts nothing.\n\n"
    "## Top level\n\n"
    "`plugin_path` is a list of directories that are searched for plugins before those of the installation.\n\n";

static const char page_models[] =
    "\n## Models\n\n"
    "`models: { NAME: { file: PATH, … } }`. `aliases` is a list of further names that requests may use.\n\n";

static const char page_plugins[] =
    "\n## Backends and frontends\n\n"
    "`backends: { NAME: { plugin: PLUGIN, … } }`, and `frontends` alike. PLUGIN is a plugin's name, or the path of its\n"
    "file, which is told from a name by its slash. The other keys are the plugin's own.\n";

static bool print_reference(const plugin *const *named, size_t count, buffer *out)
{
    bool good = buffer_text(out, "# Configuration reference\n\nPrinted by `backplane plugins --markdown");
    for (size_t i = 0; i < count && good; i++)
        good = buffer_format(out, " %s", named[i]->name);
    good = good && buffer_text(out, page_head) && options_print_markdown(config_top_options, out) &&
           buffer_text(out, page_models) && options_print_markdown(config_model_options, out) &&
           buffer_text(out, page_plugins);
    for (size_t i = 0; i < count && good; i++)
        good = buffer_format(out, "\n### The %s `%s`\n\n%s\n\n", plugins_kind_name(named[i]->kind), named[i]->name,
                             named[i]->summary) &&
               options_print_markdown(named[i]->options, out);
    return good;
}

static int describe(plugins *p, const cli_values *values)
{
    const plugin *named[CLI_MAX_REPEATS];
    for (size_t i = 0; i < values->argument_count; i++) {
        bp_error error = {0};
        if (find(p, values->arguments[i], &named[i], &error) != BP_OK)
            return cli_fail(&error);
    }
    buffer out = {0};
    bool good = true;
    if (values->option[OPTION_MARKDOWN])
        good = print_reference(named, values->argument_count, &out);
    else
        for (size_t i = 0; i < values->argument_count && good; i++)
            good = print_plugin(named[i], &out);
    int code = cli_print(good, &out);
    buffer_free(&out);
    return code;
}

/* --- where to look ---------------------------------------------------------------------------------------------------- */

static bp_status add_directories(session *s, const cli_values *values, bp_error *error)
{
    bp_status status = BP_OK;
    for (size_t i = 0; i < values->repeat_count && status == BP_OK; i++) {
        const char *path = session_absolute(s, values->repeated[i], error);
        status = path ? plugins_add_directory(s->plugins, path, error) : BP_EIO;
    }
    if (status == BP_OK && values->option[OPTION_CONFIG]) {
        status = session_load(s, values->option[OPTION_CONFIG], values->environment, error);
        if (status == BP_OK)
            status = config_add_plugin_path(s->config, s->plugins, error);
    }
    return status == BP_OK ? session_add_default_directories(s->plugins, error) : status;
}

static int run(const cli_values *values)
{
    session s;
    bp_error error = {0};
    bp_status status = session_init(&s, &error);
    if (status == BP_OK)
        status = add_directories(&s, values, &error);
    int code;
    if (status != BP_OK)
        code = cli_fail(&error);
    else if (values->argument_count || values->option[OPTION_MARKDOWN])
        code = describe(s.plugins, values);
    else
        code = list(s.plugins);
    session_end(&s);
    return code;
}

const cli_command command_plugins = {
    .name = "plugins",
    .arguments = "[NAME...]",
    .summary = "List the plugins that are found, their options, and why others were refused",
    .max_arguments = CLI_MAX_REPEATS,
    .options = options,
    .run = run,
};
