/* Keys of the state: a tag and big-endian numbers, so that a range of numbers is a range of keys.
 *
 *     i ino                inode                     d dir name      directory entry by name
 *     c dir cookie         its name, in listing order t ino          target of a symlink
 *     e ino first_page     extent                    b session n     block that extents name
 *     x ino name           extended attribute        s session       session
 *     u uuid               session of this mount     r session seq   its stored reply
 *     l session ino        its write leases          h ino session   who holds an orphan open
 *     H session ino        the same by session       k ino           byte-range locks
 *     K session ino        who has some of them      g               last inode number
 *     Z                    hash and totals; the only key that the hash leaves out
 * docs/state.md tells the values. */
#ifndef TALLY_FS_CORE_KEYS_H
#define TALLY_FS_CORE_KEYS_H

#include <stddef.h>
#include <stdint.h>

enum key_tag {
    KEY_INODE = 'i',
    KEY_ENTRY = 'd',
    KEY_COOKIE = 'c',
    KEY_TARGET = 't',
    KEY_EXTENT = 'e',
    KEY_BLOCK = 'b',
    KEY_XATTR = 'x',
    KEY_SESSION = 's',
    KEY_UUID = 'u',
    KEY_REPLY = 'r',
    KEY_LEASE = 'l',
    KEY_HOLD = 'h',
    KEY_HOLD_OF = 'H',
    KEY_LOCK = 'k',
    KEY_LOCK_OF = 'K',
    KEY_GLOBAL = 'g',
    KEY_SUMMARY = 'Z',
};

enum { KEY_SIZE_MAX = 1 + 8 + 256 };

struct key {
    size_t size;
    uint8_t data[KEY_SIZE_MAX];
};

struct key key_of(enum key_tag tag);
struct key key_of1(enum key_tag tag, uint64_t a);
struct key key_of2(enum key_tag tag, uint64_t a, uint64_t b);
/* `size` is at most 255. */
struct key key_of_name(enum key_tag tag, uint64_t a, const void *name, size_t size);
struct key key_of_uuid(const uint8_t uuid[16]);

#endif
