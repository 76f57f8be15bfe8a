/* Keys of the namespace table: a one-byte tag, then big-endian numbers, then a name if there is one.
 *
 * Big-endian makes memcmp order the order of numbers, so that everything of one inode or of one session lies
 * together and in order. The whole layout is in docs/state.md. */
#ifndef TALLY_FS_CORE_KEYS_H
#define TALLY_FS_CORE_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "repl/base/block.h"
#include "repl/base/kv.h"

enum key_tag {
    KEY_BLOCK = 'b',   /* session, n: a block that some map names */
    KEY_COOKIE = 'c',  /* directory, cookie: a name, in listing order */
    KEY_GRAVE = 'd',   /* session, n: named once and dead, must not be named again */
    KEY_EXTENT = 'e',  /* inode, first page */
    KEY_HOLD = 'h',    /* session, inode: an orphan that the session has open */
    KEY_INODE = 'i',   /* inode */
    KEY_LEASE = 'l',   /* session, inode: a write lease */
    KEY_NAME = 'n',    /* directory, name */
    KEY_REPLY = 'r',   /* session, seq: what was answered */
    KEY_SESSION = 's', /* session */
    KEY_SUM = 'S',     /* the hash of all other pairs */
    KEY_TOTALS = 'T',  /* counters of the whole file system */
    KEY_UUID = 'u',    /* a mount's uuid: its session */
    KEY_XATTR = 'x',   /* inode, name */
    KEY_TARGET = 'y',  /* inode: where a symlink leads */
};

/* The longest is a name: tag, directory, 255 bytes. */
enum { KEY_NAME_MAX = 255, KEY_SIZE_MAX = 1 + 8 + KEY_NAME_MAX };

struct key {
    uint16_t size;
    uint8_t data[KEY_SIZE_MAX];
};

struct key key_0(enum key_tag tag);
struct key key_1(enum key_tag tag, uint64_t a);
struct key key_2(enum key_tag tag, uint64_t a, uint64_t b);
/* `size` is at most KEY_NAME_MAX. */
struct key key_name(enum key_tag tag, uint64_t a, const void *name, size_t size);
struct key key_uuid(const uint8_t uuid[16]);

/* Number `i` (from 0) of a key that was read; 0 when the key is too short to have it. */
uint64_t key_number(struct bytes key, size_t i);

/* Walks what is committed under the first `prefix_size` bytes of `from`, beginning at `from`.
 * Sees nothing of a transaction that is under way. */
struct kv_iter *key_walk(struct kv *kv, int table, const struct key *from, size_t prefix_size);
/* Prefixes for it: everything of a tag, of (tag, a). */
enum { KEY_PREFIX_TAG = 1, KEY_PREFIX_ONE = 9 };

#endif
