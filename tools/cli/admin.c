/* The asking end of ADMIN frames. */
#include "tools/cli/admin.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "repl/io/link.h"
#include "repl/wire/frame.h"
#include "repl/wire/hello.h"

struct question {
    int fd;
    int64_t deadline_ms;
    uint64_t sent; /* frames */
    struct frame_parser parser;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int wait_for(const struct question *q, short events)
{
    struct pollfd p = {.fd = q->fd, .events = events};
    for (;;) {
        int64_t left = q->deadline_ms - now_ms();
        if (left <= 0)
            return -ETIMEDOUT;
        int r = poll(&p, 1, (int)left);
        if (r > 0)
            return 0;
        if (r < 0 && errno != EINTR)
            return -errno;
    }
}

static int send_all(const struct question *q, const uint8_t *p, size_t size)
{
    while (size) {
        ssize_t n = send(q->fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (n <= 0) {
            int r = wait_for(q, POLLOUT);
            if (r < 0)
                return r;
            continue;
        }
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

static int send_frame(struct question *q, uint8_t type, const void *control, size_t size)
{
    uint8_t header[FRAME_HEADER_SIZE];
    frame_header(header, type, ++q->sent, control, size, NULL, 0);
    int r = send_all(q, header, sizeof header);
    return r < 0 ? r : send_all(q, control, size);
}

/* The next frame; frame_parser_next() after use. */
static int receive(struct question *q, struct frame *ret)
{
    for (;;) {
        const char *reason = "";
        size_t room;
        void *to = frame_parser_room(&q->parser, &room);
        ssize_t n = read(q->fd, to, room);
        if (n == 0)
            return -EPROTO; /* it hung up on us: another cluster, or no node at all */
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (n < 0) {
            int r = wait_for(q, POLLIN);
            if (r < 0)
                return r;
            continue;
        }
        int r = frame_parser_fed(&q->parser, (size_t)n, ret, &reason);
        if (r != 0)
            return r == -EPROTONOSUPPORT ? r : r < 0 ? -EPROTO : 0;
    }
}

static int say_hello(struct question *q, const uint8_t uuid[16])
{
    struct hello hello = {.kind = HELLO_ADMIN, .name = "admin"};
    struct bytes_writer w = {0};
    memcpy(hello.cluster, uuid, sizeof hello.cluster);
    hello_encode(&hello, &w);
    int r = send_frame(q, FRAME_HELLO, w.data, w.size);
    bytes_writer_done(&w);
    return r;
}

static int exchange(struct question *q, const uint8_t uuid[16], json_t *request, json_t **ret)
{
    char *text = json_dumps(request, JSON_COMPACT);
    if (!text)
        return -EINVAL;
    int r = say_hello(q, uuid);
    if (r == 0)
        r = send_frame(q, FRAME_ADMIN_REQUEST, text, strlen(text));
    free(text);
    int sent = r;
    if (r == -EPIPE)
        r = 0; /* it hung up; it may have said why */
    while (r == 0) {
        struct frame frame;
        r = receive(q, &frame);
        if (r < 0)
            return sent < 0 && r != -EPROTONOSUPPORT ? sent : r;
        if (frame.type == FRAME_ADMIN_REPLY) {
            *ret = json_loadb((const char *)frame.control, frame.control_size, 0, NULL);
            return *ret ? 0 : -EPROTO;
        }
        frame_parser_next(&q->parser); /* its HELLO */
    }
    return r;
}

int admin_ask(const char *address, const uint8_t cluster_uuid[16], json_t *request, int timeout_ms,
              json_t **ret_answer)
{
    struct question q = {.deadline_ms = now_ms() + timeout_ms};
    q.fd = link_connect_blocking(address, timeout_ms);
    if (q.fd < 0)
        return q.fd;
    int r = exchange(&q, cluster_uuid, request, ret_answer);
    frame_parser_done(&q.parser);
    (void)close(q.fd);
    return r;
}

int admin_command(const char *address, const uint8_t cluster_uuid[16], const char *command,
                  int timeout_ms, json_t **ret_answer)
{
    json_t *request = json_pack("{s:s}", "cmd", command);
    int r = admin_ask(address, cluster_uuid, request, timeout_ms, ret_answer);
    json_decref(request);
    return r;
}
