/* random: one random number for each (seed, position), with no state between them.
 *
 * Philox4x32-10: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#ifndef BACKPLANE_SAMPLE_RANDOM_H
#define BACKPLANE_SAMPLE_RANDOM_H

#include <stdint.h>

/* Ten rounds of Philox on `counter` under `key`, in place. */
void random_philox(uint32_t counter[4], const uint32_t key[2]);

/* The key is the seed, the counter is (position, 0); the first two words, low one first. */
uint64_t random_at(uint64_t seed, uint64_t position);

/* floor(random · bound / 2^64): an integer in [0, bound). */
uint64_t random_below(uint64_t random, uint64_t bound);

#endif
