/* Requests as the kernel wrote them. libfuse 3.14 knows FUSE 7.35 and less of it; what came later
 * or was left out is turned here, before libfuse reads it, into what it understands. */
#include <stddef.h>
#include <string.h>

#include <linux/fuse.h>

#include "fs/fuse/request.h"

/* With FUSE_SETXATTR_EXT: `setxattr_flags` and padding before the name, which libfuse does not
 * expect. They say whether the caller of setfacl(1) may keep a setgid bit. */
static void shorten_setxattr(struct kernel *k, struct fuse_in_header *in)
{
    struct fuse_setxattr_in *m = (void *)(in + 1);
    uint8_t *from = (uint8_t *)(m + 1), *to = (uint8_t *)m + FUSE_COMPAT_SETXATTR_IN_SIZE;
    if (k->buf.size < sizeof *in + sizeof *m)
        return;
    k->acl_kills_sgid = m->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
    memmove(to, from, k->buf.size - sizeof *in - sizeof *m);
    in->len -= (uint32_t)(from - to);
    k->buf.size -= (size_t)(from - to);
}

/* O_TMPFILE is a CREATE of the name "/", which no other has. */
static void turn_tmpfile(struct kernel *k, struct fuse_in_header *in)
{
    const char *name = (const char *)(in + 1) + sizeof(struct fuse_create_in);
    size_t size = sizeof *in + sizeof(struct fuse_create_in) + sizeof RAW_NAMELESS;
    if (k->buf.size >= size && memcmp(name, RAW_NAMELESS, sizeof RAW_NAMELESS) == 0)
        in->opcode = FUSE_CREATE; /* else libfuse says ENOSYS */
}

/* The caller of a write or truncate may not keep set-id bits; nobody does through a chown. A
 * SETATTR of nothing, which Linux sends when it finds some in the way of a write, fallocate or
 * copy_file_range, or for chown(-1, -1), is about them as well: it used to name the mode. */
static bool kills_setid(const struct kernel *k, const struct fuse_in_header *in)
{
    const struct fuse_write_in *write = (const void *)(in + 1);
    const struct fuse_setattr_in *set = (const void *)(in + 1);
    if (in->opcode == FUSE_WRITE && k->buf.size >= sizeof *in + sizeof *write)
        return write->write_flags & FUSE_WRITE_KILL_SUIDGID;
    return in->opcode == FUSE_SETATTR && k->buf.size >= sizeof *in + sizeof *set &&
           (k->init_flags & FUSE_HANDLE_KILLPRIV_V2) &&
           ((set->valid & FATTR_KILL_SUIDGID) ||
            !(set->valid & ~(uint32_t)(FATTR_FH | FATTR_LOCKOWNER)));
}

void raw_request(struct kernel *k)
{
    struct fuse_in_header *in = k->buf.mem;
    if (k->buf.size < sizeof *in)
        return;
    k->kills_setid = kills_setid(k, in);
    if (in->opcode == FUSE_SETXATTR && k->init_done && (k->init_flags & FUSE_SETXATTR_EXT))
        shorten_setxattr(k, in);
    if (in->opcode == FUSE_TMPFILE)
        turn_tmpfile(k, in);
}
