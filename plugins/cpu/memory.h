/* Large memory: zeroed mappings that cost nothing until touched. Owned by whoever called memory_map. */
#ifndef CPU_MEMORY_H
#define CPU_MEMORY_H

#include <stddef.h>
#include <stdint.h>

typedef struct memory {
    uint8_t *data; /* 64-byte aligned, zeroed; NULL when bytes is 0 */
    size_t bytes;
    void *mapping;
    size_t mapped;
} memory;

enum { MEMORY_HUGE = 1 /* ask for huge pages */, MEMORY_SPARSE = 2 /* reserve no swap: most of it may stay untouched */ };

/* Zero on success; -1, with *out zeroed, where there is no memory or `bytes` is SIZE_MAX. */
int memory_map(size_t bytes, int flags, memory *out);
void memory_unmap(memory *block);

/* Bytes of memory of the machine, 0 where unknown. */
void memory_of_machine(uint64_t *total, uint64_t *available);

#endif
