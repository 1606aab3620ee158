/* jinja_parse: statements, and what both files of the parser stand on.
 *
 * Invariants: (1) the current token is never behind TOKEN_END, because whoever takes a token has looked at it first;
 * (2) every node is checked against JINJA_MAX_NESTING when it is made, and the descent itself by parser_enter;
 * (3) after parser_fail every function returns NULL or false up to the root. */
#include "base/checked.h"
#include "base/error.h"
#include "text/jinja.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *parser_fail(jinja_parser *p, const char *format, ...)
{
    if (p->status != BP_OK)
        return NULL;
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    bool memory = strcmp(format, "out of memory") == 0;
    p->status = error_set(p->error, memory ? BP_ENOMEM : BP_EINVAL, "chat template line %u: %s", p->token->line, message);
    return NULL;
}

bool jinja_name_is(jinja_name name, const char *word)
{
    size_t length = strlen(word);
    return name.length == length && memcmp(name.bytes, word, length) == 0;
}

bool parser_at_name(const jinja_parser *p, const char *name)
{
    return p->token->kind == TOKEN_NAME && jinja_name_is((jinja_name){p->token->start, p->token->length}, name);
}

bool parser_take_name(jinja_parser *p, const char *name)
{
    if (!parser_at_name(p, name))
        return false;
    p->token++;
    return true;
}

bool parser_take(jinja_parser *p, uint8_t kind)
{
    if (p->token->kind != kind || kind == TOKEN_END)
        return false;
    p->token++;
    return true;
}

/* How messages quote the current token. */
static int token_length(const jinja_parser *p)
{
    return (int)(p->token->length < 64 ? p->token->length : 64);
}

bool parser_expect(jinja_parser *p, uint8_t kind, const char *what)
{
    return parser_take(p, kind) || parser_fail(p, "%s was expected, not \"%.*s\"", what, token_length(p), p->token->start);
}

jinja_name parser_name(jinja_parser *p, const char *what)
{
    jinja_name name = {p->token->start, p->token->length};
    return parser_expect(p, TOKEN_NAME, what) ? name : (jinja_name){0};
}

bool parser_enter(jinja_parser *p)
{
    if (p->depth == JINJA_MAX_NESTING)
        return parser_fail(p, "the template is nested too deeply");
    p->depth++;
    return true;
}

void parser_leave(jinja_parser *p)
{
    p->depth--;
}

static bool raise_height(jinja_parser *p, jinja_node *node, const jinja_node *child)
{
    if (child && child->height >= node->height)
        node->height = (uint16_t)(child->height + 1);
    return node->height <= JINJA_MAX_NESTING || parser_fail(p, "the template is nested too deeply");
}

jinja_node *parser_node(jinja_parser *p, jinja_node_kind kind, const jinja_node *a, const jinja_node *b,
                        const jinja_node *c)
{
    if (p->status != BP_OK)
        return NULL;
    jinja_node *node = arena_alloc(p->memory, sizeof *node);
    if (!node)
        return parser_fail(p, "out of memory");
    node->kind = (uint8_t)kind;
    node->height = 1;
    node->line = p->token->line;
    node->a = a;
    node->b = b;
    node->c = c;
    return raise_height(p, node, a) && raise_height(p, node, b) && raise_height(p, node, c) ? node : NULL;
}

bool parser_push(jinja_parser *p, jinja_nodes *nodes, const jinja_node *node)
{
    if (!node)
        return false;
    if (nodes->count == nodes->capacity) {
        size_t capacity = nodes->capacity ? nodes->capacity * 2 : 16, bytes;
        const jinja_node **list = NULL;
        if (checked_mul(capacity, sizeof *list, &bytes))
            list = realloc(nodes->list, bytes);
        if (!list)
            return parser_fail(p, "out of memory");
        nodes->list = list;
        nodes->capacity = capacity;
    }
    nodes->list[nodes->count++] = node;
    return true;
}

bool parser_seal(jinja_parser *p, jinja_nodes *nodes, jinja_node *into)
{
    const jinja_node **copy = into && p->status == BP_OK ? arena_array(p->memory, nodes->count + 1, sizeof *copy) : NULL;
    bool ok = copy != NULL;
    if (into && p->status == BP_OK && !copy)
        parser_fail(p, "out of memory");
    for (size_t i = 0; ok && i < nodes->count; i++) {
        copy[i] = nodes->list[i];
        ok = raise_height(p, into, copy[i]);
    }
    if (ok) {
        into->items = copy;
        into->item_count = nodes->count;
    }
    free(nodes->list);
    *nodes = (jinja_nodes){0};
    return ok;
}

/* --- statements ------------------------------------------------------------------------------------------------------- */

static const jinja_node *parse_body(jinja_parser *p, const char *const *ends);

static bool end_block(jinja_parser *p)
{
    return parser_expect(p, TOKEN_BLOCK_END, "\"%}\"");
}

/* items: condition, body, condition, body, …, and the else's body if their number is odd. */
static const jinja_node *parse_if(jinja_parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    jinja_nodes items = {0};
    jinja_node *node = parser_node(p, NODE_IF, NULL, NULL, NULL);
    bool ok = node != NULL;
    do {
        ok = ok && parser_push(p, &items, parse_tuple(p, parse_expression)) && end_block(p) &&
             parser_push(p, &items, parse_body(p, ends));
    } while (ok && parser_take_name(p, "elif"));
    if (ok && parser_take_name(p, "else"))
        ok = end_block(p) && parser_push(p, &items, parse_body(p, last));
    ok = ok && parser_take_name(p, "endif") && end_block(p);
    return parser_seal(p, &items, ok ? node : NULL) ? node : NULL;
}

/* A target of for and set: NODE_NAME, a TUPLE of targets or, where `attributes`, an ATTRIBUTE of a namespace's name. */
static const jinja_node *parse_one_target(jinja_parser *p)
{
    static const char *const reserved[] = {"true", "True", "false", "False", "none", "None", NULL};
    if (p->token->kind == '(') {
        p->token++;
        const jinja_node *inner = parse_tuple(p, parse_one_target);
        return inner && parser_expect(p, ')', "\")\"") ? inner : NULL;
    }
    for (size_t i = 0; reserved[i]; i++)
        if (parser_at_name(p, reserved[i]))
            return parser_fail(p, "%s cannot be assigned to", reserved[i]);
    jinja_node *node = parser_node(p, NODE_NAME, NULL, NULL, NULL);
    if (!node)
        return NULL;
    node->name = parser_name(p, "a name");
    return node->name.bytes ? node : NULL;
}

static const jinja_node *parse_target(jinja_parser *p, bool attributes)
{
    const jinja_node *target = parse_tuple(p, parse_one_target);
    if (!target || !attributes || target->kind != NODE_NAME || !parser_take(p, '.'))
        return target;
    jinja_node *node = parser_node(p, NODE_ATTRIBUTE, target, NULL, NULL);
    if (!node)
        return NULL;
    node->name = parser_name(p, "a name after the dot");
    return node->name.bytes ? node : NULL;
}

/* items: target, iterable, body; a: the filter or NULL; b: the else's body or NULL. */
static const jinja_node *parse_for(jinja_parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL}, *const last[] = {"endfor", NULL};
    jinja_nodes items = {0};
    const jinja_node *condition = NULL, *otherwise = NULL;
    bool ok = parser_push(p, &items, parse_target(p, false));
    if (ok && !parser_take_name(p, "in"))
        ok = parser_fail(p, "\"in\" was expected, not \"%.*s\"", token_length(p), p->token->start);
    ok = ok && parser_push(p, &items, parse_tuple(p, parse_without_condition));
    if (ok && parser_take_name(p, "if"))
        ok = (condition = parse_expression(p)) != NULL;
    if (ok && parser_at_name(p, "recursive"))
        ok = parser_fail(p, "recursive loops are not supported");
    p->loops++;
    ok = ok && end_block(p) && parser_push(p, &items, parse_body(p, ends));
    p->loops--;
    if (ok && parser_take_name(p, "else"))
        ok = end_block(p) && (otherwise = parse_body(p, last)) != NULL;
    ok = ok && parser_take_name(p, "endfor") && end_block(p);
    jinja_node *node = ok ? parser_node(p, NODE_FOR, condition, otherwise, NULL) : NULL;
    return parser_seal(p, &items, node) ? node : NULL;
}

/* SET: a = b. SET_BLOCK: a = c, an expression over JINJA_CAPTURED, which is what the body b prints. */
static const jinja_node *parse_set(jinja_parser *p)
{
    static const char *const ends[] = {"endset", NULL};
    const jinja_node *target = parse_target(p, true);
    if (!target)
        return NULL;
    if (parser_take(p, '=')) {
        const jinja_node *value = parse_tuple(p, parse_expression);
        return value && end_block(p) ? parser_node(p, NODE_SET, target, value, NULL) : NULL;
    }
    jinja_node *captured = parser_node(p, NODE_NAME, NULL, NULL, NULL);
    if (!captured)
        return NULL;
    captured->name = (jinja_name){JINJA_CAPTURED, sizeof JINJA_CAPTURED - 1};
    const jinja_node *value = p->token->kind == '|' ? parse_filters(p, captured) : captured;
    if (!value || !end_block(p))
        return NULL;
    const jinja_node *body = parse_body(p, ends);
    if (!body || !parser_take_name(p, "endset") || !end_block(p))
        return NULL;
    return parser_node(p, NODE_SET_BLOCK, target, body, value);
}

/* name; arguments: each parameter's name and default (value NULL: none); a: the body. */
static const jinja_node *parse_macro(jinja_parser *p)
{
    enum { MOST = 64 };
    static const char *const ends[] = {"endmacro", NULL};
    jinja_argument list[MOST] = {0};
    size_t count = 0;
    jinja_name name = parser_name(p, "the macro's name");
    if (!name.bytes || !parser_expect(p, '(', "\"(\""))
        return NULL;
    for (; p->token->kind != ')'; count++) {
        if (count == MOST)
            return parser_fail(p, "a macro has more than %d parameters", MOST);
        list[count] = (jinja_argument){ARGUMENT_NAMED, parser_name(p, "a parameter's name"), NULL};
        if (!list[count].name.bytes || (parser_take(p, '=') && !(list[count].value = parse_expression(p))) ||
            (p->token->kind != ')' && !parser_expect(p, ',', "\",\" or \")\"")))
            return NULL;
    }
    p->token++;
    uint32_t loops = p->loops;
    p->loops = 0;
    const jinja_node *body = end_block(p) ? parse_body(p, ends) : NULL;
    p->loops = loops;
    jinja_argument *copy = arena_array(p->memory, count + 1, sizeof *copy);
    if (!body || !copy || !parser_take_name(p, "endmacro"))
        return copy ? NULL : parser_fail(p, "out of memory");
    parser_take(p, TOKEN_NAME);
    jinja_node *node = end_block(p) ? parser_node(p, NODE_MACRO, body, NULL, NULL) : NULL;
    if (!node)
        return NULL;
    memcpy(copy, list, count * sizeof *list);
    node->name = name;
    node->arguments = copy;
    node->argument_count = count;
    return node;
}

static const jinja_node *parse_jump(jinja_parser *p, jinja_node_kind kind)
{
    if (p->loops == 0)
        return parser_fail(p, "break and continue belong inside a loop");
    return end_block(p) ? parser_node(p, kind, NULL, NULL, NULL) : NULL;
}

/* transformers' mark around what an assistant wrote; it prints its body. */
static const jinja_node *parse_generation(jinja_parser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    const jinja_node *body = end_block(p) ? parse_body(p, ends) : NULL;
    return body && parser_take_name(p, "endgeneration") && end_block(p) ? body : NULL;
}

static const jinja_node *parse_statement(jinja_parser *p)
{
    if (parser_take_name(p, "if"))
        return parse_if(p);
    if (parser_take_name(p, "for"))
        return parse_for(p);
    if (parser_take_name(p, "set"))
        return parse_set(p);
    if (parser_take_name(p, "macro"))
        return parse_macro(p);
    if (parser_take_name(p, "break"))
        return parse_jump(p, NODE_BREAK);
    if (parser_take_name(p, "continue"))
        return parse_jump(p, NODE_CONTINUE);
    if (parser_take_name(p, "generation"))
        return parse_generation(p);
    return parser_fail(p, "the statement \"%.*s\" is not known or not supported here", token_length(p), p->token->start);
}

/* OUTPUT: prints a. Text between tags is one whose a is a constant. */
static const jinja_node *parse_data(jinja_parser *p)
{
    jinja_node *constant = parser_node(p, NODE_CONST, NULL, NULL, NULL);
    jinja_text *text = arena_alloc(p->memory, sizeof *text);
    if (!constant || !text)
        return parser_fail(p, "out of memory");
    *text = (jinja_text){.bytes = p->token->start, .length = p->token->length, .trusted = true};
    constant->constant = jinja_from_text(text);
    p->token++;
    return parser_node(p, NODE_OUTPUT, constant, NULL, NULL);
}

static const jinja_node *parse_variable(jinja_parser *p)
{
    p->token++;
    const jinja_node *value = parse_tuple(p, parse_expression);
    return value && parser_expect(p, TOKEN_VARIABLE_END, "\"}}\"") ? parser_node(p, NODE_OUTPUT, value, NULL, NULL) : NULL;
}

/* Whether the tag at hand, a "{%" and a name, closes the body. */
static bool ends_body(jinja_parser *p, const char *const *ends)
{
    p->token++;
    for (size_t i = 0; ends[i]; i++)
        if (parser_at_name(p, ends[i]))
            return true;
    return false;
}

static const char *last_of(const char *const *names)
{
    while (names[1])
        names++;
    return *names;
}

/* items: what the body does, in order. Stops at the name of one of `ends`, or without them at the template's end. */
static const jinja_node *parse_body(jinja_parser *p, const char *const *ends)
{
    jinja_nodes items = {0};
    jinja_node *node = parser_node(p, NODE_BODY, NULL, NULL, NULL);
    bool ok = node && parser_enter(p), ended = false;
    while (ok && !ended) {
        switch (p->token->kind) {
        case TOKEN_END:
            ended = true;
            ok = !ends[0] || parser_fail(p, "the template ends where %s was expected", last_of(ends));
            break;
        case TOKEN_DATA:
            ok = parser_push(p, &items, parse_data(p));
            break;
        case TOKEN_VARIABLE_BEGIN:
            ok = parser_push(p, &items, parse_variable(p));
            break;
        default:
            ended = ends_body(p, ends);
            ok = ended || parser_push(p, &items, parse_statement(p));
        }
    }
    if (ok)
        parser_leave(p);
    return parser_seal(p, &items, ok ? node : NULL) ? node : NULL;
}

bp_status jinja_parse(const char *source, size_t bytes, arena *memory, const jinja_node **root, bp_error *error)
{
    static const char *const none[] = {NULL};
    jinja_tokens tokens = {0};
    bp_status status = jinja_tokenize(source, bytes, &tokens, error);
    if (status == BP_OK) {
        jinja_parser parser = {.token = tokens.list, .memory = memory, .error = error};
        *root = parse_body(&parser, none);
        status = parser.status;
    }
    free(tokens.list);
    return status;
}
