/* jinja_eval: expressions to values, and calls of whatever can be called. */
#include "text/jinja.h"

#include <string.h>

static bool eval_items(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value **out)
{
    jinja_value *items = jinja_alloc(run, node->item_count, sizeof *items);
    for (size_t i = 0; items && i < node->item_count; i++)
        if (!jinja_eval(run, node->items[i], scope, &items[i]))
            return false;
    *out = items;
    return items != NULL;
}

static bool eval_list(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    jinja_value *items;
    if (!eval_items(run, node, scope, &items) || !jinja_make_list(run, items, node->item_count, out))
        return false;
    out->kind = node->kind == NODE_LIST ? JINJA_LIST : JINJA_TUPLE;
    return true;
}

static bool eval_dict(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    if (!jinja_make_dict(run, node->item_count / 2, out))
        return false;
    for (size_t i = 0; i + 1 < node->item_count; i += 2) {
        jinja_value key, value;
        if (!jinja_eval(run, node->items[i], scope, &key) || !jinja_eval(run, node->items[i + 1], scope, &value) ||
            !jinja_dict_set(run, out->as.dict, key, value))
            return false;
    }
    return true;
}

/* The newest binding of the nearest scope, then the functions. */
static bool eval_name(jinja_run *run, const jinja_node *node, const jinja_scope *scope, jinja_value *out)
{
    for (; scope; scope = scope->parent) {
        for (size_t i = scope->count; i-- > 0;) {
            const jinja_binding *binding = &scope->bindings[i];
            if (binding->name.length == node->name.length &&
                memcmp(binding->name.bytes, node->name.bytes, node->name.length) == 0) {
                *out = binding->value;
                return true;
            }
        }
        if (!jinja_steps(run, scope->count / 16))
            return false;
    }
    const jinja_callable *function = jinja_find_function(node->name);
    if (!function)
        return jinja_make_missing(run, NULL, node->name, out);
    *out = (jinja_value){.kind = JINJA_CALLABLE, .as.callable = function};
    return true;
}

static bool eval_slice(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value object, jinja_value *out)
{
    jinja_value bounds[3];
    for (int i = 0; i < 3; i++)
        if (!jinja_eval(run, node->items[i], scope, &bounds[i]))
            return false;
    return jinja_slice(run, object, bounds, out);
}

static bool eval_compare(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value left, jinja_value *out)
{
    bool truth = true;
    for (size_t i = 0; truth && i < node->item_count; i++) {
        jinja_value right;
        if (!jinja_eval(run, node->items[i], scope, &right) || !jinja_compare(run, node->ops[i], left, right, &truth))
            return false;
        left = right;
    }
    *out = jinja_bool(truth);
    return true;
}

static bool eval_concat(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    jinja_builder b = {0};
    for (size_t i = 0; i < node->item_count; i++) {
        jinja_value part;
        if (!jinja_eval(run, node->items[i], scope, &part) || !jinja_put_value(run, &b, part))
            return false;
    }
    return jinja_finish(run, &b, out);
}

static bool eval_conditional(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value condition,
                             jinja_value *out)
{
    if (jinja_truth(condition))
        return jinja_eval(run, node->b, scope, out);
    if (node->c)
        return jinja_eval(run, node->c, scope, out);
    *out = jinja_undefined();
    return true;
}

/* --- calls ------------------------------------------------------------------------------------------------------------ */

typedef struct argument_list {
    jinja_values positional;
    jinja_value named; /* a dict */
} argument_list;

static bool add_named(jinja_run *run, argument_list *list, jinja_value key, jinja_value value)
{
    if (key.kind != JINJA_TEXT)
        return jinja_fail(run, "keywords must be strings");
    if (list->named.kind != JINJA_DICT && !jinja_make_dict(run, 4, &list->named))
        return false;
    jinja_value *present;
    if (!jinja_dict_get(run, list->named.as.dict, key, &present))
        return false;
    return present ? jinja_fail(run, "the argument %.*s is given twice",
                                (int)(key.as.text->length < 64 ? key.as.text->length : 64), key.as.text->bytes)
                   : jinja_dict_set(run, list->named.as.dict, key, value);
}

/* *list or **dict at its place among the arguments. */
static bool spread(jinja_run *run, argument_list *list, uint32_t kind, jinja_value value)
{
    const jinja_value *items;
    size_t count;
    if (kind == ARGUMENT_STAR) {
        if (!jinja_iterate(run, value, &items, &count))
            return false;
        for (size_t i = 0; i < count; i++)
            if (!jinja_steps(run, 1) || !jinja_push(run, &list->positional, items[i]))
                return false;
        return true;
    }
    if (value.kind != JINJA_DICT)
        return jinja_fail(run, "the argument after ** must be a mapping, not %s", jinja_type_name(value));
    for (size_t i = 0; i < value.as.dict->count; i++)
        if (!add_named(run, list, value.as.dict->pairs[i].key, value.as.dict->pairs[i].value))
            return false;
    return true;
}

/* Evaluates the arguments of `node` into *call. */
static bool eval_arguments(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_call *call)
{
    argument_list list = {0};
    for (size_t i = 0; i < node->argument_count; i++) {
        const jinja_argument *argument = &node->arguments[i];
        jinja_value value, key;
        if (!jinja_eval(run, argument->value, scope, &value))
            return false;
        bool ok;
        if (argument->kind == ARGUMENT_PLAIN)
            ok = jinja_push(run, &list.positional, value);
        else if (argument->kind == ARGUMENT_NAMED)
            ok = jinja_make_text(run, argument->name.bytes, argument->name.length, true, &key) &&
                 add_named(run, &list, key, value);
        else
            ok = spread(run, &list, argument->kind, value);
        if (!ok)
            return false;
    }
    call->arguments = list.positional.items;
    call->count = list.positional.count;
    call->named = list.named.kind == JINJA_DICT ? list.named.as.dict->pairs : NULL;
    call->named_count = list.named.kind == JINJA_DICT ? list.named.as.dict->count : 0;
    return true;
}

static bool call_value(jinja_run *run, jinja_value callee, const jinja_call *call, jinja_value *out)
{
    if (callee.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, callee);
    if (callee.kind != JINJA_CALLABLE)
        return jinja_fail(run, "'%s' object is not callable", jinja_type_name(callee));
    const jinja_callable *callable = callee.as.callable;
    if (!callable->function)
        return jinja_call_macro(run, callable, call, out);
    jinja_call own = *call;
    own.self = callable->self;
    return callable->function(run, &own, out);
}

static bool eval_call(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value callee, jinja_value *out)
{
    jinja_call call = {0};
    return eval_arguments(run, node, scope, &call) && call_value(run, callee, &call, out);
}

/* A filter, or a test, which gives a boolean. */
static bool eval_entry(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value input, jinja_value *out)
{
    bool test = node->kind == NODE_TEST;
    if (!node->entry)
        return jinja_fail(run, "the %s \"%.*s\" is not known", test ? "test" : "filter",
                          (int)(node->name.length < 64 ? node->name.length : 64), node->name.bytes);
    jinja_call call = {.self = input};
    if (!eval_arguments(run, node, scope, &call) || !node->entry->function(run, &call, out))
        return false;
    if (test)
        *out = jinja_bool(jinja_truth(*out) != (node->op == 1));
    return true;
}

/* Of a node whose `a` was evaluated to `a`. */
static bool eval_with(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value a, jinja_value *out)
{
    jinja_value b;
    switch ((jinja_node_kind)node->kind) {
    case NODE_ATTRIBUTE:
        return jinja_attribute(run, a, node->name, out);
    case NODE_ITEM:
        return jinja_eval(run, node->b, scope, &b) && jinja_item(run, a, b, out);
    case NODE_SLICE:
        return eval_slice(run, node, scope, a, out);
    case NODE_CALL:
        return eval_call(run, node, scope, a, out);
    case NODE_FILTER:
    case NODE_TEST:
        return eval_entry(run, node, scope, a, out);
    case NODE_NOT:
        *out = jinja_bool(!jinja_truth(a));
        return true;
    case NODE_NEGATE:
    case NODE_PLUS:
        return jinja_negate(run, a, node->kind == NODE_PLUS, out);
    case NODE_BINARY:
        return jinja_eval(run, node->b, scope, &b) && jinja_binary(run, node->op, a, b, out);
    case NODE_AND:
    case NODE_OR:
        *out = a;
        return jinja_truth(a) != (node->kind == NODE_AND) || jinja_eval(run, node->b, scope, out);
    case NODE_COMPARE:
        return eval_compare(run, node, scope, a, out);
    case NODE_CONDITIONAL:
        return eval_conditional(run, node, scope, a, out);
    default:
        return jinja_fail(run, "an expression of an unknown kind");
    }
}

bool jinja_eval(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    if (node->kind == NODE_CONST) {
        *out = node->constant;
        return jinja_steps(run, 1);
    }
    if (!jinja_steps(run, 1) || !jinja_enter(run))
        return false;
    run->line = node->line;
    bool ok;
    switch ((jinja_node_kind)node->kind) {
    case NODE_NAME:
        ok = eval_name(run, node, scope, out);
        break;
    case NODE_LIST:
    case NODE_TUPLE:
        ok = eval_list(run, node, scope, out);
        break;
    case NODE_DICT:
        ok = eval_dict(run, node, scope, out);
        break;
    case NODE_CONCAT:
        ok = eval_concat(run, node, scope, out);
        break;
    default: {
        jinja_value a = jinja_undefined();
        ok = (!node->a || jinja_eval(run, node->a, scope, &a)) && eval_with(run, node, scope, a, out);
    }
    }
    jinja_leave(run);
    return ok;
}
