/* yaml: trees, positions, substitution, and every refusal with its place. */
#include "base/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *lookup(void *user, const char *name)
{
    (void)user;
    if (strcmp(name, "HOST") == 0)
        return "example";
    if (strcmp(name, "TRICK") == 0)
        return "[1, 2] # ${HOST}";
    if (strcmp(name, "BROKEN") == 0)
        return "\xff";
    return strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

static yaml_tree *parse(const char *text)
{
    yaml_tree *tree = NULL;
    bp_error error = {0};
    if (yaml_parse("f.yaml", text, strlen(text), lookup, NULL, &tree, &error) != BP_OK)
        fail_msg("%s", error.message);
    return tree;
}

static void refuse_bytes(const char *text, size_t bytes, const char *sentence)
{
    yaml_tree *tree = NULL;
    bp_error error = {0};
    assert_true(yaml_parse("f.yaml", text, bytes, lookup, NULL, &tree, &error) < 0);
    assert_null(tree);
    if (!strstr(error.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", error.message, sentence);
    assert_true(yaml_parse("f.yaml", text, bytes, lookup, NULL, &tree, NULL) == error.code);
}

static void refuse(const char *text, const char *sentence)
{
    refuse_bytes(text, strlen(text), sentence);
}

static void trees_know_their_places(void **state)
{
    (void)state;
    yaml_tree *tree = parse("a: 1\nb:\n  - x\n  - {c: 'd e'}\nn: ~\n");
    const yaml_node *root = yaml_root(tree), *b = yaml_get(root, "b");
    assert_int_equal(root->kind, YAML_MAP);
    assert_int_equal(root->count, 3);
    assert_string_equal(yaml_get(root, "a")->text, "1");
    assert_int_equal(b->kind, YAML_LIST);
    assert_int_equal(b->count, 2);
    const yaml_node *c = yaml_get(b->values[1], "c");
    assert_string_equal(c->text, "d e");
    assert_int_equal(c->line, 4);
    assert_int_equal(c->column, 9);
    assert_int_equal(yaml_get(root, "n")->kind, YAML_NULL);
    assert_null(yaml_get(root, "z"));
    assert_null(yaml_get(c, "z"));
    bp_error error = {0};
    assert_int_equal(yaml_fail(c, &error, "is %s", "bad"), BP_EINVAL);
    assert_string_equal(error.message, "f.yaml:4:9: is bad");
    yaml_release(tree);
}

static void variables_are_substituted(void **state)
{
    (void)state;
    yaml_tree *tree = parse("a: http://${HOST}:${PORT:-80}/\nb: $${HOST}\nc: ${EMPTY}\nd: ${EMPTY:-full}\ne: ${TRICK}\nf: '$$'\n"
                            "g: ${NONE:-}\n");
    const yaml_node *root = yaml_root(tree);
    assert_string_equal(yaml_get(root, "a")->text, "http://example:80/");
    assert_string_equal(yaml_get(root, "b")->text, "${HOST}");
    assert_string_equal(yaml_get(root, "c")->text, "");
    assert_int_equal(yaml_get(root, "c")->kind, YAML_TEXT);
    assert_string_equal(yaml_get(root, "d")->text, "full");
    assert_string_equal(yaml_get(root, "e")->text, "[1, 2] # ${HOST}");
    assert_string_equal(yaml_get(root, "f")->text, "$");
    assert_string_equal(yaml_get(root, "g")->text, "");
    yaml_release(tree);
    refuse("a:\n  b: ${NONE}\n", "f.yaml:2:6: the variable NONE is not set");
    refuse("a: ${HOST\n", "f.yaml:1:4: \"${\" begins");
    refuse("a: ${HOST:-x\n", "f.yaml:1:4: \"${\" begins");
    refuse("a: ${}\n", "f.yaml:1:4: \"${\" begins");
    refuse("a: ${1X}\n", "f.yaml:1:4: \"${\" begins");
    refuse("a: $HOST\n", "f.yaml:1:4: a single dollar sign");
    refuse("a: x$\n", "f.yaml:1:4: a single dollar sign");
    refuse("a: { b: ${HOME} }\n", "f.yaml:1:9: a single dollar sign");
    refuse("a: ${BROKEN}\n", "f.yaml:1:4: the variable BROKEN is not valid UTF-8");
}

static void test_80_bad_files_are_refused(void **state)
{
    (void)state;
    refuse("", "an empty configuration");
    refuse("# nothing\n", "an empty configuration");
    refuse("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: the key \"a\" again; it is already at line 1, column 1");
    refuse("{x: {q: 1, q: 2}}", "f.yaml:1:12: the key \"q\" again; it is already at line 1, column 6");
    refuse("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document");
    refuse("a: &x {b: 1}\nc:\n  <<: *x\n", "f.yaml:3:3: a merge key");
    refuse("a: !!int 3\n", "f.yaml:1:4: a tag");
    refuse("a: !x [3]\n", "f.yaml:1:4: a tag");
    refuse("[1]: 2\n", "f.yaml:1:1: a list as a key");
    refuse("a: [1\nb: 2\n", "f.yaml:2:");
    refuse("a: \"x\\0y\"\n", "f.yaml:1:4: a NUL character");
    refuse("\ta: 1\n", "f.yaml:1:1: not valid YAML");
    refuse("a: x\x01\n", "f.yaml:1:5: control characters");
    refuse_bytes("a: 1\nb: x\0y\n", 12, "f.yaml:2:5: a NUL character");
    refuse("a: 1\n\xc3\xa9: \xff\n", "f.yaml:2:4: invalid UTF-8");
}

static void aliases_share_and_are_bounded(void **state)
{
    (void)state;
    yaml_tree *tree = parse("a: &x {k: [1, 2]}\nb: *x\nc: &x 5\nd: *x\n");
    const yaml_node *root = yaml_root(tree);
    assert_ptr_equal(yaml_get(root, "a"), yaml_get(root, "b"));
    assert_string_equal(yaml_get(root, "d")->text, "5");
    yaml_release(tree);
    refuse("a: &x [1, *x]\n", "f.yaml:1:11: an alias inside the value");
    refuse("a: *x\n", "f.yaml:1:4: an alias of an anchor");
    refuse("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
           "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n",
           "f.yaml:3:32: aliases that expand");
}

/* `count` times `piece`. */
static char *repeat(const char *piece, size_t count)
{
    size_t length = strlen(piece);
    char *text = malloc(length * count + 1);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * length, piece, length);
    text[length * count] = '\0';
    return text;
}

static void limits_hold(void **state)
{
    (void)state;
    static const struct { const char *piece; size_t count; const char *sentence; } cases[] = {
        {"[", YAML_MAX_DEPTH + 1, "f.yaml:1:33: nested deeper"},
        {"[", 100000, "f.yaml:1:33: nested deeper"},
        {"- a: {b: [\n", 100000, "f.yaml:"},
        {"- x\n", YAML_MAX_NODES, "f.yaml:10000:3: more values"},
        {"- &a x\n", YAML_MAX_ANCHORS + 1, "f.yaml:101:3: more anchors"},
        {"# comment\n", YAML_MAX_BYTES / 10 + 1, "larger than"},
        {"x", YAML_MAX_TEXT + 1, "f.yaml:1:1: a longer text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = repeat(cases[i].piece, cases[i].count);
        refuse(text, cases[i].sentence);
        free(text);
    }
    char *variables = repeat("${HOST}", YAML_MAX_TEXT / 7);
    yaml_release(parse(variables));
    free(variables);
    refuse("a: &a [[[[[[[[[[1]]]]]]]]]]\nb: &b [[[[[[[[[[*a]]]]]]]]]]\nc: [[[[[[[[[[[[*b]]]]]]]]]]]]\n", "f.yaml:3:16: aliases");
}

static void files_are_loaded(void **state)
{
    (void)state;
    yaml_tree *tree = NULL;
    bp_error error = {0};
    assert_int_equal(yaml_load("/nonexistent/x.yaml", NULL, NULL, &tree, &error), BP_ENOTFOUND);
    assert_non_null(strstr(error.message, "/nonexistent/x.yaml"));
    assert_int_equal(yaml_load("/", NULL, NULL, &tree, &error), BP_EIO);
    assert_int_equal(yaml_load("/dev/zero", NULL, NULL, &tree, &error), BP_ELIMIT);
    assert_null(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_know_their_places), cmocka_unit_test(variables_are_substituted),
        cmocka_unit_test(test_80_bad_files_are_refused),   cmocka_unit_test(aliases_share_and_are_bounded),
        cmocka_unit_test(limits_hold),             cmocka_unit_test(files_are_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
