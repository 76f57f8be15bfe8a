/* One replica, stepped by hand: what it may say and write before something is durable, what it
 * refuses, and a snapshot that arrives in the middle of a write. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/core/replica.h"
#include "repl/core/state.h"
#include "tests/unit/lib/run.h"

/* Node 2 of 2C+1W: nodes 1 and 2 are the copies, 3 is the witness. */
struct lone {
    struct replica_config config;
    struct replica *r;
    struct replica_update u;
    time_us now;
};

static void lone_new(struct lone *l, uint32_t self)
{
    *l = (struct lone){.now = 10 * TIME_S};
    member_set_init(&l->config.members);
    member_set_put(&l->config.members, 1, MEMBER_COPY, 1);
    member_set_put(&l->config.members, 2, MEMBER_COPY, 2);
    member_set_put(&l->config.members, 3, MEMBER_WITNESS, 3);
    l->config.self = self;
    l->r = replica_new(&l->config, 0, 0);
}

static void step(struct lone *l, struct replica_event ev)
{
    l->now += 1 * TIME_MS;
    ev.now = l->now;
    ev.random = l->now;
    replica_step(l->r, &ev, &l->u);
    replica_check(l->r);
}

static void lone_start(struct lone *l, uint64_t term)
{
    struct replica_event ev = {.kind = REPLICA_START};
    ev.start.term = term;
    step(l, ev);
    for (uint32_t peer = 1; peer <= 3; peer++) {
        struct replica_event up = {.kind = REPLICA_LINK_UP};
        up.link.peer = peer;
        up.link.store_boot = 7;
        if (peer != l->config.self)
            step(l, up);
    }
}

static void lone_free(struct lone *l)
{
    replica_update_done(&l->u);
    replica_free(l->r);
}

static struct replica_effect *find(struct lone *l, enum replica_effect_kind kind)
{
    for (size_t i = 0; i < l->u.count; i++)
        if (l->u.effects[i].kind == kind)
            return &l->u.effects[i];
    return NULL;
}

static struct message *find_message(struct lone *l, enum message_kind kind)
{
    for (size_t i = 0; i < l->u.count; i++)
        if (l->u.effects[i].kind == EFFECT_SEND && l->u.effects[i].send.message.kind == kind)
            return &l->u.effects[i].send.message;
    return NULL;
}

static void hear(struct lone *l, uint32_t from, struct message *m)
{
    struct replica_event ev = {.kind = REPLICA_MESSAGE};
    ev.message.from = from;
    ev.message.message = m;
    step(l, ev);
    message_done(m);
}

static void written(struct lone *l, uint64_t seq)
{
    step(l, (struct replica_event){.kind = REPLICA_WRITTEN, .written = {seq}});
}

enum bytes_form { BYTES_NONE, BYTES_INLINE, BYTES_BY_PARTS };

/* Entries prev + 1 .. prev + count of `entry_term` from the leader of `term`. */
static struct message append(uint64_t term, uint64_t prev, uint64_t prev_term, uint64_t entry_term,
                             uint32_t count, enum bytes_form form, uint64_t commit)
{
    struct message m = {.kind = MESSAGE_APPEND};
    struct block_ref ref = {.size = 100};
    struct blob *bytes = form == BYTES_INLINE ? blob_new(100) : NULL;
    if (bytes)
        memset(bytes->data, 1, 100);
    m.append.term = term;
    m.append.prev_index = prev;
    m.append.prev_term = prev_term;
    m.append.commit = commit;
    m.append.sent_at = 1;
    m.append.entries_count = count;
    m.append.entries = calloc(count + 1, sizeof(struct entry *));
    for (uint32_t i = 0; i < count; i++) {
        ref.name = (struct block_name){.session = entry_term, .n = prev + 1 + i};
        m.append.entries[i] =
            entry_new(entry_term, prev + 1 + i, ENTRY_OP, NULL, &ref, form != BYTES_NONE, bytes);
    }
    blob_unref(bytes);
    return m;
}

/* DESIGN D2: "a message that's only true once something is durable is emitted after WRITTEN". */
START_TEST(answers_wait_for_the_disk)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 0);
    struct message m = append(4, 0, 0, 4, 3, BYTES_INLINE, 0);
    hear(&l, 1, &m);
    struct replica_effect *vote = find(&l, EFFECT_WRITE_VOTE),
                          *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert(vote && log);
    ck_assert_uint_eq(vote->write_vote.term, 4);
    ck_assert_uint_lt(vote->write_vote.write_seq, log->write_entries.write_seq);
    uint64_t vote_seq = vote->write_vote.write_seq, log_seq = log->write_entries.write_seq;
    ck_assert_uint_eq(log->write_entries.count, 3);
    ck_assert_ptr_null(find_message(&l, MESSAGE_APPEND_RESP)); /* not even the term is durable */
    written(&l, vote_seq);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    if (answer)
        ck_assert_uint_eq(answer->append_resp.match, 0);
    written(&l, log_seq);
    answer = find_message(&l, MESSAGE_APPEND_RESP);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(answer->append_resp.match, 3);
    ck_assert_uint_eq(answer->append_resp.term, 4);
    ck_assert_ptr_null(find(&l, EFFECT_ADVANCE)); /* durable, not committed */
    m = append(4, 3, 4, 4, 0, BYTES_NONE, 2);
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_ADVANCE)->at.index, 2);
    lone_free(&l);
}
END_TEST

/* RULES B3: an entry above the commit index is not even written before its bytes are here; one
 * below may be (its names go to `missing`). */
START_TEST(uncommitted_entries_wait_for_their_bytes)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 2, BYTES_BY_PARTS, 1);
    hear(&l, 1, &m);
    struct replica_effect *ensure = find(&l, EFFECT_ENSURE), *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert(ensure && log);
    ck_assert_uint_eq(log->write_entries.count, 1);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 1);
    ck_assert_uint_eq(log->write_entries.commit, 1);
    ck_assert_uint_eq(ensure->ensure.refs[0].name.n, 2);
    uint64_t ticket = ensure->ensure.ticket, seq = log->write_entries.write_seq;
    written(&l, seq);
    ck_assert_ptr_null(find(&l, EFFECT_WRITE_ENTRIES));
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 1);
    step(&l, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {ticket + 100}});
    ck_assert_ptr_null(find(&l, EFFECT_WRITE_ENTRIES)); /* some other ticket */
    step(&l, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {ticket}});
    log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert_ptr_nonnull(log);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 2);
    lone_free(&l);
}
END_TEST

/* The same entry becomes committed meanwhile: it waits no longer, and nobody fetches for it. */
START_TEST(commit_ends_the_wait_for_bytes)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 1, BYTES_BY_PARTS, 0);
    hear(&l, 1, &m);
    uint64_t ticket = find(&l, EFFECT_ENSURE)->ensure.ticket;
    m = append(4, 1, 4, 4, 0, BYTES_NONE, 1);
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_ENSURE_END)->ensure.ticket, ticket);
    ck_assert_uint_eq(find(&l, EFFECT_WRITE_ENTRIES)->write_entries.commit, 1);
    lone_free(&l);
}
END_TEST

static struct message want(uint64_t id)
{
    struct message m = {.kind = MESSAGE_WANT};
    m.want.term = 4;
    m.want.id = id;
    m.want.refs_count = 1;
    m.want.refs = calloc(1, sizeof *m.want.refs);
    m.want.refs[0] = (struct block_ref){.name = {9, id}, .size = 100};
    return m;
}

/* A leader says nothing when it gives up a proposal; it no longer asks. */
START_TEST(a_want_ends_when_the_leader_asks_no_more)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 1, BYTES_BY_PARTS, 0);
    hear(&l, 1, &m);
    m = want(1);
    hear(&l, 1, &m);
    uint64_t given_up = find(&l, EFFECT_ENSURE)->ensure.ticket;
    m = want(2);
    hear(&l, 1, &m);
    uint64_t waits = find(&l, EFFECT_ENSURE)->ensure.ticket;
    for (int i = 0; i < 20; i++) {
        l.now += WANT_AGAIN_US;
        m = want(2);
        hear(&l, 1, &m);
        ck_assert_ptr_null(find(&l, EFFECT_ENSURE));
        struct replica_effect *end = find(&l, EFFECT_ENSURE_END);
        if (end) {
            ck_assert_uint_eq(end->ensure.ticket, given_up);
            given_up = 0;
        }
    }
    ck_assert_uint_eq(given_up, 0); /* and the entry waits on */
    step(&l, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {waits}});
    ck_assert_ptr_nonnull(find_message(&l, MESSAGE_HELD));
    m = want(1);
    hear(&l, 1, &m);
    ck_assert_ptr_nonnull(find(&l, EFFECT_ENSURE)); /* it was only slow */
    lone_free(&l);
}
END_TEST

static void expect_unchanged(struct lone *l, struct message m)
{
    struct replica_status before, after;
    replica_status(l->r, &before);
    hear(l, 1, &m);
    replica_status(l->r, &after);
    ck_assert_uint_eq(after.last_index, before.last_index);
    ck_assert_uint_eq(after.commit, before.commit);
    ck_assert_ptr_null(find(l, EFFECT_WRITE_ENTRIES));
}

START_TEST(impossible_appends_change_nothing)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 3, BYTES_NONE, 2);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    expect_unchanged(&l, append(5, 1, 4, 5, 1, BYTES_NONE, 2)); /* over a committed entry */
    expect_unchanged(&l, append(5, 3, 4, 6, 1, BYTES_NONE, 2)); /* an entry of a future term */
    m = append(5, 3, 4, 5, 2, BYTES_NONE, 2);
    struct entry *swap = m.append.entries[0];
    m.append.entries[0] = m.append.entries[1];
    m.append.entries[1] = swap; /* indexes out of order */
    expect_unchanged(&l, m);
    m = append(5, 3, 4, 5, 1, BYTES_NONE, 99); /* a commit index beyond what it sent */
    hear(&l, 1, &m);
    ck_assert_uint_eq(replica_commit(l.r), 4);
    ck_assert_uint_eq(replica_last_index(l.r), 4);
    lone_free(&l);
}
END_TEST

/* Ongaro 2014, 3.5: an uncommitted suffix of an older leader gives way. */
START_TEST(conflicting_suffix_is_replaced)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 5, BYTES_NONE, 2);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    m = append(6, 4, 5, 6, 1, BYTES_NONE, 2); /* does not fit: our entry 4 is of term 4 */
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_VOTE)->write_vote.write_seq);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    ck_assert(answer && answer->append_resp.reject);
    ck_assert_uint_eq(answer->append_resp.hint_index, 3);
    m = append(6, 2, 4, 5, 1, BYTES_NONE, 2);
    hear(&l, 1, &m);
    struct replica_effect *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 3);
    ck_assert_uint_eq(log->write_entries.entries[0]->term, 5);
    ck_assert_uint_eq(replica_last_index(l.r), 3);
    written(&l, log->write_entries.write_seq);
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 3);
    lone_free(&l);
}
END_TEST

/* What the store has of the new suffix's blocks it may have with an entry that is about to go: they
 * are looked for when the one that takes its place is written (simulator seed 3000231). */
START_TEST(blocks_of_a_replaced_entry_count_no_more)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 3, BYTES_INLINE, 1);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    m = append(6, 1, 4, 5, 1, BYTES_NONE, 1);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_VOTE)->write_vote.write_seq);
    m = append(6, 1, 4, 5, 1, BYTES_NONE, 1); /* in the place of entries 2 and 3 */
    hear(&l, 1, &m);
    m = append(6, 2, 5, 6, 2, BYTES_BY_PARTS, 1);
    hear(&l, 1, &m);
    ck_assert_ptr_null(find(&l, EFFECT_ENSURE));
    written(&l, l.r->write_seq);
    ck_assert_ptr_nonnull(find(&l, EFFECT_ENSURE));
    ck_assert_uint_eq(find(&l, EFFECT_ENSURE)->ensure.refs_count, 1);
    lone_free(&l);
}
END_TEST

/* A write of entries that were replaced meanwhile ends: it proves nothing about the new ones. */
START_TEST(write_of_replaced_entries_proves_nothing)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 5, BYTES_NONE, 0);
    hear(&l, 1, &m);
    uint64_t old_seq = find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq;
    m = append(5, 2, 4, 5, 3, BYTES_NONE, 0);
    hear(&l, 3, &m);
    written(&l, find(&l, EFFECT_WRITE_VOTE)->write_vote.write_seq); /* the old entries with it */
    ck_assert_uint_eq(l.r->log.durable, 2);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(answer->append_resp.match, 2);
    struct replica_effect *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert_ptr_nonnull(log);
    ck_assert_uint_gt(log->write_entries.write_seq, old_seq);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 3);
    ck_assert_uint_eq(log->write_entries.entries[0]->term, 5);
    written(&l, log->write_entries.write_seq);
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 5);
    lone_free(&l);
}
END_TEST

/* ---- leader ---------------------------------------------------------------------------------- */

static void ballot(struct lone *l, uint32_t from, enum ballot_message_kind kind, uint64_t term,
                   uint64_t ballot_term)
{
    struct message m = {.kind = MESSAGE_BALLOT};
    m.ballot = (struct ballot_message){.kind = kind,
                                       .from = from,
                                       .to = l->config.self,
                                       .term = term,
                                       .ballot = ballot_term,
                                       .granted = true};
    hear(l, from, &m);
}

static void respond(struct lone *l, uint32_t from, uint64_t match, uint64_t read_round)
{
    struct message m = {.kind = MESSAGE_APPEND_RESP};
    m.append_resp.term = replica_term(l->r);
    m.append_resp.match = match;
    m.append_resp.read_round = read_round;
    hear(l, from, &m);
}

/* Node 2 becomes leader of the term after its last with the votes of node 3. */
static void lone_elect(struct lone *l)
{
    uint64_t before = replica_term(l->r);
    for (int i = 0; i < 200 && !find_message(l, MESSAGE_BALLOT); i++) {
        l->now += 20 * TIME_MS;
        step(l, (struct replica_event){.kind = REPLICA_TICK});
    }
    ballot(l, 3, BALLOT_MSG_PREVOTE_RESP, before, before + 1);
    for (int i = 0; i < 20 && !find(l, EFFECT_WRITE_VOTE); i++) {
        l->now += 20 * TIME_MS;
        step(l, (struct replica_event){.kind = REPLICA_TICK});
    }
    written(l, find(l, EFFECT_WRITE_VOTE)->write_vote.write_seq);
    ballot(l, 3, BALLOT_MSG_VOTE_RESP, before + 1, before + 1);
    ck_assert_int_eq(replica_role(l->r), REPLICA_LEADER);
    ck_assert_uint_eq(replica_term(l->r), before + 1);
}

/* V8 (Ongaro 2014, figure 3.7): entries of earlier terms are committed only together with one of
 * its own, however many nodes hold them. */
START_TEST(old_entries_commit_with_a_new_one)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    struct message m = append(2, 0, 0, 2, 3, BYTES_NONE, 0);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    lone_elect(&l);
    uint64_t seq = find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq;
    ck_assert_uint_eq(replica_last_index(l.r), 4); /* with its first entry */
    respond(&l, 3, 3, 0);
    respond(&l, 1, 3, 0); /* all three hold entry 3 */
    ck_assert_uint_eq(replica_commit(l.r), 0);
    respond(&l, 3, 4, 0);
    ck_assert_uint_eq(replica_commit(l.r), 0); /* one node besides a leader that has not written */
    written(&l, seq);
    ck_assert_uint_eq(replica_commit(l.r), 4);
    ck_assert_uint_eq(find(&l, EFFECT_ADVANCE)->at.index, 4);
    lone_free(&l);
}
END_TEST

static void ask_read(struct lone *l, uint64_t id)
{
    step(l, (struct replica_event){.kind = REPLICA_READ, .read = {.id = id}});
}

/* E1: without a lease a read waits for a round begun after it came: an earlier one proves nothing.
 */
START_TEST(read_needs_a_round_of_its_own)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    lone_elect(&l);
    ask_read(&l, 71); /* before the first commit of the term: not even a round is begun */
    ck_assert_ptr_null(find(&l, EFFECT_READ_READY));
    written(&l, 100);
    respond(&l, 3, 1, 0);
    ck_assert_uint_eq(replica_commit(l.r), 1);
    uint64_t first = find_message(&l, MESSAGE_APPEND)->append.read_round;
    ck_assert_uint_gt(first, 0);
    ask_read(&l, 72);
    uint64_t second = find_message(&l, MESSAGE_APPEND)->append.read_round;
    ck_assert_uint_gt(second, first);
    respond(&l, 3, 1, first);
    ck_assert_uint_eq(find(&l, EFFECT_READ_READY)->at.ticket, 71);
    respond(&l, 1, 1, first);
    ck_assert_ptr_null(find(&l, EFFECT_READ_READY));
    respond(&l, 1, 1, second);
    ck_assert_uint_eq(find(&l, EFFECT_READ_READY)->at.ticket, 72);
    lone_free(&l);
}
END_TEST

/* RULES B3: what a new leader's log holds has its bytes: an entry that still waited for them, and
 * of which nobody was told, goes. */
START_TEST(new_leader_drops_what_lacks_bytes)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    struct message m = append(2, 0, 0, 2, 2, BYTES_BY_PARTS, 0);
    hear(&l, 1, &m);
    ck_assert_uint_eq(replica_last_index(l.r), 2);
    lone_elect(&l);
    ck_assert_uint_eq(replica_last_index(l.r), 1);
    ck_assert_int_eq(replica_entry(l.r, 1)->kind, ENTRY_NOOP);
    lone_free(&l);
}
END_TEST

/* The APPEND to `to` in the last step, NULL: none. */
static const struct message_append *append_to(const struct lone *l, uint32_t to)
{
    for (size_t i = 0; i < l->u.count; i++) {
        const struct replica_effect *f = &l->u.effects[i];
        if (f->kind == EFFECT_SEND && f->send.to == to && f->send.message.kind == MESSAGE_APPEND)
            return &f->send.message.append;
    }
    return NULL;
}

/* Proposes without blocks; it becomes `index`, and is written here. */
static void propose_plain(struct lone *l, uint64_t index)
{
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = index;
    ev.propose.kind = ENTRY_OP;
    step(l, ev);
    ck_assert_uint_eq(find(l, EFFECT_APPENDED)->at.index, index);
}

/* Node 2 leads, 1 and 3 have all there is, and the heartbeats of the beginning are over. */
static void lone_lead(struct lone *l)
{
    lone_new(l, 2);
    lone_start(l, 2);
    lone_elect(l);
    written(l, 100);
    respond(l, 1, 1, 0);
    respond(l, 3, 1, 0);
    for (int i = 0; i < 4; i++)
        step(l, (struct replica_event){.kind = REPLICA_TICK});
}

/* A message for the commit index alone would wake the copy once more for every entry. */
START_TEST(commit_index_rides_with_the_next_entries)
{
    struct lone l;
    lone_lead(&l);
    propose_plain(&l, 2);
    ck_assert_uint_eq(append_to(&l, 1)->entries_count, 1);
    written(&l, 100);
    respond(&l, 1, 2, 0);
    ck_assert_uint_eq(replica_commit(l.r), 2);
    ck_assert_ptr_null(append_to(&l, 1));
    propose_plain(&l, 3);
    ck_assert_uint_eq(append_to(&l, 1)->commit, 2);
    written(&l, 100);
    respond(&l, 1, 3, 0);
    ck_assert_ptr_null(append_to(&l, 1));
    ck_assert_uint_le(l.u.wake_at, l.now + NEWS_US); /* no entries come: told by itself */
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    ck_assert_uint_eq(append_to(&l, 1)->commit, 3);
    ck_assert_uint_eq(append_to(&l, 1)->entries_count, 0);
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    ck_assert_ptr_null(append_to(&l, 1)); /* once */
    lone_free(&l);
}
END_TEST

/* Who asked the leader may ask a copy next, for what is committed now. */
START_TEST(commit_index_hurries_before_a_read)
{
    struct lone l;
    lone_lead(&l);
    propose_plain(&l, 2);
    written(&l, 100);
    respond(&l, 1, 2, 0);
    ck_assert_ptr_null(append_to(&l, 1));
    ask_read(&l, 71);
    ck_assert_uint_eq(append_to(&l, 1)->commit, 2);
    lone_free(&l);
}
END_TEST

/* Mounts that do nothing renew their sessions every second: that alone must not make the leader
 * send heartbeats as if there was work. */
START_TEST(renewals_leave_the_leader_idle)
{
    struct lone l;
    lone_lead(&l);
    l.now += ACTIVE_US;
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    time_us at = l.r->heartbeat_at;
    ck_assert_uint_eq(at, l.now + HEARTBEAT_IDLE_US);
    struct replica_event renewal = {.kind = REPLICA_READ, .read = {.id = 71, .aside = true}};
    step(&l, renewal);
    respond(&l, 1, 1, append_to(&l, 1)->read_round);
    ck_assert_ptr_nonnull(find(&l, EFFECT_READ_READY));
    ck_assert_uint_eq(l.r->heartbeat_at, at);
    ask_read(&l, 72);
    ck_assert_uint_lt(l.r->heartbeat_at, at);
    lone_free(&l);
}
END_TEST

/* The copies are a majority: the witness's disk and links are left alone but for heartbeats. */
START_TEST(witness_gets_entries_with_heartbeats)
{
    struct lone l;
    lone_lead(&l);
    propose_plain(&l, 2);
    ck_assert_ptr_null(append_to(&l, 3));
    written(&l, 100);
    respond(&l, 1, 2, 0);
    ck_assert_ptr_null(append_to(&l, 3));
    propose_plain(&l, 3);
    ck_assert_ptr_null(append_to(&l, 3));
    l.now += HEARTBEAT_US;
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    ck_assert_uint_eq(append_to(&l, 3)->entries_count, 2);
    lone_free(&l);
}
END_TEST

START_TEST(witness_gets_entries_at_once_when_a_copy_is_gone)
{
    struct lone l;
    lone_lead(&l);
    propose_plain(&l, 2);
    ck_assert_ptr_null(append_to(&l, 3));
    struct replica_event down = {.kind = REPLICA_LINK_DOWN};
    down.link.peer = 1;
    step(&l, down);
    ck_assert_uint_eq(append_to(&l, 3)->entries_count, 1);
    propose_plain(&l, 3);
    ck_assert_uint_eq(append_to(&l, 3)->entries_count, 1);
    lone_free(&l);
}
END_TEST

/* RULES B4: an undrafted witness gets nothing that names blocks before it is committed. */
START_TEST(undrafted_witness_gets_no_names)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    lone_elect(&l);
    written(&l, 100);
    respond(&l, 1, 1, 0);
    respond(&l, 3, 1, 0);
    ck_assert_uint_eq(replica_draft_mask(l.r), 0);
    struct block_ref ref = {.name = {9, 1}, .size = 10};
    struct blob *bytes = blob_copy("0123456789", 10);
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = 5;
    ev.propose.kind = ENTRY_OP;
    ev.propose.blocks = &ref;
    ev.propose.blocks_count = 1;
    ev.propose.inline_bytes = bytes;
    step(&l, ev);
    ck_assert_uint_eq(find(&l, EFFECT_APPENDED)->at.index, 2);
    uint64_t seq = find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq;
    bool to_copy = false;
    for (size_t i = 0; i < l.u.count; i++) {
        const struct replica_effect *f = &l.u.effects[i];
        if (f->kind != EFFECT_SEND || f->send.message.kind != MESSAGE_APPEND)
            continue;
        to_copy = to_copy || (f->send.to == 1 && f->send.message.append.entries_count == 1);
        ck_assert(f->send.to != 3 || f->send.message.append.entries_count == 0);
    }
    ck_assert(to_copy);
    written(&l, seq);
    respond(&l, 1, 2, 0);
    ck_assert_uint_eq(replica_commit(l.r), 2);
    l.now += HEARTBEAT_US;
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    ck_assert_uint_eq(append_to(&l, 3)->entries_count, 1); /* now, without bytes */
    ck_assert_ptr_null(append_to(&l, 3)->entries[0]->inline_bytes);
    blob_unref(bytes);
    lone_free(&l);
}
END_TEST

/* A store that was restarted may have lost what a mount had sent it (RULES B9). */
START_TEST(restarted_store_holds_nothing_for_sure)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    lone_elect(&l);
    written(&l, 100);
    respond(&l, 1, 1, 0);
    struct block_ref ref = {.name = {9, 1}, .size = 10};
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = 5;
    ev.propose.kind = ENTRY_OP;
    ev.propose.blocks = &ref;
    ev.propose.blocks_count = 1;
    ev.propose.holders = 1u << 1 | 1u << 2;
    step(&l, ev);
    uint64_t ticket = find(&l, EFFECT_ENSURE)->ensure.ticket;
    struct replica_event link = {.kind = REPLICA_LINK_DOWN};
    link.link.peer = 1;
    step(&l, link);
    link.kind = REPLICA_LINK_UP;
    link.link.store_boot = 8;
    step(&l, link);
    step(&l, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {ticket}});
    ck_assert_ptr_null(find(&l, EFFECT_APPENDED)); /* its own store alone is no f+1 */
    ck_assert(replica_holds_block(l.r, ref.name)); /* so that it stays (simulator seed 600859) */
    ck_assert(!replica_holds_block(l.r, (struct block_name){9, 2}));
    struct message *want = find_message(&l, MESSAGE_WANT);
    ck_assert_ptr_nonnull(want);
    struct message held = {.kind = MESSAGE_HELD};
    held.held.term = replica_term(l.r);
    held.held.id = want->want.id;
    hear(&l, 1, &held);
    ck_assert_uint_eq(find(&l, EFFECT_APPENDED)->at.ticket, 5);
    ck_assert(!replica_holds_block(l.r, ref.name)); /* its entry names it now */
    lone_free(&l);
}
END_TEST

/* ---- odds and ends --------------------------------------------------------------------------- */

/* PROTOCOL V6: a leader of the past is told so. */
START_TEST(old_leader_is_told_the_term)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 9);
    struct message m = append(8, 0, 0, 8, 1, BYTES_NONE, 0);
    hear(&l, 1, &m);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    ck_assert(answer && answer->append_resp.reject);
    ck_assert_uint_eq(answer->append_resp.term, 9);
    ck_assert_uint_eq(replica_last_index(l.r), 0);
    lone_free(&l);
}
END_TEST

/* Proposals and reads at a follower come to an end at once, and so does what is malformed. */
START_TEST(follower_drops_proposals_and_reads)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = 31;
    ev.propose.kind = ENTRY_OP;
    step(&l, ev);
    ck_assert_uint_eq(find(&l, EFFECT_DROPPED)->at.ticket, 31);
    ck_assert_uint_eq(find(&l, EFFECT_DROPPED)->at.index, 0);
    step(&l, (struct replica_event){.kind = REPLICA_READ, .read = {.id = 32}});
    ck_assert_uint_eq(find(&l, EFFECT_READ_FAILED)->at.ticket, 32);
    lone_free(&l);
}
END_TEST

START_TEST(journal_that_does_not_continue_is_refused)
{
    struct lone l;
    lone_new(&l, 2);
    struct entry *one = entry_new(3, 1, ENTRY_NOOP, NULL, NULL, 0, NULL);
    struct entry *three = entry_new(3, 3, ENTRY_NOOP, NULL, NULL, 0, NULL);
    struct entry *older = entry_new(2, 2, ENTRY_NOOP, NULL, NULL, 0, NULL);
    ck_assert_int_eq(replica_load_entry(l.r, three), -EINVAL);
    ck_assert_int_eq(replica_load_entry(l.r, one), 0);
    ck_assert_int_eq(replica_load_entry(l.r, three), -EINVAL);
    ck_assert_int_eq(replica_load_entry(l.r, older), -EINVAL);
    lone_start(&l, 3);
    ck_assert_uint_eq(replica_last_index(l.r), 1);
    entry_unref(one);
    entry_unref(three);
    entry_unref(older);
    lone_free(&l);
}
END_TEST

static void install(struct lone *l, uint64_t index, uint64_t term)
{
    struct replica_event ev = {.kind = REPLICA_SNAPSHOT_INSTALLED};
    ev.snapshot_installed.index = index;
    ev.snapshot_installed.term = term;
    step(l, ev);
}

/* A slow disk: entries are known committed beyond the snapshot that now comes, but not written yet.
 * They stay, and are written again behind it; the write under way proves nothing any more. */
START_TEST(snapshot_in_the_middle_of_a_write)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 8, BYTES_NONE, 7);
    hear(&l, 1, &m);
    uint64_t seq = find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq;
    ck_assert_uint_eq(replica_commit(l.r), 7);
    install(&l, 5, 4);
    ck_assert_uint_eq(replica_commit(l.r), 7);
    ck_assert_uint_eq(replica_last_index(l.r), 8);
    ck_assert_uint_eq(l.r->log.base_index, 5);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    if (answer)
        ck_assert_uint_eq(answer->append_resp.match, 5);
    written(&l, seq);
    ck_assert_uint_eq(l.r->log.durable, 5);
    struct replica_effect *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert_ptr_nonnull(log);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 6);
    ck_assert_uint_eq(log->write_entries.count, 3);
    written(&l, log->write_entries.write_seq);
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 8);
    ck_assert_uint_eq(find(&l, EFFECT_ADVANCE)->at.index, 7);
    lone_free(&l);
}
END_TEST

/* A witness behind a slow disk is told twice where the leader's log begins: the first write proves
 * nothing of the second (RULES B3). */
START_TEST(rebase_after_a_rebase_waits_for_its_own_write)
{
    struct lone l;
    lone_new(&l, 3);
    lone_start(&l, 4);
    struct message m = append(4, 20, 4, 4, 0, BYTES_NONE, 20);
    m.append.rebase = true;
    hear(&l, 1, &m);
    uint64_t first = find(&l, EFFECT_WRITE_BASE)->write_base.write_seq;
    m = append(4, 30, 4, 4, 0, BYTES_NONE, 30);
    m.append.rebase = true;
    hear(&l, 1, &m);
    uint64_t second = find(&l, EFFECT_WRITE_BASE)->write_base.write_seq;
    written(&l, first);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    if (answer)
        ck_assert_uint_eq(answer->append_resp.match, 0);
    written(&l, second);
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 30);
    lone_free(&l);
}
END_TEST

/* Bytes whose entries have left a witness's log may be all that is left of them: they go when every
 * copy has whole what the log begins above, and not with any demotion (RULES B6). Where it begins
 * moves with a leader whose own log begins later, and when it is cut. */
START_TEST(bytes_of_entries_before_the_log_outlast_a_demotion)
{
    struct lone l;
    lone_new(&l, 3);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 5, BYTES_INLINE, 5);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    m = append(4, 5, 4, 4, 0, BYTES_NONE, 5);
    m.append.demote_index = 2;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_DEMOTE)->at.index, 2);
    m = append(4, 20, 4, 4, 0, BYTES_NONE, 20);
    m.append.rebase = true;
    m.append.demote_index = 2;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_DEMOTE)->at.index, 0); /* the store is told ever again */
    written(&l, find(&l, EFFECT_WRITE_BASE)->write_base.write_seq);
    m = append(4, 20, 4, 4, 0, BYTES_NONE, 20);
    m.append.demote_index = 19;
    hear(&l, 1, &m);
    ck_assert_ptr_null(find(&l, EFFECT_DEMOTE));
    m = append(4, 20, 4, 4, 0, BYTES_NONE, 20);
    m.append.demote_index = 20;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_DEMOTE)->at.index, 20);
    lone_free(&l);
}
END_TEST

START_TEST(bytes_of_entries_cut_from_the_log_outlast_a_demotion)
{
    struct lone l;
    lone_new(&l, 3);
    l.r->config.witness_log_bytes = 1;
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 10, BYTES_INLINE, 10);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    m = append(4, 10, 4, 4, 0, BYTES_NONE, 10);
    m.append.keep_index = 8; /* all copies have applied that, and one of them lacks bytes */
    m.append.demote_index = 3;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_TRUNCATE)->at.index, 8);
    ck_assert_ptr_null(find(&l, EFFECT_DEMOTE));
    m = append(4, 10, 4, 4, 0, BYTES_NONE, 10);
    m.append.keep_index = 8;
    m.append.demote_index = 9;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_DEMOTE)->at.index, 9);
    lone_free(&l);
}
END_TEST

/* Its last entry contradicts ours, or lies beyond our log: ours is void. */
START_TEST(snapshot_that_contradicts_the_log)
{
    for (uint64_t index = 3; index <= 20; index += 17) {
        struct lone l;
        lone_new(&l, 2);
        lone_start(&l, 4);
        struct message m = append(4, 0, 0, 4, 8, BYTES_NONE, 1);
        hear(&l, 1, &m);
        written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
        install(&l, index, 6);
        ck_assert_uint_eq(replica_last_index(l.r), index);
        ck_assert_uint_eq(replica_commit(l.r), index);
        ck_assert_uint_eq(replica_term(l.r), 6); /* whatever term we thought it was */
        lone_free(&l);
    }
}
END_TEST

/* The memory of events handed in stays the caller's, of effects the caller's to clear: ASan looks
 * on while every effect is dropped unseen. */
START_TEST(unseen_effects_leak_nothing)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    for (uint64_t i = 0; i < 40; i++) {
        struct message m = append(4, i * 3, i ? 4 : 0, 4, 3, (enum bytes_form)(i % 3), i * 2);
        hear(&l, 1, &m);
    }
    ck_assert_uint_eq(replica_last_index(l.r), 120);
    lone_free(&l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/core/step");
    TCase *tc = tcase_create("step");
    tcase_add_test(tc, answers_wait_for_the_disk);
    tcase_add_test(tc, uncommitted_entries_wait_for_their_bytes);
    tcase_add_test(tc, commit_ends_the_wait_for_bytes);
    tcase_add_test(tc, a_want_ends_when_the_leader_asks_no_more);
    tcase_add_test(tc, impossible_appends_change_nothing);
    tcase_add_test(tc, conflicting_suffix_is_replaced);
    tcase_add_test(tc, blocks_of_a_replaced_entry_count_no_more);
    tcase_add_test(tc, write_of_replaced_entries_proves_nothing);
    tcase_add_test(tc, old_entries_commit_with_a_new_one);
    tcase_add_test(tc, read_needs_a_round_of_its_own);
    tcase_add_test(tc, new_leader_drops_what_lacks_bytes);
    tcase_add_test(tc, commit_index_rides_with_the_next_entries);
    tcase_add_test(tc, commit_index_hurries_before_a_read);
    tcase_add_test(tc, renewals_leave_the_leader_idle);
    tcase_add_test(tc, witness_gets_entries_with_heartbeats);
    tcase_add_test(tc, witness_gets_entries_at_once_when_a_copy_is_gone);
    tcase_add_test(tc, undrafted_witness_gets_no_names);
    tcase_add_test(tc, restarted_store_holds_nothing_for_sure);
    tcase_add_test(tc, old_leader_is_told_the_term);
    tcase_add_test(tc, follower_drops_proposals_and_reads);
    tcase_add_test(tc, journal_that_does_not_continue_is_refused);
    tcase_add_test(tc, snapshot_in_the_middle_of_a_write);
    tcase_add_test(tc, rebase_after_a_rebase_waits_for_its_own_write);
    tcase_add_test(tc, bytes_of_entries_before_the_log_outlast_a_demotion);
    tcase_add_test(tc, bytes_of_entries_cut_from_the_log_outlast_a_demotion);
    tcase_add_test(tc, snapshot_that_contradicts_the_log);
    tcase_add_test(tc, unseen_effects_leak_nothing);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
