/* Directory offsets as the kernel sees them. "." and ".." are made here and take 1 and 2; the rest
 * are the directory's own cookies, shifted (RULES L10: numbers given in apply, never reused). An
 * offset names the place *behind* its entry. Pure. */
#ifndef TALLY_FS_FUSE_DIR_OFFSET_H
#define TALLY_FS_FUSE_DIR_OFFSET_H

#include <assert.h>
#include <stdint.h>
#include <sys/types.h>

enum { DIR_OFFSET_START = 0, DIR_OFFSET_DOT = 1, DIR_OFFSET_DOTDOT = 2 };

static inline off_t dir_offset_of_cookie(uint64_t cookie)
{
    assert(cookie > 0 && cookie <= (uint64_t)INT64_MAX - DIR_OFFSET_DOTDOT);
    return (off_t)cookie + DIR_OFFSET_DOTDOT;
}

/* The cookie after which a listing goes on at `offset`; 0: at the first name. The offset comes from
 * a program's seekdir(), so it may be anything. */
static inline uint64_t dir_offset_to_cookie(off_t offset)
{
    return offset <= DIR_OFFSET_DOTDOT ? 0 : (uint64_t)(offset - DIR_OFFSET_DOTDOT);
}

#endif
