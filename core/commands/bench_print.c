/* bench_print: the report as a table for people, as CSV, and as JSON. */
#include "commands/bench.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_number(uint32_t value, int width)
{
    if (value)
        printf(" %*" PRIu32, width, value);
    else
        printf(" %*s", width, "");
}

/* The greater share is what holds the figure down. */
static void print_share(const bench_row *row, const bp_roofs *roofs)
{
    bench_share share = bench_share_of(row, roofs);
    if (share.bandwidth > 0 && share.bandwidth >= share.compute)
        printf("  %3.0f %% of bandwidth", 100 * share.bandwidth);
    else if (share.compute > 0)
        printf("  %3.0f %% of compute", 100 * share.compute);
}

static void print_row(const bench_report *r, const bench_row *row)
{
    char range[64] = "";
    printf("%-24s", row->name);
    print_number(row->tokens, 6);
    print_number(row->batch, 6);
    print_number(row->depth, 6);
    if (row->repetitions > 1)
        snprintf(range, sizeof range, "%.2f .. %.2f", row->min, row->max);
    printf(" %11.2f %-5s", row->median, row->unit);
    if (row->seconds > 0)
        printf("  %-22s", range);
    else if (range[0])
        printf("  %s", range);
    print_share(row, &r->roofs);
    putchar('\n');
    fflush(stdout);
}

void bench_add(bench_report *r, bench_row row, double amount, double *samples, uint32_t count)
{
    if (r->count == BENCH_MAX_ROWS || count == 0)
        return;
    qsort(samples, count, sizeof *samples, compare);
    row.repetitions = count;
    row.median = count % 2 ? samples[count / 2] : (samples[count / 2 - 1] + samples[count / 2]) / 2;
    row.min = samples[0];
    row.max = samples[count - 1];
    row.seconds = amount > 0 && row.median > 0 ? amount / row.median : 0;
    r->rows[r->count++] = row;
    if (r->live)
        print_row(r, &row);
}

static void print_machine(const bench_machine *m)
{
    printf("%s: %" PRIu32 " processors, %" PRIu32 " NUMA node%s, %.0f MiB of last cache, %.1f GiB of memory\n",
           m->processor[0] ? m->processor : "an unknown processor", m->processors, m->numa_nodes, m->numa_nodes == 1 ? "" : "s",
           (double)m->last_cache / (1 << 20), (double)m->memory / (1 << 30));
    printf("%s; %s; built by %s; load %.2f\n", m->features, m->kernel, BACKPLANE_BUILD, m->load);
}

void bench_print_head(const bench_report *r)
{
    printf("%s on %s\n", r->model->config->name, bench_backend_name(r));
    print_machine(&r->machine);
    printf("\n%-24s %6s %6s %6s %11s %-5s  %-22s  %s\n", "", "tokens", "batch", "depth", "median", "", "range", "of limit");
    for (size_t i = 0; i < r->count; i++)
        print_row(r, &r->rows[i]);
}

const char *bench_backend_name(const bench_report *r)
{
    const engine_backend *backend = r->model->backend;
    return backend->info.name[0] ? backend->info.name : backend->name;
}

void bench_print_csv(const bench_report *r)
{
    puts("name,unit,tokens,batch,depth,repetitions,median,min,max,of_bandwidth,of_compute");
    for (size_t i = 0; i < r->count; i++) {
        const bench_row *row = &r->rows[i];
        bench_share share = bench_share_of(row, &r->roofs);
        printf("%s,%s,%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%.4f,%.4f,%.4f,%.4f,%.4f\n", row->name, row->unit,
               row->tokens, row->batch, row->depth, row->repetitions, row->median, row->min, row->max, share.bandwidth,
               share.compute);
    }
}

static json_t *row_as_json(const bench_report *r, const bench_row *row)
{
    json_t *out = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "name", row->name, "unit", row->unit, "tokens",
                            (json_int_t)row->tokens, "batch", (json_int_t)row->batch, "depth", (json_int_t)row->depth,
                            "repetitions", (json_int_t)row->repetitions, "median", row->median, "min", row->min, "max",
                            row->max);
    bench_share share = bench_share_of(row, &r->roofs);
    if (out && row->seconds > 0)
        json_object_set_new(out, "cost", json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "bytes", row->cost.bytes,
                                                   "int8_ops", row->cost.int8_ops, "fp32_ops", row->cost.fp32_ops, "bf16_ops",
                                                   row->cost.bf16_ops, "of_bandwidth", share.bandwidth, "of_compute",
                                                   share.compute));
    return out;
}

static json_t *machine_as_json(const bench_machine *m)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f}", "processor", m->processor, "features", m->features,
                     "kernel", m->kernel, "build", BACKPLANE_BUILD, "processors", (json_int_t)m->processors, "numa_nodes",
                     (json_int_t)m->numa_nodes, "memory", (json_int_t)m->memory, "last_cache", (json_int_t)m->last_cache,
                     "load", m->load);
}

bool bench_print_json(const bench_report *r)
{
    const model_shape *shape = model_shape_of(r->model->file);
    json_t *rows = json_array();
    for (size_t i = 0; rows && i < r->count; i++)
        json_array_append_new(rows, row_as_json(r, &r->rows[i]));
    json_t *roofs = json_pack("{s:f, s:f, s:f, s:f}", "read_bandwidth", r->roofs.read_bandwidth, "int8_ops",
                              r->roofs.int8_ops, "fp32_ops", r->roofs.fp32_ops, "bf16_ops", r->roofs.bf16_ops);
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o}", "model", r->model->config->name, "file",
                             r->model->config->file, "backend", bench_backend_name(r), "weights", shape->weight_type,
                             "parameters", (json_int_t)shape->parameters, "machine", machine_as_json(&r->machine), "roofs", roofs,
                             "rows", rows);
    bool good = root && json_dumpf(root, stdout, JSON_INDENT(2)) == 0;
    putchar('\n');
    json_decref(root);
    return good;
}
