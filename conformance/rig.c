#include "rig.h"

#include "base/log.h"
#include "device.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const kv_names[4] = {"f16", "f32", "bf16", "q8_0"};

void *need(void *memory)
{
    if (!memory)
        failed("there is no memory for the check itself");
    return memory;
}

float *floats(size_t count)
{
    return need(calloc(count + 1, sizeof(float)));
}

bp_limits rig_limits(const net *n, uint32_t kv_dtype)
{
    uint32_t most = RIG_STRIDE * 16;
    return (bp_limits){.size = sizeof(bp_limits),
                       .max_tokens = RIG_TOKENS,
                       .max_seqs = RIG_SEQUENCES,
                       .max_rows = RIG_TOKENS,
                       .page_tokens = 16,
                       .page_count = RIG_PAGES,
                       .max_context = n->max_context < most ? n->max_context : most,
                       .kv_dtype = kv_dtype};
}

static void fill(rig *r, subject *u, const net *n, const bp_limits *limits)
{
    *r = (rig){.u = u, .program = net_program(n), .limits = *limits, .width = n->output_width};
    r->program.numerics = u->numerics;
    r->pools = n->ops[n->op_count - 1].kind == BP_OP_POOL;
    for (uint32_t i = 0; i < n->op_count; i++)
        if (n->ops[i].kind == BP_OP_EMBED && n->ops[i].flags == BP_EMBED_TYPE)
            r->types = (int32_t)n->weights[n->ops[i].weight[0]].shape[1];
}

bool rig_try(rig *r, subject *u, bp_device *device, const net *n, const bp_limits *limits, answer *a)
{
    fill(r, u, n, limits);
    r->ops = u->ops;
    r->device = device;
    bp_status status = CALL(u, a, u->ops, supports, device, &r->program);
    if (status == BP_OK)
        status = CALL(u, a, u->ops, compile, device, &r->program, limits, &r->model);
    if (status == BP_EUNSUPPORTED)
        return false;
    if (status != BP_OK)
        failed("%s: %s", a->slot, a->error.message);
    if (!r->model)
        failed("compile succeeded without a model");
    return true;
}

void rig_open(rig *r, subject *u, bp_device *device, const net *n, const bp_limits *limits)
{
    answer a;
    if (!rig_try(r, u, device, n, limits, &a))
        not_offered("%s", a.error.message);
}

void rig_reference(rig *r, subject *u, const net *n, const bp_limits *limits)
{
    static const cpu_config config = {.threads = 1, .isa = ISA_GENERIC};
    bp_error error = {0};
    fill(r, u, n, limits);
    r->is_reference = true;
    r->ops = bp_plugin_entry()->ops;
    if (r->ops->open(log_host(), &config, &r->device, &error) != BP_OK ||
        r->ops->compile(r->device, &r->program, limits, &r->model, &error) != BP_OK)
        failed("the reference itself cannot run this: %s", error.message);
}

void rig_close(rig *r)
{
    if (r->is_reference) {
        r->ops->release(r->model);
        r->ops->close(r->device);
    } else {
        CALL_VOID(r->ops, release, r->model);
    }
    r->model = NULL;
}

/* --- steps -------------------------------------------------------------------------------------------------------------- */

enum { TOKENS, POSITIONS, FIRST, CONTEXT, PAGES, ROWS, TYPES };

static int32_t *array(feed *f, int which, size_t count)
{
    f->bytes[which] = count * sizeof(int32_t);
    return f->arrays[which] = need(calloc(count + (count == 0), sizeof(int32_t)));
}

/* As the core fills it: what a page table does not use is -1, and a text's row is its last token. */
void feed_make(feed *f, const rig *r, const turn *turns, uint32_t count)
{
    uint32_t total = 0, stride = 1, page = r->limits.page_tokens;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t used = ((uint32_t)(turns[i].start + turns[i].count) + page - 1) / page;
        total += (uint32_t)turns[i].count;
        stride = used > stride ? used : stride;
    }
    *f = (feed){.batch = {.size = sizeof(bp_batch), .seq_count = count, .token_count = total, .page_stride = stride}};
    int32_t *tokens = array(f, TOKENS, total), *positions = array(f, POSITIONS, total), *first = array(f, FIRST, count + 1);
    int32_t *context = array(f, CONTEXT, count), *pages = array(f, PAGES, (size_t)count * stride);
    int32_t *rows = array(f, ROWS, total), *types = array(f, TYPES, total), at = 0;
    for (uint32_t i = 0; i < count; i++) {
        const turn *t = &turns[i];
        first[i] = at;
        context[i] = t->start + t->count;
        for (uint32_t p = 0; p < stride; p++)
            pages[i * stride + p] = p * page < (uint32_t)context[i] ? t->pages[p] : -1;
        for (int32_t p = t->start; p < context[i]; p++, at++) {
            tokens[at] = t->tokens[p];
            positions[at] = p;
            rows[r->pools ? (int32_t)i : at] = at;
            types[at] = r->types ? p / 3 % r->types : 0;
        }
    }
    first[count] = at;
    f->batch.row_count = r->pools ? count : total;
    f->batch.tokens = tokens;
    f->batch.positions = positions;
    f->batch.first = first;
    f->batch.context = context;
    f->batch.pages = pages;
    f->batch.rows = rows;
    f->batch.types = types;
}

void feed_rows(feed *f, const int32_t *rows, uint32_t count)
{
    memcpy(f->arrays[ROWS], rows, count * sizeof *rows);
    f->batch.row_count = count;
}

void feed_spoil(feed *f)
{
    for (int i = 0; i < 7; i++)
        memset(f->arrays[i], 0, f->bytes[i]);
    f->batch.token_count = f->batch.seq_count = f->batch.row_count = 0;
}

void feed_free(feed *f)
{
    for (int i = 0; i < 7; i++)
        free(f->arrays[i]);
}

void rig_submit(rig *r, const feed *f)
{
    answer a;
    if (r->is_reference) {
        if (r->ops->submit(r->model, &f->batch, &a.error) != BP_OK)
            failed("the reference itself cannot run this step: %s", a.error.message);
    } else if (CALL(r->u, &a, r->ops, submit, r->model, &f->batch) != BP_OK) {
        failed("submit of a step of %u tokens, %u sequences and %u rows: %s", f->batch.token_count, f->batch.seq_count,
               f->batch.row_count, a.error.message);
    }
}

void rig_wait(rig *r, float *out, uint64_t count)
{
    answer a;
    if (r->is_reference) {
        if (r->ops->wait(r->model, out, count, &a.error) != BP_OK)
            failed("the reference itself cannot run this step: %s", a.error.message);
    } else if (CALL(r->u, &a, r->ops, wait, r->model, out, count) != BP_OK) {
        failed("wait for %llu floats: %s", (unsigned long long)count, a.error.message);
    }
}

size_t rig_floats(const rig *r, const turn *turns, uint32_t count)
{
    size_t rows = count;
    for (uint32_t i = 0; i < count && !r->pools; i++)
        rows += (size_t)turns[i].count - 1;
    return rows * r->width;
}

void rig_step(rig *r, const turn *turns, uint32_t count, float *out)
{
    feed f;
    feed_make(&f, r, turns, count);
    rig_submit(r, &f);
    rig_wait(r, out, rig_floats(r, turns, count));
    feed_free(&f);
}

/* --- comparing ------------------------------------------------------------------------------------------------------------ */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? 0x7fc00000u : bits;
}

static void differs(const rig *r, const float *expected, const float *got, size_t i, const char *than, const char *format,
                    va_list arguments) __attribute__((noreturn, format(printf, 6, 0)));
static void differs(const rig *r, const float *expected, const float *got, size_t i, const char *than, const char *format,
                    va_list arguments)
{
    char what[300];
    vsnprintf(what, sizeof what, format, arguments);
    failed("%s: number %zu of row %zu is %.9g (%08x) where %s %.9g (%08x)", what, i % r->width, i / r->width, (double)got[i],
           bits_of(got[i]), than, (double)expected[i], bits_of(expected[i]));
}

void same_bits(const rig *r, const float *expected, const float *got, size_t count, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    for (size_t i = 0; i < count; i++)
        if (bits_of(expected[i]) != bits_of(got[i]))
            differs(r, expected, got, i, "the same sequence alone has", format, arguments);
    va_end(arguments);
}

/* What the tolerance allows in the row of number i; of a row of zeros what is next to nothing. */
static double allowed(const rig *r, const float *expected, size_t i)
{
    const float *row = expected + i / r->width * r->width;
    double most = FLT_MIN;
    for (uint32_t c = 0; c < r->width; c++)
        if (isfinite(row[c]) && fabs((double)row[c]) > most)
            most = fabs((double)row[c]);
    return most * r->u->tolerance;
}

void same_as_reference(const rig *r, const float *expected, const float *got, size_t count, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    for (size_t i = 0; i < count; i++) {
        if (bits_of(expected[i]) == bits_of(got[i]))
            continue;
        if (!(r->u->tolerance > 0 && fabs((double)got[i] - (double)expected[i]) <= allowed(r, expected, i)))
            differs(r, expected, got, i, "the reference has", format, arguments);
    }
    va_end(arguments);
}
