/* Short forms of operations on one world of two mounts, for the tests of a mount's core. */
#ifndef TALLY_TESTS_FS_CLIENT_FORMS_H
#define TALLY_TESTS_FS_CLIENT_FORMS_H

#include "tests/unit/fs/client/world.h"

extern struct world w;

/* Fixtures: two linearizable mounts, that keep no pages or up to 16. */
void two_mounts(void);
void two_keeping_mounts(void);
void no_mounts(void);

/* A file, opened. */
struct place {
    uint64_t ino, fh;
};

/* In the root, open; asserts that it worked, as all do that return no error. */
struct place create(int m, const char *name);
struct client_op op_of(enum client_op_kind kind, struct place f);
struct client_op write_op(struct place f, uint64_t offset, const void *p, size_t size);
void put_bytes(int m, struct place f, uint64_t offset, const void *p, size_t size);
void put_text(int m, struct place f, uint64_t offset, const char *text);
/* `pages` pages of `byte`, in one write. */
void write_pages(int m, struct place f, uint64_t first_page, uint32_t pages, int byte);
/* An operation that needs nothing but the file: its error. */
int simple(int m, enum client_op_kind kind, struct place f);
void sync_file(int m, struct place f);
/* In the root. */
const struct world_answer *lookup(int m, const char *name);
struct place open_file(int m, uint64_t ino);
struct place open_name(int m, const char *name);
/* Good until the next operation of the mount. */
struct blob *get_bytes(int m, struct place f, uint64_t offset, uint64_t size);
/* These and no more: the file ends behind them. */
void expect_bytes(int m, struct place f, uint64_t offset, const void *p, size_t size);
void expect_text(int m, struct place f, uint64_t offset, const char *text);
uint64_t size_of(int m, struct place f);
uint64_t pages_of(int m, struct place f);
int truncate_to(int m, struct place f, uint64_t size);
/* Bytes that differ for each seed. */
void fill(uint8_t *p, size_t size, unsigned seed);
int read_by(int m, struct place f);
/* SEEK_DATA or SEEK_HOLE from `page`; UINT64_MAX: ENXIO. */
uint64_t seek(int m, struct place f, bool hole, uint64_t page);

#endif
