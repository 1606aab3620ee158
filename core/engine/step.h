/* step: a plan's entries as a backend's batch, run, and the rows that come back as tokens.
 *
 * Invariants:
 *   - The buffers hold any plan within the model's limits; a step allocates nothing.
 *   - Every token, position and page that goes to the backend is within the limits it was compiled for.
 *   - Each entry leaves with exactly one of: failed and over, over, its token, or (no row) nothing.
 *   - An entry's rows, those that score its prompt first, are those of its last tokens.
 *   - While the backend is at work nobody reads or writes the entries' requests, so that another thread may take them away
 *     from a backend that does not come back: step_abandon. Then the step never touches them again. */
#ifndef BACKPLANE_ENGINE_STEP_H
#define BACKPLANE_ENGINE_STEP_H

#include "engine/loaded.h"
#include "engine/scheduler.h"

#include <stdatomic.h>

typedef struct step {
    const loaded *loaded;
    int32_t *tokens, *positions, *types;       /* [max_tokens] */
    int32_t *first, *context, *pages, *rows;   /* pages: [max_seqs][pages of a whole context] at most */
    int32_t *copy_from, *copy_to;              /* [max_seqs] */
    float *output;                             /* [max_rows][output_width], or the highest of each row */
    int32_t *highest;                          /* [max_rows] whose that is */
    bool greedy;                               /* the step's output is the highest logits alone */
    atomic_uint owner;                         /* of the entries' requests: STEP_… */
} step;
enum { STEP_HERE = 0, STEP_BACKEND = 1, STEP_ABANDONED = 2 };

bp_status step_init(step *s, const loaded *l, bp_error *error);
void step_clear(step *s);

/* Runs the entries and gives every request its token or its end. A step that the backend has no memory for is run again in
 * halves; one that fails otherwise ends its requests. BP_OK, or what the whole model fails with: BP_EDEVICE, the device is
 * lost; BP_EIO, the model's file changed. Then the plan is not to be committed. BP_ECANCELLED: it was abandoned meanwhile, and
 * its requests are another's. */
bp_status step_execute(step *s, plan_entry *entries, uint32_t count, bp_error *error);
/* From another thread: true if the backend is at work, and then the requests of the step are the caller's for good. */
bool step_abandon(step *s);

#endif
