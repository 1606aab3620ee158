/* json_schema: JSON Schema as grammar: every text of the grammar is JSON that the schema is valid for.
 *
 * docs/structured.md lists what is read. What is not is refused by its path, unless it only describes. Where a schema leaves
 * something open the grammar decides, always for a part of what is valid: objects have their properties in the order of the
 * schema, white space is bounded, a pattern is of the whole string. Nothing outside of the schema is ever fetched. */
#ifndef BACKPLANE_SAMPLE_JSON_SCHEMA_H
#define BACKPLANE_SAMPLE_JSON_SCHEMA_H

#include "sample/rules.h"

#include <jansson.h>

/* Sets *root to the rule of the schema in `text`. A failure is remembered in the rules. */
void json_schema_read(rules *r, const char *text, size_t bytes, uint32_t *root);
/* The same of a schema that is parsed already; `path` is what messages call it. References are looked up in itself. */
expression json_schema_expression(rules *r, json_t *schema, const char *path);
/* White space where JSON has it, none of it required: nothing, a blank, or a line end and its indentation. */
expression json_schema_space(rules *r);

#endif
