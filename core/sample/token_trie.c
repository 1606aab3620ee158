#include "sample/token_trie.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_NODES = 1 << 24 };

typedef struct entry {
    const char *bytes;
    uint32_t length, token;
} entry;

/* A text goes before those that it begins; equal texts by token. */
static int compare(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    uint32_t shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->bytes, y->bytes, shorter);
    if (order)
        return order;
    if (x->length != y->length)
        return x->length < y->length ? -1 : 1;
    return x->token < y->token ? -1 : 1;
}

static uint32_t common(const entry *a, const entry *b)
{
    uint32_t n = 0;
    while (n < a->length && n < b->length && a->bytes[n] == b->bytes[n])
        n++;
    return n;
}

static uint32_t collect(const token_source *s, const uint64_t *wanted, entry *out)
{
    uint32_t count = 0, length;
    for (uint32_t token = 0; token < s->count; token++) {
        const char *bytes = !wanted || (wanted[token / 64] >> (token % 64) & 1) ? s->text(s->user, token, &length) : NULL;
        if (bytes && length)
            out[count++] = (entry){bytes, length, token};
    }
    qsort(out, count, sizeof *out, compare);
    return count;
}

/* The nodes of sorted entries; `path` holds the node of each depth. */
static void fill(token_trie *t, const entry *entries, uint32_t count, uint32_t *path)
{
    uint32_t node = 0, depth = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t same = i ? common(&entries[i - 1], &entries[i]) : 0;
        for (; depth > same; depth--)
            t->edges[path[depth]] |= (node - path[depth]) << 8;
        for (; depth < entries[i].length; node++) {
            t->edges[node] = (unsigned char)entries[i].bytes[depth];
            t->first[node] = i;
            path[++depth] = node;
        }
        t->tokens[i] = entries[i].token;
    }
    for (; depth > 0; depth--)
        t->edges[path[depth]] |= (node - path[depth]) << 8;
    t->first[node] = count;
}

bp_status token_trie_build(const token_source *source, const uint64_t *wanted, token_trie *out, bp_error *error)
{
    *out = (token_trie){0};
    entry *entries = malloc(((size_t)source->count + 1) * sizeof *entries);
    uint32_t *path = NULL;
    uint64_t nodes = 0;
    if (entries) {
        out->token_count = collect(source, wanted, entries);
        for (uint32_t i = 0; i < out->token_count; i++) {
            nodes += entries[i].length - (i ? common(&entries[i - 1], &entries[i]) : 0);
            out->depth = entries[i].length > out->depth ? entries[i].length : out->depth;
        }
    }
    bool fits = nodes < MOST_NODES;
    if (entries && fits) {
        out->node_count = (uint32_t)nodes;
        out->edges = malloc((nodes + 1) * sizeof *out->edges);
        out->first = malloc((nodes + 1) * sizeof *out->first);
        out->tokens = malloc(((size_t)out->token_count + 1) * sizeof *out->tokens);
        path = malloc(((size_t)out->depth + 1) * sizeof *path);
    }
    bool enough = out->edges && out->first && out->tokens && path;
    if (enough)
        fill(out, entries, out->token_count, path);
    free(entries);
    free(path);
    if (enough)
        return BP_OK;
    token_trie_clear(out);
    return fits ? error_set(error, BP_ENOMEM, "no memory for the texts of %u tokens", source->count)
                : error_set(error, BP_EUNSUPPORTED, "the vocabulary's texts are too long for grammars");
}

void token_trie_clear(token_trie *t)
{
    free(t->edges);
    free(t->first);
    free(t->tokens);
    *t = (token_trie){0};
}
