/* bench_start: how long a user waits: a new process of this program, from its start to the first byte of an answer. */
#include "commands/bench.h"

#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bp_status spawn(const char *const *arguments, int output, pid_t *child, bp_error *error)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return error_set(error, BP_ENOMEM, "no memory to start a process");
    int failed = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!failed)
        failed = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    /* The strings are not written to: POSIX has the parameter's type for history's sake. */
    if (!failed)
        failed = posix_spawn(child, "/proc/self/exe", &actions, NULL, (char *const *)(uintptr_t)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return failed ? error_set(error, BP_EIO, "this program cannot be started again: %s", strerror(failed)) : BP_OK;
}

/* Reads to the end; the time of the first byte, or 0 where there is none. */
static uint64_t read_output(int descriptor)
{
    char bytes[4096];
    uint64_t first = 0;
    for (;;) {
        ssize_t got = read(descriptor, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return first;
        if (!first)
            first = clock_now();
    }
}

static bp_status run_once(const char *const *arguments, double *milliseconds, double *mebibytes, bp_error *error)
{
    int ends[2];
    pid_t child;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(error, BP_EIO, "no pipe: %s", strerror(errno));
    uint64_t begin = clock_now();
    bp_status status = spawn(arguments, ends[1], &child, error);
    close(ends[1]);
    uint64_t first = status == BP_OK ? read_output(ends[0]) : 0;
    close(ends[0]);
    if (status != BP_OK)
        return status;
    int how;
    struct rusage usage;
    while (wait4(child, &how, 0, &usage) < 0)
        if (errno != EINTR)
            return error_set(error, BP_EIO, "the started process cannot be waited for: %s", strerror(errno));
    if (!first || !WIFEXITED(how) || WEXITSTATUS(how) != 0)
        return error_set(error, BP_EIO, "the started process gave no answer");
    *milliseconds = (double)(first - begin) / 1e6;
    *mebibytes = (double)usage.ru_maxrss / 1024.0;
    return BP_OK;
}

bp_status bench_start(const char *const *arguments, uint32_t repetitions, bench_report *report, bp_error *error)
{
    double times[BENCH_MAX_REPETITIONS], sizes[BENCH_MAX_REPETITIONS];
    bp_status status = BP_OK;
    for (uint32_t i = 0; i <= repetitions && status == BP_OK; i++)
        status = run_once(arguments, &times[i ? i - 1 : 0], &sizes[i ? i - 1 : 0], error);
    if (status != BP_OK)
        return status;
    bench_add(report, (bench_row){.name = "start to first token", .unit = "ms"}, 0, times, repetitions);
    bench_add(report, (bench_row){.name = "resident for one answer", .unit = "MiB"}, 0, sizes, repetitions);
    return BP_OK;
}
