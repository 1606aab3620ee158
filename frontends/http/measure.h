/* measure: what is counted over all requests, and written about each. Any thread. */
#ifndef BACKPLANE_HTTP_MEASURE_H
#define BACKPLANE_HTTP_MEASURE_H

#include "common/text.h"

#include <backplane/plugin.h>
#include <pthread.h>

enum { MEASURE_BUCKETS = 14, MEASURE_STATUSES = 24 };

typedef struct histogram {
    uint64_t counts[MEASURE_BUCKETS + 1]; /* the last: above all bounds */
    uint64_t total;
    double sum; /* seconds */
} histogram;

typedef struct measures {
    pthread_mutex_t lock;
    struct { int status; uint64_t count; } statuses[MEASURE_STATUSES]; /* status 0: unused */
    histogram duration, first_token, token_interval;
} measures;

void measures_init(measures *m);
void measures_free(measures *m);
void measures_request(measures *m, int status, double seconds);
void measures_first_token(measures *m, double seconds);
void measures_interval(measures *m, double seconds, uint32_t tokens); /* between tokens, on average over so many */
/* Appends them in Prometheus's text format (version 0.0.4); false when out of memory. */
bool measures_print(measures *m, text *out);

#endif
