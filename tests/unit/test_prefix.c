/* prefix: pages are found by all their tokens and their salt, and go in order of use, children first. */
#include "engine/prefix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAGES = 24, SIZE = 3, ALPHABET = 3, DEPTH = 4 };

typedef struct rig {
    pages *ledger;
    prefix *prefix;
} rig;

static rig open_rig(uint32_t count)
{
    rig g = {0};
    bp_error error = {0};
    if (pages_new(count, &g.ledger, &error) != BP_OK || prefix_new(g.ledger, SIZE, &g.prefix, &error) != BP_OK)
        fail_msg("%s", error.message);
    return g;
}

static void close_rig(rig *g)
{
    while (prefix_evict(g->prefix))
        ;
    assert_int_equal(prefix_count(g->prefix), 0);
    assert_int_equal(pages_available(g->ledger), pages_total(g->ledger));
    prefix_free(g->prefix);
    pages_free(g->ledger);
}

static int32_t add(rig *g, const char *salt, int32_t parent, const int32_t *tokens)
{
    int32_t page;
    assert_true(pages_take(g->ledger, 1, &page));
    assert_int_equal(prefix_find(g->prefix, salt, parent, tokens), PREFIX_NONE);
    assert_true(prefix_add(g->prefix, salt, parent, tokens, page));
    assert_int_equal(pages_references(g->ledger, page), 2);
    assert_int_equal(prefix_holders(g->prefix, page), 1);
    return page;
}

static void pages_are_found_by_salt_and_all_tokens(void **state)
{
    (void)state;
    static const int32_t abc[] = {1, 2, 3}, abd[] = {1, 2, 4}, x[] = {9, 1, 2};
    rig g = open_rig(8);
    int32_t a = add(&g, NULL, PREFIX_ROOT, abc), b = add(&g, NULL, a, abc), c = add(&g, NULL, a, abd);
    int32_t other = add(&g, "tenant", PREFIX_ROOT, abc);
    assert_int_equal(prefix_find(g.prefix, "", PREFIX_ROOT, abc), a);
    assert_int_equal(prefix_find(g.prefix, "tenant", PREFIX_ROOT, abc), other);
    assert_int_equal(prefix_find(g.prefix, "stranger", PREFIX_ROOT, abc), PREFIX_NONE);
    assert_int_equal(prefix_find(g.prefix, NULL, a, abc), b);
    assert_int_equal(prefix_find(g.prefix, NULL, a, abd), c);
    assert_int_equal(prefix_find(g.prefix, NULL, b, abd), PREFIX_NONE);
    assert_int_equal(prefix_find(g.prefix, NULL, other, abc), PREFIX_NONE);
    uint32_t agree = 7;
    assert_int_equal(prefix_find_longest(g.prefix, NULL, a, (const int32_t[]){1, 2, 4}, 2, &agree), c); /* the newest of two */
    assert_int_equal(agree, 2);
    assert_int_equal(prefix_find_longest(g.prefix, NULL, a, abc, 3, &agree), b);
    assert_int_equal(agree, 3);
    assert_int_equal(prefix_find_longest(g.prefix, NULL, a, x, 3, &agree), PREFIX_NONE);
    assert_int_equal(agree, 0);
    assert_int_equal(prefix_find_longest(g.prefix, "stranger", PREFIX_ROOT, abc, 3, &agree), PREFIX_NONE);
    assert_int_equal(prefix_find_longest(g.prefix, "tenant", PREFIX_ROOT, abd, 3, &agree), other);
    assert_int_equal(agree, 2);
    prefix_release(g.prefix, &other, 1);
    prefix_release(g.prefix, (const int32_t[]){a, b, c}, 3);
    close_rig(&g);
}

static void the_oldest_goes_first_and_children_before_parents(void **state)
{
    (void)state;
    static const int32_t t[][SIZE] = {{1, 1, 1}, {2, 2, 2}, {3, 3, 3}, {4, 4, 4}};
    rig g = open_rig(4);
    int32_t run[3] = {add(&g, NULL, PREFIX_ROOT, t[0])}, single = add(&g, NULL, PREFIX_ROOT, t[3]);
    run[1] = add(&g, NULL, run[0], t[1]);
    run[2] = add(&g, NULL, run[1], t[2]);
    assert_false(prefix_evict(g.prefix)); /* all are held */
    prefix_release(g.prefix, run, 3);
    prefix_release(g.prefix, &single, 1);
    prefix_hold(g.prefix, run[0]); /* used again: now it is the newest */
    prefix_release(g.prefix, run, 1);
    assert_int_equal(prefix_idle(g.prefix), 4);
    const int32_t order[] = {run[2], run[1], single, run[0]};
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(prefix_registered(g.prefix, order[i]));
        assert_true(prefix_evict(g.prefix));
        assert_false(prefix_registered(g.prefix, order[i]));
        assert_int_equal(pages_available(g.ledger), i + 1);
    }
    close_rig(&g);
}

/* --- at random ------------------------------------------------------------------------------------------------------------ */

/* What should be registered, as a list that is searched from the start. */
typedef struct known {
    bool there;
    uint32_t salt, depth;
    int32_t run[DEPTH * SIZE];
} known;

static uint32_t roll(uint64_t *random, uint32_t sides)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33) % sides;
}

static int32_t expected(const known *all, uint32_t salt, const int32_t *run, uint32_t depth)
{
    for (int32_t page = 0; page < PAGES; page++)
        if (all[page].there && all[page].salt == salt && all[page].depth == depth &&
            memcmp(all[page].run, run, (depth + 1) * SIZE * sizeof *run) == 0)
            return page;
    return PREFIX_NONE;
}

static void any_order_of_use_finds_what_a_list_finds(void **state)
{
    (void)state;
    static const char *const salts[] = {NULL, "a", "b"};
    known all[PAGES] = {{0}};
    uint64_t random = 1, hits = 0, evictions = 0, misses = 0;
    rig g = open_rig(PAGES);
    for (uint32_t round = 0; round < 20000; round++) {
        int32_t run[DEPTH * SIZE], table[DEPTH], parent = PREFIX_ROOT;
        uint32_t salt = roll(&random, 3), depth = 1 + roll(&random, DEPTH), held = 0;
        for (uint32_t i = 0; i < DEPTH * SIZE; i++)
            run[i] = roll(&random, 4) ? 0 : (int32_t)roll(&random, ALPHABET);
        for (; held < depth; parent = table[held++]) {
            int32_t page = prefix_find(g.prefix, salts[salt], parent, run + held * SIZE);
            assert_int_equal(page, expected(all, salt, run, held));
            if (page != PREFIX_NONE) {
                prefix_hold(g.prefix, page);
                hits++;
            } else {
                if (pages_available(g.ledger) == 0) {
                    assert_true(prefix_evict(g.prefix)); /* others hold nothing */
                    evictions++;
                    for (int32_t i = 0; i < PAGES; i++)
                        all[i].there = all[i].there && prefix_registered(g.prefix, i);
                }
                assert_true(pages_take(g.ledger, 1, &page));
                assert_true(prefix_add(g.prefix, salts[salt], parent, run + held * SIZE, page));
                all[page] = (known){.there = true, .salt = salt, .depth = held};
                memcpy(all[page].run, run, (held + 1) * SIZE * sizeof *run);
                misses++;
            }
            table[held] = page;
        }
        prefix_release(g.prefix, table, held);
        assert_int_equal(prefix_idle(g.prefix), prefix_count(g.prefix));
        assert_int_equal(prefix_count(g.prefix) + pages_available(g.ledger), PAGES);
    }
    print_message("%llu hits, %llu misses, %llu evictions\n", (unsigned long long)hits, (unsigned long long)misses,
                  (unsigned long long)evictions);
    assert_true(hits > 1000 && evictions > 1000);
    close_rig(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_found_by_salt_and_all_tokens),
        cmocka_unit_test(the_oldest_goes_first_and_children_before_parents),
        cmocka_unit_test(any_order_of_use_finds_what_a_list_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
