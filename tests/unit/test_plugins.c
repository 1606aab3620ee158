/* plugins: every reason for which a file is refused, and what is made of those that are not. */
#include "host/config.h"
#include "host/plugins.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FILES PLUGIN_FILES /* of tests/plugins, as built */

static char scratch[] = "/tmp/test_plugins.XXXXXX";
static plugins *set;

static int set_up(void **state)
{
    (void)state;
    set = plugins_new();
    return set ? plugins_add_directory(set, FILES, NULL) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    plugins_free(set);
    return 0;
}

/* The message must begin with the file and hold the sentence. */
static void refuse_path(const char *path, bp_status code, const char *sentence)
{
    const plugin *loaded = NULL;
    bp_error error = {0};
    bp_status status = plugins_load(set, path, BP_PLUGIN_BACKEND, &loaded, &error);
    assert_null(loaded);
    if (strncmp(error.message, path, strlen(path)) != 0 || !strstr(error.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", error.message, sentence);
    assert_int_equal(status, code);
}

static void refuse(const char *name, bp_status code, const char *sentence)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s.so", FILES, name);
    refuse_path(path, code, sentence);
}

static void test_81_unfit_descriptors_are_refused(void **state)
{
    (void)state;
    char sentence[128];
    snprintf(sentence, sizeof sentence, "is built for plugin ABI %d.%d and this is %d.%d", BP_ABI_MAJOR + 1, BP_ABI_MINOR, BP_ABI_MAJOR, BP_ABI_MINOR);
    refuse("wrong_major", BP_EUNSUPPORTED, sentence);
    snprintf(sentence, sizeof sentence, "needs plugin ABI %d.%d and this is %d.%d; update Backplane", BP_ABI_MAJOR, BP_ABI_MINOR + 1, BP_ABI_MAJOR,
             BP_ABI_MINOR);
    refuse("newer_minor", BP_EUNSUPPORTED, sentence);
    refuse("oversized", BP_EUNSUPPORTED, "it was built for another ABI");
    refuse("undersized", BP_EINVAL, "has a descriptor of 16 bytes where at least");
    refuse("no_symbol", BP_EINVAL, "is not a plugin: it exports no bp_plugin_entry");
    refuse("no_descriptor", BP_EINVAL, "returned no descriptor");
    refuse("no_ops", BP_EINVAL, "has no operations table");
    refuse("oversized_ops", BP_EUNSUPPORTED, "has an operations table of");
    refuse("torn_ops", BP_EINVAL, "ends inside a slot");
    refuse("unknown_kind", BP_EUNSUPPORTED, "is of the kind 77");
    refuse("short_messages", BP_EUNSUPPORTED, "is a frontend for plugin ABI 1.0, whose messages are shorter");
    refuse("bad_name", BP_EINVAL, "has the name \"Bad Name\"");
    refuse("bad_options", BP_EINVAL, "has a bad option table: option threads is stored at offset 8 of a config struct of 8 bytes");
    refuse("unresolved", BP_EINVAL, "cannot be loaded: undefined symbol: unresolved_function");
}

static void test_82_names_belong_to_one_file(void **state)
{
    (void)state;
    const plugin *loaded = NULL, *again = NULL;
    bp_error error = {0};
    assert_int_equal(plugins_load(set, "wrong_name", BP_PLUGIN_BACKEND, &loaded, &error), BP_EINVAL);
    assert_non_null(strstr(error.message, "/wrong_name.so says that its name is somebody_else"));
    assert_int_equal(plugins_load(set, "sparse", BP_PLUGIN_BACKEND, &loaded, NULL), BP_OK);
    assert_int_equal(plugins_load(set, FILES "/sparse.so", BP_PLUGIN_BACKEND, &again, NULL), BP_OK);
    assert_ptr_equal(loaded, again);
    refuse("twin", BP_EINVAL, "has the name sparse, which ");
    assert_int_equal(plugins_load(set, "sparse", BP_PLUGIN_FRONTEND, &again, &error), BP_EINVAL);
    assert_non_null(strstr(error.message, "/sparse.so is a backend where a frontend belongs"));
    assert_int_equal(plugins_load(set, "spares", BP_PLUGIN_BACKEND, &again, &error), BP_ENOTFOUND);
    assert_non_null(strstr(error.message, "no plugin \"spares\"; did you mean sparse? (searched "));
    assert_int_equal(plugins_load(set, "../sparse", BP_PLUGIN_BACKEND, &again, &error), BP_EINVAL);
    assert_int_equal(plugins_load(set, "", BP_PLUGIN_BACKEND, &again, &error), BP_EINVAL);
}

/* Copies `bytes` bytes of sparse.so (all of it for 0), with `machine` put in its header unless it is 0. */
static const char *copy_of_sparse(size_t bytes, uint16_t machine)
{
    static char path[64];
    snprintf(path, sizeof path, "%s/copy.so", scratch);
    FILE *in = fopen(FILES "/sparse.so", "rb"), *out = fopen(path, "wb");
    assert_true(in && out);
    fseek(in, 0, SEEK_END);
    size_t size = (size_t)ftell(in);
    char *data = malloc(size);
    rewind(in);
    assert_int_equal(fread(data, 1, size, in), size);
    if (machine)
        memcpy(data + offsetof(Elf64_Ehdr, e_machine), &machine, sizeof machine);
    assert_int_equal(fwrite(data, 1, bytes ? bytes : size, out), bytes ? bytes : size);
    free(data);
    fclose(in);
    fclose(out);
    return path;
}

static void broken_files_never_reach_the_loader(void **state)
{
    (void)state;
    struct stat whole;
    assert_int_equal(stat(FILES "/sparse.so", &whole), 0);
    size_t size = (size_t)whole.st_size;
    const size_t cuts[] = {5, 63, 64, 200, 1000, size / 4, size / 2, size - 100, size - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
        refuse_path(copy_of_sparse(cuts[i], 0), BP_EINVAL, "is truncated: its headers describe more than");
    refuse_path(copy_of_sparse(0, EM_68K), BP_EUNSUPPORTED, "has the wrong architecture: it was built for another machine and this is");
    refuse_path(copy_of_sparse(3, 0), BP_EINVAL, "is not a shared object");
    char path[64];
    snprintf(path, sizeof path, "%s/text.so", scratch);
    FILE *text = fopen(path, "w");
    refuse_path(path, BP_EINVAL, "is not a shared object (it has no ELF header)");
    fputs("this is a text that somebody named like a plugin, and long enough to hold an ELF header\n", text);
    fclose(text);
    refuse_path(path, BP_EINVAL, "is not a shared object (it has no ELF header)");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refuse_path(path, BP_EINVAL, "is not a regular file");
    unlink(path);
    refuse_path(path, BP_ENOTFOUND, "cannot be opened");
    refuse_path(scratch, BP_EINVAL, "is not a regular file");
}

static void a_whole_copy_is_fine(void **state)
{
    (void)state;
    const plugin *loaded = NULL;
    bp_error error = {0};
    if (plugins_load(set, copy_of_sparse(0, 0), BP_PLUGIN_BACKEND, &loaded, &error) != BP_OK)
        fail_msg("%s", error.message);
    assert_string_equal(loaded->name, "sparse");
    assert_string_equal(loaded->version, "");
}

static void empty_slots_are_unsupported(void **state)
{
    (void)state;
    const plugin *loaded = NULL;
    assert_int_equal(plugins_load(set, "sparse", BP_PLUGIN_BACKEND, &loaded, NULL), BP_OK);
    const bp_backend_ops *ops = &loaded->backend;
    bp_device *device = NULL;
    bp_error error = {0};
    assert_int_equal(ops->size, sizeof *ops);
    assert_int_equal(ops->open(NULL, NULL, &device, &error), BP_EUNSUPPORTED);
    assert_string_equal(error.message, "the plugin has no open operation");
    assert_int_equal(ops->info(NULL, NULL, &error), BP_EUNSUPPORTED);
    assert_int_equal(ops->supports(NULL, NULL, &error), BP_EUNSUPPORTED);
    assert_int_equal(ops->compile(NULL, NULL, NULL, NULL, &error), BP_EUNSUPPORTED);
    assert_int_equal(ops->memory(NULL, NULL, &error), BP_EUNSUPPORTED);
    assert_int_equal(ops->submit(NULL, NULL, &error), BP_EUNSUPPORTED);
    assert_int_equal(ops->wait(NULL, NULL, 0, &error), BP_EUNSUPPORTED);
    assert_int_equal(ops->wait_topk(NULL, 0, NULL, NULL, &error), BP_EUNSUPPORTED);
    assert_int_equal(ops->copy_pages(NULL, NULL, NULL, 0, &error), BP_EUNSUPPORTED);
    assert_int_equal(ops->read_kv(NULL, 0, 0, 0, NULL, NULL, &error), BP_EUNSUPPORTED);
    ops->release(NULL);
    ops->close(NULL);
    assert_int_equal(plugins_load(set, "greeter", BP_PLUGIN_FRONTEND, &loaded, NULL), BP_OK);
    assert_int_equal(loaded->frontend.open(NULL, NULL, NULL, NULL, NULL, NULL), BP_EUNSUPPORTED);
    assert_int_equal(loaded->frontend.run(NULL, NULL), BP_EUNSUPPORTED);
    loaded->frontend.stop(NULL);
    loaded->frontend.close(NULL);
}

static void given_slots_are_kept(void **state)
{
    (void)state;
    const plugin *loaded = NULL;
    bp_device *device = NULL;
    bp_error error = {0};
    assert_int_equal(plugins_load(set, "fails_open", BP_PLUGIN_BACKEND, &loaded, NULL), BP_OK);
    assert_int_equal(loaded->backend.open(NULL, NULL, &device, &error), BP_EDEVICE);
    assert_string_equal(error.message, "fails_open: there is no such device");
}

static void directories_are_absolute_and_listed_once(void **state)
{
    (void)state;
    bp_error error = {0};
    size_t count;
    assert_int_equal(plugins_add_directory(set, "plugins", &error), BP_EINVAL);
    assert_string_equal(error.message, "the plugin directory plugins is not an absolute path");
    assert_int_equal(plugins_add_directory(set, FILES "/../files", NULL), BP_OK);
    plugins_directories(set, &count);
    assert_int_equal(count, 1);
    assert_int_equal(plugins_add_default_directories(set, "/nowhere/bin", NULL), BP_OK);
    const char *const *directories = plugins_directories(set, &count);
    assert_int_equal(count, 4);
    assert_string_equal(directories[1], "/nowhere/bin/../plugins");
}

static void every_file_is_reported(void **state)
{
    (void)state;
    const plugins_report *reports;
    size_t count, loaded = 0;
    assert_int_equal(plugins_list(set, &reports, &count, NULL), BP_OK);
    assert_true(count > 10);
    for (size_t i = 0; i < count; i++) {
        assert_true(!reports[i].plugin == !!reports[i].refusal);
        assert_non_null(strstr(reports[i].path, FILES));
        loaded += reports[i].plugin != NULL;
    }
    /* sparse, greeter and fails_open; twin is named twice over. */
    assert_int_equal(loaded, 3);
}

static bp_status bind(const char *text, config **out, bp_error *error)
{
    bp_status status = config_from_text("f.yaml", "/etc", text, strlen(text), NULL, NULL, out, error);
    return status == BP_OK ? config_bind(*out, set, true, error) : status;
}

static void refuse_bind(const char *text, const char *sentence)
{
    config *c = NULL;
    bp_error error = {0};
    assert_true(bind(text, &c, &error) < 0);
    config_free(c);
    if (!strstr(error.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", error.message, sentence);
}

#define MODEL "models: {main: {file: x, aliases: [n]}}\n"

static void a_configuration_is_bound(void **state)
{
    (void)state;
    config *c = NULL;
    bp_error error = {0};
    if (bind("backends: {b: {plugin: sparse}}\n" MODEL "frontends: {g: {plugin: greeter, greeting: hello, model: n}}\n", &c,
             &error) != BP_OK)
        fail_msg("%s", error.message);
    const char *const *texts = c->frontends[0].options;
    assert_string_equal(texts[0], "n");
    assert_string_equal(texts[1], "hello");
    assert_string_equal(c->backends[0].loaded->name, "sparse");
    config_free(c);
    refuse_bind("backends: {b: {plugin: spars}}\n" MODEL, "f.yaml:1:24: no plugin \"spars\"; did you mean sparse?");
    refuse_bind("backends: {b: {plugin: greeter}}\n" MODEL, "/greeter.so is a frontend where a backend belongs");
    refuse_bind("backends: {b: {plugin: sparse, threads: 1}}\n" MODEL, "f.yaml:1:32: unknown key \"threads\"");
    refuse_bind("backends: {b: {plugin: no_symbol}}\n" MODEL, "/no_symbol.so is not a plugin");
    refuse_bind("backends: {b: {plugin: sparse}}\n" MODEL "frontends: {g: {plugin: greeter}}\n",
                "f.yaml:3:16: the key greeting is missing: What it says.");
    refuse_bind("backends: {b: {plugin: sparse}}\n" MODEL "frontends: {g: {plugin: greeter, greeting: x, model: mian}}\n",
                "f.yaml:3:54: no model \"mian\" under models; did you mean main?");
}

int main(void)
{
    if (!mkdtemp(scratch))
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_81_unfit_descriptors_are_refused),
        TEST(test_82_names_belong_to_one_file),
        TEST(broken_files_never_reach_the_loader),
        TEST(a_whole_copy_is_fine),
        TEST(empty_slots_are_unsupported),
        TEST(given_slots_are_kept),
        TEST(directories_are_absolute_and_listed_once),
        TEST(every_file_is_reported),
        TEST(a_configuration_is_bound),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(copy_of_sparse(0, 0));
    rmdir(scratch);
    return failed;
}
