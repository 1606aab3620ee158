/* golden: the committed hashes, tests/golden/hashes.txt: what any machine, compiler and backend must arrive at.
 *
 * A line is a name, 16 hexadecimal digits and what they cover, in columns. Checked as subjects are run, or written anew. */
#ifndef PROOF_GOLDEN_H
#define PROOF_GOLDEN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct golden golden;

golden *golden_open(const char *path); /* of an absent file: an empty one */
/* Notes the hash; false, with a sentence on standard error, if the file has another or none. */
bool golden_check(golden *g, const char *name, uint64_t hash);
void golden_note(golden *g, const char *name, uint64_t hash, const char *covers);
/* Writes what was noted over the file's own lines of those names, sorted by name. */
bool golden_write(const golden *g);
void golden_close(golden *g);

#endif
