#include "fs/core/state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/core/internal.h"
#include "fs/core/known.h"
#include "repl/base/hash.h"
#include "repl/base/mutant.h"

enum { SUMMARY_SIZE = 6 * 8 };

/* ---- the sum over all pairs ------------------------------------------------------------------ */

static void add_pair(struct fs_hash *h, const void *key, size_t key_size, const void *value,
                     size_t value_size, bool remove)
{
    uint64_t k = hash64(key, key_size);
    uint64_t lo = hash64_seed(value, value_size, k);
    uint64_t hi = hash64_seed(value, value_size, ~k * 0x9e3779b97f4a7c15u);
    h->lo += remove ? -lo : lo;
    h->hi += remove ? -hi : hi;
}

struct fs_hash fs_state_hash(const struct fs_state *s)
{
    return s->hash;
}

struct fs_hash fs_state_rehash(const struct fs_state *s)
{
    struct fs_hash h = {0, 0};
    struct bytes all = {NULL, 0};
    struct kv_iter *it = kv_iter(s->kv, s->table, all, all);
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes key = kv_iter_key(it), value = kv_iter_value(it);
        if (key.size != 1 || key.data[0] != KEY_SUMMARY)
            add_pair(&h, key.data, key.size, value.data, value.size, false);
    }
    kv_iter_free(it);
    return h;
}

struct fs_totals fs_state_totals(const struct fs_state *s)
{
    return s->totals;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

int state_get(struct apply *a, const struct key *k)
{
    return kv_txn_get(a->txn, a->s->table, k->data, k->size, &a->value);
}

static void forget_old(struct apply *a, const struct key *k)
{
    if (state_get(a, k) == 0)
        add_pair(&a->s->hash, k->data, k->size, a->value.data, a->value.size, true);
}

void state_put(struct apply *a, const struct key *k, const void *value, size_t size)
{
    forget_old(a, k);
    state_put_new(a, k, value, size);
}

void state_put_new(struct apply *a, const struct key *k, const void *value, size_t size)
{
    add_pair(&a->s->hash, k->data, k->size, value, size, false);
    kv_txn_put(a->txn, a->s->table, k->data, k->size, value, size);
}

void state_del(struct apply *a, const struct key *k)
{
    forget_old(a, k);
    kv_txn_del(a->txn, a->s->table, k->data, k->size);
}

void state_del_known(struct apply *a, const struct key *k, const void *value, size_t size)
{
    add_pair(&a->s->hash, k->data, k->size, value, size, true);
    kv_txn_del(a->txn, a->s->table, k->data, k->size);
}

struct kv_iter *state_iter_from(const struct fs_state *s, const struct key *prefix,
                                const struct key *from)
{
    struct bytes_writer end = {0};
    struct bytes to = kv_prefix_end(&end, prefix->data, prefix->size);
    struct kv_iter *it = kv_iter(s->kv, s->table, (struct bytes){from->data, from->size}, to);
    bytes_writer_done(&end);
    return it;
}

struct kv_iter *state_iter(const struct fs_state *s, const struct key *prefix)
{
    return state_iter_from(s, prefix, prefix);
}

/* ---- inodes ---------------------------------------------------------------------------------- */

int inode_load(struct apply *a, uint64_t ino, struct inode *ret)
{
    struct key k = key_of1(KEY_INODE, ino);
    int r = state_get(a, &k);
    return r < 0 ? r : inode_decode(ino, a->value.data, a->value.size, ret);
}

int inode_read(const struct fs_state *s, uint64_t ino, struct inode *ret)
{
    struct bytes_writer value = {0};
    struct key k = key_of1(KEY_INODE, ino);
    int r = kv_get(s->kv, s->table, k.data, k.size, &value);
    if (r == 0)
        r = inode_decode(ino, value.data, value.size, ret);
    bytes_writer_done(&value);
    return r;
}

static void store(struct apply *a, const struct inode *inode, bool is_new)
{
    struct bytes_writer w = {0};
    struct key k = key_of1(KEY_INODE, inode->ino);
    inode_encode(inode, &w);
    (is_new ? state_put_new : state_put)(a, &k, w.data, w.size);
    bytes_writer_done(&w);
}

void inode_store(struct apply *a, const struct inode *inode)
{
    store(a, inode, false);
}

void inode_store_new(struct apply *a, const struct inode *inode)
{
    store(a, inode, true);
}

static int64_t later(int64_t old, int64_t now)
{
    return now > old || MUTANT(mtime_goes_back) ? now : old + 1;
}

void inode_touch(struct apply *a, struct inode *inode, bool mtime)
{
    inode->ctime = later(inode->ctime, a->time);
    if (mtime)
        inode->mtime = later(inode->mtime, a->time);
    inode->version = a->index;
}

Fs__Attr *attr_new(const struct inode *inode)
{
    Fs__Attr *attr = xmalloc(sizeof *attr);
    inode_attr(inode, attr);
    return attr;
}

uint64_t inode_numbers(struct apply *a, uint64_t count)
{
    struct key k = key_of(KEY_GLOBAL);
    uint64_t last = FS_ROOT_INO;
    uint8_t value[8];
    if (state_get(a, &k) == 0 && a->value.size == sizeof value)
        last = le64_get(a->value.data);
    le64_put(value, last + count);
    state_put(a, &k, value, sizeof value);
    return last + 1;
}

uint64_t inode_next_number(struct apply *a)
{
    return inode_numbers(a, 1);
}

void holds_free(struct apply *a, uint64_t ino)
{
    struct key prefix = key_of1(KEY_HOLD, ino);
    struct kv_iter *it = state_iter(a->s, &prefix);
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        uint64_t session = be64_get(kv_iter_key(it).data + 9);
        struct key hold = key_of2(KEY_HOLD, ino, session);
        struct key of = key_of2(KEY_HOLD_OF, session, ino);
        state_del(a, &hold);
        state_del(a, &of);
    }
    kv_iter_free(it);
}

void inode_free(struct apply *a, struct inode *inode)
{
    struct key k = key_of1(KEY_INODE, inode->ino);
    lease_end(a, inode);
    if (inode->pages)
        map_free(a, inode);
    if (inode->xattrs)
        xattr_free_all(a, inode);
    if (S_ISLNK(inode->mode)) {
        struct key target = key_of1(KEY_TARGET, inode->ino);
        state_del(a, &target);
    }
    locks_free_all(a, inode->ino);
    state_del(a, &k);
    a->s->totals.inodes--;
}

void inode_free_if_unused(struct apply *a, struct inode *inode, uint64_t except)
{
    if (inode->nlink)
        return;
    struct key prefix = key_of1(KEY_HOLD, inode->ino);
    bool held = false;
    struct kv_iter *it = state_iter(a->s, &prefix);
    for (; kv_iter_valid(it) && !held; kv_iter_next(it)) {
        struct bytes k = kv_iter_key(it);
        struct key hold = key_of2(KEY_HOLD, inode->ino, be64_get(k.data + 9));
        held = be64_get(k.data + 9) != except && state_get(a, &hold) == 0;
    }
    kv_iter_free(it);
    if (!held)
        inode_free(a, inode);
}

/* ---- life cycle ------------------------------------------------------------------------------ */

static void put_summary(struct fs_state *s, struct kv_txn *txn)
{
    struct key k = key_of(KEY_SUMMARY);
    uint8_t v[SUMMARY_SIZE];
    le64_put(v, s->hash.lo);
    le64_put(v + 8, s->hash.hi);
    le64_put(v + 16, s->totals.inodes);
    le64_put(v + 24, s->totals.bytes);
    le64_put(v + 32, s->totals.reserved);
    le64_put(v + 40, s->totals.blocks);
    kv_txn_put(txn, s->table, k.data, k.size, v, sizeof v);
}

static bool read_summary(struct fs_state *s)
{
    struct key k = key_of(KEY_SUMMARY);
    struct bytes_writer v = {0};
    bool found = kv_get(s->kv, s->table, k.data, k.size, &v) == 0 && v.size == SUMMARY_SIZE;
    if (found) {
        s->hash = (struct fs_hash){le64_get(v.data), le64_get(v.data + 8)};
        s->totals = (struct fs_totals){.inodes = le64_get(v.data + 16),
                                       .bytes = le64_get(v.data + 24),
                                       .reserved = le64_get(v.data + 32),
                                       .blocks = le64_get(v.data + 40)};
    }
    bytes_writer_done(&v);
    return found;
}

struct fs_state *fs_state_new(struct kv *kv, int table)
{
    struct fs_state *s = xcalloc(1, sizeof *s);
    s->kv = kv;
    s->table = table;
    s->known = known_new();
    (void)read_summary(s);
    return s;
}

void fs_state_free(struct fs_state *s)
{
    known_free(s->known);
    free(s);
}

bool fs_state_empty(const struct fs_state *s)
{
    struct inode root;
    return inode_read(s, FS_ROOT_INO, &root) == -ENOENT;
}

void fs_state_format(struct fs_state *s, struct kv_txn *txn)
{
    struct apply a = {.s = s, .txn = txn};
    struct inode root = {.ino = FS_ROOT_INO,
                         .mode = S_IFDIR | 0755,
                         .nlink = 2,
                         .parent = FS_ROOT_INO,
                         .next_cookie = FS_COOKIE_FIRST};
    inode_store(&a, &root);
    s->totals.inodes = 1;
    put_summary(s, txn);
    bytes_writer_done(&a.value);
}

void fs_result_init(struct fs_result *r)
{
    memset(r, 0, sizeof *r);
}

void fs_result_done(struct fs_result *r)
{
    if (r->reply)
        fs__op_reply__free_unpacked(r->reply, NULL);
    free(r->died);
    free(r->named);
    memset(r, 0, sizeof *r);
}

/* ---- apply ----------------------------------------------------------------------------------- */

static Fs__OpReply *new_reply(void)
{
    Fs__OpReply *reply = xmalloc(sizeof *reply);
    fs__op_reply__init(reply);
    return reply;
}

/* Takes back all that the operation did so far. */
static void undo(struct apply *a, const struct fs_hash *hash, const struct fs_totals *totals,
                 int err)
{
    kv_txn_abort(a->txn);
    a->s->hash = *hash;
    a->s->totals = *totals;
    a->result->died_count = a->result->named_count = 0;
    a->result->ended_session = 0;
    fs__op_reply__free_unpacked(a->reply, NULL);
    a->reply = a->result->reply = new_reply();
    a->reply->err = err;
}

void fs_apply(struct fs_state *s, struct kv_txn *txn, uint64_t index, const struct Fs__Op *op,
              struct fs_result *result)
{
    struct apply a = {.s = s,
                      .txn = txn,
                      .index = index,
                      .time = op->time,
                      .session = op->session,
                      .q = op->q,
                      .result = result};
    const struct fs_hash hash = s->hash;
    const struct fs_totals totals = s->totals;
    bool seen = false;
    a.reply = result->reply = new_reply();
    int err = op->q     ? ordered_check(&a, op->q, &seen)
              : op->seq ? session_seen(&a, op->seq, &seen)
                        : 0;
    const bool refused_before = err;
    if (!err && !seen)
        err = apply_body(&a, op);
    if (err)
        undo(&a, &hash, &totals, err);
    if (op->q) {
        if (!seen && !refused_before)
            ordered_note(&a, err);
    } else if (op->seq && !seen && err != ESTALE && !MUTANT(replies_not_kept))
        session_keep_reply(&a, op->seq, op->ack_below);
    put_summary(s, txn);
    bytes_writer_done(&a.value);
}
