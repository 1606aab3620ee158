/* seed_gguf DIRECTORY: the files that fuzz_gguf begins with: tiny models, one for each weight type and option. */
#include "support/tiny_llama.h"

#include <stdio.h>

int main(int count, char **arguments)
{
    static const tiny_llama seeds[] = {
        {.weight_type = BP_F32, .embedding_type = BP_F16, .untied = true},
        {.weight_type = BP_Q8_0, .embedding_type = BP_Q8_0, .biases = true},
        {.weight_type = BP_Q4_0, .embedding_type = BP_Q4_0, .no_chat = true},
        {.weight_type = BP_Q4_1, .embedding_type = BP_Q8_0, .layers = 2},
        {.weight_type = BP_BF16, .embedding_type = BP_BF16, .vocab_size = 270},
        {.architecture = "qwen3", .head_norms = true},
        {.architecture = "gemma3", .head_norms = true, .post_norms = true, .window = 4, .layers = 6},
        {.architecture = "phi3", .fused = true, .untied = true, .window = 4},
    };
    for (unsigned i = 0; count == 2 && i < sizeof seeds / sizeof *seeds; i++) {
        tiny_llama seed = seeds[i];
        char path[4096];
        seed.layers = seed.layers ? seed.layers : 1;
        seed.width = seed.ffn_width = seed.head_dim = 32;
        seed.heads = seed.kv_heads = 1;
        seed.vocab_size = seed.vocab_size ? seed.vocab_size : 5;
        snprintf(path, sizeof path, "%s/%u.gguf", arguments[1], i);
        if (!tiny_llama_write(path, &seed)) {
            fprintf(stderr, "seed_gguf: cannot write %s\n", path);
            return 1;
        }
    }
    return count != 2;
}
