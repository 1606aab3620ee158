/* residency_parts: what the files of residency share: residency.c has models come and go; room.c decides who makes room for whom.
 *
 * All with the registry's lock held. */
#ifndef BACKPLANE_ENGINE_RESIDENCY_PARTS_H
#define BACKPLANE_ENGINE_RESIDENCY_PARTS_H

#include "engine/models.h"

/* How long a model is waited for. */
#define PATIENCE_NS UINT64_C(120000000000)
/* A model that was just loaded stays so long: for those who waited for it, and, where it is in demand, before it has to make room
 * for one that waits. What a load costs is worth it. */
#define STAY_NS UINT64_C(1000000000)

/* A load that waits for room. */
typedef struct room_claim {
    struct room_claim *next; /* one that came later */
    const model_entry *model;
    uint32_t passed;  /* loads that came later and had their room before */
    uint64_t missing; /* bytes, when it last looked */
} room_claim;

/* Until something changes, at most until then. */
void residency_wait(bp_engine *engine, uint64_t until);
/* Whether it is READY and nothing keeps it. */
bool residency_may_leave(const model_entry *m);
/* The lock is free while the memory is given back. */
void residency_leave(model_entry *m);
/* Whether a model of the same file is there, on the same device, whose weights this one reads as well. */
bool residency_has_twin(const model_entry *m);

/* Takes room in the budget for a model that is LOADING, and waits for it: BP_EBUSY after too long, or where nobody waits for the
 * model any more; BP_ELIMIT where there can never be as much, BP_ECANCELLED once the engine stops. The lock is free meanwhile. */
bp_status room_take(model_entry *m, const loaded *l, bool explicit, bp_error *error);
/* Why a model that was waited for did not come: BP_EBUSY. */
bp_status room_refuse(const model_entry *m, bp_error *error);
/* The model that is to leave where the budget is exceeded; NULL: none may, or it is not. */
model_entry *room_excess(const bp_engine *engine);

#endif
