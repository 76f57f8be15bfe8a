#include "repl/core/progress.h"

#include <assert.h>

void progress_reset(struct progress *p, uint64_t next, time_us now)
{
    *p = (struct progress){
        .link_up = p->link_up,
        .store_boot = p->store_boot,
        .rtt_us = p->rtt_us,
        .state = PROGRESS_PROBE,
        .next = next,
        .watched_since = now,
        .lacking = !p->link_up, /* RULES B4: at once when the connection is closed */
    };
}

void progress_probe(struct progress *p, uint64_t next)
{
    assert(next > p->match);
    p->state = PROGRESS_PROBE;
    p->next = next;
    p->asked = false;
}

void progress_accept(struct progress *p, uint64_t match)
{
    if (match > p->match) {
        p->match = match;
    }
    if (p->next <= p->match) {
        p->next = p->match + 1;
    }
    if (p->state == PROGRESS_PROBE) {
        p->state = PROGRESS_REPLICATE;
    }
}

bool progress_refuse(struct progress *p, uint64_t refused, uint64_t meet)
{
    if (refused <= p->match || p->state == PROGRESS_SNAPSHOT) {
        return false;
    }
    if (p->state == PROGRESS_PROBE && refused != p->next - 1) {
        return false;
    }
    uint64_t next = meet < refused ? meet + 1 : refused;
    progress_probe(p, next > p->match ? next : p->match + 1);
    return true;
}
