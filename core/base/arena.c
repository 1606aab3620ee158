#include "base/arena.h"

#include "base/checked.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FIRST_BYTES = 2 * 1024, BLOCK_BYTES = 64 * 1024, ALIGNMENT = 16, HUGE_PAGE = 2 << 20 };

typedef struct block {
    alignas(ALIGNMENT) struct block *next;
    unsigned char *data; /* behind the block, or a mapping of its own */
    size_t used, size;
    void *mapping;
    size_t mapped;
} block;

struct arena {
    block *blocks; /* the newest first; only it has room */
    size_t next;   /* bytes of the next one: they begin small, and double up to BLOCK_BYTES */
};

arena *arena_new(void)
{
    arena *a = calloc(1, sizeof *a);
    if (a)
        a->next = FIRST_BYTES;
    return a;
}

void arena_free(arena *a)
{
    if (!a)
        return;
    for (block *b = a->blocks; b;) {
        block *next = b->next;
        if (b->mapping)
            munmap(b->mapping, b->mapped);
        free(b);
        b = next;
    }
    free(a);
}

size_t arena_bytes(const arena *a)
{
    size_t sum = 0;
    for (const block *b = a->blocks; b; b = b->next)
        sum += b->size;
    return sum;
}

/* A large block begins on a huge page and asks for such: touching it costs a fault for two megabytes, not for four
 * kilobytes. Its end, which does not fill one, has small pages. */
static block *map_block(size_t size)
{
    size_t length;
    block *b = checked_add(size, HUGE_PAGE, &length) ? calloc(1, sizeof *b) : NULL;
    if (!b)
        return NULL;
    void *mapping = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) {
        free(b);
        return NULL;
    }
    uintptr_t start = ((uintptr_t)mapping + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    *b = (block){.data = (unsigned char *)mapping + (start - (uintptr_t)mapping), .size = size, .mapping = mapping,
                 .mapped = length};
    (void)madvise(b->data, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* a hint: without it only slower */
    return b;
}

static block *new_block(size_t size)
{
    size_t total;
    if (size >= HUGE_PAGE)
        return map_block(size);
    block *b = checked_add(size, sizeof *b, &total) ? calloc(1, total) : NULL;
    if (!b)
        return NULL;
    b->data = (unsigned char *)(b + 1);
    b->size = size;
    return b;
}

/* A block that is not for this allocation alone has room for a few like it. */
static size_t next_size(arena *a, size_t bytes)
{
    size_t size = a->next;
    while (size < 4 * bytes)
        size *= 2;
    a->next = size < BLOCK_BYTES ? 2 * size : BLOCK_BYTES;
    return size;
}

void *arena_alloc(arena *a, size_t bytes)
{
    size_t rounded;
    if (!checked_add(bytes, ALIGNMENT - 1, &rounded))
        return NULL;
    rounded &= ~(size_t)(ALIGNMENT - 1);
    block *b = a->blocks;
    if (!b || b->size - b->used < rounded) {
        bool alone = rounded > BLOCK_BYTES / 4;
        if (!(b = new_block(alone ? rounded : next_size(a, rounded))))
            return NULL;
        /* That goes behind the block that still has room. */
        if (alone && a->blocks) {
            b->next = a->blocks->next;
            a->blocks->next = b;
        } else {
            b->next = a->blocks;
            a->blocks = b;
        }
    }
    void *memory = b->data + b->used;
    b->used += rounded;
    return memory;
}

void *arena_array(arena *a, size_t count, size_t size)
{
    size_t bytes;
    return checked_mul(count, size, &bytes) ? arena_alloc(a, bytes) : NULL;
}

char *arena_copy(arena *a, const char *text, size_t bytes)
{
    size_t total;
    char *copy = checked_add(bytes, 1, &total) ? arena_alloc(a, total) : NULL;
    if (copy && bytes)
        memcpy(copy, text, bytes);
    return copy;
}

char *arena_string(arena *a, const char *text)
{
    return text ? arena_copy(a, text, strlen(text)) : NULL;
}
