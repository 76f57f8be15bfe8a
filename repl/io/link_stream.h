/* The streams that carry links: the seam where a transport slots in. For link.c only. */
#ifndef TALLY_REPL_IO_LINK_STREAM_H
#define TALLY_REPL_IO_LINK_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

/* A stream of any kind: all are uv_stream_t behind the first member. */
union link_stream {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
};

/* True for an address that some transport understands. */
bool link_stream_knows(const char *address);
/* Initialises a stream for `address` on `loop`. */
int link_stream_init(uv_loop_t *loop, const char *address, union link_stream *stream);
/* Bound and listening; `stream` was initialised for the address. Negative errno; the handle still
 * needs uv_close. */
int link_stream_listen(const char *address, union link_stream *stream,
                       uv_connection_cb on_connection);
/* Begins to connect. `request` lives until its callback. */
int link_stream_connect(const char *address, union link_stream *stream, uv_connect_t *request,
                        uv_connect_cb on_connect);
/* After connect or accept. */
void link_stream_tune(const char *address, union link_stream *stream);
/* A connected blocking socket. */
int link_stream_connect_blocking(const char *address, int timeout_ms);

#endif
