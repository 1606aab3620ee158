/* options: typed values, ranges, tables, suggestions, printing. */
#include "host/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct settings {
    uint8_t fast;
    int32_t mode;
    int64_t threads;
    double share;
    const char *title, *file;
    uint64_t memory;
} settings;

#define AT(field) .offset = offsetof(settings, field)
static const bp_option table[] = {
    {.name = "fast", .type = BP_OPTION_BOOL, .fallback = "false", AT(fast), .help = "Be fast."},
    {.name = "mode", .type = BP_OPTION_ENUM, .choices = "one|two|three", .fallback = "two", AT(mode)},
    {.name = "threads", .type = BP_OPTION_INT, .flags = BP_OPTION_AUTO, .fallback = "auto", .min = 1, .max = 64, AT(threads)},
    {.name = "share", .type = BP_OPTION_FLOAT, .fallback = "0.5", .min = 0, .max = 1, AT(share)},
    {.name = "title", .type = BP_OPTION_STRING, AT(title)},
    {.name = "file", .type = BP_OPTION_PATH, .flags = BP_OPTION_REQUIRED, AT(file), .help = "The file."},
    {.name = "memory", .type = BP_OPTION_SIZE, .fallback = "1MiB", .min = 1024, .max = 1 << 30, AT(memory)},
    {0},
};

static settings values;
static options_target target = {.options = table, .config = &values, .directory = "/etc/place"};

static void set(const char *name, const char *text)
{
    bp_error error = {0};
    if (options_set(&target, name, text, &error) != BP_OK)
        fail_msg("%s", error.message);
}

static void refuse(const char *name, const char *text, const char *sentence)
{
    bp_error error = {0};
    settings before = values;
    assert_int_equal(options_set(&target, name, text, &error), BP_EINVAL);
    assert_string_equal(error.message, sentence);
    assert_memory_equal(&before, &values, sizeof values);
}

static void values_are_parsed(void **state)
{
    (void)state;
    assert_int_equal(options_check_table(table, sizeof values, NULL), BP_OK);
    assert_int_equal(options_defaults(&target, NULL), BP_OK);
    assert_int_equal(values.mode, 1);
    assert_true(values.threads == OPTIONS_AUTO);
    assert_true(values.share == 0.5);
    assert_null(values.title);
    assert_int_equal(values.memory, 1 << 20);
    set("fast", "true");
    assert_int_equal(values.fast, 1);
    set("fast", "off");
    assert_int_equal(values.fast, 0);
    set("threads", "64");
    assert_int_equal(values.threads, 64);
    set("mode", "three");
    assert_int_equal(values.mode, 2);
    set("share", "1e-1");
    assert_true(values.share == 0.1);
    set("title", "");
    assert_string_equal(values.title, "");
}

static void sizes_are_exact(void **state)
{
    (void)state;
    static const struct { const char *text; uint64_t bytes; } cases[] = {
        {"4096", 4096}, {"64KiB", 65536}, {"64 KiB", 65536}, {"1.5KiB", 1536}, {"0.1GB", 100000000},
        {"1GiB", 1 << 30}, {"2000B", 2000}, {"0.000001GiB", 1073}, {"1.5KB", 1500},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set("memory", cases[i].text);
        assert_true(values.memory == cases[i].bytes);
    }
    static const char *const bad[] = {"", "-1", "1K", "1kb", "KiB", "1.KiB", ".5KiB", "1.1234567GB", "1 ", "0x400", "1023",
                                      "2GiB", "99999999999999999999", "18446744073709551615TiB", "1e9", "64KiB "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(options_set(&target, "memory", bad[i], NULL), BP_EINVAL);
}

static void paths_are_relative_to_their_file(void **state)
{
    (void)state;
    static const struct { const char *text, *path; } cases[] = {
        {"/a/b", "/a/b"}, {"x", "/etc/place/x"}, {"./x/y", "/etc/place/x/y"}, {"../x", "/etc/x"}, {"../../x", "/x"},
        {"../../../../x", "/x"}, {".././x", "/etc/x"}, {"..x", "/etc/place/..x"}, {"a/../b", "/etc/place/a/../b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set("file", cases[i].text);
        assert_string_equal(values.file, cases[i].path);
    }
    refuse("file", "", "file is \"\"; it takes a path");
}

static void bad_values_say_what_is_taken(void **state)
{
    (void)state;
    refuse("threads", "0", "threads is \"0\"; it takes a whole number from 1 to 64, or auto");
    refuse("threads", "65", "threads is \"65\"; it takes a whole number from 1 to 64, or auto");
    refuse("threads", "1.5", "threads is \"1.5\"; it takes a whole number from 1 to 64, or auto");
    refuse("threads", " 1", "threads is \" 1\"; it takes a whole number from 1 to 64, or auto");
    refuse("threads", "99999999999999999999", "threads is \"99999999999999999999\"; it takes a whole number from 1 to 64, or auto");
    refuse("share", "nan", "share is \"nan\"; it takes a number from 0 to 1");
    refuse("share", "1e400", "share is \"1e400\"; it takes a number from 0 to 1");
    refuse("fast", "maybe", "fast is \"maybe\"; it takes true or false");
    refuse("mode", "tw", "mode is \"tw\"; it takes one of one, two, three");
    refuse("mode", "one|two", "mode is \"one|two\"; it takes one of one, two, three");
    refuse("memory", "9", "memory is \"9\"; it takes a size (512, 64KiB, 2GiB, 1.5GB) from 1KiB to 1GiB");
    refuse("thread", "1", "unknown key \"thread\"; did you mean threads?");
    refuse("treads", "1", "unknown key \"treads\"; did you mean threads?");
    refuse("zzzzzzzz", "1", "unknown key \"zzzzzzzz\"; the keys are fast, mode, threads, share, title, file, memory");
}

static void fill(const char *text, const char *sentence)
{
    static const char *const others[] = {"plugin", NULL};
    yaml_tree *tree = NULL;
    bp_error error = {0};
    assert_int_equal(yaml_parse("f", text, strlen(text), NULL, NULL, &tree, NULL), BP_OK);
    bp_status status = options_fill(&target, yaml_root(tree), others, &error);
    yaml_release(tree);
    assert_int_equal(status, sentence ? BP_EINVAL : BP_OK);
    assert_string_equal(error.message, sentence ? sentence : "");
}

static void mappings_are_filled(void **state)
{
    (void)state;
    fill("{plugin: [x], file: m, threads: 3}", NULL);
    assert_int_equal(values.threads, 3);
    fill("threads: 3", "f:1:1: the key file is missing: The file.");
    fill("file: x\nshare: 2", "f:2:8: share is \"2\"; it takes a number from 0 to 1");
    fill("file: x\nshare:", "f:2:7: share is nothing; it takes a number from 0 to 1");
    fill("file: [x]", "f:1:7: file is a list; it takes a path");
    fill("file: x\nfiel: y", "f:2:1: unknown key \"fiel\"; did you mean file?");
    fill("file: x\nplugins: y", "f:2:1: unknown key \"plugins\"; did you mean plugin?");
    fill("[x]", "f:1:1: a list where a mapping of options belongs");
    target.options = NULL;
    fill("{file: x}", "f:1:2: unknown key \"file\"; the keys are plugin");
    target.options = table;
}

static void refuse_table(bp_option first, bp_option second, const char *sentence)
{
    const bp_option rows[] = {first, second, {0}};
    bp_error error = {0};
    assert_int_equal(options_check_table(rows, 16, &error), BP_EINVAL);
    assert_string_equal(error.message, sentence);
}

static void bad_tables_are_refused(void **state)
{
    (void)state;
    const bp_option none = {0}, good = {.name = "a", .type = BP_OPTION_INT};
#define ROW(...) ((bp_option){__VA_ARGS__})
    refuse_table(ROW(.name = "A", .type = BP_OPTION_INT), none, "an option's name is \"A\", which is not lower_snake_case");
    refuse_table(ROW(.name = "a", .type = 99), none, "option a has the unknown type 99");
    refuse_table(ROW(.name = "a", .type = BP_OPTION_INT, .offset = 12), none,
                 "option a is stored at offset 12 of a config struct of 16 bytes");
    refuse_table(ROW(.name = "a", .type = BP_OPTION_BOOL, .offset = 16), none,
                 "option a is stored at offset 16 of a config struct of 16 bytes");
    refuse_table(ROW(.name = "a", .type = BP_OPTION_INT, .flags = 8), none, "option a has unknown flags");
    refuse_table(ROW(.name = "a", .type = BP_OPTION_BOOL, .flags = BP_OPTION_AUTO), none,
                 "option a takes auto and is not an integer");
    refuse_table(ROW(.name = "a", .type = BP_OPTION_INT, .flags = BP_OPTION_REQUIRED, .fallback = "1"), none,
                 "option a is required and has a default");
    refuse_table(ROW(.name = "a", .type = BP_OPTION_ENUM, .choices = "x||y"), none, "option a has no list of choices");
    refuse_table(ROW(.name = "a", .type = BP_OPTION_INT, .fallback = "x"), none,
                 "the default of option a: a is \"x\"; it takes a whole number");
    refuse_table(good, good, "option a is there twice");
    refuse_table(good, ROW(.name = "b", .type = BP_OPTION_BOOL, .offset = 7), "options a and b are stored in the same place");
    bp_option endless[OPTIONS_MAX_ROWS + 1];
    char names[OPTIONS_MAX_ROWS + 1][8];
    for (uint32_t i = 0; i <= OPTIONS_MAX_ROWS; i++) {
        snprintf(names[i], sizeof names[i], "o%u", i);
        endless[i] = ROW(.name = names[i], .type = BP_OPTION_BOOL, .offset = i);
    }
    assert_int_equal(options_check_table(endless, 4096, NULL), BP_EINVAL);
    assert_int_equal(options_check_table(NULL, OPTIONS_MAX_CONFIG + 1, NULL), BP_EINVAL);
    assert_int_equal(options_check_table(NULL, 0, NULL), BP_OK);
}

static void tables_are_printed(void **state)
{
    (void)state;
    buffer text = {0};
    assert_true(options_print_help(table, "  ", &text));
    assert_non_null(strstr(text.data, "  fast     bool"));
    assert_non_null(strstr(text.data, "Be fast. (default false)\n"));
    assert_non_null(strstr(text.data, "  threads  int 1..64|auto"));
    assert_non_null(strstr(text.data, "The file. (required)\n"));
    buffer_clear(&text);
    assert_true(options_print_markdown(table, &text));
    assert_non_null(strstr(text.data, "| `mode` | one\\|two\\|three | two |  |\n"));
    assert_non_null(strstr(text.data, "| `memory` | size 1KiB..1GiB | 1MiB |"));
    buffer_free(&text);
}

int main(void)
{
    target.memory = arena_new();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_parsed),
        cmocka_unit_test(sizes_are_exact),
        cmocka_unit_test(paths_are_relative_to_their_file),
        cmocka_unit_test(bad_values_say_what_is_taken),
        cmocka_unit_test(mappings_are_filled),
        cmocka_unit_test(bad_tables_are_refused),
        cmocka_unit_test(tables_are_printed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(target.memory);
    return failed;
}
