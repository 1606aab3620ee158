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

static bp_status complete(session *s, session_selection *selection, const cli_values *values, bp_error *error)
{
    session_settings *m = &selection->model_settings;
    (void)s, (void)error;
    session_add(m, "system_prompt", values->option[OPTION_SYSTEM]);
    session_add(m, "max_tokens", values->option[OPTION_MAX_TOKENS]);
    session_add(m, "temperature", values->option[OPTION_TEMPERATURE]);
    session_add(m, "seed", values->option[OPTION_SEED]);
    session_add(m, "context", values->option[OPTION_CONTEXT]);
    session_add(&selection->frontend_settings, "prompt", values->option[OPTION_PROMPT]);
    return BP_OK;
}

static int run(const cli_values *values)
{
    return serve_single(values, &(single_service){
        .frontend = "repl",
        .model = values->arguments[0],
        .usage = "chat needs a MODEL or --config FILE; see backplane chat --help",
        .complete = complete,
        .serve = {.drain_ns = DRAIN_SECONDS * UINT64_C(1000000000)},
    });
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
