#include "tools/elect/stats.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"

void stats_init(struct stats *s, uint32_t nodes)
{
    memset(s, 0, sizeof *s);
    s->nodes = nodes;
    s->node = xcalloc(nodes + 1, sizeof *s->node);
    s->leaders = xcalloc(nodes, sizeof *s->leaders);
}

void stats_done(struct stats *s)
{
    free(s->node);
    free(s->leaders);
    free(s->waits);
    memset(s, 0, sizeof *s);
}

void stats_begin(struct stats *s)
{
    memset(s->node, 0, (s->nodes + 1) * sizeof *s->node);
    for (uint32_t id = 1; id <= s->nodes; id++)
        s->node[id].alive = true;
    s->alive = s->nodes;
    s->leader_count = 0;
    s->current = 0;
    s->counting = s->split = s->stale = false;
}

void stats_watch(struct stats *s, uint64_t now)
{
    s->counting = true;
    s->began_at = s->unled_at = s->split_at = s->stale_at = now;
    s->splits += s->split;
    s->stales += s->stale;
}

static void add_wait(struct stats *s, uint64_t wait_us)
{
    if (s->wait_count == s->wait_room) {
        s->wait_room = s->wait_room ? 2 * s->wait_room : 64;
        s->waits = xreallocarray(s->waits, s->wait_room, sizeof *s->waits);
    }
    s->waits[s->wait_count++] = wait_us;
}

/* ---- is the cluster led? --------------------------------------------------------------------- */

static bool leads_cluster(const struct stats *s, uint32_t id)
{
    const struct stats_node *n = &s->node[id];

    return n->alive && n->leads && !n->cut && 2 * n->followers > s->alive;
}

/* At most one node can be followed by more than half, so the first that is found is the one. */
static uint32_t find_current(const struct stats *s)
{
    if (s->current != 0 && leads_cluster(s, s->current))
        return s->current;
    for (uint32_t i = 0; i < s->leader_count; i++)
        if (leads_cluster(s, s->leaders[i]))
            return s->leaders[i];
    return 0;
}

static void note_current(struct stats *s, uint64_t now, uint32_t current)
{
    if (current == s->current)
        return;
    if (s->counting && s->current == 0)
        s->unled_us += now - s->unled_at;
    if (current == 0) {
        s->unled_at = now;
    } else if (s->counting) {
        s->elections++;
        if (s->current == 0)
            add_wait(s, now - s->unled_at);
    }
    s->current = current;
}

/* ---- do two lead? ---------------------------------------------------------------------------- */

static bool two_in_a_term(const struct stats *s)
{
    for (uint32_t i = 0; i < s->leader_count; i++)
        for (uint32_t k = i + 1; k < s->leader_count; k++)
            if (s->node[s->leaders[i]].term == s->node[s->leaders[k]].term)
                return true;
    return false;
}

/* One kind of interval: opens, or closes and is added up. */
static void note_interval(const struct stats *s, uint64_t now, bool holds, bool *open,
                          uint64_t *since, uint64_t *count, uint64_t *sum_us)
{
    if (holds == *open)
        return;
    *open = holds;
    if (!s->counting)
        return;
    if (holds) {
        *since = now;
        (*count)++;
    } else {
        *sum_us += now - *since;
    }
}

static void note_leaders(struct stats *s, uint64_t now)
{
    bool split = two_in_a_term(s);
    bool stale = !split && s->leader_count > 1;

    note_interval(s, now, split, &s->split, &s->split_at, &s->splits, &s->split_us);
    note_interval(s, now, stale, &s->stale, &s->stale_at, &s->stales, &s->stale_us);
}

static void leaders_add(struct stats *s, uint32_t id)
{
    s->leaders[s->leader_count++] = id;
}

static void leaders_remove(struct stats *s, uint32_t id)
{
    uint32_t i = 0;

    while (s->leaders[i] != id)
        i++;
    s->leaders[i] = s->leaders[--s->leader_count];
}

/* ---- what happens ---------------------------------------------------------------------------- */

static void set_follows(struct stats *s, uint32_t node, uint32_t leader)
{
    struct stats_node *n = &s->node[node];

    if (n->follows != 0)
        s->node[n->follows].followers--;
    n->follows = leader;
    if (leader != 0)
        s->node[leader].followers++;
}

void stats_follow(struct stats *s, uint64_t now, uint32_t node, uint32_t leader)
{
    uint32_t old = s->node[node].follows;

    if (old == leader || !s->node[node].alive)
        return;
    set_follows(s, node, leader);
    if (leader != 0 && leads_cluster(s, leader))
        note_current(s, now, leader);
    else if (s->current != 0 && !leads_cluster(s, s->current))
        note_current(s, now, 0);
}

void stats_lead(struct stats *s, uint64_t now, uint32_t node, bool leads, uint64_t term)
{
    struct stats_node *n = &s->node[node];
    bool led = n->leads;

    assert(n->alive || !leads);
    n->leads = leads;
    n->term = term;
    if (leads && !led)
        leaders_add(s, node);
    if (led && !leads && n->alive)
        leaders_remove(s, node);
    if (leads)
        set_follows(s, node, node);
    else if (n->follows == node)
        set_follows(s, node, 0);
    note_leaders(s, now);
    note_current(s, now, find_current(s));
}

/* A dead node follows nobody; those who follow it do so until they hear of another. */
void stats_alive(struct stats *s, uint64_t now, uint32_t node, bool alive)
{
    struct stats_node *n = &s->node[node];

    if (n->alive == alive)
        return;
    if (n->leads)
        stats_lead(s, now, node, false, n->term);
    set_follows(s, node, 0);
    n->alive = alive;
    if (alive)
        s->alive++;
    else
        s->alive--;
    note_current(s, now, find_current(s));
}

void stats_cut(struct stats *s, uint64_t now, uint32_t node, bool cut)
{
    s->node[node].cut = cut;
    note_current(s, now, find_current(s));
}

void stats_failure(struct stats *s)
{
    s->failures += s->counting;
}

void stats_end(struct stats *s, uint64_t now)
{
    uint64_t busiest = 0;

    assert(s->counting);
    if (s->current == 0) {
        s->unled_us += now - s->unled_at;
        add_wait(s, now - s->unled_at);
        s->unresolved++;
    }
    if (s->split)
        s->split_us += now - s->split_at;
    if (s->stale)
        s->stale_us += now - s->stale_at;
    for (uint32_t id = 1; id <= s->nodes; id++)
        if (s->node[id].messages > busiest)
            busiest = s->node[id].messages;
    s->busiest += busiest;
    s->observed_us += now - s->began_at;
    s->runs++;
    s->counting = false;
}

/* ---- figures --------------------------------------------------------------------------------- */

static int compare_waits(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

double stats_wait_ms(struct stats *s, double p)
{
    assert(p > 0 && p <= 1);
    if (s->wait_count == 0)
        return -1;
    qsort(s->waits, s->wait_count, sizeof *s->waits, compare_waits);
    uint32_t index = (uint32_t)ceil(p * s->wait_count) - 1;
    return (double)s->waits[index] / 1000;
}

static double ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? -1 : (double)a / (double)b;
}

struct stats_summary stats_summary(struct stats *s)
{
    return (struct stats_summary){
        .messages_per_election = ratio(s->messages, s->elections),
        .busiest_node = ratio(s->busiest, s->elections),
        .leader_ms_p50 = stats_wait_ms(s, 0.5),
        .leader_ms_p99 = stats_wait_ms(s, 0.99),
        .elections_per_failure = ratio(s->elections, s->failures),
        .leaderless_share = ratio(s->unled_us, s->observed_us),
    };
}
