#include "base/yaml.h"

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

struct yaml_tree {
    arena *memory;
    const char *name;
    const yaml_node *root;
};

typedef struct anchor {
    const char *name;
    yaml_node *node;
} anchor;

/* Invariant: `children` is a stack of node pointers; a collection being read owns what lies above where it began. */
typedef struct reader {
    yaml_parser_t parser;
    yaml_tree *tree;
    yaml_lookup_fn lookup;
    void *user;
    anchor anchors[YAML_MAX_ANCHORS];
    size_t anchor_count, node_count, aliased;
    unsigned depth;
    buffer children;
    bp_error *error;
} reader;

enum { IN_VALUE, IN_KEY };

static const yaml_node *read_node(reader *r, const yaml_event_t *event, int place);

static bp_status fail_at(const yaml_tree *tree, size_t line, size_t column, bp_error *error, const char *sentence)
{
    return error_set(error, BP_EINVAL, "%s:%zu:%zu: %s", tree->name, line, column, sentence);
}

static bp_status fail_memory(reader *r)
{
    return error_set(r->error, BP_ENOMEM, "%s: out of memory", r->tree->name);
}

bp_status yaml_fail(const yaml_node *node, bp_error *error, const char *format, ...)
{
    char sentence[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return fail_at(node->tree, node->line, node->column, error, sentence);
}

/* --- bytes ------------------------------------------------------------------------------------------------------------ */

static bp_status fail_at_offset(const yaml_tree *tree, const char *text, size_t offset, bp_error *error, const char *sentence)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)text[i] & 0xC0) != 0x80) {
            column++;
        }
    }
    return fail_at(tree, line, column, error, sentence);
}

/* libyaml would find these too, but without a line. */
static bp_status check_bytes(const yaml_tree *tree, const char *text, size_t bytes, bp_error *error)
{
    if (bytes > YAML_MAX_BYTES)
        return error_set(error, BP_ELIMIT, "%s: larger than %d bytes, the most that a configuration may have", tree->name,
                         YAML_MAX_BYTES);
    for (size_t i = 0; i < bytes;) {
        int32_t code;
        size_t length = utf8_decode(text + i, bytes - i, &code);
        if (code < 0)
            return fail_at_offset(tree, text, i, error, "invalid UTF-8");
        if (code == 0)
            return fail_at_offset(tree, text, i, error, "a NUL character");
        i += length;
    }
    return BP_OK;
}

/* --- events ----------------------------------------------------------------------------------------------------------- */

static bp_status fail_parser(reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return fail_memory(r);
    if (p->error == YAML_READER_ERROR)
        return fail_at_offset(r->tree, (const char *)p->input.string.start, p->problem_offset, r->error,
                              p->problem ? p->problem : "cannot be read");
    return error_set(r->error, BP_EINVAL, "%s:%zu:%zu: not valid YAML: %s%s%s", r->tree->name, p->problem_mark.line + 1,
                     p->problem_mark.column + 1, p->problem ? p->problem : "syntax error", p->context ? " " : "",
                     p->context ? p->context : "");
}

static bp_status fail_event(reader *r, const yaml_event_t *event, const char *sentence)
{
    return fail_at(r->tree, event->start_mark.line + 1, event->start_mark.column + 1, r->error, sentence);
}

static bool next_event(reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event))
        return true;
    fail_parser(r);
    return false;
}

/* --- nodes ------------------------------------------------------------------------------------------------------------ */

static yaml_node *new_node(reader *r, const yaml_event_t *event, yaml_kind kind)
{
    if (++r->node_count > YAML_MAX_NODES) {
        fail_event(r, event, "more values than a configuration may have");
        return NULL;
    }
    yaml_node *node = arena_alloc(r->tree->memory, sizeof *node);
    if (!node) {
        fail_memory(r);
        return NULL;
    }
    node->kind = kind;
    node->line = (uint32_t)event->start_mark.line + 1;
    node->column = (uint32_t)event->start_mark.column + 1;
    node->tree = r->tree;
    node->height = 1;
    return node;
}

/* Anchors are known from the start of their node, so that an alias inside of it is seen for what it is. */
static bool remember_anchor(reader *r, const yaml_event_t *event, const yaml_char_t *name, yaml_node *node)
{
    if (!name)
        return true;
    if (r->anchor_count == YAML_MAX_ANCHORS) {
        fail_event(r, event, "more anchors than a configuration may have");
        return false;
    }
    char *copy = arena_string(r->tree->memory, (const char *)name);
    if (!copy) {
        fail_memory(r);
        return false;
    }
    r->anchors[r->anchor_count++] = (anchor){copy, node};
    return true;
}

static const yaml_node *read_alias(reader *r, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    const yaml_node *node = NULL;
    for (size_t i = r->anchor_count; i > 0 && !node; i--)
        if (strcmp(r->anchors[i - 1].name, name) == 0)
            node = r->anchors[i - 1].node;
    if (!node) {
        fail_event(r, event, "an alias of an anchor that is not defined above it");
        return NULL;
    }
    if (node->weight == 0) {
        fail_event(r, event, "an alias inside the value that it stands for");
        return NULL;
    }
    r->aliased += node->weight;
    if (r->aliased > YAML_MAX_ALIASED || r->depth + node->height > YAML_MAX_DEPTH) {
        fail_event(r, event, "aliases that expand to more values than a configuration may have");
        return NULL;
    }
    return node;
}

/* --- substitution ----------------------------------------------------------------------------------------------------- */

static size_t variable_length(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return *text >= '0' && *text <= '9' ? 0 : strspn(text, letters);
}

/* Expands what `text`, just after "${", begins; returns where the text goes on, or NULL. */
static const char *expand_variable(reader *r, const yaml_node *node, const char *text, buffer *out)
{
    char name[128];
    size_t length = variable_length(text);
    const char *fallback = NULL, *end = text + length;
    if (strncmp(end, ":-", 2) == 0) {
        fallback = end + 2;
        end = strchr(fallback, '}');
    }
    if (length == 0 || length >= sizeof name || !end || *end != '}') {
        yaml_fail(node, r->error, "\"${\" begins ${NAME} or ${NAME:-text}; write $$ for a dollar sign");
        return NULL;
    }
    memcpy(name, text, length);
    name[length] = '\0';
    const char *value = r->lookup ? r->lookup(r->user, name) : NULL;
    size_t bytes = value ? strlen(value) : 0;
    if (fallback && bytes == 0) {
        value = fallback;
        bytes = (size_t)(end - fallback);
    }
    if (!value) {
        yaml_fail(node, r->error, "the variable %s is not set; set it, or write ${%s:-text} to give a default", name, name);
        return NULL;
    }
    if (!utf8_valid(value, bytes)) {
        yaml_fail(node, r->error, "the variable %s is not valid UTF-8", name);
        return NULL;
    }
    if (!buffer_append(out, value, bytes)) {
        fail_memory(r);
        return NULL;
    }
    return end + 1;
}

static bool append_substituted(reader *r, const yaml_node *node, const char *text, buffer *out)
{
    while (*text) {
        size_t literal = strcspn(text, "$");
        bool escaped = text[literal] == '$' && text[literal + 1] == '$';
        if (!buffer_append(out, text, literal + (escaped ? 1 : 0))) {
            fail_memory(r);
            return false;
        }
        text += literal + (escaped ? 2 : 0);
        if (!escaped && *text == '$' && text[1] != '{') {
            yaml_fail(node, r->error,
                      "a single dollar sign; write ${NAME} for a variable, in quotes where it is between braces, and $$ for "
                      "a dollar sign");
            return false;
        }
        if (!escaped && *text == '$' && !(text = expand_variable(r, node, text + 2, out)))
            return false;
        if (out->size > YAML_MAX_TEXT) {
            yaml_fail(node, r->error, "longer than %d bytes after substitution", YAML_MAX_TEXT);
            return false;
        }
    }
    return true;
}

/* Fills node->text from `text`, which holds a dollar sign. */
static bool substitute(reader *r, yaml_node *node, const char *text)
{
    buffer out = {0};
    bool done = append_substituted(r, node, text, &out);
    if (done && !(node->text = arena_copy(r->tree->memory, out.data ? out.data : "", out.size))) {
        fail_memory(r);
        done = false;
    }
    buffer_free(&out);
    return done;
}

static bool is_null(const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 || strcmp(text, "Null") == 0 ||
            strcmp(text, "NULL") == 0);
}

static const yaml_node *read_scalar(reader *r, const yaml_event_t *event, int place)
{
    const char *text = (const char *)event->data.scalar.value;
    if (event->data.scalar.tag) {
        fail_event(r, event, "a tag (!…), which configurations do not have");
        return NULL;
    }
    if (strlen(text) != event->data.scalar.length) {
        fail_event(r, event, "a NUL character in a string");
        return NULL;
    }
    if (event->data.scalar.length > YAML_MAX_TEXT) {
        fail_event(r, event, "a longer text than a configuration may have");
        return NULL;
    }
    yaml_node *node = new_node(r, event, place == IN_VALUE && is_null(event) ? YAML_NULL : YAML_TEXT);
    if (!node || !remember_anchor(r, event, event->data.scalar.anchor, node))
        return NULL;
    if (place == IN_VALUE && strchr(text, '$')) {
        if (!substitute(r, node, text))
            return NULL;
    } else if (!(node->text = arena_string(r->tree->memory, text))) {
        fail_memory(r);
        return NULL;
    }
    node->weight = 1;
    return node;
}

/* --- collections ------------------------------------------------------------------------------------------------------ */

static bool push_child(reader *r, const yaml_node *parent, const yaml_node *child)
{
    yaml_node *p = (yaml_node *)parent;
    p->height = child->height >= p->height ? child->height + 1 : p->height;
    if (buffer_append(&r->children, &child, sizeof child))
        return true;
    fail_memory(r);
    return false;
}

/* Takes the children above `mark`, each `stride`th from `first`, as an array of the arena. */
static const yaml_node *const *take_children(reader *r, size_t mark, size_t first, size_t stride, size_t count)
{
    const yaml_node **array = arena_array(r->tree->memory, count ? count : 1, sizeof *array);
    if (!array) {
        fail_memory(r);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        memcpy(&array[i], r->children.data + mark + (first + i * stride) * sizeof *array, sizeof *array);
    return array;
}

static bool finish_collection(reader *r, yaml_node *node, size_t mark)
{
    size_t children = (r->children.size - mark) / sizeof(const yaml_node *), stride = node->kind == YAML_MAP ? 2 : 1;
    node->count = children / stride;
    node->values = take_children(r, mark, stride - 1, stride, node->count);
    if (node->kind == YAML_MAP)
        node->keys = take_children(r, mark, 0, 2, node->count);
    if (!node->values || (node->kind == YAML_MAP && !node->keys))
        return false;
    r->children.size = mark;
    node->weight = 1;
    for (size_t i = 0; i < node->count; i++)
        node->weight += node->values[i]->weight + (node->keys ? 1 : 0);
    return true;
}

static bool check_key(reader *r, const yaml_event_t *event, const yaml_node *key, size_t mark)
{
    if (key->kind != YAML_TEXT) {
        yaml_fail(key, r->error, "%s as a key; keys are texts", yaml_kind_name(key));
        return false;
    }
    if (event->type == YAML_SCALAR_EVENT && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
        strcmp(key->text, "<<") == 0) {
        yaml_fail(key, r->error, "a merge key (<<), which configurations do not have; repeat the keys, or alias a whole value");
        return false;
    }
    for (size_t at = mark; at < r->children.size; at += 2 * sizeof key) {
        const yaml_node *other;
        memcpy(&other, r->children.data + at, sizeof other);
        if (strcmp(other->text, key->text) == 0) {
            yaml_fail(key, r->error, "the key \"%s\" again; it is already at line %u, column %u", key->text, other->line,
                      other->column);
            return false;
        }
    }
    return true;
}

/* One entry that begins with `event`, which it consumes. */
static bool read_entry(reader *r, yaml_node *node, yaml_event_t *event, size_t mark)
{
    int place = node->kind == YAML_MAP ? IN_KEY : IN_VALUE;
    const yaml_node *child = read_node(r, event, place);
    bool good = child && (place == IN_VALUE || check_key(r, event, child, mark));
    yaml_event_delete(event);
    if (!good || !push_child(r, node, child))
        return false;
    if (place == IN_VALUE)
        return true;
    if (!next_event(r, event))
        return false;
    child = read_node(r, event, IN_VALUE);
    yaml_event_delete(event);
    return child && push_child(r, node, child);
}

static const yaml_node *read_collection(reader *r, const yaml_event_t *event, yaml_kind kind)
{
    bool is_map = kind == YAML_MAP;
    if (is_map ? event->data.mapping_start.tag != NULL : event->data.sequence_start.tag != NULL) {
        fail_event(r, event, "a tag (!…), which configurations do not have");
        return NULL;
    }
    if (r->depth == YAML_MAX_DEPTH) {
        fail_event(r, event, "nested deeper than a configuration may be");
        return NULL;
    }
    yaml_node *node = new_node(r, event, kind);
    const yaml_char_t *name = is_map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
    if (!node || !remember_anchor(r, event, name, node))
        return NULL;
    size_t mark = r->children.size;
    r->depth++;
    for (;;) {
        yaml_event_t inner;
        if (!next_event(r, &inner))
            return NULL;
        if (inner.type == YAML_MAPPING_END_EVENT || inner.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&inner);
            break;
        }
        if (!read_entry(r, node, &inner, mark))
            return NULL;
    }
    r->depth--;
    return finish_collection(r, node, mark) ? node : NULL;
}

/* The node that `event` begins. Recursion is bounded by YAML_MAX_DEPTH. */
static const yaml_node *read_node(reader *r, const yaml_event_t *event, int place)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT: return read_scalar(r, event, place);
    case YAML_ALIAS_EVENT: return read_alias(r, event);
    case YAML_SEQUENCE_START_EVENT: return read_collection(r, event, YAML_LIST);
    case YAML_MAPPING_START_EVENT: return read_collection(r, event, YAML_MAP);
    default: fail_event(r, event, "not valid YAML"); return NULL;
    }
}

/* --- documents -------------------------------------------------------------------------------------------------------- */

/* stream start, document start, node, document end, stream end. */
static bool read_stream(reader *r)
{
    yaml_event_t event;
    for (int step = 0; step < 5; step++) {
        if (!next_event(r, &event))
            return false;
        bool good = true;
        if (step == 1 && event.type != YAML_DOCUMENT_START_EVENT) {
            fail_event(r, &event, "an empty configuration");
            good = false;
        } else if (step == 2) {
            r->tree->root = read_node(r, &event, IN_VALUE);
            good = r->tree->root != NULL;
        } else if (step == 4 && event.type != YAML_STREAM_END_EVENT) {
            fail_event(r, &event, "a second document; a configuration is one");
            good = false;
        }
        yaml_event_delete(&event);
        if (!good)
            return false;
    }
    return true;
}

static yaml_tree *new_tree(const char *name)
{
    arena *memory = arena_new();
    yaml_tree *tree = memory ? arena_alloc(memory, sizeof *tree) : NULL;
    if (!tree || !(tree->name = arena_string(memory, name))) {
        arena_free(memory);
        return NULL;
    }
    tree->memory = memory;
    return tree;
}

bp_status yaml_parse(const char *name, const char *text, size_t bytes, yaml_lookup_fn lookup, void *user, yaml_tree **out,
                     bp_error *error)
{
    /* So that a status is known even where the caller wants no message. */
    bp_error local = {0};
    yaml_tree *tree = new_tree(name);
    if (!tree)
        return error_set(error, BP_ENOMEM, "%s: out of memory", name);
    bp_status status = check_bytes(tree, text, bytes, &local);
    if (status == BP_OK) {
        reader r = {.tree = tree, .lookup = lookup, .user = user, .error = &local};
        if (!yaml_parser_initialize(&r.parser)) {
            status = fail_memory(&r);
        } else {
            yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
            yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, bytes);
            status = read_stream(&r) ? BP_OK : local.code;
            yaml_parser_delete(&r.parser);
        }
        buffer_free(&r.children);
    }
    if (status == BP_OK) {
        *out = tree;
        return BP_OK;
    }
    yaml_release(tree);
    if (error)
        *error = local;
    return status;
}

bp_status yaml_load(const char *path, yaml_lookup_fn lookup, void *user, yaml_tree **out, bp_error *error)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return error_set(error, errno == ENOENT ? BP_ENOTFOUND : BP_EIO, "cannot open %s: %s", path, strerror(errno));
    buffer text = {0};
    bp_status status = BP_OK;
    ssize_t got = 1;
    while (status == BP_OK && got > 0 && text.size <= YAML_MAX_BYTES) {
        char chunk[16384];
        got = read(file, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got < 0)
            status = error_set(error, BP_EIO, "cannot read %s: %s", path, strerror(errno));
        else if (!buffer_append(&text, chunk, (size_t)got))
            status = error_set(error, BP_ENOMEM, "%s: out of memory", path);
    }
    close(file);
    if (status == BP_OK)
        status = yaml_parse(path, text.data ? text.data : "", text.size, lookup, user, out, error);
    buffer_free(&text);
    return status;
}

void yaml_release(yaml_tree *tree)
{
    if (tree)
        arena_free(tree->memory);
}

const yaml_node *yaml_root(const yaml_tree *tree)
{
    return tree->root;
}

const yaml_node *yaml_get(const yaml_node *map, const char *key)
{
    if (!map || map->kind != YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->keys[i]->text, key) == 0)
            return map->values[i];
    return NULL;
}

bool yaml_same(const yaml_node *a, const yaml_node *b)
{
    if (!a || !b || a == b)
        return a == b;
    if (a->kind != b->kind || a->count != b->count || (a->kind == YAML_TEXT && strcmp(a->text, b->text) != 0))
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!yaml_same(a->values[i], a->kind == YAML_MAP ? yaml_get(b, a->keys[i]->text) : b->values[i]))
            return false;
    return true;
}

const char *yaml_kind_name(const yaml_node *node)
{
    switch (node->kind) {
    case YAML_NULL: return "nothing";
    case YAML_TEXT: return "a text";
    case YAML_LIST: return "a list";
    default: return "a mapping";
    }
}
