/* Dequantisation against gguf's own, bit for bit: tests/golden/blocks.json. */
#include "session.h"
#include "weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

/* Bytes of base64 text; the caller frees them. */
static uint8_t *decode(const char *text, size_t *bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *out = malloc(strlen(text) + 1);
    uint32_t bits = 0, held = 0;
    assert_non_null(out);
    *bytes = 0;
    for (; *text && *text != '='; text++) {
        const char *digit = strchr(digits, *text);
        assert_non_null(digit);
        bits = bits << 6 | (uint32_t)(digit - digits);
        held += 6;
        if (held >= 8)
            out[(*bytes)++] = (uint8_t)(bits >> (held -= 8));
    }
    return out;
}

static const weight_type *type_named(const char *name)
{
    for (size_t i = 0; i < NET_DTYPES; i++)
        if (strcmp(weight_type_of(net_dtypes[i])->name, name) == 0)
            return weight_type_of(net_dtypes[i]);
    return NULL;
}

static void blocks_mean_what_gguf_says(void **state)
{
    json_error_t where;
    json_t *root = json_load_file(SOURCE_DIR "/tests/golden/blocks.json", 0, &where), *entry;
    size_t index, seen = 0;
    (void)state;
    if (!root)
        fail_msg("blocks.json: %s", where.text);
    json_array_foreach(json_object_get(root, "types"), index, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "type"));
        const weight_type *type = type_named(name);
        size_t bytes, value_bytes;
        uint8_t *blocks = decode(json_string_value(json_object_get(entry, "blocks")), &bytes);
        uint8_t *values = decode(json_string_value(json_object_get(entry, "values")), &value_bytes);
        assert_non_null(type);
        size_t count = bytes / type->block_bytes * type->block;
        assert_true(bytes % type->block_bytes == 0 && value_bytes == count * sizeof(float) && count > 0);
        float *got = calloc(count, sizeof *got), *want = calloc(count, sizeof *want);
        assert_true(got && want);
        memcpy(want, values, value_bytes);
        type->dequantise(blocks, count, got);
        long at = different_bits(want, got, count);
        if (at >= 0)
            fail_msg("%s: element %ld is %a, not %a", name, at, got[at], want[at]);
        free(blocks);
        free(values);
        free(got);
        free(want);
        seen++;
    }
    assert_int_equal(seen, NET_DTYPES - 3); /* all but the floating-point ones */
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_mean_what_gguf_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
