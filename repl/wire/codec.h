/* Messages and log entries to bytes and back. Pure.
 *
 * Control bytes are protobuf (tally.proto); bulk bytes follow as they are. Decoding checks every
 * bound and refuses what no correct node sends; nothing of a refused message is used. */
#ifndef TALLY_REPL_WIRE_CODEC_H
#define TALLY_REPL_WIRE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "repl/base/bytes.h"
#include "repl/base/mem.h"
#include "repl/base/vec.h"
#include "repl/core/entry.h"
#include "repl/core/message.h"

/* Blobs that form the bulk part, in order. The list borrows them from the message. */
struct codec_bulk {
    struct blob **items;
    size_t count, capacity;
};
void codec_bulk_done(struct codec_bulk *b);

/* Appends the control bytes to `control` and the bulk blobs to `bulk`. */
void message_encode(const struct message *m, struct bytes_writer *control, struct codec_bulk *bulk);

/* 0 and a message to end with message_done(), or -EBADMSG (`ret` untouched). `bulk` (NULL: none) is
 * copied from; the caller keeps it. */
int message_decode(const void *control, size_t control_size, const struct blob *bulk,
                   struct message *ret);

/* An entry for the journal. Its inline bytes are not part of it: write them behind when
 * entry->inline_bytes is set. */
void entry_encode(const struct entry *e, struct bytes_writer *control);

/* `bulk`, `bulk_size`: the inline bytes, exactly; ignored when the entry was encoded without. 0 and
 * one reference in *ret, or -EBADMSG. */
int entry_decode(const void *control, size_t control_size, const void *bulk, size_t bulk_size,
                 struct entry **ret);

#endif
