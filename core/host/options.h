/* options: tables of bp_option rows, the one way by which configuration becomes typed values.
 *
 * A table is checked once (options_check_table); then values are parsed, range-checked and stored at their rows' offsets.
 * The same rows describe themselves in messages, in `--help` and in the reference page. Texts stored in a config struct
 * belong to the target's arena. */
#ifndef BACKPLANE_HOST_OPTIONS_H
#define BACKPLANE_HOST_OPTIONS_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/yaml.h"

#include <backplane/plugin.h>

enum { OPTIONS_MAX_ROWS = 256, OPTIONS_MAX_CONFIG = 1 << 20 };
#define OPTIONS_AUTO INT64_MIN /* what `auto` stores */

typedef struct options_target {
    const bp_option *options; /* a checked table, or NULL: no options */
    void *config;             /* zeroed, of the size the table was checked against */
    arena *memory;
    const char *directory; /* absolute, without links: what relative paths are relative to */
} options_target;

/* Names, types, offsets, choices and fallbacks of a table; NULL options is an empty one. */
bp_status options_check_table(const bp_option *options, uint32_t config_size, bp_error *error);

/* Stores every row's fallback. */
bp_status options_defaults(const options_target *target, bp_error *error);
/* Stores one value. The sentence names the option, not where the value came from. */
bp_status options_set(const options_target *target, const char *name, const char *value, bp_error *error);
/* Fallbacks, then the values of `map`; keys in `others` (NULL, or words that end with NULL) are the caller's and left alone.
 * Errors carry a position: unknown keys, bad values, required keys that `map` lacks. */
bp_status options_fill(const options_target *target, const yaml_node *map, const char *const *others, bp_error *error);

const bp_option *options_find(const bp_option *options, const char *name);

/* "a whole number from 1 to 1024, or auto". */
void options_describe(const bp_option *option, buffer *out);
/* "f16|f32|bf16": as short. */
void options_shape(const bp_option *option, buffer *out);

/* A table for a terminal, one or two lines a row, and one in Markdown. False when out of memory. */
bool options_print_help(const bp_option *options, const char *indent, buffer *out);
bool options_print_markdown(const bp_option *options, buffer *out);

#endif
