/* The one frame format of all links: header, control bytes, bulk bytes. Pure.
 *
 *     0  u32 magic "TLY1"    4  u8 version    5  u8 type    6  u16 zero
 *     8  u32 control size   12  u32 bulk size
 *    16  u64 sequence: 1 for the first frame of a connection, then one more each
 *    24  u64 XXH3 of the first 24 bytes, the control bytes and the bulk bytes; not the bulk of
 *        BLOCK_PUT, BLOCK_DATA and CLIENT_REPLY: those are blocks, whose hashes are in the control
 *        bytes and are checked by who takes the bytes in
 *    32  control, then bulk
 * All numbers little-endian. A frame that is damaged there, oversized, of another version, lost or
 * played again ends the connection with a reason; nothing of it is used.
 *
 * The version goes up with each change of what is sent, and of what apply makes of an entry: copies
 * that compute different states from one log must not meet (docs/ARCHITECTURE.md). */
#ifndef TALLY_REPL_WIRE_FRAME_H
#define TALLY_REPL_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repl/base/mem.h"

#define FRAME_VERSION 6u
enum {
    FRAME_HEADER_SIZE = 32,
    FRAME_CONTROL_MAX = 8 << 20,
    FRAME_BULK_MAX = 8 << 20,
};

/* Values are fixed: they are on the wire. */
enum frame_type {
    FRAME_HELLO = 1,
    FRAME_REPL = 2,
    FRAME_CLIENT_REQUEST = 3,
    FRAME_CLIENT_REPLY = 4,
    FRAME_BLOCK_PUT = 5,
    FRAME_BLOCK_PUT_REPLY = 6,
    FRAME_BLOCK_GET = 7,
    FRAME_BLOCK_DATA = 8,
    FRAME_SNAPSHOT_CHUNK = 9,
    FRAME_SNAPSHOT_ACK = 10,
    FRAME_ADMIN_REQUEST = 11, /* control: JSON */
    FRAME_ADMIN_REPLY = 12,
};

/* Writes the header of a frame whose bulk is the given blobs one after another. */
void frame_header(uint8_t header[FRAME_HEADER_SIZE], uint8_t type, uint64_t sequence,
                  const void *control, size_t control_size, struct blob *const *bulks,
                  size_t bulks_count);

/* Takes bytes as they come and gives whole frames. Zero-initialised is a fresh connection. */
struct frame_parser {
    uint8_t header[FRAME_HEADER_SIZE];
    size_t have; /* bytes of the current frame so far, header included */
    uint64_t sequence;
    uint8_t *control;
    struct blob *bulk;
    uint32_t control_size, bulk_size;
};
void frame_parser_done(struct frame_parser *p);

/* Where the next bytes from the connection go, and how many are wanted there at most. They go
 * straight into the frame's own memory, so bulk bytes are never copied. */
void *frame_parser_room(struct frame_parser *p, size_t *ret_size);

struct frame {
    uint8_t type;
    const uint8_t *control; /* good until the next call on the parser */
    size_t control_size;
    struct blob *bulk; /* borrowed: take a reference to keep it; NULL when empty */
};

/* `n` bytes were put into the room. 1: a frame is whole, in `ret`; call frame_parser_next() when
 * done with it. 0: more is needed. -EPROTONOSUPPORT: a frame of another version. -EBADMSG: another
 * flaw. *reason says what it is, the connection is of no more use. */
int frame_parser_fed(struct frame_parser *p, size_t n, struct frame *ret, const char **reason);
void frame_parser_next(struct frame_parser *p);

#endif
