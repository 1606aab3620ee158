/* Every decoder architecture against float32 transformers: tiny random models, made here from their description in
 * tests/golden/architectures.json, and their logits at every position.
 *
 * Weights and cache are F32, so what may differ is the order of sums: the largest error is a hundred-thousandth of the
 * largest logit, and the most probable token is the same everywhere. */
#include "harness.h"

#include "described.h"
#include "support/gguf_writer.h"
#include "support/tiny_bert.h"

#include <backplane/backend.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double TOLERANCE = 1e-5; /* of the largest logit */

static json_t *golden;

static int load_golden(void **state)
{
    (void)state;
    json_error_t why;
    golden = json_load_file(SOURCE_DIR "/tests/golden/architectures.json", 0, &why);
    return golden ? 0 : -1;
}

static int free_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

/* --- a description to a file ------------------------------------------------------------------------------------------ */

static void write_keys(gguf_writer *w, const json_t *keys)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)keys, key, value)
    {
        if (json_is_string(value))
            writer_text(w, key, json_string_value(value));
        else if (json_is_integer(value))
            writer_u32(w, key, (uint32_t)json_integer_value(value));
        else
            writer_f32(w, key, (float)json_real_value(value));
    }
}

static void write_tensor(gguf_writer *w, size_t index, const json_t *tensor)
{
    uint32_t columns, rows;
    float *values = described_values(tensor, index, &columns, &rows);
    writer_matrix(w, json_string_value(json_array_get(tensor, 0)), BP_F32, columns, rows, values);
    free(values);
}

static void write_model(const json_t *model, buffer *out)
{
    gguf_writer w;
    writer_begin(&w);
    write_keys(&w, json_object_get(model, "keys"));
    const json_t *tensors = json_object_get(model, "tensors");
    for (size_t i = 0; i < json_array_size(tensors); i++)
        write_tensor(&w, i, json_array_get(tensors, i));
    writer_finish(&w, out);
    writer_free(&w);
}

static model_file *open_model(const char *name, const buffer *bytes)
{
    const model_options options = {.context = HARNESS_CONTEXT};
    bp_error error = {0};
    gguf *file = NULL;
    model_file *model = NULL;
    if (gguf_parse(bytes->data, bytes->size, name, &file, &error) != BP_OK ||
        model_from_gguf(file, name, &options, &model, &error) != BP_OK)
        fail_msg("%s", error.message);
    return model;
}

/* --- comparison ------------------------------------------------------------------------------------------------------- */

static float *expected_logits(const json_t *model, size_t count)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *text = json_string_value(json_object_get(model, "logits"));
    float *logits = calloc(count, sizeof *logits);
    unsigned char *bytes = (unsigned char *)logits;
    assert_non_null(logits);
    uint32_t bits = 0;
    size_t held = 0, used = 0;
    for (; *text && *text != '='; text++) {
        bits = bits << 6 | (uint32_t)(strchr(alphabet, *text) - alphabet);
        if ((held += 6) >= 8) {
            assert_true(used < count * sizeof *logits);
            bytes[used++] = (unsigned char)(bits >> (held -= 8));
        }
    }
    assert_int_equal(used, count * sizeof *logits);
    return logits;
}

static uint32_t most_probable(const float *row, uint32_t width)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < width; i++)
        if (row[i] > row[best])
            best = i;
    return best;
}

static void compare(const char *name, const float *expected, const float *actual, uint32_t positions, uint32_t width)
{
    double largest = 0, worst = 0;
    uint32_t differing = 0;
    for (size_t i = 0; i < (size_t)positions * width; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        worst = fmax(worst, fabs((double)actual[i] - (double)expected[i]));
    }
    for (uint32_t p = 0; p < positions; p++)
        differing += most_probable(expected + (size_t)p * width, width) != most_probable(actual + (size_t)p * width, width);
    print_message("%s: the largest error is %.1e of the largest logit, %.2f; %u of %u positions have another most probable token\n",
                  name, worst / largest, largest, differing, positions);
    assert_true(largest > 1);
    assert_true(worst <= TOLERANCE * largest);
    assert_int_equal(differing, 0);
}

static void check_logits(const char *name, const json_t *model, model_file *file)
{
    static const char *const settings[] = {"threads", "1", NULL};
    const json_t *ids = json_object_get(model, "ids");
    uint32_t count = (uint32_t)json_array_size(ids);
    int32_t tokens[HARNESS_STEP];
    assert_true(count > 0 && count <= HARNESS_STEP);
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    harness *h = harness_open_model(file, CPU_PLUGIN, settings, BP_KV_F32);
    uint32_t width = harness_vocabulary(h);
    float *expected = expected_logits(model, (size_t)count * width), *actual = calloc((size_t)count * width, sizeof *actual);
    assert_non_null(actual);
    harness_prefill(h, 0, tokens, count, 7, actual);
    compare(name, expected, actual, count, width);
    free(expected);
    free(actual);
    harness_close(h);
}

static void check_model(const json_t *model)
{
    const char *name = json_string_value(json_object_get(model, "name"));
    buffer bytes = {0};
    write_model(model, &bytes);
    check_logits(name, model, open_model(name, &bytes));
    buffer_free(&bytes);
}

/* The same from the folder that it was converted from. True if such folders are read. */
static bool check_folder(const json_t *model)
{
    char folder[] = "/tmp/backplane-architectures.XXXXXX", name[64];
    static const struct { const char *arch, *pre; } pres[] = {{"llama", "smollm"}, {"qwen2", "gpt-2"}, {"qwen3", "qwen2"}};
    const model_options options = {.context = HARNESS_CONTEXT};
    model_file *file = NULL;
    bp_error error = {0};
    assert_non_null(mkdtemp(folder));
    bool written = described_write_folder(model, folder);
    if (written && model_open(folder, &options, &file, &error) != BP_OK)
        fail_msg("%s", error.message);
    if (file) {
        const model_vocabulary *v = model_vocabulary_of(file);
        assert_true(v->count == 128 && v->merge_count == 2 && v->bos == 0 && v->eos == 1 && v->eot == 2 && !v->add_bos);
        assert_true(v->merges[0].length == 3 && memcmp(v->merges[0].bytes, "a b", 3) == 0 && v->types[0] == 3);
        for (size_t i = 0; i < 3; i++)
            assert_true(strcmp(pres[i].arch, model_shape_of(file)->architecture) != 0 || strcmp(pres[i].pre, v->pre) == 0);
        snprintf(name, sizeof name, "%s, folder", json_string_value(json_object_get(model, "name")));
        check_logits(name, model, file);
    }
    tiny_bert_remove(folder);
    return written;
}

static void architectures_agree_with_transformers(void **state)
{
    (void)state;
    const json_t *models = json_object_get(golden, "models");
    assert_true(json_array_size(models) >= 12);
    for (size_t i = 0; i < json_array_size(models); i++)
        check_model(json_array_get(models, i));
}

static void folders_are_the_same_models(void **state)
{
    (void)state;
    const json_t *models = json_object_get(golden, "models");
    uint32_t count = 0;
    for (size_t i = 0; i < json_array_size(models); i++)
        count += check_folder(json_array_get(models, i));
    assert_int_equal(count, 7);
}

/* Every architecture of this build is among them. */
static void no_decoder_is_left_out(void **state)
{
    (void)state;
    const json_t *models = json_object_get(golden, "models");
    for (const char *const *name = model_architectures(); *name; name++) {
        bool found = strcmp(*name, "bert") == 0;
        for (size_t i = 0; i < json_array_size(models); i++) {
            const json_t *keys = json_object_get(json_array_get(models, i), "keys");
            found = found || strcmp(*name, json_string_value(json_object_get(keys, "general.architecture"))) == 0;
        }
        if (!found)
            fail_msg("no golden model has the architecture %s", *name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(architectures_agree_with_transformers),
                                       cmocka_unit_test(folders_are_the_same_models),
                                       cmocka_unit_test(no_decoder_is_left_out)};
    return cmocka_run_group_tests(tests, load_golden, free_golden);
}
