/* backplane: the program. Names its commands, and reads the environment for them; each lives in commands/. */
#include "commands/cli.h"
#include "commands/commands.h"
#include "host/suggest.h"

#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef BACKPLANE_VERSION
#define BACKPLANE_VERSION "unknown"
#endif

static const cli_command *const commands[] = {&command_run,   &command_chat,    &command_batch,    &command_plugins,
                                              &command_check, &command_inspect, &command_tokenize, &command_bench,
                                              &command_new_plugin, NULL};

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

/* A standard descriptor that was closed would be the number of the next file or pipe: a model, say, that the log is written
 * into. Reading from what is put in its place ends at once, and writing fails. */
static void fill_standard_descriptors(void)
{
    int descriptor;
    do
        descriptor = open("/dev/null", O_RDONLY);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor >= 0)
        close(descriptor);
}

/* glibc gives threads heaps of their own, which are never made smaller, and puts ever larger blocks into a heap: what a model that
 * left held there would stay. */
static void keep_memory_together(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

static int run_command(int argc, char **argv)
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
    suggestion likely = suggest_for(name);
    for (size_t i = 0; commands[i]; i++)
        suggest_add(&likely, commands[i]->name);
    char hint[96];
    return cli_usage("no command \"%s\"%s; backplane --help lists them", name, suggest_text(&likely, hint, sizeof hint));
}

/* What was printed has arrived, or the command has not done what it was asked for. */
int main(int argc, char **argv)
{
    fill_standard_descriptors();
    keep_memory_together();
    int code = run_command(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_DONE) {
        fputs("backplane: standard output cannot be written\n", stderr);
        return CLI_FAILED;
    }
    return code;
}
