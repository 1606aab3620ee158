/* reader: a device that reads every byte of a model's weights in every step and answers with a hash of them. Models that it
 * compiles can be told to hold any number of bytes. */
#ifndef TESTS_SUPPORT_READER_H
#define TESTS_SUPPORT_READER_H

#include <backplane/backend.h>
#include <stdatomic.h>

struct bp_device {
    uint32_t steps;
    uint64_t model_bytes; /* of models compiled from now on; 0: what their weights have */
    atomic_uint_fast64_t live_bytes, most_bytes; /* what all models hold, where model_bytes was set: now, and the most ever */
};

extern const bp_backend_ops reader_ops;

#endif
