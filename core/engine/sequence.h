/* sequence: one request as the scheduler sees it, numbers only.
 *
 *                 scheduler_add                scheduler_plan: admitted, pages for all its tokens
 *         (new) ────────────────▶ WAITING ───────────────────────────────────▶ RUNNING
 *                                  │    ▲                                      │    │
 *            cancelled or expired  │    └──────────────────────────────────────┘    │ its answer is complete, or it failed,
 *                                  ▼      preempted: pages released, computed = 0   ▼ or it was cancelled or expired
 *                                ENDED ◀──────────────────────────────────────────────
 *
 * Invariants:
 *   S1  prompt_count <= token_count <= token_limit; tokens[] holds the prompt and then what was sampled, and never changes.
 *       Behind token_count there may be guesses (draft.h), which no page is registered for.
 *   S2  computed < token_count while WAITING or RUNNING: the last token's row is what the next token is sampled from.
 *   S3  computed = 0, page_count = 0, registered = 0 and copy_from = -1 unless RUNNING.
 *   S4  While RUNNING the pages cover tokens 0 … token_count - 1 at the time of admission, and every computed token.
 *   S5  A sequence that is preempted computes its sampled tokens again as if they were prompt, or finds them in the prefix
 *       cache. Nothing else of the request changes: sampler, text and events stand outside.
 *   S6  Pages 0 … registered - 1 are registered and shared; it writes to later ones only. registered * page_tokens <= computed.
 *   S7  Who wants the rows of its whole prompt (`scores`) gets each once, in order: tokens 0 … scored - 1 had theirs, and none
 *       behind them is found in the prefix cache instead of computed.
 *
 * The scheduler changes everything here but `cancelled`, which any thread may set. */
#ifndef BACKPLANE_ENGINE_SEQUENCE_H
#define BACKPLANE_ENGINE_SEQUENCE_H

#include "engine/draft.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum sequence_state { SEQUENCE_NEW, SEQUENCE_WAITING, SEQUENCE_RUNNING, SEQUENCE_ENDED } sequence_state;

/* Why the scheduler ended a sequence by itself. */
typedef enum sequence_cause { SEQUENCE_CAUSE_NONE, SEQUENCE_CAUSE_CANCELLED, SEQUENCE_CAUSE_EXPIRED } sequence_cause;

#define SEQUENCE_NO_TURN UINT64_MAX

typedef struct tenant tenant;
typedef struct sequence sequence;
struct sequence {
    int32_t priority;     /* higher first */
    uint64_t number;      /* order of arrival */
    uint64_t turn;        /* queue.h, W1; SEQUENCE_NO_TURN before its first admission */
    tenant *tenant;       /* the queue's, from scheduler_add until it ended */
    uint64_t deadline;    /* nanoseconds on the scheduler's clock; 0 is none */
    atomic_bool cancelled;

    sequence_state state;
    sequence_cause cause;
    uint64_t admitted_at; /* first admission; 0 before it */
    uint32_t preemptions;
    uint32_t cached;      /* tokens of the prompt that were not computed because the prefix cache had them */

    int32_t *tokens;      /* [token_limit], the owner's */
    uint32_t token_count, token_limit, prompt_count;
    uint32_t computed;    /* tokens 0 … computed - 1 have their K and V in the pages */
    int32_t *pages;       /* room for every page of token_limit tokens, the owner's */
    uint32_t page_count, registered;
    int32_t copy_from;    /* before its first step: the page whose K and V pages[registered] begins with; -1 is none */
    draft draft;
    uint32_t second_at;   /* of a pair: from which token on the second text is; 0: there is one text */
    bool scores;          /* wants the rows of all tokens of its prompt; false again once it has them */
    uint32_t scored;
    const char *salt;     /* the tenant's name: prefixes are shared under one only; NULL is the empty one; the owner's */

    sequence *next;       /* of the waiting, or of a list of ended sequences */
};

/* Urgency: a strict order over all sequences that run, or did. */
static inline bool sequence_before(const sequence *a, const sequence *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return a->turn != b->turn ? a->turn < b->turn : a->number < b->number;
}

static inline uint32_t sequence_remaining(const sequence *q)
{
    return q->token_count - q->computed;
}

/* The first token whose row is still wanted; so are those of all behind it. */
static inline uint32_t sequence_first_row(const sequence *q)
{
    return q->scores && q->scored < q->token_count - 1 ? q->scored : q->token_count - 1;
}

#endif
