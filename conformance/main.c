/* backplane-plugin-test: holds a plugin to what the SDK's headers and docs/numerics.md promise in its name.
 *
 * Every check is a line: "ok NAME", "FAILED NAME: why" or "not offered NAME: why". The process fails if a check did. */
#include "recipes.h"
#include "subject.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WORDS = 32, USUAL_SECONDS = 60 };

typedef struct arguments {
    const char *path;
    const char *settings[MOST_WORDS], *only[MOST_WORDS];
    size_t setting_count, only_count;
    double tolerance;
    unsigned seconds;
    bool list, quiet;
} arguments;

static void usage(FILE *to)
{
    fputs("usage: backplane-plugin-test PLUGIN.so [options]\n"
          "       backplane-plugin-test --list\n\n"
          "Holds a backend or a frontend to the SDK's promises, each in a process of its own.\n\n"
          "  --set KEY=VALUE   an option of the plugin, as its configuration would have it; more than once\n"
          "  --only NAME       this check, or with a dot at its end all of a kind (`--only steps.`); more than once\n"
          "  --tolerance X     `numerics: stable` may differ from the reference by X times the largest number of a row;\n"
          "                    without it `numerics: portable` is looked at, to the bit\n"
          "  --seconds N       how long a check may take (60)\n"
          "  --quiet           only what failed, and the count\n"
          "  --list            the checks and what they prove\n\n"
          "The exit status is 0 if nothing failed, 1 if something did, 2 if the command is wrong.\n",
          to);
}

static void wrong_usage(const char *what, const char *word) __attribute__((noreturn));
static void wrong_usage(const char *what, const char *word)
{
    fprintf(stderr, "backplane-plugin-test: %s%s\n\n", what, word);
    usage(stderr);
    exit(2);
}

static double number_of(const char *option, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        wrong_usage(option, " has a value that is no number, or out of range");
    return value;
}

/* Keeps one of several words. */
static void keep(const char **words, size_t *count, const char *word)
{
    if (*count == MOST_WORDS)
        wrong_usage("too many words like ", word);
    words[(*count)++] = word;
}

static void parse(arguments *a, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        bool takes = strcmp(word, "--set") == 0 || strcmp(word, "--only") == 0 || strcmp(word, "--tolerance") == 0 ||
                     strcmp(word, "--seconds") == 0;
        if (takes && ++i == argc)
            wrong_usage("a value is missing after ", word);
        if (strcmp(word, "--help") == 0) {
            usage(stdout);
            exit(0);
        } else if (strcmp(word, "--list") == 0)
            a->list = true;
        else if (strcmp(word, "--quiet") == 0)
            a->quiet = true;
        else if (strcmp(word, "--set") == 0)
            keep(a->settings, &a->setting_count, argv[i]);
        else if (strcmp(word, "--only") == 0)
            keep(a->only, &a->only_count, argv[i]);
        else if (strcmp(word, "--tolerance") == 0)
            a->tolerance = number_of(word, argv[i], 0, 1);
        else if (strcmp(word, "--seconds") == 0)
            a->seconds = (unsigned)number_of(word, argv[i], 1, 86400);
        else if (word[0] == '-' || a->path)
            wrong_usage("unknown word ", word);
        else
            a->path = word;
    }
    for (size_t i = 0; i < a->setting_count; i++)
        if (!strchr(a->settings[i], '='))
            wrong_usage("--set takes KEY=VALUE, not ", a->settings[i]);
    if (!a->path && !a->list)
        wrong_usage("no plugin is named", "");
}

/* How many bytes of a name must be equal: "steps." is all that begin so, "steps.rows" is one. */
static size_t group_or_whole(const char *word)
{
    size_t length = strlen(word);
    return length > 0 && word[length - 1] == '.' ? length : length + 1;
}

static bool is_chosen(const arguments *a, const check *c)
{
    for (size_t i = 0; i < a->only_count; i++)
        if (strncmp(c->name, a->only[i], group_or_whole(a->only[i])) == 0)
            return true;
    return a->only_count == 0;
}

static void add_of_kind(check_list *list, uint32_t kind)
{
    checks_add_plugin(list);
    if (kind == BP_PLUGIN_FRONTEND) {
        checks_add_frontend(list);
        return;
    }
    checks_add_device(list);
    checks_add_calls(list);
    checks_add_ops(list);
    checks_add_steps(list);
    checks_add_caps(list);
    checks_add_lives(list);
}

static int print_list(void)
{
    check_list list = {0};
    add_of_kind(&list, BP_PLUGIN_BACKEND);
    checks_add_frontend(&list);
    for (size_t i = 0; i < list.count; i++)
        printf("%-20s %s\n", list.items[i].name, list.items[i].proves);
    free(list.items);
    return 0;
}

/* Kept by a frontend; failed by a backend and by what is neither, of which plugin.load says why. */
static void load_frontend(subject *u, uint32_t which)
{
    (void)which;
    u->kind = BP_PLUGIN_FRONTEND;
    subject_load(u);
}

static uint32_t kind_of(subject *u, unsigned seconds)
{
    char sentence[SENTENCE_BYTES];
    const check look = {.name = "plugin.load", .run = load_frontend};
    return check_run(&look, u, seconds, sentence) == KEPT ? BP_PLUGIN_FRONTEND : BP_PLUGIN_BACKEND;
}

static int run(const arguments *a, subject *u)
{
    static const char *const words[] = {"ok", "FAILED", "not offered"};
    size_t counts[3] = {0};
    char sentence[SENTENCE_BYTES];
    check_list list = {0};
    add_of_kind(&list, u->kind);
    for (size_t i = 0; i < list.count; i++) {
        if (!is_chosen(a, &list.items[i]))
            continue;
        verdict v = check_run(&list.items[i], u, a->seconds, sentence);
        counts[v]++;
        if (v == BROKEN || !a->quiet)
            printf("%s %s%s%s\n", words[v], list.items[i].name, sentence[0] ? ": " : "", sentence);
        fflush(stdout);
        if (v == BROKEN && strncmp(list.items[i].name, "plugin.", 7) == 0)
            break; /* no other check could say anything else */
    }
    free(list.items);
    printf("%zu kept, %zu failed, %zu not offered\n", counts[KEPT], counts[BROKEN], counts[NOT_OFFERED]);
    if (counts[KEPT] + counts[BROKEN] + counts[NOT_OFFERED] == 0)
        wrong_usage("there is no check ", a->only[0]);
    return counts[BROKEN] > 0;
}

int main(int argc, char **argv)
{
    arguments a = {.seconds = USUAL_SECONDS};
    parse(&a, argc, argv);
    if (a.list)
        return print_list();
    char *path = realpath(a.path, NULL);
    if (!path) {
        fprintf(stderr, "backplane-plugin-test: there is no file %s\n", a.path);
        return 2;
    }
    log_set_level(BP_LOG_WARN);
    subject u = {.path = path, .settings = a.settings, .setting_count = a.setting_count, .tolerance = a.tolerance};
    u.kind = kind_of(&u, a.seconds);
    int status = run(&a, &u);
    free(path);
    return status;
}
