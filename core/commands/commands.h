/* commands: one file each in this folder. */
#ifndef BACKPLANE_COMMANDS_COMMANDS_H
#define BACKPLANE_COMMANDS_COMMANDS_H

#include "commands/cli.h"

extern const cli_command command_run, command_chat, command_batch, command_plugins, command_check, command_inspect,
    command_tokenize, command_bench, command_new_plugin;

#endif
