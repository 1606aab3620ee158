#include "host/suggest.h"

#include <stdio.h>
#include <string.h>

enum { LONGEST = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: insertions, deletions, replacements and swaps of neighbours. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][LONGEST + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        above[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[b_length];
}

suggestion suggest_for(const char *word)
{
    return (suggestion){.word = word, .distance = least(strlen(word) / 3 + 2, 4)};
}

void suggest_add(suggestion *s, const char *candidate)
{
    size_t length = strlen(candidate), own = strlen(s->word);
    if (length > LONGEST || own > LONGEST || length == 0)
        return;
    size_t distance = edit_distance(s->word, own, candidate, length);
    /* A candidate of which every letter would change is no likelihood. */
    if (distance < s->distance && distance < length) {
        s->best = candidate;
        s->distance = distance;
    }
}

const char *suggest_text(const suggestion *s, char *out, size_t bytes)
{
    if (s->best)
        snprintf(out, bytes, "; did you mean %s?", s->best);
    else
        out[0] = '\0';
    return out;
}
