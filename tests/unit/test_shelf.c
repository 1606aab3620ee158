/* shelf: models of one file read one mapping, until the file on disk is another. */
#include "model/model.h"
#include "model/shelf.h"
#include "support/tiny_bert.h"
#include "support/tiny_llama.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/backplane-shelf.XXXXXX", path[64];
static model_shelf *shelf;

static int set_up(void **state)
{
    (void)state;
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    shelf = model_shelf_new();
    return shelf && tiny_llama_write(path, &(tiny_llama){0}) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    model_shelf_free(shelf);
    remove(path);
    tiny_bert_remove(folder);
    return 0;
}

static model_file *open_at(const char *where, uint32_t task, model_shelf *s)
{
    model_file *m = NULL;
    bp_error error = {0};
    const model_options options = {.task = task, .shelf = s};
    if (model_open(where, &options, &m, &error) != BP_OK)
        fail_msg("%s", error.message);
    return m;
}

static const void *embedding_of(const model_file *m)
{
    return gguf_find_tensor(model_gguf(m), "token_embd.weight")->data;
}

static void two_models_read_one_mapping(void **state)
{
    (void)state;
    model_file *chat = open_at(path, MODEL_TASK_FILE, shelf), *embed = open_at(path, MODEL_TASK_EMBED, shelf);
    assert_ptr_equal(embedding_of(chat), embedding_of(embed));
    assert_int_equal(model_program(chat)->ops[0].kind, model_program(embed)->ops[0].kind);
    model_file *alone = open_at(path, MODEL_TASK_FILE, NULL);
    assert_ptr_not_equal(embedding_of(chat), embedding_of(alone));
    model_close(alone);
    float before;
    memcpy(&before, embedding_of(embed), sizeof before);
    model_close(chat);
    assert_memory_equal(embedding_of(embed), &before, sizeof before); /* it stays for who is left */
    model_file *again = open_at(path, MODEL_TASK_FILE, shelf);
    assert_ptr_equal(embedding_of(again), embedding_of(embed));
    model_close(embed);
    model_close(again);
}

static void a_folder_is_shared_too(void **state)
{
    (void)state;
    assert_true(tiny_bert_write(folder, &(tiny_bert){0}));
    model_file *a = open_at(folder, 0, shelf), *b = open_at(folder, 0, shelf);
    assert_ptr_equal(embedding_of(a), embedding_of(b));
    assert_true(tiny_bert_write_file(folder, "config_sentence_transformers.json", "{}", 2));
    assert_true(tiny_bert_write(folder, &(tiny_bert){.type = "F16"}));
    model_file *c = open_at(folder, 0, shelf);
    assert_ptr_not_equal(embedding_of(a), embedding_of(c));
    model_close(a);
    model_close(b);
    model_close(c);
}

static void another_file_is_opened_anew(void **state)
{
    (void)state;
    model_file *old = open_at(path, MODEL_TASK_FILE, shelf);
    char other[80];
    snprintf(other, sizeof other, "%s.new", path);
    assert_true(tiny_llama_write(other, &(tiny_llama){.seed = 9}));
    assert_int_equal(rename(other, path), 0);
    model_file *new = open_at(path, MODEL_TASK_FILE, shelf), *beside = open_at(path, MODEL_TASK_FILE, shelf);
    assert_ptr_not_equal(embedding_of(old), embedding_of(new));
    assert_ptr_equal(embedding_of(beside), embedding_of(new));
    model_close(new);
    model_close(old);
    model_close(beside);
}

static void a_model_that_is_wrong_leaves_nothing_behind(void **state)
{
    (void)state;
    model_file *good = open_at(path, MODEL_TASK_FILE, shelf), *m = NULL;
    const model_options wrong = {.pooling = MODEL_POOLING_MEAN, .shelf = shelf}, missing = {.shelf = shelf};
    assert_true(model_open(path, &wrong, &m, NULL) != BP_OK);
    assert_true(model_open("/nonexistent", &missing, &m, NULL) != BP_OK);
    model_close(good);
    assert_true(model_open(path, &wrong, &m, NULL) != BP_OK); /* alone: the sanitizers see that it is closed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_models_read_one_mapping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_is_shared_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_file_is_opened_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_model_that_is_wrong_leaves_nothing_behind, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
