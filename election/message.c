#include "election/message.h"

#include "election/quorum.h"

int log_position_compare(struct log_position a, struct log_position b)
{
    if (a.term != b.term)
        return a.term < b.term ? -1 : 1;
    if (a.index != b.index)
        return a.index < b.index ? -1 : 1;
    return 0;
}

static bool is_node(uint32_t id)
{
    return id != NODE_ID_NONE && id <= NODE_ID_MAX;
}

bool ballot_message_valid(const struct ballot_message *m)
{
    /* Through an unsigned type: a decoder may have stored anything in these enums. */
    uint32_t kind = (uint32_t)m->kind, reason = (uint32_t)m->reason;

    if (kind == BALLOT_MSG_NONE || kind >= BALLOT_MSG_KINDS || reason >= BALLOT_REASONS)
        return false;
    if (!is_node(m->from) || !is_node(m->to) || m->from == m->to || m->leader > NODE_ID_MAX ||
        m->subject > NODE_ID_MAX)
        return false;
    return m->term <= BALLOT_TERM_MAX && m->ballot <= BALLOT_TERM_MAX &&
           m->last.term <= BALLOT_TERM_MAX;
}

const char *ballot_message_text(enum ballot_message_kind kind)
{
    switch (kind) {
    case BALLOT_MSG_NONE:
        return "none";
    case BALLOT_MSG_PREVOTE:
        return "prevote";
    case BALLOT_MSG_PREVOTE_RESP:
        return "prevote_resp";
    case BALLOT_MSG_VOTE:
        return "vote";
    case BALLOT_MSG_VOTE_RESP:
        return "vote_resp";
    case BALLOT_MSG_TIMEOUT_NOW:
        return "timeout_now";
    case BALLOT_MSG_NOMINATE_QUERY:
        return "nominate_query";
    case BALLOT_MSG_NOMINATE_ANSWER:
        return "nominate_answer";
    case BALLOT_MSG_NOMINATE:
        return "nominate";
    case BALLOT_MSG_ELECTION:
        return "election";
    case BALLOT_MSG_ELECTION_OK:
        return "election_ok";
    case BALLOT_MSG_COORDINATOR:
        return "coordinator";
    case BALLOT_MSG_PROBE:
        return "probe";
    case BALLOT_MSG_ALIVE:
        return "alive";
    case BALLOT_MSG_TOKEN:
        return "token";
    case BALLOT_MSG_INVITE:
        return "invite";
    case BALLOT_MSG_ACCEPT:
        return "accept";
    case BALLOT_MSG_JOINED:
        return "joined";
    case BALLOT_MSG_KINDS:
        break;
    }
    return "unknown";
}

const char *ballot_reason_text(enum ballot_reason reason)
{
    switch (reason) {
    case BALLOT_OK:
        return "ok";
    case BALLOT_LOWER_TERM:
        return "lower_term";
    case BALLOT_LOG_BEHIND:
        return "log_behind";
    case BALLOT_VOTED:
        return "voted";
    case BALLOT_PROMISE:
        return "promise";
    case BALLOT_BOOT:
        return "boot";
    case BALLOT_SEES_LEADER:
        return "sees_leader";
    case BALLOT_NOT_MEMBER:
        return "not_member";
    case BALLOT_STALE:
        return "stale";
    case BALLOT_REASONS:
        break;
    }
    return "unknown";
}
