/* The plugin `repl`: its options, and what it does first, in a loop, and last. */
#include "repl/repl.h"

#include "common/fail.h"
#include "repl/input.h"
#include "repl/plain.h"
#include "repl/progress.h"
#include "repl/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG(field) .offset = offsetof(repl_config, field)
#define OWN " -1 is the model's own."

static const bp_option options[] = {
    {.name = "model", .type = BP_OPTION_STRING, CONFIG(model),
     .help = "The model that it talks to; not needed where there is only one."},
    {.name = "system", .type = BP_OPTION_STRING, CONFIG(system),
     .help = "The system message; without one, the model's system_prompt."},
    {.name = "prompt", .type = BP_OPTION_STRING, CONFIG(prompt), .help = "Answer this alone and end."},
    {.name = "history", .type = BP_OPTION_PATH, CONFIG(history),
     .help = "A file that keeps what was typed from one run to the next; without one it is forgotten."},
    {.name = "separator", .type = BP_OPTION_STRING, .fallback = "", CONFIG(separator),
     .help = "The line after each answer where standard input is not a terminal; empty by default."},
    {.name = "color", .type = BP_OPTION_BOOL, .fallback = "true", CONFIG(color),
     .help = "Bold and dim text on a terminal."},
    {.name = "temperature", .type = BP_OPTION_FLOAT, .fallback = "-1", .min = -1, .max = 2, CONFIG(temperature),
     .help = "0 always takes the likeliest token;" OWN},
    {.name = "top_p", .type = BP_OPTION_FLOAT, .fallback = "-1", .min = -1, .max = 1, CONFIG(top_p),
     .help = "Only the likeliest tokens that together reach this probability are drawn from; 1 is off," OWN},
    {.name = "top_k", .type = BP_OPTION_INT, .flags = BP_OPTION_AUTO, .fallback = "auto", .min = 0, .max = 1 << 20,
     CONFIG(top_k), .help = "Only the k likeliest tokens are drawn from; 0 is off, auto is the model's own."},
    {.name = "min_p", .type = BP_OPTION_FLOAT, .fallback = "-1", .min = -1, .max = 1, CONFIG(min_p),
     .help = "Only tokens at least this likely, relative to the likeliest, are drawn from; 0 is off," OWN},
    {.name = "repetition_penalty", .type = BP_OPTION_FLOAT, .fallback = "-1", .min = -1, .max = 100,
     CONFIG(repetition_penalty), .help = "Above 1 discourages words that were used; 1 is off," OWN},
    {.name = "seed", .type = BP_OPTION_INT, .flags = BP_OPTION_AUTO, .fallback = "auto", .min = 0, .max = 9.2e18,
     CONFIG(seed), .help = "The same seed and conversation give the same answer; auto is the model's own."},
    {.name = "max_tokens", .type = BP_OPTION_INT, .flags = BP_OPTION_AUTO, .fallback = "auto", .min = 0, .max = 1 << 24,
     CONFIG(max_tokens), .help = "The longest answer; 0 is as long as fits, auto is the model's own."},
    {0},
};

/* --- what its parts share ----------------------------------------------------------------------------------------- */

void repl_request(const repl *r, bp_request *out)
{
    *out = (bp_request){.size = sizeof *out};
    r->api->defaults(r->engine, r->model, out);
    out->model = r->model;
    settings_apply(r->settings, out);
}

bool repl_stopping(const repl *r)
{
    return atomic_load(&r->wake.stopping);
}

void repl_complain(repl *r, const bp_error *error)
{
    if (!error->message[0])
        return;
    screen_text(&r->err, error->message);
    screen_end_line(&r->err);
}

bp_status repl_use_model(repl *r, const char *name, bp_error *error)
{
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    bp_status status = r->api->find_model(r->engine, name, &index, error);
    if (status == BP_OK)
        status = r->api->model_info(r->engine, index, &info, error);
    if (status != BP_OK)
        return status;
    progress bar;
    progress_begin(&bar, r->host, &r->err);
    status = r->api->load(r->engine, info.name, progress_show, &bar, error);
    progress_end(&bar);
    if (status == BP_OK)
        snprintf(r->model, sizeof r->model, "%s", info.name);
    return status;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void set_real(setting *s, double value)
{
    *s = (setting){.set = value >= 0, .real = value};
}

static void set_whole(setting *s, int64_t value)
{
    *s = (setting){.set = value != INT64_MIN, .whole = value};
}

static void read_settings(repl *r, const repl_config *c)
{
    set_real(&r->settings[SETTING_TEMPERATURE], c->temperature);
    set_real(&r->settings[SETTING_TOP_P], c->top_p);
    set_real(&r->settings[SETTING_MIN_P], c->min_p);
    set_real(&r->settings[SETTING_REPETITION_PENALTY], c->repetition_penalty);
    set_whole(&r->settings[SETTING_TOP_K], c->top_k);
    set_whole(&r->settings[SETTING_SEED], c->seed);
    set_whole(&r->settings[SETTING_MAX_TOKENS], c->max_tokens);
}

static void repl_close(bp_frontend *r)
{
    if (!r)
        return;
    wake_clear(&r->wake);
    conversation_free(&r->conversation);
    free(r);
}

static bp_status repl_open(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *config,
                           bp_frontend **out, bp_error *error)
{
    repl *r = calloc(1, sizeof *r);
    if (!r)
        return fail_memory(error);
    const repl_config *c = config;
    r->host = host;
    r->api = api;
    r->engine = engine;
    r->config = c;
    screen_init(&r->out, STDOUT_FILENO, c->color);
    screen_init(&r->err, STDERR_FILENO, c->color);
    read_settings(r, c);
    uint32_t index;
    bp_status status = wake_init(&r->wake, error);
    if (status == BP_OK)
        status = api->find_model(engine, c->model, &index, error);
    if (status == BP_OK && !conversation_set_system(&r->conversation, c->system))
        status = fail_memory(error);
    if (status != BP_OK) {
        repl_close(r);
        return status;
    }
    *out = r;
    return BP_OK;
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static bool is_blank(const char *line)
{
    return !line[strspn(line, " \t\n")];
}

/* One prompt or command. False: there was nothing to do. */
static bool take_entry(repl *r, input_result result, const text *entry)
{
    bp_error error = {0};
    const char *line = text_string(entry);
    bp_status status = BP_OK;
    if (result == INPUT_LINE && is_blank(line))
        return false;
    if (result == INPUT_TOO_LONG)
        status = fail(&error, BP_ELIMIT, "this is too long and was not read");
    else if (line[0] == '/')
        status = command_run(r, line, &error);
    else
        status = answer_question(r, line, &error);
    r->entries++;
    r->failures += status != BP_OK;
    if (status != BP_OK)
        repl_complain(r, &error);
    return true;
}

static void converse(repl *r, const input_source *source)
{
    text entry = {0};
    while (!r->leaving && !repl_stopping(r) && !r->out.failure) {
        input_result result = input_entry(source, &entry);
        if (result == INPUT_END)
            break;
        if (result == INPUT_INTERRUPTED || !take_entry(r, result, &entry) || r->terminal)
            continue;
        screen_end_line(&r->out);
        screen_format(&r->out, "%s\n", r->config->separator ? r->config->separator : "");
    }
    text_free(&entry);
}

static bp_status run_terminal(repl *r, bp_error *error)
{
    terminal *t;
    wake_catch(&r->wake);
    bp_status status = terminal_new(&r->wake, r->config->history, r->out.color, &t, error);
    if (status == BP_OK) {
        char greeting[160];
        snprintf(greeting, sizeof greeting, "%s; /help lists commands, Ctrl-D leaves", r->model);
        screen_dim(&r->out, greeting);
        input_source source = terminal_source(t);
        converse(r, &source);
        terminal_free(t);
    }
    wake_release(&r->wake);
    return status;
}

/* A script sees by the status whether all went well, and on standard error what did not. */
static bp_status run_plain(repl *r, bp_error *error)
{
    plain *p = plain_new(STDIN_FILENO, &r->wake);
    if (!p)
        return fail_memory(error);
    input_source source = plain_source(p);
    converse(r, &source);
    plain_free(p);
    if (r->out.failure)
        return fail(error, BP_EIO, "standard output cannot be written: %s", strerror(r->out.failure));
    if (r->failures)
        return fail(error, BP_EINVAL, "%llu of %llu lines failed", (unsigned long long)r->failures,
                    (unsigned long long)r->entries);
    return BP_OK;
}

static bp_status run_once(repl *r, bp_error *error)
{
    text prompt = {0};
    bp_status status = text_append_clean(&prompt, r->config->prompt, strlen(r->config->prompt))
                           ? answer_question(r, text_string(&prompt), error)
                           : fail_memory(error);
    text_free(&prompt);
    if (status == BP_OK && repl_stopping(r))
        status = fail(error, BP_ECANCELLED, "stopped before the answer was complete");
    return status;
}

static bp_status repl_run(bp_frontend *r, bp_error *error)
{
    bp_status status = repl_use_model(r, r->config->model, error);
    if (status != BP_OK)
        return status;
    if (r->config->prompt)
        return run_once(r, error);
    r->terminal = isatty(STDIN_FILENO) && r->out.terminal;
    return r->terminal ? run_terminal(r, error) : run_plain(r, error);
}

static void repl_stop(bp_frontend *r)
{
    wake_stop(&r->wake);
}

static const bp_frontend_ops ops = {
    .size = sizeof ops, .open = repl_open, .run = repl_run, .stop = repl_stop, .close = repl_close};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_FRONTEND,
    .config_size = sizeof(repl_config),
    .name = "repl",
    .version = BACKPLANE_VERSION,
    .summary = "A conversation on the terminal, or line by line over a pipe.",
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
