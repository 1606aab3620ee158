/* What gguf.c (opening), gguf_values.c (look-ups) and gguf_table.c (tables from other files) share. */
#ifndef BACKPLANE_MODEL_GGUF_PARTS_H
#define BACKPLANE_MODEL_GGUF_PARTS_H

#include "base/arena.h"
#include "model/gguf.h"

typedef struct gguf_entry {
    gguf_string name;
    uint32_t type, element_type; /* GGUF_…; element_type of arrays only */
    uint64_t count;              /* elements; 1 unless it is an array */
    const unsigned char *value;  /* numbers, little-endian and unaligned */
    const gguf_string *strings;  /* [count] of a string or an array of them; else NULL */
} gguf_entry;

struct gguf {
    arena *memory;
    mapping **maps; /* [map_count], none when parsed from memory */
    uint32_t map_count;
    const unsigned char *data; /* of a GGUF file */
    uint64_t size;
    uint32_t version;
    uint64_t entry_count, tensor_count;
    gguf_entry *entries;      /* in the file's order */
    bp_weight *tensors;       /* in the file's order */
    const gguf_entry **by_key; /* sorted by name, as by_name */
    const bp_weight **by_name;
};

const gguf_entry *gguf_find_key(const gguf *g, const char *key); /* NULL if absent */
const char *gguf_type_name(uint32_t type);                        /* "string"; "type 99" has no name and gives NULL */
uint32_t gguf_type_bytes(uint32_t type);                          /* of numbers and bool; 0 for the others */
/* An order of names, shorter ones first: it only has to be one. */
int gguf_compare(const char *a, uint64_t a_length, const char *b, uint64_t b_length);
uint64_t gguf_little_endian(const unsigned char *bytes, uint32_t count);
/* Sort keys and tensors by name; two of one name are BP_EINVAL. */
bp_status gguf_sort_keys(gguf *g, bp_error *error);
bp_status gguf_sort_tensors(gguf *g, bp_error *error);

#endif
