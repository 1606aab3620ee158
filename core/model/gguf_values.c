/* gguf: look-ups in an open file. Messages name the key; what opened the file puts its name before them. */
#include "base/error.h"
#include "model/gguf_parts.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const struct { const char *name; uint32_t bytes; } types[] = {
    [GGUF_U8] = {"uint8", 1},   [GGUF_I8] = {"int8", 1},     [GGUF_U16] = {"uint16", 2},   [GGUF_I16] = {"int16", 2},
    [GGUF_U32] = {"uint32", 4}, [GGUF_I32] = {"int32", 4},   [GGUF_F32] = {"float32", 4},  [GGUF_BOOL] = {"bool", 1},
    [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"uint64", 8}, [GGUF_I64] = {"int64", 8},
    [GGUF_F64] = {"float64", 8},
};

const char *gguf_type_name(uint32_t type)
{
    return type < sizeof types / sizeof *types ? types[type].name : NULL;
}

uint32_t gguf_type_bytes(uint32_t type)
{
    return type < sizeof types / sizeof *types ? types[type].bytes : 0;
}

int gguf_compare(const char *a, uint64_t a_length, const char *b, uint64_t b_length)
{
    if (a_length != b_length)
        return a_length < b_length ? -1 : 1;
    return memcmp(a, b, a_length);
}

const gguf_entry *gguf_find_key(const gguf *g, const char *key)
{
    uint64_t length = strlen(key), low = 0, high = g->entry_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const gguf_entry *e = g->by_key[middle];
        int order = gguf_compare(key, length, e->name.bytes, e->name.length);
        if (order == 0)
            return e;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Finds the key and answers for its absence. */
static const gguf_entry *look_up(const gguf *g, const char *key, bool *present)
{
    const gguf_entry *e = gguf_find_key(g, key);
    if (present)
        *present = e != NULL;
    return e;
}

static bp_status other_type(const gguf_entry *e, const char *key, const char *wanted, bp_error *error)
{
    if (e->type == GGUF_ARRAY)
        return error_set(error, BP_EINVAL, "key \"%s\" is an array of %" PRIu64 " values where %s is expected", key,
                         e->count, wanted);
    return error_set(error, BP_EINVAL, "key \"%s\" has a value of type %s where %s is expected", key,
                     gguf_type_name(e->type), wanted);
}

bp_status gguf_u32(const gguf *g, const char *key, uint32_t fallback, bool *present, uint32_t *out, bp_error *error)
{
    const gguf_entry *e = look_up(g, key, present);
    if (!e) {
        *out = fallback;
        return BP_OK;
    }
    uint32_t bytes = gguf_type_bytes(e->type);
    bool with_sign = e->type == GGUF_I8 || e->type == GGUF_I16 || e->type == GGUF_I32 || e->type == GGUF_I64;
    if (!with_sign && e->type != GGUF_U8 && e->type != GGUF_U16 && e->type != GGUF_U32 && e->type != GGUF_U64)
        return other_type(e, key, "an integer", error);
    uint64_t value = gguf_little_endian(e->value, bytes);
    if (with_sign && (value >> (8 * bytes - 1))) {
        uint64_t magnitude = (~value + 1) & (UINT64_MAX >> (64 - 8 * bytes));
        return error_set(error, BP_EINVAL, "key \"%s\" is -%" PRIu64 ", which must not be negative", key, magnitude);
    }
    if (value > UINT32_MAX)
        return error_set(error, BP_EINVAL, "key \"%s\" is %" PRIu64 ", more than %" PRIu32, key, value, UINT32_MAX);
    *out = (uint32_t)value;
    return BP_OK;
}

bp_status gguf_f32(const gguf *g, const char *key, float fallback, bool *present, float *out, bp_error *error)
{
    const gguf_entry *e = look_up(g, key, present);
    if (!e) {
        *out = fallback;
        return BP_OK;
    }
    float value;
    if (e->type == GGUF_F32) {
        uint32_t bits = (uint32_t)gguf_little_endian(e->value, 4);
        memcpy(&value, &bits, sizeof value);
    } else if (e->type == GGUF_F64) {
        uint64_t bits = gguf_little_endian(e->value, 8);
        double wide;
        memcpy(&wide, &bits, sizeof wide);
        value = isfinite(wide) && fabs(wide) <= (double)3.4e38f ? (float)wide : INFINITY;
    } else {
        return other_type(e, key, "a floating-point number", error);
    }
    if (!isfinite(value))
        return error_set(error, BP_EINVAL, "key \"%s\" is not a finite number", key);
    *out = value;
    return BP_OK;
}

bp_status gguf_bool(const gguf *g, const char *key, bool fallback, bool *present, bool *out, bp_error *error)
{
    const gguf_entry *e = look_up(g, key, present);
    if (!e) {
        *out = fallback;
        return BP_OK;
    }
    if (e->type != GGUF_BOOL)
        return other_type(e, key, "true or false", error);
    if (e->value[0] > 1)
        return error_set(error, BP_EINVAL, "key \"%s\" is a bool of value %u; 0 and 1 are allowed", key, e->value[0]);
    *out = e->value[0] == 1;
    return BP_OK;
}

bp_status gguf_text(const gguf *g, const char *key, bool *present, gguf_string *out, bp_error *error)
{
    const gguf_entry *e = look_up(g, key, present);
    *out = (gguf_string){"", 0};
    if (!e)
        return BP_OK;
    if (e->type != GGUF_STRING)
        return other_type(e, key, "a string", error);
    *out = e->strings[0];
    return BP_OK;
}

bp_status gguf_strings(const gguf *g, const char *key, bool *present, const gguf_string **out, uint64_t *count,
                       bp_error *error)
{
    const gguf_entry *e = look_up(g, key, present);
    *out = NULL;
    *count = 0;
    if (!e)
        return BP_OK;
    if (e->type != GGUF_ARRAY)
        return other_type(e, key, "an array of strings", error);
    if (e->element_type != GGUF_STRING)
        return error_set(error, BP_EINVAL, "key \"%s\" is an array of %s where strings are expected", key,
                         gguf_type_name(e->element_type));
    *out = e->strings;
    *count = e->count;
    return BP_OK;
}

bp_status gguf_numbers(const gguf *g, const char *key, bool *present, uint32_t *element_type, const void **out,
                       uint64_t *count, bp_error *error)
{
    const gguf_entry *e = look_up(g, key, present);
    *element_type = GGUF_U8;
    *out = NULL;
    *count = 0;
    if (!e)
        return BP_OK;
    if (e->type != GGUF_ARRAY)
        return other_type(e, key, "an array of numbers", error);
    if (e->element_type == GGUF_STRING)
        return error_set(error, BP_EINVAL, "key \"%s\" is an array of strings where numbers are expected", key);
    *element_type = e->element_type;
    *out = e->value;
    *count = e->count;
    return BP_OK;
}

/* --- the rest --------------------------------------------------------------------------------------------------------- */

bool gguf_damaged(const gguf *g)
{
    for (uint32_t i = 0; i < g->map_count; i++)
        if (mapping_damaged(g->maps[i]))
            return true;
    return false;
}

uint64_t gguf_size(const gguf *g)
{
    return g->size;
}

uint32_t gguf_version(const gguf *g)
{
    return g->version;
}

uint64_t gguf_key_count(const gguf *g)
{
    return g->entry_count;
}

gguf_string gguf_key(const gguf *g, uint64_t index, uint32_t *type, uint32_t *element_type, uint64_t *count)
{
    const gguf_entry *e = &g->entries[index];
    *type = e->type;
    *element_type = e->element_type;
    *count = e->count;
    return e->name;
}

uint64_t gguf_tensor_count(const gguf *g)
{
    return g->tensor_count;
}

const bp_weight *gguf_tensor(const gguf *g, uint64_t index)
{
    return &g->tensors[index];
}

const bp_weight *gguf_find_tensor(const gguf *g, const char *name)
{
    uint64_t length = strlen(name), low = 0, high = g->tensor_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const bp_weight *w = g->by_name[middle];
        int order = gguf_compare(name, length, w->name, strlen(w->name));
        if (order == 0)
            return w;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
