#include "tests/unit/election/strategies.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { DELTA_US = 15000, STEP_US = 100 };

struct node {
    uint64_t state[STRATEGY_STATE_WORDS];
    uint64_t wake_at;
    uint32_t leader;
};

/* Messages under way: those of one step arrive in the next. */
struct letters {
    struct ballot_message *at;
    size_t count, room;
};

static struct node nodes[BOOK_NODES_MAX + 1];
static uint8_t kinds[BOOK_NODES_MAX + 1];
static uint32_t places[BOOK_NODES_MAX + 1], ids[BOOK_NODES_MAX];
static struct ballot_message messages[BOOK_NODES_MAX + 1];
static struct strategy_nodes order;
static struct letters sent;

static struct strategy_view view_of(const struct book *b, uint32_t id)
{
    return (struct strategy_view){.now = b->now,
                                  .self = id,
                                  .term = 1,
                                  .last = {1, 1},
                                  .leader = nodes[id].leader,
                                  .delta_us = DELTA_US,
                                  .rtt_us = 2 * STEP_US,
                                  .raw = true,
                                  .nodes = &order};
}

static void post(struct book *b, const struct strategy_output *out)
{
    for (uint32_t i = 0; i < out->message_count; i++) {
        if (sent.count == sent.room) {
            sent.room = sent.room ? 2 * sent.room : 1024;
            sent.at = realloc(sent.at, sent.room * sizeof *sent.at);
            assert(sent.at != NULL);
        }
        sent.at[sent.count++] = out->messages[i];
        b->sent[out->messages[i].kind]++;
    }
}

static void follow(struct book *b, uint32_t id, uint32_t leader)
{
    struct strategy_output out = {.room = BOOK_NODES_MAX + 1, .messages = messages};
    struct strategy_view view;

    if (nodes[id].leader == leader)
        return;
    nodes[id].leader = leader;
    b->followers++;
    view = view_of(b, id);
    b->ops->on_leader(nodes[id].state, &view, &out);
    nodes[id].wake_at = out.wake_at;
    post(b, &out);
}

/* "In RAW mode the simulator instead makes the nominee leader immediately" (PROTOCOL 2.1). */
static void take_up(struct book *b, uint32_t id, const struct strategy_output *out)
{
    struct strategy_output more = {.room = BOOK_NODES_MAX + 1, .messages = messages};
    struct strategy_view view = view_of(b, id);

    nodes[id].wake_at = out->wake_at;
    post(b, out);
    if (out->nominate != id || nodes[id].leader == id)
        return;
    b->leader = id;
    b->leaders++;
    b->ops->announce(nodes[id].state, &view, &more);
    post(b, &more);
    follow(b, id, id);
}

static void deliver(struct book *b, const struct ballot_message *m)
{
    struct strategy_output out = {.room = BOOK_NODES_MAX + 1, .messages = messages};
    struct strategy_view view;

    if (m->to <= b->dead)
        return;
    if (m->kind == BALLOT_MSG_COORDINATOR && m->leader != m->to)
        follow(b, m->to, m->leader != 0 ? m->leader : m->from);
    view = view_of(b, m->to);
    b->ops->on_message(nodes[m->to].state, &view, m, &out);
    take_up(b, m->to, &out);
}

static void suspect(struct book *b, uint32_t id)
{
    struct strategy_output out = {.room = BOOK_NODES_MAX + 1, .messages = messages};
    struct strategy_view view = view_of(b, id);

    b->ops->on_suspect(nodes[id].state, &view, &out);
    take_up(b, id, &out);
}

static void run_timer(struct book *b, uint32_t id)
{
    struct strategy_output out = {.room = BOOK_NODES_MAX + 1, .messages = messages};
    struct strategy_view view = view_of(b, id);

    b->ops->on_timer(nodes[id].state, &view, &out);
    take_up(b, id, &out);
}

/* Messages first, then the timers that are due; without messages time goes on to the next timer. */
static bool step(struct book *b)
{
    struct letters arriving = sent;
    uint64_t next = UINT64_MAX;

    sent = (struct letters){0};
    b->now += STEP_US;
    for (size_t i = 0; i < arriving.count; i++)
        deliver(b, &arriving.at[i]);
    free(arriving.at);
    if (arriving.count > 0)
        return true;
    for (uint32_t id = b->dead + 1; id <= b->nodes; id++)
        if (nodes[id].wake_at < next)
            next = nodes[id].wake_at;
    if (next == UINT64_MAX)
        return false;
    b->now = next > b->now ? next : b->now;
    for (uint32_t id = b->dead + 1; id <= b->nodes; id++)
        if (nodes[id].wake_at <= b->now)
            run_timer(b, id);
    return true;
}

void book_elect(struct book *b, const struct strategy_ops *ops, uint32_t count, uint32_t candidates,
                uint32_t dead, uint32_t initiator)
{
    uint64_t end;

    assert(count <= BOOK_NODES_MAX);
    *b = (struct book){.ops = ops, .nodes = count, .dead = dead, .now = 1000};
    order = (struct strategy_nodes){
        .count = count, .placed = count, .kind = kinds, .place = places, .at = ids};
    for (uint32_t id = 1; id <= count; id++) {
        kinds[id] = id <= candidates ? MEMBER_COPY : MEMBER_WITNESS;
        places[id] = id - 1;
        ids[id - 1] = id;
        nodes[id] = (struct node){.wake_at = UINT64_MAX};
        ops->init(nodes[id].state);
        follow(b, id, 1); /* the leader until now */
        nodes[id].leader = 0;
    }
    b->followers = 0;
    for (uint32_t id = count; id > dead; id--)
        if (initiator == 0 || id == initiator)
            suspect(b, id);
    end = b->now + 100 * 1000 * 1000;
    while (b->now < end && step(b))
        ;
    free(sent.at);
    sent = (struct letters){0};
}

uint64_t book_total(const struct book *b)
{
    uint64_t total = 0;

    for (uint32_t kind = 0; kind < BALLOT_MSG_KINDS; kind++)
        total += b->sent[kind];
    return total;
}
