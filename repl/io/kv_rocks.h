/* The RocksDB body of repl/base/kv.h: WAL off, all tables in one memtable (RULES S2). What
 * it cannot read ends the process. */
#ifndef TALLY_REPL_IO_KV_ROCKS_H
#define TALLY_REPL_IO_KV_ROCKS_H

#include "repl/base/kv.h"

/* Opens or makes the database in `dir` with `tables` tables. On failure -EIO (or -ENOENT without
 * `create`), and `error` says why. */
int kv_rocks_open(const char *dir, int tables, bool create, struct kv **ret, char *error,
                  size_t error_size);

/* Removes a database that nobody has open. 0 or -EIO. */
int kv_rocks_destroy(const char *dir);

#endif
