/* The rules V1-V8 of PROTOCOL 1.3 and E1-E3 of RULES, one node at a time. The node under test is
 * number 2 of five, 1 to 3 copies and 4 to 5 witnesses, unless told otherwise. */
#include "election/ballot.h"
#include "tests/unit/lib/run.h"

#include <stdio.h>
#include <string.h>

enum { MS = 1000, S = 1000 * 1000, PROMISE = 150 * MS };

struct one {
    struct ballot b;
    struct ballot_update out;
    uint64_t now;
};

static void feed(struct one *n, struct ballot_event ev)
{
    ev.now = n->now;
    ev.random = 12345;
    ballot_step(&n->b, &ev, &n->out);
}

static void start(struct one *n, uint32_t self, uint64_t term, uint32_t vote,
                  struct log_position last)
{
    struct member_set members;
    member_set_init(&members);
    for (uint32_t id = 1; id <= 5; id++)
        member_set_put(&members, id, id <= 3 ? MEMBER_COPY : MEMBER_WITNESS, id);
    struct ballot_config config = ballot_config_default(self, &members);
    memset(n, 0, sizeof *n);
    n->now = 10 * S;
    ballot_init(&n->b, &config);
    feed(n, (struct ballot_event){
                .kind = BALLOT_EV_START, .term = term, .voted_for = vote, .last = last});
}

/* Past the boot grace (V4). */
static void settled(struct one *n, uint64_t term, uint32_t vote)
{
    start(n, 2, term, vote, (struct log_position){3, 10});
    n->now += PROMISE + 1;
}

static void synced(struct one *n)
{
    feed(n, (struct ballot_event){
                .kind = BALLOT_EV_SYNCED, .term = n->b.term, .voted_for = n->b.voted_for});
}

static struct ballot_message ask(enum ballot_message_kind kind, uint32_t from, uint64_t ballot)
{
    return (struct ballot_message){.kind = kind,
                                   .from = from,
                                   .to = 2,
                                   .term = ballot - (kind == BALLOT_MSG_PREVOTE),
                                   .ballot = ballot,
                                   .last = {3, 10}};
}

static void hear(struct one *n, struct ballot_message m)
{
    feed(n, (struct ballot_event){.kind = BALLOT_EV_MESSAGE, .peer = m.from, .message = m});
}

static void heartbeat(struct one *n, uint32_t leader, uint64_t term)
{
    feed(n, (struct ballot_event){.kind = BALLOT_EV_LEADER_HEARD, .peer = leader, .term = term});
}

/* The message to `to`, or NULL. */
static const struct ballot_message *sent(const struct one *n, uint32_t to)
{
    for (uint32_t i = 0; i < n->out.message_count; i++)
        if (n->out.messages[i].to == to)
            return &n->out.messages[i];
    return NULL;
}

static bool noted(const struct one *n, enum ballot_note_kind kind)
{
    for (uint32_t i = 0; i < n->out.note_count; i++)
        if (n->out.notes[i].kind == kind)
            return true;
    return false;
}

static void expect_refused(const struct one *n, uint32_t to, enum ballot_reason reason)
{
    const struct ballot_message *m = sent(n, to);
    ck_assert_ptr_nonnull(m);
    ck_assert(!m->granted);
    ck_assert_str_eq(ballot_reason_text(m->reason), ballot_reason_text(reason));
}

/* Ticks whenever it wants, up to `until`; stops when it has something to say. */
static void wait_until(struct one *n, uint64_t until)
{
    while (n->now < until) {
        n->now =
            n->out.wake_at < until ? (n->out.wake_at > n->now ? n->out.wake_at : n->now) : until;
        feed(n, (struct ballot_event){.kind = BALLOT_EV_TICK});
        if (n->out.message_count > 0 || n->out.persist)
            return;
    }
}

/* V1 and D2: one vote a term, told only when it is durable. */
START_TEST(one_vote_a_term_and_durable_first)
{
    struct one n;
    settled(&n, 5, 0);
    hear(&n, ask(BALLOT_MSG_VOTE, 1, 6));
    ck_assert(n.out.persist);
    ck_assert_uint_eq(n.out.term, 6);
    ck_assert_uint_eq(n.out.voted_for, 1);
    ck_assert_uint_eq(n.out.message_count, 0);
    synced(&n);
    ck_assert(sent(&n, 1) && sent(&n, 1)->granted);
    ck_assert_uint_eq(sent(&n, 1)->ballot, 6);
    n.now += PROMISE + 1;
    hear(&n, ask(BALLOT_MSG_VOTE, 3, 6));
    expect_refused(&n, 3, BALLOT_VOTED);
    hear(&n, ask(BALLOT_MSG_VOTE, 1, 6)); /* the same again: its answer was lost */
    ck_assert(sent(&n, 1)->granted);
}
END_TEST

START_TEST(vote_outlives_a_restart)
{
    struct one n;
    settled(&n, 6, 1);
    hear(&n, ask(BALLOT_MSG_VOTE, 3, 6));
    expect_refused(&n, 3, BALLOT_VOTED);
    hear(&n, ask(BALLOT_MSG_VOTE, 1, 6));
    ck_assert(sent(&n, 1)->granted);
    ck_assert(!n.out.persist);
}
END_TEST

/* V1: (lastTerm, lastIdx) in this order; V2: the term is adopted all the same. */
START_TEST(older_log_gets_no_vote_but_its_term_counts)
{
    static const struct log_position older[] = {{3, 9}, {2, 99}};
    static const struct log_position newer[] = {{3, 11}, {4, 1}, {3, 10}};
    struct one n;
    for (int i = 0; i < 2; i++) {
        struct ballot_message m = ask(BALLOT_MSG_VOTE, 1, 6);
        m.last = older[i];
        settled(&n, 5, 0);
        hear(&n, m);
        ck_assert_uint_eq(n.out.term, 6);
        synced(&n);
        expect_refused(&n, 1, BALLOT_LOG_BEHIND);
        ck_assert_uint_eq(n.b.voted_for, 0);
    }
    for (int i = 0; i < 3; i++) {
        struct ballot_message m = ask(BALLOT_MSG_VOTE, 1, 6);
        m.last = newer[i];
        settled(&n, 5, 0);
        hear(&n, m);
        synced(&n);
        ck_assert(sent(&n, 1)->granted);
    }
}
END_TEST

START_TEST(lower_term_gets_nothing)
{
    struct one n;
    settled(&n, 7, 0);
    hear(&n, ask(BALLOT_MSG_VOTE, 1, 6));
    expect_refused(&n, 1, BALLOT_LOWER_TERM);
    ck_assert_uint_eq(sent(&n, 1)->term, 7);
    hear(&n, ask(BALLOT_MSG_PREVOTE, 1, 7)); /* answered, not dropped */
    expect_refused(&n, 1, BALLOT_LOWER_TERM);
}
END_TEST

/* V3, E1: the promise binds for T_promise from the heartbeat, also when the connection closes, and
 * shields the term as well; the answer says how long. */
START_TEST(promise_to_a_leader_binds)
{
    struct one n;
    settled(&n, 5, 0);
    heartbeat(&n, 1, 5);
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_LINK_UP, .peer = 1});
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_LINK_DOWN, .peer = 1});
    n.now += PROMISE - 1;
    hear(&n, ask(BALLOT_MSG_VOTE, 3, 6));
    expect_refused(&n, 3, BALLOT_PROMISE);
    ck_assert_uint_eq(sent(&n, 3)->wait_us, 1);
    ck_assert_uint_eq(n.b.term, 5);
    n.now += 1;
    hear(&n, ask(BALLOT_MSG_VOTE, 3, 6));
    synced(&n);
    ck_assert(sent(&n, 3)->granted);
}
END_TEST

/* braft #405: a granted vote is a promise too. */
START_TEST(granted_vote_is_a_promise)
{
    struct one n;
    settled(&n, 5, 0);
    hear(&n, ask(BALLOT_MSG_VOTE, 1, 6));
    synced(&n);
    n.now += PROMISE - 1;
    hear(&n, ask(BALLOT_MSG_VOTE, 3, 7));
    expect_refused(&n, 3, BALLOT_PROMISE);
    ck_assert_uint_eq(n.b.term, 6);
}
END_TEST

/* The target of a transfer passes: its leader gave its lease up (PROTOCOL 1.5). */
START_TEST(transfer_passes_the_promise)
{
    struct one n;
    settled(&n, 5, 0);
    heartbeat(&n, 1, 5);
    struct ballot_message m = ask(BALLOT_MSG_VOTE, 3, 6);
    m.transfer_id = 9;
    hear(&n, m);
    synced(&n);
    ck_assert(sent(&n, 3)->granted);
}
END_TEST

/* V4: "after start, grant no vote for T_promise": what was promised before is forgotten. */
START_TEST(boot_grace)
{
    struct one n;
    start(&n, 2, 5, 0, (struct log_position){3, 10});
    n.now += PROMISE - 1;
    hear(&n, ask(BALLOT_MSG_VOTE, 1, 6));
    expect_refused(&n, 1, BALLOT_BOOT);
    hear(&n, ask(BALLOT_MSG_PREVOTE, 1, 6));
    expect_refused(&n, 1, BALLOT_BOOT);
    n.now += 1;
    hear(&n, ask(BALLOT_MSG_VOTE, 1, 6));
    synced(&n);
    ck_assert(sent(&n, 1)->granted);
}
END_TEST

/* V5: no term is changed, the log counts, the request's ballot is echoed. */
START_TEST(prevote_changes_nothing)
{
    struct one n;
    settled(&n, 5, 0);
    hear(&n, ask(BALLOT_MSG_PREVOTE, 1, 9));
    ck_assert(sent(&n, 1)->granted);
    ck_assert_uint_eq(sent(&n, 1)->ballot, 9);
    ck_assert_uint_eq(sent(&n, 1)->term, 5);
    ck_assert(!n.out.persist);
    ck_assert_uint_eq(n.b.term, 5);
    struct ballot_message m = ask(BALLOT_MSG_PREVOTE, 3, 9);
    m.last.index = 9;
    hear(&n, m);
    expect_refused(&n, 3, BALLOT_LOG_BEHIND);
}
END_TEST

/* E2: refused while the leader is connected and heard within T_base; granted as soon as the
 * connection closes, with what is left of the promise in the answer. */
START_TEST(prevote_while_the_leader_is_seen)
{
    struct one n;
    settled(&n, 5, 0);
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_LINK_UP, .peer = 1});
    heartbeat(&n, 1, 5);
    n.now += 20 * MS;
    hear(&n, ask(BALLOT_MSG_PREVOTE, 3, 6));
    expect_refused(&n, 3, BALLOT_SEES_LEADER);
    ck_assert_uint_eq(sent(&n, 3)->leader, 1);
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_LINK_DOWN, .peer = 1});
    hear(&n, ask(BALLOT_MSG_PREVOTE, 3, 6));
    ck_assert(sent(&n, 3)->granted);
    ck_assert_uint_eq(sent(&n, 3)->wait_us, PROMISE - 20 * MS);
}
END_TEST

/* Makes it a pre-candidate: its leader is gone and its promise over. */
static void begin_prevote(struct one *n)
{
    settled(n, 5, 0);
    feed(n, (struct ballot_event){.kind = BALLOT_EV_LINK_UP, .peer = 1});
    heartbeat(n, 1, 5);
    n->now += PROMISE + 1;
    feed(n, (struct ballot_event){.kind = BALLOT_EV_LINK_DOWN, .peer = 1});
    for (int i = 0; i < 20 && n->b.role != BALLOT_PRECAND; i++)
        wait_until(n, n->now + 100 * MS);
    ck_assert_int_eq(n->b.role, BALLOT_PRECAND);
}

static struct ballot_message answer(enum ballot_message_kind kind, uint32_t from, uint64_t ballot,
                                    uint64_t term, bool granted)
{
    return (struct ballot_message){.kind = kind,
                                   .from = from,
                                   .to = 2,
                                   .term = term,
                                   .ballot = ballot,
                                   .granted = granted,
                                   .reason = granted ? BALLOT_OK : BALLOT_LOWER_TERM};
}

/* openraft #1796: "the pre-candidate adopts a higher term found there". */
START_TEST(precandidate_learns_a_higher_term)
{
    struct one n;
    begin_prevote(&n);
    ck_assert_uint_eq(n.b.term, 5);
    hear(&n, answer(BALLOT_MSG_PREVOTE_RESP, 3, 6, 8, false));
    ck_assert_uint_eq(n.out.term, 8);
    ck_assert(n.out.persist);
    ck_assert_int_eq(n.b.role, BALLOT_FOLLOWER);
}
END_TEST

/* Ballot by ballot to the leadership; answers of other rounds and of no voters do not count. */
static void elect(struct one *n)
{
    begin_prevote(n);
    hear(n, answer(BALLOT_MSG_PREVOTE_RESP, 3, 7, 5, true)); /* another ballot */
    hear(n, answer(BALLOT_MSG_PREVOTE_RESP, 9, 6, 5, true)); /* who is that? */
    hear(n, answer(BALLOT_MSG_PREVOTE_RESP, 3, 6, 5, true));
    feed(n, (struct ballot_event){.kind = BALLOT_EV_TICK});
    ck_assert_int_eq(n->b.role, BALLOT_PRECAND); /* two of five */
    hear(n, answer(BALLOT_MSG_PREVOTE_RESP, 4, 6, 5, true));
    feed(n, (struct ballot_event){.kind = BALLOT_EV_TICK});
    ck_assert_int_eq(n->b.role, BALLOT_CAND);
    ck_assert(n->out.persist);
    ck_assert_uint_eq(n->out.term, 6);
    ck_assert_uint_eq(n->out.voted_for, 2);
    ck_assert_uint_eq(n->out.message_count, 0); /* its own vote is not durable yet */
    synced(n);
    ck_assert_uint_eq(n->out.message_count, 4);
    hear(n, answer(BALLOT_MSG_VOTE_RESP, 3, 6, 6, true));
    hear(n, answer(BALLOT_MSG_VOTE_RESP, 3, 6, 6, true)); /* one vote, told twice */
    hear(n, answer(BALLOT_MSG_VOTE_RESP, 5, 5, 5, true)); /* of another term */
    ck_assert_int_eq(n->b.role, BALLOT_CAND);
    hear(n, answer(BALLOT_MSG_VOTE_RESP, 4, 6, 6, true));
    ck_assert_int_eq(n->b.role, BALLOT_LEADER);
    ck_assert(n->out.role_changed && n->out.accepts);
}

START_TEST(three_of_five_make_a_leader)
{
    struct one n;
    elect(&n);
    ck_assert_uint_eq(n.out.leader, 2);
    hear(&n, ask(BALLOT_MSG_VOTE, 1, 7)); /* braft #463: the leader applies V3 to itself */
    expect_refused(&n, 1, BALLOT_PROMISE);
    ck_assert_uint_eq(n.b.term, 6);
}
END_TEST

static void ack(struct one *n, uint32_t peer, uint64_t sent_at)
{
    feed(n, (struct ballot_event){
                .kind = BALLOT_EV_ACK, .peer = peer, .term = n->b.term, .sent_at = sent_at});
}

/* E1: counted from the sending time of a round that f+1 acknowledged, a little shorter than the
 * promise. */
START_TEST(lease_is_counted_from_the_sending)
{
    struct one n;
    elect(&n);
    uint64_t sent_at = n.now + 1;
    ck_assert_uint_eq(n.out.lease_until, 0);
    n.now += 30 * MS;
    ack(&n, 3, sent_at);
    ck_assert_uint_eq(n.out.lease_until, 0); /* two of five */
    ack(&n, 9, sent_at);
    ack(&n, 4, sent_at + 60 * MS); /* from the future */
    ck_assert_uint_eq(n.out.lease_until, 0);
    ack(&n, 4, sent_at);
    ck_assert_uint_gt(n.out.lease_until, sent_at + PROMISE - MS);
    ck_assert_uint_lt(n.out.lease_until, sent_at + PROMISE);
    uint64_t before = n.out.lease_until;
    ack(&n, 3, n.now); /* one alone moves nothing */
    ck_assert_uint_eq(n.out.lease_until, before);
    ack(&n, 4, sent_at - 1); /* and an old one nothing back */
    ck_assert_uint_eq(n.out.lease_until, before);
}
END_TEST

/* PROTOCOL 1.5 (2): no lease for the rest of the term, also after an abort. */
START_TEST(transfer_ends_the_lease_of_the_term)
{
    struct one n;
    elect(&n);
    uint64_t sent_at = n.now;
    ack(&n, 3, sent_at);
    ack(&n, 4, sent_at);
    ck_assert_uint_gt(n.out.lease_until, n.now);
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_TRANSFER, .peer = 4});
    ck_assert_int_eq(n.out.transfer, BALLOT_TRANSFER_REFUSED); /* a witness */
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_TRANSFER, .peer = 3});
    ck_assert_int_eq(n.out.transfer, BALLOT_TRANSFER_STARTED);
    ck_assert(!n.out.accepts);
    ck_assert_uint_eq(n.out.lease_until, 0);
    ck_assert_ptr_null(sent(&n, 3)); /* not before it has everything */
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_CAUGHT_UP, .peer = 3, .last = n.b.last});
    ck_assert_int_eq(sent(&n, 3)->kind, BALLOT_MSG_TIMEOUT_NOW);
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_TRANSFER, .peer = 0});
    ck_assert_int_eq(n.out.transfer, BALLOT_TRANSFER_ABORTED);
    ack(&n, 3, n.now);
    ack(&n, 4, n.now);
    ck_assert(n.out.accepts);
    ck_assert_uint_eq(n.out.lease_until, 0);
}
END_TEST

/* V7, and V6 from the other side. */
START_TEST(leader_steps_down)
{
    struct one n;
    elect(&n);
    for (int i = 0; i < 10; i++) {
        n.now += 100 * MS;
        ack(&n, 3, n.now);
        ack(&n, 5, n.now);
        feed(&n, (struct ballot_event){.kind = BALLOT_EV_TICK});
    }
    ck_assert_int_eq(n.b.role, BALLOT_LEADER);
    uint64_t last = n.now;
    for (int i = 0; i < 20 && n.b.role == BALLOT_LEADER; i++) {
        n.now += 40 * MS;
        ack(&n, 3, n.now); /* one of four is no majority */
        feed(&n, (struct ballot_event){.kind = BALLOT_EV_TICK});
    }
    ck_assert_int_eq(n.b.role, BALLOT_FOLLOWER);
    ck_assert_uint_le(n.now - last, 640 * MS);
    elect(&n);
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_HIGHER_TERM, .term = 11});
    ck_assert_int_eq(n.b.role, BALLOT_FOLLOWER);
    ck_assert_uint_eq(n.out.term, 11);
    ck_assert_uint_eq(ballot_durable_term(&n.b), 6); /* until it is written */
}
END_TEST

static bool stood(const struct one *n)
{
    for (uint32_t i = 0; i < n->out.message_count; i++)
        if (n->out.messages[i].kind == BALLOT_MSG_PREVOTE)
            return true;
    return false;
}

/* It stands no more, with any strategy, does not say that it will, and votes as ever. */
START_TEST(who_gives_way_does_not_stand_and_votes)
{
    static const struct strategy_ops *const all[] = {&strategy_candidate, &strategy_bully,
                                                     &strategy_successor, &strategy_invitation,
                                                     &strategy_ring};
    struct one n;
    elect(&n);
    n.b.config.strategy = all[_i];
    n.b.config.strategy->init(n.b.strategy_state);
    uint64_t until = n.now + 5 * S;
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_ASIDE, .until = until});
    ck_assert_int_eq(n.b.role, BALLOT_FOLLOWER);
    ck_assert_uint_eq(n.b.term, 6);
    while (n.now < until - 1) {
        wait_until(&n, until - 1);
        ck_assert(!stood(&n) && n.b.role == BALLOT_FOLLOWER);
    }
    hear(&n, ask(BALLOT_MSG_ELECTION, 3, 6));
    ck_assert_ptr_null(sent(&n, 3)); /* a bully that will not lead keeps silent */
    hear(&n, ask(BALLOT_MSG_PROBE, 3, 6));
    ck_assert(all[_i] != &strategy_successor || !sent(&n, 3));
    hear(&n, ask(BALLOT_MSG_NOMINATE, 4, 6));
    ck_assert(!stood(&n));
    struct ballot_message m = ask(BALLOT_MSG_PREVOTE, 3, 8);
    m.last.index = 9;
    hear(&n, m);
    expect_refused(&n, 3, BALLOT_LOG_BEHIND);
    m.last.index = 10;
    hear(&n, m);
    ck_assert(sent(&n, 3)->granted);
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_ASIDE}); /* its log is whole again */
    hear(&n, ask(BALLOT_MSG_NOMINATE, 4, 6));
    ck_assert(stood(&n) || all[_i] == &strategy_bully || all[_i] == &strategy_successor);
}
END_TEST

/* raft-rs #234: a delayed TimeoutNow is dropped unless term and log still fit. */
START_TEST(late_timeout_now_is_dropped)
{
    struct ballot_message good = {.kind = BALLOT_MSG_TIMEOUT_NOW,
                                  .from = 1,
                                  .to = 2,
                                  .term = 5,
                                  .ballot = 6,
                                  .last = {3, 10},
                                  .transfer_id = 9};
    for (int i = 0; i < 5; i++) {
        struct one n;
        struct ballot_message m = good;
        settled(&n, 5, 0);
        heartbeat(&n, 1, 5);
        if (i == 1)
            m.term = 4;
        if (i == 2)
            m.last.index = 11; /* we lack something */
        if (i == 3)
            m.transfer_id = 0;
        if (i == 4)
            m.from = 3; /* does not lead */
        hear(&n, m);
        ck_assert_int_eq(n.b.role, i == 0 ? BALLOT_CAND : BALLOT_FOLLOWER);
        ck_assert_uint_eq(n.b.term, i == 0 ? 6 : 5);
    }
    struct one n;
    settled(&n, 5, 0);
    heartbeat(&n, 1, 5);
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_LOG, .last = {5, 12}});
    hear(&n, good); /* the leader went on in this term */
    ck_assert_int_eq(n.b.role, BALLOT_FOLLOWER);
    settled(&n, 5, 0);
    heartbeat(&n, 1, 5);
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_LOG, .last = {4, 12}});
    hear(&n, good); /* a rescue leader does not know our newer suffix of an earlier term (E3) */
    ck_assert_int_eq(n.b.role, BALLOT_CAND);
}
END_TEST

/* E3: only a witness, only for a copy, only with a newer log and without a leader. */
START_TEST(witness_comes_to_the_rescue)
{
    for (int i = 0; i < 4; i++) {
        struct one n;
        start(&n, i == 1 ? 2 : 4, 5, 0, (struct log_position){3, 10});
        n.now += PROMISE + 1;
        if (i == 2)
            heartbeat(&n, 1, 5);
        struct ballot_message m = ask(BALLOT_MSG_PREVOTE, 3, 6);
        m.to = n.b.config.self;
        m.last.index = i == 3 ? 10 : 9;
        hear(&n, m);
        ck_assert_int_eq(n.b.role, i == 0 ? BALLOT_PRECAND : BALLOT_FOLLOWER);
        if (i == 0) {
            ck_assert(n.b.round.rescue);
            ck_assert_int_eq(sent(&n, 1)->kind, BALLOT_MSG_PREVOTE);
        }
    }
}
END_TEST

/* What no correct node sends is noted and changes nothing. */
START_TEST(nonsense_changes_nothing)
{
    struct one n;
    settled(&n, 5, 0);
    struct ballot_message bad[4];
    for (int i = 0; i < 4; i++)
        bad[i] = ask(BALLOT_MSG_VOTE, 1, 6);
    bad[0].to = 3;
    bad[1].from = 77;
    bad[2].kind = (enum ballot_message_kind)99;
    bad[3].reason = (enum ballot_reason)99;
    for (int i = 0; i < 4; i++) {
        hear(&n, bad[i]);
        ck_assert_uint_eq(n.b.term, 5);
        ck_assert_uint_eq(n.out.message_count, 0);
        ck_assert(noted(&n, BALLOT_NOTE_BAD_MESSAGE));
    }
    heartbeat(&n, 1, 5);
    heartbeat(&n, 3, 5); /* a second leader in one term */
    ck_assert_uint_eq(n.b.leader, 1);
    hear(&n, ask(BALLOT_MSG_VOTE, 2, 9)); /* from itself */
    ck_assert_uint_eq(n.b.term, 5);
}
END_TEST

/* E5: our own lateness is no silence of others. */
START_TEST(late_timer_suspects_nobody)
{
    struct one n;
    settled(&n, 5, 0);
    heartbeat(&n, 1, 5);
    n.now += 5 * S;
    feed(&n, (struct ballot_event){.kind = BALLOT_EV_TICK});
    ck_assert_int_eq(n.b.role, BALLOT_FOLLOWER);
    ck_assert_uint_eq(n.out.message_count, 0);
    ck_assert_uint_eq(ballot_sees_leader(&n.b, n.now), 1);
    for (int i = 0; i < 30 && n.b.role == BALLOT_FOLLOWER; i++)
        wait_until(&n, n.now + 100 * MS); /* now it listens, and hears nothing */
    ck_assert_int_eq(n.b.role, BALLOT_PRECAND);
}
END_TEST

/* ---- two of three copies, so far apart that what they say crosses ---------------------------- */

enum { APART = 30 * MS, PACKETS = 64 };

struct packet {
    uint64_t at;
    struct ballot_message m;
};

struct pair {
    struct one nodes[2]; /* 2 and 3; node 1 led, and its process died */
    uint64_t now, random, synced_at[2];
    struct packet packets[PACKETS];
    uint32_t count;
};

static void pair_feed(struct pair *p, uint32_t i, struct ballot_event ev)
{
    struct one *n = &p->nodes[i];
    ev.now = p->now;
    ev.random = p->random = p->random * 6364136223846793005u + 1442695040888963407u;
    ev.random >>= 33;
    ballot_step(&n->b, &ev, &n->out);
    for (uint32_t k = 0; k < n->out.message_count; k++)
        if (n->out.messages[k].to != 1) {
            ck_assert_uint_lt(p->count, PACKETS);
            p->packets[p->count++] = (struct packet){p->now + APART, n->out.messages[k]};
        }
    if (n->out.persist)
        p->synced_at[i] = p->now + 1 * MS;
}

static void pair_start(struct pair *p, uint64_t seed)
{
    struct member_set members;
    memset(p, 0, sizeof *p);
    p->now = 10 * S;
    p->random = seed;
    member_set_init(&members);
    for (uint32_t id = 1; id <= 3; id++)
        member_set_put(&members, id, MEMBER_COPY, id);
    for (uint32_t i = 0; i < 2; i++) {
        struct ballot_config config = ballot_config_default(2 + i, &members);
        ballot_init(&p->nodes[i].b, &config);
        pair_feed(p, i, (struct ballot_event){.kind = BALLOT_EV_START, .term = 5, .last = {3, 10}});
    }
    for (uint32_t i = 0; i < 2; i++) { /* the last list that it got names the other first */
        struct ballot_event list = {.kind = BALLOT_EV_SUCCESSORS, .successor_count = 2};
        list.successors[0] = (uint8_t)(3 - i);
        list.successors[1] = (uint8_t)(2 + i);
        pair_feed(p, i,
                  (struct ballot_event){.kind = BALLOT_EV_LEADER_HEARD, .peer = 1, .term = 5});
        pair_feed(p, i, list);
        pair_feed(p, i, (struct ballot_event){.kind = BALLOT_EV_RTT, .peer = 1, .rtt_us = 60 * MS});
        pair_feed(p, i, (struct ballot_event){.kind = BALLOT_EV_LINK_DOWN, .peer = 1});
    }
}

/* What is due at `p->now`. */
static void pair_turn(struct pair *p)
{
    for (uint32_t k = 0; k < p->count;) {
        struct packet due = p->packets[k];
        if (due.at > p->now) {
            k++;
            continue;
        }
        p->packets[k] = p->packets[--p->count];
        pair_feed(
            p, due.m.to - 2,
            (struct ballot_event){.kind = BALLOT_EV_MESSAGE, .peer = due.m.from, .message = due.m});
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct one *n = &p->nodes[i];
        if (p->synced_at[i] && p->synced_at[i] <= p->now) {
            p->synced_at[i] = 0;
            pair_feed(p, i,
                      (struct ballot_event){.kind = BALLOT_EV_SYNCED,
                                            .term = n->b.term,
                                            .voted_for = n->b.voted_for});
        }
        if (n->out.wake_at <= p->now)
            pair_feed(p, i, (struct ballot_event){.kind = BALLOT_EV_TICK});
    }
}

/* Each got its list at another moment, and thinks that the other is before it. If both make way,
 * and for as long, they do so again and again. */
START_TEST(they_do_not_make_way_for_each_other_for_ever)
{
    uint64_t slowest = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        static struct pair p;
        uint64_t begun;
        pair_start(&p, seed);
        begun = p.now;
        while (p.nodes[0].b.role != BALLOT_LEADER && p.nodes[1].b.role != BALLOT_LEADER) {
            p.now += 1 * MS;
            pair_turn(&p);
            ck_assert_msg(p.now < begun + 10 * S, "seed %llu: no leader", (unsigned long long)seed);
        }
        if (p.now - begun > slowest)
            slowest = p.now - begun;
    }
    printf("# a leader within %llu ms at worst\n", (unsigned long long)slowest / MS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("election/ballot");
    TCase *tc = tcase_create("ballot");
    tcase_add_test(tc, one_vote_a_term_and_durable_first);
    tcase_add_test(tc, vote_outlives_a_restart);
    tcase_add_test(tc, older_log_gets_no_vote_but_its_term_counts);
    tcase_add_test(tc, lower_term_gets_nothing);
    tcase_add_test(tc, promise_to_a_leader_binds);
    tcase_add_test(tc, granted_vote_is_a_promise);
    tcase_add_test(tc, transfer_passes_the_promise);
    tcase_add_test(tc, boot_grace);
    tcase_add_test(tc, prevote_changes_nothing);
    tcase_add_test(tc, prevote_while_the_leader_is_seen);
    tcase_add_test(tc, precandidate_learns_a_higher_term);
    tcase_add_test(tc, three_of_five_make_a_leader);
    tcase_add_test(tc, lease_is_counted_from_the_sending);
    tcase_add_test(tc, transfer_ends_the_lease_of_the_term);
    tcase_add_test(tc, leader_steps_down);
    tcase_add_loop_test(tc, who_gives_way_does_not_stand_and_votes, 0, 5);
    tcase_add_test(tc, late_timeout_now_is_dropped);
    tcase_add_test(tc, witness_comes_to_the_rescue);
    tcase_add_test(tc, nonsense_changes_nothing);
    tcase_add_test(tc, late_timer_suspects_nobody);
    tcase_add_test(tc, they_do_not_make_way_for_each_other_for_ever);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
