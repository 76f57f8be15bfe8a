#include "election/strategy.h"

#include <assert.h>
#include <string.h>

enum {
    DECAY_ROUNDS_MAX = 32, /* 0.8^32 brings any position of a real cluster below 1 */
    ANSWER_MARGIN_US = 10 * 1000,
    ANSWER_NODE_US = 20, /* a node that hears from thousands reads for a while */
    ANSWER_DOUBLINGS_MAX = 5,
    LEAD_US = 200 * 1000, /* T_promise and a flush or two */
    BACKOFF_DELTAS_MAX = 8,
};

const struct strategy_ops *strategy_find(const char *name)
{
    static const struct strategy_ops *const all[] = {&strategy_candidate, &strategy_bully,
                                                     &strategy_successor, &strategy_invitation,
                                                     &strategy_ring};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}

enum member_kind strategy_kind(const struct strategy_view *view, uint32_t id)
{
    if (id == NODE_ID_NONE || id > view->nodes->count)
        return MEMBER_NONE;
    return (enum member_kind)view->nodes->kind[id];
}

bool strategy_may_lead(const struct strategy_view *view, uint32_t id)
{
    return strategy_kind(view, id) == MEMBER_COPY && !(view->aside && id == view->self);
}

uint32_t strategy_copies(const struct strategy_view *view)
{
    uint32_t copies = 0;

    while (copies < view->nodes->placed &&
           strategy_kind(view, view->nodes->at[copies]) == MEMBER_COPY)
        copies++;
    return copies;
}

bool strategy_higher(const struct strategy_view *view, uint32_t a, struct log_position a_last,
                     uint32_t b, struct log_position b_last)
{
    int newer = log_position_compare(a_last, b_last);

    if (!strategy_may_lead(view, a) || !strategy_may_lead(view, b))
        return strategy_may_lead(view, a);
    return newer > 0 || (newer == 0 && view->nodes->place[a] < view->nodes->place[b]);
}

uint32_t strategy_decayed(uint32_t position, uint32_t failed)
{
    for (uint32_t k = 0; k < failed && k < DECAY_ROUNDS_MAX; k++)
        position = position * 4 / 5;
    return position;
}

uint64_t strategy_answer_us(const struct strategy_view *view, uint32_t failed)
{
    uint32_t doublings = failed < ANSWER_DOUBLINGS_MAX ? failed : ANSWER_DOUBLINGS_MAX;
    uint64_t once = view->rtt_us + ANSWER_MARGIN_US + view->nodes->placed * ANSWER_NODE_US;

    return once << doublings;
}

uint64_t strategy_lead_us(const struct strategy_view *view)
{
    return LEAD_US + 4 * view->delta_us;
}

uint64_t strategy_backoff_us(const struct strategy_view *view, uint32_t failed)
{
    uint64_t deltas = failed < BACKOFF_DELTAS_MAX ? failed : BACKOFF_DELTAS_MAX;

    return deltas * view->delta_us + view->random % (deltas * view->delta_us + 1);
}

struct ballot_message *strategy_push(struct strategy_output *out, const struct strategy_view *view,
                                     enum ballot_message_kind kind, uint32_t to)
{
    struct ballot_message *m = &out->messages[out->message_count++];

    assert(out->message_count <= out->room);
    *m = (struct ballot_message){.kind = kind,
                                 .from = view->self,
                                 .to = to,
                                 .term = view->term,
                                 .last = view->last,
                                 .leader = view->leader};
    return m;
}
