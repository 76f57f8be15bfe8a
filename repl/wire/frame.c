#include "repl/wire/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/bytes.h"
#include "repl/base/hash.h"

#define FRAME_MAGIC 0x31594c54u /* "TLY1" */
enum { CHECKED_HEADER = 24 };

/* The bulk is blocks: their hashes are in the control bytes, and whoever takes them in checks those
 * (RULES B1, B8). Once more here would only keep the loop busy. */
static bool has_own_hashes(uint8_t type)
{
    return type == FRAME_BLOCK_PUT || type == FRAME_BLOCK_DATA || type == FRAME_CLIENT_REPLY;
}

static uint64_t checksum(const uint8_t *header, const void *control, size_t control_size,
                         struct blob *const *bulks, size_t bulks_count)
{
    if (has_own_hashes(header[5]))
        bulks_count = 0;
    struct hash_stream h;
    hash_stream_init(&h);
    hash_stream_add(&h, header, CHECKED_HEADER);
    hash_stream_add(&h, control, control_size);
    for (size_t i = 0; i < bulks_count; i++)
        hash_stream_add(&h, bulks[i]->data, bulks[i]->size);
    return hash_stream_end(&h);
}

void frame_header(uint8_t header[FRAME_HEADER_SIZE], uint8_t type, uint64_t sequence,
                  const void *control, size_t control_size, struct blob *const *bulks,
                  size_t bulks_count)
{
    size_t bulk_size = 0;
    for (size_t i = 0; i < bulks_count; i++)
        bulk_size += bulks[i]->size;
    le32_put(header, FRAME_MAGIC);
    header[4] = FRAME_VERSION;
    header[5] = type;
    le16_put(header + 6, 0);
    le32_put(header + 8, (uint32_t)control_size);
    le32_put(header + 12, (uint32_t)bulk_size);
    le64_put(header + 16, sequence);
    le64_put(header + 24, checksum(header, control, control_size, bulks, bulks_count));
}

void frame_parser_done(struct frame_parser *p)
{
    free(p->control);
    blob_unref(p->bulk);
    memset(p, 0, sizeof *p);
}

void *frame_parser_room(struct frame_parser *p, size_t *ret_size)
{
    if (p->have < FRAME_HEADER_SIZE) {
        *ret_size = FRAME_HEADER_SIZE - p->have;
        return p->header + p->have;
    }
    size_t at = p->have - FRAME_HEADER_SIZE;
    if (at < p->control_size) {
        *ret_size = p->control_size - at;
        return p->control + at;
    }
    at -= p->control_size;
    *ret_size = p->bulk_size - at;
    return p->bulk ? p->bulk->data + at : NULL;
}

static const char FRAME_OTHER_VERSION[] =
    "frame of another version: all nodes, mounts and commands of a cluster are of one build";

/* The header is whole: is this the frame that must come next? */
static const char *check_header(struct frame_parser *p)
{
    const uint8_t *h = p->header;
    if (le32_get(h) != FRAME_MAGIC)
        return "not a frame";
    if (h[4] != FRAME_VERSION)
        return FRAME_OTHER_VERSION;
    if (le16_get(h + 6) != 0)
        return "unknown frame flags";
    p->control_size = le32_get(h + 8);
    p->bulk_size = le32_get(h + 12);
    if (p->control_size > FRAME_CONTROL_MAX || p->bulk_size > FRAME_BULK_MAX)
        return "oversized frame";
    if (le64_get(h + 16) != p->sequence + 1)
        return "frame lost or played again";
    p->control = xmalloc(p->control_size);
    p->bulk = p->bulk_size ? blob_new(p->bulk_size) : NULL;
    return NULL;
}

int frame_parser_fed(struct frame_parser *p, size_t n, struct frame *ret, const char **reason)
{
    bool had_header = p->have >= FRAME_HEADER_SIZE;
    p->have += n;
    if (p->have < FRAME_HEADER_SIZE)
        return 0;
    if (!had_header && (*reason = check_header(p)))
        return *reason == FRAME_OTHER_VERSION ? -EPROTONOSUPPORT : -EBADMSG;
    if (p->have < FRAME_HEADER_SIZE + (size_t)p->control_size + p->bulk_size)
        return 0;
    if (checksum(p->header, p->control, p->control_size, &p->bulk, p->bulk ? 1 : 0) !=
        le64_get(p->header + CHECKED_HEADER)) {
        *reason = "frame checksum does not match";
        return -EBADMSG;
    }
    p->sequence++;
    *ret = (struct frame){p->header[5], p->control, p->control_size, p->bulk};
    return 1;
}

void frame_parser_next(struct frame_parser *p)
{
    uint64_t sequence = p->sequence;
    frame_parser_done(p);
    p->sequence = sequence;
}
