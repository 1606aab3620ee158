/* step: a plan's entries as a backend's batch, run, and the rows that come back as tokens.
 *
 * Invariants:
 *   - The buffers hold any plan within the model's limits; a step allocates nothing.
 *   - Every token, position and page that goes to the backend is within the limits it was compiled for.
 *   - Each entry leaves with exactly one of: failed and over, over, its token, or (no row) nothing.
 *   - An entry's rows, those that score its prompt first, are those of its last tokens. */
#ifndef BACKPLANE_ENGINE_STEP_H
#define BACKPLANE_ENGINE_STEP_H

#include "engine/loaded.h"
#include "engine/scheduler.h"

typedef struct step {
    const loaded *loaded;
    int32_t *tokens, *positions;               /* [max_tokens] */
    int32_t *first, *context, *pages, *rows;   /* pages: [max_seqs][pages of a whole context] at most */
    int32_t *copy_from, *copy_to;              /* [max_seqs] */
    float *output;                             /* [max_rows][output_width] */
} step;

bp_status step_init(step *s, const loaded *l, bp_error *error);
void step_clear(step *s);

/* Runs the entries and gives every request its token or its end. A step that the backend has no memory for is run again in
 * halves; one that fails otherwise ends its requests. BP_OK, or what the whole model fails with: BP_EDEVICE, the device is
 * lost; BP_EIO, the model's file changed. Then the plan is not to be committed. */
bp_status step_execute(step *s, plan_entry *entries, uint32_t count, bp_error *error);

#endif
