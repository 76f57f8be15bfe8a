/* Liveness (PROTOCOL 1.9 E11): what a healed majority must have come to within its budget. */
#include <stdio.h>
#include <string.h>

#include "fs/app/internal.h"
#include "node/internal.h"
#include "repl/core/state.h"
#include "tests/sim/check_internal.h"

#define REQUEST_MAX (2 * TIME_S)

static const struct node *running(uint32_t id)
{
    const struct process *p = process_of(id);
    return p->up && !p->frozen && !p->gone ? p->node : NULL;
}

static const struct node *only_leader(time_us since)
{
    const struct node *leader = NULL;
    for (uint32_t id = 1; id <= process_nodes(); id++) {
        const struct node *n = running(id);
        if (!n || n->replica->role != REPLICA_LEADER || !n->replica->ready)
            continue;
        if (leader)
            sim_complain("progress", "n%u and n%u both lead long after healing", leader->self->id,
                         id);
        leader = n;
    }
    if (!leader)
        sim_complain("progress", "no leader %llu ms after healing",
                     (unsigned long long)((sim_now() - since) / TIME_MS));
    return leader;
}

static bool take_first(void *ctx, const struct block_ref *ref)
{
    *(struct block_ref *)ctx = *ref;
    return false;
}

/* One of them, and who could have sent it. */
static void complain_missing(const struct node *n)
{
    struct block_ref ref = {0};
    char holders[128] = "";
    store_each_missing(n->store, take_first, &ref);
    for (uint32_t id = 1; id <= process_nodes(); id++) {
        size_t used = strlen(holders);
        if (running(id) && store_has(running(id)->store, &ref))
            (void)snprintf(holders + used, sizeof holders - used, " n%u", id);
    }
    sim_complain("progress", "n%u still misses %llu blocks; %llu.%llu is held by%s", n->self->id,
                 (unsigned long long)store_missing_count(n->store),
                 (unsigned long long)ref.name.session, (unsigned long long)ref.name.n,
                 *holders ? holders : " nobody");
}

static void check_node(const struct node *n, const struct node *leader)
{
    uint32_t id = n->self->id;
    uint64_t commit = leader->replica->commit;
    if (n->replica->ballot.leader != leader->self->id)
        sim_complain("progress", "n%u follows n%u, n%u leads", id, n->replica->ballot.leader,
                     leader->self->id);
    else if (n->replica->commit != commit)
        sim_complain("progress", "n%u has not caught up: commit %llu of %llu", id,
                     (unsigned long long)n->replica->commit, (unsigned long long)commit);
    else if (n->state && n->applied != commit)
        sim_complain("progress", "n%u applied %llu of %llu", id, (unsigned long long)n->applied,
                     (unsigned long long)commit);
    else if (n->state && store_missing_count(n->store))
        complain_missing(n);
}

/* Mounts ask a little now and then even when nobody uses them. */
static void check_requests(const struct node *n)
{
    time_us now = process_clock(process_of(n->self->id));
    list_each(it, &n->app->requests) {
        const struct request *r = container_of(it, struct request, all);
        if (time_since(now, r->since) > REQUEST_MAX)
            sim_complain("progress", "a request of session %llu waits at n%u for %llu ms",
                         (unsigned long long)r->session, n->self->id,
                         (unsigned long long)(time_since(now, r->since) / TIME_MS));
    }
}

void check_progress_healed(time_us since)
{
    const struct node *leader = only_leader(since);
    if (!leader)
        return;
    for (uint32_t id = 1; id <= process_nodes(); id++)
        if (running(id))
            check_node(running(id), leader);
    check_rest(leader->self->id, store_kv(leader->store), STORE_TABLE_STATE);
    check_requests(leader);
}
