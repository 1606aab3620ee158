#include "sample/json_number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 24 };
static const uint64_t LARGEST = 9999999999999999u; /* of the integer part where there is no bound */

static expression digit(rules *r, char from, char to)
{
    byte_set set = {0};
    if (from <= to)
        byte_set_add(&set, (unsigned char)from, (unsigned char)to);
    return rules_bytes(r, &set);
}

static expression digits(rules *r, uint32_t least, uint32_t most)
{
    return rules_repeat(r, digit(r, '0', '9'), least, most);
}

/* --- integers -------------------------------------------------------------------------------------------------------------- */

/* Digit strings of one length that are at least `low` (NULL: any) and at most `high`. */
static expression between(rules *r, const char *low, const char *high, uint32_t length)
{
    if (length == 0)
        return RULES_EMPTY;
    if (!low && !high)
        return digits(r, length, length);
    char from = low ? *low : '0', to = high ? *high : '9';
    if (from == to)
        return rules_sequence(r, digit(r, from, to), between(r, low ? low + 1 : NULL, high ? high + 1 : NULL, length - 1));
    expression e = RULES_NEVER;
    if (low)
        e = rules_sequence(r, digit(r, from, from), between(r, low + 1, NULL, length - 1));
    if (high)
        e = rules_choice(r, e, rules_sequence(r, digit(r, to, to), between(r, NULL, high + 1, length - 1)));
    char inner_from = (char)(low ? from + 1 : from), inner_to = (char)(high ? to - 1 : to);
    if (inner_from <= inner_to)
        e = rules_choice(r, e, rules_sequence(r, digit(r, inner_from, inner_to), digits(r, length - 1, length - 1)));
    return e;
}

static expression whole_between(rules *r, uint64_t least, uint64_t most)
{
    expression e = RULES_NEVER;
    uint64_t first = 0, last = 9; /* of all numbers with `length` digits */
    for (uint32_t length = 1; length <= 20; length++) {
        uint64_t from = least > first ? least : first, to = most < last ? most : last;
        char low[DIGITS], high[DIGITS];
        if (from <= to) {
            snprintf(low, sizeof low, "%llu", (unsigned long long)from);
            snprintf(high, sizeof high, "%llu", (unsigned long long)to);
            e = rules_choice(r, e, between(r, low, high, length));
        }
        if (last >= most || length == 20)
            break;
        first = last + 1;
        last = last > UINT64_MAX / 10 - 1 ? UINT64_MAX : last * 10 + 9;
    }
    return e;
}

static uint64_t magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

expression json_integer_between(rules *r, int64_t least, int64_t most)
{
    expression e = RULES_NEVER;
    if (least > most)
        return e;
    if (most >= 0)
        e = whole_between(r, least > 0 ? (uint64_t)least : 0, (uint64_t)most);
    if (least < 0) {
        expression below = whole_between(r, most < 0 ? magnitude(most) : 1, magnitude(least));
        e = rules_choice(r, e, rules_sequence(r, rules_literal(r, "-", 1), below));
    }
    return e;
}

/* --- numbers ---------------------------------------------------------------------------------------------------------------- */

/* A bound that is not negative, in decimal: no zeros at the fraction's end. */
typedef struct decimal {
    uint64_t whole;
    char fraction[DIGITS];
    uint32_t count; /* of the fraction's digits */
    bool open;      /* the bound itself is not in */
} decimal;

static bool to_decimal(double value, bool open, decimal *out)
{
    char text[64];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, value);
        if (strtod(text, NULL) == value)
            break;
    }
    char *mark = strchr(text, 'e');
    int exponent = mark ? (int)strtol(mark + 1, NULL, 10) : 0;
    if (!mark || value > (double)LARGEST || (value != 0 && exponent < -(DIGITS - 1)))
        return false;
    *mark = '\0';
    *out = (decimal){.open = open};
    int places = exponent; /* of the digit at hand */
    for (int zero = -1; zero > exponent && value != 0; zero--)
        out->fraction[out->count++] = '0';
    for (const char *d = text; *d; d++) {
        if (*d == '.')
            continue;
        if (places >= 0)
            out->whole = out->whole * 10 + (uint64_t)(*d - '0');
        else if (out->count + 1 < DIGITS)
            out->fraction[out->count++] = *d;
        else
            return false;
        places--;
    }
    for (; places >= 0; places--)
        out->whole *= 10;
    while (out->count && out->fraction[out->count - 1] == '0')
        out->count--;
    return true;
}

/* A fraction's digits so far are those of low, or of high, or of both: NULL where they are not. */
typedef struct fraction {
    const decimal *low, *high;
    uint32_t at;
} fraction;

/* Whether the fraction may end here: what follows is zeros. */
static bool may_stop(const fraction *f)
{
    return !(f->low && (f->at < f->low->count || f->low->open)) && !(f->high && f->at >= f->high->count && f->high->open);
}

static expression fraction_rest(rules *r, fraction f);

/* At least one more digit. */
static expression fraction_digit(rules *r, fraction f)
{
    char from = f.low && f.at < f.low->count ? f.low->fraction[f.at] : '0';
    char to = !f.high ? '9' : f.at < f.high->count ? f.high->fraction[f.at] : '0';
    fraction next = {.at = f.at + 1};
    if (f.low && f.high && from == to) {
        next.low = f.low;
        next.high = f.high;
        return rules_sequence(r, digit(r, from, to), fraction_rest(r, next));
    }
    expression e = RULES_NEVER;
    char inner_from = from, inner_to = to;
    if (f.low) {
        next.low = f.low;
        e = rules_sequence(r, digit(r, from, from), fraction_rest(r, next));
        inner_from++;
    }
    if (f.high && from <= to) {
        next = (fraction){.high = f.high, .at = f.at + 1};
        e = rules_choice(r, e, rules_sequence(r, digit(r, to, to), fraction_rest(r, next)));
        inner_to--;
    }
    if (inner_from <= inner_to)
        e = rules_choice(r, e, rules_sequence(r, digit(r, inner_from, inner_to), digits(r, 0, JSON_FRACTION_DIGITS)));
    return e;
}

/* Any number of further digits. */
static expression fraction_rest(rules *r, fraction f)
{
    bool low_done = !f.low || f.at >= f.low->count, high_done = !f.high || f.at >= f.high->count;
    if (f.low && low_done && !f.low->open)
        f.low = NULL;
    if (!f.low && !f.high)
        return digits(r, 0, JSON_FRACTION_DIGITS);
    if (low_done && high_done) {
        expression zeros = rules_repeat(r, digit(r, '0', '0'), 0, JSON_FRACTION_DIGITS);
        if (f.high) /* as high so far: nothing may be added to it */
            return f.low || f.high->open ? RULES_NEVER : zeros;
        return rules_sequence(r, rules_sequence(r, zeros, digit(r, '1', '9')), digits(r, 0, JSON_FRACTION_DIGITS));
    }
    expression more = fraction_digit(r, f);
    return may_stop(&f) ? rules_choice(r, more, RULES_EMPTY) : more;
}

/* Nothing, or a point and digits. */
static expression fraction_part(rules *r, const decimal *low, const decimal *high)
{
    fraction f = {.low = low, .high = high};
    expression e = rules_sequence(r, rules_literal(r, ".", 1), fraction_digit(r, f));
    return may_stop(&f) ? rules_choice(r, e, RULES_EMPTY) : e;
}

/* Numbers without a sign. */
static expression unsigned_between(rules *r, const decimal *low, const decimal *high)
{
    if (low->whole > high->whole)
        return RULES_NEVER;
    if (low->whole == high->whole) {
        int order = strncmp(low->fraction, high->fraction, DIGITS);
        if (order > 0 || (order == 0 && (low->open || high->open)))
            return RULES_NEVER;
        return rules_sequence(r, whole_between(r, low->whole, low->whole), fraction_part(r, low, high));
    }
    expression e = rules_sequence(r, whole_between(r, low->whole, low->whole), fraction_part(r, low, NULL));
    e = rules_choice(r, e, rules_sequence(r, whole_between(r, high->whole, high->whole), fraction_part(r, NULL, high)));
    if (low->whole + 1 < high->whole)
        e = rules_choice(r, e, rules_sequence(r, whole_between(r, low->whole + 1, high->whole - 1), fraction_part(r, NULL, NULL)));
    return e;
}

bool json_number_between(rules *r, const number_bounds *b, expression *out)
{
    double least = b->has_least ? b->least : -(double)LARGEST, most = b->has_most ? b->most : (double)LARGEST;
    bool above = b->has_least && b->above, below = b->has_most && b->below;
    decimal low, high;
    *out = RULES_NEVER;
    if (least > most)
        return true;
    if (most >= 0) {
        if (!to_decimal(least > 0 ? least : 0, least >= 0 && above, &low) || !to_decimal(most, below, &high))
            return false;
        *out = unsigned_between(r, &low, &high);
    }
    if (least < 0) {
        if (!to_decimal(most < 0 ? -most : 0, most >= 0 || below, &low) || !to_decimal(-least, above, &high))
            return false;
        *out = rules_choice(r, *out, rules_sequence(r, rules_literal(r, "-", 1), unsigned_between(r, &low, &high)));
    }
    return true;
}

expression json_number_any(rules *r)
{
    expression sign = rules_optional(r, rules_literal(r, "-", 1));
    expression whole = rules_choice(r, digit(r, '0', '0'), rules_sequence(r, digit(r, '1', '9'), digits(r, 0, JSON_INTEGER_DIGITS - 1)));
    expression point = rules_optional(r, rules_sequence(r, rules_literal(r, ".", 1), digits(r, 1, JSON_FRACTION_DIGITS)));
    byte_set e = {0}, signs = {0};
    byte_set_add(&e, 'E', 'E');
    byte_set_add(&e, 'e', 'e');
    byte_set_add(&signs, '+', '+');
    byte_set_add(&signs, '-', '-');
    expression exponent = rules_sequence(r, rules_sequence(r, rules_bytes(r, &e), rules_optional(r, rules_bytes(r, &signs))), digits(r, 1, 2));
    return rules_sequence(r, rules_sequence(r, rules_sequence(r, sign, whole), point), rules_optional(r, exponent));
}
