/* turns: who is next among several that want the same thing, each of whom has been served so much: the one that has been
 * served least. Start-time fair queueing (Goyal, Vin, Cheng 1996) with the service measured instead of estimated.
 *
 * Invariants:
 *   T1  `now` is the most that anybody had been served when a turn began; it never falls.
 *   T2  Who comes, or comes back, begins where `now` is: nobody saves up turns by staying away, and who was served beyond it
 *       keeps that. */
#ifndef BACKPLANE_ENGINE_TURNS_H
#define BACKPLANE_ENGINE_TURNS_H

#include <stdint.h>

typedef struct turns {
    uint64_t now;
} turns;

static inline uint64_t turns_come(const turns *t, uint64_t served)
{
    return served < t->now ? t->now : served;
}

static inline void turns_begin(turns *t, uint64_t served)
{
    if (served > t->now)
        t->now = served;
}

#endif
