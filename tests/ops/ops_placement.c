/* placement: from a machine's topology to workers on nodes, on machines that hwloc makes up, and what control groups allow. */
#include "topology.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static size_t cores_of(const char *description, const platform_processors *allowed, core *out)
{
    hwloc_topology_t topology;
    assert_int_equal(hwloc_topology_init(&topology), 0);
    assert_int_equal(hwloc_topology_set_synthetic(topology, description), 0);
    assert_int_equal(hwloc_topology_load(topology), 0);
    size_t count = topology_cores(topology, allowed, out, MAX_CORES);
    hwloc_topology_destroy(topology);
    return count;
}

static size_t processors_in(const platform_processors *set)
{
    size_t count = 0;
    for (size_t i = 0; i < PLATFORM_PROCESSORS; i++)
        count += platform_has_processor(set, i);
    return count;
}

static void threads_of_a_core_count_once(void **state)
{
    (void)state;
    static core cores[MAX_CORES];
    assert_int_equal(cores_of("node:2 core:4 pu:2", NULL, cores), 8);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(cores[i].processor == 2 * i && cores[i].node == i / 4);
    /* Of the first core only its second thread, of the last one nothing. */
    platform_processors allowed = {0};
    for (size_t i = 1; i < 14; i++)
        platform_add_processor(&allowed, i);
    assert_int_equal(cores_of("node:2 core:4 pu:2", &allowed, cores), 7);
    assert_int_equal(cores[0].processor, 1);
    assert_int_equal(cores[6].processor, 12);
}

static void workers_are_cores_within_the_quota(void **state)
{
    (void)state;
    static core cores[MAX_CORES];
    size_t count = cores_of("node:1 core:64 pu:2", NULL, cores);
    assert_int_equal(place_workers(cores, count, 0, 0, true).workers, 64);
    assert_int_equal(place_workers(cores, count, 0, 2, true).workers, 2);
    assert_int_equal(place_workers(cores, count, 0, 200, true).workers, 64);
    assert_int_equal(place_workers(cores, count, 5, 2, true).workers, 5); /* who says a number gets it */
    assert_int_equal(place_workers(cores, count, 100, 0, true).workers, 100);
    assert_int_equal(place_workers(cores, 0, 0, 0, true).workers, 1);
    placement p = place_workers(cores, count, 0, 0, true);
    assert_true(!p.binds && p.nodes == 1 && p.end[0] == 64);
}

static void workers_spread_over_nodes(void **state)
{
    (void)state;
    static core cores[MAX_CORES];
    size_t count = cores_of("node:2 core:4 pu:2", NULL, cores);
    placement p = place_workers(cores, count, 0, 0, true);
    assert_true(p.binds && p.workers == 8 && p.nodes == 2 && p.end[0] == 4 && p.end[1] == 8);
    for (size_t worker = 0; worker < 8; worker++)
        assert_int_equal(placement_node(&p, worker), worker / 4);
    assert_int_equal(processors_in(&p.at[0]), 4);
    assert_true(platform_has_processor(&p.at[1], 8) && !platform_has_processor(&p.at[1], 9));
    /* Evenly over as few nodes as hold them. */
    p = place_workers(cores, count, 5, 0, true);
    assert_true(p.binds && p.nodes == 2 && p.end[0] == 3 && p.end[1] == 5);
    p = place_workers(cores, count, 3, 0, true);
    assert_true(p.binds && p.nodes == 1 && p.end[0] == 3 && processors_in(&p.at[0]) == 4);
    p = place_workers(cores, count, 0, 2, true);
    assert_true(p.binds && p.nodes == 1 && p.workers == 2);
    /* Not where it is not wanted, nor with more workers than cores. */
    assert_false(place_workers(cores, count, 0, 0, false).binds);
    assert_false(place_workers(cores, count, 9, 0, true).binds);
}

static void uneven_and_many_nodes(void **state)
{
    (void)state;
    static core cores[MAX_CORES];
    const core uneven[] = {{7, 3}, {1, 0}, {2, 0}, {3, 0}, {9, 3}, {4, 0}};
    placement p = place_workers(uneven, 6, 0, 0, true);
    assert_true(p.nodes == 2 && p.end[0] == 4 && p.end[1] == 6);
    assert_true(platform_has_processor(&p.at[1], 7) && platform_has_processor(&p.at[1], 9));
    p = place_workers(uneven, 6, 5, 0, true);
    assert_true(p.nodes == 2 && p.end[0] == 3 && p.end[1] == 5);
    size_t count = cores_of("node:8 core:16 pu:1", NULL, cores);
    p = place_workers(cores, count, 0, 0, true);
    assert_true(p.binds && p.nodes == 8 && p.workers == 128 && p.end[7] == 128);
    count = cores_of("node:16 core:2 pu:1", NULL, cores);
    p = place_workers(cores, count, 0, 0, true);
    assert_true(!p.binds && p.nodes == 1 && p.workers == 32); /* more nodes than are told apart */
}

/* --- quotas ----------------------------------------------------------------------------------------------------------- */

static char root[] = "/tmp/backplane-quota-XXXXXX";

static void put(const char *path, const char *text)
{
    char full[512];
    int length = snprintf(full, sizeof full, "%s%s", root, path);
    assert_true(length > 0 && (size_t)length < sizeof full);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0';
        (void)mkdir(full, 0700);
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

static void quotas_are_read(void **state)
{
    (void)state;
    assert_int_equal(platform_quota(root), 0);
    put("/proc/self/cgroup", "0::/\n");
    assert_int_equal(platform_quota(root), 0);
    put("/sys/fs/cgroup/cpu.max", "max 100000\n");
    assert_int_equal(platform_quota(root), 0);
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    assert_int_equal(platform_quota(root), 2);
    put("/sys/fs/cgroup/cpu.max", "250000 100000\n");
    assert_int_equal(platform_quota(root), 2);
    put("/sys/fs/cgroup/cpu.max", "50000 100000\n");
    assert_int_equal(platform_quota(root), 1);
    /* The smallest of the group and those above it; a group that is not to be seen from here counts by what is. */
    put("/sys/fs/cgroup/cpu.max", "600000 100000\n");
    put("/proc/self/cgroup", "0::/a/b\n");
    assert_int_equal(platform_quota(root), 6);
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    assert_int_equal(platform_quota(root), 3);
    /* Version 1. */
    put("/proc/self/cgroup", "5:cpuset:/x\n4:cpu,cpuacct:/c\n0::/\n");
    put("/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n");
    assert_int_equal(platform_quota(root), 6);
    put("/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "400000\n");
    assert_int_equal(platform_quota(root), 4);
    put("/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "nonsense\n");
    put("/sys/fs/cgroup/cpu.max", "\n");
    assert_int_equal(platform_quota(root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_of_a_core_count_once),
        cmocka_unit_test(workers_are_cores_within_the_quota),
        cmocka_unit_test(workers_spread_over_nodes),
        cmocka_unit_test(uneven_and_many_nodes),
        cmocka_unit_test_setup_teardown(quotas_are_read, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
