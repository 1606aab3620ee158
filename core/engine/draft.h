/* draft: guesses of a sequence's next tokens, from what it has already said or been told.
 *
 * Prompt lookup: where the last tokens of a sequence occurred before, what followed them there may follow again, as it does
 * when an answer quotes or edits its prompt, or repeats itself. The step computes the guesses behind the last token, and its
 * rows tell which of them are what sampling chooses anyway; the others are as if they had never been. So guesses change the
 * speed and nothing else, and a wrong one costs what its row costs.
 *
 * How much is guessed follows from how it went: a draft that was right to its end doubles the next one, one that was wrong at
 * once makes the sequence leave out more and more steps.
 *
 * Pure: the same tokens and the same history give the same guesses. */
#ifndef BACKPLANE_ENGINE_DRAFT_H
#define BACKPLANE_ENGINE_DRAFT_H

#include <stdint.h>

enum { DRAFT_MATCH = 3, DRAFT_MOST_PAUSE = 64 }; /* tokens that must agree; steps that are left out at most */

/* All zero for a new sequence. */
typedef struct draft {
    uint32_t length, misses, pause; /* of the next draft, 0 before the first; in a row; steps to leave out */
    uint32_t drafted, accepted;     /* tokens in all */
} draft;

/* Writes guesses behind the `count` tokens, at most `most`, and returns how many. Called once for each step that has room
 * for guesses. */
uint32_t draft_propose(draft *d, int32_t *tokens, uint32_t count, uint32_t most);
/* What became of the last draft. */
void draft_note(draft *d, uint32_t drafted, uint32_t accepted);

#endif
