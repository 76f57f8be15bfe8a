/* Reads of one inode. */
#include <errno.h>

#include "fs/core/internal.h"

int fs_get_attr(const struct fs_state *s, uint64_t ino, struct Fs__Attr *ret_attr)
{
    struct inode inode;
    int r = inode_read(s, ino, &inode);
    if (r == 0)
        inode_attr(&inode, ret_attr);
    return r;
}

int fs_readlink(const struct fs_state *s, uint64_t ino, struct blob **ret_target)
{
    struct bytes_writer v = {0};
    struct key k = key_of1(KEY_TARGET, ino);
    int r = kv_get(s->kv, s->table, k.data, k.size, &v);
    if (r == 0)
        *ret_target = blob_copy(v.data, v.size);
    bytes_writer_done(&v);
    return r == -ENOENT ? -EINVAL : r;
}
