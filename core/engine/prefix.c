#include "engine/prefix.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* The trees of one salt. */
typedef struct space {
    struct space *next;
    int32_t roots; /* the first of them, linked as siblings */
    char salt[];
} space;

typedef struct node {
    space *space; /* NULL: the page is not registered */
    uint64_t hash; /* of its tokens and all before them */
    int32_t parent, children, next_sibling, previous_sibling; /* PREFIX_NONE ends a list */
    int32_t next_in_bucket;
    int32_t older, newer; /* of the idle list */
    bool idle;
} node;

struct prefix {
    pages *ledger;
    uint32_t page_tokens, bucket_mask;
    node *nodes;      /* [pages_total] by page */
    int32_t *tokens;  /* [pages_total][page_tokens] */
    int32_t *buckets; /* [bucket_mask + 1] */
    space *spaces;
    int32_t oldest, newest;
    uint32_t idle_count, count;
};

bp_status prefix_new(pages *ledger, uint32_t page_tokens, prefix **out, bp_error *error)
{
    uint32_t total = pages_total(ledger), buckets = 16;
    while (buckets < total && buckets < 1u << 30)
        buckets *= 2;
    prefix *p = calloc(1, sizeof *p);
    if (p) {
        *p = (prefix){.ledger = ledger, .page_tokens = page_tokens, .bucket_mask = buckets - 1, .oldest = PREFIX_NONE,
                      .newest = PREFIX_NONE};
        p->nodes = calloc(total, sizeof *p->nodes);
        p->tokens = calloc(total, page_tokens * sizeof *p->tokens);
        p->buckets = malloc(buckets * sizeof *p->buckets);
    }
    if (!p || !p->nodes || !p->tokens || !p->buckets) {
        prefix_free(p);
        return error_set(error, BP_ENOMEM, "no memory for the index of %u cache pages", total);
    }
    for (uint32_t i = 0; i < buckets; i++)
        p->buckets[i] = PREFIX_NONE;
    *out = p;
    return BP_OK;
}

void prefix_free(prefix *p)
{
    if (!p)
        return;
    while (p->spaces) {
        space *next = p->spaces->next;
        free(p->spaces);
        p->spaces = next;
    }
    free(p->nodes);
    free(p->tokens);
    free(p->buckets);
    free(p);
}

/* --- finding ---------------------------------------------------------------------------------------------------------- */

static space *find_space(const prefix *p, const char *salt)
{
    for (space *s = p->spaces; s; s = s->next)
        if (strcmp(s->salt, salt ? salt : "") == 0)
            return s;
    return NULL;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

/* Equal runs of tokens under different salts meet in one bucket and are told apart by their roots' spaces. */
static uint64_t hash_tokens(const prefix *p, int32_t parent, const int32_t *tokens)
{
    uint64_t hash = parent == PREFIX_ROOT ? 1 : p->nodes[parent].hash;
    for (uint32_t i = 0; i < p->page_tokens; i++)
        hash = mix(hash, (uint32_t)tokens[i]);
    return hash;
}

static const int32_t *tokens_of(const prefix *p, int32_t page)
{
    return p->tokens + (size_t)page * p->page_tokens;
}

int32_t prefix_find(const prefix *p, const char *salt, int32_t parent, const int32_t *tokens)
{
    const space *trees = parent == PREFIX_ROOT ? find_space(p, salt) : p->nodes[parent].space;
    if (!trees)
        return PREFIX_NONE;
    uint64_t hash = hash_tokens(p, parent, tokens);
    int32_t page = p->buckets[hash & p->bucket_mask];
    for (; page != PREFIX_NONE; page = p->nodes[page].next_in_bucket) {
        const node *n = &p->nodes[page];
        if (n->hash == hash && n->parent == parent && n->space == trees &&
            memcmp(tokens_of(p, page), tokens, p->page_tokens * sizeof *tokens) == 0)
            break;
    }
    return page;
}

int32_t prefix_find_longest(const prefix *p, const char *salt, int32_t parent, const int32_t *tokens, uint32_t count,
                            uint32_t *agree)
{
    const space *trees = parent == PREFIX_ROOT ? find_space(p, salt) : NULL;
    int32_t page = parent != PREFIX_ROOT ? p->nodes[parent].children : trees ? trees->roots : PREFIX_NONE;
    int32_t best = PREFIX_NONE;
    uint32_t most = count < p->page_tokens ? count : p->page_tokens;
    *agree = 0;
    for (; page != PREFIX_NONE && *agree < most; page = p->nodes[page].next_sibling) {
        const int32_t *own = tokens_of(p, page);
        uint32_t same = 0;
        while (same < most && own[same] == tokens[same])
            same++;
        if (same > *agree) {
            *agree = same;
            best = page;
        }
    }
    return best;
}

/* --- registering ------------------------------------------------------------------------------------------------------ */

static space *open_space(prefix *p, const char *salt)
{
    space *s = find_space(p, salt);
    if (s)
        return s;
    size_t length = salt ? strlen(salt) : 0;
    s = malloc(sizeof *s + length + 1);
    if (!s)
        return NULL;
    *s = (space){.next = p->spaces, .roots = PREFIX_NONE};
    memcpy(s->salt, salt ? salt : "", length + 1);
    p->spaces = s;
    return s;
}

static void close_space(prefix *p, space *s)
{
    space **place = &p->spaces;
    while (*place != s)
        place = &(*place)->next;
    *place = s->next;
    free(s);
}

/* Where the list of a page's siblings begins. */
static int32_t *siblings(prefix *p, const node *n)
{
    return n->parent == PREFIX_ROOT ? &n->space->roots : &p->nodes[n->parent].children;
}

bool prefix_add(prefix *p, const char *salt, int32_t parent, const int32_t *tokens, int32_t page)
{
    space *s = parent == PREFIX_ROOT ? open_space(p, salt) : p->nodes[parent].space;
    if (!s)
        return false;
    node *n = &p->nodes[page];
    *n = (node){.space = s, .hash = hash_tokens(p, parent, tokens), .parent = parent, .children = PREFIX_NONE,
                .previous_sibling = PREFIX_NONE, .older = PREFIX_NONE, .newer = PREFIX_NONE};
    int32_t *first = siblings(p, n), *bucket = &p->buckets[n->hash & p->bucket_mask];
    n->next_sibling = *first;
    if (*first != PREFIX_NONE)
        p->nodes[*first].previous_sibling = page;
    *first = page;
    n->next_in_bucket = *bucket;
    *bucket = page;
    memcpy(p->tokens + (size_t)page * p->page_tokens, tokens, p->page_tokens * sizeof *tokens);
    pages_retain(p->ledger, page);
    p->count++;
    return true;
}

bool prefix_registered(const prefix *p, int32_t page)
{
    return p->nodes[page].space != NULL;
}

/* --- holding ---------------------------------------------------------------------------------------------------------- */

static void leave_idle_list(prefix *p, node *n)
{
    *(n->older == PREFIX_NONE ? &p->oldest : &p->nodes[n->older].newer) = n->newer;
    *(n->newer == PREFIX_NONE ? &p->newest : &p->nodes[n->newer].older) = n->older;
    n->older = n->newer = PREFIX_NONE;
    n->idle = false;
    p->idle_count--;
}

static void join_idle_list(prefix *p, int32_t page)
{
    node *n = &p->nodes[page];
    n->older = p->newest;
    n->newer = PREFIX_NONE;
    *(p->newest == PREFIX_NONE ? &p->oldest : &p->nodes[p->newest].newer) = page;
    p->newest = page;
    n->idle = true;
    p->idle_count++;
}

void prefix_hold(prefix *p, int32_t page)
{
    if (p->nodes[page].idle)
        leave_idle_list(p, &p->nodes[page]);
    pages_retain(p->ledger, page);
}

/* From the end, as in pages_release, and so that a page becomes idle before its parent. */
void prefix_release(prefix *p, const int32_t *held, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;) {
        pages_release(p->ledger, &held[i], 1);
        if (prefix_registered(p, held[i]) && prefix_holders(p, held[i]) == 0)
            join_idle_list(p, held[i]);
    }
}

uint32_t prefix_holders(const prefix *p, int32_t page)
{
    return pages_references(p->ledger, page) - prefix_registered(p, page);
}

uint32_t prefix_idle(const prefix *p)
{
    return p->idle_count;
}

uint32_t prefix_count(const prefix *p)
{
    return p->count;
}

bool prefix_evict(prefix *p)
{
    int32_t page = p->oldest;
    if (page == PREFIX_NONE)
        return false;
    node *n = &p->nodes[page];
    leave_idle_list(p, n);
    int32_t *bucket = &p->buckets[n->hash & p->bucket_mask];
    while (*bucket != page)
        bucket = &p->nodes[*bucket].next_in_bucket;
    *bucket = n->next_in_bucket;
    *(n->previous_sibling == PREFIX_NONE ? siblings(p, n) : &p->nodes[n->previous_sibling].next_sibling) = n->next_sibling;
    if (n->next_sibling != PREFIX_NONE)
        p->nodes[n->next_sibling].previous_sibling = n->previous_sibling;
    space *s = n->space;
    n->space = NULL;
    if (s->roots == PREFIX_NONE)
        close_space(p, s);
    pages_release(p->ledger, &page, 1);
    p->count--;
    return true;
}
