/* residency_parts: what the files of residency share: residency.c has models come and go; room.c decides who makes room for whom.
 *
 * All with the registry's lock held. */
#ifndef BACKPLANE_ENGINE_RESIDENCY_PARTS_H
#define BACKPLANE_ENGINE_RESIDENCY_PARTS_H

#include "engine/models.h"

/* A load that waits for room. */
typedef struct room_claim {
    struct room_claim *next; /* one that came later */
    const model_entry *model;
    uint32_t passed; /* loads that came later and had their room before */
} room_claim;

/* Until something changes, at most until then. */
void residency_wait(bp_engine *engine, uint64_t until);
/* Whether it is READY and nothing keeps it. */
bool residency_may_leave(const model_entry *m);
/* The lock is free while the memory is given back. */
void residency_leave(model_entry *m);
/* Whether a model of the same file is there, on the same device, whose weights this one reads as well. */
bool residency_has_twin(const model_entry *m);

/* Takes room in the budget for a model that is LOADING, and waits for it: BP_EBUSY after too long, BP_ELIMIT where there
 * can never be as much, BP_ECANCELLED once the engine stops. The lock is free while it waits. */
bp_status room_take(model_entry *m, const loaded *l, bp_error *error);
/* The model that is to leave where the budget is exceeded; NULL: none may, or it is not. */
model_entry *room_excess(const bp_engine *engine);

#endif
