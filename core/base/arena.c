#include "base/arena.h"

#include "base/checked.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 64 * 1024, ALIGNMENT = 16 };

typedef struct block {
    alignas(ALIGNMENT) struct block *next;
    size_t used, size;
} block;

struct arena {
    block *blocks; /* the newest first; only it has room */
};

arena *arena_new(void)
{
    return calloc(1, sizeof(arena));
}

void arena_free(arena *a)
{
    if (!a)
        return;
    for (block *b = a->blocks; b;) {
        block *next = b->next;
        free(b);
        b = next;
    }
    free(a);
}

void *arena_alloc(arena *a, size_t bytes)
{
    size_t rounded;
    if (!checked_add(bytes, ALIGNMENT - 1, &rounded))
        return NULL;
    rounded &= ~(size_t)(ALIGNMENT - 1);
    block *b = a->blocks;
    if (!b || b->size - b->used < rounded) {
        size_t size = rounded > BLOCK_BYTES / 4 ? rounded : BLOCK_BYTES, total;
        if (!checked_add(size, sizeof(block), &total) || !(b = calloc(1, total)))
            return NULL;
        b->size = size;
        /* A large block goes behind the one that still has room. */
        if (size != BLOCK_BYTES && a->blocks) {
            b->next = a->blocks->next;
            a->blocks->next = b;
        } else {
            b->next = a->blocks;
            a->blocks = b;
        }
    }
    void *memory = (char *)(b + 1) + b->used;
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
