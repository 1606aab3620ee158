/* Linux where it is Linux (futex, affinity, topology), plain POSIX elsewhere; x86 where it is x86. */
#include "platform.h"

#include <fenv.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

void platform_pause(void)
{
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

uint64_t platform_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void platform_sleep_while_equal(_Atomic uint32_t *word, uint32_t seen)
{
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
#else
    (void)word, (void)seen;
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
#endif
}

void platform_wake_all(_Atomic uint32_t *word)
{
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
#else
    (void)word;
#endif
}

#if defined(__x86_64__)
enum { MXCSR_DEFAULT = 0x1f80 };

platform_float_environment platform_set_float_environment(void)
{
    platform_float_environment before = {_mm_getcsr()};
    _mm_setcsr(MXCSR_DEFAULT);
    return before;
}

void platform_restore_float_environment(platform_float_environment environment)
{
    _mm_setcsr(environment.control);
}
#else
platform_float_environment platform_set_float_environment(void)
{
    platform_float_environment before = {(uint32_t)fegetround()};
    fesetround(FE_TONEAREST);
    return before;
}

void platform_restore_float_environment(platform_float_environment environment)
{
    fesetround((int)environment.control);
}
#endif

#if defined(__linux__)
/* True where `cpu` is the first sibling of its core, or the system does not say. */
static bool leads_core(size_t cpu)
{
    char path[96];
    unsigned first = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", cpu);
    FILE *file = fopen(path, "re");
    if (!file)
        return true;
    bool known = fscanf(file, "%u", &first) == 1;
    fclose(file);
    return !known || first == cpu;
}

bool platform_allowed(platform_processors *out)
{
    cpu_set_t mask;
    *out = (platform_processors){0};
    if (sched_getaffinity(0, sizeof mask, &mask) != 0)
        return false;
    for (size_t cpu = 0; cpu < CPU_SETSIZE && cpu < PLATFORM_PROCESSORS; cpu++)
        if (CPU_ISSET(cpu, &mask))
            platform_add_processor(out, cpu);
    return true;
}

bool platform_bind_thread(const platform_processors *set)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && cpu < PLATFORM_PROCESSORS; cpu++)
        if (platform_has_processor(set, cpu))
            CPU_SET(cpu, &mask);
    return sched_setaffinity(0, sizeof mask, &mask) == 0;
}

size_t platform_cores(void)
{
    platform_processors allowed;
    size_t processors = 0, cores = 0;
    if (!platform_allowed(&allowed))
        return 1;
    for (size_t cpu = 0; cpu < PLATFORM_PROCESSORS; cpu++) {
        if (!platform_has_processor(&allowed, cpu))
            continue;
        processors++;
        cores += leads_core(cpu);
    }
    /* A mask that leaves out first siblings still means the cores it names. */
    if (cores == 0)
        cores = processors;
    return cores > 0 ? cores : 1;
}

/* A list like "0-1,4": how many numbers it names. */
size_t platform_memory_nodes(void)
{
    FILE *file = fopen("/sys/devices/system/node/has_memory", "re");
    unsigned first, last;
    size_t count = 0;
    if (!file)
        return 1;
    for (int separator = ','; separator == ',' && fscanf(file, "%u", &first) == 1; count += last - first + 1) {
        last = first;
        separator = fgetc(file);
        if (separator == '-' && fscanf(file, "%u", &last) == 1)
            separator = fgetc(file);
        if (last < first || last > PLATFORM_PROCESSORS)
            break;
    }
    fclose(file);
    return count > 0 ? count : 1;
}
#else
size_t platform_cores(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (size_t)count : 1;
}

bool platform_allowed(platform_processors *out)
{
    *out = (platform_processors){0};
    return false;
}

bool platform_bind_thread(const platform_processors *set)
{
    (void)set;
    return false;
}

size_t platform_memory_nodes(void)
{
    return 1;
}
#endif

size_t platform_last_cache(void)
{
    size_t found = 0;
#if defined(__linux__)
    /* sysconf() multiplies by processors that a virtual machine does not have. */
    for (int index = 0; index < 8; index++) {
        char path[80];
        size_t kibibytes = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        FILE *file = fopen(path, "re");
        if (!file)
            break;
        if (fscanf(file, "%zuK", &kibibytes) == 1 && kibibytes * 1024 > found)
            found = kibibytes * 1024;
        fclose(file);
    }
#endif
    return found;
}

platform_features platform_processor(void)
{
    platform_features features = {false, false, false};
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    bool half = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    __builtin_cpu_init();
    features.avx2 = half && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    features.avx512 = features.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vnni");
    features.bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
#endif
    return features;
}
