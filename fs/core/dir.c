/* Names: make, unlink, rename, link (POSIX, and Linux where they differ in the errors). */
#include <errno.h>
#include <string.h>

#include "fs/core/internal.h"
#include "repl/base/mutant.h"

enum { NOREPLACE = 1, EXCHANGE = 2, DEPTH_MAX = 4096 };

/* A directory entry: what a name stands for. */
struct entry {
    uint64_t ino, cookie;
    uint32_t type; /* mode & S_IFMT */
};

static int check_name(ProtobufCBinaryData name)
{
    if (name.len == 0)
        return ENOENT;
    if (name.len > FS_NAME_MAX)
        return ENAMETOOLONG;
    if (memchr(name.data, '/', name.len) || memchr(name.data, 0, name.len))
        return EINVAL;
    if (name.data[0] == '.' && (name.len == 1 || (name.len == 2 && name.data[1] == '.')))
        return EINVAL;
    return 0;
}

/* A live directory. */
static int load_dir(struct apply *a, uint64_t ino, struct inode *ret)
{
    int r = inode_load(a, ino, ret);
    if (r < 0)
        return r == -ENOENT ? ENOENT : EIO;
    if (!inode_is_dir(ret))
        return ENOTDIR;
    if (!ret->nlink)
        return ENOENT;
    return ordered_may_change(a, ret) ? 0 : EIO;
}

static int decode_entry(const void *p, size_t size, struct entry *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, p, size);
    ret->ino = bytes_get_u64(&r);
    ret->cookie = bytes_get_u64(&r);
    ret->type = bytes_get_u32(&r);
    return bytes_reader_ended(&r) ? 0 : -EIO;
}

static int find_entry(struct apply *a, uint64_t dir, ProtobufCBinaryData name, struct entry *ret)
{
    struct key k = key_of_name(KEY_ENTRY, dir, name.data, name.len);
    int r = state_get(a, &k);
    return r < 0 ? r : decode_entry(a->value.data, a->value.size, ret);
}

static void put_entry(struct apply *a, uint64_t dir, ProtobufCBinaryData name,
                      const struct entry *e)
{
    struct bytes_writer w = {0};
    struct key k = key_of_name(KEY_ENTRY, dir, name.data, name.len);
    bytes_put_u64(&w, e->ino);
    bytes_put_u64(&w, e->cookie);
    bytes_put_u32(&w, e->type);
    state_put(a, &k, w.data, w.size);
    bytes_writer_done(&w);
}

static void add_name_at(struct apply *a, struct inode *dir, ProtobufCBinaryData name,
                        const struct inode *inode, uint64_t place)
{
    struct entry e = {inode->ino, place, inode->mode & S_IFMT};
    struct key cookie = key_of2(KEY_COOKIE, dir->ino, e.cookie);
    put_entry(a, dir->ino, name, &e);
    state_put_new(a, &cookie, name.data, name.len);
    dir->entries++;
    dir->nlink += inode_is_dir(inode);
    inode_touch(a, dir, true);
}

static void add_name(struct apply *a, struct inode *dir, ProtobufCBinaryData name,
                     const struct inode *inode)
{
    uint64_t next = MUTANT(cookie_reused) ? FS_COOKIE_FIRST + dir->entries : dir->next_cookie++;
    add_name_at(a, dir, name, inode, next);
}

static void remove_name(struct apply *a, struct inode *dir, ProtobufCBinaryData name,
                        const struct entry *e)
{
    struct key k = key_of_name(KEY_ENTRY, dir->ino, name.data, name.len);
    struct key cookie = key_of2(KEY_COOKIE, dir->ino, e->cookie);
    state_del(a, &k);
    state_del_known(a, &cookie, name.data, name.len);
    dir->entries--;
    dir->nlink -= S_ISDIR(e->type);
    inode_touch(a, dir, true);
}

/* ---- make ------------------------------------------------------------------------------------ */

static int answer_existing(struct apply *a, const Fs__Make *m, const struct entry *e)
{
    struct inode inode;
    if (m->exclusive || !S_ISREG(m->mode))
        return EEXIST;
    if (inode_load(a, e->ino, &inode) < 0)
        return EIO;
    a->reply->attr = attr_new(&inode);
    return 0;
}

static void inherit_group(const struct inode *parent, struct inode *inode)
{
    if (!(parent->mode & S_ISGID))
        return;
    inode->gid = parent->gid;
    if (inode_is_dir(inode))
        inode->mode |= S_ISGID;
}

static bool known_type(uint32_t mode)
{
    return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode) ||
           S_ISCHR(mode) || S_ISBLK(mode);
}

static void hold(struct apply *a, uint64_t ino, uint64_t session)
{
    struct fs_session s;
    struct key k = key_of2(KEY_HOLD, ino, session), of = key_of2(KEY_HOLD_OF, session, ino);
    if (session_load(a, session, &s) < 0)
        return; /* it has ended meanwhile, and its opens with it */
    state_put(a, &k, NULL, 0);
    state_put(a, &of, NULL, 0);
}

/* The new object, without a name yet. */
static int new_inode(struct apply *a, const Fs__Make *m, const struct inode *parent,
                     struct inode *ret)
{
    uint64_t ino = ordered_inode(a, m->ino);
    if (!ino)
        return EIO;
    a->s->totals.inodes++;
    *ret = (struct inode){.ino = ino,
                          .mode = m->mode,
                          .nlink = S_ISDIR(m->mode) ? 2 : !m->nameless,
                          .uid = m->uid,
                          .gid = m->gid,
                          .rdev = m->rdev,
                          .atime = a->time,
                          .mtime = a->time,
                          .ctime = a->time,
                          .btime = a->time,
                          .version = a->index,
                          .data_version = a->index,
                          .parent = m->nameless ? 0 : m->parent,
                          .next_cookie = FS_COOKIE_FIRST,
                          .nameless = m->nameless};
    inherit_group(parent, ret);
    int err = acl_of_new(a, parent, ret, m->umask);
    if (err)
        return err;
    if (S_ISLNK(m->mode)) {
        struct key k = key_of1(KEY_TARGET, ret->ino);
        state_put(a, &k, m->target.data, m->target.len);
        ret->size = m->target.len;
    }
    if (m->lease && (S_ISREG(m->mode) || S_ISDIR(m->mode)))
        lease_grant(a, ret);
    a->reply->created = true;
    return 0;
}

/* O_TMPFILE. It is its session's as an unlinked file is that is open there, and goes with it
 * (RULES L7). The directory says where, and changes nothing of itself. */
static int make_nameless(struct apply *a, const Fs__Make *m)
{
    struct inode parent, inode;
    int err = load_dir(a, m->parent, &parent);
    if (!err && (m->name.len || !S_ISREG(m->mode)))
        err = EINVAL;
    if (!err)
        err = new_inode(a, m, &parent, &inode);
    if (err)
        return err;
    hold(a, inode.ino, a->session);
    inode_store_new(a, &inode);
    a->reply->attr = attr_new(&inode);
    a->reply->orphan = inode.ino;
    return 0;
}

int apply_make(struct apply *a, const Fs__Make *m)
{
    struct inode parent, inode;
    struct entry e;
    if (m->nameless)
        return make_nameless(a, m);
    int err = check_name(m->name);
    if (!err)
        err = load_dir(a, m->parent, &parent);
    if (err)
        return err;
    if (!known_type(m->mode))
        return EINVAL;
    if (S_ISLNK(m->mode) && (m->target.len == 0 || m->target.len > FS_SYMLINK_MAX))
        return m->target.len ? ENAMETOOLONG : ENOENT;
    int r = find_entry(a, m->parent, m->name, &e);
    if (r != -ENOENT)
        return r < 0 ? EIO : answer_existing(a, m, &e);
    if (S_ISDIR(m->mode) && parent.nlink >= FS_NLINK_MAX)
        return EMLINK;
    err = new_inode(a, m, &parent, &inode);
    if (err)
        return err;
    add_name(a, &parent, m->name, &inode);
    inode_store(a, &parent);
    inode_store_new(a, &inode);
    a->reply->attr = attr_new(&inode);
    a->reply->parent = attr_new(&parent);
    return 0;
}

/* ---- losing a name --------------------------------------------------------------------------- */

/* `inode` lost a name. Without any name left it lives on while sessions have it open (RULES L7). */
static void lose_name(struct apply *a, struct inode *inode, const uint64_t *holders, size_t count)
{
    inode_touch(a, inode, false);
    if (inode_is_dir(inode)) {
        inode->nlink = 0;
        inode_free(a, inode);
        return;
    }
    inode->nlink--;
    if (inode->nlink) {
        inode_store(a, inode);
        return;
    }
    inode->parent = 0;
    bool held = false;
    for (size_t i = 0; i < count; i++) {
        struct key k = key_of2(KEY_HOLD, inode->ino, holders[i]);
        hold(a, inode->ino, holders[i]);
        held |= state_get(a, &k) == 0;
    }
    if (!held || MUTANT(open_file_freed)) {
        inode_free(a, inode);
        return;
    }
    inode_store(a, inode);
    a->reply->orphan = inode->ino;
}

int apply_unlink(struct apply *a, const Fs__Unlink *m)
{
    struct inode parent, inode;
    struct entry e;
    int err = check_name(m->name);
    if (!err)
        err = load_dir(a, m->parent, &parent);
    if (err)
        return err;
    int r = find_entry(a, m->parent, m->name, &e);
    if (r < 0)
        return r == -ENOENT ? ENOENT : EIO;
    if (inode_load(a, e.ino, &inode) < 0)
        return EIO;
    if (m->directory && !inode_is_dir(&inode))
        return ENOTDIR;
    if (!m->directory && inode_is_dir(&inode))
        return EISDIR;
    if (m->directory && inode.entries)
        return ENOTEMPTY;
    remove_name(a, &parent, m->name, &e);
    inode_store(a, &parent);
    lose_name(a, &inode, m->holders, m->n_holders);
    a->reply->attr = attr_new(&inode);
    a->reply->parent = attr_new(&parent);
    return 0;
}

int apply_link(struct apply *a, const Fs__Link *m)
{
    struct inode parent, inode;
    struct entry e;
    int err = check_name(m->name);
    if (!err)
        err = load_dir(a, m->parent, &parent);
    if (err)
        return err;
    if (inode_load(a, m->ino, &inode) < 0)
        return ESTALE;
    if (inode_is_dir(&inode))
        return EPERM;
    if (inode.nlink == 0 && !inode.nameless)
        return ENOENT;
    if (inode.nlink >= FS_NLINK_MAX)
        return EMLINK;
    int r = find_entry(a, m->parent, m->name, &e);
    if (r != -ENOENT)
        return r < 0 ? EIO : EEXIST;
    if (inode.nameless)
        holds_free(a, inode.ino);
    if (inode.nameless)
        inode.parent = m->parent;
    else if (inode.parent != m->parent)
        inode.parent = 0;
    inode.nameless = false;
    inode.nlink++;
    inode_touch(a, &inode, false);
    add_name(a, &parent, m->name, &inode);
    inode_store(a, &parent);
    inode_store(a, &inode);
    a->reply->attr = attr_new(&inode);
    a->reply->parent = attr_new(&parent);
    return 0;
}

/* ---- rename ---------------------------------------------------------------------------------- */

/* Everything a rename touches. The directories may be one and the same: then `to` is `from`. */
struct rename {
    const Fs__Rename *m;
    struct inode from, to_own, *to;
    struct entry source_entry, target_entry;
    struct inode source, target;
    bool has_target;
};

/* Is `dir` inside directory `ino`, or the same? */
static int is_inside(struct apply *a, uint64_t dir, uint64_t ino, bool *ret)
{
    struct inode at;
    for (int depth = 0; depth < DEPTH_MAX; depth++) {
        if (dir == ino) {
            *ret = true;
            return 0;
        }
        if (dir == FS_ROOT_INO) {
            *ret = false;
            return 0;
        }
        if (inode_load(a, dir, &at) < 0)
            return EIO;
        dir = at.parent;
    }
    return ELOOP;
}

static int load_rename(struct apply *a, struct rename *x)
{
    const Fs__Rename *m = x->m;
    int err = check_name(m->name);
    if (!err)
        err = check_name(m->newname);
    if (!err)
        err = load_dir(a, m->parent, &x->from);
    if (!err && m->newparent != m->parent)
        err = load_dir(a, m->newparent, &x->to_own);
    if (err)
        return err;
    x->to = m->newparent == m->parent ? &x->from : &x->to_own;
    int r = find_entry(a, m->parent, m->name, &x->source_entry);
    if (r < 0)
        return r == -ENOENT ? ENOENT : EIO;
    r = find_entry(a, m->newparent, m->newname, &x->target_entry);
    if (r < 0 && r != -ENOENT)
        return EIO;
    x->has_target = r == 0;
    if (inode_load(a, x->source_entry.ino, &x->source) < 0 ||
        (x->has_target && inode_load(a, x->target_entry.ino, &x->target) < 0))
        return EIO;
    return 0;
}

static int check_rename(struct apply *a, const struct rename *x)
{
    const Fs__Rename *m = x->m;
    bool inside = false;
    int err = 0;
    if (m->flags & ~(uint32_t)(NOREPLACE | EXCHANGE) || m->flags == (NOREPLACE | EXCHANGE))
        return EINVAL;
    if ((m->flags & NOREPLACE) && x->has_target)
        return EEXIST;
    if ((m->flags & EXCHANGE) && !x->has_target)
        return ENOENT;
    if (inode_is_dir(&x->source))
        err = is_inside(a, m->newparent, x->source.ino, &inside);
    if (!err && !inside && (m->flags & EXCHANGE) && inode_is_dir(&x->target))
        err = is_inside(a, m->parent, x->target.ino, &inside);
    if (err || inside)
        return err ? err : EINVAL;
    if (!x->has_target || (m->flags & EXCHANGE) || x->source.ino == x->target.ino)
        return 0;
    if (inode_is_dir(&x->target) && !inode_is_dir(&x->source))
        return EISDIR;
    if (!inode_is_dir(&x->target) && inode_is_dir(&x->source))
        return ENOTDIR;
    return x->target.entries ? ENOTEMPTY : 0;
}

/* A directory's ".." follows it, and so does what says where all names of a file are. */
static void move_parent(struct inode *moved, const struct inode *to)
{
    if (inode_is_dir(moved) || moved->nlink == 1)
        moved->parent = to->ino;
    else if (moved->parent != to->ino)
        moved->parent = 0;
}

static void exchange(struct apply *a, struct rename *x)
{
    struct entry s = x->source_entry, t = x->target_entry;
    x->from.nlink += (uint32_t)S_ISDIR(t.type) - (uint32_t)S_ISDIR(s.type);
    x->to->nlink += (uint32_t)S_ISDIR(s.type) - (uint32_t)S_ISDIR(t.type);
    uint64_t cookie =
        s.cookie; /* the cookie stays with the place: the name itself does not change */
    s.cookie = t.cookie;
    t.cookie = cookie;
    put_entry(a, x->from.ino, x->m->name, &t);
    put_entry(a, x->to->ino, x->m->newname, &s);
    inode_touch(a, &x->from, true);
    if (x->to != &x->from)
        inode_touch(a, x->to, true);
    move_parent(&x->source, x->to);
    move_parent(&x->target, &x->from);
    inode_touch(a, &x->target, false);
    inode_store(a, &x->target);
    a->reply->other = attr_new(&x->target);
}

static void replace(struct apply *a, struct rename *x)
{
    if (x->has_target)
        remove_name(a, x->to, x->m->newname, &x->target_entry);
    remove_name(a, &x->from, x->m->name, &x->source_entry);
    if (x->has_target) /* the name was there all the time: a listing shows it once */
        add_name_at(a, x->to, x->m->newname, &x->source, x->target_entry.cookie);
    else
        add_name(a, x->to, x->m->newname, &x->source);
    move_parent(&x->source, x->to);
    if (x->has_target) {
        lose_name(a, &x->target, x->m->holders, x->m->n_holders);
        a->reply->other = attr_new(&x->target);
    }
}

int apply_rename(struct apply *a, const Fs__Rename *m)
{
    struct rename x = {.m = m};
    int err = load_rename(a, &x);
    if (!err)
        err = check_rename(a, &x);
    if (err)
        return err;
    bool same =
        x.has_target && x.source.ino == x.target.ino; /* two names of one file: nothing to do */
    if (same) {
        a->reply->other = attr_new(&x.source); /* says so */
    } else {
        if (m->flags & EXCHANGE)
            exchange(a, &x);
        else
            replace(a, &x);
        inode_touch(a, &x.source, false);
        inode_store(a, &x.source);
        inode_store(a, &x.from);
        if (x.to != &x.from)
            inode_store(a, x.to);
    }
    a->reply->attr = attr_new(&x.source);
    a->reply->parent = attr_new(&x.from);
    a->reply->newparent = attr_new(x.to);
    return 0;
}

/* ---- reads ----------------------------------------------------------------------------------- */

static int read_entry(const struct fs_state *s, uint64_t dir, const void *name, size_t size,
                      struct entry *ret)
{
    struct bytes_writer v = {0};
    struct key k = key_of_name(KEY_ENTRY, dir, name, size);
    int r = kv_get(s->kv, s->table, k.data, k.size, &v);
    if (r == 0)
        r = decode_entry(v.data, v.size, ret);
    bytes_writer_done(&v);
    return r;
}

int fs_lookup(const struct fs_state *s, uint64_t parent, const void *name, size_t name_len,
              struct Fs__Attr *ret_attr)
{
    struct inode dir;
    struct entry e;
    int r = inode_read(s, parent, &dir);
    if (r < 0)
        return r;
    if (!inode_is_dir(&dir))
        return -ENOTDIR;
    if (name_len > FS_NAME_MAX)
        return -ENAMETOOLONG;
    r = read_entry(s, parent, name, name_len, &e);
    return r < 0 ? r : fs_get_attr(s, e.ino, ret_attr);
}

/* One entry for the caller of fs_readdir; false when the entry is damaged or the caller has enough.
 */
static bool give_entry(const struct fs_state *s, uint64_t dir, struct kv_iter *it, bool with_attr,
                       fs_entry_fn *each, void *ctx, int *ret_err)
{
    struct bytes key = kv_iter_key(it), name = kv_iter_value(it);
    struct entry e;
    Fs__Attr attr;
    Fs__Entry entry = FS__ENTRY__INIT;
    if (name.size > FS_NAME_MAX || read_entry(s, dir, name.data, name.size, &e) < 0 ||
        (with_attr && fs_get_attr(s, e.ino, &attr) < 0)) {
        *ret_err = -EIO;
        return false;
    }
    entry.name = (ProtobufCBinaryData){name.size, (uint8_t *)name.data};
    entry.ino = e.ino;
    entry.type = e.type;
    entry.cookie = be64_get(key.data + 9);
    entry.attr = with_attr ? &attr : NULL;
    return each(ctx, &entry);
}

int fs_readdir(const struct fs_state *s, uint64_t dir, uint64_t after, bool with_attr,
               fs_entry_fn *each, void *ctx)
{
    struct inode inode;
    int r = inode_read(s, dir, &inode);
    if (r < 0)
        return r;
    if (!inode_is_dir(&inode))
        return -ENOTDIR;
    if (after == UINT64_MAX)
        return 1;
    struct key prefix = key_of1(KEY_COOKIE, dir), from = key_of2(KEY_COOKIE, dir, after + 1);
    struct kv_iter *it = state_iter_from(s, &prefix, &from);
    bool more = true;
    for (r = 0; more && kv_iter_valid(it); kv_iter_next(it))
        more = give_entry(s, dir, it, with_attr, each, ctx, &r);
    kv_iter_free(it);
    return r < 0 ? r : more;
}

int fs_parent(const struct fs_state *s, uint64_t ino, uint64_t *ret_parent)
{
    struct inode inode;
    int r = inode_read(s, ino, &inode);
    if (r == 0 && !inode_is_dir(&inode))
        r = -ENOTDIR;
    if (r == 0)
        *ret_parent = inode.parent;
    return r;
}
