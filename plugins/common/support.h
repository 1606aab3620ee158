/* Small things every file of the backend uses: errors as one sentence, and checked arithmetic on sizes. */
#ifndef PLUGINS_SUPPORT_H
#define PLUGINS_SUPPORT_H

#include <backplane/backend.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

/* Fills `error` (which may be NULL) and returns `code`. */
static inline bp_status fail(bp_error *error, bp_status code, const char *format, ...) BP_PRINTF(3, 4);
static inline bp_status fail(bp_error *error, bp_status code, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        error->code = code;
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return code;
}

/* SIZE_MAX stands for "does not fit", and every operation keeps it. */
static inline size_t size_multiply(size_t a, size_t b)
{
    size_t product;
    if (a == SIZE_MAX || b == SIZE_MAX || __builtin_mul_overflow(a, b, &product))
        return SIZE_MAX;
    return product;
}

static inline size_t size_add(size_t a, size_t b)
{
    size_t sum;
    if (a == SIZE_MAX || b == SIZE_MAX || __builtin_add_overflow(a, b, &sum))
        return SIZE_MAX;
    return sum;
}

/* `unit` is a power of two. */
static inline size_t size_round_up(size_t a, size_t unit)
{
    size_t sum = size_add(a, unit - 1);
    return sum == SIZE_MAX ? SIZE_MAX : sum & ~(unit - 1);
}

static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}
static inline size_t size_max(size_t a, size_t b)
{
    return a > b ? a : b;
}
static inline size_t divide_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

#endif
