/* dump: a subject's program, weights, first prompt and what the oracle made of it, for readers in other languages (page.py). */
#ifndef PROOF_DUMP_H
#define PROOF_DUMP_H

#include "subject.h"

/* Writes FOLDER/NAME.json and FOLDER/NAME.bin, NAME being the recipe's. */
void dump_subject(const subject *s, const char *folder);

#endif
