/* stop: finds the first stop string in text that arrives in pieces.
 *
 * One Knuth-Morris-Pratt automaton a string, run side by side. Nothing is allocated after stop_new, and no text is kept:
 * the caller keeps what stop_held says may still become a stop string.
 *
 * Invariants:
 *   T1  Of strings that are complete at the same byte the one that begins first wins, then the lowest index. A string that
 *       is complete at an earlier byte wins over all later ones.
 *   T2  A match never begins before the last stop_held bytes of the text so far.
 *
 * One thread at a time. */
#ifndef BACKPLANE_ENGINE_STOP_H
#define BACKPLANE_ENGINE_STOP_H

#include <backplane/plugin.h>
#include <stdbool.h>

enum { STOP_MAX_BYTES = 4096 }; /* of one string */

typedef struct stop stop;

/* Copies the strings; refuses empty, overlong and NULL ones, and invalid UTF-8, so that in valid text a match and what is
 * held begin and end between characters. *out is NULL where there are none. */
bp_status stop_new(const char *const *strings, uint32_t count, stop **out, bp_error *error);
void stop_free(stop *s); /* NULL is fine, here and below */

typedef struct stop_match {
    uint32_t index; /* of the string */
    size_t end;     /* bytes of this push up to the end of the string */
    size_t length;  /* of the string: it begins at end - length, possibly before this push */
} stop_match;

/* True when a string became complete; the rest of the text was not looked at. */
bool stop_push(stop *s, const char *text, size_t bytes, stop_match *out);
/* How many of the last bytes may be the beginning of a stop string. */
size_t stop_held(const stop *s);

#endif
