/* bench: what the parts of the command share. A measurement is a row: a name, where it was taken, and the median of its
 * repetitions; the table, CSV and JSON are three ways to write the same rows. */
#ifndef BACKPLANE_COMMANDS_BENCH_H
#define BACKPLANE_COMMANDS_BENCH_H

#include "commands/session.h"
#include "engine/loaded.h"

enum { BENCH_MAX_ROWS = 128, BENCH_MAX_LIST = 16, BENCH_MAX_REPETITIONS = 100 };

typedef struct bench_row {
    const char *name, *unit;
    uint32_t tokens, batch, depth; /* 0 where they have no meaning; tokens of one sequence */
    uint32_t repetitions;
    double median, min, max;
} bench_row;

typedef struct bench_list {
    uint32_t values[BENCH_MAX_LIST];
    size_t count;
} bench_list;

typedef struct bench_plan {
    bench_list prompts, decodes, batches, depths;
    uint32_t repetitions;
} bench_plan;

typedef struct bench_report {
    const loaded *model;
    bench_row rows[BENCH_MAX_ROWS];
    size_t count;
    bool live; /* each row is printed to the table as it comes */
} bench_report;

/* Sorts the samples. Rows beyond BENCH_MAX_ROWS are dropped. */
void bench_add(bench_report *r, bench_row row, double *samples, uint32_t count);
void bench_print_head(const bench_report *r);
void bench_print_csv(const bench_report *r);
bool bench_print_json(const bench_report *r); /* false when out of memory */

/* Limits that hold every case of the plan. */
void bench_limits(const bench_plan *plan, engine_model *model);
/* Prefill and decode, driven through the backend's own operations. */
bp_status bench_steps(const bench_plan *plan, const loaded *l, bench_report *report, bp_error *error);

/* Runs `arguments` (argv, NULL-terminated) of this program and measures from its start to the first byte of its output, and
 * the most memory that it had resident. Before the caller has much memory of its own, which the system counts in. */
bp_status bench_start(const char *const *arguments, uint32_t repetitions, bench_report *report, bp_error *error);

#endif
