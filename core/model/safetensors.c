#include "model/safetensors.h"

#include "base/checked.h"
#include "base/error.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100 * 1000 * 1000, MAX_NAME = 256, MAX_RANK = 4 }; /* MAX_HEADER as the format says */

typedef struct element_type {
    const char *name;
    uint32_t bytes;
    bool readable;
    uint32_t dtype;
} element_type;

static const element_type types[] = {
    {"F32", 4, true, BP_F32}, {"F16", 2, true, BP_F16}, {"BF16", 2, true, BP_BF16}, {"F64", 8, false, 0},
    {"I64", 8, false, 0},     {"I32", 4, false, 0},     {"I16", 2, false, 0},       {"I8", 1, false, 0},
    {"U64", 8, false, 0},     {"U32", 4, false, 0},     {"U16", 2, false, 0},       {"U8", 1, false, 0},
    {"BOOL", 1, false, 0},    {"F8_E4M3", 1, false, 0}, {"F8_E5M2", 1, false, 0},
};

static const element_type *find_type(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

static bp_status out_of_memory(bp_error *error)
{
    return error_set(error, BP_ENOMEM, "no memory for its header");
}

static bp_status check_name(const char *name, size_t length, bp_error *error)
{
    if (length == 0 || length > MAX_NAME)
        return error_set(error, BP_EINVAL, "a tensor's name has %zu bytes; 1 to %d are possible", length, MAX_NAME);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7F)
            return error_set(error, BP_EINVAL, "a tensor's name holds a control character");
    return BP_OK;
}

/* The shape, turned around, and the bytes that it needs. */
static bp_status read_shape(const json_t *shape, const element_type *type, bp_weight *w, bp_error *error)
{
    size_t rank = json_array_size(shape);
    if (!json_is_array(shape) || rank > MAX_RANK)
        return error_set(error, BP_EUNSUPPORTED, "tensor \"%s\" has no shape of up to %d dimensions", w->name, MAX_RANK);
    w->rank = rank ? (uint32_t)rank : 1;
    w->bytes = type->bytes;
    for (size_t i = 0; i < MAX_RANK; i++) {
        const json_t *size = i < rank ? json_array_get(shape, rank - 1 - i) : NULL;
        json_int_t elements = size ? json_integer_value(size) : 1;
        if ((size && !json_is_integer(size)) || elements < 1)
            return error_set(error, BP_EINVAL, "tensor \"%s\" has a shape that is not of positive integers", w->name);
        w->shape[i] = elements;
        if (!checked_mul_u64(w->bytes, (uint64_t)elements, &w->bytes))
            return error_set(error, BP_EINVAL, "tensor \"%s\" has more elements than can be counted", w->name);
    }
    return BP_OK;
}

static bp_status read_place(const json_t *offsets, const unsigned char *data, uint64_t available, bp_weight *w,
                            bp_error *error)
{
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to) || json_integer_value(from) < 0 ||
        json_integer_value(to) < json_integer_value(from))
        return error_set(error, BP_EINVAL, "tensor \"%s\" has no data_offsets of two ascending integers", w->name);
    uint64_t begin = (uint64_t)json_integer_value(from), end = (uint64_t)json_integer_value(to);
    if (end - begin != w->bytes)
        return error_set(error, BP_EINVAL,
                         "tensor \"%s\" has %" PRIu64 " bytes of data where its shape and type need %" PRIu64, w->name,
                         end - begin, w->bytes);
    if (end > available)
        return error_set(error, BP_EINVAL,
                         "the data of tensor \"%s\" ends at %" PRIu64 ", past the file's %" PRIu64
                         " bytes; it may be cut short: fetch it again",
                         w->name, end, available);
    w->data = data + begin;
    return BP_OK;
}

static bp_status read_tensor(const char *name, const json_t *about, const unsigned char *data, uint64_t available,
                             arena *memory, safetensors_tensor *out, bp_error *error)
{
    bp_status status = check_name(name, strlen(name), error);
    if (status != BP_OK)
        return status;
    if (!(out->weight.name = arena_string(memory, name)))
        return out_of_memory(error);
    const char *dtype = json_string_value(json_object_get(about, "dtype"));
    const element_type *type = dtype ? find_type(dtype) : NULL;
    if (!type)
        return error_set(error, BP_EUNSUPPORTED, "tensor \"%s\" has the type \"%.40s\", which this build does not read; it "
                                                 "reads F32, F16 and BF16", name, dtype ? dtype : "");
    out->type = type->name;
    out->readable = type->readable;
    out->weight.dtype = type->dtype;
    if ((status = read_shape(json_object_get(about, "shape"), type, &out->weight, error)) != BP_OK)
        return status;
    return read_place(json_object_get(about, "data_offsets"), data, available, &out->weight, error);
}

static int compare_places(const void *a, const void *b)
{
    const bp_weight *x = &((const safetensors_tensor *)a)->weight, *y = &((const safetensors_tensor *)b)->weight;
    return ((uintptr_t)x->data > (uintptr_t)y->data) - ((uintptr_t)x->data < (uintptr_t)y->data);
}

/* The format has no holes: every byte behind the header is one tensor's. `tensors` are in the order of their places. */
static bp_status check_places(const safetensors_tensor *tensors, uint64_t count, const unsigned char *data, uint64_t available,
                              bp_error *error)
{
    uint64_t end = 0;
    for (uint64_t i = 0; i < count; i++) {
        const bp_weight *w = &tensors[i].weight;
        uint64_t begin = (uint64_t)((uintptr_t)w->data - (uintptr_t)data);
        if (begin < end)
            return error_set(error, BP_EINVAL, "the data of the tensors \"%s\" and \"%s\" overlap", tensors[i - 1].weight.name, w->name);
        if (begin > end)
            return error_set(error, BP_EINVAL, "the %" PRIu64 " bytes of data before tensor \"%s\" are no tensor's; fetch the file again",
                             begin - end, w->name);
        end = begin + w->bytes;
    }
    if (end == available)
        return BP_OK;
    return error_set(error, BP_EINVAL, "the last %" PRIu64 " bytes of the file are no tensor's; fetch it again", available - end);
}

static bp_status read_tensors(json_t *header, const unsigned char *data, uint64_t available, arena *memory,
                              safetensors_tensor **out, uint64_t *count, bp_error *error)
{
    safetensors_tensor *tensors = arena_array(memory, json_object_size(header) + 1, sizeof *tensors);
    if (!tensors)
        return out_of_memory(error);
    uint64_t used = 0;
    const char *name;
    json_t *about;
    json_object_foreach(header, name, about) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        bp_status status = read_tensor(name, about, data, available, memory, &tensors[used++], error);
        if (status != BP_OK)
            return status;
    }
    qsort(tensors, used, sizeof *tensors, compare_places);
    bp_status status = check_places(tensors, used, data, available, error);
    if (status != BP_OK)
        return status;
    *out = tensors;
    *count = used;
    return BP_OK;
}

bp_status safetensors_read(const void *data, uint64_t bytes, arena *memory, safetensors_tensor **out, uint64_t *count,
                           bp_error *error)
{
    const unsigned char *at = data;
    uint64_t length = 0;
    if (bytes < 8)
        return error_set(error, BP_EINVAL, "this is not a safetensors file: it has %" PRIu64 " bytes", bytes);
    for (unsigned i = 0; i < 8; i++)
        length |= (uint64_t)at[i] << (8 * i);
    if (length > MAX_HEADER || length > bytes - 8)
        return error_set(error, BP_EINVAL,
                         "this is not a whole safetensors file: it claims a header of %" PRIu64 " bytes and has %" PRIu64,
                         length, bytes - 8);
    json_error_t why;
    json_t *header = json_loadb((const char *)at + 8, (size_t)length, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(header)) {
        json_decref(header);
        return error_set(error, BP_EINVAL, "this is not a safetensors file: its header is no JSON object");
    }
    bp_status status = read_tensors(header, at + 8 + length, bytes - 8 - length, memory, out, count, error);
    json_decref(header);
    return status;
}
