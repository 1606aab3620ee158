/* Packed weights that several models of a device read: of one file under two names there is one copy.
 *
 * A pack is what one model packed: a block of memory and, for each weight in it, where it came from. A model that has a weight
 * of the same bytes in the host's memory, type, shape and places on the nodes takes it from there. Invariants:
 *   1. A pack lives while a model uses any weight of it.
 *   2. A weight of it can be taken while a model uses that weight: so long the host keeps its bytes where they are.
 * One thread at a time, as compile and release are. */
#ifndef CPU_SHARE_H
#define CPU_SHARE_H

#include "model.h"

typedef struct packed_weight packed_weight;
typedef struct pack pack;

/* Takes what is there of the model's weights; the others are left without `shared`. False when out of memory. */
bool share_take(bp_model *model);
/* Makes a pack of the weights that were packed into `block`, which it owns once this succeeds. False when out of memory. */
bool share_give(bp_model *model, const memory *block);
/* The model's share of its packs: bytes by the number of models that use them. */
size_t share_bytes(const bp_model *model);
void share_leave(bp_model *model);

#endif
