/* options_print: how a row describes itself, in sentences, on a terminal and in Markdown. */
#include "host/options.h"

#include <math.h>
#include <string.h>

/* Beyond this a limit is the type's, not the option's. */
static const double type_limit = 9e18;

static bool has_range(const bp_option *option)
{
    return option->min < option->max;
}

static bool is_unbounded(const bp_option *option)
{
    return option->max >= type_limit;
}

static void print_number(const bp_option *option, double number, buffer *out)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    if (option->type == BP_OPTION_SIZE)
        while (unit < 4 && number >= 1024 && fmod(number, 1024) == 0) {
            number /= 1024;
            unit++;
        }
    buffer_format(out, "%.15g%s", number, units[unit]);
}

static void describe_range(const bp_option *option, buffer *out)
{
    if (!has_range(option))
        return;
    buffer_text(out, is_unbounded(option) ? " of at least " : " from ");
    print_number(option, option->min, out);
    if (is_unbounded(option))
        return;
    buffer_text(out, " to ");
    print_number(option, option->max, out);
}

static void describe_choices(const char *choices, buffer *out)
{
    buffer_text(out, "one of ");
    for (const char *c = choices; *c; c++)
        buffer_append(out, *c == '|' ? ", " : c, *c == '|' ? 2 : 1);
}

void options_describe(const bp_option *option, buffer *out)
{
    switch (option->type) {
    case BP_OPTION_BOOL: buffer_text(out, "true or false"); break;
    case BP_OPTION_INT: buffer_text(out, "a whole number"); break;
    case BP_OPTION_FLOAT: buffer_text(out, "a number"); break;
    case BP_OPTION_SIZE: buffer_text(out, "a size (512, 64KiB, 2GiB, 1.5GB)"); break;
    case BP_OPTION_STRING: buffer_text(out, "a text"); break;
    case BP_OPTION_PATH: buffer_text(out, "a path"); break;
    case BP_OPTION_ENUM: describe_choices(option->choices, out); break;
    default: buffer_text(out, "a value"); break;
    }
    describe_range(option, out);
    if (option->flags & BP_OPTION_AUTO)
        buffer_text(out, ", or auto");
}

void options_shape(const bp_option *option, buffer *out)
{
    static const char *const names[] = {"value", "bool", "int", "float", "text", "size", "enum", "path"};
    if (option->type == BP_OPTION_ENUM) {
        buffer_text(out, option->choices);
        return;
    }
    buffer_text(out, option->type <= BP_OPTION_PATH ? names[option->type] : names[0]);
    if (has_range(option)) {
        buffer_text(out, " ");
        print_number(option, option->min, out);
        buffer_text(out, "..");
        if (!is_unbounded(option))
            print_number(option, option->max, out);
    }
    if (option->flags & BP_OPTION_AUTO)
        buffer_text(out, "|auto");
}

static const char *default_text(const bp_option *option)
{
    if (option->fallback)
        return *option->fallback ? option->fallback : "\"\"";
    return option->flags & BP_OPTION_REQUIRED ? "required" : "none";
}

bool options_print_help(const bp_option *options, const char *indent, buffer *out)
{
    int name_width = 0, shape_width = 0;
    buffer shape = {0};
    for (const bp_option *row = options; row && row->name; row++) {
        buffer_clear(&shape);
        options_shape(row, &shape);
        int name = (int)strlen(row->name), width = (int)shape.size;
        name_width = name > name_width ? name : name_width;
        /* One long list of choices must not push every other row aside. */
        shape_width = width > shape_width && width <= 24 ? width : shape_width;
    }
    bool good = true;
    for (const bp_option *row = options; row && row->name && good; row++) {
        buffer_clear(&shape);
        options_shape(row, &shape);
        good = buffer_format(out, "%s%-*s  %-*s  %s", indent, name_width, row->name, shape_width, shape.data ? shape.data : "",
                             row->help ? row->help : "");
        if (good && row->fallback)
            good = buffer_format(out, " (default %s)", default_text(row));
        else if (good && row->flags & BP_OPTION_REQUIRED)
            good = buffer_text(out, " (required)");
        good = good && buffer_text(out, "\n");
    }
    buffer_free(&shape);
    return good;
}

static bool print_cell(const char *text, buffer *out)
{
    for (const char *c = text; *c; c++)
        if ((*c == '|' && !buffer_text(out, "\\")) || !buffer_append(out, *c == '\n' ? " " : c, 1))
            return false;
    return true;
}

bool options_print_markdown(const bp_option *options, buffer *out)
{
    if (!options || !options->name)
        return buffer_text(out, "It has no options.\n");
    bool good = buffer_text(out, "| key | values | default | |\n|---|---|---|---|\n");
    buffer shape = {0};
    for (const bp_option *row = options; row->name && good; row++) {
        buffer_clear(&shape);
        options_shape(row, &shape);
        good = buffer_format(out, "| `%s` | ", row->name) && print_cell(shape.data ? shape.data : "", out) &&
               buffer_text(out, " | ") && print_cell(default_text(row), out) && buffer_text(out, " | ") &&
               print_cell(row->help ? row->help : "", out) && buffer_text(out, " |\n");
    }
    buffer_free(&shape);
    return good;
}
