/* proof: the same bits every time.
 *
 * For each subject, an oracle says what every logit and every K and V must be: the scalar kernels of the plugin that the build
 * made, one thread, one prompt alone, one token a step. Then PLUGIN runs the same prompts in every circumstance that a server
 * can bring about, and the bits are compared. At the end, every value of every axis must have been visited.
 *
 *   proof PLUGIN                 a representative walk, for CI
 *   proof PLUGIN --full          the whole matrix: minutes
 *   proof PLUGIN --only NAME     only subjects whose name has NAME in it; nothing need be visited
 *   proof PLUGIN --model NAME=PATH    a model file, which must have a golden hash, instead of nets
 *   proof PLUGIN --models        the models whose paths are in the environment, as tests have them
 *   proof PLUGIN --golden        only the golden hashes, of PLUGIN's own scalar kernels and of each of its other sets
 *   proof PLUGIN --dump FOLDER   writes the nets and what the oracle makes of them, for page.py
 *   proof PLUGIN --write         makes tests/golden/hashes.txt anew from the oracle
 *   proof PLUGIN --stable        nets in `numerics: stable`: the plugin is its own oracle, one token at a time
 *   proof PLUGIN --hash NAME     prints the hash that PLUGIN gives to a subject, with its fastest kernels
 *   proof PLUGIN --controls NET=MUTANT...    each MUTANT is a plugin with one deliberate change: NET must find it out */
#include "axes.h"
#include "dump.h"
#include "golden.h"

#include "base/mapping.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_MODELS = 8, PROMPT = 80, SHORT_PROMPT = 24, ISAS = 3 };

static const char *const isas[ISAS] = {"generic", "avx2", "avx512"};

typedef struct run {
    const char *path;
    const plugin *candidate, *oracle;
    bool full, write, quick, stable;
    const char *only, *hash, *dump;
    struct {
        char name[64];
        const char *path;
    } models[MAX_MODELS];
    uint32_t model_count;
    char **mutants;
    int mutant_count;
    golden *golden;
    bool failed;
    uint32_t subjects;
} run;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool has_isa(uint32_t isa)
{
#if defined(__x86_64__)
    return isa == 0 || (isa == 1 && __builtin_cpu_supports("avx2")) || (isa == 2 && __builtin_cpu_supports("avx512vnni"));
#else
    return isa == 0;
#endif
}

static machine_setup setup_of(const run *r, const subject *s, uint32_t isa, uint32_t threads, uint32_t page)
{
    uint32_t tokens = WALK_LIVE * 64 + 16 * (uint32_t)s->length[0];
    return (machine_setup){.backend = r->candidate, .isa = isas[isa], .threads = threads, .kv_dtype = s->kv_dtype,
                           .page_tokens = page, .page_count = tokens / page + 2 * WALK_LIVE};
}

/* One machine, the scripts on a share of their values. Returns whether all was well. */
static bool station(run *r, const subject *s, uint32_t isa, uint32_t threads, uint32_t page, share mine, char *trouble)
{
    machine_setup how = setup_of(r, s, isa, threads, page);
    walk *w = walk_begin(s, &how);
    axes_run(w, mine);
    bool good = !w->trouble[0];
    if (trouble && !good)
        snprintf(trouble, sizeof w->trouble, "%s", w->trouble);
    else if (!good)
        printf("DIFFERENT %s\n", w->trouble);
    walk_end(w);
    visit(AXIS_THREADS, threads);
    visit(AXIS_ISA, isa);
    visit(AXIS_PAGE, page == 16 ? 4 : page == 32 ? 5 : page == 64 ? 6 : page == 128 ? 7 : 8);
    visit(AXIS_KV, s->kv_dtype);
    return good;
}

/* A station of each instruction set, chosen so that all subjects together meet every share with each of them, all numbers of
 * threads and all page sizes. */
static bool sample(run *r, const subject *s, uint32_t number, char *trouble)
{
    bool small = s->length[0] <= 64 && s->recipe;
    for (uint32_t isa = 0; isa < ISAS; isa++) {
        if (!has_isa(isa) || (isa == 0 && !s->recipe))
            continue;
        uint32_t threads = s->recipe ? 1 + (number * 3 + isa) % 8 : 1 + (isa + number) % 3, page = 16u << (number + isa) % 5;
        share mine = {number, isa == 0 ? 48 : small ? 8 : 16};
        if (!station(r, s, isa, threads, page, mine, trouble))
            return false;
    }
    return true;
}

/* Each instruction set with each number of threads and each page size; a model's with one page size each, and scalar once. */
static bool whole(run *r, const subject *s)
{
    bool good = true;
    for (uint32_t isa = 0; isa < ISAS; isa++) {
        for (uint32_t threads = 1; has_isa(isa) && threads <= 8; threads++) {
            for (uint32_t size = 0; size < 5; size++) { /* with each number of threads every share, or its fifth of them */
                bool skipped = !s->recipe && (size != threads % 5 || (isa == 0 && threads != 2));
                share mine = {threads * 5 + size, isa == 0 ? 40 : 5};
                good = (skipped || station(r, s, isa, threads, 16u << size, mine, NULL)) && good;
            }
        }
    }
    return good;
}

static uint32_t tier_of(const run *r)
{
    return r->stable ? BP_NUMERICS_STABLE : BP_NUMERICS_PORTABLE;
}

/* --- restarts and mappings -------------------------------------------------------------------------------------------- */

/* What an instruction set gives to prompt 0. */
static uint64_t quick_hash(const run *r, const subject *s, const char *isa)
{
    machine_setup how = setup_of(r, s, 0, 2, 32);
    how.isa = isa;
    size_t width = s->program.output_width, rows = subject_rows(s, 0);
    float *out = malloc(rows * width * sizeof *out);
    int32_t pages[MACHINE_STRIDE], chunk = s->pools ? s->length[0] : 33;
    machine *m = machine_open(&s->program, &how);
    for (int32_t i = 0; i < MACHINE_STRIDE; i++)
        pages[i] = MACHINE_STRIDE - i;
    for (int32_t at = 0; out && at < s->length[0]; at += chunk) {
        int32_t count = s->length[0] - at < chunk ? s->length[0] - at : chunk;
        machine_step(m, &(piece){s->tokens[0] + at, at, count, pages}, 1, out + (size_t)at * width);
    }
    machine_close(m);
    uint64_t hash = hash_floats(HASH_BEGIN, out, out ? rows * width : 0);
    free(out);
    return hash;
}

/* Another process comes to the same. */
static bool restarts(const run *r, const subject *s, const char *argument)
{
    char self[512], command[1600], answer[40] = "";
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        die("cannot find this program again");
    self[length] = 0;
    snprintf(command, sizeof command, "'%s' '%s' %s --hash '%s'", self, r->path, r->stable ? "--stable" : "", argument);
    FILE *child = popen(command, "r");
    bool good = child && fgets(answer, sizeof answer, child) && strtoull(answer, NULL, 16) == s->hash;
    if (child && pclose(child) != 0)
        good = false;
    if (!good)
        printf("DIFFERENT %s: another process hashes it to %s", s->name, answer);
    visit(AXIS_RESTART, 0);
    return good;
}

/* --- subjects --------------------------------------------------------------------------------------------------------- */

static bool check_golden(run *r, const subject *s)
{
    char covers[120];
    if (r->stable)
        return true; /* the bits are the plugin's own */
    if (!r->write)
        return golden_check(r->golden, s->name, s->hash);
    if (s->recipe)
        snprintf(covers, sizeof covers, "%d tokens, cache type %u, parts 0x%x", s->length[0], s->kv_dtype, s->recipe->features);
    else
        snprintf(covers, sizeof covers, "%d tokens", s->length[0]);
    golden_note(r->golden, s->name, s->hash, covers);
    return true;
}

/* Every set of the plugin gives the hash. */
static bool sets_agree(const run *r, const subject *s)
{
    bool good = true;
    for (uint32_t isa = 1; isa < ISAS; isa++) {
        if (!has_isa(isa) || quick_hash(r, s, isas[isa]) == s->hash)
            continue;
        printf("DIFFERENT %s: %s hashes it otherwise\n", s->name, isas[isa]);
        good = false;
    }
    return good;
}

static void prove(run *r, subject *s, const char *argument)
{
    double begin = now();
    bool good = check_golden(r, s);
    if (r->dump) {
        dump_subject(s, r->dump);
    } else if (r->quick) {
        good = sets_agree(r, s) && good;
    } else if (!r->write) {
        good = (r->full ? whole(r, s) : sample(r, s, r->subjects, NULL)) && good;
        if (s->recipe ? r->subjects % 4 == 0 : true)
            good = restarts(r, s, argument) && good;
    }
    printf("%-24s %016" PRIx64 " %s in %.2f s\n", s->name, s->hash, good ? "the same" : "FAILED", now() - begin);
    fflush(stdout);
    r->failed = r->failed || !good;
    r->subjects++;
}

static bool chosen(const run *r, const char *name)
{
    return !r->only || strstr(name, r->only);
}

static void prove_recipes(run *r)
{
    for (uint32_t i = 0; i < recipe_count; i++) {
        subject *s = subject_of_recipe(&recipes[i], tier_of(r));
        if (chosen(r, s->name)) {
            subject_run_oracle(s, r->quick ? r->candidate : r->oracle, "generic", r->quick ? 1 : SUBJECT_PROMPTS);
            prove(r, s, s->name);
        }
        subject_free(s);
    }
}

/* The default model's prompt is long; the others show what they have in a short one. */
static int32_t prompt_of(const char *name)
{
    return strcmp(name, "smollm2") == 0 ? PROMPT : SHORT_PROMPT;
}

/* A model's oracle is too slow for CI: there the fastest kernels, which its golden hash vouches for, take its place. */
static void prove_models(run *r)
{
    for (uint32_t i = 0; i < r->model_count; i++) {
        char argument[600];
        if (!chosen(r, r->models[i].name))
            continue;
        snprintf(argument, sizeof argument, "%s=%s", r->models[i].name, r->models[i].path);
        subject *mapped = subject_of_file(r->models[i].name, r->models[i].path, 0, prompt_of(r->models[i].name));
        subject_run_oracle(mapped, r->oracle, r->full || r->write ? "generic" : "auto", r->write ? 1 : 2);
        visit(AXIS_MAPPING, 0);
        prove(r, mapped, argument);
        subject *read = subject_of_file(r->models[i].name, r->models[i].path, BP_MAPPING_READ, prompt_of(r->models[i].name));
        if (quick_hash(r, read, "auto") != mapped->hash) {
            printf("DIFFERENT %s: read, not mapped, it gives other bits\n", mapped->name);
            r->failed = true;
        }
        visit(AXIS_MAPPING, 1);
        subject_free(read);
        subject_free(mapped);
    }
}

static int print_hash(const run *r)
{
    const char *equals = strchr(r->hash, '=');
    char name[64];
    subject *s = NULL;
    if (equals) {
        snprintf(name, sizeof name, "%.*s", (int)(equals - r->hash), r->hash);
        s = subject_of_file(name, equals + 1, 0, prompt_of(name));
    }
    for (uint32_t i = 0; !s && i < recipe_count; i++)
        if (strcmp(r->hash + strlen("net/"), recipes[i].name) == 0)
            s = subject_of_recipe(&recipes[i], tier_of(r));
    if (!s)
        die("no subject is named %s", r->hash);
    printf("%016" PRIx64 "\n", quick_hash(r, s, "auto"));
    subject_free(s);
    return 0;
}

/* --- controls --------------------------------------------------------------------------------------------------------- */

/* "NET=PATH": the walk of that net must find the plugin out. */
static bool found_out(run *r, const char *text)
{
    char trouble[400] = "";
    const char *equals = strchr(text, '=');
    if (!equals)
        die("%s is not NET=PLUGIN", text);
    r->candidate = machine_load(equals + 1);
    for (uint32_t i = 0; i < recipe_count; i++) {
        subject *s = subject_of_recipe(&recipes[i], tier_of(r));
        if (strlen(s->name) == (size_t)(equals - text) && strncmp(s->name, text, strlen(s->name)) == 0) {
            subject_run_oracle(s, r->oracle, "generic", SUBJECT_PROMPTS);
            sample(r, s, i, trouble);
        }
        subject_free(s);
    }
    const char *name = strrchr(text, '/');
    printf("%-32s %s\n", name + 1, trouble[0] ? trouble : "WENT UNNOTICED");
    fflush(stdout);
    return trouble[0] != 0;
}

static int run_controls(run *r)
{
    int unnoticed = 0;
    for (int i = 0; i < r->mutant_count; i++)
        unnoticed += !found_out(r, r->mutants[i]);
    return unnoticed > 0 || r->mutant_count == 0;
}

/* --- the command ------------------------------------------------------------------------------------------------------ */

static void usage(void)
{
    fprintf(stderr, "usage: proof PLUGIN [--full] [--golden] [--stable] [--only NAME] [--model NAME=PATH] [--models] [--write] [--hash NAME] [--oracle PLUGIN] "
                    "[--controls NET=MUTANT...]\n");
    exit(2);
}

static void add_model(run *r, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || r->model_count == MAX_MODELS)
        usage();
    snprintf(r->models[r->model_count].name, sizeof r->models[0].name, "%.*s", (int)(equals - text), text);
    r->models[r->model_count++].path = equals + 1;
}

/* $BACKPLANE_SMOLLM2 must be there, others may. */
static void add_models(run *r)
{
    static const char *const variables[][2] = {
        {"BACKPLANE_SMOLLM2", "smollm2"}, {"BACKPLANE_QWEN", "qwen2.5-coder"}, {"BACKPLANE_GEMMA", "gemma3"},
        {"BACKPLANE_MINILM", "minilm"}};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *path = getenv(variables[i][0]);
        char text[600];
        if (!path && i == 0)
            die("%s does not name the model file; run the tests through ctest after tools/fetch", variables[i][0]);
        snprintf(text, sizeof text, "%s=%s", variables[i][1], path ? path : "");
        if (path)
            add_model(r, strdup(text));
    }
}

static void parse(run *r, int argc, char **argv)
{
    const char *oracle = CPU_PLUGIN;
    if (argc < 2)
        usage();
    r->path = argv[1];
    for (int i = 2; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--full") == 0) {
            r->full = true;
        } else if (strcmp(argv[i], "--golden") == 0) {
            r->quick = true;
        } else if (strcmp(argv[i], "--write") == 0) {
            r->write = true;
        } else if (strcmp(argv[i], "--stable") == 0) {
            r->stable = true;
            oracle = r->path;
        } else if (strcmp(argv[i], "--models") == 0) {
            add_models(r);
        } else if (strcmp(argv[i], "--controls") == 0) {
            r->mutants = argv + i + 1;
            r->mutant_count = argc - i - 1;
            break;
        } else if (!value) {
            usage();
        } else if (strcmp(argv[i], "--only") == 0) {
            r->only = argv[++i];
        } else if (strcmp(argv[i], "--model") == 0) {
            add_model(r, argv[++i]);
        } else if (strcmp(argv[i], "--hash") == 0) {
            r->hash = argv[++i];
        } else if (strcmp(argv[i], "--dump") == 0) {
            r->dump = argv[++i];
            r->quick = true;
        } else if (strcmp(argv[i], "--oracle") == 0) {
            oracle = argv[++i];
        } else {
            usage();
        }
    }
    r->candidate = machine_load(r->path);
    r->oracle = machine_load(oracle);
}

int main(int argc, char **argv)
{
    static run r;
    parse(&r, argc, argv);
    if (r.hash)
        return print_hash(&r);
    if (r.mutants)
        return run_controls(&r);
    if (!(r.golden = golden_open(SOURCE_DIR "/tests/golden/hashes.txt")))
        die("no memory for hashes");
    if (r.model_count == 0)
        prove_recipes(&r);
    prove_models(&r);
    if (r.write && !golden_write(r.golden))
        die("cannot write the golden hashes");
    golden_close(r.golden);
    if (!r.write && !r.only && !r.quick) {
        if (r.model_count == 0)
            axes_want();
        else
            visits_want(AXIS_MAPPING, 0, 1, 1);
        visits_want(AXIS_RESTART, 0, 0, 1);
        for (uint32_t isa = r.model_count > 0; isa < ISAS; isa++)
            if (has_isa(isa))
                visits_want(AXIS_ISA, isa, isa, 1);
        printf("visited:\n");
        r.failed = !visits_report() || r.failed;
    }
    machine_unload_all();
    printf("%s\n", r.failed ? "FAILED" : r.write ? "written" : "the same bits every time");
    return r.failed;
}
