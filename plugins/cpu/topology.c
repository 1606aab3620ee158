#include "topology.h"

static bool is_allowed(const platform_processors *allowed, unsigned processor)
{
    return processor < PLATFORM_PROCESSORS && (!allowed || platform_has_processor(allowed, processor));
}

/* The first allowed processor of a core, or -1. */
static int first_allowed(hwloc_const_cpuset_t set, const platform_processors *allowed)
{
    int processor = hwloc_bitmap_first(set);
    while (processor >= 0 && !is_allowed(allowed, (unsigned)processor))
        processor = hwloc_bitmap_next(set, processor);
    return processor;
}

size_t topology_cores(hwloc_topology_t topology, const platform_processors *allowed, core *out, size_t most)
{
    size_t count = 0;
    hwloc_obj_t at = NULL;
    while (count < most && (at = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, at)) != NULL) {
        int processor = first_allowed(at->cpuset, allowed), node = at->nodeset ? hwloc_bitmap_first(at->nodeset) : 0;
        if (processor >= 0)
            out[count++] = (core){(uint32_t)processor, node > 0 ? (uint32_t)node : 0};
    }
    return count;
}

size_t topology_cores_here(core *out, size_t most)
{
    hwloc_topology_t topology;
    platform_processors allowed;
    size_t count = 0;
    if (hwloc_topology_init(&topology) != 0)
        return 0;
    if (platform_allowed(&allowed) && hwloc_topology_load(topology) == 0)
        count = topology_cores(topology, &allowed, out, most);
    hwloc_topology_destroy(topology);
    return count;
}
