/* block: the threads of one block, run to their end in turns on one thread of the host.
 *
 * Threads are begun on a fiber that they share for as long as none of them waits; one that waits keeps the fiber, and
 * the next begins on another. So a kernel without barriers runs as a loop. */
#ifndef EMULATED_BLOCK_H
#define EMULATED_BLOCK_H

#include "language.h"

struct block_runner;

enum { BLOCK_THREADS = 1024, BLOCK_SHARED = 224 * 1024 };

block_runner *block_runner_new(); /* one for each thread of the host; NULL where there is no memory */
void block_runner_free(block_runner *r);

struct block_work {
    emulated_call *call;
    const void *kernel, *args;
    dim3 grid;
    unsigned threads;
    size_t shared;
    uint64_t order; /* seed of whose turn it is; 0 is ascending */
};

/* NULL, or what is wrong with the kernel: a sentence with static lifetime. */
const char *block_run(block_runner *r, const block_work *work, dim3 index);

#endif
