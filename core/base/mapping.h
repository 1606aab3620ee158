/* mapping: a file as read-only memory that stays readable.
 *
 * A file that shrinks under its map would kill the process with SIGBUS at the next touch. While a mapping is open, a
 * handler puts zero pages where the file ended and marks the mapping damaged; whoever read from it asks
 * mapping_damaged() afterwards and fails the model, not the process. Other SIGBUS go on to the previous handler. */
#ifndef BACKPLANE_BASE_MAPPING_H
#define BACKPLANE_BASE_MAPPING_H

#include <backplane/plugin.h>
#include <stdbool.h>

typedef struct mapping mapping;

/* Maps a regular file. With BP_MAPPING_READ the file is read into anonymous memory instead. */
enum { BP_MAPPING_READ = 1 };
bp_status mapping_open(const char *path, unsigned flags, mapping **out, bp_error *error);
/* Reads a file of at most `most` bytes, as with BP_MAPPING_READ; of a larger one nothing: BP_ELIMIT. */
bp_status mapping_read(const char *path, uint64_t most, mapping **out, bp_error *error);
void mapping_close(mapping *m); /* NULL is fine */
const unsigned char *mapping_data(const mapping *m);
uint64_t mapping_size(const mapping *m);
bool mapping_damaged(const mapping *m);

/* Gives the pages that lie wholly inside [data, data + bytes) back to the page cache when they belong to a mapped file;
 * they read the same afterwards. */
void mapping_forget(const void *data, uint64_t bytes);

#endif
