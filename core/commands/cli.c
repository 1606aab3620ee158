#include "commands/cli.h"

#include "host/suggest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cli_fail(const bp_error *error)
{
    fprintf(stderr, "backplane: %s\n", error->message);
    return CLI_FAILED;
}

int cli_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("backplane: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return CLI_USAGE;
}

int cli_print(bool made, const buffer *text)
{
    if (!made) {
        fputs("backplane: out of memory for what was to be printed\n", stderr);
        return CLI_FAILED;
    }
    if (text->size && fwrite(text->data, 1, text->size, stdout) != text->size)
        made = false;
    if (!made || fflush(stdout) != 0) {
        fprintf(stderr, "backplane: standard output cannot be written: %s\n", strerror(errno));
        return CLI_FAILED;
    }
    return CLI_DONE;
}

static void print_option(char letter, const char *name, const char *value, const char *help)
{
    char left[64];
    snprintf(left, sizeof left, "  %c%c%s--%s%s%s", letter ? '-' : ' ', letter ? letter : ' ', letter ? ", " : "  ", name,
             value ? " " : "", value ? value : "");
    printf("%-32s %s\n", left, help);
}

void cli_print_help(const cli_command *command)
{
    printf("usage: backplane %s%s%s [options]\n\n%s.\n", command->name, command->arguments[0] ? " " : "",
           command->arguments, command->summary);
    if (command->details)
        printf("\n%s\n", command->details);
    puts("\noptions:");
    for (const cli_option *o = command->options; o && o->name; o++)
        print_option(o->letter, o->name, o->value, o->help);
    print_option('h', "help", NULL, "print this");
}

bool cli_number(const char *name, const char *text, unsigned long fallback, unsigned long max, unsigned long *out)
{
    *out = fallback;
    if (!text)
        return true;
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || *end || end == text || text[0] == '-' || value > max) {
        cli_usage("--%s takes a whole number up to %lu, not \"%s\"", name, max, text);
        return false;
    }
    *out = value;
    return true;
}

/* The row that argv[i] names, or -1; *value is what follows '=' or the letter, or NULL. */
static int find_option(const cli_command *command, const char *word, const char **value)
{
    *value = NULL;
    for (int row = 0; command->options && command->options[row].name; row++) {
        const cli_option *o = &command->options[row];
        size_t length = strlen(o->name);
        if (word[1] == '-') {
            if (strncmp(word + 2, o->name, length) == 0 && (word[2 + length] == '\0' || word[2 + length] == '=')) {
                if (word[2 + length] == '=')
                    *value = word + 3 + length;
                return row;
            }
        } else if (o->letter && word[1] == o->letter) {
            if (word[2])
                *value = word + 2;
            return row;
        }
    }
    return -1;
}

static void refuse_option(const cli_command *command, const char *word)
{
    suggestion likely = suggest_for(word + strspn(word, "-"));
    for (const cli_option *o = command->options; o && o->name; o++)
        suggest_add(&likely, o->name);
    char hint[96];
    cli_usage("%s: no option \"%s\"%s; see backplane %s --help", command->name, word,
              suggest_text(&likely, hint, sizeof hint), command->name);
}

/* Stores one option; returns how many words of argv it took, or -1 after printing why. */
static int take_option(const cli_command *command, char **argv, int left, cli_values *values)
{
    const char *value;
    int row = find_option(command, argv[0], &value);
    if (row < 0) {
        refuse_option(command, argv[0]);
        return -1;
    }
    const cli_option *o = &command->options[row];
    int taken = 1;
    if (!o->value) {
        if (value) {
            cli_usage("%s: --%s takes no value", command->name, o->name);
            return -1;
        }
        value = "";
    } else if (!value) {
        if (left < 2) {
            cli_usage("%s: --%s needs a value (%s)", command->name, o->name, o->value);
            return -1;
        }
        value = argv[1];
        taken = 2;
    }
    if (o->repeats) {
        if (values->repeat_count == CLI_MAX_REPEATS) {
            cli_usage("%s: --%s is given more than %d times", command->name, o->name, CLI_MAX_REPEATS);
            return -1;
        }
        values->repeated[values->repeat_count++] = value;
    }
    values->option[row] = value;
    return taken;
}

int cli_dispatch(const cli_command *command, int argc, char **argv, yaml_lookup_fn environment)
{
    cli_values values = {.environment = environment};
    bool only_arguments = false;
    for (int i = 2; i < argc;) {
        const char *word = argv[i];
        if (!only_arguments && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            cli_print_help(command);
            return CLI_DONE;
        }
        if (!only_arguments && strcmp(word, "--") == 0) {
            only_arguments = true;
            i++;
        } else if (!only_arguments && word[0] == '-' && word[1]) {
            int taken = take_option(command, argv + i, argc - i, &values);
            if (taken < 0)
                return CLI_USAGE;
            i += taken;
        } else {
            if (values.argument_count == command->max_arguments)
                return cli_usage("%s: unexpected \"%s\"; see backplane %s --help", command->name, word, command->name);
            values.arguments[values.argument_count++] = word;
            i++;
        }
    }
    if (values.argument_count < command->min_arguments)
        return cli_usage("%s needs %s; see backplane %s --help", command->name, command->arguments, command->name);
    return command->run(&values);
}
