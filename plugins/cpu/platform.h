/* What differs between operating systems and processors: spinning, sleeping on a word, the floating-point control word,
 * the processors we may use, and the instruction sets they have. */
#ifndef CPU_PLATFORM_H
#define CPU_PLATFORM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void platform_pause(void);   /* a spinning thread's hint to the processor */
uint64_t platform_now(void); /* monotonic nanoseconds */
/* Sleeps while *word == seen, or returns early. */
void platform_sleep_while_equal(_Atomic uint32_t *word, uint32_t seen);
void platform_wake_all(_Atomic uint32_t *word);

typedef struct platform_float_environment {
    uint32_t control;
} platform_float_environment;
/* Round to nearest even, denormals kept, no traps, for this thread; returns what was. */
platform_float_environment platform_set_float_environment(void);
void platform_restore_float_environment(platform_float_environment environment);

enum { PLATFORM_PROCESSORS = 1024 };

/* A set of processors, by the system's numbers. */
typedef struct platform_processors {
    uint64_t bits[PLATFORM_PROCESSORS / 64];
} platform_processors;
static inline void platform_add_processor(platform_processors *set, size_t number)
{
    set->bits[number / 64] |= (uint64_t)1 << number % 64;
}
static inline bool platform_has_processor(const platform_processors *set, size_t number)
{
    return set->bits[number / 64] >> number % 64 & 1;
}

/* This process's affinity mask, and this thread's; false where the system has none. */
bool platform_allowed(platform_processors *out);
bool platform_bind_thread(const platform_processors *set);

/* Processors that this process may use, one a physical core where the system says; at least 1. */
size_t platform_cores(void);

/* Memory nodes of the machine, 1 where the system does not say. */
size_t platform_memory_nodes(void);

/* Whole processors' worth of time that the process's control group may take, at least 1; 0 without a limit. `root` stands
 * before the paths that are read: empty but in tests. */
size_t platform_quota(const char *root);

/* Bytes of the last cache before memory that one processor reads through; 0 where unknown. */
size_t platform_last_cache(void);

typedef struct platform_features {
    bool avx2;   /* with FMA and F16C */
    bool avx512; /* F, BW, VL, DQ and VNNI */
    bool bf16;   /* AVX-512 and its BF16 */
} platform_features;
platform_features platform_processor(void);

#endif
