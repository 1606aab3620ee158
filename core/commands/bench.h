/* bench: what the parts of the command share. A measurement is a row: a name, where it was taken, and the median of its
 * repetitions; the table, CSV and JSON are three ways to write the same rows.
 *
 * A row of steps also knows what it must at least read and compute, so that next to the device's roofs it reads as a
 * fraction of its limit. */
#ifndef BACKPLANE_COMMANDS_BENCH_H
#define BACKPLANE_COMMANDS_BENCH_H

#include "commands/session.h"
#include "engine/loaded.h"

enum { BENCH_MAX_ROWS = 128, BENCH_MAX_LIST = 16, BENCH_MAX_REPETITIONS = 100 };

/* The least that steps do on any device: each weight that a step uses is read once, and so are the keys and values that its
 * sequences attend to. Sums and products both count. */
typedef struct bench_cost {
    double bytes, int8_ops, fp32_ops, bf16_ops;
} bench_cost;

typedef struct bench_row {
    const char *name, *unit;
    uint32_t tokens, batch, depth; /* 0 where they have no meaning; tokens of one sequence */
    uint32_t repetitions;
    double median, min, max;
    bench_cost cost;       /* of one repetition; zero where it has no meaning */
    double seconds;        /* of the median repetition that the cost belongs to */
} bench_row;

/* What a row is of the device's roofs: 0 where unknown. */
typedef struct bench_share {
    double bandwidth, compute;
} bench_share;

typedef struct bench_list {
    uint32_t values[BENCH_MAX_LIST];
    size_t count;
} bench_list;

typedef struct bench_plan {
    bench_list prompts, decodes, embeds, batches, depths;
    uint32_t repetitions;
} bench_plan;

/* The machine in words and numbers; 0 and "" where the system does not say. */
typedef struct bench_machine {
    char processor[128], features[128], kernel[128];
    uint32_t processors, numa_nodes; /* processors that this process may use */
    uint64_t memory, last_cache;     /* bytes */
    double load;                     /* processes that wanted to run in the last minute, before anything was measured */
} bench_machine;

typedef struct bench_report {
    const loaded *model;
    bench_machine machine;
    bp_roofs roofs; /* zero where the backend knows none */
    bench_row rows[BENCH_MAX_ROWS];
    size_t count;
    bool peak_is_known; /* what the system counts as most resident is the model's */
    bool live; /* each row is printed to the table as it comes */
} bench_report;

/* Sorts the samples. `amount` is what one repetition did of the unit: the samples are rates of it, or 0 where they are none.
 * Rows beyond BENCH_MAX_ROWS are dropped. */
void bench_add(bench_report *r, bench_row row, double amount, double *samples, uint32_t count);
const char *bench_backend_name(const bench_report *r); /* the device's, or the backend's where it has none */
void bench_print_head(const bench_report *r);
void bench_print_csv(const bench_report *r);
bool bench_print_json(const bench_report *r); /* false when out of memory */

void bench_machine_read(bench_machine *out);
bench_share bench_share_of(const bench_row *row, const bp_roofs *roofs);

/* Adds what one step of `batch` costs. `kv_dtype` is of bp_limits. */
void bench_cost_add(bench_cost *cost, const model_file *file, uint32_t kv_dtype, const bp_batch *batch);

/* Limits that hold every case of the plan that is an embedder's, or a decoder's. */
void bench_limits(const bench_plan *plan, bool embeds, engine_model *model);
/* Prefill and decode of a decoder, embedding of an embedder, driven through the backend's own operations. */
bp_status bench_steps(const bench_plan *plan, const loaded *l, bench_report *report, bp_error *error);

/* Runs `arguments` (argv, NULL-terminated) of this program and measures from its start to the first byte of its output, and
 * the most memory that it had resident. Before the caller has much memory of its own, which the system counts in. */
bp_status bench_start(const char *const *arguments, uint32_t repetitions, bench_report *report, bp_error *error);

#endif
