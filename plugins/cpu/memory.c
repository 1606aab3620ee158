/* Anonymous mappings, aligned so that huge pages fit. */
#include "memory.h"

#include <stdbool.h>

#include <sys/mman.h>
#include <unistd.h>

enum { HUGE_PAGE = 2 << 20 };

int memory_map(size_t bytes, int flags, memory *out)
{
    *out = (memory){0};
    if (bytes == 0)
        return 0;
    bool huge = (flags & MEMORY_HUGE) != 0 && bytes >= HUGE_PAGE;
    size_t slack = huge ? HUGE_PAGE : 0;
    if (bytes > SIZE_MAX / 2 - slack)
        return -1;
    size_t length = bytes + slack;
    int map_flags = MAP_PRIVATE | MAP_ANONYMOUS | ((flags & MEMORY_SPARSE) ? MAP_NORESERVE : 0);
    void *mapping = mmap(NULL, length, PROT_READ | PROT_WRITE, map_flags, -1, 0);
    if (mapping == MAP_FAILED)
        return -1;
    uintptr_t start = (uintptr_t)mapping;
    if (huge)
        start = (start + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    *out = (memory){(uint8_t *)mapping + (start - (uintptr_t)mapping), bytes, mapping, length};
#ifdef MADV_HUGEPAGE
    if (huge)
        (void)madvise(out->data, bytes, MADV_HUGEPAGE); /* a hint: without it only slower */
#endif
    return 0;
}

void memory_unmap(memory *block)
{
    if (block->mapping)
        munmap(block->mapping, block->mapped);
    *block = (memory){0};
}

void memory_of_machine(uint64_t *total, uint64_t *available)
{
    long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES), free_pages = -1;
#ifdef _SC_AVPHYS_PAGES
    free_pages = sysconf(_SC_AVPHYS_PAGES);
#endif
    *total = page > 0 && pages > 0 ? (uint64_t)page * (uint64_t)pages : 0;
    *available = page > 0 && free_pages > 0 ? (uint64_t)page * (uint64_t)free_pages : 0;
}
