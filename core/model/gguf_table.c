#include "model/gguf_table.h"

#include "base/error.h"
#include "model/gguf_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_KEYS = 256 };

bp_status gguf_table_fail(gguf_table *t, bp_status code, const char *format, ...)
{
    if (t->status != BP_OK)
        return t->status;
    char text[440];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return t->status = error_set(t->error, code, "%s", text);
}

static void out_of_memory(gguf_table *t)
{
    gguf_table_fail(t, BP_ENOMEM, "no memory for the model's keys and tensors");
}

void gguf_table_begin(gguf_table *t, uint32_t maps, bp_error *error)
{
    *t = (gguf_table){.error = error, .g = calloc(1, sizeof *t->g)};
    if (!t->g || !(t->memory = t->g->memory = arena_new()) ||
        !(t->g->maps = arena_array(t->memory, maps, sizeof *t->g->maps)) ||
        !(t->g->entries = arena_array(t->memory, TABLE_KEYS, sizeof *t->g->entries)))
        out_of_memory(t);
}

void gguf_table_drop(gguf_table *t)
{
    gguf_close(t->g);
    t->g = NULL;
}

bp_status gguf_table_finish(gguf_table *t, gguf **out)
{
    if (t->status == BP_OK)
        t->status = gguf_sort_keys(t->g, t->error);
    if (t->status == BP_OK)
        t->status = gguf_sort_tensors(t->g, t->error);
    if (t->status != BP_OK) {
        gguf_table_drop(t);
        return t->status;
    }
    *out = t->g;
    return BP_OK;
}

const mapping *gguf_table_map(gguf_table *t, const char *path, unsigned mapping_flags)
{
    mapping *map = NULL;
    if (t->status == BP_OK)
        t->status = mapping_open(path, mapping_flags, &map, t->error);
    if (!map)
        return NULL;
    t->g->maps[t->g->map_count++] = map;
    t->g->size += mapping_size(map);
    return map;
}

void *gguf_table_alloc(gguf_table *t, size_t count, size_t size)
{
    void *memory = t->status == BP_OK ? arena_array(t->memory, count ? count : 1, size) : NULL;
    if (!memory)
        out_of_memory(t);
    return memory;
}

gguf_string gguf_table_string(gguf_table *t, const char *bytes, size_t length)
{
    char *copy = gguf_table_alloc(t, length + 1, 1);
    if (!copy)
        return (gguf_string){"", 0};
    memcpy(copy, bytes, length);
    return (gguf_string){copy, length};
}

/* The next entry, with room for a value of `bytes`; NULL after an error. */
static gguf_entry *add_entry(gguf_table *t, const char *key, uint32_t type, uint64_t count, size_t bytes)
{
    if (t->status == BP_OK && t->g->entry_count == TABLE_KEYS)
        gguf_table_fail(t, BP_EINTERNAL, "the model has more keys than a table has room for");
    unsigned char *value = gguf_table_alloc(t, bytes, 1);
    gguf_string name = gguf_table_string(t, key, strlen(key));
    if (t->status != BP_OK)
        return NULL;
    gguf_entry *e = &t->g->entries[t->g->entry_count++];
    *e = (gguf_entry){.name = name, .type = type, .count = count, .value = value};
    return e;
}

static void put_little_endian(const gguf_entry *e, size_t at, uint32_t value)
{
    unsigned char *bytes = (unsigned char *)e->value + at;
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
}

void gguf_put_u32(gguf_table *t, const char *key, uint32_t value)
{
    const gguf_entry *e = add_entry(t, key, GGUF_U32, 1, 4);
    if (e)
        put_little_endian(e, 0, value);
}

void gguf_put_f32(gguf_table *t, const char *key, float value)
{
    const gguf_entry *e = add_entry(t, key, GGUF_F32, 1, 4);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (e)
        put_little_endian(e, 0, bits);
}

void gguf_put_bool(gguf_table *t, const char *key, bool value)
{
    const gguf_entry *e = add_entry(t, key, GGUF_BOOL, 1, 4);
    if (e)
        put_little_endian(e, 0, value);
}

void gguf_put_text(gguf_table *t, const char *key, const char *text)
{
    gguf_string *string = gguf_table_alloc(t, 1, sizeof *string);
    gguf_entry *e = add_entry(t, key, GGUF_STRING, 1, 0);
    if (!e)
        return;
    *string = gguf_table_string(t, text, strlen(text));
    e->strings = string;
}

void gguf_put_strings(gguf_table *t, const char *key, const gguf_string *strings, uint64_t count)
{
    gguf_entry *e = add_entry(t, key, GGUF_ARRAY, count, 0);
    if (!e)
        return;
    e->element_type = GGUF_STRING;
    e->strings = strings;
}

void gguf_put_i32s(gguf_table *t, const char *key, const int32_t *values, uint64_t count)
{
    gguf_entry *e = add_entry(t, key, GGUF_ARRAY, count, (size_t)count * 4);
    if (!e)
        return;
    e->element_type = GGUF_I32;
    for (uint64_t i = 0; i < count; i++)
        put_little_endian(e, (size_t)i * 4, (uint32_t)values[i]);
}

void gguf_put_room(gguf_table *t, uint64_t tensors)
{
    bp_weight *room = gguf_table_alloc(t, (size_t)tensors, sizeof *room);
    if (!room)
        return;
    t->g->tensors = room;
    t->tensor_room = tensors;
}

void gguf_put_tensor(gguf_table *t, const char *name, const bp_weight *tensor)
{
    if (t->status == BP_OK && t->g->tensor_count == t->tensor_room)
        gguf_table_fail(t, BP_EINTERNAL, "the model has more tensors than a table has room for");
    gguf_string copy = gguf_table_string(t, name, strlen(name));
    if (t->status != BP_OK)
        return;
    bp_weight *w = &t->g->tensors[t->g->tensor_count++];
    *w = *tensor;
    w->name = copy.bytes;
}
