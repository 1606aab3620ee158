/* rig: a net compiled on a device and stepped by hand, on the plugin under test or on the reference.
 *
 * The reference is the CPU backend's scalar kernels, which are docs/numerics.md in C; they are linked in, so that no file but
 * the plugin matters. A step is a list of turns, one a sequence. Where a step that must go well fails, so does the check. */
#ifndef CONFORMANCE_RIG_H
#define CONFORMANCE_RIG_H

#include "recipes.h"
#include "subject.h"

enum { RIG_TOKENS = 640, RIG_SEQUENCES = 40, RIG_STRIDE = 40, RIG_PAGES = 128 };

typedef struct rig {
    subject *u;
    const bp_backend_ops *ops;
    bp_device *device;
    bp_model *model;
    bp_program program;
    bp_limits limits;
    uint32_t width; /* of an output row */
    int32_t types;  /* of tokens; 0: the program does not ask */
    bool pools, is_reference;
} rig;

/* Tokens [start, start + count) of a sequence whose earlier ones have been run. */
typedef struct turn {
    const int32_t *tokens; /* of the whole sequence */
    int32_t start, count;
    const int32_t *pages; /* of the whole sequence up to start + count */
} turn;

/* A batch and the arrays that it points to, each of exactly the size that it needs. */
typedef struct feed {
    bp_batch batch;
    int32_t *arrays[7];
    size_t bytes[7];
} feed;

bp_limits rig_limits(const net *n, uint32_t kv_dtype); /* usual ones: pages of 16 */

/* On a device of the subject's. False, with the sentence in *a, where supports or compile answers BP_EUNSUPPORTED. */
bool rig_try(rig *r, subject *u, bp_device *device, const net *n, const bp_limits *limits, answer *a);
/* The same; not_offered() where it is not supported. */
void rig_open(rig *r, subject *u, bp_device *device, const net *n, const bp_limits *limits);
/* On the reference, which has every op. */
void rig_reference(rig *r, subject *u, const net *n, const bp_limits *limits);
void rig_close(rig *r); /* releases the model, and closes a reference's device */

void feed_make(feed *f, const rig *r, const turn *turns, uint32_t count);
/* Rows of these indices instead of all tokens. */
void feed_rows(feed *f, const int32_t *rows, uint32_t count);
void feed_spoil(feed *f); /* as a caller may once submit has returned */
void feed_free(feed *f);

void rig_submit(rig *r, const feed *f);
void rig_wait(rig *r, float *out, uint64_t count);
/* One step. out: a row for every token of the turns; of a program that pools, one for every turn. */
void rig_step(rig *r, const turn *turns, uint32_t count, float *out);
size_t rig_floats(const rig *r, const turn *turns, uint32_t count); /* of that step */

/* Equal bits, any NaN being equal to any other; else failed(), with `what` and where. */
void same_bits(const rig *r, const float *expected, const float *got, size_t count, const char *format, ...) BP_PRINTF(5, 6);
/* The same against the reference, within the subject's tolerance. */
void same_as_reference(const rig *r, const float *expected, const float *got, size_t count, const char *format, ...)
    BP_PRINTF(5, 6);

void *need(void *memory); /* what was allocated; ends the check where it is NULL */
float *floats(size_t count);

extern const char *const kv_names[4]; /* of BP_KV_… */

#endif
