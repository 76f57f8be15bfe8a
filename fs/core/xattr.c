/* Extended attributes and plain attributes. */
#include <errno.h>
#include <string.h>

#include "fs/core/internal.h"

enum { XATTR_CREATE_FLAG = 1, XATTR_REPLACE_FLAG = 2, XATTR_NAME_MAX_BYTES = 255 };

int apply_setattr(struct apply *a, const Fs__Setattr *m)
{
    struct inode i;
    if (inode_load(a, m->ino, &i) < 0)
        return ESTALE;
    if (m->valid & FS_SETATTR_MODE)
        i.mode = (i.mode & S_IFMT) | (m->mode & 07777);
    if (m->valid & FS_SETATTR_UID)
        i.uid = m->uid;
    if (m->valid & FS_SETATTR_GID)
        i.gid = m->gid;
    inode_touch(a, &i, false);
    if (m->valid & (FS_SETATTR_ATIME | FS_SETATTR_ATIME_NOW))
        i.atime = m->valid & FS_SETATTR_ATIME_NOW ? a->time : m->atime;
    if (m->valid & (FS_SETATTR_MTIME | FS_SETATTR_MTIME_NOW))
        i.mtime = m->valid & FS_SETATTR_MTIME_NOW ? a->time : m->mtime;
    inode_store(a, &i);
    a->reply->attr = attr_new(&i);
    return 0;
}

static int check_name(const char *name)
{
    size_t size = strlen(name);
    return size == 0 ? ERANGE : size > XATTR_NAME_MAX_BYTES ? ERANGE : 0;
}

int apply_setxattr(struct apply *a, const Fs__Setxattr *m)
{
    struct inode i;
    int err = check_name(m->name);
    if (err)
        return err;
    if (m->value.len > FS_XATTR_MAX)
        return E2BIG;
    if (inode_load(a, m->ino, &i) < 0)
        return ESTALE;
    struct key k = key_of_name(KEY_XATTR, m->ino, m->name, strlen(m->name));
    bool there = state_get(a, &k) == 0;
    if (there && (m->flags & XATTR_CREATE_FLAG))
        return EEXIST;
    if (!there && (m->flags & XATTR_REPLACE_FLAG))
        return ENODATA;
    state_put(a, &k, m->value.data, m->value.len);
    i.xattrs += !there;
    inode_touch(a, &i, false);
    inode_store(a, &i);
    a->reply->attr = attr_new(&i);
    return 0;
}

int apply_removexattr(struct apply *a, const Fs__Removexattr *m)
{
    struct inode i;
    int err = check_name(m->name);
    if (err)
        return err;
    if (inode_load(a, m->ino, &i) < 0)
        return ESTALE;
    struct key k = key_of_name(KEY_XATTR, m->ino, m->name, strlen(m->name));
    if (state_get(a, &k) < 0)
        return ENODATA;
    state_del(a, &k);
    i.xattrs--;
    inode_touch(a, &i, false);
    inode_store(a, &i);
    a->reply->attr = attr_new(&i);
    return 0;
}

void xattr_free_all(struct apply *a, const struct inode *inode)
{
    struct key prefix = key_of1(KEY_XATTR, inode->ino);
    struct kv_iter *it = state_iter(a->s, &prefix);
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes b = kv_iter_key(it);
        struct key k = key_of_name(KEY_XATTR, inode->ino, b.data + 9, b.size - 9);
        state_del(a, &k);
    }
    kv_iter_free(it);
}

int fs_getxattr(const struct fs_state *s, uint64_t ino, const char *name, struct blob **ret_value)
{
    struct bytes_writer v = {0};
    if (check_name(name))
        return -ENODATA;
    struct key k = key_of_name(KEY_XATTR, ino, name, strlen(name));
    int r = kv_get(s->kv, s->table, k.data, k.size, &v);
    if (r == 0)
        *ret_value = blob_copy(v.data, v.size);
    bytes_writer_done(&v);
    return r == -ENOENT ? -ENODATA : r;
}

int fs_listxattr(const struct fs_state *s, uint64_t ino, struct blob **ret_names)
{
    struct bytes_writer names = {0};
    struct key prefix = key_of1(KEY_XATTR, ino);
    struct kv_iter *it = state_iter(s, &prefix);
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes b = kv_iter_key(it);
        bytes_put(&names, b.data + 9, b.size - 9);
        bytes_put_u8(&names, 0);
    }
    kv_iter_free(it);
    *ret_names = blob_copy(names.data, names.size);
    bytes_writer_done(&names);
    return 0;
}
