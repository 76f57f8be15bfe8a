#include "repl/wire/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "election/member.h"
#include "election/message.h"
#include "repl/wire/tally.pb-c.h"

#define BLOCKS_PER_WANT_MAX ENTRY_BLOCKS_MAX

void codec_bulk_done(struct codec_bulk *b)
{
    vec_done(b);
}

/* ---- out ------------------------------------------------------------------------------------- */

static Repl__BlockRef ref_out(const struct block_ref *b)
{
    Repl__BlockRef out = REPL__BLOCK_REF__INIT;
    out.session = b->name.session;
    out.n = b->name.n;
    out.size = b->size;
    out.digest = b->digest;
    return out;
}

/* An array of messages as protobuf-c wants it: the pointers first, the messages behind, one malloc.
 */
static Repl__BlockRef **refs_out(const struct block_ref *refs, uint32_t count)
{
    Repl__BlockRef **pointers = xmalloc(count * (sizeof(*pointers) + sizeof(**pointers)));
    Repl__BlockRef *out = (Repl__BlockRef *)(void *)(pointers + count);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = ref_out(&refs[i]);
        pointers[i] = &out[i];
    }
    return pointers;
}

/* `ret->blocks` is to be freed by the caller. */
static void entry_out(const struct entry *e, Repl__Entry *ret)
{
    repl__entry__init(ret);
    ret->kind = (uint32_t)e->kind;
    ret->term = e->term;
    ret->index = e->index;
    if (e->payload != NULL) {
        ret->payload.data = e->payload->data;
        ret->payload.len = e->payload->size;
    }
    ret->n_blocks = e->blocks_count;
    ret->blocks = refs_out(e->blocks, e->blocks_count);
    ret->has_inline = e->inline_bytes != NULL;
}

static void pack(const ProtobufCMessage *m, struct bytes_writer *control)
{
    size_t size = protobuf_c_message_get_packed_size(m);
    protobuf_c_message_pack(m, bytes_put_room(control, size));
}

void entry_encode(const struct entry *e, struct bytes_writer *control)
{
    Repl__Entry out;
    entry_out(e, &out);
    pack(&out.base, control);
    free(out.blocks);
}

static void ballot_out(const struct ballot_message *m, Repl__Message *msg,
                       struct bytes_writer *control)
{
    Repl__Position last = REPL__POSITION__INIT;
    last.term = m->last.term;
    last.index = m->last.index;
    Repl__Ballot out = REPL__BALLOT__INIT;
    out.kind = (uint32_t)m->kind;
    out.from = m->from;
    out.to = m->to;
    out.term = m->term;
    out.ballot = m->ballot;
    out.last = &last;
    out.transfer_id = m->transfer_id;
    out.wait_us = m->wait_us;
    out.leader = m->leader;
    out.granted = m->granted;
    out.reason = (uint32_t)m->reason;
    out.subject = m->subject;
    out.round = m->round;
    msg->what_case = REPL__MESSAGE__WHAT_BALLOT;
    msg->ballot = &out;
    pack(&msg->base, control);
}

static void append_out(const struct message_append *m, Repl__Message *msg,
                       struct bytes_writer *control, struct codec_bulk *bulk)
{
    uint32_t successors[NODE_SLOTS];
    for (uint32_t i = 0; i < m->successors_count; i++) {
        successors[i] = m->successors[i];
    }
    Repl__Entry *entries = xcalloc(m->entries_count, sizeof(*entries));
    Repl__Entry **pointers = xcalloc(m->entries_count, sizeof(*pointers));
    for (uint32_t i = 0; i < m->entries_count; i++) {
        entry_out(m->entries[i], &entries[i]);
        pointers[i] = &entries[i];
        if (m->entries[i]->inline_bytes != NULL) {
            vec_push(bulk, m->entries[i]->inline_bytes);
        }
    }
    Repl__Append out = REPL__APPEND__INIT;
    out.term = m->term;
    out.prev_index = m->prev_index;
    out.prev_term = m->prev_term;
    out.commit = m->commit;
    out.demote_index = m->demote_index;
    out.keep_index = m->keep_index;
    out.read_round = m->read_round;
    out.sent_at = m->sent_at;
    out.draft_mask = m->draft_mask;
    out.rescue = m->rescue;
    out.rebase = m->rebase;
    out.n_successors = m->successors_count;
    out.successors = successors;
    out.n_entries = m->entries_count;
    out.entries = pointers;
    msg->what_case = REPL__MESSAGE__WHAT_APPEND;
    msg->append = &out;
    pack(&msg->base, control);
    for (uint32_t i = 0; i < m->entries_count; i++) {
        free(entries[i].blocks);
    }
    free(entries);
    free(pointers);
}

static void append_resp_out(const struct message_append_resp *m, Repl__Message *msg,
                            struct bytes_writer *control)
{
    Repl__AppendResp out = REPL__APPEND_RESP__INIT;
    out.term = m->term;
    out.match = m->match;
    out.reject = m->reject;
    out.reject_index = m->reject_index;
    out.hint_index = m->hint_index;
    out.hint_term = m->hint_term;
    out.read_round = m->read_round;
    out.sent_at = m->sent_at;
    out.applied = m->applied;
    out.durable_applied = m->durable_applied;
    out.whole_index = m->whole_index;
    out.free_bytes = m->free_bytes;
    out.flush_p99_us = m->flush_p99_us;
    msg->what_case = REPL__MESSAGE__WHAT_APPEND_RESP;
    msg->append_resp = &out;
    pack(&msg->base, control);
}

static void want_out(const struct message_want *m, Repl__Message *msg, struct bytes_writer *control)
{
    Repl__Want out = REPL__WANT__INIT;
    out.term = m->term;
    out.id = m->id;
    out.sources = m->sources;
    out.n_blocks = m->refs_count;
    out.blocks = refs_out(m->refs, m->refs_count);
    msg->what_case = REPL__MESSAGE__WHAT_WANT;
    msg->want = &out;
    pack(&msg->base, control);
    free(out.blocks);
}

static void held_out(const struct message_held *m, Repl__Message *msg, struct bytes_writer *control)
{
    Repl__Held out = REPL__HELD__INIT;
    out.term = m->term;
    out.id = m->id;
    msg->what_case = REPL__MESSAGE__WHAT_HELD;
    msg->held = &out;
    pack(&msg->base, control);
}

void message_encode(const struct message *m, struct bytes_writer *control, struct codec_bulk *bulk)
{
    Repl__Message msg = REPL__MESSAGE__INIT;
    switch (m->kind) {
    case MESSAGE_BALLOT:
        ballot_out(&m->ballot, &msg, control);
        break;
    case MESSAGE_APPEND:
        append_out(&m->append, &msg, control, bulk);
        break;
    case MESSAGE_APPEND_RESP:
        append_resp_out(&m->append_resp, &msg, control);
        break;
    case MESSAGE_WANT:
        want_out(&m->want, &msg, control);
        break;
    case MESSAGE_HELD:
        held_out(&m->held, &msg, control);
        break;
    }
}

/* ---- in -------------------------------------------------------------------------------------- */

static int ref_in(const Repl__BlockRef *in, struct block_ref *ret)
{
    if (in->size == 0 || in->size > BLOCK_SIZE_MAX) {
        return -EBADMSG;
    }
    *ret = (struct block_ref){
        .name = {.session = in->session, .n = in->n}, .size = in->size, .digest = in->digest};
    return 0;
}

static int refs_in(Repl__BlockRef *const *in, size_t count, struct block_ref **ret)
{
    if (count > BLOCKS_PER_WANT_MAX) {
        return -EBADMSG;
    }
    struct block_ref *refs = xcalloc(count, sizeof(*refs));
    for (size_t i = 0; i < count; i++) {
        if (ref_in(in[i], &refs[i]) < 0) {
            free(refs);
            return -EBADMSG;
        }
    }
    *ret = refs;
    return 0;
}

static int entry_head_check(const Repl__Entry *in)
{
    bool known = in->kind == ENTRY_NOOP || in->kind == ENTRY_CONFIG || in->kind == ENTRY_OP;
    bool plain = in->kind == ENTRY_OP || in->n_blocks == 0;
    return known && plain && in->term > 0 && in->index > 0 &&
                   in->payload.len <= ENTRY_PAYLOAD_BYTES_MAX &&
                   (!in->has_inline || in->n_blocks > 0)
               ? 0
               : -EBADMSG;
}

/* Takes the entry's inline bytes off the front of `bulk`. */
static int entry_in(const Repl__Entry *in, struct bytes_reader *bulk, struct entry **ret)
{
    struct block_ref *refs = NULL;
    if (entry_head_check(in) < 0 || refs_in(in->blocks, in->n_blocks, &refs) < 0) {
        return -EBADMSG;
    }
    int rc = -EBADMSG;
    struct blob *bytes = NULL, *payload = NULL;
    if (in->has_inline) {
        uint64_t size = 0;
        for (size_t i = 0; i < in->n_blocks; i++) {
            size += refs[i].size;
        }
        const uint8_t *data = size <= ENTRY_INLINE_BYTES_MAX ? bytes_get(bulk, (size_t)size) : NULL;
        if (data == NULL) {
            goto out;
        }
        bytes = blob_copy(data, (size_t)size);
    }
    if (in->payload.len > 0) {
        payload = blob_copy(in->payload.data, in->payload.len);
    }
    *ret = entry_new(in->term, in->index, (enum entry_kind)in->kind, payload, refs,
                     (uint32_t)in->n_blocks, bytes);
    rc = 0;
out:
    blob_unref(bytes);
    blob_unref(payload);
    free(refs);
    return rc;
}

int entry_decode(const void *control, size_t control_size, const void *bulk, size_t bulk_size,
                 struct entry **ret)
{
    Repl__Entry *in = repl__entry__unpack(NULL, control_size, control);
    if (in == NULL) {
        return -EBADMSG;
    }
    struct bytes_reader reader;
    bytes_reader_init(&reader, bulk, bulk_size);
    struct entry *e = NULL;
    int rc = entry_in(in, &reader, &e);
    if (rc == 0 && in->has_inline && !bytes_reader_ended(&reader)) {
        entry_unref(e);
        rc = -EBADMSG;
    }
    if (rc == 0) {
        *ret = e;
    }
    repl__entry__free_unpacked(in, NULL);
    return rc;
}

static int ballot_in(const Repl__Ballot *in, struct message *ret)
{
    struct ballot_message m = {
        .kind = (enum ballot_message_kind)in->kind,
        .from = in->from,
        .to = in->to,
        .term = in->term,
        .ballot = in->ballot,
        .transfer_id = in->transfer_id,
        .wait_us = in->wait_us,
        .leader = in->leader,
        .granted = in->granted,
        .reason = (enum ballot_reason)in->reason,
        .subject = in->subject,
        .round = in->round,
    };
    if (in->last != NULL) {
        m.last = (struct log_position){.term = in->last->term, .index = in->last->index};
    }
    if (!ballot_message_valid(&m)) {
        return -EBADMSG;
    }
    *ret = (struct message){.kind = MESSAGE_BALLOT, .ballot = m};
    return 0;
}

static int append_in(const Repl__Append *in, struct bytes_reader *bulk, struct message *ret)
{
    bool sane = in->term > 0 && in->term <= BALLOT_TERM_MAX && in->prev_term <= in->term;
    if (in->n_successors > NODE_SLOTS || in->n_entries > MESSAGE_ENTRIES_MAX || !sane) {
        return -EBADMSG;
    }
    struct message out = {.kind = MESSAGE_APPEND};
    out.append = (struct message_append){
        .term = in->term,
        .prev_index = in->prev_index,
        .prev_term = in->prev_term,
        .commit = in->commit,
        .demote_index = in->demote_index,
        .keep_index = in->keep_index,
        .read_round = in->read_round,
        .sent_at = in->sent_at,
        .draft_mask = in->draft_mask,
        .rescue = in->rescue,
        .rebase = in->rebase,
        .successors_count = (uint32_t)in->n_successors,
    };
    for (size_t i = 0; i < in->n_successors; i++) {
        if (in->successors[i] == 0 || in->successors[i] > NODE_ID_MAX) {
            return -EBADMSG;
        }
        out.append.successors[i] = (uint8_t)in->successors[i];
    }
    out.append.entries = xcalloc(in->n_entries, sizeof(struct entry *));
    for (size_t i = 0; i < in->n_entries; i++) {
        /* Counted one by one, so that message_done() frees exactly what was read. */
        if (entry_in(in->entries[i], bulk, &out.append.entries[i]) < 0) {
            message_done(&out);
            return -EBADMSG;
        }
        out.append.entries_count++;
    }
    *ret = out;
    return 0;
}

static int append_resp_in(const Repl__AppendResp *in, struct message *ret)
{
    if (in->term > BALLOT_TERM_MAX) {
        return -EBADMSG;
    }
    *ret = (struct message){.kind = MESSAGE_APPEND_RESP};
    ret->append_resp = (struct message_append_resp){
        .term = in->term,
        .match = in->match,
        .reject = in->reject,
        .reject_index = in->reject_index,
        .hint_index = in->hint_index,
        .hint_term = in->hint_term,
        .read_round = in->read_round,
        .sent_at = in->sent_at,
        .applied = in->applied,
        .durable_applied = in->durable_applied,
        .whole_index = in->whole_index,
        .free_bytes = in->free_bytes,
        .flush_p99_us = in->flush_p99_us,
    };
    return 0;
}

static int want_in(const Repl__Want *in, struct message *ret)
{
    struct block_ref *refs = NULL;
    if (in->n_blocks == 0 || refs_in(in->blocks, in->n_blocks, &refs) < 0) {
        return -EBADMSG;
    }
    *ret = (struct message){.kind = MESSAGE_WANT};
    ret->want = (struct message_want){.term = in->term,
                                      .id = in->id,
                                      .sources = in->sources,
                                      .refs_count = (uint32_t)in->n_blocks,
                                      .refs = refs};
    return 0;
}

static int held_in(const Repl__Held *in, struct message *ret)
{
    *ret = (struct message){.kind = MESSAGE_HELD};
    ret->held = (struct message_held){.term = in->term, .id = in->id};
    return 0;
}

int message_decode(const void *control, size_t control_size, const struct blob *bulk,
                   struct message *ret)
{
    Repl__Message *in = repl__message__unpack(NULL, control_size, control);
    if (in == NULL) {
        return -EBADMSG;
    }
    struct bytes_reader reader;
    bytes_reader_init(&reader, bulk != NULL ? bulk->data : NULL, bulk != NULL ? bulk->size : 0);
    struct message out;
    int rc = -EBADMSG;
    switch (in->what_case) {
    case REPL__MESSAGE__WHAT_BALLOT:
        rc = ballot_in(in->ballot, &out);
        break;
    case REPL__MESSAGE__WHAT_APPEND:
        rc = append_in(in->append, &reader, &out);
        break;
    case REPL__MESSAGE__WHAT_APPEND_RESP:
        rc = append_resp_in(in->append_resp, &out);
        break;
    case REPL__MESSAGE__WHAT_WANT:
        rc = want_in(in->want, &out);
        break;
    case REPL__MESSAGE__WHAT_HELD:
        rc = held_in(in->held, &out);
        break;
    case REPL__MESSAGE__WHAT__NOT_SET:
    case _REPL__MESSAGE__WHAT__CASE_IS_INT_SIZE:
        break;
    }
    if (rc == 0 && !bytes_reader_ended(&reader)) {
        message_done(&out); /* bulk bytes that nobody asked for */
        rc = -EBADMSG;
    }
    if (rc == 0) {
        *ret = out;
    }
    repl__message__free_unpacked(in, NULL);
    return rc;
}
