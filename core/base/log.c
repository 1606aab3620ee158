#include "base/log.h"

#include "base/mapping.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int threshold = BP_LOG_INFO;

void log_set_level(int level)
{
    atomic_store_explicit(&threshold, level, memory_order_relaxed);
}

/* One write, so that lines of several threads do not mix. */
static void write_line(int level, const char *format, va_list arguments)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    if (level < atomic_load_explicit(&threshold, memory_order_relaxed))
        return;
    char line[1200];
    int used = snprintf(line, sizeof line, "backplane: %s%s", level == BP_LOG_INFO ? "" : names[level & 3],
                        level == BP_LOG_INFO ? "" : ": ");
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    size_t length = strlen(line);
    if (more >= 0 && (length == 0 || line[length - 1] != '\n'))
        line[length++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, length);
    (void)ignored;
}

void log_line(int level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(level, format, arguments);
    va_end(arguments);
}

uint64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void BP_PRINTF(3, 4) host_log(void *context, int level, const char *format, ...)
{
    (void)context;
    va_list arguments;
    va_start(arguments, format);
    write_line(level, format, arguments);
    va_end(arguments);
}

static uint64_t host_now(void *context)
{
    (void)context;
    return clock_now();
}

static void host_weight_consumed(void *context, const void *data, uint64_t bytes)
{
    (void)context;
    mapping_forget(data, bytes);
}

const bp_host *log_host(void)
{
    static const bp_host host = {
        .size = sizeof host, .log = host_log, .now = host_now, .weight_consumed = host_weight_consumed};
    return &host;
}
