/* topology: the physical cores of a machine as hwloc sees it. */
#ifndef CPU_TOPOLOGY_H
#define CPU_TOPOLOGY_H

#include "placement.h"

#include <hwloc.h>

/* A core for each physical one that has a processor in `allowed` (NULL: all); returns how many, at most `most`. Nodes are
 * numbered as hwloc numbers them. */
size_t topology_cores(hwloc_topology_t topology, const platform_processors *allowed, core *out, size_t most);

/* Those of this machine that this process may use; 0 where hwloc cannot say. Takes milliseconds. */
size_t topology_cores_here(core *out, size_t most);

#endif
