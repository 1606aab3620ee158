/* Fibers: stacks that one thread of the host runs in turn. What differs between processors is in fiber.cpp. */
#ifndef EMULATED_FIBER_H
#define EMULATED_FIBER_H

#include <cstddef>

struct fiber;

/* A fiber that will run body(context), which never returns; NULL where there is no memory. It never ends by itself. */
fiber *fiber_new(void (*body)(void *context), void *context);
void fiber_free(fiber *f); /* not the one that runs */

/* The thread's own stack as a fiber, to come back to. */
fiber *fiber_of_thread();
void fiber_of_thread_free(fiber *f);

/* Leaves `from`, which is running, and goes on in `to`. */
void fiber_switch(fiber *from, fiber *to);

#endif
