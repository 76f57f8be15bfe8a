/* The links of a mount, as in tools/cli/mount_links.c. */
#include "repl/io/link.h"
#include "repl/wire/frame.h"
#include "tests/sim/mount_internal.h"
#include <assert.h>
#include <stdio.h>

/* ---- links ----------------------------------------------------------------------------------- */

static void on_up(void *ctx, struct link *link, const struct hello *peer)
{
    struct mount *m = ctx;
    assert(peer->kind == HELLO_NODE && peer->node_id < NODE_IDS);
    m->links[peer->node_id] = link;
    struct client_event ev = {
        .kind = CLIENT_EV_LINK_UP, .node = peer->node_id, .store_boot = peer->store_boot};
    mount_feed(m, &ev);
}

static void on_down(void *ctx, struct link *link, const char *reason)
{
    struct mount *m = ctx;
    uint32_t id = link_peer(link)->node_id;
    (void)reason;
    if (m->links[id] != link)
        return; /* an older link of a node that has a newer one */
    m->links[id] = NULL;
    struct client_event ev = {.kind = CLIENT_EV_LINK_DOWN, .node = id};
    mount_feed(m, &ev);
}

static void on_reply(struct mount *m, struct link *link, const uint8_t *control, size_t size,
                     struct blob *bulk)
{
    Fs__Reply *reply = fs__reply__unpack(NULL, size, control);
    assert(reply);
    if (sim_tracing())
        mount_trace_reply(m, link_peer(link)->node_id, reply);
    struct client_event ev = {
        .kind = CLIENT_EV_REPLY, .node = link_peer(link)->node_id, .reply = reply, .bulk = bulk};
    mount_feed(m, &ev);
    fs__reply__free_unpacked(reply, NULL);
}

static void on_put_reply(struct mount *m, struct link *link, const uint8_t *control, size_t size)
{
    Fs__BlockPutReply *reply = fs__block_put_reply__unpack(NULL, size, control);
    assert(reply);
    struct client_event ev = {
        .kind = CLIENT_EV_PUT_REPLY, .node = link_peer(link)->node_id, .put_reply = reply};
    mount_feed(m, &ev);
    fs__block_put_reply__free_unpacked(reply, NULL);
}

static void on_frame(void *ctx, struct link *link, uint8_t type, const uint8_t *control,
                     size_t size, struct blob *bulk)
{
    if (type == FRAME_CLIENT_REPLY)
        on_reply(ctx, link, control, size, bulk);
    else if (type == FRAME_BLOCK_PUT_REPLY)
        on_put_reply(ctx, link, control, size);
    else
        sim_complain("frames", "a mount was sent a frame of type %u", type);
}

void mount_connect(struct mount *m)
{
    struct hello self = {.kind = HELLO_MOUNT, .cluster = PROCESS_CLUSTER};
    struct link_callbacks callbacks = {
        .ctx = m, .on_up = on_up, .on_down = on_down, .on_frame = on_frame};
    (void)snprintf(self.name, sizeof self.name, "m%u", mount_number(m));
    m->hub = link_hub_new((uv_loop_t *)(void *)m->process, &self, &callbacks);
    for (uint32_t id = 1; id <= process_nodes(); id++) {
        char name[16], address[16];
        (void)snprintf(name, sizeof name, "n%u", id);
        (void)snprintf(address, sizeof address, "sim:%u", id);
        int r = link_hub_connect(m->hub, name, address);
        assert(r == 0);
    }
}
