/* Mounting, the receive loop, unmounting. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fuse_opt.h>

#include "fs/fuse/keeper.h"
#include "fs/fuse/request.h"
#include "repl/base/mem.h"

/* Requests taken per turn of the loop: enough to save wake-ups, few enough that links and timers
 * get theirs (FUSE.md §5). */
enum {
    RECEIVE_BATCH = 64,
    LOOK_EACH = 8, /* turn: for a second request, though the last such look found none */
};

/* ---- what libfuse says ------------------------------------------------------------------------
 */

/* libfuse tells why a mount failed only through its log, which has no context argument. Set while
 * kernel_mount() runs, on the one thread that mounts. */
static char *mount_error;
static size_t mount_error_size;

__attribute__((format(printf, 2, 0))) static void on_fuse_log(enum fuse_log_level level,
                                                              const char *format, va_list args)
{
    if (level > FUSE_LOG_ERR)
        return;
    if (!mount_error) {
        (void)vfprintf(stderr, format, args);
        return;
    }
    (void)vsnprintf(mount_error, mount_error_size, format, args);
    mount_error[strcspn(mount_error, "\n")] = '\0';
}

/* ---- receiving --------------------------------------------------------------------------------
 */

static void end(struct kernel *k)
{
    if (k->ended)
        return;
    k->ended = true;
    k->mounted = false;
    (void)uv_poll_stop(&k->poll);
    k->callbacks.on_end(k->callbacks.ctx);
}

static void after_init(struct kernel *k)
{
    char device[32];
    if (init_find_device(k->mountpoint, device, sizeof device)) {
        init_set_read_ahead(device);
        keeper_start(device);
    }
    k->callbacks.on_init(k->callbacks.ctx, init_has_epoch(k));
}

/* A program that does one thing after another has one request at a time here, and to look for the
 * next at once costs as much as the whole work of some. */
static bool looks_again(struct kernel *k)
{
    return k->many || ++k->turns % LOOK_EACH == 0;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct kernel *k = poll->data;
    (void)status, (void)events; /* errors show when reading */
    for (int i = 0; i < RECEIVE_BATCH && !k->closed; i++) {
        if (i == 1 && !looks_again(k))
            return;
        bool before_init = !k->init_done;
        int n = fuse_session_receive_buf(k->session, &k->buf);
        if (n == -EINTR)
            continue;
        if (n == -EAGAIN) {
            k->many = i > 1;
            return;
        }
        if (n <= 0) { /* ENODEV came as 0: unmounted */
            end(k);
            return;
        }
        raw_request(k);
        fuse_session_process_buf(k->session, &k->buf);
        if (before_init && k->init_done)
            after_init(k);
    }
    k->many = true;
}

/* ---- mounting ---------------------------------------------------------------------------------
 */

static struct fuse_session *new_session(struct kernel *k, const struct kernel_config *config)
{
    struct fuse_lowlevel_ops ops = {.init = init_negotiate};
    ops_fill_names(&ops);
    ops_fill_attr(&ops);
    ops_fill_data(&ops);
    ops_fill_lock(&ops);
    ops_fill_dir(&ops);
    char *options = NULL, *fsname = xmalloc(strlen(config->source) + sizeof "fsname=");
    (void)sprintf(fsname, "fsname=%s", config->source);
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session = NULL;
    if (fuse_opt_add_opt_escaped(&options, fsname) == 0 &&
        fuse_opt_add_opt(&options, "subtype=tally,default_permissions") == 0 &&
        (geteuid() != 0 || fuse_opt_add_opt(&options, "allow_other") == 0) &&
        (!config->options || !*config->options ||
         fuse_opt_add_opt(&options, config->options) == 0) &&
        fuse_opt_add_arg(&args, "tally") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
        fuse_opt_add_arg(&args, options) == 0)
        session = fuse_session_new(&args, &ops, sizeof ops, k);
    fuse_opt_free_args(&args);
    free(options);
    free(fsname);
    return session;
}

static int open_descriptor(struct kernel *k)
{
    int fd = fuse_session_fd(k->session);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    int r = fuse_session_custom_io(k->session, &init_hook_io, fd);
    if (r == 0)
        r = notifier_start(&k->notifier, k->session);
    if (r == 0)
        r = uv_poll_init(k->loop, &k->poll, fd);
    if (r < 0)
        return r;
    k->poll.data = k;
    requests_init(k);
    return uv_poll_start(&k->poll, UV_READABLE, on_readable);
}

int kernel_mount(const struct kernel_config *config, struct kernel **ret_kernel, char *error,
                 size_t error_size)
{
    struct kernel *k = xcalloc(1, sizeof *k);
    k->loop = config->loop;
    k->callbacks = config->callbacks;
    k->mountpoint = xstrdup(config->mountpoint);
    k->attr_valid_max = config->attr_valid_max;
    k->entry_valid_max = config->entry_valid_max;
    mount_error = error;
    mount_error_size = error_size;
    (void)snprintf(error, error_size, "mounting failed");
    fuse_set_log_func(on_fuse_log);
    k->session = new_session(k, config);
    int r = k->session ? 0 : -EINVAL;
    if (r == 0 && fuse_session_mount(k->session, config->mountpoint) != 0)
        r = -EIO;
    mount_error = NULL;
    if (r == 0) {
        r = open_descriptor(k);
        if (r == 0) {
            k->mounted = true;
            *ret_kernel = k;
            return 0;
        }
        (void)snprintf(error, error_size, "cannot poll the FUSE descriptor: %s", strerror(-r));
        (void)notifier_stop(&k->notifier);
        fuse_session_unmount(k->session);
    }
    if (k->session)
        fuse_session_destroy(k->session);
    free(k->mountpoint);
    free(k);
    return r;
}

/* ---- unmounting -------------------------------------------------------------------------------
 */

/* On a thread of the pool: taking the last mount of a filesystem away writes mapped pages back, and
 * those WRITEs are answered by the loop. */
static void detach_work(uv_work_t *work)
{
    struct kernel *k = work->data;
    k->detach_error = umount2(k->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ? 0 : -errno;
}

static void after_detach(uv_work_t *work, int status)
{
    struct kernel *k = work->data;
    (void)status;
    if (k->detach_error == 0)
        k->mounted = false;
    k->on_detached(k->callbacks.ctx, k->detach_error);
}

void kernel_detach(struct kernel *k, void (*on_detached)(void *ctx, int error))
{
    assert(!k->on_detached);
    k->on_detached = on_detached;
    k->detach_work.data = k;
    (void)uv_queue_work(k->loop, &k->detach_work, detach_work, after_detach);
}

void kernel_close(struct kernel *k)
{
    if (k->closed)
        return;
    k->closed = true;
    k->ended = true;
    uv_close((uv_handle_t *)&k->poll, NULL);
    uv_close((uv_handle_t *)&k->interrupt_timer, NULL);
    requests_close(k);
}

/* Only what is still mounted is unmounted: at the mount point of a detached one there may be
 * another by now. A notifier stuck in the kernel keeps what it uses: the process is about to end.
 */
void kernel_free(struct kernel *k)
{
    if (!k)
        return;
    kernel_close(k);
    if (k->mounted)
        fuse_session_unmount(k->session);
    if (!notifier_stop(&k->notifier))
        return;
    fuse_session_destroy(k->session);
    free(k->buf.mem);
    free(k->mountpoint);
    free(k);
}
