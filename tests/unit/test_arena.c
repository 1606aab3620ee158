/* arena: zeroed, aligned, and whole after large blocks came between. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool is_zero(const unsigned char *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (memory[i] != 0)
            return false;
    return true;
}

static void blocks_of_all_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,       16,      100,     16 << 10, (16 << 10) + 1,      64 << 10, (2 << 20) - 1,
                                   2 << 20, 7,       5 << 20, 3,        (4 << 20) + 4097, 40};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    unsigned char *blocks[COUNT];
    arena *a = arena_new();
    assert_non_null(a);
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = arena_alloc(a, sizes[i]);
        assert_non_null(blocks[i]);
        assert_true((uintptr_t)blocks[i] % 16 == 0 && is_zero(blocks[i], sizes[i]));
        memset(blocks[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            if (blocks[i][k] != i + 1)
                fail_msg("byte %zu of block %zu was overwritten", k, i);
    arena_free(a);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    arena *a = arena_new();
    assert_non_null(a);
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_alloc(a, SIZE_MAX - 64));
    assert_null(arena_alloc(a, SIZE_MAX / 2));
    assert_null(arena_array(a, SIZE_MAX / 2, 3));
    assert_string_equal(arena_string(a, "still there"), "still there");
    assert_null(arena_string(a, NULL));
    arena_free(a);
    arena_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_all_sizes),
        cmocka_unit_test(impossible_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
