/* jinja_functions: the functions that every template can call. */
#include "text/jinja.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool raise_exception(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"message", NULL};
    jinja_value message;
    const jinja_text *text;
    (void)out;
    if (!jinja_arguments(run, call, "raise_exception", names, 1, &message) || !jinja_to_text(run, message, &text))
        return false;
    return jinja_fail(run, "%.*s", (int)(text->length < 400 ? text->length : 400), text->bytes);
}

/* Today, or the day that the caller fixed; false when that is not a date. */
static bool today(const char *fixed, struct tm *out)
{
    time_t now = time(NULL);
    if (!fixed)
        return localtime_r(&now, out) != NULL;
    *out = (struct tm){0};
    char rest;
    if (sscanf(fixed, "%4d-%2d-%2d%c", &out->tm_year, &out->tm_mon, &out->tm_mday, &rest) != 3)
        return false;
    out->tm_year -= 1900;
    out->tm_mon -= 1;
    time_t then = timegm(out); /* completes the day of the week and of the year */
    return gmtime_r(&then, out) != NULL;
}

static bool strftime_now(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    static const char *const names[] = {"format", NULL};
    jinja_value given;
    const jinja_text *text;
    struct tm when;
    char format[128];
    char *date = jinja_alloc(run, 512, 1);
    if (!date || !jinja_arguments(run, call, "strftime_now", names, 1, &given) ||
        !jinja_expect_text(run, given, "strftime_now", &text))
        return false;
    if (text->length >= sizeof format || memchr(text->bytes, '\0', text->length))
        return jinja_fail(run, "strftime_now's format is too long");
    if (!today(run->date, &when))
        return jinja_fail(run, "the date is not known");
    memcpy(format, text->bytes, text->length);
    format[text->length] = '\0';
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* English names, whatever the program's locale */
    if (plain == (locale_t)0)
        return jinja_fail(run, "the date cannot be written");
    size_t length = strftime_l(date, 512, format, &when, plain);
    freelocale(plain);
    return jinja_make_text(run, date, length, true, out);
}

/* dict(mapping, name=value, …) and namespace(…), which are the same but for what may change. */
static bool make_mapping(jinja_run *run, const jinja_call *call, const char *what, jinja_value *out)
{
    if (call->count > 1 || (call->count == 1 && call->arguments[0].kind != JINJA_DICT))
        return jinja_fail(run, "%s takes one mapping and named values", what);
    const jinja_dict *from = call->count ? call->arguments[0].as.dict : NULL;
    if (!jinja_make_dict(run, (from ? from->count : 0) + call->named_count, out))
        return false;
    for (size_t i = 0; from && i < from->count; i++)
        if (!jinja_dict_set(run, out->as.dict, from->pairs[i].key, from->pairs[i].value))
            return false;
    for (size_t i = 0; i < call->named_count; i++)
        if (!jinja_dict_set(run, out->as.dict, call->named[i].key, call->named[i].value))
            return false;
    return true;
}

static bool make_namespace(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    if (!make_mapping(run, call, "namespace", out))
        return false;
    out->kind = JINJA_NAMESPACE;
    return true;
}

static bool make_dict(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    return make_mapping(run, call, "dict", out);
}

static bool range(jinja_run *run, const jinja_call *call, jinja_value *out)
{
    int64_t bounds[3] = {0, 0, 1};
    if (call->count < 1 || call->count > 3 || call->named_count)
        return jinja_fail(run, "range takes one to three numbers");
    for (size_t i = 0; i < call->count; i++)
        if (!jinja_as_int(call->arguments[i], &bounds[call->count == 1 ? 1 : i]))
            return jinja_fail(run, "range takes whole numbers, not %s", jinja_type_name(call->arguments[i]));
    int64_t from = bounds[0], to = bounds[1], step = bounds[2];
    if (step == 0)
        return jinja_fail(run, "range's step must not be 0");
    jinja_values values = {0};
    for (int64_t n = from; step > 0 ? n < to : n > to;) {
        if (values.count == JINJA_MAX_RANGE)
            return jinja_fail(run, "a range has more than %d numbers", JINJA_MAX_RANGE);
        jinja_value number = jinja_int(n);
        number.trusted = true;
        if (!jinja_steps(run, 1) || !jinja_push(run, &values, number))
            return false;
        if (__builtin_add_overflow(n, step, &n))
            break;
    }
    return jinja_make_list(run, values.items, values.count, out);
}

#define FUNCTION(spelled, called)                                                                                          \
    {                                                                                                                      \
        .name = {spelled, sizeof spelled - 1}, .function = called                                                          \
    }
static const jinja_callable functions[] = {
    FUNCTION("raise_exception", raise_exception),
    FUNCTION("strftime_now", strftime_now),
    FUNCTION("namespace", make_namespace),
    FUNCTION("dict", make_dict),
    FUNCTION("range", range),
};

const jinja_callable *jinja_find_function(jinja_name name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (functions[i].name.length == name.length && memcmp(functions[i].name.bytes, name.bytes, name.length) == 0)
            return &functions[i];
    return NULL;
}
