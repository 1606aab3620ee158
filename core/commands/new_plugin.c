/* new-plugin: a folder with a plugin that works, to be changed into another.
 *
 * The files of templates/ are in the program; words between @ in them are filled in. A refusal, or a write that fails, leaves
 * nothing behind. */
#include "commands/commands.h"

#include "base/error.h"
#include "host/plugins.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPTION_FRONTEND, OPTION_CPP };
enum { FILE_COUNT = 4, KIND_COUNT = 2, LANGUAGE_COUNT = 2 };

static const cli_option options[] = {
    {.name = "frontend", .letter = 'f', .help = "a frontend, which talks to people or programs; otherwise a backend, which computes"},
    {.name = "cpp", .help = "in C++17; otherwise in C11"},
    {0}};

#define TEMPLATE(name) extern const unsigned char template_##name[]; extern const size_t template_##name##_size;
TEMPLATE(CMakeLists_txt)
TEMPLATE(backend_c)
TEMPLATE(backend_cpp)
TEMPLATE(backend_yaml)
TEMPLATE(backend_md)
TEMPLATE(frontend_c)
TEMPLATE(frontend_cpp)
TEMPLATE(frontend_yaml)
TEMPLATE(frontend_md)

typedef struct template_file {
    const char *name; /* words between @ in it are filled in too */
    const unsigned char *text;
    const size_t *size;
} template_file;

#define FILES(kind, suffix)                                                                                            \
    {{"CMakeLists.txt", template_CMakeLists_txt, &template_CMakeLists_txt_size},                                       \
     {"@NAME@.@SUFFIX@", template_##kind##_##suffix, &template_##kind##_##suffix##_size},                              \
     {"@NAME@.yaml", template_##kind##_yaml, &template_##kind##_yaml_size},                                            \
     {"README.md", template_##kind##_md, &template_##kind##_md_size}}
static const template_file files[KIND_COUNT][LANGUAGE_COUNT][FILE_COUNT] = {
    {FILES(backend, c), FILES(backend, cpp)}, {FILES(frontend, c), FILES(frontend, cpp)}};

typedef struct words {
    const char *name, *language, *suffix;
} words;

/* Appends `text` with its words filled in. An @ that begins none of them stays. */
static bool fill_in(const char *text, size_t size, const words *w, buffer *out)
{
    const struct { const char *word, *value; } table[] = {
        {"@NAME@", w->name}, {"@LANGUAGE@", w->language}, {"@SUFFIX@", w->suffix}};
    bool good = true;
    for (size_t i = 0; i < size && good;) {
        const char *at = memchr(text + i, '@', size - i);
        size_t before = at ? (size_t)(at - text) - i : size - i, row = 0;
        good = buffer_append(out, text + i, before);
        i += before;
        if (!at || !good)
            break;
        while (row < 3 && (size - i < strlen(table[row].word) || memcmp(at, table[row].word, strlen(table[row].word)) != 0))
            row++;
        good = row < 3 ? buffer_text(out, table[row].value) : buffer_append(out, at, 1);
        i += row < 3 ? strlen(table[row].word) : 1;
    }
    return good;
}

static bp_status write_file(const char *path, const buffer *text, bp_error *error)
{
    FILE *file = fopen(path, "wx");
    if (!file)
        return error_set(error, BP_EIO, "%s cannot be made: %s", path, strerror(errno));
    bool good = fwrite(text->data, 1, text->size, file) == text->size;
    if (fclose(file) != 0 || !good) {
        error_set(error, BP_EIO, "%s cannot be written: %s", path, strerror(errno));
        unlink(path);
        return BP_EIO;
    }
    return BP_OK;
}

static bp_status make_file(const template_file *file, const words *w, buffer *path, bp_error *error)
{
    buffer text = {0};
    bp_status status;
    buffer_clear(path);
    if (!buffer_format(path, "%s/", w->name) || !fill_in(file->name, strlen(file->name), w, path) ||
        !fill_in((const char *)file->text, *file->size, w, &text))
        status = error_set(error, BP_ENOMEM, "out of memory for the files of %s", w->name);
    else
        status = write_file(path->data, &text, error);
    buffer_free(&text);
    return status;
}

/* The folder and all of its files, or nothing. */
static bp_status make_folder(const template_file *const set, const words *w, bp_error *error)
{
    buffer paths[FILE_COUNT] = {0};
    size_t made = 0;
    if (mkdir(w->name, 0777) != 0)
        return errno == EEXIST ? error_set(error, BP_EINVAL, "%s is there already; choose another name, or remove it", w->name)
                               : error_set(error, BP_EIO, "the folder %s cannot be made: %s", w->name, strerror(errno));
    bp_status status = BP_OK;
    while (status == BP_OK && made < FILE_COUNT) {
        status = make_file(&set[made], w, &paths[made], error);
        made += status == BP_OK;
    }
    if (status != BP_OK) {
        for (size_t i = 0; i < made; i++)
            unlink(paths[i].data);
        rmdir(w->name);
    }
    for (size_t i = 0; i < FILE_COUNT; i++)
        buffer_free(&paths[i]);
    return status;
}

static int run(const cli_values *values)
{
    bool frontend = values->option[OPTION_FRONTEND] != NULL, cpp = values->option[OPTION_CPP] != NULL;
    const words w = {values->arguments[0], cpp ? "CXX" : "C", cpp ? "cpp" : "c"};
    bp_error error = {0};
    buffer said = {0};
    if (!plugins_is_name(w.name))
        return cli_usage("new-plugin: \"%.40s\" is not a plugin's name: 1 to %d of a-z, 0-9, _ and -", w.name, PLUGINS_MAX_NAME);
    if (make_folder(files[frontend][cpp], &w, &error) != BP_OK)
        return cli_fail(&error);
    bool good = buffer_format(&said, "%s/ has a %s that works: %s.%s\nbuild it: cmake -S %s -B %s/build && cmake --build %s/build\n"
                              "%s/README.md says how to try it\n", w.name, frontend ? "frontend" : "backend", w.name, w.suffix,
                              w.name, w.name, w.name, w.name);
    int code = cli_print(good, &said);
    buffer_free(&said);
    return code;
}

const cli_command command_new_plugin = {
    .name = "new-plugin",
    .arguments = "NAME",
    .summary = "Write a folder NAME with a plugin that builds and runs, to be changed into another",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = options,
    .details = "The folder has the plugin in one file, a CMake project that needs an installed Backplane alone, a configuration that\n"
               "runs it, and a README.",
    .run = run,
};
