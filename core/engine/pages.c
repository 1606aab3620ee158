#include "engine/pages.h"

#include "base/error.h"

#include <stdlib.h>

struct pages {
    uint32_t total, available;
    int32_t *stack;       /* [total]; the first `available` are the free pages, the next one to take on top */
    uint32_t *references; /* [total] */
};

bp_status pages_new(uint32_t count, pages **out, bp_error *error)
{
    if (count == 0 || count > INT32_MAX)
        return error_set(error, BP_EINVAL, "a cache of %u pages is not possible", count);
    pages *p = calloc(1, sizeof *p);
    if (p) {
        p->stack = calloc(count, sizeof *p->stack);
        p->references = calloc(count, sizeof *p->references);
    }
    if (!p || !p->stack || !p->references) {
        pages_free(p);
        return error_set(error, BP_ENOMEM, "no memory for the ledger of %u cache pages", count);
    }
    p->total = p->available = count;
    for (uint32_t i = 0; i < count; i++)
        p->stack[i] = (int32_t)(count - 1 - i);
    *out = p;
    return BP_OK;
}

void pages_free(pages *p)
{
    if (!p)
        return;
    free(p->stack);
    free(p->references);
    free(p);
}

uint32_t pages_total(const pages *p)
{
    return p->total;
}

uint32_t pages_available(const pages *p)
{
    return p->available;
}

bool pages_take(pages *p, uint32_t count, int32_t *out)
{
    if (count > p->available)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = p->stack[--p->available];
        p->references[out[i]] = 1;
    }
    return true;
}

void pages_retain(pages *p, int32_t page)
{
    p->references[page]++;
}

/* From the end, so that taking the same number again gives the same pages in the same order. */
void pages_release(pages *p, const int32_t *held, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;)
        if (--p->references[held[i]] == 0)
            p->stack[p->available++] = held[i];
}

uint32_t pages_references(const pages *p, int32_t page)
{
    return p->references[page];
}
