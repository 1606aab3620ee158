/* pages: who owns which page of a model's K/V memory.
 *
 * The backend owns the bytes; this is the ledger. Pages are numbered from 0 and all of one size.
 *
 * Invariants:
 *   P1  A page is free exactly while its reference count is 0.
 *   P2  The count of a page is the number of page tables that hold it, each at most once, of sequences that are about to copy
 *       from it, and one more while it is registered (prefix.h).
 *   P3  Whoever writes to a page holds its only reference; of a page with more a copy is written to.
 *   P4  The last page released is the first one taken, so memory that never was needed is never touched.
 *
 * One thread at a time. */
#ifndef BACKPLANE_ENGINE_PAGES_H
#define BACKPLANE_ENGINE_PAGES_H

#include <backplane/plugin.h>
#include <stdbool.h>

typedef struct pages pages;

bp_status pages_new(uint32_t count, pages **out, bp_error *error);
void pages_free(pages *p); /* NULL is fine */

uint32_t pages_total(const pages *p);
uint32_t pages_available(const pages *p);

/* Takes `count` pages with one reference each, or none at all. */
bool pages_take(pages *p, uint32_t count, int32_t *out);
/* One more table holds the page, which is not free. */
void pages_retain(pages *p, int32_t page);
void pages_release(pages *p, const int32_t *held, uint32_t count);
uint32_t pages_references(const pages *p, int32_t page);

#endif
