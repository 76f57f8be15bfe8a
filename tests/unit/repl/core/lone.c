#include "tests/unit/repl/core/lone.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/lib/run.h"

struct lone l;

void lone_new(uint32_t self)
{
    l = (struct lone){.now = 10 * TIME_S};
    member_set_init(&l.config.members);
    member_set_put(&l.config.members, 1, MEMBER_COPY, 1);
    member_set_put(&l.config.members, 2, MEMBER_COPY, 2);
    member_set_put(&l.config.members, 3, MEMBER_WITNESS, 3);
    l.config.self = self;
    l.r = replica_new(&l.config, 0, 0);
}

void lone_start(uint64_t term)
{
    struct replica_event ev = {.kind = REPLICA_START};
    ev.start.term = term;
    step(ev);
    for (uint32_t peer = 1; peer <= 3; peer++)
        if (peer != l.config.self)
            link_up(peer, 7);
}

void lone_free(void)
{
    replica_update_done(&l.u);
    replica_free(l.r);
}

/* ---- events ---------------------------------------------------------------------------------- */

void step(struct replica_event ev)
{
    l.now += 1 * TIME_MS;
    ev.now = l.now;
    ev.random = l.now;
    replica_step(l.r, &ev, &l.u);
    replica_check(l.r);
}

void tick(time_us us)
{
    l.now += us;
    step((struct replica_event){.kind = REPLICA_TICK});
}

void link_down(uint32_t peer)
{
    step((struct replica_event){.kind = REPLICA_LINK_DOWN, .link = {.peer = peer}});
}

void link_up(uint32_t peer, uint64_t store_boot)
{
    struct replica_event up = {.kind = REPLICA_LINK_UP};
    up.link.peer = peer;
    up.link.store_boot = store_boot;
    step(up);
}

void hear(uint32_t from, struct message *m)
{
    struct replica_event ev = {.kind = REPLICA_MESSAGE};
    ev.message.from = from;
    ev.message.message = m;
    step(ev);
    message_done(m);
}

void ensured(uint64_t ticket)
{
    step((struct replica_event){.kind = REPLICA_ENSURED, .ensured = {ticket}});
}

void written(enum replica_effect_kind write)
{
    written_to(write_of(write));
}

void written_to(uint64_t seq)
{
    step((struct replica_event){.kind = REPLICA_WRITTEN, .written = {seq}});
}

void written_all(void)
{
    written_to(l.r->write_seq);
}

void propose(uint64_t ticket, const struct block_ref *ref, struct blob *inline_bytes,
             uint32_t holders)
{
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = ticket;
    ev.propose.kind = ENTRY_OP;
    ev.propose.blocks = ref;
    ev.propose.blocks_count = ref != NULL;
    ev.propose.inline_bytes = inline_bytes;
    ev.propose.holders = holders;
    step(ev);
}

void ask_read(uint64_t id)
{
    step((struct replica_event){.kind = REPLICA_READ, .read = {.id = id}});
}

struct message append_message(struct append a)
{
    struct message m = {.kind = MESSAGE_APPEND};
    struct block_ref ref = {.size = 100};
    struct blob *bytes = a.bytes == BYTES_INLINE ? blob_new(100) : NULL;
    uint64_t entry_term = a.entry_term ? a.entry_term : a.term;
    if (bytes)
        memset(bytes->data, 1, 100);
    m.append.term = a.term;
    m.append.prev_index = a.prev;
    m.append.prev_term = a.prev_term || !a.prev ? a.prev_term : a.term;
    m.append.commit = a.commit;
    m.append.demote_index = a.demote;
    m.append.keep_index = a.keep;
    m.append.rebase = a.rebase;
    m.append.sent_at = 1;
    m.append.entries_count = a.count;
    m.append.entries = calloc(a.count + 1, sizeof(struct entry *));
    for (uint32_t i = 0; i < a.count; i++) {
        ref.name = (struct block_name){.session = entry_term, .n = a.prev + 1 + i};
        m.append.entries[i] = entry_new(entry_term, a.prev + 1 + i, ENTRY_OP, NULL, &ref,
                                        a.bytes != BYTES_NONE, bytes);
    }
    blob_unref(bytes);
    return m;
}

void hear_append(uint32_t from, struct append a)
{
    struct message m = append_message(a);
    hear(from, &m);
}

/* ---- effects of the last step ---------------------------------------------------------------- */

struct replica_effect *find(enum replica_effect_kind kind)
{
    for (size_t i = 0; i < l.u.count; i++)
        if (l.u.effects[i].kind == kind)
            return &l.u.effects[i];
    return NULL;
}

struct message *find_message(enum message_kind kind)
{
    for (size_t i = 0; i < l.u.count; i++)
        if (l.u.effects[i].kind == EFFECT_SEND && l.u.effects[i].send.message.kind == kind)
            return &l.u.effects[i].send.message;
    return NULL;
}

const struct message_append *append_to(uint32_t to)
{
    for (size_t i = 0; i < l.u.count; i++) {
        const struct replica_effect *f = &l.u.effects[i];
        if (f->kind == EFFECT_SEND && f->send.to == to && f->send.message.kind == MESSAGE_APPEND)
            return &f->send.message.append;
    }
    return NULL;
}

static const struct replica_effect *must_find(enum replica_effect_kind kind)
{
    const struct replica_effect *f = find(kind);
    ck_assert_msg(f != NULL, "effect %d is missing", (int)kind);
    return f;
}

uint64_t write_of(enum replica_effect_kind kind)
{
    const struct replica_effect *f = must_find(kind);
    return kind == EFFECT_WRITE_VOTE   ? f->write_vote.write_seq
           : kind == EFFECT_WRITE_BASE ? f->write_base.write_seq
                                       : f->write_entries.write_seq;
}

uint64_t ticket_of(enum replica_effect_kind kind)
{
    return must_find(kind)->ensure.ticket;
}

void expect_index(enum replica_effect_kind kind, uint64_t index)
{
    ck_assert_uint_eq(must_find(kind)->at.index, index);
}

void expect_ticket(enum replica_effect_kind kind, uint64_t ticket)
{
    ck_assert_uint_eq(must_find(kind)->at.ticket, ticket);
}

void expect_entries(uint64_t first, uint64_t term, uint32_t count)
{
    const struct replica_effect *f = must_find(EFFECT_WRITE_ENTRIES);
    ck_assert_uint_eq(f->write_entries.count, count);
    ck_assert_uint_eq(f->write_entries.entries[0]->index, first);
    ck_assert_uint_eq(f->write_entries.entries[0]->term, term);
}

void expect_match(uint64_t index)
{
    const struct message *answer = find_message(MESSAGE_APPEND_RESP);
    ck_assert_ptr_nonnull(answer);
    ck_assert(!answer->append_resp.reject);
    ck_assert_uint_eq(answer->append_resp.match, index);
    ck_assert_uint_eq(answer->append_resp.term, replica_term(l.r));
}

void expect_append(uint32_t to, uint32_t entries, uint64_t commit)
{
    const struct message_append *m = append_to(to);
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(m->entries_count, entries);
    ck_assert_uint_eq(m->commit, commit);
}

void expect_none(enum replica_effect_kind kind)
{
    ck_assert_msg(find(kind) == NULL, "effect %d is not due", (int)kind);
}

void expect_no_append(uint32_t to)
{
    ck_assert_ptr_null(append_to(to));
}

void expect_match_if_told(uint64_t index)
{
    if (find_message(MESSAGE_APPEND_RESP))
        expect_match(index);
}
