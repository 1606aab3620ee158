/* loop: one thread a device. It takes the next step of the models on that device in turn, runs it, publishes, and
 * parks when there is nothing to do. A lane is one model's place on the loop.
 *
 * Invariants:
 *   L1  The device is used by one at a time: the loop for a step, or whoever took it with loop_take_device. Those who wait
 *       for it go first, so that a busy loop does not keep a model from loading.
 *   L2  Schedulers are only touched with the loop's lock held. During a step it is not held: requests come and waiting
 *       ones go, and the plan names none of these.
 *   L3  A request's stream ends while the lock is held, after its pages are free and it is counted.
 *   L4  Lock order: loop, then stream. Nothing is called with a stream's lock held.
 *   L5  A lost device fails all lanes of its loop, a changed file its own; a failed lane takes no requests.
 *   L6  A step that takes longer than engine_backend.step_ns is abandoned: the device is lost, its requests end, and the
 *       loop is stuck for as long as the backend does not come back. Nobody waits for the device of a stuck loop, and nothing
 *       that the backend may still use is freed.
 *   L7  Turns are of time (turns.h): the next step is of the model that has had the device for less than the others that have
 *       work, so one whose steps are long does not slow down the others by more than its share. */
#ifndef BACKPLANE_ENGINE_LOOP_H
#define BACKPLANE_ENGINE_LOOP_H

#include "engine/loaded.h"
#include "engine/request.h"

typedef struct loop loop;
typedef struct lane lane;

bp_status loop_new(const engine_backend *backend, loop **out, bp_error *error);
/* Waits until no request is left, at most until the time `until`, then ends the rest; true if there was none. */
bool loop_drain(loop *l, uint64_t until);
void loop_free(loop *l); /* drains at once, joins, frees the lanes; NULL is fine. Not while it is stuck */

bool loop_stuck(loop *l);
/* False: it is not to be had, because the loop is stuck. */
bool loop_take_device(loop *l);
void loop_return_device(loop *l);
/* BP_EDEVICE once the device is lost, BP_ECANCELLED once the loop drains. */
bp_status loop_check(loop *l, bp_error *error);

/* The loop's until loop_free; `model` outlives it. */
bp_status loop_add(loop *l, const loaded *model, lane **out, bp_error *error);
/* With the device taken and without a request on the lane. */
void loop_remove(loop *l, lane *m);

/* A place in the queue. BP_EBUSY: it is full; BP_EDEVICE: the lane failed. */
bp_status lane_reserve(lane *m, bp_error *error);
void lane_unreserve(lane *m);
/* Uses up a place, whether it succeeds or not; the engine's reference is taken here. */
bp_status lane_submit(lane *m, bp_stream *r, bp_error *error);
/* At once while it waits, before the next step while it runs. */
void lane_cancel(lane *m, bp_stream *r);
bool lane_failed(lane *m, bp_error *why);
void lane_stats(lane *m, bp_model_stats *out);

#endif
