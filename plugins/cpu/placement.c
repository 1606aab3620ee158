#include "placement.h"

#include "support.h"
#include "topology.h"

#include <stdlib.h>

/* Cores of one node. */
typedef struct group {
    uint32_t node;
    size_t cores, workers;
} group;

/* The node with most cores first, of equals the one with the lower number. */
static int by_cores(const void *a, const void *b)
{
    const group *x = a, *y = b;
    if (x->cores != y->cores)
        return x->cores > y->cores ? -1 : 1;
    return x->node < y->node ? -1 : 1;
}

static int by_node(const void *a, const void *b)
{
    const group *x = a, *y = b;
    return x->node < y->node ? -1 : 1;
}

/* Groups of the cores, by node; 0 where there are more nodes than a placement can name. */
static size_t group_cores(const core *cores, size_t count, group groups[MAX_NODES])
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        size_t g = 0;
        while (g < n && groups[g].node != cores[i].node)
            g++;
        if (g == n) {
            if (n == MAX_NODES)
                return 0;
            groups[n++] = (group){.node = cores[i].node};
        }
        groups[g].cores++;
    }
    return n;
}

/* Gives each of the first groups its workers, as evenly as their cores allow; returns how many groups that takes. */
static size_t share_out(group *groups, size_t count, size_t workers)
{
    size_t used = 0, room = 0;
    qsort(groups, count, sizeof *groups, by_cores);
    while (room < workers)
        room += groups[used++].cores;
    for (size_t left = workers, g = 0; left > 0; g = (g + 1) % used)
        if (groups[g].workers < groups[g].cores) {
            groups[g].workers++;
            left--;
        }
    qsort(groups, used, sizeof *groups, by_node);
    return used;
}

placement place_workers(const core *cores, size_t count, size_t wanted, size_t quota, bool spread)
{
    group groups[MAX_NODES];
    size_t workers = wanted ? wanted : size_max(1, quota ? size_min(quota, count) : count);
    placement p = {.workers = size_min(workers, MAX_WORKERS), .nodes = 1};
    p.end[0] = p.workers;
    size_t nodes = spread && p.workers <= count ? group_cores(cores, count, groups) : 0;
    if (nodes < 2)
        return p;
    p.binds = true;
    p.nodes = share_out(groups, nodes, p.workers);
    for (size_t n = 0, end = 0; n < p.nodes; n++) {
        p.end[n] = end += groups[n].workers;
        for (size_t i = 0; i < count; i++)
            if (cores[i].node == groups[n].node)
                platform_add_processor(&p.at[n], cores[i].processor);
    }
    return p;
}

size_t placement_node(const placement *p, size_t worker)
{
    size_t node = 0;
    while (node + 1 < p->nodes && worker >= p->end[node])
        node++;
    return node;
}

/* hwloc is asked only where the system says that there is something to find out. */
placement place_here(size_t wanted, bool spread)
{
    static const core any[MAX_WORKERS];
    size_t quota = platform_quota(""), count = 0;
    core *cores = spread && platform_memory_nodes() > 1 ? calloc(MAX_CORES, sizeof *cores) : NULL;
    if (cores)
        count = topology_cores_here(cores, MAX_CORES);
    placement p = count > 0 ? place_workers(cores, count, wanted, quota, true)
                            : place_workers(any, size_min(platform_cores(), MAX_WORKERS), wanted, quota, false);
    free(cores);
    return p;
}
