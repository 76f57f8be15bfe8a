/* The first frame of each side of a connection: who speaks. Pure. */
#ifndef TALLY_REPL_WIRE_HELLO_H
#define TALLY_REPL_WIRE_HELLO_H

#include <stddef.h>
#include <stdint.h>

#include "repl/base/bytes.h"

enum { HELLO_NAME_MAX = 127 };

enum hello_kind {
    HELLO_NODE = 1,
    HELLO_MOUNT = 2,
    HELLO_ADMIN = 3, /* people's questions; a cluster of zeros means any */
};

struct hello {
    enum hello_kind kind;
    uint8_t cluster[16];
    uint32_t node_id; /* nodes: 1..31; others 0 */
    char name[HELLO_NAME_MAX + 1];
    uint64_t features;   /* bits; unknown ones are ignored */
    uint64_t store_boot; /* nodes: new for each opening of the store (RULES B9) */
    uint64_t session;    /* mounts: 0 before it has one */
};

void hello_encode(const struct hello *h, struct bytes_writer *w);
/* 0, or -EBADMSG. */
int hello_decode(const void *p, size_t size, struct hello *ret);

#endif
