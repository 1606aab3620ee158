/* suggest: "did you mean" over a closed set of words. */
#ifndef BACKPLANE_HOST_SUGGEST_H
#define BACKPLANE_HOST_SUGGEST_H

#include <stddef.h>

typedef struct suggestion {
    const char *word, *best;
    size_t distance; /* of `best`; only candidates below it replace it */
} suggestion;

suggestion suggest_for(const char *word);
void suggest_add(suggestion *s, const char *candidate); /* borrowed */

/* Writes "; did you mean BEST?" or nothing, and returns `out`. */
const char *suggest_text(const suggestion *s, char *out, size_t bytes);

#endif
