#include "fs/fuse/attr.h"

#include "fs/client/client.h"
#include "fs/fuse/request.h"

enum { NS_PER_S = 1000000000 };

int64_t attr_time_ns(struct timespec t)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)t.tv_sec, (int64_t)NS_PER_S, &ns) ||
        __builtin_add_overflow(ns, (int64_t)t.tv_nsec, &ns))
        return t.tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

/* Rounds down, so that the nanoseconds of times before 1970 are positive as well. */
struct timespec attr_timespec(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    if (t.tv_nsec < 0) {
        t.tv_nsec += NS_PER_S;
        t.tv_sec--;
    }
    return t;
}

void attr_to_stat(const struct Fs__Attr *attr, struct stat *ret)
{
    *ret = (struct stat){
        .st_ino = attr->ino,
        .st_mode = attr->mode,
        .st_nlink = attr->nlink,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_rdev = attr->rdev,
        .st_size = (off_t)attr->size,
        .st_blocks = (blkcnt_t)attr->pages * 8, /* of 512 bytes */
        .st_blksize = 4096,
        .st_atim = attr_timespec(attr->atime),
        .st_mtim = attr_timespec(attr->mtime),
        .st_ctim = attr_timespec(attr->ctime),
    };
}

uint32_t attr_set_mask(int to_set)
{
    /* Setattr.valid of fs.proto. */
    enum {
        SET_MODE = 1,
        SET_UID = 2,
        SET_GID = 4,
        SET_ATIME = 8,
        SET_MTIME = 16,
        SET_ATIME_NOW = 32,
        SET_MTIME_NOW = 64,
        SET_CTIME = 128
    };
    static const struct {
        int fuse;
        uint32_t set;
    } bits[] = {
        {FUSE_SET_ATTR_MODE, SET_MODE},   {FUSE_SET_ATTR_UID, SET_UID},
        {FUSE_SET_ATTR_GID, SET_GID},     {FUSE_SET_ATTR_SIZE, CLIENT_SET_SIZE},
        {FUSE_SET_ATTR_CTIME, SET_CTIME},
    };
    uint32_t set = 0;
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        if (to_set & bits[i].fuse)
            set |= bits[i].set;
    /* The kernel sets ATIME together with ATIME_NOW, and then its value counts for nothing. */
    if (to_set & FUSE_SET_ATTR_ATIME_NOW)
        set |= SET_ATIME_NOW;
    else if (to_set & FUSE_SET_ATTR_ATIME)
        set |= SET_ATIME;
    if (to_set & FUSE_SET_ATTR_MTIME_NOW)
        set |= SET_MTIME_NOW;
    else if (to_set & FUSE_SET_ATTR_MTIME)
        set |= SET_MTIME;
    return set;
}
