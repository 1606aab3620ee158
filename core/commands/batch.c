/* batch: one model and the frontend `batch`: requests in one file, results in another. */
#include "commands/commands.h"
#include "commands/serve.h"

enum { OPTION_MODEL = SESSION_OPTION_COUNT };

static const cli_option options[] = {
    SESSION_OPTIONS,
    {.name = "model", .letter = 'm', .value = "MODEL", .help = "a GGUF file, a Hugging Face folder or, with --config, a model's name there"},
    {0}};

/* Paths are the caller's, not the configuration's. */
static const char *file_of(session *s, const char *argument, bp_error *error)
{
    return argument[0] == '-' && !argument[1] ? argument : session_absolute(s, argument, error);
}

static bp_status complete(session *s, session_selection *selection, const cli_values *values, bp_error *error)
{
    const char *in = file_of(s, values->arguments[0], error), *out = file_of(s, values->arguments[1], error);
    if (!in || !out)
        return BP_EIO;
    session_add(&selection->frontend_settings, "input", in);
    session_add(&selection->frontend_settings, "output", out);
    return BP_OK;
}

static int run(const cli_values *values)
{
    return serve_single(values, &(single_service){
        .frontend = "batch",
        .model = values->option[OPTION_MODEL],
        .usage = "batch needs --model MODEL or --config FILE; see backplane batch --help",
        .complete = complete,
    });
}

const cli_command command_batch = {
    .name = "batch",
    .arguments = "IN OUT",
    .summary = "Answer a file of requests, one JSON object a line, into a file of results",
    .min_arguments = 2,
    .max_arguments = 2,
    .options = options,
    .details =
        "Results are in the order of the requests. Started again with the same files, it goes on where it was stopped.",
    .run = run,
};
