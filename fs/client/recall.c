/* What the leader asks back: promises at once, write leases when everything is committed, also the
 * locks that were taken under them. */
#include "fs/client/recall.h"

#include <stdlib.h>

#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/listing.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/read.h"
#include "fs/client/rpc.h"
#include "repl/base/mutant.h"

#define LEASE_HOLD_READ (1 * TIME_S) /* ... while the first write reads the rest of its page */
#define RELEASED_MAX    65536u       /* remembered ends of leases */

static uint64_t key_of(Fs__Object__Kind kind, uint64_t ino)
{
    return (uint64_t)kind << 60 | (ino & ((UINT64_C(1) << 60) - 1));
}

/* ---- RULES L5: what was asked back ----------------------------------------------------------- */

/* An answer under way may grant what is asked back now: it must not count. A lease that this leader
 * ends then is gone under the next one too, which may be the same node: that is remembered over an
 * election, what is known of numbers is not. */
static void remember(struct client *c, Fs__Object__Kind kind, uint64_t ino, uint64_t n)
{
    uint64_t key = key_of(kind, ino);
    struct recalled *e = map_get(&c->recalled_by_key, key);
    if (e == NULL) {
        e = xcalloc(1, sizeof(*e));
        e->key = key;
        list_init(&e->link);
        (void)map_put(&c->recalled_by_key, key, e);
    }
    e->n = n;
    e->barrier = c->next_id;
    list_remove(&e->link);
    list_push_back(&c->recalled, &e->link);
}

uint64_t recall_last(const struct client *c, Fs__Object__Kind kind, uint64_t ino)
{
    const struct recalled *e = map_get(&c->recalled_by_key, key_of(kind, ino));
    return e != NULL ? e->n : 0;
}

bool recall_voids_lease(const struct client *c, uint64_t ino, uint64_t id)
{
    const struct recalled *e = map_get(&c->recalled_by_key, key_of(FS__OBJECT__KIND__LEASE, ino));
    return e != NULL && id < e->barrier;
}

static void recalled_free(struct client *c, struct recalled *e)
{
    list_remove(&e->link);
    (void)map_del(&c->recalled_by_key, e->key);
    free(e);
}

void recall_expire(struct client *c)
{
    uint64_t oldest = rpc_oldest_id(c);
    while (!list_empty(&c->recalled)) {
        struct recalled *e = list_first(&c->recalled, struct recalled, link);
        if (e->barrier > oldest) {
            return;
        }
        recalled_free(c, e);
    }
}

/* ---- answering ------------------------------------------------------------------------------- */

static struct Fs__LeaseEnd **copy_ends(const struct Fs__LeaseEnd *ends, size_t count)
{
    struct Fs__LeaseEnd **copies = xcalloc(count, sizeof(*copies));
    for (size_t i = 0; i < count; i++) {
        copies[i] = xmemdup(&ends[i], sizeof(ends[i]));
    }
    return copies;
}

static void post(struct client *c, uint32_t to, uint64_t n, const struct Fs__LeaseEnd *ends,
                 size_t ends_count, const uint64_t *inos, size_t inos_count)
{
    struct Fs__RecallAck *ack = xmalloc(sizeof(*ack));
    fs__recall_ack__init(ack);
    ack->n = n;
    if (ends_count != 0) {
        ack->leases = copy_ends(ends, ends_count);
        ack->n_leases = ends_count;
    }
    if (inos_count != 0) {
        ack->open_inos = xmemdup(inos, inos_count * sizeof(*inos));
        ack->n_open_inos = inos_count;
    }
    struct Fs__Request *req = xmalloc(sizeof(*req));
    fs__request__init(req);
    req->body_case = FS__REQUEST__BODY_RECALL_ACK;
    req->recall_ack = ack;
    rpc_post(c, to, req); /* lost with the link; then the leader asks again */
}

void recall_post_ends(struct client *c, const struct Fs__LeaseEnd *ends, size_t count)
{
    post(c, c->leader, 0, ends, count, NULL, 0);
}

static void recall_drop(struct recall *k)
{
    list_remove(&k->link);
    vec_done(&k->ends);
    vec_done(&k->open_inos);
    vec_done(&k->objects);
    free(k);
}

static void one_done(struct client *c, struct recall *k)
{
    if (--k->waiting != 0) {
        return;
    }
    post(c, k->from, k->n, k->ends.items, k->ends.count, k->open_inos.items, k->open_inos.count);
    recall_drop(k);
}

void recall_done(struct client *c, struct recall *k, const struct Fs__LeaseEnd *end)
{
    if (end != NULL) {
        vec_push(&k->ends, *end);
    }
    one_done(c, k);
}

/* ---- leases ---------------------------------------------------------------------------------- */

void recall_note_end(struct client *c, const struct Fs__LeaseEnd *end)
{
    struct lease_end *e = map_get(&c->released, end->ino);
    if (e == NULL) {
        e = xcalloc(1, sizeof(*e));
        e->ino = end->ino;
        list_init(&e->link);
        (void)map_put(&c->released, end->ino, e);
    }
    e->epoch = end->epoch;
    e->last_c = end->last_c;
    list_remove(&e->link);
    list_push_back(&c->released_order, &e->link);
    if (c->released.count > RELEASED_MAX) { /* so long ago that it has been applied */
        struct lease_end *old = list_first(&c->released_order, struct lease_end, link);
        list_remove(&old->link);
        (void)map_del(&c->released, old->ino);
        free(old);
    }
}

bool recall_release_again(struct client *c, uint64_t ino, uint64_t epoch)
{
    struct lease_end *e = map_get(&c->released, ino);
    if (e == NULL) {
        return false;
    }
    if (e->epoch == epoch) {
        struct Fs__LeaseEnd end = FS__LEASE_END__INIT;
        end.ino = ino;
        end.epoch = e->epoch;
        end.last_c = e->last_c;
        recall_post_ends(c, &end, 1);
        return true;
    }
    list_remove(&e->link);
    (void)map_del(&c->released, ino);
    free(e);
    return false;
}

void recall_let_go(struct client *c, struct file *f, struct Fs__LeaseEnd *ret_end)
{
    fs__lease_end__init(ret_end);
    ret_end->ino = f->inode->ino;
    ret_end->epoch = f->epoch;
    ret_end->last_c = f->next_c - 1;
    recall_note_end(c, ret_end);
    f->lease = LEASE_NONE;
    f->locks_here = false;
    if (!MUTANT(kept_after_recall)) {
        kept_drop(c, f);
    }
    list_remove(&f->lease_lru);
    c->leases_count--;
    if (f->inode->from == 0 && inode_private(c, f->inode)) {
        inode_private_told(c, f->inode);
    } else if (!f->inode->promised) { /* what the lease alone kept from changing */
        inode_invalidate_kernel(c, f->inode);
    }
}

void recall_lease_lost(struct client *c, struct file *f)
{
    while (f->recalls.count != 0) {
        one_done(c, vec_pop(&f->recalls));
    }
}

/* RULES L1: what the lease was taken for is done first, if it comes soon. A write of a part of a
 * page reads the rest of it under the lease, from a copy, which waits for no other mount: without
 * time for that two mounts could take the lease from one another for ever and neither write. */
static time_us hold_until(const struct file *f)
{
    const struct op *first = list_first(&f->queue, struct op, wait);
    bool reading = first != NULL && first->job != NULL;
    return f->lease_since + (reading ? LEASE_HOLD_READ : LEASE_HOLD_MIN);
}

void recall_try_release(struct client *c, struct file *f)
{
    if (f->recalls.count == 0 || f->lease != LEASE_HELD || f->pumping) {
        return; /* the pump comes here at its end */
    }
    if (!f->written && c->now < hold_until(f)) {
        timer_set(c, TIMER_HOLD, &f->hold_timer, hold_until(f), file_on_hold_over);
        return;
    }
    (void)file_freeze(c, f);
    bool locks_in_log = locks_written(c, f->inode->ino);
    if ((!list_empty(&f->commits) && !MUTANT(lease_back_before_commit)) || !locks_in_log) {
        return; /* RULES B10: again when they are committed */
    }
    struct Fs__LeaseEnd end;
    recall_let_go(c, f, &end);
    timer_clear(&f->hold_timer);
    while (f->recalls.count != 0) {
        recall_done(c, vec_pop(&f->recalls), &end);
    }
    file_pump(c, f); /* whoever waits to write asks for it again */
}

/* ---- what is asked --------------------------------------------------------------------------- */

static void ask_lease_back(struct client *c, struct recall *k, uint64_t ino)
{
    struct inode *i = inode_find(c, ino);
    if (i != NULL && dir_leased(i)) {
        k->waiting++;
        dir_recalled(c, i, k);
        return;
    }
    if (i == NULL || i->file == NULL || i->file->lease != LEASE_HELD) {
        /* Not here, or its grant is still under way: the leader ends it. */
        remember(c, FS__OBJECT__KIND__LEASE, ino, k->n);
        return;
    }
    vec_push(&i->file->recalls, k);
    k->waiting++;
    recall_try_release(c, i->file);
}

/* RULES L7. From here on an open has to ask the leader, so it can't slip past the unlink. */
static void ask_open(struct client *c, struct recall *k, uint64_t ino)
{
    struct inode *i = inode_find(c, ino);
    bool wanted = i != NULL && inode_wanted(c, i);
    if (wanted || op_makes_unheard(c)) { /* what is said too much, a Renew tells of */
        vec_push(&k->open_inos, ino);
    }
    if (wanted) {
        i->orphan = true;
    }
    remember(c, FS__OBJECT__KIND__ATTR, ino, k->n);
    cache_drop_attr(c, ino);
}

static void ask_back(struct client *c, struct recall *k, const struct recall_object *o)
{
    struct inode *i = inode_find(c, o->ino);
    if (i != NULL) {
        inode_ends_private(c, i); /* somebody else may know it */
    }
    switch (o->kind) {
    case FS__OBJECT__KIND__ATTR:
        remember(c, FS__OBJECT__KIND__ATTR, o->ino, k->n);
        cache_drop_attr(c, o->ino);
        break;
    case FS__OBJECT__KIND__NAMES:
        remember(c, FS__OBJECT__KIND__NAMES, o->ino, k->n);
        cache_drop_names(c, o->ino);
        break;
    case FS__OBJECT__KIND__LEASE:
        ask_lease_back(c, k, o->ino);
        break;
    case FS__OBJECT__KIND__OPEN:
        ask_open(c, k, o->ino);
        break;
    case _FS__OBJECT__KIND_IS_INT_SIZE:
        break;
    }
}

void recall_on(struct client *c, const struct Fs__Recall *msg)
{
    list_each(it, &c->recalls) {
        if (container_of(it, struct recall, link)->n == msg->n) {
            return; /* sent again over a new link: its answer is under way */
        }
    }
    struct recall *k = xcalloc(1, sizeof(*k));
    k->n = msg->n;
    k->from = c->leader;
    k->waiting = 1;
    k->held = true;
    for (size_t i = 0; i < msg->n_objects; i++) {
        const struct Fs__Object *o = msg->objects[i];
        vec_push(&k->objects, (struct recall_object){.kind = o->kind, .ino = o->ino});
    }
    list_push_back(&c->recalls, &k->link);
    recall_go_on(c);
}

static struct recall *first_held(const struct client *c)
{
    list_each(it, &c->recalls) {
        struct recall *k = container_of(it, struct recall, link);
        if (k->held) {
            return k;
        }
    }
    return NULL;
}

void recall_go_on(struct client *c)
{
    if (!listings_taken_in(c) && !MUTANT(recall_overtakes_listing)) {
        return;
    }
    for (struct recall *k; (k = first_held(c)) != NULL;) {
        k->held = false;
        for (size_t i = 0; i < k->objects.count; i++) {
            ask_back(c, k, &k->objects.items[i]);
        }
        one_done(c, k);
    }
    recall_expire(c);
}

bool recall_under_way(const struct client *c)
{
    return !list_empty(&c->recalls);
}

/* ---- forgetting ------------------------------------------------------------------------------ */

void recall_forget(struct client *c)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&c->inodes, &cursor, NULL, &value)) {
        struct inode *i = value;
        if (i->file == NULL || i->file->recalls.count == 0) {
            continue;
        }
        vec_clear(&i->file->recalls);
        /* Who waits for the lease to go and come back goes on with the next Renew: the next leader
         * may never ask for it. */
        if (!list_empty(&i->file->queue) && !list_linked(&i->file->renew_link)) {
            list_push_back(&c->renew_waiters, &i->file->renew_link);
        }
    }
    dirs_forget_recalls(c);
    while (!list_empty(&c->recalls)) {
        recall_drop(list_first(&c->recalls, struct recall, link));
    }
    list_each(it, &c->recalled) {
        struct recalled *e = container_of(it, struct recalled, link);
        if (e->key >> 60 != FS__OBJECT__KIND__LEASE) {
            recalled_free(c, e);
        }
    }
}

void recall_free(struct client *c)
{
    recall_forget(c);
    while (!list_empty(&c->recalled)) {
        recalled_free(c, list_first(&c->recalled, struct recalled, link));
    }
    while (!list_empty(&c->released_order)) {
        struct lease_end *e = list_first(&c->released_order, struct lease_end, link);
        list_remove(&e->link);
        free(e);
    }
    map_done(&c->recalled_by_key);
    map_done(&c->released);
}
