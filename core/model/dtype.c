#include "model/dtype.h"

#include "base/checked.h"

#include <stddef.h>

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
