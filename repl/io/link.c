#include "repl/io/link.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl/base/list.h"
#include "repl/io/link_stream.h"
#include "repl/io/log.h"

enum {
    RETRY_MIN_MS = 10,
    RETRY_MAX_MS = 500,
    RETRY_OTHER_BUILD_MS = 10000,
    READ_BUFFER = 128 << 10,
    DIRECT_READ_MIN = 16 << 10, /* a rest of a bulk part this long is read straight into its blob */
    WRITE_BATCH =
        512 << 10, /* bytes handed to the system at a time: what an urgent frame may wait for */
    WRITE_FRAMES = 64,
    WRITE_IOV = 512,
    BULKS_MAX = 4096,
    HELLO_TIMEOUT_MS = 5000,
};

/* One frame on its way out. */
struct out_frame {
    struct list item;
    uint8_t type;
    uint8_t
        header[FRAME_HEADER_SIZE]; /* made when the frame is handed to the socket: the sequence */
    uint8_t *control;
    size_t control_size, bulk_size;
    struct blob **bulks;
    size_t bulks_count;
};

enum link_state { LINK_CONNECTING, LINK_HELLO, LINK_UP, LINK_CLOSED };

struct link {
    struct list item; /* in hub->links */
    struct link_hub *hub;
    struct dialer *dialer; /* NULL: the other side connected */
    union link_stream stream;
    uv_timer_t hello_timer;
    int handles; /* open uv handles; the link is freed after the last */
    enum link_state state;
    bool cut;
    struct hello peer;
    void *data;
    struct frame_parser parser;
    bool delivering;          /* inside the parser's loop: freeing waits */
    struct list urgent, bulk; /* struct out_frame */
    size_t backlog;
    uint64_t sequence;
    uv_connect_t connect; /* libuv looks at it until the stream is closed */
    uv_write_t write;
    bool writing;
    struct list in_flight; /* frames of the running write */
    char address[1100];
};

/* Keeps one outgoing link alive. */
struct dialer {
    struct list item;
    struct link_hub *hub;
    char name[HELLO_NAME_MAX + 1];
    char address[1100];
    struct link *link; /* NULL: waiting to try again */
    uv_timer_t timer;
    unsigned wait_ms;
    bool closing;
};

struct listener {
    struct list item;
    struct link_hub *hub;
    union link_stream stream;
    char address[1100];
};

struct link_hub {
    uv_loop_t *loop;
    struct hello self;
    struct link_callbacks callbacks;
    struct list links, dialers, listeners;
    uv_prepare_t prepare; /* flushes what this turn has queued */
    char (*cuts)[HELLO_NAME_MAX + 1];
    size_t cuts_count;
    bool closing;
    uint64_t jitter;
    uint8_t buffer[READ_BUFFER];
    uv_buf_t iov[WRITE_IOV + BULKS_MAX]; /* of the write being made; libuv keeps its own copy */
};

static void flush(struct link *l);
static void dial(struct dialer *d);

/* ---- cuts ------------------------------------------------------------------------------------ */

static bool is_cut(const struct link_hub *hub, const char *name)
{
    for (size_t i = 0; i < hub->cuts_count; i++)
        if (strcmp(hub->cuts[i], name) == 0)
            return true;
    return false;
}

/* ---- closing --------------------------------------------------------------------------------- */

static void free_frame(struct out_frame *f)
{
    for (size_t i = 0; i < f->bulks_count; i++)
        blob_unref(f->bulks[i]);
    free(f->bulks);
    free(f->control);
    free(f);
}

static void free_frames(struct list *frames)
{
    struct list *it;
    while ((it = list_pop_front(frames)))
        free_frame(list_entry(it, struct out_frame, item));
}

static void free_link(struct link *l)
{
    if (l->handles || l->delivering)
        return;
    free_frames(&l->urgent);
    free_frames(&l->bulk);
    free_frames(&l->in_flight);
    frame_parser_done(&l->parser);
    free(l);
}

static void on_closed(uv_handle_t *handle)
{
    struct link *l = handle->data;
    l->handles--;
    free_link(l);
}

static void on_retry(uv_timer_t *timer)
{
    dial(timer->data);
}

/* A lost or refused connection is tried again after a while that doubles, and is never the same for
 * two. */
static void retry_later(struct dialer *d)
{
    struct link_hub *hub = d->hub;
    if (d->closing || hub->closing)
        return;
    hub->jitter = hub->jitter * 6364136223846793005u + 1442695040888963407u;
    uint64_t wait = d->wait_ms / 2 + (hub->jitter >> 33) % (d->wait_ms / 2 + 1);
    (void)uv_timer_start(&d->timer, on_retry, wait, 0);
    d->wait_ms = d->wait_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : d->wait_ms * 2;
}

void link_close(struct link *l, const char *reason)
{
    if (l->state == LINK_CLOSED)
        return;
    bool was_up = l->state == LINK_UP, quiet = l->state == LINK_CONNECTING;
    struct link_hub *hub = l->hub;
    l->state = LINK_CLOSED;
    list_remove(&l->item);
    uv_close(&l->stream.handle, on_closed);
    uv_close((uv_handle_t *)&l->hello_timer, on_closed);
    if (l->dialer) {
        l->dialer->link = NULL;
        retry_later(l->dialer);
        l->dialer = NULL;
    }
    if (!was_up && !quiet && !hub->closing)
        log_warn("TALLY-2002", "link refused peer=\"%s\" reason=\"%s\"", l->peer.name, reason);
    if (was_up && !hub->closing && hub->callbacks.on_down)
        hub->callbacks.on_down(hub->callbacks.ctx, l, reason);
}

/* ---- sending --------------------------------------------------------------------------------- */

static bool is_bulk(uint8_t type, size_t bulk_size)
{
    switch (type) {
    case FRAME_BLOCK_PUT:
    case FRAME_BLOCK_DATA:
    case FRAME_SNAPSHOT_CHUNK:
        return true;
    case FRAME_CLIENT_REPLY:
        return bulk_size > 0; /* file data: promises never ride with them */
    default:
        return false;
    }
}

void link_send(struct link *l, uint8_t type, const void *control, size_t control_size,
               struct blob *const *bulks, size_t bulks_count)
{
    assert(control_size <= FRAME_CONTROL_MAX && bulks_count <= BULKS_MAX);
    if (l->state == LINK_CLOSED || l->cut)
        return;
    struct out_frame *f = xcalloc(1, sizeof *f);
    f->type = type;
    f->control = control_size ? xmemdup(control, control_size) : NULL;
    f->control_size = control_size;
    f->bulks = bulks_count ? xcalloc(bulks_count, sizeof *f->bulks) : NULL;
    for (size_t i = 0; i < bulks_count; i++) {
        if (!bulks[i] || !bulks[i]->size)
            continue;
        f->bulk_size += bulks[i]->size;
        f->bulks[f->bulks_count++] = blob_ref(bulks[i]);
    }
    assert(f->bulk_size <= FRAME_BULK_MAX);
    list_push_back(is_bulk(type, f->bulk_size) ? &l->bulk : &l->urgent, &f->item);
    l->backlog += FRAME_HEADER_SIZE + control_size + f->bulk_size;
}

size_t link_backlog(const struct link *l)
{
    return l->backlog;
}

/* The frames of the next write: all urgent ones first, then bulk, up to a batch. */
static size_t gather(struct link *l, uv_buf_t *iov, size_t iov_max)
{
    size_t n = 0, bytes = 0;
    for (int frames = 0; frames < WRITE_FRAMES && bytes < WRITE_BATCH; frames++) {
        struct list *from = !list_empty(&l->urgent) ? &l->urgent : &l->bulk;
        if (list_empty(from))
            break;
        struct out_frame *f = list_first(from, struct out_frame, item);
        if (n + 2 + f->bulks_count > iov_max && n > 0)
            break;
        (void)list_pop_front(from);
        list_push_back(&l->in_flight, &f->item);
        frame_header(f->header, f->type, ++l->sequence, f->control, f->control_size, f->bulks,
                     f->bulks_count);
        iov[n++] = uv_buf_init((char *)f->header, FRAME_HEADER_SIZE);
        if (f->control_size)
            iov[n++] = uv_buf_init((char *)f->control, (unsigned)f->control_size);
        for (size_t i = 0; i < f->bulks_count; i++)
            iov[n++] = uv_buf_init((char *)f->bulks[i]->data, f->bulks[i]->size);
        bytes += FRAME_HEADER_SIZE + f->control_size + f->bulk_size;
    }
    return n;
}

static void finish_in_flight(struct link *l)
{
    struct list *it;
    while ((it = list_pop_front(&l->in_flight))) {
        struct out_frame *f = list_entry(it, struct out_frame, item);
        l->backlog -= FRAME_HEADER_SIZE + f->control_size + f->bulk_size;
        free_frame(f);
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct link *l = request->data;
    l->writing = false;
    finish_in_flight(l);
    if (l->state == LINK_CLOSED)
        return;
    if (status < 0)
        link_close(l, uv_strerror(status));
    else
        flush(l);
}

/* Drops `n` bytes from the front of the vectors; gives how many vectors remain, moved to the front.
 */
static size_t skip(uv_buf_t *iov, size_t count, size_t n)
{
    size_t first = 0;
    while (first < count && n >= iov[first].len)
        n -= iov[first++].len;
    if (first < count) {
        iov[first].base += n;
        iov[first].len -= n;
    }
    memmove(iov, iov + first, (count - first) * sizeof *iov);
    return count - first;
}

static void flush(struct link *l)
{
    uv_buf_t *iov = l->hub->iov;
    while (!l->writing && l->state != LINK_CLOSED && l->state != LINK_CONNECTING &&
           !(list_empty(&l->urgent) && list_empty(&l->bulk))) {
        size_t n = gather(l, iov, sizeof l->hub->iov / sizeof *l->hub->iov);
        int wrote = uv_try_write(&l->stream.stream, iov, (unsigned)n);
        if (wrote < 0 && wrote != UV_EAGAIN) {
            link_close(l, uv_strerror(wrote));
            break;
        }
        n = skip(iov, n, wrote > 0 ? (size_t)wrote : 0);
        if (n == 0) {
            finish_in_flight(l);
            continue;
        }
        l->writing = true;
        l->write.data = l;
        int r = uv_write(&l->write, &l->stream.stream, iov, (unsigned)n, on_written);
        if (r < 0) {
            l->writing = false;
            link_close(l, uv_strerror(r));
        }
    }
}

void link_hub_flush(struct link_hub *hub)
{
    for (struct list *it = hub->links.next; it != &hub->links;) {
        struct link *l = list_entry(it, struct link, item);
        if (!l->cut)
            flush(l);
        /* a link that closes may take others with it: begin anew */
        it = l->state == LINK_CLOSED ? hub->links.next : it->next;
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    link_hub_flush(prepare->data);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static void send_hello(struct link *l)
{
    struct bytes_writer w;
    bytes_writer_init(&w);
    hello_encode(&l->hub->self, &w);
    link_send(l, FRAME_HELLO, w.data, w.size, NULL, 0);
    bytes_writer_done(&w);
}

static const char *refuse_peer(const struct link *l, const struct hello *peer)
{
    static const uint8_t any[16];
    bool asks_any = peer->kind == HELLO_ADMIN && memcmp(peer->cluster, any, sizeof any) == 0;
    if (!asks_any && memcmp(peer->cluster, l->hub->self.cluster, sizeof peer->cluster) != 0)
        return "belongs to another cluster";
    if (l->dialer && strcmp(peer->name, l->dialer->name) != 0)
        return "another node listens there";
    return NULL;
}

/* A node that connects anew has lost its earlier connection, whether or not we have noticed. */
static void close_older(struct link *l)
{
    struct link_hub *hub = l->hub;
    for (struct list *it = hub->links.next, *next; it != &hub->links; it = next) {
        struct link *old = list_entry(it, struct link, item);
        next = it->next;
        if (old != l && old->state == LINK_UP && old->peer.kind == HELLO_NODE &&
            l->peer.kind == HELLO_NODE && old->peer.node_id == l->peer.node_id) {
            link_close(old, "replaced by a newer connection");
            return;
        }
    }
}

static void on_hello(struct link *l, const struct frame *f)
{
    struct hello peer;
    if (f->type != FRAME_HELLO || hello_decode(f->control, f->control_size, &peer) < 0) {
        link_close(l, "no HELLO");
        return;
    }
    l->peer = peer;
    const char *reason = refuse_peer(l, &peer);
    if (reason) {
        link_close(l, reason);
        return;
    }
    (void)uv_timer_stop(&l->hello_timer);
    if (is_cut(l->hub, peer.name)) { /* hangs, as it would behind a cut wire */
        l->cut = true;
        (void)uv_read_stop(&l->stream.stream);
        return;
    }
    if (!l->dialer)
        send_hello(l);
    else
        l->dialer->wait_ms = RETRY_MIN_MS;
    close_older(l);
    l->state = LINK_UP;
    l->hub->callbacks.on_up(l->hub->callbacks.ctx, l, &l->peer);
}

static void deliver(struct link *l, const struct frame *f)
{
    if (l->state == LINK_HELLO)
        on_hello(l, f);
    else
        l->hub->callbacks.on_frame(l->hub->callbacks.ctx, l, f->type, f->control, f->control_size,
                                   f->bulk);
}

/* It hears our version, so that it too can say why; and is not called again before long. */
static void meet_other_build(struct link *l)
{
    if (l->dialer) {
        l->dialer->wait_ms = RETRY_OTHER_BUILD_MS;
        return;
    }
    send_hello(l);
    flush(l);
}

/* `n` bytes are in the parser's room. False when the link is closed or cut now. */
static bool feed(struct link *l, size_t n)
{
    struct frame f;
    const char *reason;
    int r = frame_parser_fed(&l->parser, n, &f, &reason);
    if (r < 0) {
        if (r == -EPROTONOSUPPORT && l->state == LINK_HELLO)
            meet_other_build(l);
        else
            log_warn("TALLY-2003", "bad frame peer=\"%s\" reason=\"%s\": link closed", l->peer.name,
                     reason);
        link_close(l, reason);
        return false;
    }
    if (r == 0)
        return true;
    deliver(l, &f);
    frame_parser_next(&l->parser);
    return l->state != LINK_CLOSED && !l->cut;
}

static bool wants_direct(struct link *l, void **ret_room, size_t *ret_size)
{
    *ret_room = frame_parser_room(&l->parser, ret_size);
    return *ret_size >= DIRECT_READ_MIN;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct link *l = handle->data;
    void *room;
    size_t size;
    (void)suggested;
    if (wants_direct(l, &room, &size))
        *buf = uv_buf_init(room, (unsigned)size);
    else
        *buf = uv_buf_init((char *)l->hub->buffer, sizeof l->hub->buffer);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *l = stream->data;
    if (n < 0) {
        link_close(l, n == UV_EOF ? "closed by the other side" : uv_strerror((int)n));
        return;
    }
    l->delivering = true;
    if ((uint8_t *)buf->base != l->hub->buffer) {
        (void)feed(l, (size_t)n);
    } else {
        for (size_t at = 0; at < (size_t)n;) {
            size_t room_size;
            void *room = frame_parser_room(&l->parser, &room_size);
            if (room_size > (size_t)n - at)
                room_size = (size_t)n - at;
            memcpy(room, buf->base + at, room_size);
            at += room_size;
            if (!feed(l, room_size))
                break;
        }
    }
    l->delivering = false;
    if (l->state == LINK_CLOSED)
        free_link(l);
}

/* ---- making links ---------------------------------------------------------------------------- */

static void on_hello_late(uv_timer_t *timer)
{
    struct link *l = timer->data;
    link_close(l, "no HELLO in time");
}

static struct link *new_link(struct link_hub *hub, const char *address, struct dialer *dialer)
{
    struct link *l = xcalloc(1, sizeof *l);
    l->hub = hub;
    l->dialer = dialer;
    list_init(&l->urgent);
    list_init(&l->bulk);
    list_init(&l->in_flight);
    (void)snprintf(l->address, sizeof l->address, "%s", address);
    (void)link_stream_init(hub->loop, address, &l->stream);
    (void)uv_timer_init(hub->loop, &l->hello_timer);
    l->handles = 2;
    l->stream.handle.data = l->hello_timer.data = l;
    list_push_back(&hub->links, &l->item);
    if (dialer) {
        dialer->link = l;
        (void)snprintf(l->peer.name, sizeof l->peer.name, "%s", dialer->name);
    }
    return l;
}

static void start_link(struct link *l)
{
    l->state = LINK_HELLO;
    link_stream_tune(l->address, &l->stream);
    (void)uv_timer_start(&l->hello_timer, on_hello_late, HELLO_TIMEOUT_MS, 0);
    if (l->dialer)
        send_hello(l);
    int r = uv_read_start(&l->stream.stream, on_alloc, on_read);
    if (r < 0)
        link_close(l, uv_strerror(r));
}

static void on_connection(uv_stream_t *server, int status)
{
    struct listener *listener = server->data;
    if (status < 0)
        return;
    struct link *l = new_link(listener->hub, listener->address, NULL);
    int r = uv_accept(server, &l->stream.stream);
    if (r < 0)
        link_close(l, uv_strerror(r));
    else
        start_link(l);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct link *l = request->data;
    if (l->state == LINK_CLOSED)
        return;
    if (status < 0)
        link_close(l, uv_strerror(status));
    else
        start_link(l);
}

static void dial(struct dialer *d)
{
    if (is_cut(d->hub, d->name)) {
        retry_later(d);
        return;
    }
    struct link *l = new_link(d->hub, d->address, d);
    l->connect.data = l;
    int r = link_stream_connect(d->address, &l->stream, &l->connect, on_connected);
    if (r < 0)
        link_close(l, strerror(-r));
    else if (r == 1)
        start_link(l);
    else /* the system asks a machine that is away less and less often, for minutes */
        (void)uv_timer_start(&l->hello_timer, on_hello_late, HELLO_TIMEOUT_MS, 0);
}

/* ---- the hub --------------------------------------------------------------------------------- */

struct link_hub *link_hub_new(uv_loop_t *loop, const struct hello *self,
                              const struct link_callbacks *callbacks)
{
    struct link_hub *hub = xcalloc(1, sizeof *hub);
    hub->loop = loop;
    hub->self = *self;
    hub->callbacks = *callbacks;
    hub->jitter = self->store_boot ^ uv_hrtime();
    list_init(&hub->links);
    list_init(&hub->dialers);
    list_init(&hub->listeners);
    (void)uv_prepare_init(loop, &hub->prepare);
    hub->prepare.data = hub;
    (void)uv_prepare_start(&hub->prepare, on_prepare);
    return hub;
}

static void on_listener_closed(uv_handle_t *handle)
{
    free(handle->data);
}

int link_hub_listen(struct link_hub *hub, const char *address)
{
    if (!link_stream_knows(address) || strlen(address) >= sizeof((struct listener *)0)->address)
        return -EINVAL;
    struct listener *listener = xcalloc(1, sizeof *listener);
    listener->hub = hub;
    (void)snprintf(listener->address, sizeof listener->address, "%s", address);
    int r = link_stream_init(hub->loop, address, &listener->stream);
    listener->stream.handle.data = listener;
    if (r == 0)
        r = link_stream_listen(address, &listener->stream, on_connection);
    if (r < 0) {
        uv_close(&listener->stream.handle, on_listener_closed);
        return r;
    }
    list_push_back(&hub->listeners, &listener->item);
    return 0;
}

int link_hub_connect(struct link_hub *hub, const char *name, const char *address)
{
    if (!link_stream_knows(address) || strlen(address) >= sizeof((struct dialer *)0)->address)
        return -EINVAL;
    struct dialer *d = xcalloc(1, sizeof *d);
    d->hub = hub;
    d->wait_ms = RETRY_MIN_MS;
    (void)snprintf(d->name, sizeof d->name, "%s", name);
    (void)snprintf(d->address, sizeof d->address, "%s", address);
    (void)uv_timer_init(hub->loop, &d->timer);
    d->timer.data = d;
    list_push_back(&hub->dialers, &d->item);
    dial(d);
    return 0;
}

void link_hub_set_session(struct link_hub *hub, uint64_t session)
{
    hub->self.session = session;
}

static void freeze(struct link *l)
{
    l->cut = true;
    (void)uv_read_stop(&l->stream.stream);
    (void)uv_timer_stop(&l->hello_timer);
}

void link_hub_set_cuts(struct link_hub *hub, const char *const *names, size_t count)
{
    free(hub->cuts);
    hub->cuts = count ? xcalloc(count, sizeof *hub->cuts) : NULL;
    hub->cuts_count = count;
    for (size_t i = 0; i < count; i++)
        (void)snprintf(hub->cuts[i], sizeof hub->cuts[i], "%s", names[i]);
    for (struct list *it = hub->links.next, *next; it != &hub->links; it = next) {
        struct link *l = list_entry(it, struct link, item);
        next = it->next;
        bool cut = is_cut(hub, l->peer.name);
        if (cut && !l->cut)
            freeze(l);
        else if (!cut && l->cut)
            link_close(l, "mended after a cut");
    }
}

static void on_dialer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_hub_closed(uv_handle_t *handle)
{
    struct link_hub *hub = handle->data;
    free(hub->cuts);
    free(hub);
}

void link_hub_close(struct link_hub *hub)
{
    struct list *it;
    hub->closing = true;
    while (!list_empty(&hub->links))
        link_close(list_first(&hub->links, struct link, item), "ending");
    while ((it = list_pop_front(&hub->dialers))) {
        struct dialer *d = list_entry(it, struct dialer, item);
        d->closing = true;
        uv_close((uv_handle_t *)&d->timer, on_dialer_closed);
    }
    while ((it = list_pop_front(&hub->listeners)))
        uv_close(&list_entry(it, struct listener, item)->stream.handle, on_listener_closed);
    uv_close((uv_handle_t *)&hub->prepare, on_hub_closed);
}

const struct hello *link_peer(const struct link *l)
{
    return &l->peer;
}

void link_set_data(struct link *l, void *data)
{
    l->data = data;
}

void *link_data(const struct link *l)
{
    return l->data;
}

int link_connect_blocking(const char *address, int timeout_ms)
{
    return link_stream_knows(address) ? link_stream_connect_blocking(address, timeout_ms) : -EINVAL;
}
