#include "repl/progress.h"

#include <stdio.h>
#include <string.h>

enum { PATIENCE_NS = 500000000, CELLS = 30 };

void progress_begin(progress *p, const bp_host *host, screen *s)
{
    *p = (progress){.host = host, .screen = s, .began = host->now(host->context), .shown = -1};
}

void progress_show(void *user, double fraction, const char *what)
{
    progress *p = user;
    int percent = fraction <= 0 ? 0 : fraction >= 1 ? 100 : (int)(fraction * 100);
    if (!p->screen->terminal || percent == p->shown || p->host->now(p->host->context) - p->began < PATIENCE_NS)
        return;
    p->shown = percent;
    char bar[CELLS + 1], line[160];
    memset(bar, ' ', CELLS);
    memset(bar, '#', (size_t)(percent * CELLS / 100));
    bar[CELLS] = '\0';
    snprintf(line, sizeof line, "[%s] %3d%% %.60s", bar, percent, what ? what : "");
    screen_replace_line(p->screen, line);
}

void progress_end(progress *p)
{
    if (p->shown >= 0) {
        screen_replace_line(p->screen, "");
        p->screen->within_line = false;
    }
}
