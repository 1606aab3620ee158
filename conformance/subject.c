#include "subject.h"

#include "base/buffer.h"
#include "base/log.h"
#include "host/options.h"

#include <string.h>

static plugins *set; /* of the check's process */

void subject_load(subject *u)
{
    bp_error error = {0};
    if (u->plugin)
        return;
    u->memory = arena_new();
    set = plugins_new();
    if (!u->memory || !set)
        failed("there is no memory to load the plugin");
    doing("loading");
    if (plugins_load(set, u->path, u->kind, &u->plugin, &error) != BP_OK)
        failed("%s", error.message);
    doing(NULL);
    u->ops = &u->plugin->backend;
}

void subject_unload(subject *u)
{
    doing("unloading");
    plugins_free(set);
    arena_free(u->memory);
    set = NULL;
    u->memory = NULL;
    u->plugin = NULL;
    u->ops = NULL;
    doing(NULL);
}

const bp_host *subject_host(void)
{
    return log_host();
}

static options_target target_of(const subject *u, void *config)
{
    return (options_target){.options = u->plugin->options, .config = config, .memory = u->memory, .directory = "/"};
}

static bool is_set(const subject *u, const char *name)
{
    for (size_t i = 0; i < u->setting_count; i++)
        if (strncmp(u->settings[i], name, strlen(name)) == 0 && u->settings[i][strlen(name)] == '=')
            return true;
    return false;
}

void *subject_config(subject *u)
{
    bp_error error = {0};
    void *config = arena_alloc(u->memory, (size_t)u->plugin->config_size + 1);
    if (!config)
        failed("there is no memory for a configuration of %u bytes", u->plugin->config_size);
    options_target target = target_of(u, config);
    if (options_defaults(&target, &error) != BP_OK)
        failed("the host refuses the options' fallbacks: %s", error.message);
    for (size_t i = 0; i < u->setting_count; i++) {
        const char *equals = strchr(u->settings[i], '=');
        char name[64];
        size_t length = (size_t)(equals - u->settings[i]);
        if (length >= sizeof name)
            failed("--set %s names no option", u->settings[i]);
        memcpy(name, u->settings[i], length);
        name[length] = '\0';
        if (options_set(&target, name, equals + 1, &error) != BP_OK)
            failed("--set %s: %s", u->settings[i], error.message);
    }
    for (const bp_option *o = u->plugin->options; o && o->name; o++)
        if (o->flags & BP_OPTION_REQUIRED && !is_set(u, o->name))
            failed("the option %s must be written: use --set %s=VALUE", o->name, o->name);
    return config;
}

bp_device *subject_device(subject *u)
{
    answer a;
    bp_device *device = NULL;
    subject_load(u);
    if (CALL(u, &a, u->ops, open, subject_host(), subject_config(u), &device) != BP_OK)
        failed("open: %s", a.error.message);
    if (!device)
        failed("open succeeded without a device");
    return device;
}

void subject_close(subject *u, bp_device *device)
{
    CALL_VOID(u->ops, close, device);
}

uint32_t subject_caps(subject *u, bp_device *device)
{
    answer a;
    bp_device_info info = {.size = sizeof info};
    return CALL(u, &a, u->ops, info, device, &info) == BP_OK ? info.caps : 0;
}

/* --- what a call answers ------------------------------------------------------------------------------------------------ */

enum { UNTOUCHED = 0xa5 };

void answer_prepare(answer *a, const char *slot)
{
    a->slot = slot;
    memset(&a->error, UNTOUCHED, sizeof a->error);
    doing(slot);
}

static bool is_untouched(const void *data, size_t bytes)
{
    const unsigned char *at = data;
    while (bytes > 0 && at[bytes - 1] == UNTOUCHED)
        bytes--;
    return bytes == 0;
}

static void hold_to_rules(const answer *a, bp_status status)
{
    const bp_error *e = &a->error;
    if (status == BP_OK && !is_untouched(e, sizeof *e))
        failed("%s succeeded and wrote into the caller's error", a->slot);
    if (status == BP_OK)
        return;
    if (is_untouched(e->message, sizeof e->message))
        failed("%s failed with %d and wrote no sentence", a->slot, status);
    if (!memchr(e->message, '\0', sizeof e->message))
        failed("%s failed and its sentence does not end within the %zu bytes there are", a->slot, sizeof e->message);
    if (e->code != status)
        failed("%s returned %d and wrote the code %d", a->slot, status, e->code);
    if (!e->message[0])
        failed("%s failed with %d and its sentence is empty", a->slot, status);
}

bp_status answer_take(const subject *u, answer *a, bp_status status)
{
    doing(NULL);
    if (status > 0 || status < BP_ECONTEXT)
        failed("%s returned %d, which is no status", a->slot, status);
    if (u->strict)
        hold_to_rules(a, status);
    bp_error *e = &a->error;
    if (status == BP_OK)
        *e = (bp_error){0};
    else if (is_untouched(e->message, sizeof e->message))
        memcpy(e->message, "(no sentence)", sizeof "(no sentence)");
    e->message[sizeof e->message - 1] = '\0';
    return status;
}
