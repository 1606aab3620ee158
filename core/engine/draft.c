#include "engine/draft.h"

enum { LONGEST_MATCH = 16, FIRST_LENGTH = 2 };

/* How many tokens before `end` are the last ones of all; up to LONGEST_MATCH. */
static uint32_t agreement(const int32_t *tokens, uint32_t count, uint32_t end)
{
    uint32_t n = 0;
    while (n < end && n < LONGEST_MATCH && tokens[end - 1 - n] == tokens[count - 1 - n])
        n++;
    return n;
}

/* Where what follows begins: behind the longest agreement, of equal ones behind the last. 0 if there is none. */
static uint32_t find_match(const int32_t *tokens, uint32_t count, uint32_t *length)
{
    uint32_t found = 0, longest = DRAFT_MATCH - 1;
    const int32_t last = tokens[count - 1];
    for (uint32_t end = count - 1; end > longest && longest < LONGEST_MATCH; end--) {
        if (tokens[end - 1] != last)
            continue;
        uint32_t n = agreement(tokens, count, end);
        if (n > longest) {
            longest = n;
            found = end;
        }
    }
    *length = longest;
    return found;
}

uint32_t draft_propose(draft *d, int32_t *tokens, uint32_t count, uint32_t most)
{
    if (d->pause > 0) {
        d->pause--;
        return 0;
    }
    uint32_t match, from = count > DRAFT_MATCH ? find_match(tokens, count, &match) : 0;
    if (from == 0)
        return 0;
    uint32_t length = d->length ? d->length : FIRST_LENGTH;
    length = length < match ? length : match;
    length = length < most ? length : most;
    for (uint32_t i = 0; i < length; i++) /* where it follows itself closely, the guesses go on from the guesses */
        tokens[count + i] = tokens[from + i];
    return length;
}

void draft_note(draft *d, uint32_t drafted, uint32_t accepted)
{
    d->drafted += drafted;
    d->accepted += accepted;
    if (accepted == drafted) {
        d->length = drafted < UINT32_MAX / 2 ? 2 * drafted : drafted;
        d->misses = 0;
    } else if (accepted > 0) {
        d->length = accepted + 1;
        d->misses = 0;
    } else {
        d->length = 1;
        d->pause = d->misses < 6 ? 1u << d->misses : DRAFT_MOST_PAUSE;
        d->misses++;
    }
}
