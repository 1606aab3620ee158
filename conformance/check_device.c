/* Devices and models as things that come and go: opened, described, closed, none of them disturbing another. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

enum { GUARD = 0x5a };

static void open_twice(subject *u, uint32_t which)
{
    (void)which;
    bp_device *a = subject_device(u), *b = subject_device(u);
    if (a == b)
        failed("open gave the same device twice");
    subject_close(u, a);
    subject_close(u, b);
    a = subject_device(u);
    b = subject_device(u);
    subject_close(u, b);
    subject_close(u, a);
    subject_unload(u);
}

static void nothing(subject *u, uint32_t which)
{
    (void)which;
    subject_load(u);
    CALL_VOID(u->ops, close, NULL);
    CALL_VOID(u->ops, release, NULL);
    subject_close(u, subject_device(u));
    CALL_VOID(u->ops, close, NULL);
    CALL_VOID(u->ops, release, NULL);
    subject_unload(u);
}

/* A caller of an older minor has a shorter struct: no more than it says is written. */
static void info(subject *u, uint32_t which)
{
    (void)which;
    answer a;
    bp_device *device = subject_device(u);
    struct {
        bp_device_info info;
        unsigned char guard[64];
    } whole, shorter;
    memset(&whole, GUARD, sizeof whole);
    whole.info = (bp_device_info){.size = sizeof whole.info};
    bp_status status = CALL(u, &a, u->ops, info, device, &whole.info);
    if (status == BP_EUNSUPPORTED)
        not_offered("the plugin has no info");
    if (status != BP_OK)
        failed("info: %s", a.error.message);
    if (!memchr(whole.info.name, '\0', sizeof whole.info.name) || !whole.info.name[0])
        failed("info gave no name, or one that does not end");
    if (whole.info.caps & ~(uint32_t)(BP_CAP_ASYNC | BP_CAP_TOPK | BP_CAP_COPY | BP_CAP_SHARE))
        failed("info gave the capabilities %#x, of which some do not exist", whole.info.caps);
    if (whole.info.memory_free > whole.info.memory_total)
        failed("info says that more memory is free than there is");
    memset(&shorter, GUARD, sizeof shorter);
    shorter.info.size = offsetof(bp_device_info, name);
    if (CALL(u, &a, u->ops, info, device, &shorter.info) != BP_OK)
        failed("info of a struct that ends before the name, as an older host may have: %s", a.error.message);
    for (const unsigned char *at = (unsigned char *)shorter.info.name; at < shorter.guard + sizeof shorter.guard; at++)
        if (*at != GUARD)
            failed("info wrote beyond the %zu bytes that the caller's struct has", offsetof(bp_device_info, name));
    if (shorter.info.caps != whole.info.caps)
        failed("info gave other capabilities the second time");
    subject_close(u, device);
    subject_unload(u);
}

/* A recipe that the plugin runs, by name; else not_offered(). */
static void memory(subject *u, uint32_t which)
{
    (void)which;
    answer a;
    net n;
    rig r;
    recipe_build(&recipes[0], &n);
    bp_limits limits = rig_limits(&n, recipes[0].kv_dtype);
    rig_open(&r, u, subject_device(u), &n, &limits);
    struct {
        bp_model_memory memory;
        unsigned char guard[64];
    } whole, shorter;
    memset(&whole, GUARD, sizeof whole);
    whole.memory = (bp_model_memory){.size = sizeof whole.memory};
    bp_status status = CALL(u, &a, r.ops, memory, r.model, &whole.memory);
    if (status == BP_EUNSUPPORTED)
        not_offered("the plugin has no memory(); the program then shows 0");
    if (status != BP_OK)
        failed("memory: %s", a.error.message);
    if (whole.memory.weights == 0 || whole.memory.weights > UINT64_C(1) << 40 || whole.memory.kv > UINT64_C(1) << 40)
        failed("memory says %llu bytes of weights and %llu of cache for a net of less than a megabyte",
               (unsigned long long)whole.memory.weights, (unsigned long long)whole.memory.kv);
    for (const unsigned char *at = whole.guard; at < whole.guard + sizeof whole.guard; at++)
        if (*at != GUARD)
            failed("memory wrote beyond the caller's struct");
    memset(&shorter, GUARD, sizeof shorter);
    shorter.memory.size = offsetof(bp_model_memory, kv);
    if (CALL(u, &a, r.ops, memory, r.model, &shorter.memory) != BP_OK)
        failed("memory of a struct that ends before kv, as an older host may have: %s", a.error.message);
    for (const unsigned char *at = (unsigned char *)&shorter.memory.kv; at < shorter.guard + sizeof shorter.guard; at++)
        if (*at != GUARD)
            failed("memory wrote beyond the %zu bytes that the caller's struct has", offsetof(bp_model_memory, kv));
    rig_close(&r);
    subject_close(u, r.device);
    net_end(&n);
    subject_unload(u);
}

void checks_add_device(check_list *list)
{
    checks_add(list, "device.open", open_twice, 0, "Two devices can be open at once and close in either order.");
    checks_add(list, "device.nothing", nothing, 0, "close(NULL) and release(NULL) do nothing, whether or not a device was open.");
    checks_add(list, "device.info", info, 0, "info names the device and what it can do, within the caller's struct.");
    checks_add(list, "device.memory", memory, 0, "memory gives plausible bytes, within the caller's struct.");
}
