/* Writes a tiny model for tests that are not C: write_tiny_llama FILE [SEED [tools]]. */
#include "support/tiny_llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **words)
{
    tiny_llama options = {.seed = count > 2 ? strtoull(words[2], NULL, 10) : 1, .tools = count > 3 && strcmp(words[3], "tools") == 0};
    if (count > 1 && tiny_llama_write(words[1], &options))
        return 0;
    fprintf(stderr, "write_tiny_llama: %s cannot be written\n", count > 1 ? words[1] : "nothing");
    return 1;
}
