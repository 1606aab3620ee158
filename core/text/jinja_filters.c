/* jinja_filters: the table of filters, how library functions read their arguments, and the filters of text and numbers. */
#include "text/jinja.h"

#include <math.h>
#include <string.h>

/* --- arguments -------------------------------------------------------------------------------------------------------- */

bool jinja_arguments(jinja_run *run, const jinja_call *call, const char *what, const char *const *names, size_t required,
                     jinja_value *out)
{
    size_t count = 0;
    for (; names[count]; count++)
        out[count] = count < call->count ? call->arguments[count] : (jinja_value){.kind = JINJA_ABSENT};
    if (call->count > count)
        return jinja_fail(run, "%s takes at most %zu arguments, not %zu", what, count, call->count);
    for (size_t i = 0; i < call->named_count; i++) {
        const jinja_text *name = call->named[i].key.as.text;
        size_t k = 0;
        while (names[k] && !jinja_name_is((jinja_name){name->bytes, name->length}, names[k]))
            k++;
        if (!names[k] || out[k].kind != JINJA_ABSENT)
            return jinja_fail(run, "%s takes no argument %.*s%s", what, (int)(name->length < 64 ? name->length : 64),
                              name->bytes, names[k] ? " twice" : "");
        out[k] = call->named[i].value;
    }
    for (size_t i = 0; i < required; i++)
        if (out[i].kind == JINJA_ABSENT)
            return jinja_fail(run, "%s needs the argument %s", what, names[i]);
    return true;
}

bool jinja_expect_text(jinja_run *run, jinja_value v, const char *what, const jinja_text **out)
{
    if (v.kind == JINJA_TEXT) {
        *out = v.as.text;
        return true;
    }
    if (v.kind == JINJA_UNDEFINED)
        jinja_fail_undefined(run, v);
    else
        jinja_fail(run, "%s needs a string, not %s", what, jinja_type_name(v));
    return false;
}

/* A number that may be left out. */
static bool optional_int(jinja_run *run, jinja_value v, const char *what, int64_t fallback, int64_t *out)
{
    *out = fallback;
    if (v.kind == JINJA_ABSENT || v.kind == JINJA_NONE || jinja_as_int(v, out))
        return true;
    return jinja_fail(run, "%s needs a whole number, not %s", what, jinja_type_name(v));
}

static bool no_arguments(jinja_run *run, const jinja_call *call, const char *what)
{
    static const char *const none[] = {NULL};
    jinja_value unused;
    return jinja_arguments(run, call, what, none, 0, &unused);
}

/* --- text ------------------------------------------------------------------------------------------------------------- */

static bool filter_trim(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"chars", NULL};
    jinja_value chars;
    const jinja_text *text, *set = NULL;
    if (!jinja_arguments(run, call, "trim", names, 0, &chars) || !jinja_to_text(run, call->self, &text))
        return false;
    if (chars.kind != JINJA_ABSENT && chars.kind != JINJA_NONE && !jinja_expect_text(run, chars, "trim", &set))
        return false;
    return jinja_strip(run, text, set, true, true, out);
}

static bool change_case(jinja_run *run, const jinja_call *call, const char *what, jinja_case how, jinja_value *out)
{
    const jinja_text *text;
    return no_arguments(run, call, what) && jinja_to_text(run, call->self, &text) && jinja_change_case(run, text, how, out);
}

static bool filter_upper(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return change_case(run, call, "upper", CASE_UPPER, out);
}

static bool filter_lower(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return change_case(run, call, "lower", CASE_LOWER, out);
}

static bool filter_title(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return change_case(run, call, "title", CASE_TITLE, out);
}

static bool filter_capitalize(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return change_case(run, call, "capitalize", CASE_CAPITALIZE, out);
}

static bool filter_replace(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"old", "new", "count", NULL};
    jinja_value given[3];
    const jinja_text *text, *old, *with;
    int64_t limit;
    return jinja_arguments(run, call, "replace", names, 2, given) && jinja_to_text(run, call->self, &text) &&
           jinja_to_text(run, given[0], &old) && jinja_to_text(run, given[1], &with) &&
           optional_int(run, given[2], "replace", -1, &limit) && jinja_replace(run, text, old, with, limit, out);
}

static bool filter_string(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    const jinja_text *text;
    if (!no_arguments(run, call, "string") || !jinja_to_text(run, call->self, &text))
        return false;
    *out = jinja_from_text(text);
    return true;
}

static bool put_indented(jinja_run *run, jinja_builder *b, const jinja_text *text, const jinja_text *margin, bool first,
                         bool blank)
{
    for (size_t from = 0; from <= text->length;) {
        const char *newline = from < text->length ? memchr(text->bytes + from, '\n', text->length - from) : NULL;
        size_t end = newline ? (size_t)(newline - text->bytes) : text->length;
        bool wanted = from == 0 ? first : blank || end > from;
        if (!jinja_steps(run, 1) || (wanted && !jinja_put_text(run, b, margin)) ||
            !jinja_put_slice(run, b, text, from, newline ? end + 1 : end))
            return false;
        from = end + 1;
    }
    return true;
}

static bool filter_indent(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"width", "first", "blank", NULL};
    static const char spaces[] = "                                                                ";
    jinja_value given[3];
    const jinja_text *text;
    int64_t width = 4;
    jinja_builder b = {0};
    if (!jinja_arguments(run, call, "indent", names, 0, given) || !jinja_expect_text(run, call->self, "indent", &text))
        return false;
    jinja_text margin = {.bytes = spaces, .trusted = true};
    if (given[0].kind == JINJA_TEXT) {
        margin = *given[0].as.text;
    } else {
        if (!optional_int(run, given[0], "indent", 4, &width))
            return false;
        if (width < 0 || width > (int64_t)sizeof spaces - 1)
            return jinja_fail(run, "indent's width must be from 0 to %zu", sizeof spaces - 1);
        margin.length = (size_t)width;
    }
    return put_indented(run, &b, text, &margin, jinja_truth(given[1]), jinja_truth(given[2])) && jinja_finish(run, &b, out);
}

/* --- numbers ---------------------------------------------------------------------------------------------------------- */

/* The number that a string spells, with blanks around it; false where it spells none. */
static bool number_in_text(jinja_run *run, const jinja_text *text, double *out)
{
    jinja_value stripped;
    if (!jinja_strip(run, text, NULL, true, true, &stripped))
        return false;
    const jinja_text *digits = stripped.as.text;
    size_t from = digits->length && digits->bytes[0] == '+';
    return digits->length <= 64 && jinja_parse_float(digits->bytes + from, digits->length - from, out);
}

static bool filter_int(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"default", NULL};
    jinja_value v = call->self, fallback;
    int64_t n;
    double real = NAN;
    if (!jinja_arguments(run, call, "int", names, 0, &fallback))
        return false;
    if (v.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, v);
    if (v.kind == JINJA_FLOAT)
        real = v.as.number;
    else if (v.kind == JINJA_TEXT && !number_in_text(run, v.as.text, &real))
        real = NAN;
    if (jinja_as_int(v, &n))
        *out = jinja_int(n);
    else if (fabs(real) < 0x1p62) /* NAN is not */
        *out = jinja_int((int64_t)real);
    else
        *out = fallback.kind == JINJA_ABSENT ? jinja_int(0) : fallback;
    out->trusted = v.kind != JINJA_TEXT && v.trusted;
    return run->status == BP_OK;
}

static bool filter_float(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"default", NULL};
    jinja_value v = call->self, fallback;
    double real;
    if (!jinja_arguments(run, call, "float", names, 0, &fallback))
        return false;
    if (v.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, v);
    if (jinja_is_number(v))
        *out = jinja_float(jinja_as_float(v));
    else if (v.kind == JINJA_TEXT && number_in_text(run, v.as.text, &real))
        *out = jinja_float(real);
    else
        *out = fallback.kind == JINJA_ABSENT ? jinja_float(0) : fallback;
    out->trusted = v.kind != JINJA_TEXT && v.trusted;
    return run->status == BP_OK;
}

static bool need_number(jinja_run *run, jinja_value v, const char *what)
{
    if (v.kind == JINJA_UNDEFINED)
        return jinja_fail_undefined(run, v);
    return jinja_is_number(v) || jinja_fail(run, "%s needs a number, not %s", what, jinja_type_name(v));
}

static bool filter_abs(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    if (!no_arguments(run, call, "abs") || !need_number(run, call->self, "abs"))
        return false;
    return jinja_negate(run, call->self, !(jinja_as_float(call->self) < 0), out);
}

static bool filter_round(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"precision", "method", NULL};
    jinja_value given[2];
    int64_t precision;
    if (!jinja_arguments(run, call, "round", names, 0, given) || !need_number(run, call->self, "round") ||
        !optional_int(run, given[0], "round", 0, &precision))
        return false;
    if (precision < -15 || precision > 15)
        return jinja_fail(run, "round's precision must be from -15 to 15");
    jinja_name method = given[1].kind == JINJA_TEXT ? (jinja_name){given[1].as.text->bytes, given[1].as.text->length}
                                                    : (jinja_name){"common", 6};
    int64_t whole;
    if (jinja_as_int(call->self, &whole) && precision >= 0 && jinja_name_is(method, "common")) {
        *out = jinja_int(whole);
        out->trusted = call->self.trusted;
        return true;
    }
    double scale = pow(10, (double)precision), n = jinja_as_float(call->self) * scale;
    if (jinja_name_is(method, "ceil"))
        n = ceil(n);
    else if (jinja_name_is(method, "floor"))
        n = floor(n);
    else if (jinja_name_is(method, "common"))
        n = nearbyint(n); /* half to even, as Python rounds */
    else
        return jinja_fail(run, "round's method must be common, ceil or floor");
    *out = jinja_float(n / scale);
    out->trusted = call->self.trusted;
    return true;
}

/* --- any value -------------------------------------------------------------------------------------------------------- */

static bool filter_length(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    int64_t length;
    if (!no_arguments(run, call, "length") || !jinja_length(run, call->self, &length))
        return false;
    *out = jinja_int(length);
    return true;
}

static bool filter_default(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"default_value", "boolean", NULL};
    jinja_value given[2];
    if (!jinja_arguments(run, call, "default", names, 0, given))
        return false;
    bool missing = call->self.kind == JINJA_UNDEFINED || (jinja_truth(given[1]) && !jinja_truth(call->self));
    if (!missing)
        *out = call->self;
    else if (given[0].kind != JINJA_ABSENT)
        *out = given[0];
    else
        return jinja_make_text(run, "", 0, true, out);
    return true;
}

static bool filter_safe(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    *out = call->self;
    return no_arguments(run, call, "safe");
}

static const jinja_entry filters[] = {
    {"trim", filter_trim},
    {"tojson", jinja_filter_tojson},
    {"length", filter_length},
    {"count", filter_length},
    {"default", filter_default},
    {"d", filter_default},
    {"string", filter_string},
    {"replace", filter_replace},
    {"upper", filter_upper},
    {"lower", filter_lower},
    {"title", filter_title},
    {"capitalize", filter_capitalize},
    {"indent", filter_indent},
    {"int", filter_int},
    {"float", filter_float},
    {"abs", filter_abs},
    {"round", filter_round},
    {"safe", filter_safe},
    {NULL, NULL},
};

const jinja_entry *jinja_find_entry(const jinja_entry *table, jinja_name name)
{
    for (; table->name; table++)
        if (jinja_name_is(name, table->name))
            return table;
    return NULL;
}

const jinja_entry *jinja_find_filter(jinja_name name)
{
    const jinja_entry *entry = jinja_find_entry(filters, name);
    return entry ? entry : jinja_find_entry(jinja_list_filters, name);
}
