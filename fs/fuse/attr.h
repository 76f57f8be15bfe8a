/* Attributes of fs/core as stat(2) has them, and times. Pure. */
#ifndef TALLY_FS_FUSE_ATTR_H
#define TALLY_FS_FUSE_ATTR_H

#include <stdint.h>
#include <sys/stat.h>

#include "fs/core/fs.pb-c.h"

void attr_to_stat(const struct Fs__Attr *attr, struct stat *ret);

/* Nanoseconds since 1970, clipped to what 64 bits hold (years 1677 to 2262). */
int64_t attr_time_ns(struct timespec t);
struct timespec attr_timespec(int64_t ns);

/* libfuse's FUSE_SET_ATTR_* bits as `set` of CLIENT_SETATTR; bits nobody here knows are dropped. */
uint32_t attr_set_mask(int to_set);

#endif
