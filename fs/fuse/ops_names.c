/* Names: look up, make, remove, rename, link. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/fuse/request.h"
#include "repl/base/mem.h"

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (request_refuse_name(req, name))
        return;
    struct client_op op = {.kind = CLIENT_LOOKUP, .parent = parent, .name = name};
    request_submit(req, &op, REPLY_ENTRY, 0);
}

static void forget(struct kernel *k, fuse_ino_t ino, uint64_t nlookup)
{
    struct client_op op = {
        .kind = CLIENT_FORGET, .ino = places_ino(&k->places, ino), .nlookup = nlookup};
    places_forget(&k->places, ino, nlookup);
    request_submit_silent(k, &op);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    forget(fuse_req_userdata(req), ino, nlookup);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget(fuse_req_userdata(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* A MAKE in the caller's name. Whether its umask counts the directory's default ACL decides. */
static struct client_op make_op(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    const struct fuse_ctx *caller = fuse_req_ctx(req);
    return (struct client_op){.kind = CLIENT_MAKE,
                              .parent = parent,
                              .name = name,
                              .mode = mode,
                              .umask = caller->umask,
                              .uid = caller->uid,
                              .gid = caller->gid};
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    if (request_refuse_name(req, name))
        return;
    struct client_op op = make_op(req, parent, name, mode & S_IFMT ? mode : mode | S_IFREG);
    op.rdev = rdev;
    request_submit(req, &op, REPLY_ENTRY, 0);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    if (request_refuse_name(req, name))
        return;
    struct client_op op = make_op(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR);
    request_submit(req, &op, REPLY_ENTRY, 0);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    if (request_refuse_name(req, name))
        return;
    struct client_op op = make_op(req, parent, name, S_IFLNK | 0777);
    op.data = blob_copy(target, strlen(target));
    struct blob *data = op.data;
    request_submit(req, &op, REPLY_ENTRY, 0);
    blob_unref(data);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    if (request_refuse_name(req, name))
        return;
    struct client_op op = make_op(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFREG);
    op.open = true;
    op.flags = (uint32_t)fi->flags;
    op.nameless = strcmp(name, RAW_NAMELESS) == 0;
    if (op.nameless)
        op.name = "";
    request_submit(req, &op, REPLY_CREATE, 0);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (request_refuse_name(req, name))
        return;
    struct client_op op = {.kind = CLIENT_UNLINK, .parent = parent, .name = name};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (request_refuse_name(req, name))
        return;
    struct client_op op = {.kind = CLIENT_RMDIR, .parent = parent, .name = name};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

/* RENAME_WHITEOUT is for overlays' upper layers, which this is not: FUSE.md §8. */
static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                      const char *newname, unsigned flags)
{
    if (request_refuse_name(req, name) || request_refuse_name(req, newname))
        return;
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    struct client_op op = {.kind = CLIENT_RENAME,
                           .parent = parent,
                           .name = name,
                           .newparent = newparent,
                           .newname = newname,
                           .flags = flags};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
    if (request_refuse_name(req, newname))
        return;
    struct client_op op = {
        .kind = CLIENT_LINK, .ino = ino, .newparent = newparent, .newname = newname};
    request_submit(req, &op, REPLY_ENTRY, 0);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct client_op op = {.kind = CLIENT_READLINK, .ino = ino};
    request_submit(req, &op, REPLY_DATA, 0);
}

void ops_fill_names(struct fuse_lowlevel_ops *ops)
{
    ops->lookup = op_lookup;
    ops->forget = op_forget;
    ops->forget_multi = op_forget_multi;
    ops->mknod = op_mknod;
    ops->mkdir = op_mkdir;
    ops->symlink = op_symlink;
    ops->create = op_create;
    ops->unlink = op_unlink;
    ops->rmdir = op_rmdir;
    ops->rename = op_rename;
    ops->link = op_link;
    ops->readlink = op_readlink;
}
