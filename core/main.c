/* backplane: the program. Names its commands, and reads the environment for them; each lives in commands/. */
#include "commands/cli.h"
#include "commands/commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef BACKPLANE_VERSION
#define BACKPLANE_VERSION "unknown"
#endif

static const cli_command *const commands[] = {&command_run,   &command_chat,    &command_batch,    &command_plugins,
                                              &command_check, &command_inspect, &command_tokenize, &command_bench,
                                              NULL};

static const char *variable(void *user, const char *name)
{
    (void)user;
    return getenv(name);
}

static void print_help(void)
{
    puts("usage: backplane COMMAND [arguments]\n\nAn LLM inference runtime of plugins, wired together by a YAML "
         "file.\n\ncommands:");
    for (size_t i = 0; commands[i]; i++)
        printf("  %-10s %-20s %s\n", commands[i]->name, commands[i]->arguments, commands[i]->summary);
    puts("\n\"backplane COMMAND --help\" describes one. Exit codes: 0 done, 1 failed, 2 wrong usage.");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help();
        return CLI_USAGE;
    }
    const char *name = argv[1];
    /* A reader that goes away is a failed write where it happens, not the end of the process. */
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help();
        return CLI_DONE;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("backplane %s (plugin ABI %d.%d)\n", BACKPLANE_VERSION, BP_ABI_MAJOR, BP_ABI_MINOR);
        return CLI_DONE;
    }
    for (size_t i = 0; commands[i]; i++)
        if (strcmp(name, commands[i]->name) == 0)
            return cli_dispatch(commands[i], argc, argv, variable);
    return cli_usage("no command \"%s\"; backplane --help lists them", name);
}
