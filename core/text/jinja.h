/* jinja: what the files of the template engine share; the public face is template.h.
 *
 *   jinja_lexer.c                              source to tokens, whitespace control
 *   jinja_parse.c, …_expression.c, …_literal.c tokens to a tree in the template's arena
 *   jinja_values.c, jinja_lookup.c             values: truth, equality, order; dicts, attributes and elements
 *   jinja_text.c, jinja_strings.c              text with provenance: building and printing; cutting and searching
 *   jinja_eval.c, jinja_operators.c            expressions
 *   jinja_exec.c                               statements and macros
 *   jinja_filters.c, jinja_list_filters.c, jinja_tests.c, jinja_methods.c, jinja_functions.c    the library
 *   jinja_json.c                               JSON in and out
 *
 * The reference is Jinja 2 (3.1) with the settings of transformers' apply_chat_template: a sandbox without mutation,
 * trim_blocks, lstrip_blocks, loop controls, its own tojson. Values are immutable, namespaces apart. Left out, because chat
 * templates do without: inheritance and imports, call and filter blocks, `with`, recursive loops and %.
 *
 * Bounds: nodes are at most JINJA_MAX_NESTING deep, evaluation JINJA_MAX_DEPTH, every loop here that depends on data
 * pays steps, every byte comes from jinja_alloc, which has a cap. Functions return false after jinja_fail. */
#ifndef BACKPLANE_TEXT_JINJA_H
#define BACKPLANE_TEXT_JINJA_H

#include "base/arena.h"
#include "base/buffer.h"

#include <backplane/plugin.h>
#include <jansson.h>

enum {
    JINJA_MAX_SOURCE = 4 << 20,
    JINJA_MAX_NESTING = 200, /* of the source: levels of the tree */
    JINJA_MAX_DEPTH = 400,   /* of evaluation: tree levels plus macro calls, and levels of a value */
    JINJA_MAX_MEMORY = 256 << 20,
    JINJA_MAX_RANGE = 100000 /* the sandbox's own limit */
};

/* Values. A number or boolean is `trusted` when it comes from the template (a literal, a loop's counter); what is made from
 * numbers is when they all are. */
typedef enum jinja_kind {
    JINJA_ABSENT, /* an argument that was not given; never a value */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_TEXT,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_NAMESPACE,
    JINJA_LOOP,
    JINJA_CALLABLE
} jinja_kind;

/* Valid UTF-8. */
typedef struct jinja_text {
    const char *bytes;
    const unsigned char *marks; /* [length] 1 trusted, 0 not; NULL: all of them as `trusted` says */
    size_t length;
    bool trusted;
} jinja_text;

typedef struct jinja_name { /* borrowed from the source, or static */
    const char *bytes;
    size_t length;
} jinja_name;

typedef struct jinja_value jinja_value;
typedef struct jinja_list jinja_list;
typedef struct jinja_dict jinja_dict;
typedef struct jinja_loop jinja_loop;
typedef struct jinja_callable jinja_callable;
typedef struct jinja_missing jinja_missing;

struct jinja_value {
    uint8_t kind; /* jinja_kind */
    bool trusted; /* BOOL, INT, FLOAT */
    union {
        bool truth;
        int64_t integer;
        double number;
        const jinja_text *text;
        const jinja_list *list; /* LIST, TUPLE */
        jinja_dict *dict;       /* DICT, NAMESPACE; only namespaces change */
        const jinja_loop *loop;
        const jinja_callable *callable;
        const jinja_missing *missing; /* UNDEFINED: what was looked for, or NULL */
    } as;
};

struct jinja_list {
    const jinja_value *items;
    size_t count;
};
typedef struct jinja_pair {
    jinja_value key, value;
} jinja_pair;
struct jinja_dict {
    jinja_pair *pairs; /* in the order of insertion; keys differ */
    size_t count, capacity;
};
struct jinja_missing {
    const char *owner; /* "dict object"; NULL: a variable */
    jinja_name name;   /* empty: an element of a list */
};

/* The tree. What the fields mean is written where jinja_parse*.c makes a node. */
typedef enum jinja_node_kind {
    /* expressions */
    NODE_CONST, NODE_NAME, NODE_LIST, NODE_TUPLE, NODE_DICT, NODE_ATTRIBUTE, NODE_ITEM, NODE_SLICE, NODE_CALL, NODE_FILTER,
    NODE_TEST, NODE_NOT, NODE_NEGATE, NODE_PLUS, NODE_BINARY, NODE_AND, NODE_OR, NODE_COMPARE, NODE_CONDITIONAL,
    NODE_CONCAT,
    /* statements */
    NODE_BODY, NODE_OUTPUT, NODE_IF, NODE_FOR, NODE_SET, NODE_SET_BLOCK, NODE_MACRO, NODE_BREAK, NODE_CONTINUE
} jinja_node_kind;

#define JINJA_CAPTURED "{captured}" /* a name that no source can spell */

typedef struct jinja_node jinja_node;
typedef struct jinja_run jinja_run;

typedef struct jinja_call {
    jinja_value self; /* a filter's or test's input, a method's receiver */
    const jinja_value *arguments;
    size_t count;
    const jinja_pair *named; /* keys are TEXT */
    size_t named_count;
} jinja_call;
typedef bool (*jinja_function)(jinja_run *run, const jinja_call *call, jinja_value *out);
typedef struct jinja_entry { /* tables end with a NULL name */
    const char *name;
    jinja_function function;
} jinja_entry;

enum { ARGUMENT_PLAIN, ARGUMENT_NAMED, ARGUMENT_STAR, ARGUMENT_DOUBLE_STAR };
typedef struct jinja_argument {
    uint32_t kind;
    jinja_name name; /* NAMED */
    const jinja_node *value;
} jinja_argument;

struct jinja_node {
    uint8_t kind, op; /* op: a token kind (BINARY), 1 for a negated TEST */
    uint16_t height;  /* levels of the tree below and with it */
    uint32_t line;
    jinja_name name;
    const jinja_node *a, *b, *c;
    const jinja_node *const *items;
    size_t item_count;
    const uint8_t *ops; /* COMPARE: [item_count] token kinds */
    const jinja_argument *arguments;
    size_t argument_count;
    const jinja_entry *entry; /* FILTER, TEST; NULL: there is none of that name, which is an error when it runs */
    jinja_value constant;
};

/* Tokens. Operators with several characters have names, the others are their character. */
enum {
    TOKEN_END = 0, TOKEN_DATA = 128, TOKEN_NAME, TOKEN_STRING, TOKEN_INTEGER, TOKEN_REAL, TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END, TOKEN_BLOCK_BEGIN, TOKEN_BLOCK_END, TOKEN_EQUAL, TOKEN_NOT_EQUAL, TOKEN_AT_LEAST, TOKEN_AT_MOST,
    TOKEN_POWER, TOKEN_FLOOR_DIVIDE, TOKEN_IN, TOKEN_NOT_IN
};
typedef struct jinja_token {
    uint8_t kind;
    uint32_t line;
    const char *start; /* strings with their quotes */
    size_t length;
} jinja_token;

typedef struct jinja_tokens {
    jinja_token *list;
    size_t count, capacity;
} jinja_tokens;
/* `source` is valid UTF-8 with \n newlines only. The caller frees tokens->list. */
bp_status jinja_tokenize(const char *source, size_t bytes, jinja_tokens *tokens, bp_error *error);
/* Root is a NODE_BODY in the arena; it borrows from `source`. */
bp_status jinja_parse(const char *source, size_t bytes, arena *memory, const jinja_node **root, bp_error *error);

/* What the two files of the parser share. Each parsing function returns NULL after parser_fail. */
typedef struct jinja_parser {
    const jinja_token *token; /* the current one; the last is TOKEN_END */
    arena *memory;
    uint32_t depth, loops; /* loops: around the current place */
    bp_error *error;
    bp_status status; /* BP_OK until parser_fail */
} jinja_parser;
typedef struct jinja_nodes { /* a list that grows; emptied by parser_seal */
    const jinja_node **list;
    size_t count, capacity;
} jinja_nodes;
void *parser_fail(jinja_parser *p, const char *format, ...) BP_PRINTF(2, 3);
bool parser_at_name(const jinja_parser *p, const char *name);
bool parser_take_name(jinja_parser *p, const char *name); /* takes it if it is there */
bool parser_take(jinja_parser *p, uint8_t kind);
bool parser_expect(jinja_parser *p, uint8_t kind, const char *what);
jinja_name parser_name(jinja_parser *p, const char *what); /* .bytes NULL after parser_fail */
bool parser_enter(jinja_parser *p); /* parser_leave after success */
void parser_leave(jinja_parser *p);
jinja_node *parser_node(jinja_parser *p, jinja_node_kind kind, const jinja_node *a, const jinja_node *b,
                        const jinja_node *c);
bool parser_push(jinja_parser *p, jinja_nodes *nodes, const jinja_node *node);
bool parser_seal(jinja_parser *p, jinja_nodes *nodes, jinja_node *into); /* always empties *nodes */
const jinja_node *parse_expression(jinja_parser *p);
const jinja_node *parse_without_condition(jinja_parser *p); /* no `x if y` at its top, which a loop's filter looks like */
/* An expression or a tuple without parentheses of what `one` parses. */
const jinja_node *parse_tuple(jinja_parser *p, const jinja_node *(*one)(jinja_parser *));
const jinja_node *parse_string_literal(jinja_parser *p); /* these three at a token of their kind */
const jinja_node *parse_integer_literal(jinja_parser *p);
const jinja_node *parse_real_literal(jinja_parser *p);
const jinja_node *parse_filters(jinja_parser *p, const jinja_node *node); /* "| filter" and "is test" after an expression */

/* Running. */
typedef struct jinja_binding {
    jinja_name name;
    jinja_value value;
} jinja_binding;
typedef struct jinja_scope jinja_scope;
struct jinja_scope {
    jinja_scope *parent;
    jinja_binding *bindings;
    size_t count, capacity;
    bool captured; /* a macro remembers it */
};

/* Text as it grows: in the arena, or at the root in the caller's buffers. */
typedef struct jinja_builder {
    char *bytes;
    unsigned char *marks;
    size_t length, capacity;
    buffer *out, *trusted;
} jinja_builder;

struct jinja_run {
    arena *memory;
    uint64_t allocated, steps, max_output;
    uint32_t depth, line;
    const char *date;
    jinja_builder *sink; /* where statements print */
    bp_error *error;
    bp_status status; /* BP_OK until jinja_fail */
};

struct jinja_callable {
    jinja_name name;
    jinja_function function; /* NULL: a macro */
    jinja_value self;
    const jinja_node *node;
    jinja_scope *scope;
};

struct jinja_loop {
    const jinja_value *items;
    size_t count, index;
};

/* Failing: sets the error once, always returns false. */
bool jinja_fail(jinja_run *run, const char *format, ...) BP_PRINTF(2, 3);
bool jinja_fail_limit(jinja_run *run, const char *what);
bool jinja_steps(jinja_run *run, uint64_t count);
bool jinja_enter(jinja_run *run); /* one level deeper; jinja_leave after success */
void jinja_leave(jinja_run *run);
void *jinja_alloc(jinja_run *run, size_t count, size_t size); /* zeroed; NULL after jinja_fail */

/* Making values. Those that take memory return false after jinja_fail. */
static inline jinja_value jinja_none(void) { return (jinja_value){.kind = JINJA_NONE}; }
static inline jinja_value jinja_undefined(void) { return (jinja_value){.kind = JINJA_UNDEFINED}; }
static inline jinja_value jinja_bool(bool truth) { return (jinja_value){.kind = JINJA_BOOL, .as.truth = truth}; }
static inline jinja_value jinja_int(int64_t n) { return (jinja_value){.kind = JINJA_INT, .as.integer = n}; }
static inline jinja_value jinja_float(double n) { return (jinja_value){.kind = JINJA_FLOAT, .as.number = n}; }
static inline jinja_value jinja_from_text(const jinja_text *text)
{
    return (jinja_value){.kind = JINJA_TEXT, .as.text = text};
}
bool jinja_make_text(jinja_run *run, const char *bytes, size_t length, bool trusted, jinja_value *out); /* borrows bytes */
bool jinja_make_missing(jinja_run *run, const char *owner, jinja_name name, jinja_value *out);
bool jinja_make_list(jinja_run *run, const jinja_value *items, size_t count, jinja_value *out); /* borrows items */
bool jinja_make_pair(jinja_run *run, jinja_value first, jinja_value second, jinja_value *out);   /* a tuple */
bool jinja_make_dict(jinja_run *run, size_t capacity, jinja_value *out);

/* A list that grows in the arena. */
typedef struct jinja_values {
    jinja_value *items;
    size_t count, capacity;
} jinja_values;
bool jinja_push(jinja_run *run, jinja_values *values, jinja_value value);

/* Asking values. */
static inline bool jinja_is_number(jinja_value v)
{
    return v.kind == JINJA_BOOL || v.kind == JINJA_INT || v.kind == JINJA_FLOAT;
}
static inline bool jinja_is_list(jinja_value v) { return v.kind == JINJA_LIST || v.kind == JINJA_TUPLE; }
const char *jinja_type_name(jinja_value v); /* Python's: "str" */
bool jinja_truth(jinja_value v);
bool jinja_as_int(jinja_value v, int64_t *out); /* BOOL and INT */
double jinja_as_float(jinja_value v);           /* of a number */
bool jinja_equal(jinja_run *run, jinja_value a, jinja_value b, bool *out);
bool jinja_order(jinja_run *run, jinja_value a, jinja_value b, const char *op, int *out); /* -1, 0, 1; NaN: 2 */
bool jinja_contains(jinja_run *run, jinja_value item, jinja_value container, bool *out);
bool jinja_length(jinja_run *run, jinja_value v, int64_t *out);
/* The items that a loop over the value meets. */
bool jinja_iterate(jinja_run *run, jinja_value v, const jinja_value **items, size_t *count);
bool jinja_fail_undefined(jinja_run *run, jinja_value v); /* what Jinja says when an undefined value is used */

bool jinja_dict_get(jinja_run *run, const jinja_dict *dict, jinja_value key, jinja_value **out); /* *out NULL: none */
bool jinja_dict_find(jinja_run *run, const jinja_dict *dict, jinja_name key, jinja_value **out);
bool jinja_dict_set(jinja_run *run, jinja_dict *dict, jinja_value key, jinja_value value);

/* value.name and value[key], as Jinja looks them up. */
bool jinja_attribute(jinja_run *run, jinja_value v, jinja_name name, jinja_value *out);
bool jinja_item(jinja_run *run, jinja_value v, jinja_value key, jinja_value *out);
bool jinja_path(jinja_run *run, jinja_value v, jinja_value path, jinja_value *out); /* "a.b.0", of attribute= */
const jinja_entry *jinja_method(jinja_value v, jinja_name name); /* NULL: none */
bool jinja_loop_attribute(jinja_value loop, jinja_name name, jinja_value *out); /* false: none */

/* Text. */
bool jinja_put(jinja_run *run, jinja_builder *b, const char *bytes, size_t length, bool trusted);
bool jinja_put_slice(jinja_run *run, jinja_builder *b, const jinja_text *text, size_t from, size_t to);
bool jinja_put_text(jinja_run *run, jinja_builder *b, const jinja_text *text);
bool jinja_put_value(jinja_run *run, jinja_builder *b, jinja_value v); /* as str() does */
bool jinja_finish(jinja_run *run, jinja_builder *b, jinja_value *out);
bool jinja_slice_text(jinja_run *run, const jinja_text *text, size_t from, size_t to, jinja_value *out);
bool jinja_to_text(jinja_run *run, jinja_value v, const jinja_text **out); /* str() */
bool jinja_trusted(const jinja_text *text, size_t at);
void jinja_print_float(double n, char out[40]);

bool jinja_is_space(int32_t code); /* Python's str.isspace */
size_t jinja_characters(const char *bytes, size_t length);
size_t jinja_character_offset(const jinja_text *text, size_t index); /* of a character; the end for more */
size_t jinja_find(const char *bytes, size_t length, size_t from, const char *what, size_t what_length); /* SIZE_MAX: no */
bool jinja_strip(jinja_run *run, const jinja_text *text, const jinja_text *set, bool left, bool right, jinja_value *out);
bool jinja_replace(jinja_run *run, const jinja_text *text, const jinja_text *old, const jinja_text *with, int64_t limit,
                   jinja_value *out);
bool jinja_split(jinja_run *run, const jinja_text *text, const jinja_text *separator, int64_t limit, jinja_value *out);
typedef enum jinja_case { CASE_UPPER, CASE_LOWER, CASE_CAPITALIZE, CASE_TITLE, CASE_WORDS } jinja_case;
bool jinja_change_case(jinja_run *run, const jinja_text *text, jinja_case how, jinja_value *out);

/* Operators. `op` is a token kind. */
bool jinja_binary(jinja_run *run, uint8_t op, jinja_value a, jinja_value b, jinja_value *out);
bool jinja_negate(jinja_run *run, jinja_value a, bool plus, jinja_value *out);
bool jinja_compare(jinja_run *run, uint8_t op, jinja_value a, jinja_value b, bool *out);
bool jinja_slice(jinja_run *run, jinja_value v, const jinja_value bounds[3], jinja_value *out); /* none: not given */

/* Evaluation. */
bool jinja_eval(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out);
bool jinja_bind(jinja_run *run, jinja_scope *scope, jinja_name name, jinja_value value);
jinja_scope *jinja_scope_new(jinja_run *run, jinja_scope *parent);

typedef enum jinja_flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAILED } jinja_flow;
jinja_flow jinja_exec(jinja_run *run, const jinja_node *node, jinja_scope *scope);
bool jinja_call_macro(jinja_run *run, const jinja_callable *macro, const jinja_call *call, jinja_value *out);

/* The library. Arguments by position or name into out[]: those not given are ABSENT. `names` ends with NULL. */
bool jinja_arguments(jinja_run *run, const jinja_call *call, const char *what, const char *const *names, size_t required,
                     jinja_value *out);
bool jinja_expect_text(jinja_run *run, jinja_value v, const char *what, const jinja_text **out);
bool jinja_name_is(jinja_name name, const char *word);
const jinja_entry *jinja_find_entry(const jinja_entry *table, jinja_name name);
const jinja_entry *jinja_find_filter(jinja_name name);
const jinja_entry *jinja_find_test(jinja_name name);
const jinja_callable *jinja_find_function(jinja_name name);
extern const jinja_entry jinja_list_filters[];

bool jinja_from_json(jinja_run *run, const json_t *json, jinja_value *out);
bool jinja_messages_from_json(jinja_run *run, const json_t *json, jinja_value *out); /* known roles are trusted */
bool jinja_filter_tojson(jinja_run *run, const jinja_call *call, jinja_value *out);
bool jinja_parse_float(const char *bytes, size_t length, double *out); /* a whole JSON number, in any locale */

#endif
