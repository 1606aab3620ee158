#include "host/options.h"

#include "base/checked.h"
#include "base/error.h"
#include "host/suggest.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_LIMIT = 64 };

/* --- values ----------------------------------------------------------------------------------------------------------- */

static bool parse_bool(const char *text, uint8_t *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (uint8_t i = 0; i < 6; i++)
        if (strcmp(text, words[i]) == 0) {
            *out = i & 1;
            return true;
        }
    return false;
}

static bool parse_int(const char *text, int64_t *out)
{
    const char *digits = text + (*text == '-' || *text == '+');
    if (!*digits || digits[strspn(digits, "0123456789")])
        return false;
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    *out = value;
    /* INT64_MIN is the word `auto`. */
    return errno == 0 && value != INT64_MIN;
}

static bool parse_float(const char *text, double *out)
{
    if (!*text || text[strspn(text, "+-.0123456789eE")])
        return false;
    char *end;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

static bool parse_unit(const char *text, uint64_t *out)
{
    static const struct { const char *word; uint64_t bytes; } units[] = {
        {"", 1}, {"B", 1}, {"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000},
        {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}, {"TiB", (uint64_t)1 << 40},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(text, units[i].word) == 0) {
            *out = units[i].bytes;
            return true;
        }
    return false;
}

/* Whole and decimal part apart, in integers: 0.1GB is exactly a hundred million. Six decimals of a TiB fit in 64 bits. */
static bool parse_size(const char *text, uint64_t *out)
{
    size_t whole = strspn(text, "0123456789"), decimals = 0;
    if (whole == 0)
        return false;
    errno = 0;
    uint64_t value = strtoull(text, NULL, 10), fraction = 0, scale = 1, unit;
    if (errno)
        return false;
    text += whole;
    if (*text == '.') {
        decimals = strspn(++text, "0123456789");
        if (decimals == 0 || decimals > 6)
            return false;
        for (size_t i = 0; i < decimals; i++, scale *= 10)
            fraction = fraction * 10 + (uint64_t)(*text++ - '0');
    }
    text += *text == ' ' && text[1];
    return parse_unit(text, &unit) && checked_mul_u64(value, unit, &value) &&
           checked_add_u64(value, fraction * unit / scale, out);
}

static bool parse_choice(const char *choices, const char *text, int32_t *out)
{
    size_t length = strlen(text);
    for (int32_t i = 0;; i++) {
        size_t word = strcspn(choices, "|");
        if (word == length && memcmp(choices, text, word) == 0) {
            *out = i;
            return true;
        }
        if (!choices[word])
            return false;
        choices += word + 1;
    }
}

/* `directory` has no links in it, so its parents are what ".." means. */
static char *absolute_path(const options_target *target, const char *text)
{
    const char *directory = target->directory;
    size_t kept = directory ? strlen(directory) : 0;
    if (*text == '/')
        return arena_string(target->memory, text);
    for (;;) {
        if (strncmp(text, "./", 2) == 0) {
            text += 2;
        } else if (strncmp(text, "../", 3) == 0) {
            text += 3;
            while (kept > 0 && directory[--kept] != '/')
                ;
        } else if (*text == '/') {
            text++;
        } else {
            break;
        }
    }
    while (kept > 0 && directory[kept - 1] == '/')
        kept--;
    buffer path = {0};
    bool good = buffer_append(&path, directory, kept) && buffer_text(&path, "/") && buffer_text(&path, text);
    char *copy = good ? arena_copy(target->memory, path.data, path.size) : NULL;
    buffer_free(&path);
    return copy;
}

static bool in_range(const bp_option *option, double value)
{
    return !(option->min < option->max) || (value >= option->min && value <= option->max);
}

static bp_status fail_value(const bp_option *option, const char *text, bp_error *error)
{
    buffer takes = {0};
    options_describe(option, &takes);
    error_set(error, BP_EINVAL, "%s is \"%.64s\"; it takes %s", option->name, text, takes.data ? takes.data : "another value");
    buffer_free(&takes);
    return BP_EINVAL;
}

typedef union value {
    uint8_t boolean;
    int64_t integer;
    double real;
    const char *text;
    uint64_t size;
    int32_t choice;
} value;

static size_t value_bytes(uint32_t type)
{
    switch (type) {
    case BP_OPTION_BOOL: return sizeof(uint8_t);
    case BP_OPTION_ENUM: return sizeof(int32_t);
    case BP_OPTION_INT: case BP_OPTION_FLOAT: case BP_OPTION_SIZE: return 8;
    case BP_OPTION_STRING: case BP_OPTION_PATH: return sizeof(const char *);
    default: return 0;
    }
}

/* Parses and checks; texts are copied to the target's arena, and need neither where `target` is NULL. */
static bp_status parse_value(const options_target *target, const bp_option *option, const char *text, value *out, bp_error *error)
{
    bool good = false;
    switch (option->type) {
    case BP_OPTION_BOOL:
        good = parse_bool(text, &out->boolean);
        break;
    case BP_OPTION_INT:
        if (strcmp(text, "auto") == 0 && option->flags & BP_OPTION_AUTO) {
            out->integer = OPTIONS_AUTO;
            return BP_OK;
        }
        good = parse_int(text, &out->integer) && in_range(option, (double)out->integer);
        break;
    case BP_OPTION_FLOAT:
        good = parse_float(text, &out->real) && in_range(option, out->real);
        break;
    case BP_OPTION_SIZE:
        good = parse_size(text, &out->size) && in_range(option, (double)out->size);
        break;
    case BP_OPTION_ENUM:
        good = parse_choice(option->choices, text, &out->choice);
        break;
    default:
        good = *text || option->type == BP_OPTION_STRING;
        out->text = text;
        if (good && target) {
            out->text = option->type == BP_OPTION_PATH ? absolute_path(target, text) : arena_string(target->memory, text);
            if (!out->text)
                return error_set(error, BP_ENOMEM, "%s: out of memory", option->name);
        }
    }
    return good ? BP_OK : fail_value(option, text, error);
}

static bp_status store_value(const options_target *target, const bp_option *option, const char *text, bp_error *error)
{
    value parsed = {0};
    bp_status status = parse_value(target, option, text, &parsed, error);
    if (status == BP_OK)
        memcpy((char *)target->config + option->offset, &parsed, value_bytes(option->type));
    return status;
}

/* --- tables ----------------------------------------------------------------------------------------------------------- */

static bool is_option_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return length > 0 && length <= WORD_LIMIT && !name[length] && islower((unsigned char)name[0]);
}

static bool are_choices(const char *choices)
{
    if (!choices || !*choices || *choices == '|' || choices[strlen(choices) - 1] == '|')
        return false;
    return !strstr(choices, "||");
}

static bp_status check_row(const bp_option *row, uint32_t config_size, bp_error *error)
{
    if (!is_option_name(row->name))
        return error_set(error, BP_EINVAL, "an option's name is \"%.32s\", which is not lower_snake_case", row->name);
    size_t bytes = value_bytes(row->type), end;
    if (bytes == 0)
        return error_set(error, BP_EINVAL, "option %s has the unknown type %u", row->name, row->type);
    if (!checked_add(row->offset, bytes, &end) || end > config_size || row->offset % bytes)
        return error_set(error, BP_EINVAL, "option %s is stored at offset %u of a config struct of %u bytes", row->name,
                         row->offset, config_size);
    if (row->flags & ~(uint32_t)(BP_OPTION_REQUIRED | BP_OPTION_AUTO))
        return error_set(error, BP_EINVAL, "option %s has unknown flags", row->name);
    if (row->flags & BP_OPTION_AUTO && row->type != BP_OPTION_INT)
        return error_set(error, BP_EINVAL, "option %s takes auto and is not an integer", row->name);
    if (row->flags & BP_OPTION_REQUIRED && row->fallback)
        return error_set(error, BP_EINVAL, "option %s is required and has a default", row->name);
    if (row->type == BP_OPTION_ENUM && !are_choices(row->choices))
        return error_set(error, BP_EINVAL, "option %s has no list of choices", row->name);
    value ignored;
    bp_status status = row->fallback ? parse_value(NULL, row, row->fallback, &ignored, error) : BP_OK;
    return status == BP_OK ? BP_OK : error_prefix(error, status, "the default of option %s", row->name);
}

static bp_status check_against(const bp_option *row, const bp_option *other, bp_error *error)
{
    if (strcmp(row->name, other->name) == 0)
        return error_set(error, BP_EINVAL, "option %s is there twice", row->name);
    if (row->offset < other->offset + value_bytes(other->type) && other->offset < row->offset + value_bytes(row->type))
        return error_set(error, BP_EINVAL, "options %s and %s are stored in the same place", other->name, row->name);
    return BP_OK;
}

bp_status options_check_table(const bp_option *options, uint32_t config_size, bp_error *error)
{
    if (config_size > OPTIONS_MAX_CONFIG)
        return error_set(error, BP_EINVAL, "a config struct of %u bytes is larger than %d", config_size, OPTIONS_MAX_CONFIG);
    for (size_t i = 0; options && options[i].name; i++) {
        if (i == OPTIONS_MAX_ROWS)
            return error_set(error, BP_EINVAL, "the option table does not end within %d rows", OPTIONS_MAX_ROWS);
        bp_status status = check_row(&options[i], config_size, error);
        for (size_t j = 0; j < i && status == BP_OK; j++)
            status = check_against(&options[i], &options[j], error);
        if (status != BP_OK)
            return status;
    }
    return BP_OK;
}

const bp_option *options_find(const bp_option *options, const char *name)
{
    for (; options && options->name; options++)
        if (strcmp(options->name, name) == 0)
            return options;
    return NULL;
}

/* --- filling ---------------------------------------------------------------------------------------------------------- */

static void unknown_sentence(const bp_option *options, const char *const *others, const char *name, char out[400])
{
    suggestion guess = suggest_for(name);
    buffer names = {0};
    for (const char *const *other = others; other && *other; other++) {
        suggest_add(&guess, *other);
        buffer_format(&names, ", %s", *other);
    }
    for (const bp_option *row = options; row && row->name; row++) {
        suggest_add(&guess, row->name);
        buffer_format(&names, ", %s", row->name);
    }
    char hint[100];
    suggest_text(&guess, hint, sizeof hint);
    if (guess.best)
        snprintf(out, 400, "unknown key \"%.64s\"%s", name, hint);
    else if (names.data)
        snprintf(out, 400, "unknown key \"%.64s\"; the keys are %s", name, names.data + 2);
    else
        snprintf(out, 400, "unknown key \"%.64s\"; there are no keys here", name);
    buffer_free(&names);
}

bp_status options_defaults(const options_target *target, bp_error *error)
{
    for (const bp_option *row = target->options; row && row->name; row++) {
        bp_status status = row->fallback ? store_value(target, row, row->fallback, error) : BP_OK;
        if (status != BP_OK)
            return status;
    }
    return BP_OK;
}

bp_status options_set(const options_target *target, const char *name, const char *text, bp_error *error)
{
    const bp_option *row = options_find(target->options, name);
    if (row)
        return store_value(target, row, text, error);
    char sentence[400];
    unknown_sentence(target->options, NULL, name, sentence);
    return error_set(error, BP_EINVAL, "%s", sentence);
}

static bool is_among(const char *const *words, const char *word)
{
    for (; words && *words; words++)
        if (strcmp(*words, word) == 0)
            return true;
    return false;
}

static bp_status fill_entry(const options_target *target, const yaml_node *key, const yaml_node *node, const char *const *others,
                            bp_error *error)
{
    const bp_option *row = options_find(target->options, key->text);
    if (!row) {
        char sentence[400];
        unknown_sentence(target->options, others, key->text, sentence);
        return yaml_fail(key, error, "%s", sentence);
    }
    if (node->kind != YAML_TEXT) {
        buffer takes = {0};
        options_describe(row, &takes);
        bp_status status = yaml_fail(node, error, "%s is %s; it takes %s", row->name, yaml_kind_name(node),
                                     takes.data ? takes.data : "one value");
        buffer_free(&takes);
        return status;
    }
    bp_error local = {0};
    bp_status status = store_value(target, row, node->text, &local);
    if (status == BP_EINVAL)
        return yaml_fail(node, error, "%s", local.message);
    return status == BP_OK ? BP_OK : error_set(error, status, "%s", local.message);
}

bp_status options_fill(const options_target *target, const yaml_node *map, const char *const *others, bp_error *error)
{
    if (map->kind != YAML_MAP)
        return yaml_fail(map, error, "%s where a mapping of options belongs", yaml_kind_name(map));
    bp_status status = options_defaults(target, error);
    for (size_t i = 0; i < map->count && status == BP_OK; i++)
        if (!is_among(others, map->keys[i]->text))
            status = fill_entry(target, map->keys[i], map->values[i], others, error);
    for (const bp_option *row = target->options; row && row->name && status == BP_OK; row++)
        if (row->flags & BP_OPTION_REQUIRED && !yaml_get(map, row->name))
            status = yaml_fail(map, error, "the key %s is missing: %s", row->name, row->help ? row->help : "it is required");
    return status;
}
