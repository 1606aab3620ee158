/* A step's input is checked once more before anything of it is an index: the core has done so, a mistake in it must not
 * reach memory that is not the model's. */
#ifndef PLUGINS_BATCH_CHECK_H
#define PLUGINS_BATCH_CHECK_H

#include "support.h"

typedef struct batch_rules {
    const char *backend; /* the plugin's name, which begins each sentence */
    const bp_limits *limits;
    size_t vocab_size;
    bool caches; /* the program has any */
    size_t types; /* of tokens; 0: the program does not ask */
} batch_rules;

/* BP_OK, or BP_EINVAL or BP_ELIMIT and a sentence. */
bp_status check_batch(const batch_rules *rules, const bp_batch *batch, bp_error *error);

#endif
