/* A leader sends its log: what may go to whom, how much, and when.
 * Sources: RULES B3, B4, B6, E1, E6; Ongaro 2014, 10.2.1 (pipelining). */
#include <assert.h>
#include <stdlib.h>

#include "repl/base/mutant.h"
#include "repl/core/state.h"

/* The bytes of new entries go to this peer: a copy, or a drafted witness (RULES B4). */
static bool gets_bytes(const struct replica *r, uint32_t id)
{
    return ((r->copies | r->draft_mask) & quorum_bit(id)) != 0;
}

/* RULES B4: "An undrafted witness is sent an entry only when it names no blocks and all before it
 * were sent, or once it is committed." */
static bool may_send(const struct replica *r, uint32_t id, uint64_t index)
{
    return gets_bytes(r, id) || index <= r->commit ||
           log_entry(&r->log, index)->blocks_count == 0 || MUTANT(undrafted_sent);
}

/* The entry as this peer gets it. A witness never needs the bytes of a committed entry. */
static struct entry *entry_for(const struct replica *r, uint32_t id, uint64_t index)
{
    struct entry *e = log_entry(&r->log, index);
    bool witness = (r->witnesses & quorum_bit(id)) != 0;
    return witness && (index <= r->commit || !gets_bytes(r, id)) ? entry_without_bytes(e)
                                                                 : entry_ref(e);
}

/* An APPEND without entries that follows `prev`. */
static struct message_append *append_new(struct replica *r, uint32_t id, uint64_t prev)
{
    struct progress *p = &r->peers[id];
    struct message_append *m = &emit_message(r, id, MESSAGE_APPEND)->append;
    m->term = r->role_term;
    m->prev_index = prev;
    m->prev_term = log_term(&r->log, prev);
    m->commit = r->commit;
    m->read_round = r->read_round;
    m->sent_at = r->now;
    m->rescue = r->role == REPLICA_RESCUE_LEADER;
    if (is_leader(r)) {
        m->demote_index = least_whole_index(r);
        m->keep_index = least_durable_applied(r);
        m->draft_mask = r->draft_mask;
        m->rebase = (r->witnesses & quorum_bit(id)) != 0 && prev == r->log.base_index;
        m->successors_count = handover_successors(r, m->successors);
    }
    p->commit_sent = r->commit;
    p->round_sent = r->read_round;
    p->heartbeat = false;
    return m;
}

/* The next run of entries for `id`, at most one message. False when none may go now. */
static bool send_entries(struct replica *r, uint32_t id)
{
    struct progress *p = &r->peers[id];
    const struct log *l = &r->log;
    uint64_t in_flight = log_bytes(l, p->match, p->next - 1);
    uint64_t end = p->next, bytes = 0; /* [next, end) goes */
    while (end <= l->last && may_send(r, id, end) && end - p->next < MESSAGE_ENTRIES_MAX &&
           end - p->match <= r->config.peer_entries) {
        bytes = log_bytes(l, p->next - 1, end);
        bool first = p->next == p->match + 1 && end == p->next; /* always something on its way */
        if (!first && (in_flight + bytes > r->config.peer_bytes ||
                       (end > p->next && bytes > r->config.append_bytes))) {
            break;
        }
        end++;
    }
    if (end == p->next) {
        return false;
    }
    struct message_append *m = append_new(r, id, p->next - 1);
    m->entries_count = (uint32_t)(end - p->next);
    m->entries = xcalloc(m->entries_count, sizeof(*m->entries));
    for (uint32_t i = 0; i < m->entries_count; i++) {
        m->entries[i] = entry_for(r, id, p->next + i);
    }
    p->next = end;
    return true;
}

/* Its next entry is gone here. A witness starts again behind our base; a copy needs our state. A
 * rescue leader has nothing for either: it does not know that all before its base is committed. */
static void send_below_base(struct replica *r, uint32_t id)
{
    struct progress *p = &r->peers[id];
    if (!is_leader(r)) {
        return;
    }
    if ((r->witnesses & quorum_bit(id)) != 0) {
        p->next = r->log.base_index + 1;
        p->asked = false;
        return;
    }
    if (r->now >= p->snapshot_after) {
        p->state = PROGRESS_SNAPSHOT;
        p->snapshot_after = r->now + SNAPSHOT_AGAIN_US;
        replica_trace(r, "n%u snapshot to=n%u next=%llu base=%llu", r->self, id,
                      (unsigned long long)p->next, (unsigned long long)r->log.base_index);
        emit(r, EFFECT_SNAPSHOT_SEND)->snapshot_send.to = id;
    }
}

/* Entries for a witness that is not drafted are in no hurry while every copy keeps up: the copies
 * are a majority without it, and many entries go at once with a heartbeat. */
static bool at_leisure(const struct replica *r, uint32_t id)
{
    if (gets_bytes(r, id) || r->peers[id].state != PROGRESS_REPLICATE || !is_leader(r)) {
        return false;
    }
    quorum_each(copy, r->copies) {
        const struct progress *p = &r->peers[copy];
        bool reached = copy == r->self || (p->link_up && p->state == PROGRESS_REPLICATE);
        if (!reached || p->lacking) {
            return false;
        }
    }
    return quorum_reached(r->copies, r->voters);
}

/* A commit index rides with the next entries: a message of its own wakes the peer only when none
 * come soon. */
static bool news_due(const struct replica *r)
{
    return r->news_at != 0 && r->now >= r->news_at;
}

static void send_to(struct replica *r, uint32_t id)
{
    struct progress *p = &r->peers[id];
    if (!p->heartbeat && p->round_sent == r->read_round && at_leisure(r, id)) {
        return;
    }
    if (p->state != PROGRESS_SNAPSHOT && p->next <= r->log.base_index) {
        send_below_base(r, id);
    }
    bool sent = false;
    if (p->state == PROGRESS_PROBE && !p->asked && p->next > r->log.base_index) {
        append_new(r, id, p->next - 1);
        p->asked = sent = true;
    }
    while (p->state == PROGRESS_REPLICATE && p->next > r->log.base_index && send_entries(r, id)) {
        sent = true;
    }
    bool news = p->round_sent < r->read_round || (p->commit_sent < r->commit && news_due(r));
    if (!sent && (p->heartbeat || news)) {
        /* prev 0 fits every log: all a heartbeat can say to a peer that waits for a snapshot. */
        append_new(r, id, p->next > r->log.base_index ? p->next - 1 : 0);
    }
}

void append_send_all(struct replica *r)
{
    quorum_each(id, r->voters & ~quorum_bit(r->self)) {
        if (r->peers[id].link_up) {
            send_to(r, id);
        }
    }
    if (news_due(r)) {
        r->news_at = 0;
    }
}
