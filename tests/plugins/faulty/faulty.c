/* faulty: a backend that is the CPU's until it is told to fail.
 *
 * `fault` says what goes wrong, `after` how many steps, or compilations, of the device go well before it, and `times` how
 * many then have it (0: all that follow). Whatever is not at fault is the CPU backend's own, and so has its bits.
 *
 * Only the SDK is included: the CPU backend is linked in and called through its operations, as any other could be. */
#include <backplane/backend.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const bp_plugin *cpu_plugin_entry(void);

enum { FAULT_NONE, FAULT_OPEN, FAULT_COMPILE, FAULT_COMPILE_MEMORY, FAULT_ERROR, FAULT_MEMORY, FAULT_LOST, FAULT_HANG, FAULT_SLOW,
       FAULT_NAN, FAULT_INFINITY, FAULT_SHORT };
#define FAULTS "none|open|compile|compile_memory|error|memory|lost|hang|slow|nan|infinity|short"

typedef struct faulty_config {
    int32_t fault;
    int64_t after, times, milliseconds;
} faulty_config;

struct bp_device {
    const bp_backend_ops *ops; /* the CPU's */
    bp_device *inner;
    void *config;              /* the CPU's */
    const faulty_config *fault;
    int64_t calls;             /* that may have the fault */
    int lost;
};

struct bp_model {
    bp_device *device;
    bp_model *inner;
    uint32_t width;
    int fails; /* the step that was submitted */
};

static bp_status fail(bp_error *error, bp_status status, const char *sentence)
{
    if (error) {
        error->code = status;
        snprintf(error->message, sizeof error->message, "faulty: %s", sentence);
    }
    return status;
}

static int is_due(bp_device *d, int possible)
{
    if (!possible)
        return 0;
    int64_t call = d->calls++, after = d->fault->after;
    return call >= after && (d->fault->times == 0 || call < after + d->fault->times);
}

static void sleep_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0)
        ;
}

/* --- the CPU's configuration --------------------------------------------------------------------------------------- */

static int32_t index_of(const char *word, const char *choices)
{
    int32_t index = 0;
    size_t length = strlen(word);
    while (strncmp(choices, word, length) != 0 || (choices[length] && choices[length] != '|')) {
        choices = strchr(choices, '|') + 1;
        index++;
    }
    return index;
}

/* Every option its fallback, and two threads. */
static void *cpu_config(const bp_plugin *cpu)
{
    char *config = calloc(1, cpu->config_size);
    for (const bp_option *o = cpu->options; config && o->name; o++) {
        int64_t number = strcmp(o->name, "threads") == 0 ? 2 : strcmp(o->fallback, "auto") == 0 ? INT64_MIN : atoll(o->fallback);
        int32_t index = o->type == BP_OPTION_ENUM ? index_of(o->fallback, o->choices) : 0;
        if (o->type == BP_OPTION_INT)
            memcpy(config + o->offset, &number, sizeof number);
        else if (o->type == BP_OPTION_ENUM)
            memcpy(config + o->offset, &index, sizeof index);
    }
    return config;
}

/* --- the device ----------------------------------------------------------------------------------------------------- */

static void faulty_close(bp_device *d)
{
    if (!d)
        return;
    if (d->inner)
        d->ops->close(d->inner);
    free(d->config);
    free(d);
}

static bp_status faulty_open(const bp_host *host, const void *config, bp_device **out, bp_error *error)
{
    const bp_plugin *cpu = cpu_plugin_entry();
    const faulty_config *fault = config;
    if (fault->fault == FAULT_OPEN)
        return fail(error, BP_EDEVICE, "there is no such device");
    bp_device *d = calloc(1, sizeof *d);
    if (!d)
        return fail(error, BP_ENOMEM, "no memory for the device");
    d->ops = cpu->ops;
    d->fault = fault;
    d->config = cpu_config(cpu);
    bp_status status = d->config ? d->ops->open(host, d->config, &d->inner, error) : fail(error, BP_ENOMEM, "no memory");
    if (status != BP_OK)
        faulty_close(d);
    else
        *out = d;
    return status;
}

static bp_status faulty_info(bp_device *d, bp_device_info *out, bp_error *error)
{
    return d->ops->info(d->inner, out, error);
}

static bp_status faulty_supports(bp_device *d, const bp_program *program, bp_error *error)
{
    return d->ops->supports(d->inner, program, error);
}

static void faulty_release(bp_model *m)
{
    if (!m)
        return;
    m->device->ops->release(m->inner);
    free(m);
}

static bp_status faulty_compile(bp_device *d, const bp_program *program, const bp_limits *limits, bp_model **out, bp_error *error)
{
    int32_t fault = d->fault->fault;
    if (d->lost)
        return fail(error, BP_EDEVICE, "the device is lost");
    if (is_due(d, fault == FAULT_COMPILE || fault == FAULT_COMPILE_MEMORY))
        return fault == FAULT_COMPILE ? fail(error, BP_EINTERNAL, "the program does not compile")
                                      : fail(error, BP_ENOMEM, "no memory on the device");
    bp_model *m = calloc(1, sizeof *m);
    if (!m)
        return fail(error, BP_ENOMEM, "no memory for the model");
    m->device = d;
    m->width = program->output_width;
    bp_status status = d->ops->compile(d->inner, program, limits, &m->inner, error);
    if (status != BP_OK)
        free(m);
    else
        *out = m;
    return status;
}

/* --- steps ------------------------------------------------------------------------------------------------------------ */

static bp_status faulty_submit(bp_model *m, const bp_batch *batch, bp_error *error)
{
    bp_device *d = m->device;
    int32_t fault = d->fault->fault;
    m->fails = is_due(d, fault >= FAULT_ERROR);
    if (m->fails && fault == FAULT_LOST)
        d->lost = 1;
    if (d->lost)
        return fail(error, BP_EDEVICE, "the device fell off the bus");
    if (m->fails && fault == FAULT_MEMORY)
        return fail(error, BP_ENOMEM, "no memory for the step");
    if (m->fails && fault == FAULT_SLOW)
        sleep_ms(d->fault->milliseconds);
    return d->ops->submit(m->inner, batch, error);
}

/* All but the highest of each row become -infinity. */
static void leave_one(float *rows, uint64_t count, uint32_t width)
{
    for (uint64_t row = 0; row + width <= count; row += width) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < width; i++)
            best = rows[row + i] > rows[row + best] ? i : best;
        for (uint32_t i = 0; i < width; i++)
            rows[row + i] = i == best ? rows[row + i] : -INFINITY;
    }
}

/* Gives the first half of what was asked for. */
static bp_status write_half(bp_model *m, float *out, uint64_t count, bp_error *error)
{
    float *whole = calloc(count + 1, sizeof *whole);
    if (!whole)
        return fail(error, BP_ENOMEM, "no memory for a copy");
    bp_status status = m->device->ops->wait(m->inner, whole, count, error);
    memcpy(out, whole, count / 2 * sizeof *whole);
    free(whole);
    return status;
}

static bp_status faulty_wait(bp_model *m, float *out, uint64_t count, bp_error *error)
{
    const faulty_config *f = m->device->fault;
    if (m->fails && f->fault == FAULT_SHORT)
        return write_half(m, out, count, error);
    bp_status status = m->device->ops->wait(m->inner, out, count, error);
    if (status != BP_OK || !m->fails)
        return status;
    if (f->fault == FAULT_ERROR)
        return fail(error, BP_EINTERNAL, "the step failed");
    if (f->fault == FAULT_HANG)
        do
            sleep_ms(f->milliseconds ? f->milliseconds : 1000);
        while (f->milliseconds == 0);
    if (f->fault == FAULT_NAN)
        for (uint64_t i = 0; i < count; i++)
            out[i] = NAN;
    if (f->fault == FAULT_INFINITY)
        leave_one(out, count, m->width);
    return BP_OK;
}

static bp_status faulty_memory(bp_model *m, bp_model_memory *out, bp_error *error)
{
    return m->device->ops->memory(m->inner, out, error);
}

static bp_status faulty_copy_pages(bp_model *m, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error)
{
    return m->device->ops->copy_pages(m->inner, from, to, count, error);
}

static const bp_backend_ops ops = {.size = sizeof ops, .open = faulty_open, .close = faulty_close, .info = faulty_info,
                                   .supports = faulty_supports, .compile = faulty_compile, .release = faulty_release,
                                   .memory = faulty_memory, .submit = faulty_submit, .wait = faulty_wait,
                                   .copy_pages = faulty_copy_pages};

static const bp_option options[] = {
    {.name = "fault", .type = BP_OPTION_ENUM, .choices = FAULTS, .fallback = "none", .offset = offsetof(faulty_config, fault),
     .help = "What goes wrong."},
    {.name = "after", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 1e9, .offset = offsetof(faulty_config, after),
     .help = "Steps, or compilations, that go well before it."},
    {.name = "times", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 1e9, .offset = offsetof(faulty_config, times),
     .help = "How many then have it; 0 is all that follow."},
    {.name = "milliseconds", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 1e9,
     .offset = offsetof(faulty_config, milliseconds), .help = "slow: what a step takes longer. hang: its end; 0 is never."},
    {0},
};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .config_size = sizeof(faulty_config),
    .name = "faulty",
    .version = "1",
    .summary = "The CPU backend with a fault, for tests.",
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
