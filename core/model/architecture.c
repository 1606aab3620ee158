#include "model/architecture.h"

#include <string.h>

/* llama.cpp's converter interleaves the rows of llama's Q and K, so that a rotation's pair are neighbours. */
static const architecture table[] = {
    {"llama", BP_ROPE_NORMAL, decoder_build},
    {"bert", BP_ROPE_NONE, bert_build},
};
static const char *const names[] = {"llama", "bert", NULL};
_Static_assert(sizeof names / sizeof *names == sizeof table / sizeof *table + 1, "every architecture is named");

const architecture *architecture_find(gguf_string name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i].name) == name.length && memcmp(table[i].name, name.bytes, name.length) == 0)
            return &table[i];
    return NULL;
}

const char *const *model_architectures(void)
{
    return names;
}
