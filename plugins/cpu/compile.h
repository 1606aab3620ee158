/* The parts of compiling a model that live in different files. */
#ifndef CPU_COMPILE_H
#define CPU_COMPILE_H

#include "model.h"

/* plan.c: gives values, scratch and partials their offsets; the bytes of the workspace, SIZE_MAX where it does not fit. */
size_t plan_workspace(bp_model *model);
/* Turns offsets into pointers once the workspace is mapped. */
void place_values(bp_model *model);

/* load.c: packs what products read and widens vectors, on all workers; tells the host what has been copied. */
bp_status load_weights(bp_model *model, bp_error *error);

#endif
