/* scheduler: which tokens of which sequences make the next step of one model.
 *
 * A pure data structure: no threads, no clock but the time passed in, no randomness. The same calls in the same order
 * give the same plans. One thread at a time; sequences belong to the caller and outlive their place here.
 *
 * A round is plan, then the backend's step, then commit:
 *   plan    ends what was cancelled or is late; gives running sequences the page that their next token needs; admits
 *           waiting ones; writes down the step: first every sequence with one token to go, then chunks of prompts, then
 *           guesses of what comes behind the single tokens.
 *   commit  takes the step's result, entry by entry: the token that was sampled, or that the sequence is over; and registers
 *           the pages that are complete.
 * Between them sequences may be added, and removed while they wait; a plan never names a waiting sequence.
 *
 * Prefixes. Who is admitted, and who is in the middle of its prompt, takes the pages that the prefix cache (prefix.h) has of
 * its next tokens instead of computing them; at admission also the beginning of a page, which it copies. Tokens
 * whose rows are wanted are computed: the last one, and all of a prompt that is scored. Of several prompts that begin alike the most urgent one computes; the others leave a step
 * out where an entry of the same plan completes the page they need next, and find it in the next plan. Whoever completes a
 * page that is registered already takes that one and gives its own back. Pages that only the cache holds are as good as
 * free: the oldest are evicted before anyone is preempted or waits.
 *
 * Guesses (draft.h). A plan with guesses has at most 1 + max_drafts tokens in all: one sequence alone gets as many, several
 *   fewer each, and a step that is busy with others or with prompts none. They never cost anybody a page or a place.
 *
 * Scores. Of a prompt that is scored each token's row is wanted, and a step has few rows: such a prompt moves by as many
 *   tokens as the others leave rows.
 *
 * Invariants:
 *   C1  Sequences run in order of urgency: priority, then the tenant's turn, then arrival (queue.h). Nobody is admitted before
 *       one that would be more urgent.
 *   C2  No more sequences run than a step may have tokens, so a step holds one token of each: a sequence that has one
 *       token to go is in every plan, however long other prompts are, and the most urgent prompt moves in each, or its next
 *       page is computed in it.
 *   C3  A plan stays within max_tokens, max_sequences and max_rows. Where somebody is in the middle of an answer, prompts
 *       get at most mixed_tokens of it, so that the next token is not long in coming. Half of what prompts get is the most
 *       urgent one's, as much as it needs; the rest goes to the others of the highest priority, the shortest first, so that
 *       short prompts do not wait for long ones. With whole_prompts a prompt is in a plan whole or not at all, and the most
 *       urgent one is, since max_tokens is enough for any.
 *   C4  Admission takes pages for all tokens known by then and leaves one page, free or idle, for each sequence that runs.
 *   C5  Who needs a page and finds none preempts the least urgent sequence that runs, which may be itself. Admission
 *       preempts strictly lower priorities only, and only if that makes enough room. So the most urgent sequence is never
 *       preempted, and since any one sequence fits alone (scheduler_add refuses it otherwise) and turns only grow, each one ends.
 *   C6  The references of a page are the tables of running sequences that hold it, those that are about to copy from it, and
 *       the prefix cache's. Only full pages, whose tokens are all computed, are in two tables or in the cache. */
#ifndef BACKPLANE_ENGINE_SCHEDULER_H
#define BACKPLANE_ENGINE_SCHEDULER_H

#include "engine/pages.h"
#include "engine/sequence.h"

typedef struct scheduler_limits {
    uint32_t max_sequences, max_tokens; /* of one step */
    uint32_t mixed_tokens;              /* of prompts, in a step with answers; 0: no such limit */
    uint32_t max_drafts;                /* guesses */
    uint32_t max_rows;                  /* of one step; max(max_sequences, 1 + max_drafts) where it says less */
    uint32_t page_tokens, page_count;
    uint32_t queue_limit;               /* sequences beyond max_sequences that may be here at once */
    bool share_prefixes;                /* keep a prefix cache */
    bool whole_prompts;                 /* a prompt's tokens come in one step */
    bool copy_pages;                    /* entries may ask for copies; else hits are whole pages */
} scheduler_limits;

typedef struct plan_entry {
    sequence *sequence;
    uint32_t start, count; /* tokens start … start + count - 1 */
    uint32_t drafts;       /* the last so many of them are guesses; only with `row` */
    uint32_t scores;       /* so many of them want output for the prompt's sake: the last ones, or those before the row */
    bool row;              /* the last of them wants output, and so do the `drafts` before it */
    int32_t copy_from, copy_to; /* pages: what is to be copied before the step; -1 is nothing */
    /* Filled before commit: */
    bool failed;           /* the step did not run for this entry: nothing was computed */
    bool over;             /* the sequence ends here */
    uint32_t accepted;     /* guesses that were sampled, up to the first that was not */
    int32_t token;         /* with row and neither failed nor over: the token that was sampled behind these */
} plan_entry;

typedef struct plan {
    plan_entry *entries; /* [count], the scheduler's until the next plan */
    uint32_t count, token_count, row_count;
    sequence *ended;     /* linked by next; each with its cause */
} plan;

typedef struct scheduler_counts {
    uint32_t running, waiting, pages_used, pages_total; /* used: held by sequences */
    uint32_t pages_cached;                              /* registered and held by none */
    uint64_t drafted, accepted;                         /* guesses */
    uint64_t preemptions, hit_tokens;                   /* hits: tokens that were found instead of computed */
} scheduler_counts;

typedef struct scheduler scheduler;

bp_status scheduler_new(const scheduler_limits *limits, scheduler **out, bp_error *error);
void scheduler_free(scheduler *s); /* NULL is fine */

uint32_t scheduler_pages_for(const scheduler *s, uint32_t tokens);

/* Holds a place for a sequence that is being prepared; BP_EBUSY when the queue is full. Every reservation is used up by
 * one scheduler_add, whether that succeeds or not, or given back. */
bp_status scheduler_reserve(scheduler *s, bp_error *error);
void scheduler_unreserve(scheduler *s);
/* From a new sequence to a waiting one; BP_ECONTEXT where it could never run. */
bp_status scheduler_add(scheduler *s, sequence *q, bp_error *error);
/* Ends a waiting sequence at once; false, and nothing happens, if it does not wait. */
bool scheduler_remove(scheduler *s, sequence *q);

/* Ends every sequence that was cancelled or is late, as a plan begins with; a list by next. Not between plan and commit. */
sequence *scheduler_expire(scheduler *s, uint64_t now);
void scheduler_plan(scheduler *s, uint64_t now, plan *out);
/* The sequences that are over, linked by next. */
sequence *scheduler_commit(scheduler *s, const plan *done);
/* Ends everything; not between plan and commit. */
sequence *scheduler_end_all(scheduler *s);

bool scheduler_idle(const scheduler *s);             /* nothing runs or waits */
uint64_t scheduler_next_deadline(const scheduler *s); /* UINT64_MAX where there is none */
scheduler_counts scheduler_count(const scheduler *s);

/* For tests: references of one page, whether one of them is the cache's, and what runs in order of urgency. */
uint32_t scheduler_page_references(const scheduler *s, int32_t page);
bool scheduler_page_registered(const scheduler *s, int32_t page);
const sequence *scheduler_running(const scheduler *s, uint32_t index);

#endif
