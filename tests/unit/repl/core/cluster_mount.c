/* What mounts ask of a leader. */
#include <string.h>

#include "tests/unit/repl/core/cluster_internal.h"

/* The mount: sends large blocks to whom it reaches, then proposes to whom it takes for the leader.
 */
uint64_t propose_form(struct world *w, uint32_t id, enum cluster_form form)
{
    struct node *n = &w->nodes[id];
    struct block_ref refs[2];
    struct blob *payload = blob_new(8), *bytes = NULL;
    uint32_t count = form == FORM_PLAIN ? 0 : 1 + (uint32_t)below(w, 2);
    uint64_t op = ++w->next_id;
    le64_put(payload->data, op);
    for (uint32_t i = 0; i < count; i++) {
        refs[i] =
            (struct block_ref){.name = {.session = 1, .n = ++w->next_block}, .size = BLOCK_SMALL};
    }
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = ++w->next_ticket;
    vec_push(&w->ticket_ids, op);
    ev.propose.kind = ENTRY_OP;
    ev.propose.payload = payload;
    ev.propose.blocks = refs;
    ev.propose.blocks_count = count;
    if (form == FORM_INLINE) {
        bytes = blob_new(count * BLOCK_SMALL);
        memset(bytes->data, (int)op, bytes->size);
        ev.propose.inline_bytes = bytes;
    } else if (form == FORM_BY_PARTS) {
        uint32_t targets = replica_draft_mask(n->replica);
        for (uint32_t p = 1; p <= w->nodes_count; p++) {
            bool target = !w->nodes[p].witness || (targets & (1u << p)) != 0;
            bool takes = w->nodes[p].up && w->nodes[p].paused_until <= w->now;
            if (target && takes && (w->options.scripted || !chance(w, 20))) {
                for (uint32_t i = 0; i < count; i++) {
                    store_put(&w->nodes[p], refs[i].name.n, false);
                }
                ev.propose.holders |= 1u << p;
            }
        }
    }
    ev.more = !w->options.scripted && chance(w, 30);
    w->result.proposals++;
    step(w, id, ev);
    if (ev.more) {
        step(w, id, (struct replica_event){.kind = REPLICA_TICK});
    }
    blob_unref(payload);
    blob_unref(bytes);
    return op;
}

static void propose_to(struct world *w, uint32_t id)
{
    (void)propose_form(w, id, (enum cluster_form)below(w, 3));
}

uint64_t read_from(struct world *w, uint32_t id)
{
    uint64_t read = ++w->next_id;
    vec_push(&w->reads, (struct asked_read){.id = read, .at_least = w->acknowledged});
    step(w, id, (struct replica_event){.kind = REPLICA_READ, .read = {.id = read}});
    return read;
}

/* The first thing a stopped node finds is what mounts asked; its peers' news come behind. */
void happen_wake(struct world *w, uint32_t id)
{
    if (w->nodes[id].role == REPLICA_LEADER && !w->quiet && !w->options.scripted) {
        (void)read_from(w, id);
        propose_to(w, id);
        (void)read_from(w, id);
    }
}

void happen_propose(struct world *w)
{
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        struct node *n = &w->nodes[id];
        bool runs = n->up && w->now >= n->paused_until;
        if (runs && n->role == REPLICA_LEADER && !w->quiet) {
            if (chance(w, 30)) {
                (void)read_from(w, id);
            }
            propose_to(w, id);
        }
    }
    time_us gap = w->healed ? 150000 : 500 + below(w, 30000);
    plan(w, (struct happening){.at = w->now + gap, .what = WHAT_PROPOSE});
}
