#include "repl/core/replica.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mutant.h"
#include "repl/core/state.h"

/* ---- what the other files emit with ---------------------------------------------------------- */

struct replica_effect *emit(struct replica *r, enum replica_effect_kind kind)
{
    struct replica_update *u = r->out;
    if (u->count == u->capacity) {
        u->capacity = u->capacity > 0 ? u->capacity * 2 : 16;
        u->effects = xreallocarray(u->effects, u->capacity, sizeof(*u->effects));
    }
    struct replica_effect *f = &u->effects[u->count++];
    memset(f, 0, sizeof(*f));
    f->kind = kind;
    return f;
}

void emit_at(struct replica *r, enum replica_effect_kind kind, uint64_t ticket, uint64_t index)
{
    struct replica_effect *f = emit(r, kind);
    f->at.ticket = ticket;
    f->at.index = index;
}

struct message *emit_message(struct replica *r, uint32_t to, enum message_kind kind)
{
    struct replica_effect *f = emit(r, EFFECT_SEND);
    f->send.to = to;
    f->send.message.kind = kind;
    return &f->send.message;
}

uint64_t emit_ensure(struct replica *r, const struct block_ref *refs, uint32_t count,
                     node_mask sources, uint64_t ticket)
{
    struct replica_effect *f = emit(r, EFFECT_ENSURE);
    f->ensure.ticket = ticket != 0 ? ticket : ++r->next_ticket;
    f->ensure.sources = sources;
    f->ensure.refs_count = count;
    f->ensure.refs = xmemdup(refs, count * sizeof(*refs));
    return f->ensure.ticket;
}

bool is_leader(const struct replica *r)
{
    return r->role == REPLICA_LEADER;
}

bool leads(const struct replica *r)
{
    return r->role == REPLICA_LEADER || r->role == REPLICA_RESCUE_LEADER;
}

/* Entries that become committed no longer wait for their bytes: the names go to `missing` and are
 * fetched in the background (RULES B3, B7). */
void commit_to(struct replica *r, uint64_t index)
{
    if (index <= r->commit) {
        return;
    }
    assert(index <= r->log.last);
    for (uint64_t i = r->commit + 1; i <= index; i++) {
        struct log_slot *s = log_slot(&r->log, i);
        if (s == NULL) {
            continue;
        }
        s->ticket = 0;
        slot_ensure_end(r, s);
        s->ensured = true;
    }
    r->commit = index;
    if (r->news_at == 0 && leads(r)) {
        r->news_at = r->now + NEWS_US;
    }
    log_move_ensured(&r->log);
}

/* ---- life ------------------------------------------------------------------------------------ */

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static void config_fill(struct replica_config *c)
{
    c->keep_entries = or_default(c->keep_entries, 65536);
    c->keep_bytes = or_default(c->keep_bytes, 64u << 20);
    c->inline_bytes = or_default(c->inline_bytes, 16u << 20);
    c->witness_log_bytes = or_default(c->witness_log_bytes, 256u << 20);
    c->peer_bytes = or_default(c->peer_bytes, 4u << 20);
    c->peer_entries = (uint32_t)or_default(c->peer_entries, 4096);
    c->append_bytes = or_default(c->append_bytes, 512u << 10);
}

struct replica *replica_new(const struct replica_config *config, uint64_t base_index,
                            uint64_t base_term)
{
    struct replica *r = xcalloc(1, sizeof(*r));
    r->config = *config;
    r->self = config->self;
    config_fill(&r->config);
    r->copies = member_copies(&config->members);
    r->witnesses = member_witnesses(&config->members);
    r->voters = member_voters(&config->members);
    assert((r->voters & quorum_bit(r->self)) != 0);
    r->witness = (r->witnesses & quorum_bit(r->self)) != 0;
    struct ballot_config ballot = config->ballot != NULL
                                      ? *config->ballot
                                      : ballot_config_default(config->self, &config->members);
    r->config.ballot = NULL;
    ballot_init(&r->ballot, &ballot);
    log_init(&r->log, base_index, base_term);
    r->role = REPLICA_FOLLOWER;
    return r;
}

void replica_free(struct replica *r)
{
    if (r == NULL) {
        return;
    }
    for (size_t i = 0; i < r->holds.count; i++) {
        hold_done(&r->holds.items[i]);
    }
    vec_done(&r->holds);
    vec_done(&r->reads);
    vec_done(&r->wants);
    vec_done(&r->writes);
    log_done(&r->log);
    free(r);
}

int replica_load_entry(struct replica *r, struct entry *e)
{
    assert(!r->started);
    if (e->index != r->log.last + 1 || e->term < log_term(&r->log, r->log.last)) {
        return -EINVAL;
    }
    log_append(&r->log, e, 0)->ensured = true;
    r->log.ensured = r->log.submitted = r->log.durable = r->log.last;
    return 0;
}

static void recv_start(struct replica *r, const struct replica_event *ev)
{
    assert(!r->started);
    r->started = true;
    uint64_t commit = ev->start.commit > ev->start.applied ? ev->start.commit : ev->start.applied;
    r->commit = r->log.base_index;
    commit_to(r, commit < r->log.last ? commit : r->log.last);
    r->advanced = ev->start.applied > r->log.base_index ? ev->start.applied : r->log.base_index;
    r->applied = r->durable_applied = ev->start.applied;
    r->whole_index = ev->start.whole_index;
    r->free_bytes = ev->start.free_bytes;
    r->position = log_position(&r->log);
    /* An installed snapshot may end in a term we never voted in: its record is as good as a vote
     * record of that term without a vote. */
    bool newer = r->position.term > ev->start.term || MUTANT(vote_forgotten);
    ballots_feed(r, (struct ballot_event){.kind = BALLOT_EV_START,
                                          .term = newer ? r->position.term : ev->start.term,
                                          .voted_for = newer ? 0 : ev->start.vote,
                                          .last = r->position});
}

/* ---- one step -------------------------------------------------------------------------------- */

static bool from_peer(const struct replica *r, uint32_t id)
{
    return id != r->self && (r->voters & quorum_bit(id)) != 0;
}

static void recv_message(struct replica *r, uint32_t from, const struct message *m)
{
    if (!from_peer(r, from)) {
        return;
    }
    switch (m->kind) {
    case MESSAGE_BALLOT:
        if (m->ballot.from == from && m->ballot.to == r->self) {
            ballots_feed(r, (struct ballot_event){
                                .kind = BALLOT_EV_MESSAGE, .peer = from, .message = m->ballot});
        }
        break;
    case MESSAGE_APPEND:
        recv_append(r, from, &m->append);
        break;
    case MESSAGE_APPEND_RESP:
        recv_append_resp(r, from, &m->append_resp);
        break;
    case MESSAGE_WANT:
        recv_want(r, from, &m->want);
        break;
    case MESSAGE_HELD:
        recv_held(r, from, &m->held);
        break;
    }
}

static void recv_ensured(struct replica *r, uint64_t ticket)
{
    bool found = false;
    entry_ensured(r, ticket, &found);
    if (!found) {
        hold_ensured(r, ticket, &found);
    }
    if (!found) {
        mend_ensured(r, ticket, &found);
    }
    if (!found) {
        want_ensured(r, ticket, &found); /* else it was ended meanwhile */
    }
}

static void recv_applied(struct replica *r, const struct replica_event *ev)
{
    r->applied = ev->applied.index;
    r->durable_applied = ev->applied.durable_applied;
    r->whole_index = ev->applied.whole_index;
    r->free_bytes = ev->applied.free_bytes;
}

static void dispatch(struct replica *r, const struct replica_event *ev)
{
    switch (ev->kind) {
    case REPLICA_START:
        recv_start(r, ev);
        break;
    case REPLICA_TICK:
        ballots_feed(r, (struct ballot_event){.kind = BALLOT_EV_TICK});
        break;
    case REPLICA_MESSAGE:
        recv_message(r, ev->message.from, ev->message.message);
        break;
    case REPLICA_LINK_UP:
    case REPLICA_LINK_DOWN:
        if (from_peer(r, ev->link.peer)) {
            peer_link(r, ev->link.peer, ev->kind == REPLICA_LINK_UP, ev->link.store_boot);
        }
        break;
    case REPLICA_WRITTEN:
        recv_written(r, ev->written.write_seq);
        break;
    case REPLICA_ENSURED:
        recv_ensured(r, ev->ensured.ticket);
        break;
    case REPLICA_APPLIED:
        recv_applied(r, ev);
        break;
    case REPLICA_PROPOSE:
        recv_propose(r, ev);
        break;
    case REPLICA_READ:
        recv_read(r, ev->read.id, ev->read.aside);
        break;
    case REPLICA_STOP:
        recv_stop(r);
        break;
    case REPLICA_SNAPSHOT_DONE:
        recv_snapshot_done(r, ev->snapshot_done.peer, ev->snapshot_done.ok);
        break;
    case REPLICA_SNAPSHOT_INSTALLED:
        recv_snapshot_installed(r, ev->snapshot_installed.index, ev->snapshot_installed.term);
        break;
    case REPLICA_PAUSED:
        /* The ballot measures lateness against its own wake_at and extends suspicion (RULES E5). */
        replica_trace(r, "n%u paused late=%lluus", r->self, (unsigned long long)ev->paused.late_us);
        break;
    }
}

static void tell_role(struct replica *r)
{
    struct replica_effect now = {.kind = EFFECT_ROLE};
    now.role.role = r->role;
    now.role.ready = r->ready;
    now.role.term = r->ballot.term;
    now.role.leader = r->ballot.leader;
    const struct replica_effect *old = &r->role_told;
    if (old->kind != EFFECT_ROLE || old->role.role != now.role.role ||
        old->role.ready != now.role.ready || old->role.term != now.role.term ||
        old->role.leader != now.role.leader) {
        r->role_told = now;
        emit(r, EFFECT_ROLE)->role = now.role;
    }
}

/* RULES S2: "Nothing above the node's own synced LSN enters it or is applied." */
static void advance(struct replica *r)
{
    uint64_t synced = MUTANT(applied_unsynced) ? r->log.last : r->log.durable;
    uint64_t index = r->commit < synced ? r->commit : synced;
    if (index > r->advanced) {
        r->advanced = index;
        emit_at(r, EFFECT_ADVANCE, 0, index);
    }
}

static time_us wake_at(const struct replica *r)
{
    time_us at = r->ballot.wake_at;
    at = time_min(at, lead_wake_at(r));
    at = time_min(at, draft_wake_at(r));
    if (is_leader(r)) {
        at = time_min(at, holds_wake_at(r));
    }
    at = time_min(at, handover_wake_at(r));
    return at == TIME_NEVER ? 0 : at;
}

/* What follows from the state as it is now. Entries leave last, so that one step or one batch of
 * events (`more`) makes one WRITE and one APPEND per peer. */
static void finish(struct replica *r, bool more)
{
    log_move_ensured(&r->log);
    ballots_feed_position(r);
    commit_by_quorum(r);
    lead_tick(r);
    mend_run(r);
    draft_run(r);
    draft_tell(r);
    holds_run(r);
    wants_run(r);
    handover_run(r);
    if (!more) {
        reads_begin(r);
        write_entries(r);
        if (leads(r)) {
            append_send_all(r);
        }
    }
    reads_answer(r);
    answer_send(r);
    advance(r);
    retain_run(r);
    draft_tell(r);
    tell_role(r);
}

void replica_step(struct replica *r, const struct replica_event *ev, struct replica_update *out)
{
    assert(r->started || ev->kind == REPLICA_START);
    assert(ev->now >= r->now);
    replica_update_clear(out);
    r->now = ev->now;
    r->random = ev->random;
    r->out = out;
    dispatch(r, ev);
    finish(r, ev->more);
    out->wake_at = wake_at(r);
    r->out = NULL;
}
