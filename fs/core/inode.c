#include "fs/core/inode.h"

#include <errno.h>

enum { INODE_VERSION = 3, MARK_NAMELESS = 1, MARK_CAPABILITY = 2 };

void inode_encode(const struct inode *i, struct bytes_writer *w)
{
    bytes_put_u8(w, INODE_VERSION);
    bytes_put_u32(w, i->mode);
    bytes_put_u32(w, i->nlink);
    bytes_put_u32(w, i->uid);
    bytes_put_u32(w, i->gid);
    bytes_put_u64(w, i->rdev);
    bytes_put_u64(w, i->size);
    bytes_put_u64(w, i->pages);
    bytes_put_u64(w, (uint64_t)i->atime);
    bytes_put_u64(w, (uint64_t)i->mtime);
    bytes_put_u64(w, (uint64_t)i->ctime);
    bytes_put_u64(w, (uint64_t)i->btime);
    bytes_put_u64(w, i->version);
    bytes_put_u64(w, i->data_version);
    bytes_put_u64(w, i->lease_session);
    bytes_put_u64(w, i->lease_epoch);
    bytes_put_u64(w, i->last_c);
    bytes_put_u64(w, i->parent);
    bytes_put_u64(w, i->entries);
    bytes_put_u64(w, i->next_cookie);
    bytes_put_u32(w, i->xattrs);
    bytes_put_u64(w, i->atime_set);
    bytes_put_u8(w, (uint8_t)((i->nameless ? MARK_NAMELESS : 0) |
                              (i->has_capability ? MARK_CAPABILITY : 0)));
}

int inode_decode(uint64_t ino, const void *p, size_t size, struct inode *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, p, size);
    uint8_t version = bytes_get_u8(&r);
    struct inode i = {.ino = ino};
    i.mode = bytes_get_u32(&r);
    i.nlink = bytes_get_u32(&r);
    i.uid = bytes_get_u32(&r);
    i.gid = bytes_get_u32(&r);
    i.rdev = bytes_get_u64(&r);
    i.size = bytes_get_u64(&r);
    i.pages = bytes_get_u64(&r);
    i.atime = (int64_t)bytes_get_u64(&r);
    i.mtime = (int64_t)bytes_get_u64(&r);
    i.ctime = (int64_t)bytes_get_u64(&r);
    i.btime = (int64_t)bytes_get_u64(&r);
    i.version = bytes_get_u64(&r);
    i.data_version = bytes_get_u64(&r);
    i.lease_session = bytes_get_u64(&r);
    i.lease_epoch = bytes_get_u64(&r);
    i.last_c = bytes_get_u64(&r);
    i.parent = bytes_get_u64(&r);
    i.entries = bytes_get_u64(&r);
    i.next_cookie = bytes_get_u64(&r);
    i.xattrs = bytes_get_u32(&r);
    i.atime_set = bytes_get_u64(&r);
    uint8_t marks = bytes_get_u8(&r);
    i.nameless = marks & MARK_NAMELESS;
    i.has_capability = marks & MARK_CAPABILITY;
    if (version != INODE_VERSION || !bytes_reader_ended(&r) ||
        marks > (MARK_NAMELESS | MARK_CAPABILITY))
        return -EIO;
    *ret = i;
    return 0;
}

void inode_attr(const struct inode *i, Fs__Attr *ret)
{
    fs__attr__init(ret);
    ret->ino = i->ino;
    ret->mode = i->mode;
    ret->nlink = i->nlink;
    ret->uid = i->uid;
    ret->gid = i->gid;
    ret->rdev = i->rdev;
    ret->size = i->size;
    ret->pages = i->pages;
    ret->atime = i->atime;
    ret->mtime = i->mtime;
    ret->ctime = i->ctime;
    ret->btime = i->btime;
    ret->version = i->version;
    ret->data_version = i->data_version;
    ret->lease_session = i->lease_session;
    ret->lease_epoch = i->lease_epoch;
    ret->has_xattrs = i->xattrs != 0;
    ret->has_capability = i->has_capability;
    ret->home = inode_is_dir(i) ? 0 : i->parent;
}
