/* Byte-range locks as state: POSIX and OFD ranges, flock (PROTOCOL 4.5; fcntl(2), flock(2)).
 *
 * They are in the log, so they outlive a leader and need no grace period after an election. Who has
 * to wait for one waits at the leader (fs/app), not here: an entry grants or refuses. */
#include <errno.h>

#include "fs/core/internal.h"
#include "fs/core/lock_list.h"

enum { LOCK_FLOCK = 1, LOCK_WRITE = 2 };

/* ---- the stored list ------------------------------------------------------------------------- */

static int decode(const void *p, size_t size, fs_lock_list *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, p, size);
    while (bytes_left(&r)) {
        struct fs_lock l = {.session = bytes_get_u64(&r), .owner = bytes_get_u64(&r)};
        l.first = bytes_get_u64(&r);
        l.last = bytes_get_u64(&r);
        l.pid = bytes_get_u32(&r);
        uint8_t bits = bytes_get_u8(&r);
        l.flock = bits & LOCK_FLOCK;
        l.write = bits & LOCK_WRITE;
        vec_push(ret, l);
        if (l.first > l.last || l.last > FS_LOCK_END || bits > (LOCK_FLOCK | LOCK_WRITE))
            return -EIO;
    }
    return bytes_reader_ended(&r) ? 0 : -EIO;
}

static int load(struct apply *a, uint64_t ino, fs_lock_list *ret)
{
    struct key k = key_of1(KEY_LOCK, ino);
    int r = state_get(a, &k);
    return r < 0 ? (r == -ENOENT ? 0 : r) : decode(a->value.data, a->value.size, ret);
}

static void store(struct apply *a, uint64_t ino, const fs_lock_list *locks)
{
    struct key k = key_of1(KEY_LOCK, ino);
    struct bytes_writer w = {0};
    for (size_t i = 0; i < locks->count; i++) {
        const struct fs_lock *l = &locks->items[i];
        bytes_put_u64(&w, l->session);
        bytes_put_u64(&w, l->owner);
        bytes_put_u64(&w, l->first);
        bytes_put_u64(&w, l->last);
        bytes_put_u32(&w, l->pid);
        bytes_put_u8(&w, (uint8_t)((l->flock ? LOCK_FLOCK : 0) | (l->write ? LOCK_WRITE : 0)));
    }
    if (locks->count)
        state_put(a, &k, w.data, w.size);
    else
        state_del(a, &k);
    bytes_writer_done(&w);
}

/* ---- changing it ----------------------------------------------------------------------------- */

static bool has_some(const fs_lock_list *locks, uint64_t session)
{
    for (size_t i = 0; i < locks->count; i++)
        if (locks->items[i].session == session)
            return true;
    return false;
}

static void note_session(struct apply *a, uint64_t ino, uint64_t session, const fs_lock_list *locks)
{
    struct key of = key_of2(KEY_LOCK_OF, session, ino);
    if (has_some(locks, session))
        state_put(a, &of, "", 0);
    else
        state_del(a, &of);
}

static int change(struct apply *a, uint64_t ino, const struct fs_lock *want, bool unlock)
{
    fs_lock_list locks = {0};
    int err = load(a, ino, &locks) < 0 ? EIO : fs_locks_change(&locks, want, unlock);
    if (!err) {
        store(a, ino, &locks);
        note_session(a, ino, want->session, &locks);
    }
    vec_done(&locks);
    return err;
}

int apply_set_lock(struct apply *a, const Fs__SetLock *m)
{
    struct inode inode;
    const Fs__Lock *l = m->lock;
    if (!l || l->first > l->last || l->last > FS_LOCK_END || (unsigned)l->type > 2 ||
        (unsigned)l->kind > 1)
        return EINVAL;
    if (inode_load(a, m->ino, &inode) < 0)
        return ESTALE;
    struct fs_lock want = {.session = a->session,
                           .owner = l->owner,
                           .first = l->first,
                           .last = l->last,
                           .flock = l->kind == FS__LOCK__KIND__FLOCK,
                           .write = l->type == FS__LOCK__TYPE__WRITE,
                           .pid = l->pid};
    return change(a, m->ino, &want, l->type == FS__LOCK__TYPE__UNLOCK);
}

void locks_free_all(struct apply *a, uint64_t ino)
{
    struct key k = key_of1(KEY_LOCK, ino);
    fs_lock_list locks = {0}, none = {0};
    if (load(a, ino, &locks) == 0 && locks.count)
        state_del(a, &k);
    for (size_t i = 0; i < locks.count; i++)
        note_session(a, ino, locks.items[i].session, &none);
    vec_done(&locks);
}

static void end_locks_of(struct apply *a, uint64_t session, uint64_t ino)
{
    fs_lock_list old = {0}, new = {0};
    if (load(a, ino, &old) == 0) {
        for (size_t i = 0; i < old.count; i++)
            if (old.items[i].session != session)
                vec_push(&new, old.items[i]);
        store(a, ino, &new);
    }
    note_session(a, ino, session, &new);
    vec_done(&old);
    vec_done(&new);
}

void locks_end_session(struct apply *a, uint64_t session)
{
    struct key prefix = key_of1(KEY_LOCK_OF, session);
    struct kv_iter *it = state_iter(a->s, &prefix);
    for (; kv_iter_valid(it); kv_iter_next(it))
        end_locks_of(a, session, be64_get(kv_iter_key(it).data + 9));
    kv_iter_free(it);
}

/* ---- reads ----------------------------------------------------------------------------------- */

void fs_each_lock(const struct fs_state *s, uint64_t ino, fs_lock_fn *each, void *ctx)
{
    struct bytes_writer v = {0};
    struct key k = key_of1(KEY_LOCK, ino);
    fs_lock_list locks = {0};
    if (kv_get(s->kv, s->table, k.data, k.size, &v) == 0 && decode(v.data, v.size, &locks) == 0)
        for (size_t i = 0; i < locks.count && each(ctx, &locks.items[i]); i++)
            ;
    vec_done(&locks);
    bytes_writer_done(&v);
}
