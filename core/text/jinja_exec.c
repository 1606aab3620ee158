/* jinja_exec: statements print into the run's sink; scopes and macros.
 *
 * A scope is a body that may bind names: the template, one turn of a loop, one call of a macro. `set` binds in the nearest
 * one, so what a loop sets is gone in its next turn; `if` has no scope of its own. */
#include "text/jinja.h"

#include <string.h>

jinja_scope *jinja_scope_new(jinja_run *run, jinja_scope *parent)
{
    jinja_scope *scope = jinja_alloc(run, 1, sizeof *scope);
    if (scope)
        scope->parent = parent;
    return scope;
}

bool jinja_bind(jinja_run *run, jinja_scope *scope, jinja_name name, jinja_value value)
{
    if (!jinja_steps(run, 1 + scope->count / 16))
        return false;
    for (size_t i = 0; i < scope->count; i++) {
        jinja_binding *binding = &scope->bindings[i];
        if (binding->name.length == name.length && memcmp(binding->name.bytes, name.bytes, name.length) == 0) {
            binding->value = value;
            return true;
        }
    }
    if (scope->count == scope->capacity) {
        size_t capacity = scope->capacity ? scope->capacity * 2 : 4;
        jinja_binding *bindings = jinja_alloc(run, capacity, sizeof *bindings);
        if (!bindings)
            return false;
        if (scope->count)
            memcpy(bindings, scope->bindings, scope->count * sizeof *bindings);
        scope->bindings = bindings;
        scope->capacity = capacity;
    }
    scope->bindings[scope->count++] = (jinja_binding){name, value};
    return true;
}

static bool assign(jinja_run *run, const jinja_node *target, jinja_value value, jinja_scope *scope);

static bool assign_tuple(jinja_run *run, const jinja_node *target, jinja_value value, jinja_scope *scope)
{
    const jinja_value *items;
    size_t count;
    if (value.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, value);
    if (!jinja_iterate(run, value, &items, &count))
        return false;
    if (count != target->item_count)
        return jinja_fail(run, "%zu values cannot be unpacked into %zu names", count, target->item_count);
    for (size_t i = 0; i < count; i++)
        if (!assign(run, target->items[i], items[i], scope))
            return false;
    return true;
}

static bool assign_attribute(jinja_run *run, const jinja_node *target, jinja_value value, jinja_scope *scope)
{
    jinja_value owner, key;
    if (!jinja_eval(run, target->a, scope, &owner))
        return false;
    if (owner.kind != JINJA_NAMESPACE)
        return jinja_fail(run, "an attribute can be set on a namespace only");
    return jinja_make_text(run, target->name.bytes, target->name.length, true, &key) &&
           jinja_dict_set(run, owner.as.dict, key, value);
}

static bool assign(jinja_run *run, const jinja_node *target, jinja_value value, jinja_scope *scope)
{
    if (target->kind == NODE_NAME)
        return jinja_bind(run, scope, target->name, value);
    return target->kind == NODE_TUPLE ? assign_tuple(run, target, value, scope)
                                      : assign_attribute(run, target, value, scope);
}

/* Runs a body and gives what it printed. */
static bool capture(jinja_run *run, const jinja_node *body, jinja_scope *scope, jinja_value *out)
{
    jinja_builder builder = {0}, *sink = run->sink;
    run->sink = &builder;
    jinja_flow flow = jinja_exec(run, body, scope);
    run->sink = sink;
    return flow != FLOW_FAILED && jinja_finish(run, &builder, out);
}

static bool exec_set_block(jinja_run *run, const jinja_node *node, jinja_scope *scope)
{
    jinja_value text, value;
    jinja_scope *inner = jinja_scope_new(run, scope);
    return inner && capture(run, node->b, inner, &text) &&
           jinja_bind(run, inner, (jinja_name){JINJA_CAPTURED, sizeof JINJA_CAPTURED - 1}, text) &&
           jinja_eval(run, node->c, inner, &value) && assign(run, node->a, value, scope);
}

static bool exec_set(jinja_run *run, const jinja_node *node, jinja_scope *scope)
{
    jinja_value value;
    return jinja_eval(run, node->b, scope, &value) && assign(run, node->a, value, scope);
}

static bool exec_output(jinja_run *run, const jinja_node *node, jinja_scope *scope)
{
    jinja_value value;
    return jinja_eval(run, node->a, scope, &value) && jinja_put_value(run, run->sink, value);
}

static jinja_flow exec_if(jinja_run *run, const jinja_node *node, jinja_scope *scope)
{
    for (size_t i = 0; i + 1 < node->item_count; i += 2) {
        jinja_value condition;
        if (!jinja_eval(run, node->items[i], scope, &condition))
            return FLOW_FAILED;
        if (jinja_truth(condition))
            return jinja_exec(run, node->items[i + 1], scope);
    }
    return node->item_count % 2 ? jinja_exec(run, node->items[node->item_count - 1], scope) : FLOW_NEXT;
}

/* --- loops ------------------------------------------------------------------------------------------------------------ */

/* Keeps of items[count] those for which the loop's own `if` holds. */
static bool filter_items(jinja_run *run, const jinja_node *node, jinja_scope *scope, const jinja_value **items,
                         size_t *count)
{
    jinja_values kept = {0};
    jinja_scope *inner = jinja_scope_new(run, scope);
    for (size_t i = 0; inner && i < *count; i++) {
        jinja_value keep;
        inner->count = 0;
        if (!assign(run, node->items[0], (*items)[i], inner) || !jinja_eval(run, node->a, inner, &keep) ||
            (jinja_truth(keep) && !jinja_push(run, &kept, (*items)[i])))
            return false;
    }
    *items = kept.items;
    *count = kept.count;
    return inner != NULL;
}

/* The scope of the next turn: the last one's memory, unless a macro remembers it. */
static jinja_scope *turn_scope(jinja_run *run, jinja_scope *last, jinja_scope *parent, const jinja_loop *loop)
{
    jinja_scope *scope = last && !last->captured ? last : jinja_scope_new(run, parent);
    if (!scope)
        return NULL;
    scope->count = 0;
    jinja_value value = {.kind = JINJA_LOOP, .as.loop = loop};
    return jinja_bind(run, scope, (jinja_name){"loop", 4}, value) ? scope : NULL;
}

/* As in Jinja, a loop's else runs unless a turn came to its end: a break or continue in every turn does not stop it. */
static jinja_flow exec_for(jinja_run *run, const jinja_node *node, jinja_scope *scope)
{
    jinja_value iterable;
    const jinja_value *items;
    size_t count;
    if (!jinja_eval(run, node->items[1], scope, &iterable) || !jinja_iterate(run, iterable, &items, &count) ||
        (node->a && !filter_items(run, node, scope, &items, &count)))
        return FLOW_FAILED;
    jinja_loop *loop = jinja_alloc(run, 1, sizeof *loop);
    if (!loop)
        return FLOW_FAILED;
    *loop = (jinja_loop){items, count, 0};
    jinja_scope *turn = NULL;
    bool completed = false;
    for (; loop->index < count; loop->index++) {
        turn = turn_scope(run, turn, scope, loop);
        if (!turn || !assign(run, node->items[0], items[loop->index], turn))
            return FLOW_FAILED;
        jinja_flow flow = jinja_exec(run, node->items[2], turn);
        if (flow == FLOW_FAILED)
            return flow;
        if (flow == FLOW_BREAK)
            break;
        completed = completed || flow == FLOW_NEXT;
    }
    return node->b && !completed ? jinja_exec(run, node->b, scope) : FLOW_NEXT;
}

/* --- macros ----------------------------------------------------------------------------------------------------------- */

static bool exec_macro(jinja_run *run, const jinja_node *node, jinja_scope *scope)
{
    jinja_callable *macro = jinja_alloc(run, 1, sizeof *macro);
    if (!macro)
        return false;
    *macro = (jinja_callable){.name = node->name, .node = node, .scope = scope};
    for (jinja_scope *s = scope; s; s = s->parent)
        s->captured = true;
    return jinja_bind(run, scope, node->name, (jinja_value){.kind = JINJA_CALLABLE, .as.callable = macro});
}

static bool is_parameter(const jinja_node *macro, const jinja_text *name)
{
    for (size_t i = 0; i < macro->argument_count; i++)
        if (macro->arguments[i].name.length == name->length &&
            memcmp(macro->arguments[i].name.bytes, name->bytes, name->length) == 0)
            return true;
    return false;
}

static bool check_arguments(jinja_run *run, const jinja_node *macro, const jinja_call *call)
{
    int length = (int)(macro->name.length < 64 ? macro->name.length : 64);
    if (call->count > macro->argument_count)
        return jinja_fail(run, "macro '%.*s' takes not more than %zu arguments", length, macro->name.bytes,
                          macro->argument_count);
    for (size_t i = 0; i < call->named_count; i++) {
        const jinja_text *name = call->named[i].key.as.text;
        if (!is_parameter(macro, name))
            return jinja_fail(run, "macro '%.*s' takes no keyword argument '%.*s'", length, macro->name.bytes,
                              (int)(name->length < 64 ? name->length : 64), name->bytes);
    }
    return true;
}

/* The value of a parameter: given by place or by name, its default, or undefined. */
static bool parameter(jinja_run *run, const jinja_node *macro, size_t index, const jinja_call *call, jinja_scope *scope,
                      jinja_value *out)
{
    const jinja_argument *p = &macro->arguments[index];
    if (index < call->count) {
        *out = call->arguments[index];
        return true;
    }
    for (size_t i = 0; i < call->named_count; i++) {
        const jinja_text *name = call->named[i].key.as.text;
        if (name->length == p->name.length && memcmp(name->bytes, p->name.bytes, name->length) == 0) {
            *out = call->named[i].value;
            return true;
        }
    }
    return p->value ? jinja_eval(run, p->value, scope, out) : jinja_make_missing(run, NULL, p->name, out);
}

bool jinja_call_macro(jinja_run *run, const jinja_callable *macro, const jinja_call *call, jinja_value *out)
{
    const jinja_node *node = macro->node;
    uint32_t line = run->line;
    if (!jinja_enter(run))
        return false;
    jinja_scope *scope = jinja_scope_new(run, macro->scope);
    bool ok = scope && check_arguments(run, node, call);
    for (size_t i = 0; ok && i < node->argument_count; i++) {
        jinja_value value;
        ok = parameter(run, node, i, call, scope, &value) && jinja_bind(run, scope, node->arguments[i].name, value);
    }
    ok = ok && capture(run, node->a, scope, out);
    if (ok) {
        run->line = line;
        jinja_leave(run);
    }
    return ok;
}

/* --- all -------------------------------------------------------------------------------------------------------------- */

static jinja_flow exec_body(jinja_run *run, const jinja_node *node, jinja_scope *scope)
{
    jinja_flow flow = FLOW_NEXT;
    for (size_t i = 0; flow == FLOW_NEXT && i < node->item_count; i++)
        flow = jinja_exec(run, node->items[i], scope);
    return flow;
}

static jinja_flow flow_of(bool ok)
{
    return ok ? FLOW_NEXT : FLOW_FAILED;
}

jinja_flow jinja_exec(jinja_run *run, const jinja_node *node, jinja_scope *scope)
{
    if (!jinja_steps(run, 1) || !jinja_enter(run))
        return FLOW_FAILED;
    run->line = node->line;
    jinja_flow flow;
    switch ((jinja_node_kind)node->kind) {
    case NODE_BODY:
        flow = exec_body(run, node, scope);
        break;
    case NODE_OUTPUT:
        flow = flow_of(exec_output(run, node, scope));
        break;
    case NODE_IF:
        flow = exec_if(run, node, scope);
        break;
    case NODE_FOR:
        flow = exec_for(run, node, scope);
        break;
    case NODE_SET:
        flow = flow_of(exec_set(run, node, scope));
        break;
    case NODE_SET_BLOCK:
        flow = flow_of(exec_set_block(run, node, scope));
        break;
    case NODE_MACRO:
        flow = flow_of(exec_macro(run, node, scope));
        break;
    case NODE_BREAK:
        flow = FLOW_BREAK;
        break;
    case NODE_CONTINUE:
        flow = FLOW_CONTINUE;
        break;
    default:
        flow = flow_of(jinja_fail(run, "a statement of an unknown kind"));
    }
    jinja_leave(run);
    return flow;
}
