/* json_schema_parts: what the files of the schema reader share; nobody else includes it.
 *
 *   json_schema.c         a schema's way to an expression: references, alternatives, types
 *   json_schema_merge.c   two schemas as one
 *   json_schema_object.c  objects and arrays
 *   json_schema_scalar.c  strings, numbers, constants */
#ifndef BACKPLANE_SAMPLE_JSON_SCHEMA_PARTS_H
#define BACKPLANE_SAMPLE_JSON_SCHEMA_PARTS_H

#include "sample/json_schema.h"

enum { SCHEMA_MOST_MERGES = 2000, SCHEMA_MOST_REFERENCES = 4096, SCHEMA_MOST_PATH = 240 };

typedef struct schema_reference {
    const json_t *target;
    uint32_t rule;
} schema_reference;

typedef struct schema_reader {
    rules *rules;
    json_t *root;
    json_t *kept;             /* merged schemas, a list */
    schema_reference *references;
    uint32_t reference_count, merges, depth;
    uint32_t space, value, character, quoted; /* rules + 1, once made: white space, any value, of a string, a string */
    char path[SCHEMA_MOST_PATH + 16]; /* of the schema at hand */
    size_t path_length;
} schema_reader;

/* json_schema.c */
/* BP_EINVAL with the path of the schema at hand. */
expression schema_fail(schema_reader *s, const char *format, ...) BP_PRINTF(2, 3);
bool schema_failed(const schema_reader *s);
/* What a part of the schema at hand is like; the path gains "/key" meanwhile. */
expression schema_part(schema_reader *s, json_t *schema, const char *key);
expression schema_of(schema_reader *s, json_t *schema);
expression schema_space(schema_reader *s);
expression schema_any(schema_reader *s); /* any value */
/* What a reference names; NULL with a failure. */
json_t *schema_resolve(schema_reader *s, const json_t *reference);
/* A whole number of a keyword; `otherwise` where it is not there. */
uint32_t schema_count(schema_reader *s, const json_t *schema, const char *key, uint32_t otherwise);

/* json_schema_merge.c: valid for what is valid for both; a borrowed reference, NULL with a failure. */
json_t *schema_merge(schema_reader *s, json_t *a, json_t *b);
/* A copy without these keys, kept as a merged one. */
json_t *schema_without(schema_reader *s, json_t *schema, const char *const *keys);

/* json_schema_object.c */
expression schema_object(schema_reader *s, json_t *schema);
expression schema_array(schema_reader *s, json_t *schema);

/* json_schema_scalar.c */
expression schema_string(schema_reader *s, json_t *schema);
expression schema_number(schema_reader *s, json_t *schema, bool integer);
expression schema_constant(schema_reader *s, const json_t *value); /* exactly this value */
expression schema_character(schema_reader *s); /* of a string, escaped or not */
expression schema_quoted(schema_reader *s);    /* any string */

#endif
