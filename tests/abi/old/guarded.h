/* Memory that ends where the process may no longer read or write: a host that takes an older plugin's struct for one of its own,
 * longer ones dies there. It lives until the process ends. */
#ifndef OLD_GUARDED_H
#define OLD_GUARDED_H

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* `size` bytes, a multiple of 8, of no value that a plugin would write; NULL: there is no memory. */
static inline void *guarded(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
    char *memory = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + room, page, PROT_NONE) != 0)
        return NULL;
    return memset(memory + room - size, 0x5a, size);
}

static inline void *guarded_copy(const void *from, size_t size)
{
    void *copy = guarded(size);
    return copy ? memcpy(copy, from, size) : NULL;
}

#endif
