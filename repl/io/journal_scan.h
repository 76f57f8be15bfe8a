/* Reads the log after a restart (RULES S2, S3). Behind journal.h. */
#ifndef TALLY_REPL_IO_JOURNAL_SCAN_H
#define TALLY_REPL_IO_JOURNAL_SCAN_H

#include "repl/base/vec.h"
#include "repl/io/journal.h"
#include "repl/io/segment.h"

typedef vec_of(struct segment) segment_vec;

/* Visits every record of every valid group, from the oldest segment to the end of the log. On
 * success `ret_segments` lists the segments in use, `ret_end` is where the log ends, and files
 * behind it are removed. Errors as journal_open. */
int journal_scan(const struct journal_config *config, struct journal_control *control,
                 journal_visit_fn *visit, void *ctx, segment_vec *ret_segments, lsn_no *ret_end,
                 char *error, size_t error_size);

#endif
