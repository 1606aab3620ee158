/* placement: how many workers there are and which processors they run on. Pure functions of what the machine has.
 *
 * A worker is a physical core. Where the machine has several memory nodes, workers are bound to the processors of a node, and
 * weights are put on the node of the worker that reads them (load.c); workers of a node are neighbours by number. */
#ifndef CPU_PLACEMENT_H
#define CPU_PLACEMENT_H

#include "platform.h"

enum { MAX_WORKERS = 256, MAX_NODES = 8, MAX_CORES = PLATFORM_PROCESSORS };

typedef struct core {
    uint32_t processor; /* the first of the core that this process may use */
    uint32_t node;
} core;

typedef struct placement {
    size_t workers, nodes;             /* nodes: those that workers are on, at least 1 */
    bool binds;                        /* else processors are the system's choice */
    size_t end[MAX_NODES];             /* node n has the workers [n ? end[n - 1] : 0, end[n]) */
    platform_processors at[MAX_NODES]; /* its cores */
} placement;

/* `wanted` workers, or with 0 as many as there are cores and `quota` (0: none) allows. If the cores are of several nodes and
 * `spread` is set, workers are bound: to the fewest nodes that have a core for each, evenly; more workers than cores are not. */
placement place_workers(const core *cores, size_t count, size_t wanted, size_t quota, bool spread);

/* The node that a worker is on. */
size_t placement_node(const placement *p, size_t worker);

/* The placement for this machine. */
placement place_here(size_t wanted, bool spread);

#endif
