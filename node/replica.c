/* What repl/core wants done. */
#include "node/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mutant.h"
#include "repl/io/log.h"
#include "repl/wire/codec.h"
#include "repl/wire/frame.h"

enum { DEMOTE_DELAY_US = 100 * 1000, UNREAD_MAX = 8 << 20 };
#define UNREAD_SILENCE (30 * TIME_S)

/* A node that is frozen keeps its link, and is told of every commit and each heartbeat: without an
 * end that would fill this one's memory. */
static bool reads_nothing(const struct node *n, uint32_t id)
{
    const struct node_peer *p = &n->peers[id];
    return link_backlog(p->link) > UNREAD_MAX && time_since(n->now, p->heard) > UNREAD_SILENCE;
}

static void send_message(struct node *n, uint32_t to, const struct message *m)
{
    struct link *link = n->peers[to].link;
    if (!link)
        return; /* the replica knows: it was told LINK_DOWN, or is about to be */
    if (reads_nothing(n, to)) {
        link_close(link, "does not read what is sent to it");
        return;
    }
    struct bytes_writer control = {0};
    struct codec_bulk bulk = {0};
    message_encode(m, &control, &bulk);
    link_send(link, FRAME_REPL, control.data, control.size, bulk.items, bulk.count);
    bytes_writer_done(&control);
    codec_bulk_done(&bulk);
}

static const char *role_word(enum replica_role role)
{
    switch (role) {
    case REPLICA_FOLLOWER:
        return "follower";
    case REPLICA_CANDIDATE:
        return "candidate";
    case REPLICA_LEADER:
        return "leader";
    case REPLICA_RESCUE_LEADER:
        return "rescue-leader";
    }
    return "?";
}

/* The service leads when the replica does and there is a state to serve from. */
void node_role_tell(struct node *n)
{
    n->leading = n->role == REPLICA_LEADER && n->ready && !n->install.committing;
    struct node_app_event ev = {
        .event = {
            .kind = FS_APP_ROLE, .term = n->term, .leading = n->leading, .leader = n->leader}};
    node_queue_app(n, &ev);
    node_report_space(n);
}

static void role_changed(struct node *n, const struct replica_effect *e)
{
    if (e->role.role != n->role || e->role.term != n->term || e->role.leader != n->leader)
        log_info("role", "role=%s term=%llu leader=%s ready=%d", role_word(e->role.role),
                 (unsigned long long)e->role.term, node_name_of(n, e->role.leader), e->role.ready);
    if (e->role.leader != n->leader || e->role.term != n->term)
        n->leader_since = n->now;
    n->role = e->role.role;
    n->term = e->role.term;
    n->leader = e->role.leader;
    n->ready = e->role.ready || MUTANT(serves_before_noop);
    if (n->role == REPLICA_LEADER)
        node_snapshot_leads(n);
    node_role_tell(n);
}

static void queue_app_ticket(struct node *n, enum fs_app_event_kind kind,
                             const struct replica_effect *e)
{
    struct node_app_event ev = {
        .event = {.kind = kind, .ticket = e->at.ticket, .index = e->at.index}};
    node_queue_app(n, &ev);
}

static void write_entries(struct node *n, const struct replica_effect *e)
{
    int r = store_write_entries(n->store, e->write_entries.write_seq, e->write_entries.entries,
                                e->write_entries.count, e->write_entries.commit);
    if (r == -ENODATA) /* it was here when the replica asked: damage found meanwhile */
        node_die(n, "bytes that the log must hold are unreadable", -EIO);
    if (r < 0)
        node_die(n, "the log cannot be written", r);
    for (uint32_t i = 0; n->self->witness && i < e->write_entries.count; i++) {
        const struct entry *entry = e->write_entries.entries[i];
        for (uint32_t k = 0; k < entry->blocks_count; k++)
            node_blocks_named(n, &entry->blocks[k]);
    }
}

static void carry_out(struct node *n, struct replica_effect *e)
{
    switch (e->kind) {
    case EFFECT_SEND:
        send_message(n, e->send.to, &e->send.message);
        break;
    case EFFECT_WRITE_VOTE:
        store_write_vote(n->store, e->write_vote.write_seq, e->write_vote.term, e->write_vote.vote);
        break;
    case EFFECT_WRITE_ENTRIES:
        write_entries(n, e);
        break;
    case EFFECT_WRITE_BASE:
        store_write_base(n->store, e->write_base.write_seq, e->write_base.index,
                         e->write_base.term);
        break;
    case EFFECT_ENSURE:
        node_blocks_ensure(n, e->ensure.ticket, e->ensure.sources, e->ensure.refs,
                           e->ensure.refs_count);
        break;
    case EFFECT_ENSURE_END:
        node_blocks_ensure_end(n, e->ensure.ticket);
        break;
    case EFFECT_ADVANCE:
        n->advance = e->at.index;
        break;
    case EFFECT_APPENDED:
        queue_app_ticket(n, FS_APP_APPENDED, e);
        break;
    case EFFECT_DROPPED:
        queue_app_ticket(n, FS_APP_DROPPED, e);
        break;
    case EFFECT_READ_READY:
        queue_app_ticket(n, FS_APP_READ_READY, e);
        break;
    case EFFECT_READ_FAILED:
        queue_app_ticket(n, FS_APP_READ_FAILED, e);
        break;
    case EFFECT_ROLE:
        role_changed(n, e);
        break;
    case EFFECT_SNAPSHOT_SEND:
        node_snapshot_send(n, e->snapshot_send.to);
        break;
    case EFFECT_DRAFT:
        if (n->draft_mask != e->draft.mask)
            log_info("draft", "witnesses=%#x", e->draft.mask);
        n->draft_mask = e->draft.mask;
        node_report_space(n);
        break;
    case EFFECT_DEMOTE:
        n->demote_index = e->at.index; /* carried out by the next tick: gathered work */
        n->own_wake = time_min(n->own_wake, time_max(n->now + DEMOTE_DELAY_US, n->demote_after));
        break;
    case EFFECT_TRUNCATE:
        store_truncate(n->store, e->at.index);
        break;
    case EFFECT_STOPPED_LEADING:
        n->handed_over = true;
        break;
    }
}

void node_replica_feed(struct node *n, struct node_replica_event *ev, bool more)
{
    ev->event.now = n->now;
    ev->event.random = node_random(n);
    ev->event.more = more;
    replica_step(n->replica, &ev->event, &n->update);
    for (size_t i = 0; i < n->update.count; i++)
        carry_out(n, &n->update.effects[i]);
    n->replica_wake = n->update.wake_at;
    replica_update_clear(&n->update);
}

void node_replica_frame(struct node *n, struct link *link, uint32_t from, const uint8_t *control,
                        size_t size, struct blob *bulk)
{
    struct message *m = xcalloc(1, sizeof *m);
    int r = message_decode(control, size, bulk, m);
    if (r < 0) {
        free(m);
        link_close(link, "replica's message does not decode");
        return;
    }
    struct node_replica_event ev = {.event = {.kind = REPLICA_MESSAGE}, .message = m};
    ev.event.message.from = from;
    ev.event.message.message = m;
    node_queue_replica(n, &ev);
}
