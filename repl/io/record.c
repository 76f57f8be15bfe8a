#include "repl/io/record.h"

#include <string.h>

#include "repl/base/hash.h"

#define SEGMENT_MAGIC UINT64_C(0x474f4c594c4c4154) /* "TALLYLOG" */
#define GROUP_MAGIC   0x47594c54u                  /* "TLYG" */

/* Segment header:  0 magic u64, 8 version u32, 12 node u32, 16 cluster, 32 generation u32, 36 size
 * u32, 40 hash of the 40 bytes before. */
enum { SEGMENT_HASHED = 40 };
enum { GROUP_HASHED = 32 };
/* Record header: 0 kind u16, 2 flags u16, 4 head size u32, 8 tail size u32, 12 zero u32, 16 lsn
 * u64, 24 tail hash u64, 32 hash of the 32 bytes before and the head. */
enum { RECORD_HASHED = 32 };

uint64_t segment_salt(const uint8_t cluster[16], uint32_t node, uint32_t generation)
{
    uint8_t raw[24];
    memcpy(raw, cluster, 16);
    le32_put(raw + 16, node);
    le32_put(raw + 20, generation);
    return hash64_seed(raw, sizeof(raw), SEGMENT_MAGIC);
}

void segment_header_put(uint8_t out[SEGMENT_HEADER_SIZE], const uint8_t cluster[16], uint32_t node,
                        uint32_t generation, uint32_t size)
{
    memset(out, 0, SEGMENT_HEADER_SIZE);
    le64_put(out, SEGMENT_MAGIC);
    le32_put(out + 8, SEGMENT_VERSION);
    le32_put(out + 12, node);
    memcpy(out + 16, cluster, 16);
    le32_put(out + 32, generation);
    le32_put(out + 36, size);
    le64_put(out + SEGMENT_HASHED, hash64(out, SEGMENT_HASHED));
}

bool segment_header_check(const uint8_t in[SEGMENT_HEADER_SIZE], const uint8_t cluster[16],
                          uint32_t node, uint32_t generation)
{
    uint8_t want[SEGMENT_HEADER_SIZE];
    segment_header_put(want, cluster, node, generation, le32_get(in + 36));
    return memcmp(in, want, SEGMENT_HASHED + 8) == 0;
}

void group_header_put(uint8_t out[GROUP_HEADER_SIZE], const struct group_header *g, uint64_t salt)
{
    le32_put(out, GROUP_MAGIC);
    le32_put(out + 4, 0);
    le64_put(out + 8, g->lsn);
    le64_put(out + 16, g->prev_end);
    le32_put(out + 24, g->size);
    le32_put(out + 28, g->records);
    le64_put(out + GROUP_HASHED, hash64_seed(out, GROUP_HASHED, salt));
}

bool group_header_get(const uint8_t *in, lsn_no lsn, uint64_t salt, struct group_header *ret)
{
    if (le32_get(in) != GROUP_MAGIC || le64_get(in + 8) != lsn ||
        le64_get(in + GROUP_HASHED) != hash64_seed(in, GROUP_HASHED, salt))
        return false;
    *ret = (struct group_header){
        .lsn = lsn,
        .prev_end = le64_get(in + 16),
        .size = le32_get(in + 24),
        .records = le32_get(in + 28),
    };
    return ret->size >= GROUP_HEADER_SIZE;
}

/* The header's hash seeds the head's, so that neither can be exchanged alone. */
static uint64_t head_hash(const uint8_t *header, struct bytes head, struct bytes payload,
                          uint64_t salt)
{
    uint8_t seed[8];
    le64_put(seed, hash64_seed(header, RECORD_HASHED, salt));
    struct hash_stream s;
    hash_stream_init(&s);
    hash_stream_add(&s, seed, sizeof(seed));
    hash_stream_add(&s, head.data, head.size);
    hash_stream_add(&s, payload.data, payload.size);
    return hash_stream_end(&s);
}

void record_header_put(uint8_t out[RECORD_HEADER_SIZE], enum record_kind kind, uint32_t flags,
                       lsn_no lsn, struct bytes head, struct bytes payload, struct bytes tail,
                       uint64_t salt)
{
    le16_put(out, (uint16_t)kind);
    le16_put(out + 2, (uint16_t)flags);
    le32_put(out + 4, (uint32_t)(head.size + payload.size));
    le32_put(out + 8, (uint32_t)tail.size);
    le32_put(out + 12, 0);
    le64_put(out + 16, lsn);
    le64_put(out + 24, hash64_seed(tail.data, tail.size, salt));
    le64_put(out + RECORD_HASHED, head_hash(out, head, payload, salt));
}

void record_sizes(const uint8_t in[RECORD_HEADER_SIZE], uint32_t *ret_head, uint32_t *ret_tail)
{
    *ret_head = le32_get(in + 4);
    *ret_tail = le32_get(in + 8);
}

bool record_get(const uint8_t *in, uint64_t available, lsn_no lsn, uint64_t salt,
                struct journal_record *ret)
{
    if (available < RECORD_HEADER_SIZE)
        return false;
    uint32_t head_size, tail_size;
    record_sizes(in, &head_size, &tail_size);
    if ((uint64_t)RECORD_HEADER_SIZE + head_size + tail_size > available)
        return false;
    if (le64_get(in + 16) != lsn)
        return false;
    const uint8_t *head = in + RECORD_HEADER_SIZE;
    struct bytes whole = {head, head_size};
    if (le64_get(in + RECORD_HASHED) != head_hash(in, whole, (struct bytes){0}, salt))
        return false;
    *ret = (struct journal_record){
        .kind = (enum record_kind)le16_get(in),
        .flags = le16_get(in + 2),
        .lsn = lsn,
        .head = head,
        .head_size = head_size,
        .tail = head + head_size,
        .tail_size = tail_size,
        .tail_damaged = le64_get(in + 24) != hash64_seed(head + head_size, tail_size, salt),
    };
    return true;
}

void control_put(struct bytes_writer *w, const struct journal_control *c)
{
    bytes_put_u64(w, c->term);
    bytes_put_u32(w, c->vote);
    bytes_put_u32(w, c->kv_generation);
    bytes_put_u64(w, c->base_index);
    bytes_put_u64(w, c->base_term);
    bytes_put_u64(w, c->whole_index);
    bytes_put_u64(w, 0);
}

bool control_get(const struct journal_record *record, struct journal_control *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, record->head, record->head_size);
    struct journal_control c = {0};
    c.term = bytes_get_u64(&r);
    c.vote = bytes_get_u32(&r);
    c.kv_generation = bytes_get_u32(&r);
    c.base_index = bytes_get_u64(&r);
    c.base_term = bytes_get_u64(&r);
    c.whole_index = bytes_get_u64(&r);
    (void)bytes_get_u64(&r);
    if (!bytes_reader_ended(&r))
        return false;
    *ret = c;
    return true;
}
