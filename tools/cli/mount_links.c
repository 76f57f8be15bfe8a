/* Links of a mount: to every node, and from people who ask. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/io/log.h"
#include "repl/wire/frame.h"
#include "tools/cli/mount.h"

static void node_up(struct mount *m, struct link *link, const struct hello *peer)
{
    const struct config_node *node =
        peer->node_id < MOUNT_NODE_IDS ? config_find_id(m->config, peer->node_id) : NULL;
    if (!node) {
        link_close(link, "claims to be a node that the configuration does not know");
        return;
    }
    m->links[node->id] = link;
    log_info("link-up", "peer=%s", node->name);
    struct client_event ev = {
        .kind = CLIENT_EV_LINK_UP, .node = node->id, .store_boot = peer->store_boot};
    mount_feed(m, &ev);
}

static void on_up(void *ctx, struct link *link, const struct hello *peer)
{
    if (peer->kind == HELLO_NODE)
        node_up(ctx, link, peer);
    else if (peer->kind != HELLO_ADMIN)
        link_close(link, "a mount serves nobody but people's questions");
}

static void on_down(void *ctx, struct link *link, const char *reason)
{
    struct mount *m = ctx;
    const struct hello *peer = link_peer(link);
    uint32_t id = peer->kind == HELLO_NODE && peer->node_id < MOUNT_NODE_IDS ? peer->node_id : 0;
    if (id == 0 || m->links[id] != link)
        return; /* a question was answered, or an older link of a node that has a newer one */
    m->links[id] = NULL;
    log_info("link-down", "peer=%s reason=\"%s\"", peer->name, reason);
    struct client_event ev = {.kind = CLIENT_EV_LINK_DOWN, .node = id};
    mount_feed(m, &ev);
}

static void on_reply(struct mount *m, struct link *link, const uint8_t *control, size_t size,
                     struct blob *bulk)
{
    Fs__Reply *reply = fs__reply__unpack(NULL, size, control);
    if (!reply) {
        link_close(link, "an answer that does not decode");
        return;
    }
    struct client_event ev = {
        .kind = CLIENT_EV_REPLY, .node = link_peer(link)->node_id, .reply = reply, .bulk = bulk};
    mount_feed(m, &ev);
    fs__reply__free_unpacked(reply, NULL);
}

static void on_put_reply(struct mount *m, struct link *link, const uint8_t *control, size_t size)
{
    Fs__BlockPutReply *reply = fs__block_put_reply__unpack(NULL, size, control);
    if (!reply) {
        link_close(link, "an answer that does not decode");
        return;
    }
    struct client_event ev = {
        .kind = CLIENT_EV_PUT_REPLY, .node = link_peer(link)->node_id, .put_reply = reply};
    mount_feed(m, &ev);
    fs__block_put_reply__free_unpacked(reply, NULL);
}

static void on_frame(void *ctx, struct link *link, uint8_t type, const uint8_t *control,
                     size_t size, struct blob *bulk)
{
    bool from_node = link_peer(link)->kind == HELLO_NODE;
    if (type == FRAME_ADMIN_REQUEST && !from_node)
        mount_admin_frame(ctx, link, control, size);
    else if (type == FRAME_CLIENT_REPLY && from_node)
        on_reply(ctx, link, control, size, bulk);
    else if (type == FRAME_BLOCK_PUT_REPLY && from_node)
        on_put_reply(ctx, link, control, size);
    else
        link_close(link, "a frame that this kind of peer does not send");
}

int mount_links_listen(struct mount *m)
{
    struct hello self = {.kind = HELLO_MOUNT};
    memcpy(self.cluster, m->config->uuid, sizeof self.cluster);
    (void)snprintf(self.name, sizeof self.name, "%s", m->name);
    struct link_callbacks callbacks = {
        .ctx = m, .on_up = on_up, .on_down = on_down, .on_frame = on_frame};
    char address[CONFIG_PATH_MAX + 8];
    (void)snprintf(address, sizeof address, "unix:%s", m->socket);
    m->hub = link_hub_new(&m->loop, &self, &callbacks);
    return link_hub_listen(m->hub, address);
}

int mount_links_connect(struct mount *m)
{
    int r = 0;
    for (size_t i = 0; i < m->config->nodes_count && r == 0; i++)
        r = link_hub_connect(m->hub, m->config->nodes[i].name, m->config->nodes[i].address);
    return r;
}

void mount_links_describe(const struct mount *m, char *buf, size_t size)
{
    size_t used = 0;
    for (int want_up = 1; want_up >= 0; want_up--) {
        size_t count = 0;
        for (size_t i = 0; i < m->config->nodes_count; i++) {
            const struct config_node *n = &m->config->nodes[i];
            if ((m->links[n->id] != NULL) != want_up || used >= size)
                continue;
            used += (size_t)snprintf(buf + used, size - used, "%s%s", count++ ? ", " : "", n->name);
        }
        if (count && used < size)
            used += (size_t)snprintf(buf + used, size - used,
                                     want_up ? " connected; " : " unreachable; ");
    }
    if (used < size)
        (void)snprintf(buf + used, size - used, "a majority is %zu of %zu",
                       m->config->nodes_count / 2 + 1, m->config->nodes_count);
}
