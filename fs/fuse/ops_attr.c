/* Attributes, extended attributes, space. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs/fuse/attr.h"
#include "fs/fuse/request.h"
#include "repl/base/mem.h"

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct client_op op = {.kind = CLIENT_GETATTR, .ino = ino, .fh = fi ? fi->fh : 0};
    request_submit(req, &op, REPLY_ATTR, 0);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
    const struct kernel *k = fuse_req_userdata(req);
    struct client_op op = {.kind = CLIENT_SETATTR,
                           .ino = ino,
                           .kill_setid = k->kills_setid,
                           .set = attr_set_mask(to_set),
                           .fh = fi ? fi->fh : 0,
                           .mode = attr->st_mode,
                           .uid = attr->st_uid,
                           .gid = attr->st_gid,
                           .size = (uint64_t)attr->st_size,
                           .atime = attr_time_ns(attr->st_atim),
                           .mtime = attr_time_ns(attr->st_mtim),
                           .ctime = attr_time_ns(attr->st_ctim)};
    if (op.set == 0 && !op.kill_setid) /* only bits that ask for nothing here: answer what is */
        op.kind = CLIENT_GETATTR;
    request_submit(req, &op, REPLY_ATTR, 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct client_op op = {.kind = CLIENT_STATFS, .ino = ino};
    request_submit(req, &op, REPLY_STATFS, 0);
}

/* ---- extended attributes --------------------------------------------------------------------- */

static bool has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* What follows the namespace; NULL: none that is kept here. Of system.* these are the ACLs; its
 * other names belong to filesystems that define them. */
static const char *in_namespace(const char *name)
{
    static const char *const prefixes[] = {"user.", "trusted.", "security.", "system.posix_acl_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (has_prefix(name, prefixes[i]))
            return name + strlen(prefixes[i]);
    return NULL;
}

/* True after having answered what no file here can have. */
static bool refuse_xattr(fuse_req_t req, const char *name)
{
    const char *rest = in_namespace(name);
    int err = strlen(name) > XATTR_NAME_MAX ? ERANGE : !rest ? EOPNOTSUPP : !*rest ? EINVAL : 0;
    if (err)
        fuse_reply_err(req, err);
    return err != 0;
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    const struct kernel *k = fuse_req_userdata(req);
    if (refuse_xattr(req, name))
        return;
    struct blob *data = blob_copy(value, size);
    struct client_op op = {.kind = CLIENT_SETXATTR,
                           .ino = ino,
                           .name = name,
                           .data = data,
                           .size = size,
                           .flags = (uint32_t)flags,
                           .kill_sgid = k->acl_kills_sgid};
    request_submit(req, &op, REPLY_NOTHING, 0);
    blob_unref(data);
}

/* The kernel asks for security.capability before a write(2), once per attributes that it was given:
 * fs/client answers from the inode's has_xattrs bit whenever it may (FUSE.md §2). */
static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    if (refuse_xattr(req, name))
        return;
    struct client_op op = {.kind = CLIENT_GETXATTR, .ino = ino, .name = name};
    request_submit(req, &op, REPLY_XATTR, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct client_op op = {.kind = CLIENT_LISTXATTR, .ino = ino};
    request_submit(req, &op, REPLY_XATTR_NAMES, size);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    if (refuse_xattr(req, name))
        return;
    struct client_op op = {.kind = CLIENT_REMOVEXATTR, .ino = ino, .name = name};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

void ops_fill_attr(struct fuse_lowlevel_ops *ops)
{
    ops->getattr = op_getattr;
    ops->setattr = op_setattr;
    ops->statfs = op_statfs;
    ops->setxattr = op_setxattr;
    ops->getxattr = op_getxattr;
    ops->listxattr = op_listxattr;
    ops->removexattr = op_removexattr;
}
