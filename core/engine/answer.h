/* answer: sampled tokens become text, text becomes events.
 *
 * Text is held back while it may become a stop string or while its last character is incomplete. A token's event waits
 * with its text, so that where the answer ends before a stop string, neither its text nor the bytes of its tokens were
 * ever shown; a token that the cut runs through is not shown, and its text before the cut comes with DONE.
 *
 * Offsets count bytes of the whole answer's text:
 *
 *        published │ text.data[0 … size), kept
 *        ──────────┼──────────────┬──────────────
 *                start         certain        end = start + text.size
 *
 * Invariants:
 *   A1  start <= certain <= end, each between two characters.
 *   A2  A staged event's own text ends at its text_end; it is published once `certain` has reached its certain_at. That is
 *       text_end, or one more where stop strings are looked for and the token left a character incomplete.
 *   A3  Never more than half a full ring is staged: the oldest events then go with what text is certain, and the rest of
 *       theirs comes with later ones.
 *
 * One thread at a time. */
#ifndef BACKPLANE_ENGINE_ANSWER_H
#define BACKPLANE_ENGINE_ANSWER_H

#include "engine/stop.h"
#include "engine/stream.h"
#include "sample/sampler.h"
#include "text/tokenizer.h"

typedef struct answer {
    const tokenizer *tokenizer;
    stream *events;
    stop *stops; /* NULL: none; owned */
    detokenizer characters;
    int32_t mark; /* a special token that is text here; -1: none */
    buffer text;
    uint64_t start;
    uint32_t stop_index; /* 1 + the string's, once one was found */
    bp_token_logprob end; /* the token that ended it, once there is one; its alternatives are in events->last_top */
    uint32_t end_tops;
} answer;

/* The stop strings are handed over. */
void answer_init(answer *a, const tokenizer *t, stream *events, stop *stops, bool emit_special);
void answer_clear(answer *a);

/* Stages one token and publishes what became certain. *stopped: a stop string is complete, and the answer takes no more
 * tokens. Errors: BP_ELIMIT, the reader is too slow; BP_ENOMEM. */
bp_status answer_push(answer *a, const sampler_choice *choice, bool *stopped, bp_error *error);
/* A token of the prompt, before all of the answer; its log-probabilities where `position` is not 0. Errors as answer_push. */
bp_status answer_show_prompt(answer *a, uint32_t position, const sampler_choice *choice, bp_error *error);
/* The token that ends the answer and is no part of it: DONE will name it. */
void answer_note_end(answer *a, const sampler_choice *choice);
/* Ends the stream. DONE: everything held is certain now, an incomplete character becomes U+FFFD. ERROR: what is held is
 * dropped. */
void answer_end(answer *a, const bp_event *last);

#endif
