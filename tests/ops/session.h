/* session: nets compiled on the CPU backend that is linked in, or on another of its plugins, and stepped by hand.
 *
 * A step is a list of parts, one a sequence. Mistakes of a test end the program with a message. */
#ifndef OPS_SESSION_H
#define OPS_SESSION_H

#include "net.h"

#include <backplane/backend.h>

#include "device.h"

typedef struct setup {
    const bp_backend_ops *ops; /* NULL: those linked in */
    int32_t isa;
    int32_t threads, nodes; /* nodes > 1: threads are spread as over so many memory nodes */
    uint32_t kv_dtype, page_tokens, page_count, max_tokens, max_seqs; /* 0: a usual value */
    int32_t type; /* of every token; 0 leaves the batch without types */
} setup;

typedef struct part {
    const int32_t *tokens;
    int32_t count, start; /* tokens [start, start + count) of the sequence */
    const int32_t *pages;
} part;

typedef struct session {
    setup how;
    uint32_t width;
    bp_device *device;
    bp_model *model;
} session;

void session_open(session *s, const net *n, const setup *how);
void session_close(session *s);
/* An output row for every token (all), or for the last of each part; a pooling net yields one a part. */
void session_step(session *s, const part *parts, uint32_t count, bool all, float *out);

/* The instruction sets of this processor, generic first. */
int session_isas(int32_t isas[4]);
const bp_backend_ops *session_linked_ops(void);
const bp_host *session_host(void);

#endif
