/* Elections: PROTOCOL 1.9 E1, E2, E4, E7, E8 and RULES E1, E3.
 *
 * Leases are judged in true time. A node counts its lease by its own clock, which is wrong by at
 * most rho = 1/1000, so what is left of it by that clock lasts at least 1000/1001 of it in truth;
 * and what a leader sent so long ago by its clock was sent at most 1000/999 of it ago. */
#include <string.h>

#include "node/internal.h"
#include "repl/core/state.h"
#include "tests/sim/check_internal.h"

#define RHO_PER_MILLE 1u
#define PROMISE_US    (150 * TIME_MS) /* RULES E1 */
/* Check-quorum (V7) deposes after T_base, adaptive up to 2 s, and lateness; see_quorum() begins
 * anew after any pause. */
#define ALONE_US (6 * TIME_S)
#define PAUSE_US (500 * TIME_MS) /* a leader has a turn more often, unless it stands still */

struct term_seen {
    uint32_t leader; /* 0: none yet */
    bool rescue;
    time_us elected_at;
};

struct node_seen {
    /* durable, so over all lives */
    uint64_t vote_term;
    uint32_t vote;
    time_us voted_at;
    bool vote_moved; /* there was a vote for somebody in vote_term */
    uint64_t term;   /* highest it ran in with that term durable */
    /* of this life */
    uint64_t role_term;
    enum replica_role role;
    bool ready, aside;
    uint64_t lease_term;
    time_us lease_until;
    time_us acked_at[CHECK_NODES]; /* by the leader's clock, as last seen */
    time_us turned_at, quorum_at;  /* true time */
    uint64_t quorum;               /* by the leader's clock: the youngest round of a majority */
    /* as a voter: the newest heartbeat it acknowledged */
    uint64_t ack_term;
    time_us ack_sent;
    time_us heard_at;       /* true time: it promised something to a leader */
    uint64_t promise_until; /* by its own clock, as last seen */
};

/* A node led, ready. */
struct reign {
    uint32_t node;
    time_us from, to;
};

static struct {
    struct node_seen nodes[CHECK_NODES];
    vec_of(struct term_seen) terms;
    uint64_t revoked_to;         /* the last term whose leader gave up its lease for a TimeoutNow */
    vec_of(struct reign) reigns; /* in the order of `from` */
} state;

void check_election_start(void)
{
    vec_done(&state.terms);
    vec_done(&state.reigns);
    memset(&state, 0, sizeof state);
}

static void forget_life(struct node_seen *n)
{
    n->role_term = 0;
    n->role = REPLICA_FOLLOWER;
    n->ready = n->aside = false;
    n->lease_until = 0;
    memset(n->acked_at, 0, sizeof n->acked_at);
}

void check_election_opened(uint32_t node)
{
    forget_life(&state.nodes[node]);
}

void check_election_died(uint32_t node)
{
    forget_life(&state.nodes[node]);
}

static struct term_seen *term_of(uint64_t term)
{
    while (state.terms.count <= term)
        vec_push(&state.terms, (struct term_seen){0});
    return &state.terms.items[term];
}

/* ---- facts ----------------------------------------------------------------------------------- */

/* RULES E1: "Voters grant no vote within T_promise of the last heartbeat they acknowledged, also
 * when the connection closes." A promise does not hold against the leader's own TimeoutNow nor that
 * of a later one, whose election ended all older leases; nor against the leader itself when it asks
 * for votes anew: it has no lease then. */
static void check_promise(uint32_t voter)
{
    const struct node_seen *n = &state.nodes[voter];
    if (!n->vote_moved || n->ack_term >= n->vote_term || n->ack_term == 0 ||
        n->ack_term <= state.revoked_to || term_of(n->ack_term)->leader == n->vote)
        return;
    if (n->voted_at < n->ack_sent + PROMISE_US - PROMISE_US * 2 * RHO_PER_MILLE / 1000)
        sim_complain("election",
                     "n%u voted in term %llu %lld us after a heartbeat of term %llu that it "
                     "acknowledged was sent (RULES E1)",
                     voter, (unsigned long long)n->vote_term,
                     (long long)(n->voted_at - n->ack_sent), (unsigned long long)n->ack_term);
}

void check_election_vote(uint32_t node, uint64_t term, uint32_t vote)
{
    struct node_seen *n = &state.nodes[node];
    if (term < n->vote_term) {
        sim_complain("election", "n%u: durable term goes back from %llu to %llu", node,
                     (unsigned long long)n->vote_term, (unsigned long long)term);
        return;
    }
    if (term == n->vote_term && n->vote && vote != n->vote) {
        sim_complain("election", "n%u votes twice in term %llu, for n%u and n%u", node,
                     (unsigned long long)term, n->vote, vote);
        return;
    }
    if (term == n->vote_term && vote == n->vote)
        return;
    n->vote_term = term;
    n->vote = vote;
    n->vote_moved = vote != 0;
    n->voted_at = sim_now();
    check_promise(node);
}

void check_election_term(uint32_t node, uint64_t term)
{
    if (term < state.nodes[node].vote_term)
        sim_complain("election", "n%u runs in term %llu, its durable term is %llu", node,
                     (unsigned long long)term, (unsigned long long)state.nodes[node].vote_term);
}

void check_election_leads(uint32_t node, uint64_t term, bool rescue)
{
    struct term_seen *t = term_of(term);
    if (t->leader && (t->leader != node || t->rescue != rescue))
        sim_complain("election", "two leaders in term %llu: n%u and n%u", (unsigned long long)term,
                     t->leader, node);
    if (!t->leader)
        t->elected_at = sim_now();
    t->leader = node;
    t->rescue = rescue;
}

time_us check_election_deposed(uint64_t term)
{
    time_us first = TIME_NEVER;
    for (uint64_t t = term + 1; t < state.terms.count; t++)
        if (state.terms.items[t].leader)
            first = time_min(first, state.terms.items[t].elected_at);
    return first;
}

/* D2: a vote that reached the candidate was durable before it left. A later term may have replaced
 * it on the voter's disk. */
void check_election_granted(uint32_t leader, uint64_t term, uint32_t voter)
{
    const struct node_seen *n = &state.nodes[voter];
    if (n->vote_term < term || (n->vote_term == term && n->vote != leader))
        sim_complain(
            "election",
            "n%u leads term %llu by a vote of n%u that is not durable: the newest there is "
            "for n%u in term %llu (V1)",
            leader, (unsigned long long)term, voter, n->vote, (unsigned long long)n->vote_term);
}

void check_election_proposed(uint64_t term)
{
    if (term_of(term)->rescue)
        sim_complain("election", "the rescue leader n%u of term %llu proposed an entry (RULES E3)",
                     term_of(term)->leader, (unsigned long long)term);
}

void check_election_lease(uint32_t node, uint64_t term, time_us until)
{
    struct node_seen *n = &state.nodes[node];
    n->lease_term = term;
    n->lease_until = until;
    for (uint32_t id = 1; id < CHECK_NODES && until > sim_now(); id++) {
        const struct node_seen *other = &state.nodes[id];
        if (id != node && other->lease_until > sim_now() && other->lease_term != term)
            sim_complain("election",
                         "leases overlap: n%u in term %llu for %llu us, n%u in term %llu", node,
                         (unsigned long long)term, (unsigned long long)(until - sim_now()), id,
                         (unsigned long long)other->lease_term);
    }
}

void check_election_ack(uint32_t voter, uint64_t term, time_us sent)
{
    struct node_seen *n = &state.nodes[voter];
    if (term < n->ack_term || (term == n->ack_term && sent <= n->ack_sent))
        return;
    n->ack_term = term;
    n->ack_sent = sent;
    check_promise(voter);
}

void check_election_promised(uint32_t voter)
{
    state.nodes[voter].heard_at = sim_now();
}

/* RULES E1: acknowledgements are "counted from their sending": not from later than what they
 * acknowledge arrived, for the voter's promise begins there. */
void check_election_counted(uint32_t leader, uint32_t voter, time_us sent)
{
    if (sent > state.nodes[voter].heard_at)
        sim_complain("election",
                     "n%u counts an answer of n%u from %llu us after the promise began (RULES E1)",
                     leader, voter, (unsigned long long)(sent - state.nodes[voter].heard_at));
}

void check_election_quorum(uint32_t node)
{
    state.nodes[node].quorum_at = sim_now();
}

void check_election_still_leads(uint32_t node)
{
    time_us alone = sim_now() - state.nodes[node].quorum_at;
    if (alone > ALONE_US)
        sim_complain("election", "n%u leads, and no majority answered it for %llu ms (V7)", node,
                     (unsigned long long)(alone / TIME_MS));
}

bool check_election_steady(time_us from, time_us to)
{
    for (size_t i = 0; i < state.reigns.count; i++)
        if (state.reigns.items[i].from <= from && state.reigns.items[i].to >= to)
            return true;
    return false;
}

void check_election_revoked(uint64_t term)
{
    if (term > state.revoked_to)
        state.revoked_to = term;
}

/* ---- what a node shows ------------------------------------------------------------------------
 */

/* The reign under way of a node is its last one. */
static void see_reign(uint32_t node, const struct node_seen *n, bool ready)
{
    if (!ready)
        return;
    if (!n->ready)
        vec_push(&state.reigns, (struct reign){.node = node, .from = sim_now()});
    for (size_t i = state.reigns.count; i-- > 0;)
        if (state.reigns.items[i].node == node) {
            state.reigns.items[i].to = sim_now();
            return;
        }
}

static void see_role(struct process *p, struct node_seen *n, const struct replica *r)
{
    bool leads = r->role == REPLICA_LEADER || r->role == REPLICA_RESCUE_LEADER;
    if (leads && (n->role_term != r->role_term || n->role != r->role)) {
        check_election_leads(p->id, r->role_term, r->role == REPLICA_RESCUE_LEADER);
        for (uint32_t id = 1; id <= process_nodes(); id++)
            if (r->ballot.round.granted >> id & 1)
                check_election_granted(p->id, r->role_term, id);
        check_log_elected(p->id, r->role_term, r);
        if (r->role == REPLICA_RESCUE_LEADER)
            sim_count(COUNT_RESCUES, 1);
        memset(n->acked_at, 0, sizeof n->acked_at);
        n->ready = false;
    }
    if (r->role == REPLICA_LEADER && r->ready && !n->ready)
        sim_count(COUNT_ELECTIONS, 1);
    if (r->aside_until && !n->aside)
        sim_count(COUNT_GIVEN_WAY, 1);
    n->aside = r->aside_until;
    see_reign(p->id, n, r->role == REPLICA_LEADER && r->ready);
    n->ready = r->role == REPLICA_LEADER && r->ready;
    n->role = r->role;
    n->role_term = leads ? r->role_term : 0;
    if (r->role == REPLICA_RESCUE_LEADER && log_term(&r->log, r->log.last) == r->role_term)
        check_election_proposed(r->role_term);
}

/* Rounded to what is certain: the lease ends no earlier, the message was sent no later. */
static void see_lease(struct process *p, struct node_seen *n, const struct replica *r)
{
    time_us clock = process_clock(p), until = 0;
    if (r->role == REPLICA_LEADER)
        until = ballot_lease_until(&r->ballot);
    time_us left = until > clock ? until - clock : 0;
    if (left || n->lease_until)
        check_election_lease(p->id, r->ballot.term,
                             left ? sim_now() + left * 1000 / (1000 + RHO_PER_MILLE) : 0);
}

static void see_acks(struct process *p, struct node_seen *n, const struct replica *r)
{
    time_us clock = process_clock(p);
    if (r->ballot.lease_revoked)
        check_election_revoked(r->ballot.term);
    for (uint32_t id = 1; id <= process_nodes(); id++) {
        time_us acked = r->ballot.acked_at[id];
        if (id == p->id || acked == n->acked_at[id])
            continue;
        n->acked_at[id] = acked;
        time_us ago = time_since(clock, acked) * 1000 / (1000 - RHO_PER_MILLE) + 1;
        check_election_counted(p->id, id, time_since(sim_now(), ago));
        check_election_ack(id, r->ballot.term, time_since(sim_now(), ago));
    }
}

static void see_quorum(struct process *p, struct node_seen *n, const struct replica *r)
{
    uint64_t acked[NODE_SLOTS];
    memcpy(acked, r->ballot.acked_at, sizeof acked);
    acked[p->id] = UINT64_MAX;
    uint64_t quorum = quorum_value(acked, r->voters);
    if (quorum != n->quorum || n->role_term != r->role_term || quorum == UINT64_MAX ||
        sim_now() > n->turned_at + PAUSE_US)
        check_election_quorum(p->id);
    check_election_still_leads(p->id);
    n->quorum = quorum;
}

void check_election_promise(struct process *p)
{
    struct node_seen *n = &state.nodes[p->id];
    time_us until = p->node->replica->ballot.promise_until;
    if (until != n->promise_until)
        check_election_promised(p->id);
    n->promise_until = until;
}

void check_election_turn(struct process *p)
{
    struct node_seen *n = &state.nodes[p->id];
    const struct replica *r = p->node->replica;
    check_election_term(p->id, r->ballot.term);
    check_election_promise(p);
    bool leads = r->role == REPLICA_LEADER || r->role == REPLICA_RESCUE_LEADER;
    if (leads)
        see_quorum(p, n, r);
    n->turned_at = sim_now();
    see_role(p, n, r);
    see_lease(p, n, r);
    if (r->ballot.role == BALLOT_LEADER || r->ballot.role == BALLOT_RESCUE_LEADER)
        see_acks(p, n, r);
}
