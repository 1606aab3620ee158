/* seed_safetensors DIRECTORY: the files that fuzz_safetensors begins with: each rank, readable types and others, metadata. */
#include "support/tiny_bert.h"

#include <stdio.h>

static const struct { const char *header; size_t zeros; } seeds[] = {
    {"{}", 0},
    {"{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}  ", 24},
    {"{\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[8,16]},\"a\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}", 16},
    {"{\"model.x\":{\"dtype\":\"F16\",\"shape\":[1,2,1,2],\"data_offsets\":[0,8]},\"y\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[8,11]}}", 11},
};

int main(int count, char **arguments)
{
    bool good = count == 2;
    for (unsigned i = 0; good && i < sizeof seeds / sizeof *seeds; i++) {
        char name[16];
        buffer bytes = {0};
        safetensors_bytes(seeds[i].header, seeds[i].zeros, &bytes);
        snprintf(name, sizeof name, "%u", i);
        good = tiny_bert_write_file(arguments[1], name, bytes.data, bytes.size);
        buffer_free(&bytes);
    }
    if (!good)
        fprintf(stderr, "seed_safetensors: cannot write the seeds\n");
    return !good;
}
