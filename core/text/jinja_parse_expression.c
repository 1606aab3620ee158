/* jinja_parse_expression: expressions by recursive descent, with Jinja's precedence from loosest to tightest: conditional,
 * or, and, not, comparison, + -, ~, * / // %, **, sign, postfix (.name [key] (arguments)), filters and tests. */
#include "text/jinja.h"

#include <string.h>

/* --- primaries -------------------------------------------------------------------------------------------------------- */

/* true, false and none in both spellings, or NODE_NAME. */
static const jinja_node *parse_name(jinja_parser *p)
{
    static const struct {
        const char *name;
        jinja_value value;
    } words[] = {
        {"true", {.kind = JINJA_BOOL, .trusted = true, .as.truth = true}},
        {"True", {.kind = JINJA_BOOL, .trusted = true, .as.truth = true}},
        {"false", {.kind = JINJA_BOOL, .trusted = true}},
        {"False", {.kind = JINJA_BOOL, .trusted = true}},
        {"none", {.kind = JINJA_NONE}},
        {"None", {.kind = JINJA_NONE}},
    };
    jinja_node *node = parser_node(p, NODE_NAME, NULL, NULL, NULL);
    if (!node)
        return NULL;
    node->name = parser_name(p, "a name");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!jinja_name_is(node->name, words[i].name))
            continue;
        node->kind = NODE_CONST;
        node->constant = words[i].value;
    }
    return node;
}

/* items: the elements. */
static const jinja_node *parse_list(jinja_parser *p)
{
    jinja_nodes items = {0};
    p->token++;
    while (p->token->kind != ']') {
        if (!parser_push(p, &items, parse_expression(p)) ||
            (p->token->kind != ']' && !parser_expect(p, ',', "\",\" or \"]\"")))
            break;
    }
    jinja_node *node = parser_node(p, NODE_LIST, NULL, NULL, NULL);
    if (!parser_seal(p, &items, node))
        return NULL;
    p->token++;
    return node;
}

/* items: key, value, key, value, … */
static const jinja_node *parse_dict(jinja_parser *p)
{
    jinja_nodes items = {0};
    p->token++;
    while (p->token->kind != '}') {
        if (!parser_push(p, &items, parse_expression(p)) || !parser_expect(p, ':', "\":\"") ||
            !parser_push(p, &items, parse_expression(p)) ||
            (p->token->kind != '}' && !parser_expect(p, ',', "\",\" or \"}\"")))
            break;
    }
    jinja_node *node = parser_node(p, NODE_DICT, NULL, NULL, NULL);
    if (!parser_seal(p, &items, node))
        return NULL;
    p->token++;
    return node;
}

static bool ends_tuple(const jinja_parser *p)
{
    uint8_t kind = p->token->kind;
    return kind == TOKEN_VARIABLE_END || kind == TOKEN_BLOCK_END || kind == ')' || kind == '=' || parser_at_name(p, "in");
}

const jinja_node *parse_tuple(jinja_parser *p, const jinja_node *(*one)(jinja_parser *))
{
    const jinja_node *first = one(p);
    if (!first || p->token->kind != ',')
        return first;
    jinja_nodes items = {0};
    bool ok = parser_push(p, &items, first);
    while (ok && parser_take(p, ',') && !ends_tuple(p))
        ok = parser_push(p, &items, one(p));
    jinja_node *node = parser_node(p, NODE_TUPLE, NULL, NULL, NULL);
    return parser_seal(p, &items, node) ? node : NULL;
}

static const jinja_node *parse_parentheses(jinja_parser *p)
{
    p->token++;
    if (parser_take(p, ')'))
        return parser_node(p, NODE_TUPLE, NULL, NULL, NULL);
    const jinja_node *node = parse_tuple(p, parse_expression);
    return node && parser_expect(p, ')', "\")\"") ? node : NULL;
}

static const jinja_node *parse_primary(jinja_parser *p)
{
    switch (p->token->kind) {
    case TOKEN_NAME:
        return parse_name(p);
    case TOKEN_STRING:
        return parse_string_literal(p);
    case TOKEN_INTEGER:
        return parse_integer_literal(p);
    case TOKEN_REAL:
        return parse_real_literal(p);
    case '(':
        return parse_parentheses(p);
    case '[':
        return parse_list(p);
    case '{':
        return parse_dict(p);
    case TOKEN_END:
        return parser_fail(p, "the template ends inside a tag");
    default:
        return parser_fail(p, "an expression was expected, not \"%.*s\"",
                           (int)(p->token->length < 64 ? p->token->length : 64), p->token->start);
    }
}

/* --- postfix ---------------------------------------------------------------------------------------------------------- */

/* One argument of a call, at its place in the list. */
static bool parse_argument(jinja_parser *p, jinja_argument *argument)
{
    if (parser_take(p, '*')) {
        argument->kind = ARGUMENT_STAR;
    } else if (parser_take(p, TOKEN_POWER)) {
        argument->kind = ARGUMENT_DOUBLE_STAR;
    } else if (p->token->kind == TOKEN_NAME && p->token[1].kind == '=') {
        argument->kind = ARGUMENT_NAMED;
        argument->name = parser_name(p, "a name");
        p->token++;
    }
    argument->value = parse_expression(p);
    return argument->value != NULL;
}

/* The arguments of a call, filter or test, at their "(". */
static bool parse_arguments(jinja_parser *p, jinja_node *node)
{
    enum { MOST = 64 };
    jinja_argument list[MOST] = {0};
    size_t count = 0;
    p->token++;
    while (p->token->kind != ')') {
        if (count == MOST)
            return parser_fail(p, "a call has more than %d arguments", MOST);
        if (!parse_argument(p, &list[count]) || (p->token->kind != ')' && !parser_expect(p, ',', "\",\" or \")\"")))
            return false;
        uint16_t height = list[count++].value->height;
        node->height = height + 1 > node->height ? (uint16_t)(height + 1) : node->height;
    }
    p->token++;
    jinja_argument *copy = arena_array(p->memory, count + 1, sizeof *copy);
    if (!copy)
        return parser_fail(p, "out of memory");
    memcpy(copy, list, count * sizeof *list);
    node->arguments = copy;
    node->argument_count = count;
    return node->height <= JINJA_MAX_NESTING || parser_fail(p, "expressions are nested too deeply");
}

/* a: what is called. */
static const jinja_node *parse_call(jinja_parser *p, const jinja_node *callee)
{
    jinja_node *node = parser_node(p, NODE_CALL, callee, NULL, NULL);
    return node && parse_arguments(p, node) ? node : NULL;
}

/* ITEM: a[b]. SLICE: a[items[0]:items[1]:items[2]], constants of none where not given. */
static const jinja_node *parse_subscript(jinja_parser *p, const jinja_node *object)
{
    p->token++;
    const jinja_node *none = parser_node(p, NODE_CONST, NULL, NULL, NULL), *parts[3] = {none, none, none};
    if (!none)
        return NULL;
    ((jinja_node *)none)->constant = jinja_none();
    if (p->token->kind != ':' && !(parts[0] = parse_tuple(p, parse_expression)))
        return NULL;
    if (parser_take(p, ']'))
        return parser_node(p, NODE_ITEM, object, parts[0], NULL);
    jinja_nodes items = {0};
    for (int i = 1; i < 3 && parser_take(p, ':'); i++)
        if (p->token->kind != ':' && p->token->kind != ']' && !(parts[i] = parse_expression(p)))
            return NULL;
    if (!parser_expect(p, ']', "\"]\""))
        return NULL;
    for (int i = 0; i < 3; i++)
        if (!parser_push(p, &items, parts[i]))
            break;
    jinja_node *node = parser_node(p, NODE_SLICE, object, NULL, NULL);
    return parser_seal(p, &items, node) ? node : NULL;
}

/* ATTRIBUTE: a.name; a dot before a number is a subscript. */
static const jinja_node *parse_attribute(jinja_parser *p, const jinja_node *object)
{
    p->token++;
    if (p->token->kind == TOKEN_INTEGER) {
        const jinja_node *index = parse_integer_literal(p);
        return index ? parser_node(p, NODE_ITEM, object, index, NULL) : NULL;
    }
    jinja_node *node = parser_node(p, NODE_ATTRIBUTE, object, NULL, NULL);
    if (!node)
        return NULL;
    node->name = parser_name(p, "a name after the dot");
    return node->name.bytes ? node : NULL;
}

static const jinja_node *parse_postfix(jinja_parser *p, const jinja_node *node)
{
    while (node) {
        if (p->token->kind == '.')
            node = parse_attribute(p, node);
        else if (p->token->kind == '[')
            node = parse_subscript(p, node);
        else if (p->token->kind == '(')
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* A filter's or test's name, which may have dots in it: none has here, so it is one that is not known. */
static jinja_name dotted_name(jinja_parser *p, const char *what)
{
    jinja_name name = parser_name(p, what);
    while (name.bytes && parser_take(p, '.')) {
        jinja_name more = parser_name(p, what);
        name = more.bytes ? (jinja_name){name.bytes, (size_t)(more.bytes + more.length - name.bytes)} : more;
    }
    return name;
}

/* a: the input; entry: the function. */
static const jinja_node *parse_filter(jinja_parser *p, const jinja_node *input)
{
    p->token++;
    jinja_node *node = parser_node(p, NODE_FILTER, input, NULL, NULL);
    if (!node)
        return NULL;
    node->name = dotted_name(p, "a filter's name");
    if (!node->name.bytes)
        return NULL;
    node->entry = jinja_find_filter(node->name);
    return p->token->kind != '(' || parse_arguments(p, node) ? node : NULL;
}

static bool begins_argument(const jinja_parser *p)
{
    switch (p->token->kind) {
    case TOKEN_NAME:
        return !parser_at_name(p, "else") && !parser_at_name(p, "or") && !parser_at_name(p, "and");
    case TOKEN_STRING:
    case TOKEN_INTEGER:
    case TOKEN_REAL:
    case '(':
    case '[':
    case '{':
        return true;
    default:
        return false;
    }
}

/* The argument of a test without parentheses: "is divisibleby 3". */
static bool parse_bare_argument(jinja_parser *p, jinja_node *node)
{
    jinja_argument *argument = arena_alloc(p->memory, sizeof *argument);
    if (!argument)
        return parser_fail(p, "out of memory");
    argument->value = parse_postfix(p, parse_primary(p));
    if (!argument->value)
        return false;
    node->arguments = argument;
    node->argument_count = 1;
    if (argument->value->height >= node->height)
        node->height = (uint16_t)(argument->value->height + 1);
    return true;
}

/* a: the input; op: 1 when negated. */
static const jinja_node *parse_test(jinja_parser *p, const jinja_node *input)
{
    p->token++;
    jinja_node *node = parser_node(p, NODE_TEST, input, NULL, NULL);
    if (!node)
        return NULL;
    node->op = parser_take_name(p, "not");
    node->name = dotted_name(p, "a test's name");
    if (!node->name.bytes)
        return NULL;
    node->entry = jinja_find_test(node->name);
    if (p->token->kind == '(')
        return parse_arguments(p, node) ? node : NULL;
    if (!begins_argument(p) || parser_at_name(p, "if") || parser_at_name(p, "is") || parser_at_name(p, "not") ||
        parser_at_name(p, "in"))
        return node;
    return parse_bare_argument(p, node) ? node : NULL;
}

const jinja_node *parse_filters(jinja_parser *p, const jinja_node *node)
{
    while (node) {
        if (p->token->kind == '|')
            node = parse_filter(p, node);
        else if (parser_at_name(p, "is"))
            node = parse_test(p, node);
        else if (p->token->kind == '(')
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* --- operators -------------------------------------------------------------------------------------------------------- */

static const jinja_node *parse_unary(jinja_parser *p, bool filters)
{
    if (!parser_enter(p))
        return NULL;
    const jinja_node *node;
    if (p->token->kind == '-' || p->token->kind == '+') {
        jinja_node_kind kind = p->token->kind == '-' ? NODE_NEGATE : NODE_PLUS;
        p->token++;
        node = parse_unary(p, false);
        node = node ? parser_node(p, kind, node, NULL, NULL) : NULL;
    } else {
        node = parse_primary(p);
    }
    parser_leave(p);
    node = parse_postfix(p, node);
    return node && filters ? parse_filters(p, node) : node;
}

static const jinja_node *parse_operand(jinja_parser *p)
{
    return parse_unary(p, true);
}

/* BINARY, left to right: a op b, op one of `kinds`. */
static const jinja_node *parse_binary(jinja_parser *p, const uint8_t *kinds, const jinja_node *(*operand)(jinja_parser *))
{
    const jinja_node *left = operand(p);
    while (left && p->token->kind != TOKEN_END && strchr((const char *)kinds, p->token->kind)) {
        uint8_t op = p->token->kind;
        p->token++;
        const jinja_node *right = operand(p);
        jinja_node *node = right ? parser_node(p, NODE_BINARY, left, right, NULL) : NULL;
        if (node)
            node->op = op;
        left = node;
    }
    return left;
}

static const jinja_node *parse_power(jinja_parser *p)
{
    return parse_binary(p, (const uint8_t[]){TOKEN_POWER, 0}, parse_operand);
}

static const jinja_node *parse_product(jinja_parser *p)
{
    return parse_binary(p, (const uint8_t[]){'*', '/', TOKEN_FLOOR_DIVIDE, '%', 0}, parse_power);
}

/* CONCAT, items: the parts. */
static const jinja_node *parse_concat(jinja_parser *p)
{
    const jinja_node *first = parse_product(p);
    if (!first || p->token->kind != '~')
        return first;
    jinja_nodes items = {0};
    bool ok = parser_push(p, &items, first);
    while (ok && parser_take(p, '~'))
        ok = parser_push(p, &items, parse_product(p));
    jinja_node *node = parser_node(p, NODE_CONCAT, NULL, NULL, NULL);
    return parser_seal(p, &items, node) ? node : NULL;
}

static const jinja_node *parse_sum(jinja_parser *p)
{
    return parse_binary(p, (const uint8_t[]){'+', '-', 0}, parse_concat);
}

/* The comparison that begins here, taken; 0 where there is none. */
static uint8_t take_comparison(jinja_parser *p)
{
    static const uint8_t kinds[] = {TOKEN_EQUAL, TOKEN_NOT_EQUAL, '<', '>', TOKEN_AT_LEAST, TOKEN_AT_MOST};
    uint8_t kind = p->token->kind;
    if (memchr(kinds, kind, sizeof kinds)) {
        p->token++;
        return kind;
    }
    if (parser_take_name(p, "in"))
        return TOKEN_IN;
    if (!parser_at_name(p, "not") || p->token[1].kind != TOKEN_NAME || p->token[1].length != 2 ||
        memcmp(p->token[1].start, "in", 2) != 0)
        return 0;
    p->token += 2;
    return TOKEN_NOT_IN;
}

/* a: the first operand; items and ops: the others and what stands before each. */
static const jinja_node *parse_comparison(jinja_parser *p)
{
    enum { MOST = 64 };
    const jinja_node *first = parse_sum(p);
    uint8_t ops[MOST];
    jinja_nodes items = {0};
    bool ok = first != NULL;
    for (uint8_t op; ok && (op = take_comparison(p)) != 0;) {
        if (items.count == MOST)
            ok = parser_fail(p, "a comparison has more than %d parts", MOST);
        if (ok) {
            ops[items.count] = op;
            ok = parser_push(p, &items, parse_sum(p));
        }
    }
    if (ok && items.count == 0)
        return first;
    jinja_node *node = ok ? parser_node(p, NODE_COMPARE, first, NULL, NULL) : NULL;
    size_t count = items.count;
    if (!parser_seal(p, &items, node))
        return NULL;
    uint8_t *copy = arena_alloc(p->memory, count);
    if (!copy)
        return parser_fail(p, "out of memory");
    memcpy(copy, ops, count);
    node->ops = copy;
    return node;
}

static const jinja_node *parse_not(jinja_parser *p)
{
    if (!parser_at_name(p, "not"))
        return parse_comparison(p);
    if (!parser_enter(p))
        return NULL;
    p->token++;
    const jinja_node *node = parse_not(p);
    parser_leave(p);
    return node ? parser_node(p, NODE_NOT, node, NULL, NULL) : NULL;
}

static const jinja_node *parse_logic(jinja_parser *p, const char *word, jinja_node_kind kind,
                                     const jinja_node *(*operand)(jinja_parser *))
{
    const jinja_node *left = operand(p);
    while (left && parser_take_name(p, word)) {
        const jinja_node *right = operand(p);
        left = right ? parser_node(p, kind, left, right, NULL) : NULL;
    }
    return left;
}

static const jinja_node *parse_and(jinja_parser *p)
{
    return parse_logic(p, "and", NODE_AND, parse_not);
}

const jinja_node *parse_without_condition(jinja_parser *p)
{
    return parse_logic(p, "or", NODE_OR, parse_and);
}

/* CONDITIONAL: b if a else c; c NULL gives undefined. */
const jinja_node *parse_expression(jinja_parser *p)
{
    if (!parser_enter(p))
        return NULL;
    const jinja_node *node = parse_without_condition(p);
    while (node && parser_take_name(p, "if")) {
        const jinja_node *condition = parse_without_condition(p), *other = NULL;
        if (condition && parser_take_name(p, "else") && !(other = parse_expression(p)))
            condition = NULL;
        node = condition ? parser_node(p, NODE_CONDITIONAL, condition, node, other) : NULL;
    }
    parser_leave(p);
    return node;
}
