/* arena: memory with one lifetime. Everything allocated from an arena is freed with it; nothing is freed alone.
 * One thread at a time. */
#ifndef BACKPLANE_BASE_ARENA_H
#define BACKPLANE_BASE_ARENA_H

#include <stddef.h>

typedef struct arena arena;

arena *arena_new(void);    /* NULL when out of memory */
void arena_free(arena *a); /* NULL is fine */

/* Zeroed, aligned to 16 bytes; NULL when out of memory. `arena_array` also checks count * size. */
void *arena_alloc(arena *a, size_t bytes);
void *arena_array(arena *a, size_t count, size_t size);
char *arena_copy(arena *a, const char *text, size_t bytes); /* adds a NUL */
char *arena_string(arena *a, const char *text);             /* NULL stays NULL */

size_t arena_bytes(const arena *a); /* what it holds of the system's memory */

#endif
