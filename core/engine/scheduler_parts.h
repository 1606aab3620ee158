/* scheduler_parts: what the files of the scheduler share: scheduler.c keeps who runs and who waits, and the pages; compose.c
 * writes down a step. */
#ifndef BACKPLANE_ENGINE_SCHEDULER_PARTS_H
#define BACKPLANE_ENGINE_SCHEDULER_PARTS_H

#include "engine/prefix.h"
#include "engine/queue.h"
#include "engine/scheduler.h"

struct scheduler {
    scheduler_limits limits;
    pages *pages;
    prefix *prefix;
    uint32_t *given_up; /* [page_count], zero but in make_room */
    uint64_t preemptions, hit_tokens, drafted, accepted;
    sequence **running; /* [max_sequences], most urgent first */
    uint32_t running_count;
    queue queue;
    uint32_t reserved;
    plan_entry *entries; /* [max_sequences] */
    sequence **prompts;  /* [max_sequences], of a plan that is being written */
};

/* Pages that can be taken: free ones, and those that only the cache holds. */
uint32_t scheduler_pages_at_hand(const scheduler *s);
/* All or none, at the cost of what only the cache holds. */
bool scheduler_take_pages(scheduler *s, uint32_t count, int32_t *out);

/* The entries of *out, which has none yet, once everybody who runs has pages for all its tokens. */
void scheduler_compose(scheduler *s, plan *out);

#endif
