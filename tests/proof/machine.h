/* machine: a program compiled on a backend plugin and stepped by hand.
 *
 * The plugin is loaded as the host loads it and configured through its own options, so any backend can be one. A step is a
 * list of pieces, one a sequence; every token of it gives a row. Where the backend refuses, the process ends with its
 * sentence: a proof that cannot run has failed. */
#ifndef PROOF_MACHINE_H
#define PROOF_MACHINE_H

#include "host/plugins.h"

enum { MACHINE_STEP = 1200, MACHINE_SEQUENCES = 256, MACHINE_STRIDE = 64 };

typedef struct machine machine;

typedef struct machine_setup {
    const plugin *backend;
    const char *isa; /* a word of the option `isa` */
    uint32_t threads;
    uint32_t kv_dtype, page_tokens, page_count;
} machine_setup;

/* Tokens at positions [start, start + count) of a sequence whose earlier ones have been run. */
typedef struct piece {
    const int32_t *tokens; /* [count] */
    int32_t start, count;
    const int32_t *pages; /* of the whole sequence up to start + count */
} piece;

const plugin *machine_load(const char *path);
void machine_unload_all(void);
machine *machine_open(const bp_program *program, const machine_setup *how);
void machine_close(machine *m);

/* One step. out: [tokens of all pieces][output width], or [pieces][output width] of a program that pools. */
void machine_step(machine *m, const piece *pieces, uint32_t count, float *out);
void machine_copy_pages(machine *m, const int32_t *from, const int32_t *to, uint32_t count);

/* The hash of what a cache holds in one slot: K, then V. */
uint64_t machine_kv_hash(machine *m, uint32_t cache, int32_t page, uint32_t slot);

/* FNV-1a, 64 bits, over the four bytes of each float, least significant first. Any NaN is the NaN 0x7fc00000. */
enum { HASH_BEGIN = 0 };
uint64_t hash_floats(uint64_t hash, const float *values, size_t count);

/* The first index at which bits differ, any NaN being equal to any other; -1 where none does. */
long first_difference(const float *a, const float *b, size_t count);

/* Ends the process with a sentence. */
void die(const char *format, ...) BP_PRINTF(1, 2) __attribute__((noreturn));

#endif
