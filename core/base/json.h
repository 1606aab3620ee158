/* json: JSON from text and as text, whole or not at all.
 *
 * Where memory ends inside a string, jansson's json_loadb leaves out characters of it and json_dumps the quotes of a key, and both
 * call it a success; json_copy leaves out members. */
#ifndef BACKPLANE_BASE_JSON_H
#define BACKPLANE_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* NULL where it is no JSON, which *why (if not NULL) tells, or with *memory where there was none for it. `flags` are jansson's. */
json_t *json_read(const char *bytes, size_t count, size_t flags, json_error_t *why, bool *memory);
/* To be freed; NULL when out of memory. */
char *json_write(const json_t *value, size_t flags);
/* A shallow copy of an object or array; NULL when out of memory. */
json_t *json_copy_whole(json_t *value);

#endif
