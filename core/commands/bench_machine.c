/* bench_machine: the facts without which a figure means nothing. Linux says them in /proc and /sys; elsewhere they stay unknown. */
#include "commands/bench.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The words of /proc/cpuinfo that decide how fast a model runs. */
static const char *const telling[] = {"avx2",        "fma",         "f16c",      "avx_vnni",  "avx512f",
                                      "avx512_vnni", "avx512_bf16", "amx_int8",  "amx_bf16",  "asimd",
                                      "asimddp",     "i8mm",        "sve"};

static void add_feature(bench_machine *m, const char *word)
{
    for (size_t i = 0; i < sizeof telling / sizeof *telling; i++) {
        size_t used = strlen(m->features);
        if (strcmp(word, telling[i]) == 0)
            snprintf(m->features + used, sizeof m->features - used, "%s%s", used ? " " : "", word);
    }
}

/* The text behind the colon of "key : text"; NULL for another key. */
static char *value_of(char *line, const char *key)
{
    char *colon = strchr(line, ':');
    if (strncmp(line, key, strlen(key)) != 0 || !colon)
        return NULL;
    line[strcspn(line, "\n")] = '\0';
    return colon + 1 + strspn(colon + 1, " \t");
}

static void read_processor(bench_machine *m)
{
    char line[8192], *rest = NULL;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file) && (!m->processor[0] || !m->features[0])) {
        const char *name = value_of(line, "model name");
        char *flags = value_of(line, "flags");
        if (!flags)
            flags = value_of(line, "Features");
        if (name && !m->processor[0])
            snprintf(m->processor, sizeof m->processor, "%s", name);
        for (char *word = flags ? strtok_r(flags, " ", &rest) : NULL; word; word = strtok_r(NULL, " ", &rest))
            add_feature(m, word);
    }
    if (file)
        fclose(file);
}

static uint32_t count_numa_nodes(void)
{
    uint32_t count = 0;
    DIR *folder = opendir("/sys/devices/system/node");
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        count += strncmp(entry->d_name, "node", 4) == 0 && entry->d_name[4] >= '0' && entry->d_name[4] <= '9';
    if (folder)
        closedir(folder);
    return count;
}

/* The largest cache of the first processor. */
static uint64_t read_last_cache(void)
{
    uint64_t found = 0;
    for (int index = 0; index < 8; index++) {
        char path[80];
        unsigned long long kibibytes = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        FILE *file = fopen(path, "re");
        if (!file)
            break;
        if (fscanf(file, "%lluK", &kibibytes) == 1 && kibibytes * 1024 > found)
            found = kibibytes * 1024;
        fclose(file);
    }
    return found;
}

static uint32_t count_processors(void)
{
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) == 0)
        return (uint32_t)CPU_COUNT(&mask);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 0;
}

void bench_machine_read(bench_machine *out)
{
    *out = (bench_machine){
        .processors = count_processors(), .numa_nodes = count_numa_nodes(), .last_cache = read_last_cache()};
    struct utsname system;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0)
        out->memory = (uint64_t)pages * (uint64_t)page;
    if (uname(&system) == 0)
        snprintf(out->kernel, sizeof out->kernel, "%.40s %.80s", system.sysname, system.release);
    if (getloadavg(&out->load, 1) != 1)
        out->load = 0;
    read_processor(out);
}
