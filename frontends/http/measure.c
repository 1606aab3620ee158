#include "http/measure.h"

#include <stdarg.h>
#include <stdio.h>

static const double bounds[MEASURE_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60};

void measures_init(measures *m)
{
    *m = (measures){0};
    pthread_mutex_init(&m->lock, NULL);
}

void measures_free(measures *m)
{
    pthread_mutex_destroy(&m->lock);
}

static void observe(histogram *h, double seconds, uint64_t times)
{
    size_t bucket = 0;
    while (bucket < MEASURE_BUCKETS && seconds > bounds[bucket])
        bucket++;
    h->counts[bucket] += times;
    h->total += times;
    h->sum += seconds * (double)times;
}

void measures_request(measures *m, int status, double seconds)
{
    pthread_mutex_lock(&m->lock);
    size_t i = 0;
    while (i + 1 < MEASURE_STATUSES && m->statuses[i].status && m->statuses[i].status != status)
        i++;
    m->statuses[i].status = status;
    m->statuses[i].count++;
    observe(&m->duration, seconds, 1);
    pthread_mutex_unlock(&m->lock);
}

void measures_first_token(measures *m, double seconds)
{
    pthread_mutex_lock(&m->lock);
    observe(&m->first_token, seconds, 1);
    pthread_mutex_unlock(&m->lock);
}

void measures_interval(measures *m, double seconds, uint32_t tokens)
{
    pthread_mutex_lock(&m->lock);
    observe(&m->token_interval, seconds, tokens);
    pthread_mutex_unlock(&m->lock);
}

static BP_PRINTF(2, 3) bool print(text *out, const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return length > 0 && (size_t)length < sizeof line && text_append(out, line, (size_t)length);
}

static bool print_histogram(text *out, const char *name, const char *help, const histogram *h)
{
    bool good = print(out, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    uint64_t below = 0;
    for (size_t i = 0; good && i < MEASURE_BUCKETS; i++) {
        below += h->counts[i];
        good = print(out, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], (unsigned long long)below);
    }
    return good && print(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name, (unsigned long long)h->total, name,
                         h->sum, name, (unsigned long long)h->total);
}

bool measures_print(measures *m, text *out)
{
    pthread_mutex_lock(&m->lock);
    bool good = print(out, "# HELP backplane_http_requests_total Requests by status of the response.\n"
                           "# TYPE backplane_http_requests_total counter\n");
    for (size_t i = 0; good && i < MEASURE_STATUSES && m->statuses[i].status; i++)
        good = print(out, "backplane_http_requests_total{status=\"%d\"} %llu\n", m->statuses[i].status,
                     (unsigned long long)m->statuses[i].count);
    good = good &&
           print_histogram(out, "backplane_http_request_seconds", "From a request's headers to its response's end.", &m->duration) &&
           print_histogram(out, "backplane_time_to_first_token_seconds", "From a request's headers to its first token.",
                           &m->first_token) &&
           print_histogram(out, "backplane_token_interval_seconds", "From a token of an answer to the next.", &m->token_interval);
    pthread_mutex_unlock(&m->lock);
    return good;
}
