/* described: models of tests/golden/architectures.json, whose tensors are descriptions, as numbers and as Hugging Face folders. */
#ifndef TESTS_MODELS_DESCRIBED_H
#define TESTS_MODELS_DESCRIBED_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The tensor of that number: [name, columns, rows, middle, spread] or [name, [values]]. Rows are 0 of a vector. The caller
 * frees the numbers. */
float *described_values(const json_t *tensor, size_t index, uint32_t *columns, uint32_t *rows);

/* Writes the folder that a file of this description was converted from, with a vocabulary of its own; false for architectures
 * that folders are not read of. The folder exists. */
bool described_write_folder(const json_t *model, const char *folder);

#endif
