/* Proposals on their way into the log: large ones wait until f+1 nodes hold their blocks.
 * "Only that COMMIT waits, never the log" (RULES B5). */
#include <stdlib.h>

#include "repl/base/mutant.h"
#include "repl/core/state.h"

static node_mask byte_holders(const struct replica *r)
{
    return r->copies | r->draft_mask;
}

static bool hold_ripe(const struct replica *r, const struct hold *h)
{
    if (!r->ready) {
        return false; /* V8: nothing before the first entry of this term is committed */
    }
    return !h->by_parts || MUTANT(appended_unheld) ||
           (h->own && quorum_reached(h->holders & byte_holders(r), r->voters));
}

void hold_done(struct hold *h)
{
    blob_unref(h->payload);
    blob_unref(h->inline_bytes);
    free(h->refs);
}

static void hold_append(struct replica *r, const struct hold *h)
{
    uint64_t index =
        lead_append(r, h->kind, h->payload, h->refs, h->refs_count, h->inline_bytes, h->ticket);
    emit_at(r, EFFECT_APPENDED, h->ticket, index);
}

static bool propose_valid(const struct replica_event *ev)
{
    uint64_t size = 0;
    if (ev->propose.blocks_count > ENTRY_BLOCKS_MAX ||
        (ev->propose.payload != NULL && ev->propose.payload->size > ENTRY_PAYLOAD_BYTES_MAX)) {
        return false;
    }
    for (uint32_t i = 0; i < ev->propose.blocks_count; i++) {
        size += ev->propose.blocks[i].size;
    }
    const struct blob *bytes = ev->propose.inline_bytes;
    return bytes == NULL || (bytes->size == size && size <= ENTRY_INLINE_BYTES_MAX && size > 0);
}

void recv_propose(struct replica *r, const struct replica_event *ev)
{
    if (!is_leader(r) || r->stopping || r->transferring || !propose_valid(ev)) {
        emit_at(r, EFFECT_DROPPED, ev->propose.ticket, 0);
        return;
    }
    lead_active(r);
    struct hold h = {
        .id = ++r->next_ticket,
        .ticket = ev->propose.ticket,
        .kind = ev->propose.kind,
        .payload = blob_ref(ev->propose.payload),
        .inline_bytes = blob_ref(ev->propose.inline_bytes),
        .refs_count = ev->propose.blocks_count,
        .holders = ev->propose.holders & ~quorum_bit(r->self),
        .by_parts = ev->propose.blocks_count > 0 && ev->propose.inline_bytes == NULL,
        .drop_at = r->now + HOLD_US_MAX,
    };
    if (h.refs_count > 0) {
        h.refs = xmemdup(ev->propose.blocks, h.refs_count * sizeof(*h.refs));
    }
    if (!h.by_parts && hold_ripe(r, &h)) {
        hold_append(r, &h);
        hold_done(&h);
        return;
    }
    if (h.by_parts) {
        emit_ensure(r, h.refs, h.refs_count, h.holders, h.id); /* the leader holds them first */
    }
    vec_push(&r->holds, h);
    r->holds_moved = true;
}

static void send_want(struct replica *r, uint32_t to, const struct hold *h)
{
    struct message_want *m = &emit_message(r, to, MESSAGE_WANT)->want;
    m->term = r->role_term;
    m->id = h->id;
    m->sources = h->holders;
    m->refs_count = h->refs_count;
    m->refs = xmemdup(h->refs, h->refs_count * sizeof(*h->refs));
}

/* Asks the copies and drafted witnesses that lack the blocks, each once, and again after a while.
 */
static void hold_ask(struct replica *r, struct hold *h)
{
    if (!h->by_parts || !h->own) {
        return;
    }
    if (r->now >= h->ask_again_at) {
        h->asked = 0;
        h->ask_again_at = r->now + WANT_AGAIN_US;
    }
    node_mask lacking = byte_holders(r) & ~h->holders & ~h->asked;
    quorum_each(id, lacking) {
        if (r->peers[id].link_up) {
            h->asked |= quorum_bit(id);
            send_want(r, id, h);
        }
    }
}

static void hold_drop(struct replica *r, struct hold *h)
{
    if (h->by_parts && !h->own) {
        emit(r, EFFECT_ENSURE_END)->ensure.ticket = h->id;
    }
    emit_at(r, EFFECT_DROPPED, h->ticket, 0);
    hold_done(h);
}

void holds_run(struct replica *r)
{
    if (!is_leader(r) || (!r->holds_moved && r->now < holds_wake_at(r))) {
        return;
    }
    r->holds_moved = false;
    size_t kept = 0;
    for (size_t i = 0; i < r->holds.count; i++) {
        struct hold *h = &r->holds.items[i];
        if (hold_ripe(r, h)) {
            hold_append(r, h);
            hold_done(h);
        } else if (r->now >= h->drop_at) {
            hold_drop(r, h);
        } else {
            hold_ask(r, h);
            r->holds.items[kept++] = *h;
        }
    }
    r->holds.count = kept;
}

void holds_drop(struct replica *r)
{
    for (size_t i = 0; i < r->holds.count; i++) {
        hold_drop(r, &r->holds.items[i]);
    }
    vec_clear(&r->holds);
}

void holds_link(struct replica *r, uint32_t peer, bool store_restarted)
{
    for (size_t i = 0; i < r->holds.count; i++) {
        struct hold *h = &r->holds.items[i];
        h->asked &= ~quorum_bit(peer);
        if (store_restarted && !MUTANT(store_boot_ignored)) {
            h->holders &= ~quorum_bit(peer); /* written, not synced: may be gone (RULES B9) */
        }
    }
    r->holds_moved = true;
}

time_us holds_wake_at(const struct replica *r)
{
    time_us at = TIME_NEVER;
    for (size_t i = 0; i < r->holds.count; i++) {
        const struct hold *h = &r->holds.items[i];
        at = time_min(at, h->drop_at);
        if (h->by_parts && h->own) {
            at = time_min(at, h->ask_again_at);
        }
    }
    return at;
}

/* Since when a proposal waits for bytes that `id` was asked to hold; about TIME_NEVER: none does.
 */
time_us holds_lacking_since(const struct replica *r, uint32_t id)
{
    time_us since = TIME_NEVER - HOLD_BEHIND_US;
    for (size_t i = 0; i < r->holds.count; i++) {
        const struct hold *h = &r->holds.items[i];
        if (h->by_parts && h->own && (h->holders & quorum_bit(id)) == 0) {
            since = time_min(since, time_max(h->own_since, r->peers[id].watched_since));
        }
    }
    return since;
}

bool replica_holds_block(const struct replica *r, struct block_name name)
{
    for (size_t i = 0; i < r->holds.count; i++) {
        const struct hold *h = &r->holds.items[i];
        for (uint32_t k = 0; k < h->refs_count; k++) {
            if (block_name_equal(h->refs[k].name, name)) {
                return true;
            }
        }
    }
    return false;
}

void hold_ensured(struct replica *r, uint64_t ticket, bool *ret_found)
{
    for (size_t i = 0; i < r->holds.count; i++) {
        struct hold *h = &r->holds.items[i];
        if (h->id == ticket) {
            h->own = true;
            h->own_since = r->now;
            h->holders |= quorum_bit(r->self);
            r->holds_moved = true;
            *ret_found = true;
            return;
        }
    }
}

void recv_held(struct replica *r, uint32_t from, const struct message_held *m)
{
    if (!is_leader(r) || m->term != r->role_term) {
        return;
    }
    for (size_t i = 0; i < r->holds.count; i++) {
        if (r->holds.items[i].id == m->id) {
            r->holds.items[i].holders |= quorum_bit(from);
            r->holds_moved = true;
        }
    }
}

/* ---- the other side: our leader wants blocks in our store ------------------------------------ */

void recv_want(struct replica *r, uint32_t from, const struct message_want *m)
{
    if (leads(r) || m->term != r->matched_term || from != r->matched_leader) {
        return;
    }
    for (size_t i = 0; i < r->wants.count; i++) {
        if (r->wants.items[i].id == m->id) {
            r->wants.items[i].heard_at = r->now;
            return; /* at it */
        }
    }
    uint64_t ticket = emit_ensure(r, m->refs, m->refs_count, m->sources | quorum_bit(from), 0);
    vec_push(&r->wants, (struct want){.ticket = ticket, .id = m->id, .heard_at = r->now});
}

void want_ensured(struct replica *r, uint64_t ticket, bool *ret_found)
{
    for (size_t i = 0; i < r->wants.count; i++) {
        if (r->wants.items[i].ticket == ticket) {
            struct message_held *m = &emit_message(r, r->matched_leader, MESSAGE_HELD)->held;
            m->term = r->matched_term;
            m->id = r->wants.items[i].id;
            vec_remove(&r->wants, i);
            *ret_found = true;
            return;
        }
    }
}

/* A leader asks again as long as its proposal waits. When it does not, it has given it up, or made
 * it an entry: that waits for its blocks itself. */
void wants_run(struct replica *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->wants.count; i++) {
        struct want *w = &r->wants.items[i];
        if (r->now >= w->heard_at + WANT_US_MAX) {
            emit(r, EFFECT_ENSURE_END)->ensure.ticket = w->ticket;
        } else {
            r->wants.items[kept++] = *w;
        }
    }
    r->wants.count = kept;
}

void wants_drop(struct replica *r)
{
    for (size_t i = 0; i < r->wants.count; i++) {
        emit(r, EFFECT_ENSURE_END)->ensure.ticket = r->wants.items[i].ticket;
    }
    vec_clear(&r->wants);
}
