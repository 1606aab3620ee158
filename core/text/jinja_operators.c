/* jinja_operators: arithmetic, comparison and slices, as Python has them; integers that outgrow 64 bits are errors. */
#include "text/jinja.h"

#include <math.h>
#include <string.h>

static const char *spelling(uint8_t op)
{
    switch (op) {
    case '+':
        return "+";
    case '-':
        return "-";
    case '*':
        return "*";
    case '/':
        return "/";
    case '%':
        return "%";
    case '<':
        return "<";
    case '>':
        return ">";
    case TOKEN_POWER:
        return "**";
    case TOKEN_FLOOR_DIVIDE:
        return "//";
    case TOKEN_AT_LEAST:
        return ">=";
    case TOKEN_AT_MOST:
        return "<=";
    default:
        return "?";
    }
}

static bool fail_operands(jinja_run *run, uint8_t op, jinja_value a, jinja_value b)
{
    if (a.kind == JINJA_UNDEFINED || b.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, a.kind == JINJA_UNDEFINED ? a : b);
    if (op == '+' && a.kind == JINJA_TEXT)
        return jinja_fail(run, "can only concatenate str (not \"%s\") to str", jinja_type_name(b));
    return jinja_fail(run, "unsupported operand types for %s: '%s' and '%s'", spelling(op), jinja_type_name(a),
                      jinja_type_name(b));
}

static bool fail_large(jinja_run *run)
{
    return jinja_fail(run, "a number is too large");
}

static bool power(jinja_run *run, int64_t base, int64_t exponent, int64_t *out)
{
    *out = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(*out, base, out))
            return fail_large(run);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base))
            return fail_large(run);
    }
    return true;
}

/* // and % round towards minus infinity. */
static bool divide_integers(jinja_run *run, uint8_t op, int64_t x, int64_t y, int64_t *out)
{
    if (y == 0)
        return jinja_fail(run, "division by zero");
    if (y == -1) { /* the quotient may overflow */
        if (op == '%')
            *out = 0;
        else if (__builtin_sub_overflow(0, x, out))
            return fail_large(run);
        return true;
    }
    int64_t quotient = x / y, rest = x % y;
    if (rest && (rest < 0) != (y < 0)) {
        quotient--;
        rest += y;
    }
    *out = op == '%' ? rest : quotient;
    return true;
}

static bool integers(jinja_run *run, uint8_t op, int64_t x, int64_t y, jinja_value *out)
{
    int64_t result = 0;
    bool overflow = false;
    switch (op) {
    case '+':
        overflow = __builtin_add_overflow(x, y, &result);
        break;
    case '-':
        overflow = __builtin_sub_overflow(x, y, &result);
        break;
    case '*':
        overflow = __builtin_mul_overflow(x, y, &result);
        break;
    case TOKEN_POWER:
        if (!power(run, x, y, &result))
            return false;
        break;
    default:
        if (!divide_integers(run, op, x, y, &result))
            return false;
    }
    *out = jinja_int(result);
    return !overflow || fail_large(run);
}

static bool reals(jinja_run *run, uint8_t op, double x, double y, jinja_value *out)
{
    if (y == 0.0 && (op == '/' || op == '%' || op == TOKEN_FLOOR_DIVIDE))
        return jinja_fail(run, "division by zero");
    double result = 0;
    switch (op) {
    case '+':
        result = x + y;
        break;
    case '-':
        result = x - y;
        break;
    case '*':
        result = x * y;
        break;
    case '/':
        result = x / y;
        break;
    case TOKEN_POWER:
        result = pow(x, y);
        break;
    case TOKEN_FLOOR_DIVIDE:
        result = floor(x / y);
        break;
    default:
        result = fmod(x, y);
        if (result != 0.0 && (result < 0) != (y < 0))
            result += y;
    }
    *out = jinja_float(result);
    return true;
}

static bool numbers(jinja_run *run, uint8_t op, jinja_value a, jinja_value b, jinja_value *out)
{
    int64_t x, y;
    bool whole = jinja_as_int(a, &x) && jinja_as_int(b, &y) && op != '/' && (op != TOKEN_POWER || y >= 0);
    if (whole ? !integers(run, op, x, y, out) : !reals(run, op, jinja_as_float(a), jinja_as_float(b), out))
        return false;
    out->trusted = a.trusted && b.trusted;
    return true;
}

static bool join_lists(jinja_run *run, jinja_value a, jinja_value b, jinja_value *out)
{
    const jinja_list *x = a.as.list, *y = b.as.list;
    jinja_value *items = jinja_alloc(run, x->count + y->count, sizeof *items);
    if (!items || !jinja_steps(run, x->count + y->count) || !jinja_make_list(run, items, x->count + y->count, out))
        return false;
    if (x->count)
        memcpy(items, x->items, x->count * sizeof *items);
    if (y->count)
        memcpy(items + x->count, y->items, y->count * sizeof *items);
    out->kind = a.kind;
    return true;
}

static bool join_texts(jinja_run *run, const jinja_text *a, const jinja_text *b, jinja_value *out)
{
    jinja_builder builder = {0};
    return jinja_put_text(run, &builder, a) && jinja_put_text(run, &builder, b) && jinja_finish(run, &builder, out);
}

static bool repeat(jinja_run *run, jinja_value v, int64_t times, jinja_value *out)
{
    jinja_builder builder = {0};
    jinja_values values = {0};
    for (int64_t i = 0; i < times; i++) {
        if (!jinja_steps(run, 1) || (v.kind == JINJA_TEXT && !jinja_put_text(run, &builder, v.as.text)))
            return false;
        for (size_t k = 0; v.kind != JINJA_TEXT && k < v.as.list->count; k++)
            if (!jinja_steps(run, 1) || !jinja_push(run, &values, v.as.list->items[k]))
                return false;
    }
    if (v.kind == JINJA_TEXT)
        return jinja_finish(run, &builder, out);
    if (!jinja_make_list(run, values.items, values.count, out))
        return false;
    out->kind = v.kind;
    return true;
}

bool jinja_binary(jinja_run *run, uint8_t op, jinja_value a, jinja_value b, jinja_value *out)
{
    int64_t times;
    if (jinja_is_number(a) && jinja_is_number(b))
        return numbers(run, op, a, b, out);
    if (op == '+' && a.kind == JINJA_TEXT && b.kind == JINJA_TEXT)
        return join_texts(run, a.as.text, b.as.text, out);
    if (op == '+' && jinja_is_list(a) && a.kind == b.kind)
        return join_lists(run, a, b, out);
    if (op == '*' && (a.kind == JINJA_TEXT || jinja_is_list(a)) && jinja_as_int(b, &times))
        return repeat(run, a, times, out);
    if (op == '*' && (b.kind == JINJA_TEXT || jinja_is_list(b)) && jinja_as_int(a, &times))
        return repeat(run, b, times, out);
    return fail_operands(run, op, a, b);
}

bool jinja_negate(jinja_run *run, jinja_value a, bool plus, jinja_value *out)
{
    int64_t n;
    if (a.kind == JINJA_FLOAT) {
        *out = jinja_float(plus ? a.as.number : -a.as.number);
    } else if (jinja_as_int(a, &n)) {
        if (!plus && __builtin_sub_overflow(0, n, &n))
            return fail_large(run);
        *out = jinja_int(n);
    } else if (a.kind == JINJA_UNDEFINED) {
        return jinja_fail_undefined(run, a);
    } else {
        return jinja_fail(run, "bad operand type for unary %s: '%s'", plus ? "+" : "-", jinja_type_name(a));
    }
    out->trusted = a.trusted;
    return true;
}

bool jinja_compare(jinja_run *run, uint8_t op, jinja_value a, jinja_value b, bool *out)
{
    int order = 0;
    bool ok;
    switch (op) {
    case TOKEN_EQUAL:
        return jinja_equal(run, a, b, out);
    case TOKEN_NOT_EQUAL:
        ok = jinja_equal(run, a, b, out);
        *out = !*out;
        return ok;
    case TOKEN_IN:
        return jinja_contains(run, a, b, out);
    case TOKEN_NOT_IN:
        ok = jinja_contains(run, a, b, out);
        *out = !*out;
        return ok;
    default:
        break;
    }
    if (!jinja_order(run, a, b, spelling(op), &order))
        return false;
    *out = order != 2 && (op == '<' ? order < 0 : op == '>' ? order > 0 : op == TOKEN_AT_LEAST ? order >= 0 : order <= 0);
    return true;
}

/* A bound of a slice of `count` elements as Python clamps it; none is `fallback`. */
static bool slice_bound(jinja_run *run, jinja_value v, int64_t count, int64_t fallback, bool backwards, int64_t *out)
{
    if (v.kind == JINJA_NONE) {
        *out = fallback;
        return true;
    }
    if (!jinja_as_int(v, out))
        return v.kind == JINJA_UNDEFINED ? jinja_fail_undefined(run, v)
                                         : jinja_fail(run, "slice indices must be integers or None");
    if (*out < 0 && (*out += count) < 0)
        *out = backwards ? -1 : 0;
    else if (*out >= count)
        *out = backwards ? count - 1 : count;
    return true;
}

static bool slice_text_by(jinja_run *run, const jinja_text *text, int64_t from, int64_t to, int64_t step, jinja_value *out)
{
    const jinja_value *characters;
    size_t count;
    jinja_builder b = {0};
    if (!jinja_iterate(run, jinja_from_text(text), &characters, &count))
        return false;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        if (!jinja_put_text(run, &b, characters[i].as.text))
            return false;
    return jinja_finish(run, &b, out);
}

static bool slice_list_by(jinja_run *run, jinja_value v, int64_t from, int64_t to, int64_t step, jinja_value *out)
{
    jinja_values values = {0};
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        if (!jinja_steps(run, 1) || !jinja_push(run, &values, v.as.list->items[i]))
            return false;
    if (!jinja_make_list(run, values.items, values.count, out))
        return false;
    out->kind = v.kind;
    return true;
}

bool jinja_slice(jinja_run *run, jinja_value v, const jinja_value bounds[3], jinja_value *out)
{
    int64_t count, from, to, step = 1;
    if (v.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, v);
    if (v.kind != JINJA_TEXT && !jinja_is_list(v))
        return jinja_fail(run, "'%s' object cannot be sliced", jinja_type_name(v));
    if (bounds[2].kind != JINJA_NONE && !jinja_as_int(bounds[2], &step))
        return jinja_fail(run, "slice indices must be integers or None");
    if (step == 0)
        return jinja_fail(run, "slice step cannot be zero");
    bool backwards = step < 0;
    if (!jinja_length(run, v, &count) || !slice_bound(run, bounds[0], count, backwards ? count - 1 : 0, backwards, &from) ||
        !slice_bound(run, bounds[1], count, backwards ? -1 : count, backwards, &to))
        return false;
    /* One step past the end is as good as many, and cannot overflow. */
    step = step > count ? count + 1 : step < -count ? -count - 1 : step;
    if (v.kind == JINJA_TEXT && step == 1) {
        size_t first = jinja_character_offset(v.as.text, (size_t)from);
        size_t last = to > from ? jinja_character_offset(v.as.text, (size_t)to) : first;
        return jinja_steps(run, v.as.text->length / 64) && jinja_slice_text(run, v.as.text, first, last, out);
    }
    if (v.kind == JINJA_TEXT)
        return slice_text_by(run, v.as.text, from, to, step, out);
    if (step != 1)
        return slice_list_by(run, v, from, to, step, out);
    bool ok =
        jinja_make_list(run, v.as.list->items ? v.as.list->items + from : NULL, to > from ? (size_t)(to - from) : 0, out);
    out->kind = v.kind;
    return ok;
}
