#include "host/plugins.h"

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "host/elf.h"
#include "host/options.h"
#include "host/plugin_ops.h"
#include "host/suggest.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIRECTORIES = 32, MAX_NAME = PLUGINS_MAX_NAME, MAX_FILES = 1024 };

/* Since this minor bp_message, of which requests have arrays, is longer; arrays of the shorter ones would be read astray. */
enum { FRONTEND_OLDEST_MINOR = 1 };

typedef struct record record;
struct record {
    record *next;
    void *handle;
    plugin plugin;
};

struct plugins {
    arena *memory;
    record *records;
    const char *directories[MAX_DIRECTORIES];
    size_t directory_count;
};

plugins *plugins_new(void)
{
    arena *memory = arena_new();
    plugins *p = memory ? arena_alloc(memory, sizeof *p) : NULL;
    if (!p) {
        arena_free(memory);
        return NULL;
    }
    p->memory = memory;
    return p;
}

void plugins_free(plugins *p)
{
    if (!p)
        return;
    for (record *r = p->records; r; r = r->next)
        dlclose(r->handle);
    arena_free(p->memory);
}

const char *plugins_kind_name(uint32_t kind)
{
    return kind == BP_PLUGIN_BACKEND ? "backend" : kind == BP_PLUGIN_FRONTEND ? "frontend" : "plugin of an unknown kind";
}

static bp_status fail_memory(bp_error *error)
{
    return error_set(error, BP_ENOMEM, "out of memory for plugins");
}

/* --- directories ------------------------------------------------------------------------------------------------------ */

bp_status plugins_add_directory(plugins *p, const char *directory, bp_error *error)
{
    if (directory[0] != '/')
        return error_set(error, BP_EINVAL, "the plugin directory %s is not an absolute path", directory);
    char *real = realpath(directory, NULL);
    const char *path = real ? real : directory;
    bp_status status = BP_OK;
    size_t i = 0;
    while (i < p->directory_count && strcmp(p->directories[i], path) != 0)
        i++;
    if (i == p->directory_count) {
        if (i == MAX_DIRECTORIES)
            status = error_set(error, BP_ELIMIT, "more than %d plugin directories", MAX_DIRECTORIES);
        else if (!(p->directories[i] = arena_string(p->memory, path)))
            status = fail_memory(error);
        else
            p->directory_count++;
    }
    free(real);
    return status;
}

bp_status plugins_add_default_directories(plugins *p, const char *executable_directory, bp_error *error)
{
    static const char *const around[] = {"/../plugins", "/../" BACKPLANE_LIBDIR "/backplane"};
    buffer path = {0};
    bp_status status = BP_OK;
    for (size_t i = 0; i < 2 && status == BP_OK; i++) {
        buffer_clear(&path);
        if (!buffer_text(&path, executable_directory) || !buffer_text(&path, around[i]))
            status = fail_memory(error);
        else
            status = plugins_add_directory(p, path.data, error);
    }
    buffer_free(&path);
    return status == BP_OK ? plugins_add_directory(p, BACKPLANE_PLUGIN_DIRECTORY, error) : status;
}

const char *const *plugins_directories(const plugins *p, size_t *count)
{
    *count = p->directory_count;
    return p->directories;
}

/* --- checks ----------------------------------------------------------------------------------------------------------- */

bool plugins_is_name(const char *name)
{
    size_t length = name ? strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") : 0;
    return length > 0 && length <= MAX_NAME && !name[length];
}

/* The ABI comes before the size: a newer minor is why a descriptor would be larger. */
static bp_status check_abi(const char *path, const bp_plugin *d, bp_error *error)
{
    if (d->size < offsetof(bp_plugin, ops) + sizeof d->ops)
        return error_set(error, BP_EINVAL, "%s has a descriptor of %u bytes where at least %zu are needed", path, d->size,
                         offsetof(bp_plugin, ops) + sizeof d->ops);
    if (d->abi_major != BP_ABI_MAJOR)
        return error_set(error, BP_EUNSUPPORTED, "%s is built for plugin ABI %u.%u and this is %d.%d; build it against these headers",
                         path, d->abi_major, d->abi_minor, BP_ABI_MAJOR, BP_ABI_MINOR);
    if (d->abi_minor > BP_ABI_MINOR)
        return error_set(error, BP_EUNSUPPORTED, "%s needs plugin ABI %u.%u and this is %d.%d; update Backplane", path,
                         d->abi_major, d->abi_minor, BP_ABI_MAJOR, BP_ABI_MINOR);
    if (d->size > sizeof *d)
        return error_set(error, BP_EUNSUPPORTED, "%s has a descriptor of %u bytes where ABI %d.%d has %zu; it was built for another ABI",
                         path, d->size, BP_ABI_MAJOR, BP_ABI_MINOR, sizeof *d);
    return BP_OK;
}

static bp_status check_ops(const char *path, const bp_plugin *d, bp_error *error)
{
    size_t most = d->kind == BP_PLUGIN_BACKEND ? sizeof(bp_backend_ops) : sizeof(bp_frontend_ops);
    size_t slot = sizeof(void (*)(void)), header = 2 * sizeof(uint32_t);
    uint32_t size = 0;
    if (!d->ops)
        return error_set(error, BP_EINVAL, "%s has no operations table", path);
    memcpy(&size, d->ops, sizeof size);
    if (size > most)
        return error_set(error, BP_EUNSUPPORTED, "%s has an operations table of %u bytes where ABI %d.%d has %zu for a %s", path, size,
                         BP_ABI_MAJOR, BP_ABI_MINOR, most, plugins_kind_name(d->kind));
    if (size < header || (size - header) % slot)
        return error_set(error, BP_EINVAL, "%s has an operations table of %u bytes, which ends inside a slot", path, size);
    return BP_OK;
}

static bp_status check_descriptor(const plugins *p, const char *path, const char *expected, const bp_plugin *d, bp_error *error)
{
    bp_status status = check_abi(path, d, error);
    if (status != BP_OK)
        return status;
    if (d->kind != BP_PLUGIN_BACKEND && d->kind != BP_PLUGIN_FRONTEND)
        return error_set(error, BP_EUNSUPPORTED, "%s is of the kind %u, which is neither a backend nor a frontend", path, d->kind);
    if (d->kind == BP_PLUGIN_FRONTEND && d->abi_minor < FRONTEND_OLDEST_MINOR)
        return error_set(error, BP_EUNSUPPORTED, "%s is a frontend for plugin ABI %u.%u, whose messages are shorter; build it against "
                         "these headers, of %d.%d", path, d->abi_major, d->abi_minor, BP_ABI_MAJOR, BP_ABI_MINOR);
    if (!plugins_is_name(d->name))
        return error_set(error, BP_EINVAL, "%s has the name \"%.40s\", which is not 1 to %d of a-z, 0-9, _ and -", path,
                         d->name ? d->name : "", MAX_NAME);
    if (expected && strcmp(d->name, expected) != 0)
        return error_set(error, BP_EINVAL, "%s says that its name is %s; a plugin's file is named after it", path, d->name);
    for (const record *r = p->records; r; r = r->next)
        if (strcmp(r->plugin.name, d->name) == 0)
            return error_set(error, BP_EINVAL, "%s has the name %s, which %s has already", path, d->name, r->plugin.path);
    bp_error local = {0};
    status = options_check_table(d->options, d->config_size, &local);
    if (status != BP_OK)
        return error_set(error, status, "%s has a bad option table: %s", path, local.message);
    return check_ops(path, d, error);
}

/* --- loading ---------------------------------------------------------------------------------------------------------- */

static record *keep(plugins *p, const char *path, void *handle, const bp_plugin *d)
{
    record *r = arena_alloc(p->memory, sizeof *r);
    if (!r || !(r->plugin.path = arena_string(p->memory, path)))
        return NULL;
    r->handle = handle;
    plugin *loaded = &r->plugin;
    loaded->name = d->name;
    loaded->version = d->version ? d->version : "";
    loaded->summary = d->summary ? d->summary : "";
    loaded->kind = d->kind;
    loaded->config_size = d->config_size;
    loaded->abi_major = d->abi_major;
    loaded->abi_minor = d->abi_minor;
    loaded->options = d->options && d->options->name ? d->options : NULL;
    static const uint32_t empty[2] = {sizeof empty, 0};
    plugin_ops_copy_backend(d->kind == BP_PLUGIN_BACKEND ? d->ops : empty, &loaded->backend);
    plugin_ops_copy_frontend(d->kind == BP_PLUGIN_FRONTEND ? d->ops : empty, &loaded->frontend);
    r->next = p->records;
    p->records = r;
    return r;
}

/* What dlopen says often begins with the path, as the sentence already does. */
static const char *loader_message(const char *path)
{
    const char *message = dlerror();
    size_t length = strlen(path);
    if (message && strncmp(message, path, length) == 0 && message[length] == ':')
        message += length + 1 + strspn(message + length + 1, " ");
    return message ? message : "no reason given";
}

static bp_status open_object(const plugins *p, const char *path, const char *expected, void **handle, const bp_plugin **out,
                             bp_error *error)
{
    bp_status status = elf_check(path, error);
    if (status != BP_OK)
        return status;
    *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!*handle)
        return error_set(error, BP_EINVAL, "%s cannot be loaded: %s", path, loader_message(path));
    bp_plugin_entry_fn entry;
    /* POSIX's way around ISO C, which has no conversion from data to function pointers. */
    *(void **)&entry = dlsym(*handle, BP_PLUGIN_ENTRY_SYMBOL);
    *out = entry ? entry() : NULL;
    if (!entry)
        status = error_set(error, BP_EINVAL, "%s is not a plugin: it exports no %s", path, BP_PLUGIN_ENTRY_SYMBOL);
    else if (!*out)
        status = error_set(error, BP_EINVAL, "%s returned no descriptor from %s", path, BP_PLUGIN_ENTRY_SYMBOL);
    else
        status = check_descriptor(p, path, expected, *out, error);
    if (status != BP_OK)
        dlclose(*handle);
    return status;
}

/* `expected` is the name that the plugin must have, or NULL. */
static bp_status load_file(plugins *p, const char *path, const char *expected, const plugin **out, bp_error *error)
{
    char *real = realpath(path, NULL);
    if (real)
        path = real;
    for (const record *r = p->records; r; r = r->next)
        if (strcmp(r->plugin.path, path) == 0 && (!expected || strcmp(r->plugin.name, expected) == 0)) {
            *out = &r->plugin;
            free(real);
            return BP_OK;
        }
    void *handle = NULL;
    const bp_plugin *descriptor = NULL;
    bp_status status = open_object(p, path, expected, &handle, &descriptor, error);
    if (status == BP_OK) {
        record *r = keep(p, path, handle, descriptor);
        if (r) {
            *out = &r->plugin;
        } else {
            dlclose(handle);
            status = fail_memory(error);
        }
    }
    free(real);
    return status;
}

/* --- directories' files ----------------------------------------------------------------------------------------------- */

static int is_object_file(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 3 && entry->d_name[0] != '.' && strcmp(entry->d_name + length - 3, ".so") == 0;
}

static bp_status fail_not_found(const plugins *p, const char *name, bp_error *error)
{
    suggestion guess = suggest_for(name);
    buffer places = {0};
    char hint[100], best[MAX_NAME + 1];
    for (size_t i = 0; i < p->directory_count; i++) {
        buffer_format(&places, "%s%s", i ? ", " : "", p->directories[i]);
        struct dirent **entries;
        int count = scandir(p->directories[i], &entries, is_object_file, alphasort);
        for (int j = 0; j < count; j++) {
            const char *before = guess.best;
            entries[j]->d_name[strlen(entries[j]->d_name) - 3] = '\0';
            suggest_add(&guess, entries[j]->d_name);
            if (guess.best != before) {
                strncpy(best, guess.best, MAX_NAME);
                best[MAX_NAME] = '\0';
                guess.best = best;
            }
            free(entries[j]);
        }
        if (count >= 0)
            free(entries);
    }
    suggest_text(&guess, hint, sizeof hint);
    error_set(error, BP_ENOTFOUND, "no plugin \"%.40s\"%s (searched %.300s)", name, hint, places.data ? places.data : "nowhere");
    buffer_free(&places);
    return BP_ENOTFOUND;
}

static bp_status load_named(plugins *p, const char *name, const plugin **out, bp_error *error)
{
    if (!plugins_is_name(name))
        return error_set(error, BP_EINVAL, "\"%.40s\" is not a plugin's name (1 to %d of a-z, 0-9, _ and -) nor a path", name,
                         MAX_NAME);
    for (size_t i = 0; i < p->directory_count; i++) {
        buffer path = {0};
        if (!buffer_format(&path, "%s/%s.so", p->directories[i], name)) {
            buffer_free(&path);
            return fail_memory(error);
        }
        bp_error local = {0};
        bp_status status = load_file(p, path.data, name, out, &local);
        buffer_free(&path);
        if (status == BP_OK)
            return BP_OK;
        if (status != BP_ENOTFOUND)
            return error_set(error, status, "%s", local.message);
    }
    return fail_not_found(p, name, error);
}

bp_status plugins_load(plugins *p, const char *name_or_path, uint32_t kind, const plugin **out, bp_error *error)
{
    const plugin *found = NULL;
    bp_status status;
    if (name_or_path[0] == '/')
        status = load_file(p, name_or_path, NULL, &found, error);
    else
        status = load_named(p, name_or_path, &found, error);
    if (status == BP_OK && found->kind != kind)
        status = error_set(error, BP_EINVAL, "%s is a %s where a %s belongs", found->path, plugins_kind_name(found->kind),
                           plugins_kind_name(kind));
    if (status == BP_OK)
        *out = found;
    return status;
}

static bp_status report_file(plugins *p, const char *directory, const char *file, plugins_report *out, bp_error *error)
{
    buffer path = {0};
    bp_status status = BP_OK;
    char name[NAME_MAX + 1];
    size_t length = strlen(file) - 3;
    memcpy(name, file, length);
    name[length] = '\0';
    bp_error refusal = {0};
    if (!buffer_format(&path, "%s/%s", directory, file) || !(out->path = arena_string(p->memory, path.data)))
        status = fail_memory(error);
    else if (load_file(p, path.data, name, &out->plugin, &refusal) != BP_OK &&
             !(out->refusal = arena_string(p->memory, refusal.message)))
        status = fail_memory(error);
    buffer_free(&path);
    return status;
}

bp_status plugins_list(plugins *p, const plugins_report **out, size_t *count, bp_error *error)
{
    plugins_report *reports = arena_array(p->memory, MAX_FILES, sizeof *reports);
    bp_status status = reports ? BP_OK : fail_memory(error);
    size_t used = 0;
    for (size_t i = 0; i < p->directory_count && status == BP_OK; i++) {
        struct dirent **entries;
        int found = scandir(p->directories[i], &entries, is_object_file, alphasort);
        for (int j = 0; j < found; j++) {
            if (status == BP_OK && used == MAX_FILES)
                status = error_set(error, BP_ELIMIT, "more than %d files in the plugin directories", MAX_FILES);
            else if (status == BP_OK)
                status = report_file(p, p->directories[i], entries[j]->d_name, &reports[used++], error);
            free(entries[j]);
        }
        if (found >= 0)
            free(entries);
    }
    *out = reports;
    *count = used;
    return status;
}
