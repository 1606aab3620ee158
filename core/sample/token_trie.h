/* token_trie: the texts of a vocabulary as a tree of bytes, so that what begins alike is looked at once.
 *
 * Nodes stand in the order of a walk that goes down first: the subtree of node i is [i, i + its size).
 * Immutable once built; any thread. */
#ifndef BACKPLANE_SAMPLE_TOKEN_TRIE_H
#define BACKPLANE_SAMPLE_TOKEN_TRIE_H

#include <backplane/plugin.h>
#include <stdbool.h>

/* A vocabulary, as whoever has one shows it. */
typedef struct token_source {
    uint32_t count; /* of logits in a row; tokens beyond the vocabulary have no text */
    const void *user;
    /* The token's bytes; *length 0: it stands for no text. They live as long as the source. */
    const char *(*text)(const void *user, uint32_t token, uint32_t *length);
    bool (*ends)(const void *user, uint32_t token); /* it ends an answer */
} token_source;

typedef struct token_trie {
    uint32_t *edges;  /* [node_count] size of the subtree << 8 | the byte that leads to it */
    uint32_t *first;  /* [node_count + 1] tokens that end at node i: tokens[first[i]] … tokens[first[i + 1] - 1] */
    uint32_t *tokens; /* [token_count] */
    uint32_t node_count, token_count, depth; /* depth: bytes of the longest token */
} token_trie;

/* Of the tokens that are wanted: all with a text where `wanted` is NULL, else those whose bit is set. */
bp_status token_trie_build(const token_source *source, const uint64_t *wanted, token_trie *out, bp_error *error);
void token_trie_clear(token_trie *t); /* leaves a zeroed one */

#endif
