/* Shared by the sources of the ballot layer; not for outsiders.
 *
 * ballot.c    the step: events, terms, suspicion, timers
 * vote.c      answering pre-votes and votes: V1-V5, promises
 * campaign.c  asking for them
 * lease.c     being leader: lease, check-quorum, transfer */
#ifndef ELECTION_BALLOT_IMPL_H
#define ELECTION_BALLOT_IMPL_H

#include "election/ballot.h"

/* ballot.c */
bool ballot_leads(const struct ballot *b);
node_mask ballot_voters(const struct ballot *b);
uint32_t ballot_position(const struct ballot *b, uint32_t id);
bool ballot_is_aside(const struct ballot *b);
void ballot_note(struct ballot_update *out, struct ballot_note note);
void ballot_send(struct ballot *b, struct ballot_update *out, const struct ballot_message *m);
void ballot_persist(struct ballot *b, struct ballot_update *out, uint64_t term, uint32_t voted_for);
void ballot_adopt_term(struct ballot *b, struct ballot_update *out, uint64_t term);
void ballot_step_down(struct ballot *b, struct ballot_update *out);
void ballot_calm(struct ballot *b, uint32_t expected);
void ballot_run_strategy(struct ballot *b, struct ballot_update *out,
                         const struct strategy_output *so);
struct strategy_view ballot_view(const struct ballot *b);
struct strategy_output ballot_strategy_output(struct ballot *b);
void ballot_retry(struct ballot *b, struct ballot_update *out, uint64_t hold_until, bool failed);

/* vote.c */
uint64_t ballot_promise_left(const struct ballot *b, uint32_t asker, enum ballot_reason *ret_why);
uint64_t ballot_promise_end(uint64_t now, uint64_t wait_us);
void ballot_recv_prevote(struct ballot *b, struct ballot_update *out,
                         const struct ballot_message *m);
void ballot_recv_vote(struct ballot *b, struct ballot_update *out, const struct ballot_message *m);
void ballot_flush_answers(struct ballot *b, struct ballot_update *out);

/* campaign.c */
void ballot_begin_prevote(struct ballot *b, struct ballot_update *out, bool rescue);
void ballot_begin_vote(struct ballot *b, struct ballot_update *out, uint64_t transfer_id);
void ballot_ask_again(struct ballot *b, struct ballot_update *out, uint32_t peer);
void ballot_own_vote_synced(struct ballot *b, struct ballot_update *out);
void ballot_recv_prevote_resp(struct ballot *b, struct ballot_update *out,
                              const struct ballot_message *m);
void ballot_recv_vote_resp(struct ballot *b, struct ballot_update *out,
                           const struct ballot_message *m);
void ballot_round_timers(struct ballot *b, struct ballot_update *out);
uint64_t ballot_round_wake_at(const struct ballot *b);

/* lease.c */
void ballot_leader_begin(struct ballot *b);
uint64_t ballot_leader_promise(const struct ballot *b);
void ballot_recv_ack(struct ballot *b, uint32_t peer, uint64_t term, uint64_t sent_at);
void ballot_transfer_begin(struct ballot *b, struct ballot_update *out, uint32_t to);
void ballot_transfer_end(struct ballot *b, struct ballot_update *out, enum ballot_transfer how);
void ballot_caught_up(struct ballot *b, struct ballot_update *out, uint32_t peer,
                      struct log_position last);
void ballot_recv_timeout_now(struct ballot *b, struct ballot_update *out,
                             const struct ballot_message *m);
void ballot_leader_timers(struct ballot *b, struct ballot_update *out);
uint64_t ballot_leader_wake_at(const struct ballot *b);

#endif
