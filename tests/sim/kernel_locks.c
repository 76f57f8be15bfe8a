/* The kernel's side of a mount: byte-range locks (fs/fuse/file.c: fuse_setlk()). They pass through:
 * nothing is kept here but whose lock a descriptor's close gives back. */
#include "tests/sim/kernel_internal.h"

static void set(struct call *c)
{
    call_end(c, c->a.err);
}

void sys_lock(struct kernel *k, uint64_t fd, const struct client_lock *lock, sys_done *done,
              void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    struct open_file *f = call_file(c);
    struct client_op op = {.kind = CLIENT_SETLK, .ino = c->ino, .fh = f->fh, .lock = *lock};
    f->lock_owner = lock->owner;
    call_submit(c, &op, set);
}
