#include "model/architecture.h"

#include <string.h>

/* llama.cpp's converter interleaves the rows of Q and K of the llama and mistral families, so that a rotation's pair are
 * neighbours. */
static const decoder_traits llama = {
    .rope_mode = BP_ROPE_NORMAL, .activation = BP_ACT_SILU, .window_pattern = WINDOWS_EVERYWHERE,
};
static const decoder_traits qwen2 = {.rope_mode = BP_ROPE_NEOX, .activation = BP_ACT_SILU};
static const decoder_traits qwen3 = {.rope_mode = BP_ROPE_NEOX, .activation = BP_ACT_SILU, .head_norms = true};
static const decoder_traits phi3 = {
    .rope_mode = BP_ROPE_NEOX, .activation = BP_ACT_SILU, .fused = true, .longrope = true,
    .window_pattern = WINDOWS_EVERYWHERE,
};
/* The converter adds the 1 of Gemma's norms to their weights. */
static const decoder_traits gemma2 = {
    .rope_mode = BP_ROPE_NEOX, .activation = BP_ACT_GELU_TANH, .post_norms = true, .scaled_embedding = true,
    .window_pattern = 2, .window = 4096, .scaled_by_width = 46, .attention_cap = 50, .logit_cap = 30,
};
static const decoder_traits gemma3 = {
    .rope_mode = BP_ROPE_NEOX, .activation = BP_ACT_GELU_TANH, .head_norms = true, .post_norms = true,
    .scaled_embedding = true, .window_pattern = 6, .window_base = 10000, .scaled_by_width = 62,
};

static const architecture table[] = {
    {"llama", &llama, decoder_build}, {"mistral3", &llama, decoder_build}, {"qwen2", &qwen2, decoder_build},
    {"qwen3", &qwen3, decoder_build}, {"gemma2", &gemma2, decoder_build},  {"gemma3", &gemma3, decoder_build},
    {"phi3", &phi3, decoder_build},   {"bert", NULL, bert_build},
};
static const char *const names[] = {"llama", "mistral3", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "bert", NULL};
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
