/* What a write, a truncate or a chown takes from a file: the powers that whoever runs it gets from
 * it. Set-id bits go unless the caller may keep them, the file capability always. */
#ifndef TALLY_FS_CORE_PRIVS_H
#define TALLY_FS_CORE_PRIVS_H

#include <stdint.h>
#include <sys/stat.h>

#define CAPABILITY_XATTR "security.capability"

/* The mode without its set-id bits. Setgid without execute for the group stays, once a sign of
 * mandatory locking; so do a directory's. */
static inline uint32_t privs_without_setid(uint32_t mode)
{
    if (S_ISDIR(mode))
        return mode;
    return mode & ~(uint32_t)(mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
}

#endif
