/* stream: events on their way from the engine to one reader.
 *
 * A ring of slots that own their text and log-probabilities, and one last event beside it. The writer stages events, which
 * the reader does not see yet, and publishes them in order:
 *
 *        taken by the reader │ published │ staged │ free
 *        ────────────────────┼───────────┼────────┼─────
 *                          read     published   staged
 *
 * Invariants:
 *   R1  read <= published <= staged <= read + capacity.
 *   R2  A slot that the reader was given is its own until its next call: `read` moves then, not before.
 *   R3  The last event needs no slot, so a stream can always be ended; it is given after everything published, and once.
 *
 * Threads: stage, publish, unstage and end by one writer at a time; next by one reader at a time; the two need no order. */
#ifndef BACKPLANE_ENGINE_STREAM_H
#define BACKPLANE_ENGINE_STREAM_H

#include "base/buffer.h"

#include <backplane/engine.h>
#include <pthread.h>

enum { STREAM_EVENTS = 512, STREAM_INLINE_TEXT = 48 };

typedef struct stream_slot {
    uint32_t kind, prompt_tokens;  /* START, PROMPT, TOKEN, EMBEDDING */
    uint32_t position;             /* PROMPT */
    bp_token_logprob chosen;
    bp_token_logprob *top;         /* [stream.tops] */
    uint32_t top_count, text_bytes;
    char text[STREAM_INLINE_TEXT]; /* where text_bytes fit, else `longer` */
    buffer longer;
    const float *vector;           /* EMBEDDING; the request's */
    uint32_t vector_width;
    uint64_t text_end, certain_at; /* the writer's own: see answer.h */
} stream_slot;

typedef struct stream {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    stream_slot *slots;    /* [capacity] */
    bp_token_logprob *all_tops, *last_top; /* last_top: [tops] for the last event, the writer's own until then */
    uint32_t capacity, tops;
    uint64_t read, published, staged;
    bool given;            /* slots[read] is the reader's */
    bool ended, last_given;
    bp_event last;
    buffer last_text;
} stream;

/* `events` slots, at least one, with `tops` log-probabilities each. */
bp_status stream_init(stream *s, uint32_t events, uint32_t tops, bp_error *error);
void stream_clear(stream *s); /* after a failed or successful init */

/* The next free slot, emptied; NULL when the ring is full. Nobody sees it before it is published. */
stream_slot *stream_stage(stream *s);
/* The oldest staged slot, NULL if there is none. */
stream_slot *stream_oldest(stream *s);
uint32_t stream_staged(const stream *s);
/* Gives the oldest staged event its text and shows it to the reader; false when out of memory. */
bool stream_publish(stream *s, const char *text, size_t bytes);
void stream_unstage(stream *s); /* forgets what is staged */
/* Ends the stream with DONE or ERROR and copies the text; out of memory for it ends with an error instead. Later calls
 * do nothing. */
void stream_end(stream *s, const bp_event *last, const char *text, size_t bytes);

/* bp_engine_api.next */
bp_status stream_next(stream *s, uint64_t timeout_ns, bp_event *out, bp_error *error);

#endif
