/* yaml: a configuration file as a tree whose every node knows its line and column.
 *
 * The language is YAML 1.1 as libyaml reads it, cut to what a configuration needs. Refused, each with its position: more
 * than one document, tags, merge keys, duplicate keys, keys that are not scalars, NUL characters, invalid UTF-8.
 * Limits hold for input size, depth, nodes, and nodes that aliases add; an alias shares its anchor's node.
 *
 * Values, not keys, are substituted: ${NAME} is the variable's value, ${NAME:-text} is `text` where the variable is unset
 * or empty, $$ is a dollar sign. A variable's value is never read as YAML. Where variables come from is the caller's.
 *
 * A tree is immutable once parsed; any thread. */
#ifndef BACKPLANE_BASE_YAML_H
#define BACKPLANE_BASE_YAML_H

#include <backplane/plugin.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    YAML_MAX_BYTES = 1 << 20,
    YAML_MAX_DEPTH = 32,
    YAML_MAX_NODES = 10000,
    YAML_MAX_ALIASED = 1000,     /* nodes that all aliases together stand for */
    YAML_MAX_ANCHORS = 100,
    YAML_MAX_TEXT = 64 << 10     /* bytes of one scalar after substitution */
};

typedef struct yaml_tree yaml_tree;

typedef enum yaml_kind { YAML_NULL, YAML_TEXT, YAML_LIST, YAML_MAP } yaml_kind;

typedef struct yaml_node yaml_node;
struct yaml_node {
    yaml_kind kind;
    uint32_t line, column; /* from 1 */
    const char *text;      /* TEXT: without NUL characters inside; NULL-kind: as written; else NULL */
    size_t count;          /* LIST, MAP: entries */
    const yaml_node *const *keys;   /* MAP: [count], all TEXT and all different */
    const yaml_node *const *values; /* LIST, MAP: [count] */
    const yaml_tree *tree;
    uint32_t weight, height; /* nodes and levels of the subtree, aliases expanded; weight 0 while it is being read */
};

/* The value of a variable, or NULL where it is unset. */
typedef const char *(*yaml_lookup_fn)(void *user, const char *name);

/* `name` is what messages call the file; copied. A NULL lookup leaves every variable unset. */
bp_status yaml_parse(const char *name, const char *text, size_t bytes, yaml_lookup_fn lookup, void *user, yaml_tree **out,
                     bp_error *error);
bp_status yaml_load(const char *path, yaml_lookup_fn lookup, void *user, yaml_tree **out, bp_error *error);
void yaml_release(yaml_tree *tree); /* NULL is fine. libyaml exports a yaml_free, which it calls itself */

const yaml_node *yaml_root(const yaml_tree *tree);
const yaml_node *yaml_get(const yaml_node *map, const char *key); /* NULL where there is none, or no map */
const char *yaml_kind_name(const yaml_node *node);                /* "a list" */

/* Whether two nodes say the same: texts after substitution, lists in order, maps in any. NULL is the same as NULL alone. */
bool yaml_same(const yaml_node *a, const yaml_node *b);

/* "file:line:column: sentence", BP_EINVAL. */
bp_status yaml_fail(const yaml_node *node, bp_error *error, const char *format, ...) BP_PRINTF(3, 4);

#endif
