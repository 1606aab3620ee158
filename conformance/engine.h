/* engine: the core as a frontend sees it, played. One model, "test", that answers each request with a few words.
 *
 * What a frontend does with streams is watched: the first thing that engine.h forbids is kept as a sentence. Every function may
 * be called from any thread. */
#ifndef CONFORMANCE_ENGINE_H
#define CONFORMANCE_ENGINE_H

#include <backplane/engine.h>

/* How it answers. */
typedef enum engine_mood {
    MOOD_FINE,
    MOOD_BUSY,    /* every submit is BP_EBUSY */
    MOOD_FAILING, /* every answer ends with an error after a word */
    MOOD_ENDLESS, /* no answer ends before it is cancelled */
    MOOD_EMPTY    /* there is no model */
} engine_mood;

const bp_engine_api *engine_api(void);
bp_engine *engine_new(engine_mood mood); /* ends the check where there is no memory */
void engine_free(bp_engine *engine);     /* nobody may use it any more */

unsigned engine_submitted(bp_engine *engine); /* requests that were asked for, in all */
unsigned engine_held(bp_engine *engine);      /* streams that were not released */
const char *engine_complaint(bp_engine *engine); /* NULL: nothing was done that is forbidden */

#endif
