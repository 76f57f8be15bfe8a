/* Sessions: exactly-once replies, reservations, and their end (PROTOCOL 4.3, RULES L2, B12, B13).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/core/internal.h"
#include "repl/base/mutant.h"

enum { SESSION_VERSION = 2, REPLIES_PRUNED_MAX = 4096 };

static int decode(uint64_t id, const void *p, size_t size, struct fs_session *ret)
{
    struct bytes_reader r;
    struct fs_session s = {.id = id};
    bytes_reader_init(&r, p, size);
    uint8_t version = bytes_get_u8(&r);
    const uint8_t *uuid = bytes_get(&r, sizeof s.uuid);
    s.seq_max = bytes_get_u64(&r);
    s.ack_below = bytes_get_u64(&r);
    s.lowest_wanted = bytes_get_u64(&r);
    s.reserved = bytes_get_u64(&r);
    s.q_next = bytes_get_u64(&r);
    s.q_error = bytes_get_u32(&r);
    for (int i = 0; i < 2; i++) {
        s.inodes[i].first = bytes_get_u64(&r);
        s.inodes[i].end = bytes_get_u64(&r);
    }
    struct bytes name = bytes_get_sized(&r, sizeof s.name - 1);
    if (version != SESSION_VERSION || !bytes_reader_ended(&r))
        return -EIO;
    memcpy(s.uuid, uuid, sizeof s.uuid);
    if (name.size)
        memcpy(s.name, name.data, name.size);
    *ret = s;
    return 0;
}

int session_load(struct apply *a, uint64_t id, struct fs_session *ret)
{
    struct key k = key_of1(KEY_SESSION, id);
    int r = state_get(a, &k);
    return r < 0 ? r : decode(id, a->value.data, a->value.size, ret);
}

void session_store(struct apply *a, const struct fs_session *s)
{
    struct bytes_writer w = {0};
    struct key k = key_of1(KEY_SESSION, s->id);
    bytes_put_u8(&w, SESSION_VERSION);
    bytes_put(&w, s->uuid, sizeof s->uuid);
    bytes_put_u64(&w, s->seq_max);
    bytes_put_u64(&w, s->ack_below);
    bytes_put_u64(&w, s->lowest_wanted);
    bytes_put_u64(&w, s->reserved);
    bytes_put_u64(&w, s->q_next);
    bytes_put_u32(&w, s->q_error);
    for (int i = 0; i < 2; i++) {
        bytes_put_u64(&w, s->inodes[i].first);
        bytes_put_u64(&w, s->inodes[i].end);
    }
    bytes_put_sized(&w, s->name, strnlen(s->name, sizeof s->name - 1));
    state_put(a, &k, w.data, w.size);
    bytes_writer_done(&w);
}

/* ---- exactly once ---------------------------------------------------------------------------- */

int session_seen(struct apply *a, uint64_t seq, bool *ret_seen)
{
    struct fs_session s;
    if (session_load(a, a->session, &s) < 0)
        return ESTALE;
    if (seq < s.ack_below)
        return EINVAL; /* the mount said that it has this answer */
    struct key k = key_of2(KEY_REPLY, a->session, seq);
    if (state_get(a, &k) < 0)
        return 0;
    Fs__OpReply *stored = fs__op_reply__unpack(NULL, a->value.size, a->value.data);
    if (!stored)
        return EIO;
    fs__op_reply__free_unpacked(a->reply, NULL);
    a->reply = a->result->reply = stored;
    a->result->duplicate = true;
    *ret_seen = true;
    return 0;
}

void session_keep_reply(struct apply *a, uint64_t seq, uint64_t ack_below)
{
    struct fs_session s;
    if (session_load(a, a->session, &s) < 0)
        return; /* the operation ended its own session */
    if (seq < s.ack_below)
        return; /* a late repetition: nobody wants an answer, and nobody would forget it */
    size_t size = fs__op_reply__get_packed_size(a->reply);
    uint8_t *packed = xmalloc(size);
    struct key k = key_of2(KEY_REPLY, a->session, seq);
    state_put(a, &k, packed, fs__op_reply__pack(a->reply, packed));
    free(packed);
    /* forget what the mount has; bounded, so that a nonsensical number costs no more than a loop */
    for (int i = 0; i < REPLIES_PRUNED_MAX && s.ack_below < ack_below && s.ack_below <= seq; i++) {
        struct key old = key_of2(KEY_REPLY, a->session, s.ack_below++);
        if (state_get(a, &old) == 0)
            state_del(a, &old);
    }
    if (seq > s.seq_max)
        s.seq_max = seq;
    session_store(a, &s);
}

/* ---- opening and ending ---------------------------------------------------------------------- */

static bool session_of_uuid(struct apply *a, const uint8_t *uuid, uint64_t *ret)
{
    struct key k = key_of_uuid(uuid);
    if (state_get(a, &k) < 0 || a->value.size != 8)
        return false;
    *ret = le64_get(a->value.data);
    return true;
}

static void end_replaced(struct apply *a, const Fs__OpenSession *m)
{
    struct fs_session old;
    if (m->replaces && m->replaces_uuid.len == 16 && session_load(a, m->replaces, &old) == 0 &&
        memcmp(old.uuid, m->replaces_uuid.data, 16) == 0)
        (void)apply_end_session(a, m->replaces);
}

int apply_open_session(struct apply *a, const Fs__OpenSession *m)
{
    uint64_t id;
    uint8_t value[8];
    if (m->uuid.len != 16)
        return EINVAL;
    if (session_of_uuid(a, m->uuid.data, &id)) { /* asked again: the first answer was lost */
        a->result->duplicate = true;
        a->reply->value = id;
        return 0;
    }
    end_replaced(a, m);
    struct fs_session s = {.id = a->index, .ack_below = 1, .lowest_wanted = 1, .q_next = 1};
    memcpy(s.uuid, m->uuid.data, 16);
    size_t name_size = strnlen(m->name, sizeof s.name - 1);
    memcpy(s.name, m->name, name_size);
    session_store(a, &s);
    struct key k = key_of_uuid(m->uuid.data);
    le64_put(value, a->index);
    state_put(a, &k, value, sizeof value);
    a->reply->value = a->index;
    return 0;
}

static void end_leases(struct apply *a, uint64_t id)
{
    struct key prefix = key_of1(KEY_LEASE, id);
    struct kv_iter *it = state_iter(a->s, &prefix);
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct inode inode;
        if (inode_load(a, be64_get(kv_iter_key(it).data + 9), &inode) < 0)
            continue;
        lease_end(a, &inode);
        inode.version = a->index;
        inode_store(a, &inode);
    }
    kv_iter_free(it);
}

static void end_hold(struct apply *a, uint64_t id, uint64_t ino)
{
    struct key hold = key_of2(KEY_HOLD, ino, id), of = key_of2(KEY_HOLD_OF, id, ino);
    struct inode inode;
    state_del(a, &hold);
    state_del(a, &of);
    if (inode_load(a, ino, &inode) == 0)
        inode_free_if_unused(a, &inode, id);
}

static void end_holds(struct apply *a, uint64_t id)
{
    struct key prefix = key_of1(KEY_HOLD_OF, id);
    struct kv_iter *it = state_iter(a->s, &prefix);
    for (; kv_iter_valid(it); kv_iter_next(it))
        end_hold(a, id, be64_get(kv_iter_key(it).data + 9));
    kv_iter_free(it);
}

static void end_replies(struct apply *a, uint64_t id)
{
    struct key prefix = key_of1(KEY_REPLY, id);
    struct kv_iter *it = state_iter(a->s, &prefix);
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct key k = key_of2(KEY_REPLY, id, be64_get(kv_iter_key(it).data + 9));
        state_del(a, &k);
    }
    kv_iter_free(it);
}

/* Everything of the session ends at one point of the log (RULES L2). Ending it twice is fine. */
int apply_end_session(struct apply *a, uint64_t id)
{
    struct fs_session s;
    if (session_load(a, id, &s) < 0)
        return 0;
    if (!MUTANT(leases_kept_after_end))
        end_leases(a, id);
    if (!MUTANT(holds_kept_after_end))
        end_holds(a, id);
    if (!MUTANT(locks_kept_after_end))
        locks_end_session(a, id);
    end_replies(a, id);
    struct key k = key_of1(KEY_SESSION, id), uuid = key_of_uuid(s.uuid);
    state_del(a, &k);
    state_del(a, &uuid);
    a->s->totals.reserved -= s.reserved;
    a->result->ended_session = id;
    return 0;
}

int apply_reserve(struct apply *a, const Fs__Reserve *m)
{
    struct fs_session s;
    if (session_load(a, a->session, &s) < 0)
        return ESTALE;
    if (m->bytes > (uint64_t)1 << 50)
        return EINVAL;
    s.reserved += m->bytes;
    a->s->totals.reserved += m->bytes;
    session_store(a, &s);
    a->reply->value = s.reserved;
    return 0;
}

int apply_drop_holds(struct apply *a, const Fs__DropHolds *m)
{
    for (size_t i = 0; i < m->n_inos; i++) {
        struct key hold = key_of2(KEY_HOLD, m->inos[i], a->session);
        if (state_get(a, &hold) == 0)
            end_hold(a, a->session, m->inos[i]);
    }
    return 0;
}

/* ---- reads ----------------------------------------------------------------------------------- */

bool fs_session_get(const struct fs_state *s, uint64_t id, struct fs_session *ret)
{
    struct bytes_writer v = {0};
    struct key k = key_of1(KEY_SESSION, id);
    bool found =
        kv_get(s->kv, s->table, k.data, k.size, &v) == 0 && decode(id, v.data, v.size, ret) == 0;
    bytes_writer_done(&v);
    return found;
}

size_t fs_session_holds(const struct fs_state *s, uint64_t id, uint64_t after, uint64_t *ret_inos,
                        size_t max)
{
    struct key prefix = key_of1(KEY_HOLD_OF, id), from = key_of2(KEY_HOLD_OF, id, after + 1);
    struct kv_iter *it = state_iter_from(s, &prefix, &from);
    size_t count = 0;
    for (; count < max && kv_iter_valid(it); kv_iter_next(it))
        ret_inos[count++] = be64_get(kv_iter_key(it).data + 9);
    kv_iter_free(it);
    return count;
}

bool fs_holds(const struct fs_state *s, uint64_t ino, uint64_t id)
{
    struct bytes_writer v = {0};
    struct key k = key_of2(KEY_HOLD, ino, id);
    bool holds = kv_get(s->kv, s->table, k.data, k.size, &v) == 0;
    bytes_writer_done(&v);
    return holds;
}

void fs_each_session(const struct fs_state *s, fs_session_fn *each, void *ctx)
{
    struct key prefix = key_of(KEY_SESSION);
    struct kv_iter *it = state_iter(s, &prefix);
    for (bool more = true; more && kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes v = kv_iter_value(it);
        struct fs_session session;
        if (decode(be64_get(kv_iter_key(it).data + 1), v.data, v.size, &session) == 0)
            more = each(ctx, &session);
    }
    kv_iter_free(it);
}

struct Fs__OpReply *fs_session_reply(const struct fs_state *s, uint64_t id, uint64_t seq)
{
    struct bytes_writer v = {0};
    struct key k = key_of2(KEY_REPLY, id, seq);
    Fs__OpReply *reply = NULL;
    if (kv_get(s->kv, s->table, k.data, k.size, &v) == 0)
        reply = fs__op_reply__unpack(NULL, v.size, v.data);
    bytes_writer_done(&v);
    return reply;
}
