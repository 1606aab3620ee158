/* characters: sets of Unicode's characters, and the bytes that they are as UTF-8, alone or inside a JSON string. */
#ifndef BACKPLANE_SAMPLE_CHARACTERS_H
#define BACKPLANE_SAMPLE_CHARACTERS_H

#include "sample/rules.h"

enum { CHARACTERS_MOST_RANGES = 4096, CHARACTER_LAST = 0x10FFFF };

typedef struct character_range {
    uint32_t from, to;
} character_range;
/* A zeroed one is empty and valid. */
typedef struct characters {
    character_range *ranges; /* in the order they came; sorted and apart after characters_sort */
    uint32_t count, capacity;
} characters;

void characters_clear(characters *c);
/* False when out of memory or over CHARACTERS_MOST_RANGES. */
bool characters_add(characters *c, uint32_t from, uint32_t to);
bool characters_add_all(characters *c, const characters *other);
void characters_sort(characters *c);
bool characters_negate(characters *c); /* of all but surrogates */

/* One character of the set, as UTF-8; surrogates are left out. Sorts. */
expression characters_expression(rules *r, characters *c);
/* The same as it stands in a JSON string: the quote, the backslash and controls in their shortest escaped form. */
expression characters_json(rules *r, characters *c);

#endif
