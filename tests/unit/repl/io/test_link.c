/* When links are made again: with a peer whose frames are of another version, and else. Timers do
 * not run here, they are noted. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "repl/io/link.h"
#include "tests/unit/lib/run.h"

enum { TRY_MAX_MS = 500, OTHER_BUILD_MS = 10000 };

struct timer {
    uv_timer_t *timer;
    uv_timer_cb fn;
    uint64_t ms;
};

/* The last one that was started, and how many were. */
static struct timer started;
static unsigned starts;

/* Takes the place of libuv's. */
int uv_timer_start(uv_timer_t *timer, uv_timer_cb fn, uint64_t ms, uint64_t repeat)
{
    (void)repeat;
    started = (struct timer){timer, fn, ms};
    starts++;
    return 0;
}

struct world {
    char dir[64], address[128];
    uv_loop_t loop;
    struct link_hub *hub;
    int listener; /* of a peer that is played here */
    unsigned ups;
};

static void on_up(void *ctx, struct link *link, const struct hello *peer)
{
    (void)link, (void)peer;
    ((struct world *)ctx)->ups++;
}

static void on_down(void *ctx, struct link *link, const char *reason)
{
    (void)ctx, (void)link, (void)reason;
}

static void on_frame(void *ctx, struct link *link, uint8_t type, const uint8_t *control,
                     size_t control_size, struct blob *bulk)
{
    (void)ctx, (void)link, (void)type, (void)control, (void)control_size, (void)bulk;
}

static struct hello hello_of(uint32_t node)
{
    struct hello h = {.kind = HELLO_NODE, .cluster = {1}, .node_id = node, .store_boot = node};
    (void)snprintf(h.name, sizeof h.name, "n%u", node);
    return h;
}

static struct sockaddr_un address_of(const struct world *w, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%.60s/%s", w->dir, name);
    return a;
}

static void setup(struct world *w)
{
    struct hello self = hello_of(1);
    *w = (struct world){.dir = "/tmp/tally-link-XXXXXX", .listener = -1};
    struct link_callbacks callbacks = {w, on_up, on_down, on_frame};
    ck_assert_ptr_nonnull(mkdtemp(w->dir));
    ck_assert_int_eq(uv_loop_init(&w->loop), 0);
    w->hub = link_hub_new(&w->loop, &self, &callbacks);
    struct sockaddr_un a = address_of(w, "peer");
    (void)snprintf(w->address, sizeof w->address, "unix:%s", a.sun_path);
    w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(w->listener, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(w->listener, 5), 0);
}

static void teardown(struct world *w)
{
    link_hub_close(w->hub);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&w->loop), 0);
    (void)close(w->listener);
    ck_assert_int_eq(file_remove_tree(w->dir), 0);
}

/* `version_more` is added to that of this build. */
static void say_hello(int fd, uint8_t version_more)
{
    uint8_t header[FRAME_HEADER_SIZE];
    struct bytes_writer control = {0};
    struct hello h = hello_of(2);
    hello_encode(&h, &control);
    frame_header(header, FRAME_HELLO, 1, control.data, control.size, NULL, 0);
    header[4] = (uint8_t)(header[4] + version_more);
    ck_assert_int_eq(write(fd, header, sizeof header), sizeof header);
    ck_assert_int_eq(write(fd, control.data, control.size), (ssize_t)control.size);
    bytes_writer_done(&control);
}

enum peer { PEER_OF_ANOTHER_BUILD, PEER_THAT_CLOSES, PEER_OF_THIS_BUILD };

/* Calls it, for the first time or as the timer would; until a HELLO is awaited. */
static uv_timer_cb call(struct world *w)
{
    unsigned before = starts;
    if (before == 0)
        ck_assert_int_eq(link_hub_connect(w->hub, "n2", w->address), 0);
    else
        started.fn(started.timer);
    while (starts == before)
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    return started.fn;
}

/* It answers and hangs up; until it is to be called again, which the timer says. */
static void meet(struct world *w, enum peer peer)
{
    uv_timer_cb hello_late = call(w);
    unsigned ups = w->ups;
    int fd = accept(w->listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    if (peer != PEER_THAT_CLOSES)
        say_hello(fd, peer == PEER_OF_ANOTHER_BUILD);
    while (peer == PEER_OF_THIS_BUILD && w->ups == ups)
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    (void)shutdown(fd, SHUT_WR);
    while (started.fn == hello_late)
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    (void)close(fd);
}

START_TEST(another_build_is_called_every_ten_seconds)
{
    struct world w;
    setup(&w);
    for (int i = 0; i < 3; i++) {
        meet(&w, PEER_OF_ANOTHER_BUILD);
        ck_assert_uint_le(started.ms, OTHER_BUILD_MS);
        ck_assert_uint_ge(started.ms, OTHER_BUILD_MS / 2);
    }
    meet(&w, PEER_THAT_CLOSES); /* it goes: it may be back soon, with this build */
    ck_assert_uint_le(started.ms, TRY_MAX_MS);
    meet(&w, PEER_OF_THIS_BUILD);
    ck_assert_uint_eq(w.ups, 1);
    ck_assert_uint_le(started.ms, TRY_MAX_MS);
    teardown(&w);
}
END_TEST

/* And when that one calls, it hears our version before we hang up. */
START_TEST(another_build_that_calls_hears_ours)
{
    struct world w;
    uint8_t header[FRAME_HEADER_SIZE];
    char address[128];
    setup(&w);
    struct sockaddr_un a = address_of(&w, "us");
    (void)snprintf(address, sizeof address, "unix:%s", a.sun_path);
    ck_assert_int_eq(link_hub_listen(w.hub, address), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    say_hello(fd, 1);
    size_t have = 0;
    for (ssize_t n = 1; n != 0;) {
        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
        uint8_t rest[4096];
        n = recv(fd, have < sizeof header ? header + have : rest,
                 have < sizeof header ? sizeof header - have : sizeof rest, MSG_DONTWAIT);
        have += n > 0 ? (size_t)n : 0;
    }
    ck_assert_uint_gt(have, sizeof header);
    ck_assert_uint_eq(header[4], FRAME_VERSION);
    ck_assert_uint_eq(header[5], FRAME_HELLO);
    ck_assert_uint_eq(w.ups, 0);
    (void)close(fd);
    teardown(&w);
}
END_TEST

/* ---- TCP ------------------------------------------------------------------------------------- */

/* A listener of ours that takes few connections. */
static int listen_tcp(char address[64], struct sockaddr_in *ret)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    (void)snprintf(address, 64, "tcp:127.0.0.1:%u", ntohs(a.sin_port));
    *ret = a;
    return fd;
}

/* Until the next connection to it is one that nobody answers. */
static size_t fill_up(const struct sockaddr_in *a, int *fds, size_t max)
{
    for (size_t n = 0; n < max; n++) {
        fds[n] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct timespec soon = {.tv_nsec = 0};
        if (connect(fds[n], (const struct sockaddr *)a, sizeof *a) == 0)
            continue;
        ck_assert_int_eq(errno, EINPROGRESS);
        fd_set set;
        FD_ZERO(&set);
        FD_SET(fds[n], &set);
        if (pselect(fds[n] + 1, NULL, &set, NULL, &soon, NULL) == 0)
            return n + 1;
    }
    ck_abort_msg("it takes all");
}

/* A machine that is away lets nobody wait for minutes, and an end in the meantime is one. */
START_TEST(nobody_answers_a_connection)
{
    struct world w;
    struct sockaddr_in a;
    char address[64];
    int fds[16];
    setup(&w);
    int listener = listen_tcp(address, &a);
    size_t count = fill_up(&a, fds, 16);
    unsigned before = starts;
    ck_assert_int_eq(link_hub_connect(w.hub, "n2", address), 0);
    (void)uv_run(&w.loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(starts, before + 1); /* it is not waited for longer than that */
    ck_assert_uint_gt(started.ms, TRY_MAX_MS);
    started.fn(started.timer);
    (void)uv_run(&w.loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(starts, before + 2);
    ck_assert_uint_le(started.ms, TRY_MAX_MS);
    started.fn(started.timer); /* it is tried again */
    (void)uv_run(&w.loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(starts, before + 3);
    ck_assert_uint_eq(w.ups, 0);
    teardown(&w);
    for (size_t i = 0; i < count; i++)
        (void)close(fds[i]);
    (void)close(listener);
}
END_TEST

static void check_patience(uv_handle_t *handle, void *ctx)
{
    uv_os_fd_t fd;
    int ms = 0;
    socklen_t size = sizeof ms;
    if (handle->type != UV_TCP || uv_fileno(handle, &fd) < 0)
        return;
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &size), 0);
    ck_assert_int_gt(ms, 0);
    (*(unsigned *)ctx)++;
}

START_TEST(a_connection_that_nobody_acknowledges_ends)
{
    struct world w;
    struct sockaddr_in a;
    char address[64];
    unsigned streams = 0;
    setup(&w);
    int listener = listen_tcp(address, &a);
    ck_assert_int_eq(link_hub_connect(w.hub, "n2", address), 0);
    unsigned before = starts;
    while (starts == before) /* until it is there, and a HELLO awaited */
        (void)uv_run(&w.loop, UV_RUN_ONCE);
    uv_walk(&w.loop, check_patience, &streams);
    ck_assert_uint_eq(streams, 1);
    teardown(&w);
    (void)close(listener);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/io/link");
    TCase *tc = tcase_create("link");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, another_build_is_called_every_ten_seconds);
    tcase_add_test(tc, another_build_that_calls_hears_ours);
    tcase_add_test(tc, nobody_answers_a_connection);
    tcase_add_test(tc, a_connection_that_nobody_acknowledges_ends);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
