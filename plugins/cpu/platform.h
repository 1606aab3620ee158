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

/* Processors in this process's affinity mask, one a physical core where the system says; at least 1. */
size_t platform_cores(void);

/* Bytes of the last cache before memory that one processor reads through; 0 where unknown. */
size_t platform_last_cache(void);

typedef struct platform_features {
    bool avx2;   /* with FMA and F16C */
    bool avx512; /* F, BW, VL, DQ and VNNI */
    bool bf16;   /* AVX-512 and its BF16 */
} platform_features;
platform_features platform_processor(void);

#endif
