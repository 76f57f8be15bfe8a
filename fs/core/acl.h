/* POSIX access control lists (acl(5), POSIX.1e draft 17): the arithmetic of entries, modes and
 * inheritance. Pure; where they are kept is xattr.c's. */
#ifndef TALLY_FS_CORE_ACL_H
#define TALLY_FS_CORE_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repl/base/bytes.h"

#define ACL_XATTR_ACCESS  "system.posix_acl_access"
#define ACL_XATTR_DEFAULT "system.posix_acl_default"

/* The kernel reads one page of it. */
enum { ACL_ENTRIES_MAX = (4096 - 4) / 8 };

enum acl_tag {
    ACL_TAG_USER_OBJ = 0x01,
    ACL_TAG_USER = 0x02,
    ACL_TAG_GROUP_OBJ = 0x04,
    ACL_TAG_GROUP = 0x08,
    ACL_TAG_MASK = 0x10,
    ACL_TAG_OTHER = 0x20,
};

struct acl {
    size_t count;
    struct acl_entry {
        uint16_t tag, perm;
        uint32_t id; /* of USER and GROUP; else as it came */
    } entries[ACL_ENTRIES_MAX];
};

/* The value of the extended attribute, as Linux has it (version 2, little endian). 0 or EINVAL:
 * version, order, permissions, or a missing mask. */
int acl_decode(const void *p, size_t size, struct acl *ret);
void acl_encode(const struct acl *acl, struct bytes_writer *w);

/* The permission bits that say the same to who does not know of ACLs: the group's are the mask's.
 */
uint32_t acl_mode(const struct acl *acl);
/* It says no more than a mode does. */
bool acl_is_minimal(const struct acl *acl);
/* chmod(2): the permission bits of `mode` go to the owner, the mask (without one: the group) and
 * the others. */
void acl_chmod(struct acl *acl, uint32_t mode);
/* A new object's access ACL: `acl` is its directory's default one, from which it takes away what
 * its maker did not ask for. Returns the mode; other bits than permissions pass. */
uint32_t acl_inherit(struct acl *acl, uint32_t mode);

#endif
