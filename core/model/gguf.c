/* gguf: opening. One cursor walks the header once; what it read so far is checked before the next part is believed.
 *
 *   header       magic, version, number of tensors, number of keys
 *   keys         name, type, value                              by_key: sorted, so that a twin is a neighbour
 *   tensor infos name, dimensions, type, offset                 by_name: likewise
 *   padding to the alignment, then the tensors' data            sorted by offset, so that an overlap is with a neighbour
 *
 * Sorting, not hashing: no choice of names makes it slow. Counts are bounded by the bytes that are left, so that no
 * allocation is larger than a small multiple of the file. Messages gain the file's name in gguf_parse. */
#include "model/gguf.h"

#include "base/checked.h"
#include "base/error.h"
#include "model/dtype.h"
#include "model/gguf_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_KEYS = 1 << 16, MAX_TENSORS = 1 << 20, MAX_KEY = 65535, MAX_TENSOR_NAME = 64, /* names as the format says */
    MAX_ALIGNMENT = 1 << 20, DEFAULT_ALIGNMENT = 32,
    KEY_BYTES = 8 + 1 + 4 + 1,           /* of the smallest key: a name of one byte, a type, a value of one byte */
    TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 /* of the smallest tensor info */
};

typedef struct cursor {
    const unsigned char *data;
    uint64_t size, at; /* at <= size */
} cursor;

/* --- reading ---------------------------------------------------------------------------------------------------------- */

uint64_t gguf_little_endian(const unsigned char *bytes, uint32_t count)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static const unsigned char *take(cursor *c, uint64_t bytes)
{
    if (bytes > c->size - c->at)
        return NULL;
    const unsigned char *here = c->data + c->at;
    c->at += bytes;
    return here;
}

static bool take_u32(cursor *c, uint32_t *out)
{
    const unsigned char *bytes = take(c, 4);
    if (bytes)
        *out = (uint32_t)gguf_little_endian(bytes, 4);
    return bytes != NULL;
}

static bool take_u64(cursor *c, uint64_t *out)
{
    const unsigned char *bytes = take(c, 8);
    if (bytes)
        *out = gguf_little_endian(bytes, 8);
    return bytes != NULL;
}

static bool take_string(cursor *c, gguf_string *out)
{
    uint64_t length;
    if (!take_u64(c, &length))
        return false;
    const unsigned char *bytes = take(c, length);
    *out = (gguf_string){(const char *)bytes, length};
    return bytes != NULL;
}

static bp_status out_of_memory(bp_error *error)
{
    return error_set(error, BP_ENOMEM, "no memory for its header");
}

/* A name that can stand in a message and be compared as a C string. */
static bp_status check_name(gguf_string name, uint64_t limit, const char *what, uint64_t index, bp_error *error)
{
    if (name.length == 0 || name.length > limit)
        return error_set(error, BP_EINVAL, "the name of %s %" PRIu64 " has %" PRIu64 " bytes; 1 to %" PRIu64 " are allowed",
                         what, index, name.length, limit);
    for (uint64_t i = 0; i < name.length; i++)
        if ((unsigned char)name.bytes[i] < 0x20 || name.bytes[i] == 0x7F)
            return error_set(error, BP_EINVAL, "the name of %s %" PRIu64 " holds a control character", what, index);
    return BP_OK;
}

/* --- keys ------------------------------------------------------------------------------------------------------------- */

static int for_message(gguf_string name)
{
    return (int)(name.length < 80 ? name.length : 80);
}

static bp_status truncated_value(gguf_string name, bp_error *error)
{
    return error_set(error, BP_EINVAL, "the file ends inside the value of key \"%.*s\"", for_message(name), name.bytes);
}

static bp_status unknown_type(gguf_string name, uint32_t type, bp_error *error)
{
    return error_set(error, BP_EINVAL, "key \"%.*s\" has a value of type %" PRIu32 ", which the format does not have",
                     for_message(name), name.bytes, type);
}

static bp_status read_strings(gguf *g, cursor *c, gguf_entry *e, bp_error *error)
{
    if (e->type == GGUF_ARRAY && e->count > (c->size - c->at) / 8)
        return error_set(error, BP_EINVAL, "key \"%.*s\" is an array of %" PRIu64 " strings, more than the file can hold",
                         for_message(e->name), e->name.bytes, e->count);
    gguf_string *strings = arena_array(g->memory, e->count ? e->count : 1, sizeof *strings);
    if (!strings)
        return out_of_memory(error);
    for (uint64_t i = 0; i < e->count; i++)
        if (!take_string(c, &strings[i]))
            return truncated_value(e->name, error);
    e->strings = strings;
    return BP_OK;
}

static bp_status read_array(gguf *g, cursor *c, gguf_entry *e, bp_error *error)
{
    uint64_t bytes;
    if (!take_u32(c, &e->element_type) || !take_u64(c, &e->count))
        return truncated_value(e->name, error);
    if (e->element_type == GGUF_ARRAY)
        return error_set(error, BP_EUNSUPPORTED, "key \"%.*s\" is an array of arrays, which this build does not read",
                         for_message(e->name), e->name.bytes);
    if (e->element_type == GGUF_STRING)
        return read_strings(g, c, e, error);
    if (gguf_type_bytes(e->element_type) == 0)
        return unknown_type(e->name, e->element_type, error);
    if (!checked_mul_u64(e->count, gguf_type_bytes(e->element_type), &bytes) || !(e->value = take(c, bytes)))
        return error_set(error, BP_EINVAL, "key \"%.*s\" is an array of %" PRIu64 " numbers, more than the file can hold",
                         for_message(e->name), e->name.bytes, e->count);
    return BP_OK;
}

static bp_status read_entry(gguf *g, cursor *c, uint64_t index, bp_error *error)
{
    gguf_entry *e = &g->entries[index];
    if (!take_string(c, &e->name))
        return error_set(error, BP_EINVAL, "the file ends inside the name of key %" PRIu64, index);
    bp_status status = check_name(e->name, MAX_KEY, "key", index, error);
    if (status != BP_OK)
        return status;
    if (!take_u32(c, &e->type))
        return truncated_value(e->name, error);
    e->count = 1;
    if (e->type == GGUF_ARRAY)
        return read_array(g, c, e, error);
    if (e->type == GGUF_STRING)
        return read_strings(g, c, e, error);
    if (gguf_type_bytes(e->type) == 0)
        return unknown_type(e->name, e->type, error);
    e->value = take(c, gguf_type_bytes(e->type));
    return e->value ? BP_OK : truncated_value(e->name, error);
}

static int compare_entries(const void *a, const void *b)
{
    gguf_string x = (*(const gguf_entry *const *)a)->name, y = (*(const gguf_entry *const *)b)->name;
    return gguf_compare(x.bytes, x.length, y.bytes, y.length);
}

bp_status gguf_sort_keys(gguf *g, bp_error *error)
{
    g->by_key = arena_array(g->memory, g->entry_count + 1, sizeof *g->by_key);
    if (!g->by_key)
        return out_of_memory(error);
    for (uint64_t i = 0; i < g->entry_count; i++)
        g->by_key[i] = &g->entries[i];
    qsort(g->by_key, g->entry_count, sizeof *g->by_key, compare_entries);
    for (uint64_t i = 1; i < g->entry_count; i++)
        if (compare_entries(&g->by_key[i - 1], &g->by_key[i]) == 0)
            return error_set(error, BP_EINVAL, "there are two keys \"%.*s\"", for_message(g->by_key[i]->name),
                             g->by_key[i]->name.bytes);
    return BP_OK;
}

static bp_status read_entries(gguf *g, cursor *c, bp_error *error)
{
    g->entries = arena_array(g->memory, g->entry_count + 1, sizeof *g->entries);
    bp_status status = g->entries ? BP_OK : out_of_memory(error);
    for (uint64_t i = 0; i < g->entry_count && status == BP_OK; i++)
        status = read_entry(g, c, i, error);
    return status == BP_OK ? gguf_sort_keys(g, error) : status;
}

/* --- tensors ---------------------------------------------------------------------------------------------------------- */

static bp_status read_shape(cursor *c, bp_weight *w, bp_error *error)
{
    if (!take_u32(c, &w->rank))
        return error_set(error, BP_EINVAL, "the file ends inside the description of tensor \"%s\"", w->name);
    if (w->rank < 1 || w->rank > 4)
        return error_set(error, BP_EINVAL, "tensor \"%s\" has %" PRIu32 " dimensions; 1 to 4 are allowed", w->name,
                         w->rank);
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t size = 1;
        if (i < w->rank && !take_u64(c, &size))
            return error_set(error, BP_EINVAL, "the file ends inside the description of tensor \"%s\"", w->name);
        if (size == 0 || size > INT64_MAX)
            return error_set(error, BP_EINVAL, "tensor \"%s\" has %" PRId64 " elements in dimension %" PRIu32, w->name,
                             (int64_t)size, i);
        w->shape[i] = (int64_t)size;
    }
    return BP_OK;
}

static bp_status check_bytes(bp_weight *w, bp_error *error)
{
    const dtype *type = dtype_find(w->dtype);
    if (!type)
        return error_set(error, BP_EUNSUPPORTED,
                         "tensor \"%s\" has type %" PRIu32 ", which this build does not read; it reads %s", w->name,
                         w->dtype, dtype_names());
    if (w->shape[0] % type->elements != 0)
        return error_set(error, BP_EINVAL,
                         "tensor \"%s\" has rows of %" PRId64 " elements, not whole blocks of %s (%" PRIu32 ")", w->name,
                         w->shape[0], type->name, type->elements);
    if (!dtype_tensor_bytes(type, w->shape, &w->bytes))
        return error_set(error, BP_EINVAL, "tensor \"%s\" has more elements than can be counted", w->name);
    return BP_OK;
}

/* Leaves the offset in `offsets[index]`; where the data begins is known only after the last tensor. */
static bp_status read_tensor(gguf *g, cursor *c, uint64_t index, uint64_t *offsets, bp_error *error)
{
    bp_weight *w = &g->tensors[index];
    gguf_string name;
    if (!take_string(c, &name))
        return error_set(error, BP_EINVAL, "the file ends inside the name of tensor %" PRIu64, index);
    bp_status status = check_name(name, MAX_TENSOR_NAME, "tensor", index, error);
    if (status != BP_OK)
        return status;
    if (!(w->name = arena_copy(g->memory, name.bytes, name.length)))
        return out_of_memory(error);
    if ((status = read_shape(c, w, error)) != BP_OK)
        return status;
    if (!take_u32(c, &w->dtype) || !take_u64(c, &offsets[index]))
        return error_set(error, BP_EINVAL, "the file ends inside the description of tensor \"%s\"", w->name);
    return check_bytes(w, error);
}

static int compare_tensors(const void *a, const void *b)
{
    const bp_weight *x = *(const bp_weight *const *)a, *y = *(const bp_weight *const *)b;
    return gguf_compare(x->name, strlen(x->name), y->name, strlen(y->name));
}

static int compare_places(const void *a, const void *b)
{
    const bp_weight *x = *(const bp_weight *const *)a, *y = *(const bp_weight *const *)b;
    return ((uintptr_t)x->data > (uintptr_t)y->data) - ((uintptr_t)x->data < (uintptr_t)y->data);
}

static bp_status find_alignment(const gguf *g, uint64_t *out, bp_error *error)
{
    uint32_t alignment;
    bp_status status = gguf_u32(g, "general.alignment", DEFAULT_ALIGNMENT, NULL, &alignment, error);
    if (status != BP_OK)
        return status;
    if (alignment == 0 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)))
        return error_set(error, BP_EINVAL, "key \"general.alignment\" is %" PRIu32 "; powers of two up to %d are allowed",
                         alignment, MAX_ALIGNMENT);
    *out = alignment;
    return BP_OK;
}

/* Points every tensor at its data. */
static bp_status place_tensors(gguf *g, uint64_t begin, const uint64_t *offsets, bp_error *error)
{
    uint64_t alignment = DEFAULT_ALIGNMENT;
    bp_status status = find_alignment(g, &alignment, error);
    if (status != BP_OK)
        return status;
    begin = (begin + alignment - 1) & ~(alignment - 1);
    uint64_t available = begin < g->size ? g->size - begin : 0;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        bp_weight *w = &g->tensors[i];
        if (offsets[i] % alignment != 0)
            return error_set(error, BP_EINVAL,
                             "tensor \"%s\" lies at offset %" PRIu64 ", not a multiple of the alignment %" PRIu64, w->name,
                             offsets[i], alignment);
        if (offsets[i] > available || w->bytes > available - offsets[i])
            return error_set(error, BP_EINVAL,
                             "the data of tensor \"%s\" (%" PRIu64 " bytes at %" PRIu64 ") ends past the file's %" PRIu64
                             " bytes; it may be cut short: fetch it again",
                             w->name, w->bytes, offsets[i], available);
        w->data = g->data + begin + offsets[i];
    }
    return BP_OK;
}

bp_status gguf_sort_tensors(gguf *g, bp_error *error)
{
    const bp_weight **order = g->by_name = arena_array(g->memory, g->tensor_count + 1, sizeof *g->by_name);
    if (!order)
        return out_of_memory(error);
    for (uint64_t i = 0; i < g->tensor_count; i++)
        order[i] = &g->tensors[i];
    qsort(order, g->tensor_count, sizeof *order, compare_tensors);
    for (uint64_t i = 1; i < g->tensor_count; i++)
        if (compare_tensors(&order[i - 1], &order[i]) == 0)
            return error_set(error, BP_EINVAL, "there are two tensors \"%s\"", order[i]->name);
    return BP_OK;
}

static bp_status check_places(const gguf *g, bp_error *error)
{
    const bp_weight **order = calloc(g->tensor_count + 1, sizeof *order);
    bp_status status = order ? BP_OK : out_of_memory(error);
    for (uint64_t i = 0; i < g->tensor_count && order; i++)
        order[i] = &g->tensors[i];
    if (order)
        qsort(order, g->tensor_count, sizeof *order, compare_places);
    for (uint64_t i = 1; i < g->tensor_count && status == BP_OK; i++)
        if ((uintptr_t)order[i]->data - (uintptr_t)order[i - 1]->data < order[i - 1]->bytes)
            status = error_set(error, BP_EINVAL, "the data of the tensors \"%s\" and \"%s\" overlap", order[i - 1]->name,
                               order[i]->name);
    free(order);
    return status;
}

static bp_status read_tensors(gguf *g, cursor *c, bp_error *error)
{
    g->tensors = arena_array(g->memory, g->tensor_count + 1, sizeof *g->tensors);
    uint64_t *offsets = calloc(g->tensor_count + 1, sizeof *offsets);
    bp_status status = g->tensors && offsets ? BP_OK : out_of_memory(error);
    for (uint64_t i = 0; i < g->tensor_count && status == BP_OK; i++)
        status = read_tensor(g, c, i, offsets, error);
    if (status == BP_OK)
        status = place_tensors(g, c->at, offsets, error);
    free(offsets);
    if (status == BP_OK)
        status = check_places(g, error);
    return status == BP_OK ? gguf_sort_tensors(g, error) : status;
}

/* --- the whole -------------------------------------------------------------------------------------------------------- */

static bp_status read_header(gguf *g, cursor *c, bp_error *error)
{
    const unsigned char *magic = take(c, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return error_set(error, BP_EINVAL, "this is not a GGUF file: it does not begin with \"GGUF\"");
    if (!take_u32(c, &g->version))
        return error_set(error, BP_EINVAL, "the file ends inside its header");
    if (g->version != 2 && g->version != 3) {
        if (g->version != 0 && (g->version & 0xFFFF) == 0)
            return error_set(error, BP_EUNSUPPORTED, "this GGUF file is big-endian; convert it to little-endian");
        return error_set(error, BP_EUNSUPPORTED, "this is GGUF version %" PRIu32 "; versions 2 and 3 are read", g->version);
    }
    if (!take_u64(c, &g->tensor_count) || !take_u64(c, &g->entry_count))
        return error_set(error, BP_EINVAL, "the file ends inside its header");
    uint64_t left = c->size - c->at;
    if (g->entry_count > MAX_KEYS || g->entry_count > left / KEY_BYTES)
        return error_set(error, BP_EINVAL,
                         "the file claims to have %" PRIu64 " keys, more than are allowed (%d) or fit in it",
                         g->entry_count, MAX_KEYS);
    if (g->tensor_count > MAX_TENSORS || g->tensor_count > left / TENSOR_BYTES)
        return error_set(error, BP_EINVAL,
                         "the file claims to have %" PRIu64 " tensors, more than are allowed (%d) or fit in it",
                         g->tensor_count, MAX_TENSORS);
    return BP_OK;
}

bp_status gguf_parse(const void *data, uint64_t bytes, const char *name, gguf **out, bp_error *error)
{
    gguf *g = calloc(1, sizeof *g);
    if (!g || !(g->memory = arena_new()) || !(g->maps = arena_array(g->memory, 1, sizeof *g->maps))) {
        gguf_close(g);
        return error_set(error, BP_ENOMEM, "no memory to open %s", name);
    }
    g->data = data;
    g->size = bytes;
    cursor c = {.data = data, .size = bytes};
    bp_status status = read_header(g, &c, error);
    if (status == BP_OK)
        status = read_entries(g, &c, error);
    if (status == BP_OK)
        status = read_tensors(g, &c, error);
    if (status == BP_OK) {
        *out = g;
        return BP_OK;
    }
    gguf_close(g);
    return error_prefix(error, status, "%s", name);
}

bp_status gguf_open(const char *path, unsigned mapping_flags, gguf **out, bp_error *error)
{
    mapping *map = NULL;
    gguf *g = NULL;
    bp_status status = mapping_open(path, mapping_flags, &map, error);
    if (status == BP_OK)
        status = gguf_parse(mapping_data(map), mapping_size(map), path, &g, error);
    if (status == BP_OK && mapping_damaged(map)) {
        gguf_close(g);
        status = error_set(error, BP_EIO, "%s became shorter while it was read", path);
    }
    if (status != BP_OK) {
        mapping_close(map);
        return status;
    }
    g->maps[g->map_count++] = map;
    *out = g;
    return BP_OK;
}

void gguf_close(gguf *g)
{
    if (!g)
        return;
    for (uint32_t i = 0; i < g->map_count; i++)
        mapping_close(g->maps[i]);
    arena_free(g->memory);
    free(g);
}
