#include "model/dtype.h"

#include "base/checked.h"

#include <stddef.h>
#include <string.h>

static const dtype table[] = {
#define ROW(name, number, elements, bytes) {#name, number, elements, bytes},
    BP_DTYPES(ROW)
#undef ROW
};

const dtype *dtype_find(uint32_t number)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].number == number)
            return &table[i];
    return NULL;
}

bool dtype_is_float(uint32_t number)
{
    return number == BP_F32 || number == BP_F16 || number == BP_BF16;
}

const char *dtype_name(uint32_t number)
{
    const dtype *type = dtype_find(number);
    return type ? type->name : "unknown";
}

const char *dtype_names(void)
{
#define NAME(name, number, elements, bytes) ", " #name
    static const char names[] = BP_DTYPES(NAME);
#undef NAME
    return &names[2];
}

bool dtype_tensor_bytes(const dtype *type, const int64_t shape[4], uint64_t *out)
{
    if (shape[0] <= 0 || shape[0] % type->elements != 0)
        return false;
    uint64_t bytes = (uint64_t)shape[0] / type->elements;
    if (!checked_mul_u64(bytes, type->bytes, &bytes))
        return false;
    for (int i = 1; i < 4; i++)
        if (shape[i] <= 0 || !checked_mul_u64(bytes, (uint64_t)shape[i], &bytes))
            return false;
    *out = bytes;
    return true;
}

/* The bits of a binary16 as those of the same number in binary32. */
static uint32_t half_bits(uint32_t half)
{
    uint32_t sign = (half & 0x8000) << 16, exponent = half >> 10 & 0x1F, fraction = half & 0x3FF;
    if (exponent == 0x1F)
        return sign | 0x7F800000 | fraction << 13;
    if (exponent)
        return sign | (exponent + 112) << 23 | fraction << 13;
    if (!fraction)
        return sign;
    for (exponent = 113; !(fraction & 0x400); exponent--)
        fraction <<= 1;
    return sign | exponent << 23 | (fraction & 0x3FF) << 13;
}

void dtype_widen(uint32_t number, const void *data, size_t count, float *out)
{
    if (number == BP_F32) {
        memcpy(out, data, count * sizeof *out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t narrow;
        memcpy(&narrow, (const char *)data + i * sizeof narrow, sizeof narrow);
        uint32_t bits = number == BP_BF16 ? (uint32_t)narrow << 16 : half_bits(narrow);
        memcpy(&out[i], &bits, sizeof bits);
    }
}
