#include "fs/core/acl.h"

#include <errno.h>

enum { XATTR_VERSION = 2, HEADER_SIZE = 4, ENTRY_SIZE = 8, ALL = 7 };

/* ---- bytes ----------------------------------------------------------------------------------- */

/* What may come next, as bits of enum acl_tag. USER_OBJ, any USERs, GROUP_OBJ, any GROUPs, a MASK
 * (which named ones need), OTHER. */
static uint32_t after(uint16_t tag)
{
    switch ((enum acl_tag)tag) {
    case ACL_TAG_USER_OBJ:
    case ACL_TAG_USER:
        return ACL_TAG_USER | ACL_TAG_GROUP_OBJ;
    case ACL_TAG_GROUP_OBJ:
    case ACL_TAG_GROUP:
        return ACL_TAG_GROUP | ACL_TAG_MASK | ACL_TAG_OTHER;
    case ACL_TAG_MASK:
        return ACL_TAG_OTHER;
    case ACL_TAG_OTHER:
        break;
    }
    return 0;
}

static bool is_valid(const struct acl *acl)
{
    uint32_t allowed = ACL_TAG_USER_OBJ, seen = 0;
    for (size_t i = 0; i < acl->count; i++) {
        const struct acl_entry *e = &acl->entries[i];
        bool one_bit = e->tag && !(e->tag & (e->tag - 1));
        if (!one_bit || !(e->tag & allowed) || e->perm > ALL)
            return false;
        seen |= e->tag;
        allowed = after(e->tag);
    }
    bool named = seen & (ACL_TAG_USER | ACL_TAG_GROUP);
    return (seen & ACL_TAG_OTHER) && (!named || (seen & ACL_TAG_MASK));
}

int acl_decode(const void *p, size_t size, struct acl *ret)
{
    struct bytes_reader r;
    if (size < HEADER_SIZE || (size - HEADER_SIZE) % ENTRY_SIZE ||
        (size - HEADER_SIZE) / ENTRY_SIZE > ACL_ENTRIES_MAX)
        return EINVAL;
    bytes_reader_init(&r, p, size);
    if (bytes_get_u32(&r) != XATTR_VERSION)
        return EINVAL;
    ret->count = (size - HEADER_SIZE) / ENTRY_SIZE;
    for (size_t i = 0; i < ret->count; i++) {
        ret->entries[i].tag = bytes_get_u16(&r);
        ret->entries[i].perm = bytes_get_u16(&r);
        ret->entries[i].id = bytes_get_u32(&r);
    }
    return is_valid(ret) ? 0 : EINVAL;
}

void acl_encode(const struct acl *acl, struct bytes_writer *w)
{
    bytes_put_u32(w, XATTR_VERSION);
    for (size_t i = 0; i < acl->count; i++) {
        bytes_put_u16(w, acl->entries[i].tag);
        bytes_put_u16(w, acl->entries[i].perm);
        bytes_put_u32(w, acl->entries[i].id);
    }
}

/* ---- modes ----------------------------------------------------------------------------------- */

/* The entry that a class of the mode stands for: the owner's, the group's (the mask's when there is
 * one), the others'. A valid ACL has all three. */
static size_t entry_of_class(const struct acl *acl, enum acl_tag class)
{
    size_t found = 0;
    for (size_t i = 0; i < acl->count; i++)
        if (acl->entries[i].tag == class ||
            (class == ACL_TAG_GROUP_OBJ && acl->entries[i].tag == ACL_TAG_MASK))
            found = i;
    return found;
}

static const struct {
    enum acl_tag class;
    unsigned shift;
} classes[] = {{ACL_TAG_USER_OBJ, 6}, {ACL_TAG_GROUP_OBJ, 3}, {ACL_TAG_OTHER, 0}};

enum { CLASSES = sizeof classes / sizeof *classes };

uint32_t acl_mode(const struct acl *acl)
{
    uint32_t mode = 0;
    for (size_t c = 0; c < CLASSES; c++)
        mode |= (uint32_t)acl->entries[entry_of_class(acl, classes[c].class)].perm
                << classes[c].shift;
    return mode;
}

bool acl_is_minimal(const struct acl *acl)
{
    return acl->count == CLASSES;
}

void acl_chmod(struct acl *acl, uint32_t mode)
{
    for (size_t c = 0; c < CLASSES; c++)
        acl->entries[entry_of_class(acl, classes[c].class)].perm =
            (uint16_t)(mode >> classes[c].shift & ALL);
}

uint32_t acl_inherit(struct acl *acl, uint32_t mode)
{
    acl_chmod(acl, acl_mode(acl) & mode);
    return (mode & ~(uint32_t)0777) | acl_mode(acl);
}
