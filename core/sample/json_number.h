/* json_number: numbers between bounds, as grammar, digit by digit.
 *
 * Integers are exact over all of int64. Numbers with bounds are written without an exponent and with at most
 * JSON_FRACTION_DIGITS digits after the point beyond those of the bounds. */
#ifndef BACKPLANE_SAMPLE_JSON_NUMBER_H
#define BACKPLANE_SAMPLE_JSON_NUMBER_H

#include "sample/rules.h"

enum { JSON_INTEGER_DIGITS = 18, JSON_FRACTION_DIGITS = 16 };

typedef struct number_bounds {
    bool has_least, has_most, above, below; /* above: least itself is not in; below: most is not */
    double least, most;
} number_bounds;

expression json_integer_between(rules *r, int64_t least, int64_t most);
/* What JSON allows, within digits that a double holds. */
expression json_number_any(rules *r);
/* False where a bound needs more digits than can be compared; *out is not set. */
bool json_number_between(rules *r, const number_bounds *b, expression *out);

#endif
