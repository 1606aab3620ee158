/* jinja_tests: what stands behind `is`. */
#include "text/jinja.h"

#include <string.h>

static bool verdict(jinja_value *out, bool truth)
{
    *out = jinja_bool(truth);
    return true;
}

/* The tests that only look at the kind take no arguments. */
#define KIND_TEST(name, condition)                                                                                         \
    static bool test_##name(jinja_run *run, const jinja_call *call, jinja_value *out)                                      \
    {                                                                                                                      \
        jinja_value v = call->self;                                                                                        \
        if (call->count || call->named_count)                                                                              \
            return jinja_fail(run, "the test %s takes no argument", #name);                                                \
        return verdict(out, condition);                                                                                    \
    }

KIND_TEST(defined, v.kind != JINJA_UNDEFINED)
KIND_TEST(undefined, v.kind == JINJA_UNDEFINED)
KIND_TEST(none, v.kind == JINJA_NONE)
KIND_TEST(string, v.kind == JINJA_TEXT)
KIND_TEST(number, jinja_is_number(v))
KIND_TEST(integer, v.kind == JINJA_INT)
KIND_TEST(float, v.kind == JINJA_FLOAT)
KIND_TEST(boolean, v.kind == JINJA_BOOL)
KIND_TEST(true, v.kind == JINJA_BOOL && v.as.truth)
KIND_TEST(false, v.kind == JINJA_BOOL && !v.as.truth)
KIND_TEST(mapping, v.kind == JINJA_DICT)
KIND_TEST(callable, v.kind == JINJA_CALLABLE || v.kind == JINJA_UNDEFINED) /* as Python finds Jinja's Undefined */
KIND_TEST(sequence, v.kind == JINJA_TEXT || jinja_is_list(v) || v.kind == JINJA_DICT || v.kind == JINJA_UNDEFINED)
KIND_TEST(iterable, v.kind == JINJA_TEXT || jinja_is_list(v) || v.kind == JINJA_DICT || v.kind == JINJA_UNDEFINED ||
                        v.kind == JINJA_LOOP)

static bool other(jinja_run *run, const jinja_call *call, const char *what, jinja_value *out)
{
    static const char *const names[] = {"other", NULL};
    return jinja_arguments(run, call, what, names, 1, out);
}

static bool compare(jinja_run *run, const jinja_call *call, const char *what, uint8_t op, jinja_value *out)
{
    jinja_value b;
    bool truth;
    return other(run, call, what, &b) && jinja_compare(run, op, call->self, b, &truth) && verdict(out, truth);
}

static bool test_eq(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return compare(run, call, "equalto", TOKEN_EQUAL, out);
}

static bool test_ne(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return compare(run, call, "ne", TOKEN_NOT_EQUAL, out);
}

static bool test_lt(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return compare(run, call, "lessthan", '<', out);
}

static bool test_le(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return compare(run, call, "le", TOKEN_AT_MOST, out);
}

static bool test_gt(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return compare(run, call, "greaterthan", '>', out);
}

static bool test_ge(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return compare(run, call, "ge", TOKEN_AT_LEAST, out);
}

static bool test_in(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return compare(run, call, "in", TOKEN_IN, out);
}

/* The same object: values of the small kinds when they are equal. */
static bool test_sameas(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    jinja_value a = call->self, b;
    bool equal;
    if (!other(run, call, "sameas", &b))
        return false;
    if (a.kind != b.kind)
        return verdict(out, false);
    if (jinja_is_list(a))
        return verdict(out, a.as.list == b.as.list);
    if (a.kind == JINJA_DICT)
        return verdict(out, a.as.dict == b.as.dict);
    return jinja_equal(run, a, b, &equal) && verdict(out, equal);
}

static bool remainder_is(jinja_run *run, jinja_value v, jinja_value divisor, int64_t wanted, jinja_value *out)
{
    jinja_value rest;
    bool equal;
    return jinja_binary(run, '%', v, divisor, &rest) && jinja_equal(run, rest, jinja_int(wanted), &equal) &&
           verdict(out, equal);
}

static bool test_odd(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return remainder_is(run, call->self, jinja_int(2), 1, out);
}

static bool test_even(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return remainder_is(run, call->self, jinja_int(2), 0, out);
}

static bool test_divisibleby(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"num", NULL};
    jinja_value divisor;
    return jinja_arguments(run, call, "divisibleby", names, 1, &divisor) && remainder_is(run, call->self, divisor, 0, out);
}

static const jinja_entry tests[] = {
    {"defined", test_defined},
    {"undefined", test_undefined},
    {"none", test_none},
    {"string", test_string},
    {"number", test_number},
    {"integer", test_integer},
    {"float", test_float},
    {"boolean", test_boolean},
    {"true", test_true},
    {"false", test_false},
    {"mapping", test_mapping},
    {"callable", test_callable},
    {"sequence", test_sequence},
    {"iterable", test_iterable},
    {"eq", test_eq},
    {"equalto", test_eq},
    {"==", test_eq},
    {"ne", test_ne},
    {"!=", test_ne},
    {"lt", test_lt},
    {"lessthan", test_lt},
    {"<", test_lt},
    {"le", test_le},
    {"<=", test_le},
    {"gt", test_gt},
    {"greaterthan", test_gt},
    {">", test_gt},
    {"ge", test_ge},
    {">=", test_ge},
    {"in", test_in},
    {"sameas", test_sameas},
    {"odd", test_odd},
    {"even", test_even},
    {"divisibleby", test_divisibleby},
    {NULL, NULL},
};

const jinja_entry *jinja_find_test(jinja_name name)
{
    return jinja_find_entry(tests, name);
}
