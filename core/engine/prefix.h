/* prefix: which pages already hold the K and V of a run of tokens, so that whoever begins with the same tokens shares them.
 *
 * A page is registered once all its tokens are computed, and is found by its salt, its own tokens and those of all pages
 * before it. Registered pages make trees: a page's parent is the page before it, roots belong to a salt, and a lookup goes
 * down one page at a time. Hashes only find candidates; salts and tokens are compared in full, and a parent stands for all
 * that was compared on the way to it. One prefix serves one model.
 *
 *                 prefix_add                  the last table that holds it lets go
 *        private ────────────▶ registered, held ────────────────────────▶ registered, idle
 *           ▲                        ▲                                      │        │
 *           │ prefix_evict           └────────────── prefix_hold ───────────┘        │
 *           └──── (free) ◀───────────────────────────────────────────────────────────┘
 *
 * Invariants:
 *   X1  A registered page is full, never written to again, and has one reference of its own beside those of page tables.
 *   X2  Siblings differ in their tokens: a run of tokens leads to one page at most.
 *   X3  Whoever holds a registered page holds its parent. So idle pages have idle descendants only, and any number of pages up
 *       to prefix_idle can be evicted.
 *   X4  The idle list is in order of use, and a page comes before its parent: the oldest has no children.
 *
 * A cache: where memory for a salt's name is missing, pages stay private. One thread at a time. */
#ifndef BACKPLANE_ENGINE_PREFIX_H
#define BACKPLANE_ENGINE_PREFIX_H

#include "engine/pages.h"

enum { PREFIX_ROOT = -1, PREFIX_NONE = -1 };

typedef struct prefix prefix;

/* Registers pages of `ledger`, which outlives it. */
bp_status prefix_new(pages *ledger, uint32_t page_tokens, prefix **out, bp_error *error);
void prefix_free(prefix *p); /* NULL is fine */

/* The page behind `parent` (PREFIX_ROOT: the first of its run) that holds just these page_tokens tokens, or PREFIX_NONE. A
 * NULL salt is the empty one; below a root it is not looked at. */
int32_t prefix_find(const prefix *p, const char *salt, int32_t parent, const int32_t *tokens);
/* The one that agrees with the first *agree of `count` tokens, more than any other, which are more than 0. */
int32_t prefix_find_longest(const prefix *p, const char *salt, int32_t parent, const int32_t *tokens, uint32_t count,
                            uint32_t *agree);
/* Registers a page that the caller holds alone and that prefix_find does not find; false if there is no memory. */
bool prefix_add(prefix *p, const char *salt, int32_t parent, const int32_t *tokens, int32_t page);
bool prefix_registered(const prefix *p, int32_t page);

/* One more table holds the registered page. */
void prefix_hold(prefix *p, int32_t page);
/* A table lets go of pages in its order, registered or not. */
void prefix_release(prefix *p, const int32_t *held, uint32_t count);
/* Page tables that hold the page: its references without the registration's. */
uint32_t prefix_holders(const prefix *p, int32_t page);

uint32_t prefix_idle(const prefix *p);  /* registered pages that no table holds */
uint32_t prefix_count(const prefix *p); /* registered pages */
/* Frees the idle page that was used longest ago; false if there is none. */
bool prefix_evict(prefix *p);

#endif
