/* log: one line a call to stderr, from main, the engine's loop and frontends only. The sink is the one piece of global
 * state in the core. Any thread. */
#ifndef BACKPLANE_BASE_LOG_H
#define BACKPLANE_BASE_LOG_H

#include <backplane/plugin.h>

void log_set_level(int level); /* BP_LOG_…; lines below it are dropped; INFO at start */
void log_line(int level, const char *format, ...) BP_PRINTF(2, 3);
/* Monotonic nanoseconds. */
uint64_t clock_now(void);
/* The host table that plugins get. */
const bp_host *log_host(void);

#endif
