#include "repl/wake.h"

#include "common/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* A handler is given nothing but its number. */
static volatile sig_atomic_t handler_descriptor = -1;

static void tell(int descriptor, char word)
{
    ssize_t ignored = write(descriptor, &word, 1);
    (void)ignored;
}

static void on_signal(int number)
{
    int saved = errno;
    tell(handler_descriptor, number == SIGINT ? 'i' : 'r');
    errno = saved;
}

bp_status wake_init(wake *w, bp_error *error)
{
    *w = (wake){.pipe = {-1, -1}};
    atomic_init(&w->stopping, false);
    if (pipe2(w->pipe, O_NONBLOCK | O_CLOEXEC) != 0)
        return fail(error, BP_EIO, "a pipe cannot be opened: %s", strerror(errno));
    return BP_OK;
}

void wake_clear(wake *w)
{
    wake_release(w);
    for (int i = 0; i < 2; i++)
        if (w->pipe[i] >= 0)
            close(w->pipe[i]);
}

void wake_catch(wake *w)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    handler_descriptor = w->pipe[1];
    sigaction(SIGINT, &action, &w->interrupt_before);
    sigaction(SIGWINCH, &action, &w->resize_before);
    w->catching = true;
}

void wake_release(wake *w)
{
    if (!w->catching)
        return;
    sigaction(SIGINT, &w->interrupt_before, NULL);
    sigaction(SIGWINCH, &w->resize_before, NULL);
    w->catching = false;
}

void wake_stop(wake *w)
{
    atomic_store(&w->stopping, true);
    tell(w->pipe[1], 's');
}

void wake_read(wake *w)
{
    char words[64];
    ssize_t count;
    while ((count = read(w->pipe[0], words, sizeof words)) > 0)
        for (ssize_t i = 0; i < count; i++) {
            w->interrupted |= words[i] == 'i';
            w->resized |= words[i] == 'r';
        }
}

bool wake_wait(wake *w, int descriptor)
{
    struct pollfd waiting[2] = {{.fd = descriptor, .events = POLLIN}, {.fd = w->pipe[0], .events = POLLIN}};
    for (;;) {
        wake_read(w);
        if (atomic_load(&w->stopping) || w->interrupted || w->resized)
            return false;
        if (poll(waiting, 2, -1) < 0 && errno != EINTR)
            return true; /* the read that follows has the error */
        if (waiting[0].revents && !waiting[1].revents)
            return true;
    }
}
