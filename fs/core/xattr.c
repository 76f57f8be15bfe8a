/* Extended attributes, among them ACLs, and plain attributes. */
#include <errno.h>
#include <string.h>

#include "fs/core/acl.h"
#include "fs/core/internal.h"
#include "fs/core/privs.h"

enum { XATTR_CREATE_FLAG = 1, XATTR_REPLACE_FLAG = 2, XATTR_NAME_MAX_BYTES = 255 };

static int check_name(const char *name)
{
    size_t size = strlen(name);
    return size == 0 || size > XATTR_NAME_MAX_BYTES ? ERANGE : 0;
}

/* ---- one attribute of a loaded inode; the caller stores the inode ---------------------------- */

static bool is_set(struct apply *a, const struct inode *i, const char *name)
{
    struct key k = key_of_name(KEY_XATTR, i->ino, name, strlen(name));
    return state_get(a, &k) == 0;
}

static void put(struct apply *a, struct inode *i, const char *name, const void *value, size_t size)
{
    struct key k = key_of_name(KEY_XATTR, i->ino, name, strlen(name));
    i->xattrs += !is_set(a, i, name);
    i->has_capability |= strcmp(name, CAPABILITY_XATTR) == 0;
    state_put(a, &k, value, size);
}

static void drop(struct apply *a, struct inode *i, const char *name)
{
    struct key k = key_of_name(KEY_XATTR, i->ino, name, strlen(name));
    if (!is_set(a, i, name))
        return;
    state_del(a, &k);
    i->xattrs--;
    i->has_capability &= strcmp(name, CAPABILITY_XATTR) != 0;
}

/* ---- ACLs ------------------------------------------------------------------------------------ */

static bool is_acl(const char *name)
{
    return strcmp(name, ACL_XATTR_ACCESS) == 0 || strcmp(name, ACL_XATTR_DEFAULT) == 0;
}

/* 0, -ENOENT, -EIO. */
static int acl_load(struct apply *a, const struct inode *i, const char *name, struct acl *ret)
{
    if (!i->xattrs || !is_set(a, i, name))
        return -ENOENT;
    return acl_decode(a->value.data, a->value.size, ret) ? -EIO : 0;
}

static void acl_store(struct apply *a, struct inode *i, const char *name, const struct acl *acl)
{
    struct bytes_writer w = {0};
    acl_encode(acl, &w);
    put(a, i, name, w.data, w.size);
    bytes_writer_done(&w);
}

static void set_permissions(struct inode *i, uint32_t mode)
{
    i->mode = (i->mode & ~(uint32_t)0777) | (mode & 0777);
}

/* One that a mode can say is not kept, as elsewhere on Linux. */
static void set_access(struct apply *a, struct inode *i, const struct acl *acl)
{
    set_permissions(i, acl_mode(acl));
    if (acl_is_minimal(acl))
        drop(a, i, ACL_XATTR_ACCESS);
    else
        acl_store(a, i, ACL_XATTR_ACCESS, acl);
}

static int set_acl(struct apply *a, struct inode *i, const Fs__Setxattr *m)
{
    struct acl acl;
    if (S_ISLNK(i->mode))
        return EOPNOTSUPP;
    if (acl_decode(m->value.data, m->value.len, &acl))
        return EINVAL;
    if (strcmp(m->name, ACL_XATTR_DEFAULT) == 0) {
        if (!inode_is_dir(i))
            return EACCES;
        acl_store(a, i, ACL_XATTR_DEFAULT, &acl);
        return 0;
    }
    set_access(a, i, &acl);
    if (m->kill_sgid)
        i->mode &= ~(uint32_t)S_ISGID;
    return 0;
}

int acl_of_new(struct apply *a, const struct inode *parent, struct inode *i, uint32_t umask)
{
    struct acl acl;
    if (S_ISLNK(i->mode))
        return 0;
    int r = acl_load(a, parent, ACL_XATTR_DEFAULT, &acl);
    if (r == -ENOENT) {
        i->mode &= ~(umask & 0777);
        return 0;
    }
    if (r < 0)
        return EIO;
    if (inode_is_dir(i))
        acl_store(a, i, ACL_XATTR_DEFAULT, &acl);
    (void)acl_inherit(&acl, i->mode);
    set_access(a, i, &acl);
    return 0;
}

/* chmod(2) of an object with an access ACL. */
static int chmod_acl(struct apply *a, struct inode *i)
{
    struct acl acl;
    int r = acl_load(a, i, ACL_XATTR_ACCESS, &acl);
    if (r < 0)
        return r == -ENOENT ? 0 : EIO;
    acl_chmod(&acl, i->mode);
    acl_store(a, i, ACL_XATTR_ACCESS, &acl);
    return 0;
}

/* ---- what can be listed ---------------------------------------------------------------------- */

/* Both ACLs fit in beside all others: whether they are kept is decided with the mode. */
enum {
    NAME_BYTES_MAX = XATTR_NAME_MAX_BYTES + 1,
    NAMES_BYTES_MAX = FS_XATTR_NAMES_MAX - sizeof ACL_XATTR_ACCESS - sizeof ACL_XATTR_DEFAULT,
};

/* One more, as listxattr(2) has to return them all at once. Few are looked at by their number. */
static bool can_be_listed(const struct apply *a, const struct inode *i, const char *name)
{
    if (i->xattrs < NAMES_BYTES_MAX / NAME_BYTES_MAX)
        return true;
    size_t bytes = strlen(name) + 1;
    struct key prefix = key_of1(KEY_XATTR, i->ino);
    struct kv_iter *it = state_iter(a->s, &prefix);
    for (; kv_iter_valid(it); kv_iter_next(it))
        bytes += kv_iter_key(it).size - prefix.size + 1;
    kv_iter_free(it);
    return bytes <= NAMES_BYTES_MAX;
}

/* ---- operations ------------------------------------------------------------------------------ */

int apply_setattr(struct apply *a, const Fs__Setattr *m)
{
    struct inode i;
    if (inode_load(a, m->ino, &i) < 0)
        return ESTALE;
    if (m->valid & FS_SETATTR_MODE) {
        i.mode = (i.mode & S_IFMT) | (m->mode & 07777);
        int err = chmod_acl(a, &i);
        if (err)
            return err;
    }
    if (m->valid & FS_SETATTR_SETID)
        i.mode = privs_without_setid(i.mode);
    if (m->valid & FS_SETATTR_CAPS)
        drop(a, &i, CAPABILITY_XATTR);
    if (m->valid & FS_SETATTR_UID)
        i.uid = m->uid;
    if (m->valid & FS_SETATTR_GID)
        i.gid = m->gid;
    inode_touch(a, &i, false);
    if (m->valid & (FS_SETATTR_ATIME | FS_SETATTR_ATIME_NOW)) {
        i.atime = m->valid & FS_SETATTR_ATIME_NOW ? a->time : m->atime;
        i.atime_set = a->index;
    }
    if (m->valid & (FS_SETATTR_MTIME | FS_SETATTR_MTIME_NOW))
        i.mtime = m->valid & FS_SETATTR_MTIME_NOW ? a->time : m->mtime;
    inode_store(a, &i);
    a->reply->attr = attr_new(&i);
    return 0;
}

/* Of reads. What is gone meanwhile is passed over. */
int apply_atimes(struct apply *a, const Fs__Atimes *m)
{
    if (m->n_atimes > FS_ATIMES_MAX)
        return EINVAL;
    for (size_t k = 0; k < m->n_atimes; k++) {
        const Fs__Atime *read = m->atimes[k];
        struct inode i;
        if (inode_load(a, read->ino, &i) < 0 || i.atime_set > read->version ||
            i.atime >= read->atime)
            continue;
        i.atime = read->atime;
        inode_store(a, &i);
    }
    return 0;
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
    bool there = is_set(a, &i, m->name);
    if (there && (m->flags & XATTR_CREATE_FLAG))
        return EEXIST;
    if (!there && (m->flags & XATTR_REPLACE_FLAG))
        return ENODATA;
    if (!there && !is_acl(m->name) && !can_be_listed(a, &i, m->name))
        return ENOSPC;
    if (is_acl(m->name))
        err = set_acl(a, &i, m);
    else
        put(a, &i, m->name, m->value.data, m->value.len);
    if (err)
        return err;
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
    if (!is_set(a, &i, m->name) && !is_acl(m->name)) /* no ACL is as good as none more */
        return ENODATA;
    drop(a, &i, m->name);
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
    bool fits = names.size <= FS_XATTR_NAMES_MAX;
    if (fits)
        *ret_names = blob_copy(names.data, names.size);
    bytes_writer_done(&names);
    return fits ? 0 : -E2BIG;
}
