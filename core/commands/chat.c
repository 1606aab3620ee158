/* chat: one model and the frontend `repl`, wired from the command line or from one model of a configuration. */
#include "commands/commands.h"
#include "commands/serve.h"

enum {
    OPTION_PROMPT = SESSION_OPTION_COUNT,
    OPTION_SYSTEM,
    OPTION_MAX_TOKENS,
    OPTION_TEMPERATURE,
    OPTION_SEED,
    OPTION_CONTEXT
};
enum { DRAIN_SECONDS = 1 };

static const cli_option options[] = {
    SESSION_OPTIONS,
    {.name = "prompt", .letter = 'p', .value = "TEXT", .help = "print one answer to TEXT and exit"},
    {.name = "system", .value = "TEXT", .help = "the system message; as --set model.system_prompt=TEXT"},
    {.name = "max-tokens", .letter = 'n', .value = "N",
     .help = "the most tokens of an answer; as --set model.max_tokens=N"},
    {.name = "temperature", .letter = 't', .value = "T",
     .help = "0 always takes the likeliest token; as --set model.temperature=T"},
    {.name = "seed", .value = "N", .help = "the seed of sampling; as --set model.seed=N"},
    {.name = "context", .value = "TOKENS", .help = "the longest conversation; as --set model.context=TOKENS"},
    {0}};

static bp_status start(session *s, session_selection *selection, const cli_values *values, bp_error *error)
{
    session_settings *m = &selection->model_settings, *f = &selection->frontend_settings;
    session_add(m, "system_prompt", values->option[OPTION_SYSTEM]);
    session_add(m, "max_tokens", values->option[OPTION_MAX_TOKENS]);
    session_add(m, "temperature", values->option[OPTION_TEMPERATURE]);
    session_add(m, "seed", values->option[OPTION_SEED]);
    session_add(m, "context", values->option[OPTION_CONTEXT]);
    session_add(f, "prompt", values->option[OPTION_PROMPT]);
    bp_status status = session_select(s, selection, values->environment, error);
    if (status != BP_OK)
        return status;
    session_add(f, "model", s->model->name);
    status = session_bind(s, error);
    return status == BP_OK ? session_start(s, error) : status;
}

static int run(const cli_values *values)
{
    session s;
    session_selection selection;
    bp_error error = {0};
    if (session_init(&s, &error) != BP_OK)
        return cli_fail(&error);
    int code = CLI_USAGE;
    if (session_read_options(&s, values, &selection)) {
        selection.frontend = "repl";
        selection.model = values->arguments[0];
        if (!selection.model && !selection.config_file)
            cli_usage("chat needs a MODEL or --config FILE; see backplane chat --help");
        else if (start(&s, &selection, values, &error) != BP_OK)
            code = cli_fail(&error);
        else
            code = serve(&s, &(serve_options){.drain_ns = DRAIN_SECONDS * UINT64_C(1000000000)});
    }
    session_end(&s);
    return code;
}

const cli_command command_chat = {
    .name = "chat",
    .arguments = "[MODEL]",
    .summary = "Talk to a model on the terminal, or get one answer with --prompt",
    .max_arguments = 1,
    .options = options,
    .details =
        "MODEL is a GGUF file or, with --config, the name of a model there. Where standard input is no terminal, each\n"
        "of its lines is a prompt. \"backplane plugins repl\" lists what --set frontend.KEY=VALUE takes.",
    .run = run,
};
