#include "tests/unit/repl/core/lone.h"

#include <stdlib.h>
#include <string.h>

void lone_new(struct lone *l, uint32_t self)
{
    *l = (struct lone){.now = 10 * TIME_S};
    member_set_init(&l->config.members);
    member_set_put(&l->config.members, 1, MEMBER_COPY, 1);
    member_set_put(&l->config.members, 2, MEMBER_COPY, 2);
    member_set_put(&l->config.members, 3, MEMBER_WITNESS, 3);
    l->config.self = self;
    l->r = replica_new(&l->config, 0, 0);
}

void step(struct lone *l, struct replica_event ev)
{
    l->now += 1 * TIME_MS;
    ev.now = l->now;
    ev.random = l->now;
    replica_step(l->r, &ev, &l->u);
    replica_check(l->r);
}

void lone_start(struct lone *l, uint64_t term)
{
    struct replica_event ev = {.kind = REPLICA_START};
    ev.start.term = term;
    step(l, ev);
    for (uint32_t peer = 1; peer <= 3; peer++) {
        struct replica_event up = {.kind = REPLICA_LINK_UP};
        up.link.peer = peer;
        up.link.store_boot = 7;
        if (peer != l->config.self)
            step(l, up);
    }
}

void lone_free(struct lone *l)
{
    replica_update_done(&l->u);
    replica_free(l->r);
}

struct replica_effect *find(struct lone *l, enum replica_effect_kind kind)
{
    for (size_t i = 0; i < l->u.count; i++)
        if (l->u.effects[i].kind == kind)
            return &l->u.effects[i];
    return NULL;
}

struct message *find_message(struct lone *l, enum message_kind kind)
{
    for (size_t i = 0; i < l->u.count; i++)
        if (l->u.effects[i].kind == EFFECT_SEND && l->u.effects[i].send.message.kind == kind)
            return &l->u.effects[i].send.message;
    return NULL;
}

void hear(struct lone *l, uint32_t from, struct message *m)
{
    struct replica_event ev = {.kind = REPLICA_MESSAGE};
    ev.message.from = from;
    ev.message.message = m;
    step(l, ev);
    message_done(m);
}

void written(struct lone *l, uint64_t seq)
{
    step(l, (struct replica_event){.kind = REPLICA_WRITTEN, .written = {seq}});
}

struct message append(uint64_t term, uint64_t prev, uint64_t prev_term, uint64_t entry_term,
                      uint32_t count, enum bytes_form form, uint64_t commit)
{
    struct message m = {.kind = MESSAGE_APPEND};
    struct block_ref ref = {.size = 100};
    struct blob *bytes = form == BYTES_INLINE ? blob_new(100) : NULL;
    if (bytes)
        memset(bytes->data, 1, 100);
    m.append.term = term;
    m.append.prev_index = prev;
    m.append.prev_term = prev_term;
    m.append.commit = commit;
    m.append.sent_at = 1;
    m.append.entries_count = count;
    m.append.entries = calloc(count + 1, sizeof(struct entry *));
    for (uint32_t i = 0; i < count; i++) {
        ref.name = (struct block_name){.session = entry_term, .n = prev + 1 + i};
        m.append.entries[i] =
            entry_new(entry_term, prev + 1 + i, ENTRY_OP, NULL, &ref, form != BYTES_NONE, bytes);
    }
    blob_unref(bytes);
    return m;
}
