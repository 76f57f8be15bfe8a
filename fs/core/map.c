/* A file's map: which blocks are its pages. COMMITs edit it (RULES B1, B2, B12).
 *
 * A COMMIT loads the extents its edits can touch, edits them in memory, and writes back what
 * differs: edits of one COMMIT may overlap. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/core/extent.h"
#include "fs/core/known.h"
#include "repl/base/mutant.h"

enum {
    COMMIT_BLOCKS_MAX = 4096,
    COMMIT_EDITS_MAX = 16384,
    COMMIT_OVERHEAD_BYTES = 4096, /* entry and map, for the reservation (RULES B13) */
};

static uint64_t stored_bytes(uint32_t size)
{
    return (uint64_t)block_pages(size) * BLOCK_PAGE_SIZE;
}

static void note_died(struct apply *a, struct block_name name)
{
    struct fs_result *r = a->result;
    r->died = xreallocarray(r->died, r->died_count + 1, sizeof *r->died);
    r->died[r->died_count++] = name;
}

static void note_named(struct apply *a, struct block_ref ref)
{
    struct fs_result *r = a->result;
    r->named = xreallocarray(r->named, r->named_count + 1, sizeof *r->named);
    r->named[r->named_count++] = ref;
}

/* `delta` extents more or fewer name the block. At none it is dead (RULES B12). */
static int change_refs(struct apply *a, struct block_name name, int64_t delta)
{
    struct key k = key_of2(KEY_BLOCK, name.session, name.n);
    struct block b;
    if (delta == 0)
        return 0;
    if (state_get(a, &k) < 0 || block_decode(a->value.data, a->value.size, &b) < 0)
        return EIO;
    if (delta < 0 && b.refs < (uint64_t)-delta)
        return EIO;
    b.refs += (uint64_t)delta;
    if (b.refs && !(MUTANT(live_block_collected) && delta < 0)) {
        block_put(a, name, &b, false);
        return 0;
    }
    state_del(a, &k);
    a->s->totals.blocks--;
    a->s->totals.bytes -= stored_bytes(b.size);
    note_died(a, name);
    return 0;
}

/* ---- the extents of one edit, in memory ------------------------------------------------------ */

/* Takes pages [first, end) out, splitting what reaches over the borders. Keeps the order. */
static void cut_out(extents *x, uint64_t first, uint64_t end)
{
    for (size_t i = 0; i < x->count; i++) {
        struct extent *e = &x->items[i];
        uint64_t e_end = e->first_page + e->pages;
        if (e_end <= first || e->first_page >= end)
            continue;
        if (e->first_page < first && e_end > end) { /* a hole in its middle */
            struct extent tail = *e;
            tail.first_page = end;
            tail.pages = (uint32_t)(e_end - end);
            tail.block_page += (uint32_t)(end - e->first_page);
            e->pages = (uint32_t)(first - e->first_page);
            vec_push(x, tail);
            memmove(&x->items[i + 2], &x->items[i + 1], (x->count - i - 2) * sizeof *x->items);
            x->items[i + 1] = tail;
            return;
        }
        if (e->first_page < first) {
            e->pages = (uint32_t)(first - e->first_page);
        } else if (e_end > end) {
            e->block_page += (uint32_t)(end - e->first_page);
            e->pages = (uint32_t)(e_end - end);
            e->first_page = end;
        } else {
            vec_remove(x, i);
            i--;
        }
    }
}

static void put_in(extents *x, const struct extent *new)
{
    cut_out(x, new->first_page, new->first_page + new->pages);
    vec_push(x, *new);
    size_t i = x->count - 1;
    for (; i > 0 && x->items[i - 1].first_page > new->first_page; i--)
        x->items[i] = x->items[i - 1];
    x->items[i] = *new;
}

/* Puts `new`, all within pages [first, end), in the place of what is there. */
static void put_in_all(extents *x, uint64_t first, uint64_t end, const extents *new)
{
    size_t at = 0;
    cut_out(x, first, end);
    while (at < x->count && x->items[at].first_page < first)
        at++;
    vec_reserve(x, x->count + new->count + 1);
    if (x->count > at)
        memmove(&x->items[at + new->count], &x->items[at], (x->count - at) * sizeof *x->items);
    if (new->count)
        memcpy(&x->items[at], new->items, new->count * sizeof *new->items);
    x->count += new->count;
}

/* Only its pages in [first, end). */
static void extent_clip(struct extent *e, uint64_t first, uint64_t end)
{
    if (e->first_page < first) {
        uint32_t cut = (uint32_t)(first - e->first_page);
        e->first_page = first;
        e->block_page += cut;
        e->pages -= cut;
    }
    if (e->first_page + e->pages > end)
        e->pages = (uint32_t)(end - e->first_page);
}

/* ---- COMMIT ---------------------------------------------------------------------------------- */

static int check_edit(const Fs__Commit *m, const Fs__Edit *e)
{
    if (e->first_page >= PAGES_MAX ||
        (e->kind != FS__EDIT__KIND__CUT && (e->pages == 0 || e->pages > PAGES_MAX - e->first_page)))
        return EINVAL;
    switch (e->kind) {
    case FS__EDIT__KIND__EXTENT:
        if (e->block >= m->n_blocks || e->pages > EXTENT_PAGES_MAX ||
            e->block_page + e->pages > block_pages(m->blocks[e->block]->size))
            return EINVAL;
        return 0;
    case FS__EDIT__KIND__REFERENCE:
        /* Nothing else rides with them: a refusal takes it all back. */
        if (m->n_blocks || e->pages > FS_REFERENCE_PAGES_MAX || e->source_page >= PAGES_MAX ||
            e->pages > PAGES_MAX - e->source_page)
            return EINVAL;
        return 0;
    case FS__EDIT__KIND__HOLE:
    case FS__EDIT__KIND__CUT:
        return 0;
    case _FS__EDIT__KIND_IS_INT_SIZE:
        break;
    }
    return EINVAL;
}

/* New extents name only the session's own blocks, never named before (RULES B12). */
static int check_block(struct apply *a, const Fs__Block *b)
{
    struct key k = key_of2(KEY_BLOCK, b->session, b->n);
    if (b->session != a->session || b->size == 0 || b->size > BLOCK_SIZE_MAX ||
        b->n_runs != block_runs(b->size))
        return EINVAL;
    struct block_name name = {b->session, b->n};
    return known_name_is_new(a->s, name) || state_get(a, &k) == -ENOENT ? 0 : EINVAL;
}

static int check_commit(struct apply *a, const Fs__Commit *m)
{
    if (m->n_blocks > COMMIT_BLOCKS_MAX || m->n_edits > COMMIT_EDITS_MAX || m->size > FS_SIZE_MAX)
        return EINVAL;
    int err = 0;
    uint64_t referred = 0;
    for (size_t i = 0; i < m->n_edits && !err; i++) {
        err = check_edit(m, m->edits[i]);
        if (!err && m->edits[i]->kind == FS__EDIT__KIND__REFERENCE)
            referred += m->edits[i]->pages;
    }
    if (referred > FS_REFERENCE_PAGES_MAX)
        err = EINVAL;
    for (size_t i = 0; i < m->n_blocks && !err; i++)
        err = check_block(a, m->blocks[i]);
    return err;
}

/* The pages that the edits, and a smaller size, can change. */
static void touched_range(const Fs__Commit *m, uint64_t old_size, uint64_t *ret_first,
                          uint64_t *ret_end)
{
    *ret_first = UINT64_MAX;
    *ret_end = 0;
    if (m->size < old_size) {
        *ret_first = (m->size + FS_PAGE_SIZE - 1) / FS_PAGE_SIZE;
        *ret_end = UINT64_MAX;
    }
    for (size_t i = 0; i < m->n_edits; i++) {
        const Fs__Edit *e = m->edits[i];
        uint64_t end = e->kind == FS__EDIT__KIND__CUT ? UINT64_MAX : e->first_page + e->pages;
        if (e->first_page < *ret_first)
            *ret_first = e->first_page;
        if (end > *ret_end)
            *ret_end = end;
    }
}

/* RULES B12: refused when the source is not what the mount saw. Deaths come of it by themselves: an
 * extent more of the block, whichever file's it is. */
static int edit_reference(struct apply *a, const Fs__Edit *e, extents *x)
{
    struct inode source;
    extents from = {0};
    if (inode_load(a, e->source_ino, &source) < 0 || !S_ISREG(source.mode) ||
        (source.data_version != e->source_version && !MUTANT(reference_unchecked)))
        return EAGAIN;
    uint64_t end = e->source_page + e->pages;
    int err = extents_load(a->s, e->source_ino, e->source_page, end, &from) < 0 ? EIO : 0;
    for (size_t i = 0; i < from.count && !err; i++) {
        struct extent *s = &from.items[i];
        extent_clip(s, e->source_page, end);
        s->first_page = s->first_page - e->source_page + e->first_page;
    }
    if (!err)
        put_in_all(x, e->first_page, e->first_page + e->pages, &from);
    vec_done(&from);
    return err;
}

static int edit_extents(struct apply *a, const Fs__Commit *m, uint64_t old_size, extents *x)
{
    int err = 0;
    for (size_t i = 0; i < m->n_edits && !err; i++) {
        const Fs__Edit *e = m->edits[i];
        if (e->kind == FS__EDIT__KIND__REFERENCE) {
            err = edit_reference(a, e, x);
        } else if (e->kind == FS__EDIT__KIND__EXTENT) {
            const Fs__Block *b = m->blocks[e->block];
            put_in(x, &(struct extent){
                          e->first_page, (uint32_t)e->pages, e->block_page, {b->session, b->n}});
        } else {
            cut_out(x, e->first_page,
                    e->kind == FS__EDIT__KIND__CUT ? UINT64_MAX : e->first_page + e->pages);
        }
    }
    if (m->size < old_size && !MUTANT(cut_forgotten))
        cut_out(x, (m->size + FS_PAGE_SIZE - 1) / FS_PAGE_SIZE, UINT64_MAX);
    return err;
}

static bool same_extent(const struct extent *x, const struct extent *y)
{
    return x->first_page == y->first_page && x->pages == y->pages &&
           x->block_page == y->block_page && block_name_equal(x->block, y->block);
}

/* One extent more (+1) or fewer (-1) of a block. */
struct ref_change {
    struct block_name block;
    int64_t delta;
};
typedef vec_of(struct ref_change) ref_changes;

static int compare_changes(const void *x, const void *y)
{
    return block_name_compare(((const struct ref_change *)x)->block,
                              ((const struct ref_change *)y)->block);
}

static int apply_ref_changes(struct apply *a, ref_changes *changes)
{
    int err = 0;
    if (changes->count)
        qsort(changes->items, changes->count, sizeof *changes->items, compare_changes);
    for (size_t i = 0, j; i < changes->count && !err; i = j) {
        int64_t delta = 0;
        for (j = i; j < changes->count &&
                    block_name_equal(changes->items[i].block, changes->items[j].block);
             j++)
            delta += changes->items[j].delta;
        err = change_refs(a, changes->items[i].block, delta);
    }
    return err;
}

/* Writes what differs between the extents before and after; both are in order. */
static int write_back(struct apply *a, struct inode *inode, const extents *old, const extents *new)
{
    ref_changes changes = {0};
    size_t i = 0, j = 0;
    while (i < old->count || j < new->count) {
        const struct extent *o = i < old->count ? &old->items[i] : NULL;
        const struct extent *n = j < new->count ? &new->items[j] : NULL;
        if (o && n && same_extent(o, n)) {
            i++, j++;
            continue;
        }
        if (o && (!n || o->first_page <= n->first_page)) {
            extent_del(a, inode->ino, o);
            inode->pages -= o->pages;
            vec_push(&changes, (struct ref_change){o->block, -1});
            i++;
        } else {
            extent_put(a, inode->ino, n);
            inode->pages += n->pages;
            vec_push(&changes, (struct ref_change){n->block, 1});
            j++;
        }
    }
    int err = apply_ref_changes(a, &changes);
    vec_done(&changes);
    return err;
}

static uint64_t name_blocks(struct apply *a, const Fs__Commit *m)
{
    uint64_t cost = COMMIT_OVERHEAD_BYTES;
    for (size_t i = 0; i < m->n_edits; i++)
        if (m->edits[i]->kind == FS__EDIT__KIND__REFERENCE)
            cost += fs_reference_cost(m->edits[i]->pages);
    for (size_t i = 0; i < m->n_blocks; i++) {
        const Fs__Block *b = m->blocks[i];
        struct block_name name = {b->session, b->n};
        struct block block = {.size = b->size, .runs_count = (uint32_t)b->n_runs};
        memcpy(block.runs, b->runs, b->n_runs * sizeof *b->runs);
        block_put(a, name, &block, known_name_is_new(a->s, name));
        known_named(a->s, name);
        note_named(a, block_ref_of(name, &block));
        a->s->totals.blocks++;
        a->s->totals.bytes += stored_bytes(b->size);
        cost += stored_bytes(b->size);
    }
    return cost;
}

/* Blocks that this COMMIT names but no extent of it keeps are dead at once. */
static int drop_unused_blocks(struct apply *a, const Fs__Commit *m)
{
    for (size_t i = 0; i < m->n_blocks; i++) {
        struct block_name name = {m->blocks[i]->session, m->blocks[i]->n};
        struct key k = key_of2(KEY_BLOCK, name.session, name.n);
        struct block b;
        if (state_get(a, &k) < 0)
            continue; /* died already */
        if (block_decode(a->value.data, a->value.size, &b) < 0)
            return EIO;
        if (b.refs)
            continue;
        state_del(a, &k);
        a->s->totals.blocks--;
        a->s->totals.bytes -= stored_bytes(b.size);
        note_died(a, name);
    }
    return 0;
}

static void charge(struct apply *a, struct fs_session *s, uint64_t cost, uint64_t lowest_wanted)
{
    uint64_t taken = cost < s->reserved ? cost : s->reserved;
    s->reserved -= taken;
    a->s->totals.reserved -= taken;
    if (lowest_wanted > s->lowest_wanted)
        s->lowest_wanted = lowest_wanted;
    session_store(a, s);
}

static struct file_end *file_end(struct apply *a, const struct inode *inode)
{
    return &a->s->ends[inode->ino % FILE_ENDS];
}

/* No extent reaches behind `first`: what most COMMITs find, of new files and of those that grow,
 * and would learn from an iterator. */
static bool is_end(struct apply *a, const struct inode *inode, uint64_t first)
{
    const struct file_end *known = file_end(a, inode);
    return inode->pages == 0 || (known->ino == inode->ino && first >= known->page);
}

/* What is undone later leaves an end that is too far behind, which is as true. */
static void note_end(struct apply *a, const struct inode *inode, bool was_empty,
                     const extents *edited)
{
    struct file_end *known = file_end(a, inode);
    if (was_empty)
        *known = (struct file_end){inode->ino, 0};
    if (known->ino != inode->ino || edited->count == 0)
        return;
    const struct extent *last = &edited->items[edited->count - 1];
    if (last->first_page + last->pages > known->page)
        known->page = last->first_page + last->pages;
}

static int edit_map(struct apply *a, struct inode *inode, const Fs__Commit *m)
{
    uint64_t first, end;
    extents old = {0}, new = {0};
    touched_range(m, inode->size, &first, &end);
    const bool was_empty = inode->pages == 0;
    bool look = end > first && !is_end(a, inode, first);
    if (look)
        known_look(a->s, inode->ino, first, end);
    int err = look && extents_load(a->s, inode->ino, first, end, &old) < 0 ? EIO : 0;
    if (!err) {
        vec_reserve(&new, old.count + 1);
        if (old.count)
            memcpy(new.items, old.items, old.count * sizeof *old.items);
        new.count = old.count;
        err = edit_extents(a, m, inode->size, &new);
    }
    if (!err)
        err = write_back(a, inode, &old, &new);
    if (!err) {
        note_end(a, inode, was_empty, &new);
        known_edited(a->s->known, inode->ino, &old, &new);
    }
    vec_done(&old);
    vec_done(&new);
    return err;
}

int apply_commit(struct apply *a, const Fs__Commit *m)
{
    struct inode inode;
    struct fs_session session;
    if (session_load(a, a->session, &session) < 0)
        return EIO;
    if (m->after_q >= session.q_next)
        return session.q_error ? EIO : EAGAIN; /* what it follows was dropped: both come again */
    if (inode_load(a, m->ino, &inode) < 0)
        return EIO;
    bool fenced = inode.lease_session != a->session || inode.lease_epoch != m->epoch;
    if (fenced && !MUTANT(stale_epoch))
        return EIO; /* the fence */
    if (m->c <= inode.last_c) {
        a->result->duplicate = true;
        a->reply->attr = attr_new(&inode);
        return 0;
    }
    if (m->c != inode.last_c + 1 && !MUTANT(commit_gap))
        return m->after_q ? EAGAIN : EIO; /* the one before it was dropped in that way */
    int err = check_commit(a, m);
    if (err)
        return err;
    uint64_t cost = name_blocks(a, m);
    err = edit_map(a, &inode, m);
    if (!err)
        err = drop_unused_blocks(a, m);
    if (err) {
        known_forget(a->s->known, m->ino, UINT64_MAX); /* it is as it was */
        return err;
    }
    inode.size = m->size;
    inode.last_c = m->c;
    inode_touch(a, &inode, false);
    if (m->mtime)
        inode.mtime = m->mtime;
    if (m->atime) {
        inode.atime = m->atime;
        inode.atime_set = a->index;
    }
    inode.data_version = a->index;
    inode_store(a, &inode);
    charge(a, &session, cost, m->lowest_wanted);
    a->reply->attr = attr_new(&inode);
    return 0;
}

/* A damaged record stays and is counted by nobody: freeing must not fail. */
void map_free(struct apply *a, const struct inode *inode)
{
    extents x = {0};
    ref_changes changes = {0};
    (void)extents_load_all(a->s, inode->ino, inode->pages, &x);
    if (x.count) {
        const struct extent *last = &x.items[x.count - 1];
        known_forget(a->s->known, inode->ino, last->first_page + last->pages);
    }
    for (size_t i = 0; i < x.count; i++) {
        extent_del(a, inode->ino, &x.items[i]);
        vec_push(&changes, (struct ref_change){x.items[i].block, -1});
    }
    (void)apply_ref_changes(a, &changes);
    vec_done(&changes);
    vec_done(&x);
}
