/* shelf: files that are open, so that a second model of the same file reads the first one's mapping, and a backend sees the same
 * weights at the same place.
 *
 * A file that has changed on disk since (another file at its path, another size or time of change, of a folder those of its
 * main files) is opened anew; models that are there go on with what they opened. Any thread. */
#ifndef BACKPLANE_MODEL_SHELF_H
#define BACKPLANE_MODEL_SHELF_H

#include "model/gguf.h"

typedef struct model_shelf model_shelf;
model_shelf *model_shelf_new(void); /* NULL when out of memory */
/* When nothing is on it any more; NULL is fine. */
void model_shelf_free(model_shelf *s);

/* A GGUF file or a Hugging Face folder. Each open is closed through the shelf. A NULL shelf shares nothing. */
bp_status model_shelf_open(model_shelf *s, const char *path, unsigned mapping_flags, gguf **out, bp_error *error);
void model_shelf_close(model_shelf *s, gguf *file); /* a NULL file is fine */

/* A number that is another once what is at the path has changed, as a shelf sees it. */
uint64_t model_shelf_stamp(const char *path);

#endif
