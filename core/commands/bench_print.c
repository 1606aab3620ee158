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

static void print_row(const bench_row *row)
{
    printf("%-24s", row->name);
    print_number(row->tokens, 6);
    print_number(row->batch, 6);
    print_number(row->depth, 6);
    printf(" %11.2f %-5s", row->median, row->unit);
    if (row->repetitions > 1)
        printf("  %.2f .. %.2f", row->min, row->max);
    putchar('\n');
    fflush(stdout);
}

void bench_add(bench_report *r, bench_row row, double *samples, uint32_t count)
{
    if (r->count == BENCH_MAX_ROWS || count == 0)
        return;
    qsort(samples, count, sizeof *samples, compare);
    row.repetitions = count;
    row.median = count % 2 ? samples[count / 2] : (samples[count / 2 - 1] + samples[count / 2]) / 2;
    row.min = samples[0];
    row.max = samples[count - 1];
    r->rows[r->count++] = row;
    if (r->live)
        print_row(&row);
}

void bench_print_head(const bench_report *r)
{
    printf("%s on %s\n", r->model->config->name, r->model->backend->info.name);
    printf("%-24s %6s %6s %6s %11s %-5s  %s\n", "", "tokens", "batch", "depth", "median", "", "range");
    for (size_t i = 0; i < r->count; i++)
        print_row(&r->rows[i]);
}

void bench_print_csv(const bench_report *r)
{
    puts("name,unit,tokens,batch,depth,repetitions,median,min,max");
    for (size_t i = 0; i < r->count; i++) {
        const bench_row *row = &r->rows[i];
        printf("%s,%s,%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%.4f,%.4f,%.4f\n", row->name, row->unit, row->tokens,
               row->batch, row->depth, row->repetitions, row->median, row->min, row->max);
    }
}

bool bench_print_json(const bench_report *r)
{
    const model_shape *shape = model_shape_of(r->model->file);
    json_t *rows = json_array();
    for (size_t i = 0; rows && i < r->count; i++) {
        const bench_row *row = &r->rows[i];
        json_array_append_new(rows, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "name", row->name, "unit",
                                              row->unit, "tokens", (json_int_t)row->tokens, "batch", (json_int_t)row->batch,
                                              "depth", (json_int_t)row->depth, "repetitions", (json_int_t)row->repetitions,
                                              "median", row->median, "min", row->min, "max", row->max));
    }
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "model", r->model->config->name, "file",
                             r->model->config->file, "backend", r->model->backend->info.name, "weights", shape->weight_type,
                             "parameters", (json_int_t)shape->parameters, "rows", rows);
    bool good = root && json_dumpf(root, stdout, JSON_INDENT(2)) == 0;
    putchar('\n');
    json_decref(root);
    return good;
}
