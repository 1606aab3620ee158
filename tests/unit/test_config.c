/* config: what a file says, and what is refused about it, with its place. Plugins come in test_plugins.c. */
#include "host/config.h"
#include "host/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BACKENDS "backends:\n  cpu: { plugin: cpu }\n  gpu: { plugin: cuda }\n"

static config *read_text(const char *text)
{
    config *c = NULL;
    bp_error error = {0};
    if (config_from_text("f.yaml", "/etc/place", text, strlen(text), NULL, NULL, &c, &error) != BP_OK)
        fail_msg("%s", error.message);
    return c;
}

static void refuse(const char *text, const char *sentence)
{
    config *c = NULL;
    bp_error error = {0};
    assert_int_equal(config_from_text("f.yaml", "/etc/place", text, strlen(text), NULL, NULL, &c, &error), BP_EINVAL);
    assert_null(c);
    assert_string_equal(error.message, sentence);
}

static void tables_are_sound(void **state)
{
    (void)state;
    bp_error error = {0};
    if (options_check_table(config_model_options, sizeof(config_model), &error) != BP_OK ||
        options_check_table(config_top_options, sizeof(config), &error) != BP_OK)
        fail_msg("%s", error.message);
}

static void a_file_becomes_values(void **state)
{
    (void)state;
    config *c = read_text("backends:\n"
                          "  cpu: { plugin: cpu, threads: auto }\n"
                          "  mine: { plugin: ./build/mine.so }\n"
                          "models:\n"
                          "  smollm2:\n"
                          "    file: ../models/x.gguf\n"
                          "    backend: mine\n"
                          "    context: 8192\n"
                          "    numerics: portable\n"
                          "    kv_type: bf16\n"
                          "    page_tokens: 64\n"
                          "    aliases: [gpt-4o, small]\n"
                          "  other: { file: /y.gguf, backend: cpu }\n"
                          "frontends:\n"
                          "  repl: { plugin: repl, model: smollm2 }\n"
                          "plugin_path: [lib, /opt/plugins]\n"
                          "log_level: debug\n");
    assert_int_equal(c->backend_count, 2);
    assert_string_equal(c->backends[0].plugin, "cpu");
    assert_string_equal(c->backends[1].plugin, "/etc/place/build/mine.so");
    assert_int_equal(c->model_count, 2);
    const config_model *m = &c->models[0];
    assert_string_equal(m->name, "smollm2");
    assert_string_equal(m->file, "/etc/models/x.gguf");
    assert_ptr_equal(m->backend_entry, &c->backends[1]);
    assert_int_equal(m->context, 8192);
    assert_int_equal(m->numerics, BP_NUMERICS_PORTABLE);
    assert_int_equal(m->kv_type, BP_KV_BF16);
    assert_int_equal(m->page_tokens, 64);
    assert_int_equal(m->load, CONFIG_LOAD_LAZY);
    assert_true(m->kv_tokens == CONFIG_AUTO);
    assert_ptr_equal(config_find_model(c, "gpt-4o"), m);
    assert_ptr_equal(config_find_model(c, "other"), &c->models[1]);
    assert_null(config_find_model(c, "none"));
    assert_true(c->models[1].context == CONFIG_AUTO);
    assert_int_equal(c->frontend_count, 1);
    assert_int_equal(c->plugin_path_count, 2);
    assert_string_equal(c->plugin_path[0], "/etc/place/lib");
    assert_string_equal(c->plugin_path[1], "/opt/plugins");
    assert_int_equal(c->log_level, BP_LOG_DEBUG);
    config_free(c);
}

static void the_only_backend_is_the_default(void **state)
{
    (void)state;
    config *c = read_text("backends: {b: {plugin: cpu}}\nmodels: {m: {file: x}}\n");
    assert_ptr_equal(c->models[0].backend_entry, &c->backends[0]);
    assert_int_equal(c->log_level, BP_LOG_INFO);
    config_free(c);
}

static void test_80_mistakes_have_places(void **state)
{
    (void)state;
    refuse("[]", "f.yaml:1:1: a list where the mapping of backends, models and frontends belongs");
    refuse("bakends: {}", "f.yaml:1:1: unknown key \"bakends\"; did you mean backends?");
    refuse("models: {m: {file: x}}", "f.yaml:1:1: there is no backend; write backends: { cpu: { plugin: cpu } }");
    refuse(BACKENDS, "f.yaml:1:1: there is no model; write models: { NAME: { file: PATH } }");
    refuse(BACKENDS "models:\n", "f.yaml:4:8: models is nothing; it takes a mapping of names to what they stand for");
    refuse(BACKENDS "models: {}\n", "f.yaml:4:9: there is no model; write models: { NAME: { file: PATH } }");
    refuse(BACKENDS "models: {m: x}\n", "f.yaml:4:13: model m is a text; it takes a mapping");
    refuse(BACKENDS "models: {m: {}}\n", "f.yaml:4:13: the key file is missing: The model: a GGUF file, or a Hugging Face folder.");
    refuse(BACKENDS "models: {m: {file: x}}\n",
           "f.yaml:4:13: a model names its backend where there is more than one; write backend: NAME");
    refuse(BACKENDS "models:\n  m: { file: x, backend: cpuu }\n",
           "f.yaml:5:26: no backend \"cpuu\" under backends; did you mean cpu?");
    refuse(BACKENDS "models:\n  m: { file: x, backend: cpu, contxt: 5 }\n", "f.yaml:5:31: unknown key \"contxt\"; did you mean context?");
    refuse(BACKENDS "models:\n  m: { file: x, backend: cpu, context: 5 }\n",
           "f.yaml:5:40: context is \"5\"; it takes a whole number from 16 to 16777216, or auto");
    refuse(BACKENDS "models:\n  m: { file: x, backend: cpu, kv_tokens: 64, kv_memory: 1GiB }\n",
           "f.yaml:5:57: kv_tokens and kv_memory say the same thing; write one of them");
    refuse(BACKENDS "models:\n  m: { file: x, backend: cpu, max_step_tokens: 4 }\n",
           "f.yaml:5:48: max_step_tokens is less than max_batch: each sequence needs a token");
    refuse(BACKENDS "models:\n  a b: { file: x }\n",
           "f.yaml:5:3: a model's name is 1 to 63 of A-Z, a-z, 0-9, '.', '_', ':', '/' and '-'");
    refuse(BACKENDS "models:\n  m: { file: x, backend: cpu, aliases: m }\n", "f.yaml:5:40: aliases is a text; it takes a list");
    refuse(BACKENDS "models:\n  m: { file: x, backend: cpu, aliases: [m] }\n", "f.yaml:5:41: the alias m is already a name of model m");
    refuse(BACKENDS "models:\n  m: { file: x, backend: cpu, aliases: [n, n] }\n",
           "f.yaml:5:44: the alias n is already a name of model m");
    refuse(BACKENDS "models:\n  m: { file: x, backend: cpu, aliases: [''] }\n",
           "f.yaml:5:41: a model's name is 1 to 63 of A-Z, a-z, 0-9, '.', '_', ':', '/' and '-'");
    refuse("backends: {cpu: {}}\n", "f.yaml:1:17: backend cpu names no plugin; write plugin: NAME");
    refuse("backends: {cpu: {plugin: []}}\n", "f.yaml:1:26: plugin takes a plugin's name or a path");
    refuse(BACKENDS "models: {m: {file: x, backend: cpu}}\nfrontends: {r: {}}\n",
           "f.yaml:5:16: frontend r names no plugin; write plugin: NAME");
    refuse(BACKENDS "plugin_path: [[x]]\n", "f.yaml:4:15: a list in plugin_path; its entries are texts");
    refuse(BACKENDS "plugin_path: ['']\n", "f.yaml:4:15: plugin_path is \"\"; it takes a path");
    refuse("log_level: loud\n", "f.yaml:1:12: log_level is \"loud\"; it takes one of debug, info, warn, error");
    refuse(BACKENDS "models: {m: {file: x}, m: {file: y}}\n",
           "f.yaml:4:24: the key \"m\" again; it is already at line 4, column 10");
}

static void a_file_on_disk_gives_its_directory(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_config.XXXXXX", path[64], link[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/real", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/real/c.yaml", folder);
    FILE *file = fopen(path, "w");
    fputs("backends: {cpu: {plugin: cpu}}\nmodels: {m: {file: ../x.gguf}}\n", file);
    fclose(file);
    snprintf(link, sizeof link, "%s/link.yaml", folder);
    assert_int_equal(symlink(path, link), 0);
    config *c = NULL;
    assert_int_equal(config_load(link, NULL, NULL, &c, NULL), BP_OK);
    char *real = realpath(folder, NULL), want[300];
    snprintf(want, sizeof want, "%s/x.gguf", real);
    assert_string_equal(c->models[0].file, want);
    free(real);
    config_free(c);
    unlink(link);
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    rmdir(folder);
    bp_error error = {0};
    assert_int_equal(config_load(link, NULL, NULL, &c, &error), BP_ENOTFOUND);
}

static void a_configuration_without_a_file(void **state)
{
    (void)state;
    const char *const model[] = {"context", "512", "temperature", "0", NULL};
    const config_single single = {.file = "m/Some Model.gguf", .directory = "/home/me", .backend = "cpu", .frontend = "repl",
                                  .model_settings = model};
    config *c = NULL;
    bp_error error = {0};
    if (config_from_single(&single, &c, &error) != BP_OK)
        fail_msg("%s", error.message);
    assert_string_equal(c->models[0].name, "Some-Model");
    assert_string_equal(c->models[0].file, "/home/me/m/Some Model.gguf");
    assert_int_equal(c->models[0].context, 512);
    assert_true(c->models[0].temperature == 0);
    assert_ptr_equal(c->models[0].backend_entry, &c->backends[0]);
    assert_string_equal(c->frontends[0].plugin, "repl");
    config_free(c);
    const char *const bad[] = {"contxt", "512", NULL};
    config_single wrong = single;
    wrong.model_settings = bad;
    assert_int_equal(config_from_single(&wrong, &c, &error), BP_EINVAL);
    assert_string_equal(error.message, "unknown key \"contxt\"; did you mean context?");
}

static void examples_are_read(void **state)
{
    (void)state;
    static const char *const names[] = {"chat", "models"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s/config/%s.yaml", SOURCE_DIR, names[i]);
        config *c = NULL;
        bp_error error = {0};
        if (config_load(path, NULL, NULL, &c, &error) != BP_OK)
            fail_msg("%s", error.message);
        config_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_sound),
        cmocka_unit_test(a_file_becomes_values),
        cmocka_unit_test(the_only_backend_is_the_default),
        cmocka_unit_test(test_80_mistakes_have_places),
        cmocka_unit_test(a_file_on_disk_gives_its_directory),
        cmocka_unit_test(a_configuration_without_a_file),
        cmocka_unit_test(examples_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
