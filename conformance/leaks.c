#include "leaks.h"

#include "check.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

typedef struct held {
    long heap, resident, maps, threads, files; /* bytes, bytes, and numbers */
} held;

static long entries(const char *folder)
{
    DIR *d = opendir(folder);
    long count = 0;
    while (d && readdir(d))
        count++;
    if (d)
        closedir(d);
    return count;
}

static long lines(const char *path)
{
    FILE *f = fopen(path, "r");
    long count = 0;
    for (int c; f && (c = fgetc(f)) != EOF;)
        count += c == '\n';
    if (f)
        fclose(f);
    return count;
}

static held hold(void)
{
    held h = {0};
    struct mallinfo2 heap = mallinfo2();
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    h.heap = (long)(heap.uordblks + heap.hblkhd);
    h.resident = pages * sysconf(_SC_PAGESIZE);
    h.maps = lines("/proc/self/maps");
    h.threads = entries("/proc/self/task");
    h.files = entries("/proc/self/fd");
    return h;
}

/* Something of `before`, `middle` and `after` that grew twice, by at least `least` each time. */
static bool grew(long before, long middle, long after, long least)
{
    return middle - before >= least && after - middle >= least;
}

static void hold_against(held a, held b, held c, int times, const char *what)
{
    if (grew(a.threads, b.threads, c.threads, times / 4))
        failed("%ld threads stay after %d times %s", c.threads - b.threads, times, what);
    if (grew(a.files, b.files, c.files, times / 4))
        failed("%ld files stay open after %d times %s", c.files - b.files, times, what);
    if (SANITIZED)
        return;
    if (grew(a.heap, b.heap, c.heap, 16L * times))
        failed("%ld bytes of the heap stay after %d times %s", c.heap - b.heap, times, what);
    if (grew(a.maps, b.maps, c.maps, times / 4))
        failed("%ld maps of memory stay after %d times %s", c.maps - b.maps, times, what);
    if (grew(a.resident, b.resident, c.resident, 4096L * times))
        failed("%ld bytes of memory stay after %d times %s", c.resident - b.resident, times, what);
}

void leaks_of(void (*once)(void *with), void *with, int times, const char *what)
{
    held h[4];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < times; i++)
            once(with);
        h[round] = hold();
    }
    hold_against(h[1], h[2], h[3], times, what);
}
