/* plain: lines from a descriptor that is no terminal. One thread. */
#ifndef BACKPLANE_REPL_PLAIN_H
#define BACKPLANE_REPL_PLAIN_H

#include "repl/input.h"
#include "repl/wake.h"

typedef struct plain plain;

plain *plain_new(int descriptor, wake *w); /* NULL when out of memory */
void plain_free(plain *p);                 /* NULL is fine */
input_source plain_source(plain *p);

#endif
