/* cli: commands as tables. One row per command and per option drives parsing, `--help` and the exit codes, so that they
 * cannot disagree. Exit codes: 0 done, 1 it failed (one sentence on stderr), 2 the command line is wrong. */
#ifndef BACKPLANE_COMMANDS_CLI_H
#define BACKPLANE_COMMANDS_CLI_H

#include "base/buffer.h"
#include "base/yaml.h"

#include <backplane/plugin.h>
#include <stdbool.h>
#include <stddef.h>

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_MAX_OPTIONS = 24, CLI_MAX_REPEATS = 32 };

typedef struct cli_option {
    const char *name;    /* long name without dashes; NULL ends the table */
    char letter;         /* or 0 */
    const char *value;   /* placeholder in help; NULL for a switch */
    const char *help;
    bool repeats;        /* may be given more than once */
} cli_option;

typedef struct cli_values {
    yaml_lookup_fn environment;                /* the variables that configurations may name */
    const char *arguments[CLI_MAX_REPEATS];    /* what is not an option, in order */
    size_t argument_count;
    const char *option[CLI_MAX_OPTIONS];       /* by row of the command's table: the last value, "" for a switch, NULL */
    const char *repeated[CLI_MAX_REPEATS];     /* values of the one repeating option */
    size_t repeat_count;
} cli_values;

typedef struct cli_command {
    const char *name, *arguments, *summary;
    size_t min_arguments, max_arguments;
    const cli_option *options;
    const char *details; /* further lines of help, or NULL */
    int (*run)(const cli_values *values);
} cli_command;

/* Parses argv[2…] for `command` and runs it; returns the exit code. */
int cli_dispatch(const cli_command *command, int argc, char **argv, yaml_lookup_fn environment);
void cli_print_help(const cli_command *command);

/* "backplane: sentence" on stderr; returns CLI_FAILED or CLI_USAGE. */
int cli_fail(const bp_error *error);
int cli_usage(const char *format, ...) BP_PRINTF(1, 2);

/* Writes a buffer to standard output; CLI_FAILED, after saying so, where it could not be made or written. */
int cli_print(bool made, const buffer *text);

/* A non-negative integer option of at most `max`; false after printing why. NULL text gives the fallback. */
bool cli_number(const char *name, const char *text, unsigned long fallback, unsigned long max, unsigned long *out);

#endif
