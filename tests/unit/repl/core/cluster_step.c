/* A replica is stepped, and what it wants is carried out: messages, writes, bytes, snapshots. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "repl/wire/codec.h"
#include "tests/unit/repl/core/cluster_internal.h"

/* ---- steps ----------------------------------------------------------------------------------- */

static void carry_out(struct world *w, uint32_t id);

void step(struct world *w, uint32_t id, struct replica_event ev)
{
    struct node *n = &w->nodes[id];
    if (!n->up) {
        return;
    }
    ev.now = clock_of(n, w->now);
    ev.random = rnd(w);
    replica_step(n->replica, &ev, &w->update);
    replica_check(n->replica);
    w->result.steps++;
    time_us wake_at = w->update.wake_at != 0 ? true_time(n, w->update.wake_at) : 0;
    carry_out(w, id);
    check_commits(w, id);
    if (wake_at != 0 && (n->wake_at == 0 || wake_at < n->wake_at || n->wake_at <= w->now)) {
        n->wake_at = wake_at > w->now ? wake_at : w->now + 1;
        plan(w,
             (struct happening){.at = n->wake_at, .what = WHAT_TICK, .node = id, .life = n->life});
    }
}

static void send(struct world *w, uint32_t from, uint32_t to, const struct message *m)
{
    if (to == 0 || to > w->nodes_count || !reachable(w, from, to) || !w->told_up[from][to]) {
        return;
    }
    if (w->lossy && !w->healed && chance(w, 3)) {
        return;
    }
    struct happening h = {.what = WHAT_MESSAGE,
                          .node = to,
                          .peer = from,
                          .life = w->nodes[to].life,
                          .link_epoch = w->link_epoch[from][to]};
    struct codec_bulk bulk = {0};
    message_encode(m, &h.control, &bulk);
    size_t size = 0;
    for (size_t i = 0; i < bulk.count; i++) {
        size += bulk.items[i]->size;
    }
    h.bulk = blob_new(size);
    size = 0;
    for (size_t i = 0; i < bulk.count; i++) {
        memcpy(h.bulk->data + size, bulk.items[i]->data, bulk.items[i]->size);
        size += bulk.items[i]->size;
    }
    codec_bulk_done(&bulk);
    h.at = w->now + 50 + below(w, chance(w, 5) ? 8000 : 300);
    if (!w->reordering || w->healed) { /* a stream keeps its order */
        if (h.at < w->link_free_at[from][to]) {
            h.at = w->link_free_at[from][to];
        }
        w->link_free_at[from][to] = h.at;
    }
    plan(w, h);
}

uint64_t entry_id(const struct entry *e)
{
    return e->payload != NULL ? le64_get(e->payload->data) : 0;
}

static void note_role(struct world *w, uint32_t id, const struct replica_effect *f)
{
    struct node *n = &w->nodes[id];
    bool leads = f->role.role == REPLICA_LEADER || f->role.role == REPLICA_RESCUE_LEADER;
    n->role = f->role.role;
    if (!leads || f->role.term >= 4096) {
        return;
    }
    uint32_t *slot = &w->leader_of_term[f->role.term];
    if (*slot != 0 && *slot != id) {
        complain(w, "two leaders in a term", "term=%" PRIu64 " n%u n%u", f->role.term, *slot, id);
    }
    w->result.elections += *slot == 0;
    *slot = id;
    if (n->witness != (f->role.role == REPLICA_RESCUE_LEADER)) {
        complain(w, "a witness leads, or a copy only rescues", "n%u", id);
    }
}

static void note_read(struct world *w, uint64_t id, uint64_t index)
{
    for (size_t i = 0; i < w->reads.count; i++) {
        if (w->reads.items[i].id == id) {
            if (index < w->reads.items[i].at_least) {
                complain(w, "stale read", "index=%" PRIu64 " acknowledged=%" PRIu64, index,
                         w->reads.items[i].at_least);
            }
            vec_remove(&w->reads, i);
            return;
        }
    }
}

static void carry_out_one(struct world *w, uint32_t id, struct replica_effect *f)
{
    struct node *n = &w->nodes[id];
    switch (f->kind) {
    case EFFECT_SEND:
        send(w, id, f->send.to, &f->send.message);
        break;
    case EFFECT_WRITE_VOTE:
    case EFFECT_WRITE_ENTRIES:
    case EFFECT_WRITE_BASE: {
        struct record rec = {.effect = *f, .unheard = n->switching != 0};
        rec.seq = f->kind == EFFECT_WRITE_VOTE   ? f->write_vote.write_seq
                  : f->kind == EFFECT_WRITE_BASE ? f->write_base.write_seq
                                                 : f->write_entries.write_seq;
        if (f->kind == EFFECT_WRITE_ENTRIES) {
            f->write_entries.entries = NULL;
        }
        vec_push(&n->pending, rec);
        flush_begin(w, id);
        break;
    }
    case EFFECT_ENSURE:
        vec_push(&n->ensures, (struct ensure){.ticket = f->ensure.ticket,
                                              .count = f->ensure.refs_count,
                                              .refs = f->ensure.refs});
        f->ensure.refs = NULL;
        plan(w, (struct happening){.at = w->now + 100 + below(w, 3000),
                                   .what = WHAT_ENSURE,
                                   .node = id,
                                   .life = n->life,
                                   .number = f->ensure.ticket});
        break;
    case EFFECT_ENSURE_END:
        for (size_t i = 0; i < n->ensures.count; i++) {
            if (n->ensures.items[i].ticket == f->ensure.ticket) {
                free(n->ensures.items[i].refs);
                vec_remove(&n->ensures, i);
                break;
            }
        }
        break;
    case EFFECT_ADVANCE:
        n->advance_to = f->at.index;
        plan(w,
             (struct happening){
                 .at = w->now + below(w, 3000), .what = WHAT_APPLY, .node = id, .life = n->life});
        break;
    case EFFECT_APPENDED:
        break;
    case EFFECT_DROPPED:
        w->result.dropped++;
        if (f->at.index == 0) {
            vec_push(&w->dead_ids, w->ticket_ids.items[f->at.ticket - 1]);
        }
        break;
    case EFFECT_READ_READY:
        w->result.reads++;
        note_read(w, f->at.ticket, f->at.index);
        break;
    case EFFECT_READ_FAILED:
        w->result.reads_failed++;
        note_read(w, f->at.ticket, UINT64_MAX);
        break;
    case EFFECT_ROLE:
        note_role(w, id, f);
        break;
    case EFFECT_SNAPSHOT_SEND:
        w->result.snapshots++;
        plan(w, (struct happening){.at = w->now + 5000 + below(w, 30000),
                                   .what = WHAT_SNAPSHOT,
                                   .node = f->snapshot_send.to,
                                   .peer = id,
                                   .life = w->nodes[f->snapshot_send.to].life,
                                   .number = n->life});
        break;
    case EFFECT_DRAFT:
        w->result.drafts += f->draft.mask != 0;
        break;
    case EFFECT_DEMOTE:
        n->demoted = f->at.index;
        demote(n);
        break;
    case EFFECT_TRUNCATE:
        disk_forget(n, f->at.index);
        break;
    case EFFECT_STOPPED_LEADING:
        w->result.stopped++;
        break;
    }
}

static void carry_out(struct world *w, uint32_t id)
{
    struct replica_update u = w->update; /* a nested step must not refill it */
    memset(&w->update, 0, sizeof(w->update));
    for (size_t i = 0; i < u.count; i++) {
        carry_out_one(w, id, &u.effects[i]);
    }
    replica_update_clear(&u);
    if (w->update.effects == NULL) {
        w->update = u;
    } else {
        replica_update_done(&u);
    }
}

/* ---- happenings ------------------------------------------------------------------------------ */

static void report_applied(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    bool whole = n->missing.count == 0 || w->options.bug == BUG_WHOLE_TOO_SOON;
    if (whole) {
        n->whole_index = n->applied.count;
    }
    struct replica_event ev = {.kind = REPLICA_APPLIED};
    ev.applied.index = n->applied.count;
    ev.applied.durable_applied = n->durable_applied;
    ev.applied.whole_index = n->whole_index;
    ev.applied.free_bytes = 1u << 30;
    step(w, id, ev);
}

void happen_apply(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    if (n->witness || n->switching != 0) {
        return;
    }
    while (n->applied.count < n->advance_to) {
        uint64_t index = n->applied.count + 1;
        struct entry *e = disk_entry(n, index);
        if (e == NULL || e->term != w->committed.items[index - 1]->term) {
            complain(w, "ADVANCE beyond the durable log", "n%u index=%" PRIu64, id, index);
            return;
        }
        vec_push(&n->applied, entry_id(e));
    }
    if (chance(w, 20)) {
        n->durable_applied = n->applied.count;
    }
    report_applied(w, id);
}

void happen_ensure(struct world *w, const struct happening *h)
{
    struct node *n = &w->nodes[h->node];
    size_t at = 0;
    while (at < n->ensures.count && n->ensures.items[at].ticket != h->number) {
        at++;
    }
    if (at == n->ensures.count) {
        return; /* ended */
    }
    bool all = true;
    for (uint32_t i = 0; i < n->ensures.items[at].count; i++) {
        uint64_t block = n->ensures.items[at].refs[i].name.n;
        bool here = fetch(w, h->node, block, false);
        if (here && missing_del(n, block)) {
            store_put(n, block, true); /* what was missing becomes durable (repl/io/store.h) */
        }
        all = all && here;
    }
    if (!all && !(w->options.bug == BUG_LYING_ENSURE && chance(w, 50))) {
        struct happening again = *h;
        again.at = w->now + 20000;
        plan(w, again);
        return;
    }
    free(n->ensures.items[at].refs);
    vec_remove(&n->ensures, at);
    step(w, h->node, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {h->number}});
}

/* B7: what is missing is fetched in the background. */
void happen_pull(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    size_t kept = 0, before = n->missing.count;
    for (size_t i = 0; i < before; i++) {
        uint64_t block = n->missing.items[i];
        if (!fetch(w, id, block, true)) {
            n->missing.items[kept++] = block;
        } else {
            store_put(n, block, true);
        }
    }
    n->missing.count = kept;
    n->durable_applied = n->applied.count;
    if (!n->witness && n->switching == 0) {
        report_applied(w, id);
    }
    plan(w, (struct happening){.at = w->now + 100000 + below(w, 50000),
                               .what = WHAT_PULL,
                               .node = id,
                               .life = n->life});
}

/* One synced record switches to the snapshot; everything given to the journal before lies before
 * it, with the blocks it counts on (RULES B7, S1). */
static void snapshot_switch(struct world *w, uint32_t id, const struct node *from)
{
    struct node *n = &w->nodes[id];
    uint64_t index = from->applied.count, term = w->committed.items[index - 1]->term;
    if (n->pending.count > 0) {
        n->switched_seq = n->pending.items[n->pending.count - 1].seq;
    }
    flush_upto(w, id, UINT64_MAX);
    for (uint64_t i = n->applied.count; i < index; i++) {
        const struct entry *e = w->committed.items[i];
        vec_push(&n->applied, from->applied.items[i]);
        for (uint32_t b = 0; b < e->blocks_count; b++) {
            if (store_find(n, e->blocks[b].name.n) == NULL) {
                missing_add(n, e->blocks[b].name.n);
            }
        }
    }
    n->durable_applied = index;
    struct entry *e = disk_entry(n, index);
    if (e != NULL && e->term == term) {
        disk_forget(n, index);
    } else {
        disk_restart_at(n, index, term);
    }
    n->switching = index;
    plan(w, (struct happening){.at = w->now + below(w, 5000),
                               .what = WHAT_INSTALLED,
                               .node = id,
                               .life = n->life,
                               .number = term});
}

void happen_installed(struct world *w, uint32_t id, uint64_t term)
{
    struct node *n = &w->nodes[id];
    struct replica_event ev = {.kind = REPLICA_SNAPSHOT_INSTALLED};
    ev.snapshot_installed.index = n->switching;
    ev.snapshot_installed.term = term;
    n->switching = 0;
    step(w, id, (struct replica_event){.kind = REPLICA_WRITTEN, .written = {n->switched_seq}});
    step(w, id, ev);
    report_applied(w, id);
}

void happen_snapshot(struct world *w, const struct happening *h)
{
    struct node *to = &w->nodes[h->node], *from = &w->nodes[h->peer];
    bool ok = reachable(w, h->node, h->peer) && from->life == h->number && to->life == h->life;
    if (ok && to->switching == 0 && from->applied.count > to->applied.count) {
        snapshot_switch(w, h->node, from);
    }
    if (from->life == h->number) {
        struct replica_event ev = {.kind = REPLICA_SNAPSHOT_DONE};
        ev.snapshot_done.peer = h->node;
        ev.snapshot_done.ok = ok;
        step(w, h->peer, ev);
    }
}

void happen_message(struct world *w, struct happening *h)
{
    struct message m;
    if (h->link_epoch == w->link_epoch[h->peer][h->node] && reachable(w, h->node, h->peer) &&
        w->told_up[h->node][h->peer]) {
        if (message_decode(h->control.data, h->control.size, h->bulk, &m) < 0) {
            complain(w, "codec refused an honest message", "to=n%u", h->node);
        } else {
            struct replica_event ev = {.kind = REPLICA_MESSAGE};
            ev.message.from = h->peer;
            ev.message.message = &m;
            step(w, h->node, ev);
            message_done(&m);
        }
    }
}
