/* mapping: read-only file maps, and the one SIGBUS handler that keeps them readable.
 *
 * A signal handler can reach static memory only, so the open maps stand in a static table that it walks without locks.
 *   1. A slot's `start` is written last when a map is opened and cleared before it is unmapped: a slot whose `start` reads
 *      the same before and after its `bytes` describes one map.
 *   2. Opening, closing and installing the handler hold `gate`; the handler takes no lock and calls only system calls.
 *   3. The handler is installed while at least one slot is taken, and what was there before is put back afterwards.
 * Maps of anonymous memory (BP_MAPPING_READ) have no slot: they cannot fault, and must not be given back. */
#include "base/mapping.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_MAPS = 1024 };

typedef struct slot {
    atomic_uintptr_t start; /* 0: free */
    atomic_size_t bytes;
    atomic_bool damaged;
} slot;

struct mapping {
    unsigned char *data;
    size_t size, mapped; /* bytes of the file, and of whole pages */
    slot *slot;          /* NULL for anonymous memory */
};

static slot slots[MAX_MAPS];
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static unsigned slots_taken;
static struct sigaction previous;
static atomic_size_t page_bytes; /* sysconf is not for signal handlers */

/* The slot whose map holds `address`, and that map; NULL if there is none. Safe in the handler. */
static slot *find_slot(uintptr_t address, uintptr_t *start, size_t *bytes)
{
    for (size_t i = 0; i < MAX_MAPS; i++) {
        *start = atomic_load(&slots[i].start);
        *bytes = atomic_load(&slots[i].bytes);
        if (*start && address >= *start && address - *start < *bytes && atomic_load(&slots[i].start) == *start)
            return &slots[i];
    }
    return NULL;
}

/* Everything from the faulting page on lies past the file's end, so one call mends all of it. The call is made directly:
 * a handler may use system calls, and mmap may be a library's own function (under ThreadSanitizer it counts as a write). */
static bool mend(uintptr_t address)
{
    uintptr_t start;
    size_t bytes;
    slot *s = find_slot(address, &start, &bytes);
    if (!s)
        return false;
    uintptr_t page = address & ~(uintptr_t)(atomic_load(&page_bytes) - 1);
    atomic_store(&s->damaged, true);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    return syscall(SYS_mmap, page, bytes - (page - start), PROT_READ, flags, -1, 0L) != -1;
}

static void pass_on(int number, siginfo_t *info, void *context)
{
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler == SIG_IGN && info->si_code <= 0) {
        return;
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        /* The default action follows: a fault repeats when this returns, a signal that was sent is sent again. */
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigaction(number, &action, NULL);
        if (info->si_code <= 0)
            raise(number);
    } else {
        previous.sa_handler(number);
    }
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    if (info->si_code <= 0 || !mend((uintptr_t)info->si_addr))
        pass_on(number, info, context);
    errno = saved;
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_bus_error;
}

static bool install_handler(void)
{
    struct sigaction current, action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&action.sa_mask);
    atomic_store(&page_bytes, (size_t)sysconf(_SC_PAGESIZE));
    if (sigaction(SIGBUS, NULL, &current) != 0)
        return false;
    if (is_ours(&current)) /* still there because another handler came after it and went again */
        return true;
    previous = current;
    return sigaction(SIGBUS, &action, NULL) == 0;
}

static void restore_handler(void)
{
    struct sigaction current;
    if (sigaction(SIGBUS, NULL, &current) == 0 && is_ours(&current))
        sigaction(SIGBUS, &previous, NULL);
}

static bp_status take_slot(mapping *m, const char *path, bp_error *error)
{
    bp_status status = BP_OK;
    pthread_mutex_lock(&gate);
    if (slots_taken == 0 && !install_handler()) {
        status = error_set(error, BP_EIO, "%s: cannot guard the map: %s", path, strerror(errno));
    } else {
        size_t i = 0;
        while (i < MAX_MAPS && atomic_load(&slots[i].start))
            i++;
        if (i == MAX_MAPS) {
            status = error_set(error, BP_ELIMIT, "%s: %d files are mapped already; unload a model first", path, MAX_MAPS);
        } else {
            m->slot = &slots[i];
            atomic_store(&m->slot->damaged, false);
            atomic_store(&m->slot->bytes, m->mapped);
            atomic_store(&m->slot->start, (uintptr_t)m->data);
            slots_taken++;
        }
    }
    pthread_mutex_unlock(&gate);
    return status;
}

static void release_slot(mapping *m)
{
    pthread_mutex_lock(&gate);
    atomic_store(&m->slot->start, 0);
    if (--slots_taken == 0)
        restore_handler();
    pthread_mutex_unlock(&gate);
}

static bp_status read_all(int file, mapping *m, const char *path, bp_error *error)
{
    for (size_t at = 0; at < m->size;) {
        ssize_t got = pread(file, m->data + at, m->size - at, (off_t)at);
        if (got < 0 && errno != EINTR)
            return error_set(error, BP_EIO, "%s cannot be read: %s", path, strerror(errno));
        if (got == 0)
            return error_set(error, BP_EIO, "%s became shorter while it was read", path);
        at += got > 0 ? (size_t)got : 0;
    }
    if (mprotect(m->data, m->mapped, PROT_READ) != 0)
        return error_set(error, BP_EIO, "%s cannot be protected in memory: %s", path, strerror(errno));
    return BP_OK;
}

static bp_status map_file(int file, unsigned flags, mapping *m, const char *path, bp_error *error)
{
    bool anonymous = flags & BP_MAPPING_READ;
    void *data = anonymous ? mmap(NULL, m->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                           : mmap(NULL, m->mapped, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED)
        return error_set(error, BP_ENOMEM, "%s cannot be mapped: %s", path, strerror(errno));
    m->data = data;
    return anonymous ? read_all(file, m, path, error) : take_slot(m, path, error);
}

/* The size of a regular file of at most `most` bytes, and that rounded up to pages. */
static bp_status measure(int file, uint64_t most, mapping *m, const char *path, bp_error *error)
{
    struct stat info;
    if (fstat(file, &info) != 0)
        return error_set(error, BP_EIO, "%s cannot be examined: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set(error, BP_EINVAL, "%s is not a regular file", path);
    if (info.st_size <= 0)
        return error_set(error, BP_EINVAL, "%s is empty", path);
    if ((uint64_t)info.st_size > most)
        return error_set(error, BP_ELIMIT, "%s has %lld bytes; %llu are possible", path, (long long)info.st_size,
                         (unsigned long long)most);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    m->size = (size_t)info.st_size;
    m->mapped = (m->size + page - 1) / page * page;
    return BP_OK;
}

static bp_status open_file(const char *path, unsigned flags, uint64_t most, mapping **out, bp_error *error)
{
    /* Not blocking, so that a FIFO is refused and not waited for. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return error_set(error, errno == ENOENT ? BP_ENOTFOUND : BP_EIO, "%s cannot be opened: %s", path, strerror(errno));
    mapping *m = calloc(1, sizeof *m);
    bp_status status = m ? measure(file, most, m, path, error) : error_set(error, BP_ENOMEM, "no memory to open %s", path);
    if (status == BP_OK)
        status = map_file(file, flags, m, path, error);
    close(file);
    if (status == BP_OK)
        *out = m;
    else
        mapping_close(m);
    return status;
}

bp_status mapping_open(const char *path, unsigned flags, mapping **out, bp_error *error)
{
    return open_file(path, flags, UINT64_MAX, out, error);
}

bp_status mapping_read(const char *path, uint64_t most, mapping **out, bp_error *error)
{
    return open_file(path, BP_MAPPING_READ, most, out, error);
}

void mapping_close(mapping *m)
{
    if (!m)
        return;
    if (m->slot)
        release_slot(m);
    if (m->data)
        munmap(m->data, m->mapped);
    free(m);
}

const unsigned char *mapping_data(const mapping *m)
{
    return m->data;
}

uint64_t mapping_size(const mapping *m)
{
    return m->size;
}

bool mapping_damaged(const mapping *m)
{
    return m->slot && atomic_load(&m->slot->damaged);
}

void mapping_forget(const void *data, uint64_t bytes)
{
    uintptr_t address = (uintptr_t)data, start;
    size_t mapped;
    if (!find_slot(address, &start, &mapped))
        return;
    uintptr_t mask = atomic_load(&page_bytes) - 1, end = start + mapped;
    if (bytes < end - address)
        end = address + (uintptr_t)bytes;
    address = (address + mask) & ~mask;
    end &= ~mask;
    if (address < end)
        madvise((void *)address, end - address, MADV_DONTNEED);
}
