/* bench: how fast a model runs on a backend, how soon it answers and what memory it takes. */
#include "commands/bench.h"
#include "commands/commands.h"

#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTION_PREFILL = SESSION_OPTION_COUNT,
    OPTION_DECODE,
    OPTION_EMBED,
    OPTION_BATCH,
    OPTION_DEPTH,
    OPTION_REPETITIONS,
    OPTION_START,
    OPTION_NO_ROOFS,
    OPTION_JSON,
    OPTION_CSV
};

static const cli_option options[] = {
    SESSION_OPTIONS,
    {.name = "prefill", .letter = 'p', .value = "N,...", .help = "prompt lengths to read (default 512)"},
    {.name = "decode", .letter = 'n', .value = "N,...", .help = "answer lengths to write (default 128)"},
    {.name = "embed", .letter = 'e', .value = "N,...", .help = "text lengths that an embedder reads (default 128)"},
    {.name = "batch", .value = "N,...", .help = "sequences that decode, or texts that are embedded, together (default 1,4,8,32)"},
    {.name = "depth", .letter = 'd', .value = "N,...",
     .help = "tokens that are there before decoding: the first for every batch, further ones for batch 1 (default 0)"},
    {.name = "repetitions", .letter = 'r', .value = "N", .help = "measurements that a median is taken of (default 5)"},
    {.name = "start", .value = "N", .help = "new processes to time to their first token (default 5; 0 for none)"},
    {.name = "no-roofs", .help = "do not measure what the device could do at most"},
    {.name = "json", .help = "print JSON"},
    {.name = "csv", .help = "print CSV"},
    {0}};

/* --- the command line ------------------------------------------------------------------------------------------------- */

static bool read_list(const char *name, const char *text, const char *fallback, unsigned long min, bench_list *out)
{
    const char *at = text ? text : fallback;
    out->count = 0;
    while (*at) {
        char *end;
        errno = 0;
        unsigned long value = strtoul(at, &end, 10);
        if (errno || end == at || *at == '-' || (*end && *end != ',') || value < min || value > 1 << 20 ||
            out->count == BENCH_MAX_LIST) {
            cli_usage("--%s takes at most %d numbers from %lu to %d with commas between them, not \"%s\"", name,
                      BENCH_MAX_LIST, min, 1 << 20, text);
            return false;
        }
        out->values[out->count++] = (uint32_t)value;
        at = *end ? end + 1 : end;
    }
    return true;
}

static bool read_plan(const cli_values *values, bench_plan *plan, unsigned long *starts)
{
    unsigned long repetitions;
    if (!read_list("prefill", values->option[OPTION_PREFILL], "512", 1, &plan->prompts) ||
        !read_list("decode", values->option[OPTION_DECODE], "128", 1, &plan->decodes) ||
        !read_list("embed", values->option[OPTION_EMBED], "128", 1, &plan->embeds) ||
        !read_list("batch", values->option[OPTION_BATCH], "1,4,8,32", 1, &plan->batches) ||
        !read_list("depth", values->option[OPTION_DEPTH], "0", 0, &plan->depths) ||
        !cli_number("repetitions", values->option[OPTION_REPETITIONS], 5, BENCH_MAX_REPETITIONS, &repetitions) ||
        !cli_number("start", values->option[OPTION_START], 5, BENCH_MAX_REPETITIONS, starts))
        return false;
    if (plan->batches.count == 0 || plan->depths.count == 0 || repetitions == 0) {
        cli_usage("--batch, --depth and --repetitions need at least one number");
        return false;
    }
    plan->repetitions = (uint32_t)repetitions;
    return true;
}

/* --- start ------------------------------------------------------------------------------------------------------------ */

/* What decides which measurements a model has. A file that cannot be opened counts as a decoder: what is wrong with it is
 * said where it is loaded. */
typedef struct abilities {
    bool chats, embeds;
} abilities;

static abilities abilities_of(const config_model *model)
{
    model_file *file = NULL;
    model_options as_trained = {0};
    if (model_open(model->file, &as_trained, &file, NULL) != BP_OK)
        return (abilities){.chats = true};
    const bp_program *program = model_program(file);
    abilities found = {.chats = model_chat_template(file) != NULL,
                       .embeds = program->op_count && program->ops[program->op_count - 1].kind == BP_OP_POOL};
    model_close(file);
    return found;
}

/* The same model and settings as ours, through the frontend that a person would use. */
static void measure_start(const cli_values *values, uint32_t repetitions, bench_report *report)
{
    const char *arguments[2 * CLI_MAX_REPEATS + 16];
    size_t n = 0;
    arguments[n++] = "backplane";
    arguments[n++] = "chat";
    if (values->argument_count)
        arguments[n++] = values->arguments[0];
    static const struct {
        int row;
        const char *name;
    } passed[] = {{SESSION_CONFIG, "--config"}, {SESSION_BACKEND, "--backend"}};
    for (size_t i = 0; i < 2; i++)
        if (values->option[passed[i].row]) {
            arguments[n++] = passed[i].name;
            arguments[n++] = values->option[passed[i].row];
        }
    for (size_t i = 0; i < values->repeat_count; i++) {
        arguments[n++] = "--set";
        arguments[n++] = values->repeated[i];
    }
    static const char *const question[] = {
        "--max-tokens", "1", "--temperature", "0", "--prompt", "What is the capital of France?", NULL};
    memcpy(&arguments[n], question, sizeof question);
    bp_error why = {0};
    if (bench_start(arguments, repetitions, report, &why) != BP_OK)
        fprintf(stderr, "backplane: the start is not measured: %s\n", why.message);
}

/* --- memory ----------------------------------------------------------------------------------------------------------- */

static void add_number(bench_report *report, const char *name, const char *unit, double value)
{
    bench_add(report, (bench_row){.name = name, .unit = unit}, 0, &value, 1);
}

/* A field of /proc/self/status, in MiB; 0 where the system has none. */
static double status_field(const char *field)
{
    char line[256];
    double found = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0)
            found = strtod(line + strlen(field), NULL) / 1024.0;
    if (file)
        fclose(file);
    return found;
}

static void add_memory(bench_report *report, const loaded *l)
{
    const double mebibyte = 1024.0 * 1024.0;
    double model = (double)l->memory.weights / mebibyte, files = status_field("RssFile:");
    double kv = (double)model_kv_bytes_per_token(l->file, l->limits.kv_dtype) * l->limits.page_count *
                l->limits.page_tokens / mebibyte;
    add_number(report, "weights in the file", "MiB", (double)model_shape_of(l->file)->weight_bytes / mebibyte);
    add_number(report, "weights on the backend", "MiB", model);
    add_number(report, "workspace", "MiB", (double)l->memory.workspace / mebibyte);
    add_number(report, "keys and values", "MiB", kv);
    if (!report->peak_is_known)
        return;
    double peak = status_field("VmHWM:"), beyond = peak - files - model - kv;
    add_number(report, "resident at most", "MiB", peak);
    /* Random tokens read every row of the embedding where it lies in the file; an answer reads few. */
    add_number(report, "  of it pages of files", "MiB", files);
    /* A backend that keeps its weights elsewhere, or touches less of the cache, leaves nothing to say here. */
    if (beyond > 0)
        add_number(report, "  beyond weights and cache", "MiB", beyond);
}

/* Measures the device before the model is there. What that took of memory is not the model's: the most that was resident
 * is counted from here on, where the system can. */
static void measure_roofs(session *s, bench_report *report)
{
    const engine_backend *backend = &s->backends[s->models[s->model - s->config->models].backend];
    bp_roofs roofs = {.size = sizeof roofs};
    bp_error why = {0};
    if (backend->ops->roofs(backend->device, &roofs, &why) != BP_OK) {
        fprintf(stderr, "backplane: figures have no limit to read against: %s\n", why.message);
        return;
    }
    report->roofs = roofs;
    add_number(report, "read bandwidth", "GB/s", roofs.read_bandwidth / 1e9);
    add_number(report, "int8 peak", "GOP/s", roofs.int8_ops / 1e9);
    add_number(report, "fp32 peak", "GOP/s", roofs.fp32_ops / 1e9);
    add_number(report, "bf16 peak", "GOP/s", roofs.bf16_ops / 1e9);
    FILE *file = fopen("/proc/self/clear_refs", "we");
    report->peak_is_known = file && fputs("5", file) >= 0 && fflush(file) == 0;
    if (file)
        fclose(file);
}

/* --- the command ------------------------------------------------------------------------------------------------------ */

static int print_report(const bench_report *report, const cli_values *values)
{
    if (values->option[OPTION_CSV])
        bench_print_csv(report);
    else if (values->option[OPTION_JSON] && !bench_print_json(report))
        return CLI_FAILED;
    return fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
}

static bp_status measure(session *s, const bench_plan *plan, bool embeds, bool table, bench_report *report, loaded **l,
                         bp_error *error)
{
    engine_model *model = &s->models[s->model - s->config->models];
    uint64_t begin = clock_now();
    bench_limits(plan, embeds, model);
    bp_status status = loaded_open(model, &s->backends[model->backend], l, error);
    if (status == BP_OK)
        status = loaded_compile(*l, error);
    if (status != BP_OK)
        return status;
    report->model = *l;
    add_number(report, "load", "ms", (double)(clock_now() - begin) / 1e6);
    if (table)
        bench_print_head(report);
    report->live = table;
    status = bench_steps(plan, *l, report, error);
    if (status == BP_OK)
        add_memory(report, *l);
    return status;
}

static int run_plan(session *s, const cli_values *values, const bench_plan *plan, uint32_t starts)
{
    session_selection selection;
    bench_report report = {0};
    bp_error error = {0};
    loaded *l = NULL;
    if (!session_read_options(s, values, &selection))
        return CLI_USAGE;
    selection.model = values->arguments[0];
    if (!selection.model && !selection.config_file)
        return cli_usage("bench needs a MODEL or --config FILE; see backplane bench --help");
    bench_machine_read(&report.machine);
    bool table = !values->option[OPTION_JSON] && !values->option[OPTION_CSV];
    bp_status status = session_select(s, &selection, values->environment, &error);
    abilities model = {0};
    if (status == BP_OK)
        model = abilities_of(s->model);
    /* While this process is small. */
    if (status == BP_OK && starts && model.chats)
        measure_start(values, starts, &report);
    else if (status == BP_OK && starts)
        fprintf(stderr, "backplane: the start is not measured: the model has no chat template, with which chat would answer\n");
    if (status == BP_OK)
        status = session_bind(s, &error);
    if (status == BP_OK)
        status = session_start(s, &error);
    report.peak_is_known = true;
    if (status == BP_OK && !values->option[OPTION_NO_ROOFS])
        measure_roofs(s, &report);
    if (status == BP_OK)
        status = measure(s, plan, model.embeds, table, &report, &l, &error);
    int code = status == BP_OK ? print_report(&report, values) : cli_fail(&error);
    loaded_free(l);
    return code;
}

static int run(const cli_values *values)
{
    bench_plan plan;
    unsigned long starts;
    session s;
    bp_error error = {0};
    if (!read_plan(values, &plan, &starts))
        return CLI_USAGE;
    if (session_init(&s, &error) != BP_OK)
        return cli_fail(&error);
    int code = run_plan(&s, values, &plan, (uint32_t)starts);
    session_end(&s);
    return code;
}

const cli_command command_bench = {
    .name = "bench",
    .arguments = "[MODEL]",
    .summary = "Measure prefill, decode, embeddings, time to the first token and memory of a model on a backend",
    .max_arguments = 1,
    .options = options,
    .details =
        "Prefill, decode and embeddings call the backend with batches of random tokens, as the engine does but without\n"
        "sampling and text, so that counts are exact. The start is that of \"backplane chat --prompt\" in a process of its\n"
        "own. A figure's limit is what the device was measured to read and compute at most, and the weights, keys, values\n"
        "and operations that the figure needs at least. A model to try: tools/fetch smollm2 prints where it has put one.",
    .run = run,
};
