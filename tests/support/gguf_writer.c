#include "support/gguf_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "gguf_writer: %s\n", what);
        abort();
    }
}

static void must(bool done)
{
    require(done, "out of memory");
}

static void put(buffer *b, const void *bytes, size_t count)
{
    must(buffer_append(b, bytes, count));
}

/* The least significant byte first. */
static void put_number(buffer *b, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)(value >> (8 * i));
        put(b, &byte, 1);
    }
}

static void put_text(buffer *b, const char *bytes, size_t count)
{
    put_number(b, count, 8);
    put(b, bytes, count);
}

/* --- types ------------------------------------------------------------------------------------------------------------ */

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Round half to even; what is too large becomes infinite. */
static uint16_t to_f16(float value)
{
    uint16_t sign = (uint16_t)((float_bits(value) >> 16) & 0x8000);
    float size = fabsf(value);
    if (size >= 65520.0f)
        return sign | 0x7C00;
    int e = -14;
    if (size >= 0x1p-14f)
        e = ilogbf(size);
    /* Units of the last place, 2^(e - 10): 1024 to 2047 for normal numbers, fewer for subnormal ones. */
    uint32_t units = (uint32_t)nearbyintf(ldexpf(size, 10 - e));
    return (uint16_t)(sign + ((uint32_t)(e + 14) << 10) + units);
}

static uint16_t to_bf16(float value)
{
    uint32_t bits = float_bits(value);
    return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

static int clamp(float value, int low, int high)
{
    int rounded = (int)nearbyintf(value);
    return rounded < low ? low : rounded > high ? high : rounded;
}

static void quantise_q8_0(const float *x, buffer *out)
{
    float most = 0;
    for (int i = 0; i < 32; i++)
        most = fmaxf(most, fabsf(x[i]));
    float scale = most / 127, inverse = scale > 0 ? 1 / scale : 0;
    put_number(out, to_f16(scale), 2);
    for (int i = 0; i < 32; i++)
        put_number(out, (uint8_t)clamp(x[i] * inverse, -127, 127), 1);
}

/* Nibbles: element i in the low half of byte i, element i + 16 in the high half. */
static void put_nibbles(const uint8_t q[32], buffer *out)
{
    for (int i = 0; i < 16; i++)
        put_number(out, (uint64_t)(q[i] | q[i + 16] << 4), 1);
}

static void quantise_q4_0(const float *x, buffer *out)
{
    float most = 0;
    uint8_t q[32];
    for (int i = 0; i < 32; i++)
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    float scale = most / -8, inverse = scale != 0 ? 1 / scale : 0;
    put_number(out, to_f16(scale), 2);
    for (int i = 0; i < 32; i++)
        q[i] = (uint8_t)clamp(x[i] * inverse + 8, 0, 15);
    put_nibbles(q, out);
}

static void quantise_q4_1(const float *x, buffer *out)
{
    float low = x[0], high = x[0];
    uint8_t q[32];
    for (int i = 1; i < 32; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    float scale = (high - low) / 15, inverse = scale > 0 ? 1 / scale : 0;
    put_number(out, to_f16(scale), 2);
    put_number(out, to_f16(low), 2);
    for (int i = 0; i < 32; i++)
        q[i] = (uint8_t)clamp((x[i] - low) * inverse, 0, 15);
    put_nibbles(q, out);
}

void quantise(uint32_t type, const float *values, size_t count, buffer *out)
{
    bool blocks = type == BP_Q8_0 || type == BP_Q4_0 || type == BP_Q4_1;
    require(!blocks || count % 32 == 0, "a row is not whole blocks");
    for (size_t i = 0; i < count; i++) {
        if (type == BP_F32)
            put_number(out, float_bits(values[i]), 4);
        else if (type == BP_F16)
            put_number(out, to_f16(values[i]), 2);
        else if (type == BP_BF16)
            put_number(out, to_bf16(values[i]), 2);
        else if (i % 32 == 0 && type == BP_Q8_0)
            quantise_q8_0(values + i, out);
        else if (i % 32 == 0 && type == BP_Q4_0)
            quantise_q4_0(values + i, out);
        else if (i % 32 == 0 && type == BP_Q4_1)
            quantise_q4_1(values + i, out);
    }
}

/* --- keys ------------------------------------------------------------------------------------------------------------- */

void writer_begin(gguf_writer *w)
{
    *w = (gguf_writer){.magic = {'G', 'G', 'U', 'F'}, .version = 3, .alignment = 32, .key_count = WRITER_AUTO,
                       .tensor_count = WRITER_AUTO};
}

static void free_key(writer_key *key)
{
    buffer_free(&key->name);
    buffer_free(&key->value);
}

static void free_tensor(writer_tensor *tensor)
{
    buffer_free(&tensor->name);
    buffer_free(&tensor->data);
}

void writer_free(gguf_writer *w)
{
    for (size_t i = 0; i < w->keys_used; i++)
        free_key(&w->keys[i]);
    for (size_t i = 0; i < w->tensors_used; i++)
        free_tensor(&w->tensors[i]);
    free(w->keys);
    free(w->tensors);
    *w = (gguf_writer){0};
}

static bool is_named(const buffer *name, const char *text)
{
    return name->size == strlen(text) && memcmp(name->data, text, name->size) == 0;
}

writer_key *writer_find(gguf_writer *w, const char *key)
{
    for (size_t i = 0; i < w->keys_used; i++)
        if (is_named(&w->keys[i].name, key))
            return &w->keys[i];
    return NULL;
}

writer_key *writer_add(gguf_writer *w, const char *key, uint32_t type, const void *bytes, size_t count)
{
    w->keys = realloc(w->keys, (w->keys_used + 1) * sizeof *w->keys);
    must(w->keys != NULL);
    writer_key *k = &w->keys[w->keys_used++];
    *k = (writer_key){.type = type};
    put(&k->name, key, strlen(key));
    put(&k->value, bytes, count);
    return k;
}

void writer_value(gguf_writer *w, const char *key, uint32_t type, const void *bytes, size_t count)
{
    writer_key *k = writer_find(w, key);
    if (!k) {
        writer_add(w, key, type, bytes, count);
        return;
    }
    k->type = type;
    buffer_clear(&k->value);
    put(&k->value, bytes, count);
}

/* Takes the value over and frees it. */
static void set_key(gguf_writer *w, const char *key, uint32_t type, buffer *value)
{
    writer_value(w, key, type, value->data, value->size);
    buffer_free(value);
}

void writer_u32(gguf_writer *w, const char *key, uint32_t value)
{
    buffer b = {0};
    put_number(&b, value, 4);
    set_key(w, key, WRITE_U32, &b);
}

void writer_i32(gguf_writer *w, const char *key, int32_t value)
{
    buffer b = {0};
    put_number(&b, (uint32_t)value, 4);
    set_key(w, key, WRITE_I32, &b);
}

void writer_f32(gguf_writer *w, const char *key, float value)
{
    buffer b = {0};
    put_number(&b, float_bits(value), 4);
    set_key(w, key, WRITE_F32, &b);
}

void writer_bool(gguf_writer *w, const char *key, bool value)
{
    buffer b = {0};
    put_number(&b, value, 1);
    set_key(w, key, WRITE_BOOL, &b);
}

void writer_text(gguf_writer *w, const char *key, const char *text)
{
    buffer b = {0};
    put_text(&b, text, strlen(text));
    set_key(w, key, WRITE_STRING, &b);
}

void writer_texts(gguf_writer *w, const char *key, const char *const *texts, uint64_t count)
{
    buffer b = {0};
    put_number(&b, WRITE_STRING, 4);
    put_number(&b, count, 8);
    for (uint64_t i = 0; i < count; i++)
        put_text(&b, texts[i], strlen(texts[i]));
    set_key(w, key, WRITE_ARRAY, &b);
}

void writer_i32s(gguf_writer *w, const char *key, const int32_t *values, uint64_t count)
{
    buffer b = {0};
    put_number(&b, WRITE_I32, 4);
    put_number(&b, count, 8);
    for (uint64_t i = 0; i < count; i++)
        put_number(&b, (uint32_t)values[i], 4);
    set_key(w, key, WRITE_ARRAY, &b);
}

void writer_remove(gguf_writer *w, const char *key)
{
    writer_key *k = writer_find(w, key);
    if (!k)
        return;
    free_key(k);
    memmove(k, k + 1, (size_t)(w->keys + w->keys_used - (k + 1)) * sizeof *k);
    w->keys_used--;
}

/* --- tensors ---------------------------------------------------------------------------------------------------------- */

writer_tensor *writer_find_tensor(gguf_writer *w, const char *name)
{
    for (size_t i = 0; i < w->tensors_used; i++)
        if (is_named(&w->tensors[i].name, name))
            return &w->tensors[i];
    return NULL;
}

writer_tensor *writer_matrix(gguf_writer *w, const char *name, uint32_t type, uint32_t columns, uint32_t rows,
                             const float *values)
{
    w->tensors = realloc(w->tensors, (w->tensors_used + 1) * sizeof *w->tensors);
    must(w->tensors != NULL);
    writer_tensor *t = &w->tensors[w->tensors_used++];
    *t = (writer_tensor){.type = type, .rank = rows ? 2 : 1, .shape = {columns, rows}, .offset = WRITER_AUTO};
    put(&t->name, name, strlen(name));
    for (size_t row = 0; row < (rows ? rows : 1); row++)
        quantise(type, values + row * columns, columns, &t->data);
    return t;
}

void writer_remove_tensor(gguf_writer *w, const char *name)
{
    writer_tensor *t = writer_find_tensor(w, name);
    if (!t)
        return;
    free_tensor(t);
    memmove(t, t + 1, (size_t)(w->tensors + w->tensors_used - (t + 1)) * sizeof *t);
    w->tensors_used--;
}

/* --- the file --------------------------------------------------------------------------------------------------------- */

static uint64_t aligned(uint64_t at, uint64_t alignment)
{
    return (at + alignment - 1) / alignment * alignment;
}

static void put_zeros(buffer *out, uint64_t until)
{
    while (out->size < until)
        put(out, "", 1);
}

static void put_header(const gguf_writer *w, buffer *out)
{
    put(out, w->magic, 4);
    put_number(out, w->version, 4);
    put_number(out, w->tensor_count == WRITER_AUTO ? w->tensors_used : w->tensor_count, 8);
    put_number(out, w->key_count == WRITER_AUTO ? w->keys_used : w->key_count, 8);
    for (size_t i = 0; i < w->keys_used; i++) {
        put_text(out, w->keys[i].name.data, w->keys[i].name.size);
        put_number(out, w->keys[i].type, 4);
        put(out, w->keys[i].value.data, w->keys[i].value.size);
    }
}

/* A forced offset only lies: the data stay where they would be. */
void writer_finish(const gguf_writer *w, buffer *out)
{
    buffer file = {0};
    put_header(w, &file);
    uint64_t offset = 0;
    for (size_t i = 0; i < w->tensors_used; i++) {
        const writer_tensor *t = &w->tensors[i];
        put_text(&file, t->name.data, t->name.size);
        put_number(&file, t->rank, 4);
        for (uint32_t k = 0; k < t->rank && k < 8; k++)
            put_number(&file, t->shape[k], 8);
        put_number(&file, t->type, 4);
        put_number(&file, t->offset == WRITER_AUTO ? offset : t->offset, 8);
        offset = aligned(offset + t->data.size, w->alignment);
    }
    for (size_t i = 0; i < w->tensors_used; i++) {
        put_zeros(&file, aligned(file.size, w->alignment));
        put(&file, w->tensors[i].data.data, w->tensors[i].data.size);
    }
    put(out, file.data, file.size);
    buffer_free(&file);
}

bool writer_save(const gguf_writer *w, const char *path)
{
    buffer bytes = {0};
    writer_finish(w, &bytes);
    FILE *file = fopen(path, "wb");
    bool saved = file && fwrite(bytes.data, 1, bytes.size, file) == bytes.size;
    if (file && fclose(file) != 0)
        saved = false;
    buffer_free(&bytes);
    return saved;
}
