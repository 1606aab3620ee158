#include "visits.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const names[AXIS_COUNT] = {
    "sequences a step", "place in the step", "neighbours",       "tokens a prefill step", "cached prefix",  "shared pages",
    "preempted after",  "draft rows",        "draft accepted",   "threads",               "instructions",   "page size",
    "cache type",       "position",          "restarted process", "file mapped or read"};

static uint64_t counts[AXIS_COUNT][VISITS_VALUES];
static bool wanted[AXIS_COUNT][VISITS_VALUES];

void visit(axis a, uint32_t value)
{
    if (value < VISITS_VALUES)
        counts[a][value]++;
}

void visits_want(axis a, uint32_t from, uint32_t to, uint32_t step)
{
    for (uint32_t value = from; value <= to && value < VISITS_VALUES; value += step)
        wanted[a][value] = true;
}

bool visits_report(void)
{
    bool complete = true;
    for (int a = 0; a < AXIS_COUNT; a++) {
        uint64_t total = 0;
        uint32_t different = 0, least = VISITS_VALUES, most = 0, missing = 0, first = 0;
        for (uint32_t v = 0; v < VISITS_VALUES; v++) {
            if (wanted[a][v] && counts[a][v] == 0 && missing++ == 0)
                first = v;
            if (counts[a][v] == 0)
                continue;
            total += counts[a][v];
            different++;
            least = v < least ? v : least;
            most = v;
        }
        if (different == 0 && missing == 0)
            continue;
        printf("  %-22s %4" PRIu32 " values from %" PRIu32 " to %" PRIu32 ", %" PRIu64 " times", names[a], different,
               different ? least : 0, most, total);
        if (missing)
            printf("; NEVER %" PRIu32 " of those wanted, the first %" PRIu32, missing, first);
        printf("\n");
        complete = complete && missing == 0;
    }
    return complete;
}
