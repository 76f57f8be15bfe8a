/* The files of the journal: made and prewritten ahead of use, found again after a restart,
 * released. Behind journal.h. */
#ifndef TALLY_REPL_IO_SEGMENT_H
#define TALLY_REPL_IO_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "repl/io/journal.h"

struct segment {
    uint32_t generation;
    uint32_t size; /* of the file */
    int fd;        /* only while it is written, else -1 */
};

/* Path of a segment, malloc'ed. */
char *segment_path(const char *dir, uint32_t generation);

/* Generations present, ascending. Removes leftovers that never became segments. `ret` malloc'ed;
 * the count or a negative errno. */
int segment_list(const char *dir, uint32_t **ret);

/* A file of at least `size` bytes of zeros (or of a recycled segment's bytes, which no longer
 * verify), with a header, durable under its name: overwriting it needs only fdatasync, no change of
 * metadata. `spare` is a generation to recycle, 0 none. */
int segment_make(const struct journal_config *config, uint32_t generation, uint32_t size,
                 uint32_t spare, struct segment *ret);

int segment_remove(const char *dir, uint32_t generation);
/* Takes it out of the log but keeps the file for segment_make. */
int segment_set_aside(const char *dir, uint32_t generation);

#endif
