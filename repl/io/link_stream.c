/* Unix sockets and TCP. */
#include "repl/io/link_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 64,
    SOCKET_BUFFER_BYTES = 1 << 20,
    /* A connection on which nothing was acknowledged for so long is closed, and another one tried:
     * TCP itself asks less and less often, and would be minutes behind a network that is back. */
    UNACKNOWLEDGED_MS = 20000,
};

static const char *unix_path(const char *address)
{
    return strncmp(address, "unix:/", 6) == 0 ? address + 5 : NULL;
}

/* "tcp:HOST:PORT"; HOST is a numeric IPv4 address. */
static int tcp_address(const char *address, struct sockaddr_in *ret)
{
    char host[64];
    const char *colon = strrchr(address, ':');
    if (strncmp(address, "tcp:", 4) != 0 || colon < address + 4 ||
        (size_t)(colon - address - 4) >= sizeof host)
        return -EINVAL;
    memcpy(host, address + 4, (size_t)(colon - address - 4));
    host[colon - address - 4] = '\0';
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end || end == colon + 1 || port == 0 || port > 65535)
        return -EINVAL;
    memset(ret, 0, sizeof *ret);
    ret->sin_family = AF_INET;
    ret->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &ret->sin_addr) == 1 ? 0 : -EINVAL;
}

/* sockaddr_un holds 107 bytes of path. A longer one is named through a descriptor of its directory,
 * which the caller closes when done (-1: none was needed). */
static int unix_address(const char *path, struct sockaddr_un *ret, int *ret_dir)
{
    memset(ret, 0, sizeof *ret);
    ret->sun_family = AF_UNIX;
    *ret_dir = -1;
    if (strlen(path) < sizeof ret->sun_path) {
        memcpy(ret->sun_path, path, strlen(path) + 1);
        return 0;
    }
    const char *slash = strrchr(path, '/');
    char *dir = strndup(path, (size_t)(slash - path));
    *ret_dir = dir ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    free(dir);
    if (*ret_dir < 0)
        return -errno;
    int n = snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d%s", *ret_dir, slash);
    if (n > 0 && (size_t)n < sizeof ret->sun_path)
        return 0;
    (void)close(*ret_dir);
    *ret_dir = -1;
    return -ENAMETOOLONG;
}

bool link_stream_knows(const char *address)
{
    struct sockaddr_in in;
    return unix_path(address) || tcp_address(address, &in) == 0;
}

int link_stream_init(uv_loop_t *loop, const char *address, union link_stream *stream)
{
    return unix_path(address) ? uv_pipe_init(loop, &stream->pipe, 0)
                              : uv_tcp_init(loop, &stream->tcp);
}

/* Removes a socket file that nobody listens on any more: what a killed process leaves. */
static void remove_stale(const char *path, const struct sockaddr_un *un)
{
    struct stat st;
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)un, sizeof *un) < 0 && errno == ECONNREFUSED)
        (void)unlink(path);
    (void)close(fd);
}

static int bind_socket(const char *address)
{
    struct sockaddr_in in;
    struct sockaddr_un un;
    const char *path = unix_path(address);
    int dir = -1, on = 1, r;
    int fd = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (path) {
        r = unix_address(path, &un, &dir);
        if (r == 0) {
            remove_stale(path, &un);
            r = bind(fd, (struct sockaddr *)&un, sizeof un) < 0 ? -errno : 0;
        }
    } else {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        r = tcp_address(address, &in);
        if (r == 0)
            r = bind(fd, (struct sockaddr *)&in, sizeof in) < 0 ? -errno : 0;
    }
    if (r == 0 && path)
        (void)chmod(path, 0600); /* until there is TLS, the file's mode says who may connect */
    if (dir >= 0)
        (void)close(dir);
    if (r < 0) {
        (void)close(fd);
        return r;
    }
    return fd;
}

int link_stream_listen(const char *address, union link_stream *stream,
                       uv_connection_cb on_connection)
{
    int fd = bind_socket(address);
    if (fd < 0)
        return fd;
    int r = unix_path(address) ? uv_pipe_open(&stream->pipe, fd) : uv_tcp_open(&stream->tcp, fd);
    if (r < 0) {
        (void)close(fd);
        return r;
    }
    return uv_listen(&stream->stream, BACKLOG, on_connection);
}

/* A connected or connecting non-blocking unix socket: libuv's own call knows no long paths. */
static int connect_unix(const char *path, int flags)
{
    struct sockaddr_un un;
    int dir, r = unix_address(path, &un, &dir);
    if (r < 0)
        return r;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    r = fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof un) < 0 ? -errno : fd;
    if (dir >= 0)
        (void)close(dir);
    if (r < 0 && fd >= 0)
        (void)close(fd);
    return r;
}

/* Unix sockets connect at once or not at all, so there is nothing to wait for: 1 says that it is
 * done. */
int link_stream_connect(const char *address, union link_stream *stream, uv_connect_t *request,
                        uv_connect_cb on_connect)
{
    struct sockaddr_in in;
    const char *path = unix_path(address);
    if (!path) {
        int r = tcp_address(address, &in);
        return r < 0 ? r
                     : uv_tcp_connect(request, &stream->tcp, (struct sockaddr *)&in, on_connect);
    }
    int fd = connect_unix(path, SOCK_NONBLOCK);
    if (fd < 0)
        return fd;
    int r = uv_pipe_open(&stream->pipe, fd);
    if (r < 0)
        (void)close(fd);
    return r < 0 ? r : 1;
}

void link_stream_tune(const char *address, union link_stream *stream)
{
    int size = SOCKET_BUFFER_BYTES, ms = UNACKNOWLEDGED_MS;
    uv_os_fd_t fd;
    if (!unix_path(address)) {
        (void)uv_tcp_nodelay(&stream->tcp, 1);
        if (uv_fileno(&stream->handle, &fd) == 0)
            (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
    }
    (void)uv_send_buffer_size(&stream->handle, &size);
    size = SOCKET_BUFFER_BYTES;
    (void)uv_recv_buffer_size(&stream->handle, &size);
}

static int connect_tcp_blocking(const char *address, int timeout_ms)
{
    struct sockaddr_in in;
    int r = tcp_address(address, &in);
    if (r < 0)
        return r;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&in, sizeof in) < 0 && errno != EINPROGRESS) {
        r = -errno;
    } else {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        socklen_t size = sizeof r;
        r = poll(&p, 1, timeout_ms) == 1 ? 0 : -ETIMEDOUT;
        int error = 0;
        if (r == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0)
            r = -error;
    }
    if (r < 0) {
        (void)close(fd);
        return r;
    }
    return fd;
}

int link_stream_connect_blocking(const char *address, int timeout_ms)
{
    const char *path = unix_path(address);
    if (path)
        return connect_unix(path, SOCK_NONBLOCK);
    return connect_tcp_blocking(address, timeout_ms);
}
