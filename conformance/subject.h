/* subject: the plugin under test, loaded and configured as the host does it, and how its calls are listened to.
 *
 * A check's process begins without the plugin; subject_load() brings it in. Every call of a check goes through CALL, which keeps
 * the rules of errors: a status that exists, and on failure its code and a sentence. */
#ifndef CONFORMANCE_SUBJECT_H
#define CONFORMANCE_SUBJECT_H

#include "check.h"

#include "base/arena.h"
#include "host/plugins.h"

struct subject {
    const char *path;
    const char *const *settings; /* [setting_count] "key=value" */
    size_t setting_count;
    double tolerance; /* against the reference, of the largest number of a row; 0: bits */
    uint32_t kind, numerics; /* BP_NUMERICS_…, of the programs that are compiled */
    /* Of the check's own process: */
    const plugin *plugin;
    const bp_backend_ops *ops;
    arena *memory;
    bool strict; /* the rules of errors are what is checked */
};

/* Sets u->plugin; failed() with the host's sentence where it is refused. */
void subject_load(subject *u);
void subject_unload(subject *u);
/* A config struct as the settings fill it, of subject_load()ed options; failed() where the host refuses them. Freed with the subject. */
void *subject_config(subject *u);

/* The host's table; what is said through it goes to standard error. */
const bp_host *subject_host(void);

/* An open device, of a plugin that is loaded if need be. */
bp_device *subject_device(subject *u);
void subject_close(subject *u, bp_device *device);
uint32_t subject_caps(subject *u, bp_device *device); /* BP_CAP_… */

/* --- what a call answers ------------------------------------------------------------------------------------------------ */

/* The caller's error of one call. Always a sentence after a failure, if need be "(no sentence)". */
typedef struct answer {
    const char *slot;
    bp_error error;
} answer;

void answer_prepare(answer *a, const char *slot);
bp_status answer_take(const subject *u, answer *a, bp_status status);

/* Calls a slot of `operations` with the arguments and &a->error. */
#define CALL(u, a, operations, slot, ...)                                                                                  \
    (answer_prepare((a), #slot), answer_take((u), (a), (operations)->slot(__VA_ARGS__, &(a)->error)))
/* The same of what gives no answer. */
#define CALL_VOID(operations, slot, argument) (doing(#slot), (operations)->slot(argument), doing(NULL))

#endif
