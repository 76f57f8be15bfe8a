#include "repl/wire/hello.h"

#include <errno.h>
#include <string.h>

void hello_encode(const struct hello *h, struct bytes_writer *w)
{
    bytes_put_u8(w, (uint8_t)h->kind);
    bytes_put(w, h->cluster, sizeof h->cluster);
    bytes_put_u32(w, h->node_id);
    bytes_put_u64(w, h->features);
    bytes_put_u64(w, h->store_boot);
    bytes_put_u64(w, h->session);
    bytes_put_sized(w, h->name, strlen(h->name));
}

int hello_decode(const void *p, size_t size, struct hello *ret)
{
    struct bytes_reader r;
    struct hello h = {0};
    bytes_reader_init(&r, p, size);
    uint8_t kind = bytes_get_u8(&r);
    const uint8_t *cluster = bytes_get(&r, sizeof h.cluster);
    h.node_id = bytes_get_u32(&r);
    h.features = bytes_get_u64(&r);
    h.store_boot = bytes_get_u64(&r);
    h.session = bytes_get_u64(&r);
    struct bytes name = bytes_get_sized(&r, HELLO_NAME_MAX);
    /* what a later version adds behind the name is ignored */
    if (r.bad || kind < HELLO_NODE || kind > HELLO_ADMIN || h.node_id > 31 ||
        (name.size && memchr(name.data, 0, name.size)))
        return -EBADMSG;
    h.kind = (enum hello_kind)kind;
    memcpy(h.cluster, cluster, sizeof h.cluster);
    if (name.size)
        memcpy(h.name, name.data, name.size);
    *ret = h;
    return 0;
}
