/* Embedders against float32 transformers: tiny random BERTs that tests/support makes (tests/golden/embeddings-tiny.json), and
 * all-MiniLM-L6-v2 (embeddings-minilm.json), which tools/fetch minilm puts into models/.
 *
 * A distance is 1 minus the cosine. And a vector is the same bits alone and beside any neighbours, in any pages, with any
 * instruction set and number of threads. */
#include "harness.h"

#include "model/dtype.h"
#include "support/tiny_bert.h"

#include <backplane/backend.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MINILM SOURCE_DIR "/models/all-MiniLM-L6-v2"

static const double DISTANCE = 1e-5;      /* of MiniLM, whose golden vectors are of halves: 3e-8 of it is theirs */
static const double TINY_DISTANCE = 1e-9; /* with a cache of F32, what may differ is the order of sums */
enum { MAX_WIDTH = 384, TEXTS = 200 };

/* FNV-1a over the bits of MiniLM's vectors of all texts, with a cache of F32. */
static const uint64_t GOLDEN_HASH = 0x13f01d3ec53875ddu;

static json_t *load(const char *name)
{
    char path[512];
    json_error_t why;
    snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/%s", name);
    json_t *golden = json_load_file(path, 0, &why);
    if (!golden)
        fail_msg("%s: line %d: %s", name, why.line, why.text);
    return golden;
}

static harness *open_embedder(const char *folder, const char *const *settings, uint32_t kv_dtype)
{
    const model_options options = {0};
    model_file *model = NULL;
    bp_error error = {0};
    if (model_open(folder, &options, &model, &error) != BP_OK)
        fail_msg("%s", error.message);
    return harness_open_model(model, CPU_PLUGIN, settings, kv_dtype);
}

static harness *open_minilm(const char *const *settings, uint32_t kv_dtype)
{
    if (access(MINILM "/config.json", R_OK) != 0)
        fail_msg("all-MiniLM-L6-v2 is not at " MINILM "; run tools/fetch minilm");
    return open_embedder(MINILM, settings, kv_dtype);
}

static uint32_t ids_of(const json_t *row, int32_t *ids)
{
    const json_t *list = json_object_get(row, "ids");
    uint32_t count = (uint32_t)json_array_size(list);
    assert_true(count > 0 && count <= HARNESS_STEP);
    for (uint32_t i = 0; i < count; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return count;
}

/* A vector of `width` numbers of a type, in base64. */
static void vector_of(const json_t *row, uint32_t type, uint32_t width, float *out)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char bytes[4 * MAX_WIDTH + 3];
    const char *text = json_string_value(json_object_get(row, "vector"));
    size_t used = 0, size = type == BP_F32 ? 4 : 2;
    uint32_t bits = 0;
    for (int held = 0; *text && *text != '=' && used < sizeof bytes; text++) {
        bits = bits << 6 | (uint32_t)(strchr(alphabet, *text) - alphabet);
        if ((held += 6) >= 8)
            bytes[used++] = (unsigned char)(bits >> (held -= 8));
    }
    assert_int_equal(used, width * size);
    dtype_widen(type, bytes, width, out);
}

static double distance(const float *a, const float *b, uint32_t width)
{
    double dot = 0, aa = 0, bb = 0;
    for (uint32_t i = 0; i < width; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return 1 - dot / sqrt(aa * bb);
}

static double length(const float *a, uint32_t width)
{
    double sum = 0;
    for (uint32_t i = 0; i < width; i++)
        sum += (double)a[i] * a[i];
    return sqrt(sum);
}

/* --- tiny ------------------------------------------------------------------------------------------------------------- */

static void write_tiny(const char *folder, const json_t *model)
{
    static const struct { const char *name, *key; } modes[] = {
        {"mean", "pooling_mode_mean_tokens"}, {"cls", "pooling_mode_cls_token"}, {"last", "pooling_mode_lasttoken"}};
    const char *pooling = json_string_value(json_object_get(model, "pooling"));
    char text[512];
    assert_true(tiny_bert_write(folder, &(tiny_bert){0}));
    for (size_t i = 0; i < 3; i++)
        if (strcmp(modes[i].name, pooling) == 0) {
            snprintf(text, sizeof text, "{\"%s\":true}", modes[i].key);
            assert_true(tiny_bert_write_file(folder, "1_Pooling/config.json", text, strlen(text)));
        }
    static const char bare[] = "[{\"path\":\"\",\"type\":\"x.Transformer\"},{\"path\":\"1_Pooling\",\"type\":\"x.Pooling\"}]";
    if (!json_is_true(json_object_get(model, "normalise")))
        assert_true(tiny_bert_write_file(folder, "modules.json", bare, strlen(bare)));
    json_t *config;
    snprintf(text, sizeof text, "%s/config.json", folder);
    assert_non_null(config = json_load_file(text, 0, NULL));
    assert_int_equal(json_object_set(config, "hidden_act", json_object_get(model, "hidden_act")), 0);
    assert_int_equal(json_dump_file(config, text, 0), 0);
    json_decref(config);
}

/* All its texts in one step. */
static void check_tiny(const json_t *model)
{
    char folder[] = "/tmp/backplane-embeddings.XXXXXX";
    assert_non_null(mkdtemp(folder));
    write_tiny(folder, model);
    harness *h = open_embedder(folder, NULL, BP_KV_F32);
    const json_t *cases = json_object_get(model, "cases");
    uint32_t count = (uint32_t)json_array_size(cases), width = harness_vocabulary(h);
    static int32_t ids[HARNESS_SEQUENCES][HARNESS_STEP];
    float out[HARNESS_SEQUENCES * MAX_WIDTH], expected[MAX_WIDTH];
    piece pieces[HARNESS_SEQUENCES];
    double worst = 0, longer = 0;
    assert_true(count == HARNESS_SEQUENCES && width <= MAX_WIDTH);
    for (uint32_t i = 0; i < count; i++)
        pieces[i] = (piece){i, 0, ids_of(json_array_get(cases, i), ids[i]), ids[i]};
    harness_step(h, pieces, count, out);
    for (uint32_t i = 0; i < count; i++) {
        vector_of(json_array_get(cases, i), BP_F32, width, expected);
        worst = fmax(worst, distance(out + i * width, expected, width));
        longer = fmax(longer, fabs(length(out + i * width, width) / length(expected, width) - 1));
    }
    print_message("%s: distance at most %.1e, length off by at most %.1e\n", json_string_value(json_object_get(model, "name")),
                  worst, longer);
    assert_true(worst <= TINY_DISTANCE && longer <= 1e-5);
    harness_close(h);
    tiny_bert_remove(folder);
}

static void tiny_models_agree_with_transformers(void **state)
{
    (void)state;
    json_t *golden = load("embeddings-tiny.json");
    const json_t *models = json_object_get(golden, "models");
    assert_int_equal(json_array_size(models), 4);
    for (size_t i = 0; i < json_array_size(models); i++)
        check_tiny(json_array_get(models, i));
    json_decref(golden);
}

/* --- MiniLM ----------------------------------------------------------------------------------------------------------- */

static uint64_t hash_bits(uint64_t hash, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        for (int b = 0; b < 32; b += 8)
            hash = (hash ^ (bits >> b & 255)) * 0x100000001b3u;
    }
    return hash;
}

/* The vectors of the texts [from, to), as many a step as there is room for. */
static void embed_texts(harness *h, const json_t *cases, uint32_t from, uint32_t to, float *out)
{
    static int32_t ids[HARNESS_SEQUENCES][HARNESS_STEP];
    uint32_t width = harness_vocabulary(h);
    while (from < to) {
        piece pieces[HARNESS_SEQUENCES];
        uint32_t count = 0, total = 0;
        for (; from + count < to && count < HARNESS_SEQUENCES; count++) {
            uint32_t tokens = ids_of(json_array_get(cases, from + count), ids[count]);
            if (total + tokens > HARNESS_STEP)
                break;
            pieces[count] = (piece){count, 0, tokens, ids[count]};
            total += tokens;
        }
        harness_step(h, pieces, count, out);
        out += (size_t)count * width;
        from += count;
    }
}

static double check_minilm(uint32_t kv_dtype, uint64_t *hash)
{
    json_t *golden = load("embeddings-minilm.json");
    const json_t *cases = json_object_get(golden, "cases");
    harness *h = open_minilm(NULL, kv_dtype);
    uint32_t width = harness_vocabulary(h);
    assert_true(json_array_size(cases) == TEXTS && width == MAX_WIDTH);
    float *out = calloc((size_t)TEXTS * width, sizeof *out), expected[MAX_WIDTH];
    double worst = 0;
    assert_non_null(out);
    embed_texts(h, cases, 0, TEXTS, out);
    for (uint32_t i = 0; i < TEXTS; i++) {
        vector_of(json_array_get(cases, i), BP_F16, width, expected);
        worst = fmax(worst, distance(out + (size_t)i * width, expected, width));
        assert_true(fabs(length(out + (size_t)i * width, width) - 1) < 1e-5);
    }
    *hash = hash_bits(0xcbf29ce484222325u, out, (size_t)TEXTS * width);
    free(out);
    harness_close(h);
    json_decref(golden);
    return worst;
}

static void minilm_agrees_with_transformers(void **state)
{
    (void)state;
    uint64_t hash, narrow;
    double worst = check_minilm(BP_KV_F32, &hash), with_halves = check_minilm(BP_KV_F16, &narrow);
    print_message("MiniLM: distance at most %.1e with a cache of F32, %.1e with one of F16; hash 0x%016llx\n", worst, with_halves,
                  (unsigned long long)hash);
    assert_true(worst <= DISTANCE && with_halves <= DISTANCE);
    assert_true(hash == GOLDEN_HASH && narrow != hash);
}

/* Each of eight texts alone, on one scalar thread, against all in one step. */
static void neighbours_change_no_bit(void **state)
{
    (void)state;
    static const char *const scalar[] = {"isa", "generic", "threads", "1", NULL}, *const more[] = {"threads", "3", NULL};
    enum { COUNT = 8 };
    json_t *golden = load("embeddings-minilm.json");
    const json_t *cases = json_object_get(golden, "cases");
    static float alone[COUNT * MAX_WIDTH], together[COUNT * MAX_WIDTH];
    harness *h = open_minilm(scalar, BP_KV_F32);
    for (uint32_t i = 0; i < COUNT; i++)
        embed_texts(h, cases, i, i + 1, alone + i * MAX_WIDTH);
    harness_close(h);
    h = open_minilm(more, BP_KV_F32);
    harness_reset(h, true);
    embed_texts(h, cases, 0, COUNT, together);
    harness_close(h);
    assert_memory_equal(alone, together, sizeof alone);
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tiny_models_agree_with_transformers),
                                       cmocka_unit_test(minilm_agrees_with_transformers),
                                       cmocka_unit_test(neighbours_change_no_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
