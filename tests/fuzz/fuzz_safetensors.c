/* fuzz_safetensors: any bytes as a safetensors file. Whatever they are, they become tensors that lie inside the file and apart
 * from each other, or are refused with a sentence. */
#include "base/arena.h"
#include "model/dtype.h"
#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_tensor(const safetensors_tensor *tensor, const uint8_t *data, size_t size)
{
    const bp_weight *w = &tensor->weight;
    const uint8_t *begin = w->data;
    require(w->name && *w->name && strlen(w->name) <= 256 && tensor->type);
    require(w->rank >= 1 && w->rank <= 4 && w->bytes > 0);
    require(begin >= data + 8 && begin <= data + size && w->bytes <= (size_t)(data + size - begin));
    for (uint32_t i = 0; i < 4; i++)
        require(w->shape[i] >= 1 && (i < w->rank || w->shape[i] == 1));
    uint64_t bytes;
    if (tensor->readable)
        require(dtype_find(w->dtype) && dtype_tensor_bytes(dtype_find(w->dtype), w->shape, &bytes) && bytes == w->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena *memory = arena_new();
    safetensors_tensor *tensors = NULL;
    uint64_t count = 0;
    bp_error error = {0};
    bp_status status = safetensors_read(data, size, memory, &tensors, &count, &error);
    require(status == BP_OK || (status == error.code && *error.message));
    for (uint64_t i = 0; status == BP_OK && i < count; i++) {
        check_tensor(&tensors[i], data, size);
        if (i > 0)
            require((const uint8_t *)tensors[i].weight.data >=
                    (const uint8_t *)tensors[i - 1].weight.data + tensors[i - 1].weight.bytes);
    }
    arena_free(memory);
    return 0;
}
