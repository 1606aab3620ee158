/* leaks: what stays when something was done many times.
 *
 * Counted by the C library, in pages that are resident, maps, threads and open files. A first round warms up; only what grows in
 * each of two further rounds is a leak. A sanitizer has its own way to count memory, when the process ends. */
#ifndef CONFORMANCE_LEAKS_H
#define CONFORMANCE_LEAKS_H

/* failed() where something stays after so many times; `what` is how the sentence goes on: "a device was opened". */
void leaks_of(void (*once)(void *with), void *with, int times, const char *what);

#endif
