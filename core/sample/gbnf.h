/* gbnf: the grammar notation that clients of comparable servers send, as rules.
 *
 *     root ::= "yes" | "no" [!.]{0,3}      # rules by name; the answer is what fits root
 *     list ::= "[" item ("," item)* "]"
 *
 * Taken: "texts" and [classes] with the escapes \n \r \t \\ \" \[ \] \- \xHH \uHHHH \UHHHHHHHH, [^…], `.` (every character),
 * groups, |, * + ? {n} {n,} {n,m}, comments. Names are letters, digits, - and _. A rule ends with its line, unless a group is
 * open or a | stands at the line's end or at the next one's beginning. Left recursion is refused. */
#ifndef BACKPLANE_SAMPLE_GBNF_H
#define BACKPLANE_SAMPLE_GBNF_H

#include "sample/rules.h"

/* Sets *root. A failure is remembered in the rules. */
void gbnf_parse(rules *r, const char *text, size_t bytes, uint32_t *root);

#endif
