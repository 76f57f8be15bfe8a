/* Whole reads and writes, syncs, and a place for tests to make them fail.
 *
 * Everything the store does to a disk goes through here. All return 0 or a negative errno. */
#ifndef TALLY_REPL_IO_FILE_H
#define TALLY_REPL_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* -EBADMSG: the file ends before `size` bytes. */
int file_read_at(int fd, void *data, size_t size, uint64_t offset);
/* True when all of it was at hand; false: file_read_at would have to wait, or fails. */
bool file_read_now_at(int fd, void *data, size_t size, uint64_t offset);
int file_write_at(int fd, const void *data, size_t size, uint64_t offset);
/* Changes `parts` on the way. */
int file_writev_at(int fd, struct iovec *parts, int count, uint64_t offset);
/* The same, durable at the end, in one call where the system has one. */
int file_writev_durably_at(int fd, struct iovec *parts, int count, uint64_t offset);
/* Writes zeros, so that later overwrites need no new metadata. */
int file_write_zeros(int fd, uint64_t offset, uint64_t size);
/* fdatasync. After a failure nothing is known about what was written before (RULES S3). */
int file_sync(int fd);
int file_sync_dir(const char *path);
/* The file has exactly this content, durably, or the old one: written aside, then renamed. */
int file_replace(const char *path, const void *data, size_t size);
/* Reads up to `max` bytes. Returns the count or a negative errno. */
int file_slurp(const char *path, void *data, size_t max);
/* Removes a file or a directory with everything in it; fine when there is none. */
int file_remove_tree(const char *path);

/* "dir/name", malloc'ed. */
char *file_path(const char *dir, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For tests: asked before each call, on any thread; a negative errno makes it fail. NULL: nobody
 * asks. */
enum file_call { FILE_WRITE, FILE_SYNC };
typedef int file_fault_fn(void *ctx, enum file_call call, int fd);
void file_fault_set(file_fault_fn *fn, void *ctx);

#endif
