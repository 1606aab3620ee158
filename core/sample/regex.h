/* regex: regular expressions as grammar: the regular part of what ECMA-262 has.
 *
 * Taken: characters, `.`, [classes], \d \w \s and their complements, \n \t \r \f \v \0 \xHH \uHHHH \u{H…} \cX, escaped
 * punctuation, groups ( ) (?: ) (?<name> ), |, * + ? {n} {n,} {n,m} and their lazy forms, which fit the same texts. The
 * expression is of the whole text: ^ may only stand at the beginning and $ at the end, and neither changes anything.
 * Refused: look-around, back-references, \b, \p, and a repetition of nothing but an unbounded repetition. Classes are ASCII's
 * where ECMA's are; `.` is every character but line ends. */
#ifndef BACKPLANE_SAMPLE_REGEX_H
#define BACKPLANE_SAMPLE_REGEX_H

#include "sample/rules.h"

enum { REGEX_JSON = 1 }; /* the text stands in a JSON string, and is escaped as there */

/* A failure is remembered in the rules; its message begins with `what`. */
expression regex_parse(rules *r, const char *what, const char *pattern, size_t bytes, unsigned flags);

#endif
