/* The inode record, in memory and as bytes. */
#ifndef TALLY_FS_CORE_INODE_H
#define TALLY_FS_CORE_INODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/core/fs.pb-c.h"
#include "repl/base/bytes.h"

struct inode {
    uint64_t ino;
    uint32_t mode, nlink, uid, gid;
    uint64_t rdev;
    uint64_t size;  /* bytes; directories: 0 */
    uint64_t pages; /* that extents cover */
    int64_t atime, mtime, ctime, btime;
    uint64_t version, data_version; /* log indexes */
    uint64_t lease_session, lease_epoch, last_c;
    uint64_t parent;      /* directories: who holds it; root: itself. Else Attr.home */
    uint64_t entries;     /* directories: names in it */
    uint64_t next_cookie; /* directories: never used again (RULES L10) */
    uint32_t xattrs;      /* how many */
    uint64_t atime_set;   /* log index at which atime was last set by hand */
    bool nameless;        /* made without a name: the first link may still come */
    bool has_capability;  /* one of the xattrs is CAPABILITY_XATTR */
};

void inode_encode(const struct inode *inode, struct bytes_writer *w);
/* 0 or -EIO. */
int inode_decode(uint64_t ino, const void *p, size_t size, struct inode *ret);
void inode_attr(const struct inode *inode, Fs__Attr *ret);

static inline bool inode_is_dir(const struct inode *inode)
{
    return S_ISDIR(inode->mode);
}

#endif
