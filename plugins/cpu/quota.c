/* The processor time that a control group allows: cgroup v2's cpu.max, or v1's cfs quota, of the process's own group and of
 * every one above it, as far as they can be seen from here. The smallest counts. Where there are no such files there is no
 * limit. */
#include "platform.h"

#include "support.h"

#include <string.h>

enum { PATH_BYTES = 4096 };

/* The words of a small file; -1 for one that is no number ("max"). Returns how many there are. */
static int read_numbers(const char *path, long long *first, long long *second)
{
    FILE *file = fopen(path, "re");
    char text[64];
    if (!file)
        return 0;
    bool any = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    if (!any)
        return 0;
    *first = *second = -1;
    int found = sscanf(text, "%lld %lld", first, second);
    return found < 1 ? 1 : found;
}

static size_t smaller(size_t limit, long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return limit;
    size_t whole = (size_t)size_max(1, (size_t)(quota / period));
    return limit == 0 ? whole : size_min(limit, whole);
}

static size_t limit_of_group(const char *folder, size_t limit)
{
    char path[PATH_BYTES + 32];
    long long quota = -1, period = -1, unused;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (read_numbers(path, &quota, &period) == 2)
        return smaller(limit, quota, period);
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (read_numbers(path, &quota, &unused) == 0)
        return limit;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    return read_numbers(path, &period, &unused) == 0 ? limit : smaller(limit, quota, period);
}

/* The group at `mount` + `group`, and those above it up to the mount. */
static size_t limit_of_line(const char *root, const char *mount, const char *group, size_t limit)
{
    char folder[PATH_BYTES];
    int length = snprintf(folder, sizeof folder, "%s%s%s", root, mount, strcmp(group, "/") == 0 ? "" : group);
    size_t top = strlen(root) + strlen(mount);
    if (length < 0 || (size_t)length >= sizeof folder)
        return limit;
    for (;;) {
        limit = limit_of_group(folder, limit);
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= top || !slash || (size_t)(slash - folder) < top)
            return limit;
        *slash = '\0';
    }
}

/* Lines are "0::/group" (v2) and "7:cpu,cpuacct:/group" (v1). */
size_t platform_quota(const char *root)
{
    char path[PATH_BYTES], line[PATH_BYTES];
    size_t limit = 0;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *controllers++ = *group++ = '\0';
        if (*controllers == '\0') {
            limit = limit_of_line(root, "/sys/fs/cgroup", group, limit);
        } else if (strcmp(controllers, "cpu") == 0 || strncmp(controllers, "cpu,", 4) == 0 ||
                   strstr(controllers, ",cpu,") ||
                   (strlen(controllers) > 4 && strcmp(controllers + strlen(controllers) - 4, ",cpu") == 0)) {
            limit = limit_of_line(root, "/sys/fs/cgroup/cpu", group, limit);
        }
    }
    if (file)
        fclose(file);
    return limit;
}
