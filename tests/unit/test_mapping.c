/* mapping: a file that shrinks under its map is survived, and everything else about SIGBUS is as it was. */
#include "base/mapping.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGES = 8 };

static char path[64];
static size_t page;

static int make_file(void **state)
{
    (void)state;
    page = (size_t)sysconf(_SC_PAGESIZE);
    snprintf(path, sizeof path, "/tmp/backplane-mapping.XXXXXX");
    int file = mkstemp(path);
    char *bytes = malloc(PAGES * page);
    for (size_t i = 0; i < PAGES * page; i++)
        bytes[i] = (char)(1 + i % 101);
    bool written = file >= 0 && write(file, bytes, PAGES * page - 5) == (ssize_t)(PAGES * page - 5);
    free(bytes);
    close(file);
    return written ? 0 : -1;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static mapping *open_map(unsigned flags)
{
    mapping *m = NULL;
    bp_error error = {0};
    if (mapping_open(path, flags, &m, &error) != BP_OK)
        fail_msg("%s", error.message);
    assert_true(mapping_size(m) == PAGES * page - 5);
    return m;
}

static unsigned sum(const mapping *m)
{
    unsigned total = 0;
    for (uint64_t i = 0; i < mapping_size(m); i++)
        total += mapping_data(m)[i];
    return total;
}

static void a_shrunk_file_reads_as_zeros(void **state)
{
    (void)state;
    mapping *m = open_map(0), *twin = open_map(0);
    assert_int_equal(mapping_data(m)[3 * page], 1 + 3 * page % 101);
    assert_false(mapping_damaged(m));
    assert_int_equal(truncate(path, (off_t)(2 * page)), 0);
    assert_int_equal(mapping_data(m)[5 * page], 0);
    assert_int_equal(mapping_data(m)[3 * page], 0);
    assert_int_equal(mapping_data(m)[2 * page - 1], 1 + (2 * page - 1) % 101);
    assert_true(mapping_damaged(m));
    assert_false(mapping_damaged(twin)); /* nobody touched it */
    assert_true(sum(twin) == sum(m));
    assert_true(mapping_damaged(twin));
    mapping_close(m);
    mapping_close(twin);
}

static void *sum_in_thread(void *m)
{
    return (void *)(uintptr_t)sum(m);
}

static void many_threads_touch_it_at_once(void **state)
{
    (void)state;
    mapping *m = open_map(0);
    pthread_t threads[4];
    void *totals[4];
    assert_int_equal(truncate(path, (off_t)page), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sum_in_thread, m), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], &totals[i]);
    for (int i = 1; i < 4; i++)
        assert_ptr_equal(totals[i], totals[0]);
    assert_true(mapping_damaged(m));
    mapping_close(m);
}

static void a_copy_does_not_shrink(void **state)
{
    (void)state;
    mapping *m = open_map(BP_MAPPING_READ);
    unsigned before = sum(m);
    mapping_forget(mapping_data(m), mapping_size(m)); /* not a file: nothing happens */
    assert_int_equal(truncate(path, 0), 0);
    assert_true(sum(m) == before);
    assert_false(mapping_damaged(m));
    mapping_close(m);
}

static void a_file_that_is_too_large_is_not_read(void **state)
{
    (void)state;
    mapping *m = NULL;
    bp_error error = {0};
    assert_int_equal(mapping_read(path, PAGES * page - 6, &m, &error), BP_ELIMIT);
    assert_non_null(strstr(error.message, "bytes; "));
    assert_int_equal(mapping_read(path, PAGES * page - 5, &m, &error), BP_OK);
    assert_true(mapping_size(m) == PAGES * page - 5);
    mapping_close(m);
}

static void forgotten_pages_read_the_same(void **state)
{
    (void)state;
    mapping *m = open_map(0);
    unsigned before = sum(m);
    mapping_forget(mapping_data(m) + 100, 4 * page);
    mapping_forget(mapping_data(m), UINT64_MAX);
    mapping_forget(&before, sizeof before); /* not ours */
    assert_true(sum(m) == before);
    assert_false(mapping_damaged(m));
    mapping_close(m);
    mapping_forget(NULL, 1);
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *path; bp_status status; const char *sentence; } table[] = {
        {"/nowhere/at/all", BP_ENOTFOUND, "/nowhere/at/all cannot be opened: No such file or directory"},
        {"/tmp", BP_EINVAL, "/tmp is not a regular file"},
        {"/dev/null", BP_EINVAL, "/dev/null is not a regular file"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        mapping *m = NULL;
        bp_error error = {0};
        assert_int_equal(mapping_open(table[i].path, 0, &m, &error), table[i].status);
        assert_string_equal(error.message, table[i].sentence);
        assert_null(m);
    }
    mapping *m = NULL;
    bp_error error = {0};
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(mapping_open(path, 0, &m, &error), BP_EINVAL);
    assert_non_null(strstr(error.message, " is empty"));
    mapping_close(NULL);
}

static sigjmp_buf escape;

static void leap(int number)
{
    siglongjmp(escape, number);
}

static const char *volatile touched; /* so that the read below is not optimised away */

/* A fault in a map that is not ours goes to the handler that was there before, and that one is put back at the end. */
static void other_faults_go_on(void **state)
{
    (void)state;
    struct sigaction before, action = {.sa_handler = leap}, now;
    sigaction(SIGBUS, &action, &before);
    mapping *m = open_map(0);
    int file = open(path, O_RDONLY);
    const char *other = mmap(NULL, PAGES * page, PROT_READ, MAP_PRIVATE, file, 0);
    assert_ptr_not_equal(other, MAP_FAILED);
    close(file);
    assert_int_equal(truncate(path, (off_t)page), 0);
    volatile int faulted = sigsetjmp(escape, 1);
    if (!faulted) {
        touched = other + 4 * page;
        fail_msg("read %d where the file has ended", *(const volatile char *)touched);
    }
    assert_int_equal(faulted, SIGBUS);
    assert_false(mapping_damaged(m));
    faulted = sigsetjmp(escape, 1);
    if (!faulted)
        raise(SIGBUS);
    assert_int_equal(faulted, SIGBUS);
    assert_int_equal(mapping_data(m)[4 * page], 0); /* ours is still mended */
    munmap((void *)(uintptr_t)other, PAGES * page);
    mapping_close(m);
    sigaction(SIGBUS, &before, &now);
    assert_true(now.sa_handler == leap);
}

#define ON_A_FILE(test) cmocka_unit_test_setup_teardown(test, make_file, remove_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_FILE(a_shrunk_file_reads_as_zeros),
        ON_A_FILE(many_threads_touch_it_at_once),
        ON_A_FILE(a_copy_does_not_shrink),
        ON_A_FILE(forgotten_pages_read_the_same),
        ON_A_FILE(a_file_that_is_too_large_is_not_read),
        ON_A_FILE(refusals),
        ON_A_FILE(other_faults_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
