/* masks: which tokens a grammar allows where a text stands, kept for the next time.
 *
 * A mask is worked out by walking the vocabulary's trie beside the machine. Most of a vocabulary is plain text: whole characters
 * that mean nothing to JSON. Where a state stays what it is for every such character, as inside a free string, all of these
 * tokens are allowed at once and only the rest is walked. Where a count comes to its end, as near the greatest length of a
 * text, few tokens are long enough to notice: what short ones may do is found again by the state that is near as far as they
 * reach, and the long ones are walked by themselves.
 *
 * Masks are found again by (machine, its age, state) and are shared by all requests of a model; the ones that were not asked
 * for the longest make room.
 *
 * Invariants:
 *   K1  A mask holds exactly the tokens after whose whole text the state is not dead, and, where the text may end, the tokens
 *       that end an answer if these are asked for.
 *   K2  There are at most as many masks as `bytes` had room for, and at least MASKS_FEWEST.
 *
 * One thread at a time. */
#ifndef BACKPLANE_SAMPLE_MASKS_H
#define BACKPLANE_SAMPLE_MASKS_H

#include "sample/machine.h"
#include "sample/token_trie.h"

enum { MASKS_FEWEST = 16 };

typedef struct masks masks;

bp_status masks_new(const token_source *source, size_t bytes, masks **out, bp_error *error);
void masks_free(masks *k); /* NULL is fine */

/* *out: bit t of word t / 64 is set where token t may follow; valid until the next call. `machine_number` tells machines apart
 * for good. */
bp_status masks_get(masks *k, machine *m, uint64_t machine_number, uint32_t state, bool with_ends, const uint64_t **out,
                    bp_error *error);
/* The text of a token that may be in a mask; NULL of one that stands for none. */
const char *masks_text(const masks *k, uint32_t token, uint32_t *length);
bool masks_ends(const masks *k, uint32_t token);

#endif
