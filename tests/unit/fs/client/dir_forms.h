/* Short forms of operations on names, for the tests of directory leases: mount 0 changes names
 * ahead of the log, mount 1 does not. */
#ifndef TALLY_TESTS_FS_CLIENT_DIR_FORMS_H
#define TALLY_TESTS_FS_CLIENT_DIR_FORMS_H

#include "tests/unit/fs/client/world.h"

extern struct world w;
extern uint64_t home;   /* a directory that mount 0 made, with its lease */
extern uint64_t shared; /* a directory that mount 1 made, which nobody has the lease of */

struct file {
    uint64_t ino, fh;
};

struct client_op make_op(const char *name, uint32_t mode);
struct client_op op_of(enum client_op_kind kind, struct file f);
struct client_op named_op(enum client_op_kind kind, const char *name);
struct client_op rename_op(const char *from, uint64_t newparent, const char *to);
struct client_op link_op(struct file f, uint64_t dir, const char *name);
struct client_op chmod_op(uint64_t ino, uint32_t mode);
struct client_op write_op(struct file f, const char *text);
/* By mount 0, before anything can arrive there or here. */
const struct world_answer *at_once(struct client_op op);
struct file make(const char *name);
bool answered(uint64_t id);
uint64_t looked_up(uint64_t dir, const char *name);
/* What is on its way into the log: its kinds, up to `max`. */
size_t kinds_pending(Fs__Op__BodyCase *kinds, size_t max);
size_t pending(Fs__Op__BodyCase kind);
Fs__Attr applied_attr(uint64_t ino);
Fs__Attr attr_here(uint64_t ino);
/* What stat(2) says, of a file that keeps its bytes. */
void expect_same(const Fs__Attr *a, const Fs__Attr *b);
uint64_t home_lease(void);
/* Mount 0 gets a lease, space and numbers, and makes the directory `home` by itself: all names that
 * are there are known to it. */
void warm_up(void);
void dirs_setup(void);
void dirs_teardown(void);
struct client_op list_op(uint64_t after, uint64_t max);
uint64_t session_here(void);

#endif
