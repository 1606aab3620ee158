/* pages: the ledger hands out each page once, counts its holders, and gives the same pages again. */
#include "engine/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static pages *open_pages(uint32_t count)
{
    pages *p = NULL;
    bp_error error = {0};
    if (pages_new(count, &p, &error) != BP_OK)
        fail_msg("%s", error.message);
    return p;
}

static void all_or_none_are_taken(void **state)
{
    (void)state;
    pages *p = open_pages(4);
    int32_t held[4] = {-1, -1, -1, -1};
    assert_int_equal(pages_total(p), 4);
    assert_true(pages_take(p, 3, held));
    assert_int_equal(pages_available(p), 1);
    assert_false(pages_take(p, 2, held + 3 - 1));
    assert_int_equal(held[2], 2); /* a failed take writes nothing */
    assert_int_equal(pages_available(p), 1);
    assert_true(pages_take(p, 0, NULL));
    assert_true(pages_take(p, 1, held + 3));
    for (int32_t i = 0; i < 4; i++) {
        assert_int_equal(held[i], i);
        assert_int_equal(pages_references(p, i), 1);
    }
    pages_release(p, held, 4);
    assert_int_equal(pages_available(p), 4);
    pages_free(p);
}

static void a_page_is_free_when_its_last_holder_leaves(void **state)
{
    (void)state;
    pages *p = open_pages(2);
    int32_t a[2], b[1];
    assert_true(pages_take(p, 2, a));
    pages_retain(p, a[1]);
    b[0] = a[1];
    assert_int_equal(pages_references(p, a[1]), 2);
    pages_release(p, a, 2);
    assert_int_equal(pages_available(p), 1);
    assert_int_equal(pages_references(p, b[0]), 1);
    assert_false(pages_take(p, 2, a));
    pages_release(p, b, 1);
    assert_int_equal(pages_available(p), 2);
    pages_free(p);
}

static void the_last_pages_released_are_the_next_taken(void **state)
{
    (void)state;
    pages *p = open_pages(8);
    int32_t first[3], other[2], again[3];
    assert_true(pages_take(p, 3, first));
    assert_true(pages_take(p, 2, other));
    pages_release(p, first, 3);
    assert_true(pages_take(p, 3, again));
    assert_memory_equal(first, again, sizeof first);
    pages_free(p);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    pages *p = NULL;
    bp_error error = {0};
    assert_int_equal(pages_new(0, &p, &error), BP_EINVAL);
    assert_int_equal(pages_new((uint32_t)INT32_MAX + 1, &p, &error), BP_EINVAL);
    assert_null(p);
    pages_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_or_none_are_taken),
        cmocka_unit_test(a_page_is_free_when_its_last_holder_leaves),
        cmocka_unit_test(the_last_pages_released_are_the_next_taken),
        cmocka_unit_test(impossible_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
