/* Connections between nodes, mounts and people's commands: frames over any stream, on one libuv
 * loop.
 *
 * A hub is one process's end of all its links. What kind of stream carries a link is known to
 * link_stream.c alone (unix sockets and TCP now; TLS and ssh slot in behind the same calls). Frames
 * of one link arrive in the order they were sent, except that bulk frames (block bytes, snapshots,
 * file data) may be overtaken by the others, so that a heartbeat never waits behind megabytes. Cuts
 * for `tally lab cut` are made here: silent, in both directions. */
#ifndef TALLY_REPL_IO_LINK_H
#define TALLY_REPL_IO_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "repl/base/mem.h"
#include "repl/wire/frame.h"
#include "repl/wire/hello.h"

struct link_hub;
struct link;

struct link_callbacks {
    void *ctx;
    /* The other side said who it is, and it may speak to us. */
    void (*on_up)(void *ctx, struct link *link, const struct hello *peer);
    /* A link that was up is closed; it is gone after this call. Comes once for each on_up. */
    void (*on_down)(void *ctx, struct link *link, const char *reason);
    /* `control` and `bulk` (NULL: none) are borrowed for the call. */
    void (*on_frame)(void *ctx, struct link *link, uint8_t type, const uint8_t *control,
                     size_t control_size, struct blob *bulk);
};

/* `self` and `callbacks` are copied. */
struct link_hub *link_hub_new(uv_loop_t *loop, const struct hello *self,
                              const struct link_callbacks *callbacks);
/* Sends what is queued, as the loop does by itself before it waits. */
void link_hub_flush(struct link_hub *hub);
/* Closes everything without calling back; freed once the loop has run its close callbacks. */
void link_hub_close(struct link_hub *hub);

/* Addresses: "unix:/PATH" (any length a path may have), "tcp:HOST:PORT". A socket file that nobody
 * listens on is replaced. -EADDRINUSE, -EINVAL (no such kind of address), or what the system says.
 */
int link_hub_listen(struct link_hub *hub, const char *address);

/* Keeps a link to `address` from now on: connects at once, and again after each loss, backing off
 * from 10 ms to 500 ms. `name` is the peer's, for logs and cuts. -EINVAL for a bad address. */
int link_hub_connect(struct link_hub *hub, const char *name, const char *address);

/* Changes what the next HELLOs say (a mount's session). */
void link_hub_set_session(struct link_hub *hub, uint64_t session);

/* From now on nothing passes between us and the peers named, and nobody sees a close. Replaces
 * earlier cuts: a peer no longer named is mended, its frozen links are reset and come back fresh.
 */
void link_hub_set_cuts(struct link_hub *hub, const char *const *names, size_t count);

/* Queues one frame; it leaves in this turn of the loop. Copies `control`, takes references of the
 * blobs. */
void link_send(struct link *link, uint8_t type, const void *control, size_t control_size,
               struct blob *const *bulks, size_t bulks_count);
/* Bytes queued and not yet taken by the system. */
size_t link_backlog(const struct link *link);
/* Closes it; on_down is called before this returns when it was up. */
void link_close(struct link *link, const char *reason);
const struct hello *link_peer(const struct link *link);
void link_set_data(struct link *link, void *data);
void *link_data(const struct link *link);

/* Blocking use, for one question and one answer: a connected socket, or a negative errno. */
int link_connect_blocking(const char *address, int timeout_ms);

#endif
