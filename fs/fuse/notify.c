#include "fs/fuse/notify.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/uio.h>
#include <time.h>

#include "fs/fuse/request.h"

enum {
    NOTIFY_INC_EPOCH = 8, /* FUSE_NOTIFY_INC_EPOCH of FUSE 7.44: newer than Debian 12's headers */
    NOTIFY_PRUNE = 9,     /* FUSE_NOTIFY_PRUNE of FUSE 7.45 */
    STOP_PATIENCE_S = 1,
};

static void *notifier_run(void *arg)
{
    struct notifier *n = arg;
    pthread_mutex_lock(&n->lock);
    while (!n->stop) {
        if (n->queue.count == 0) {
            pthread_cond_wait(&n->wake, &n->lock);
            continue;
        }
        uint64_t ino = n->queue.items[0];
        vec_remove(&n->queue, 0);
        pthread_mutex_unlock(&n->lock);
        /* ENOENT: the kernel has forgotten the inode, which is as good. */
        (void)fuse_lowlevel_notify_inval_inode(n->session, ino, 0, 0);
        pthread_mutex_lock(&n->lock);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

int notifier_start(struct notifier *n, struct fuse_session *session)
{
    *n = (struct notifier){.session = session};
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->wake, NULL);
    sigset_t all, old; /* signals are the loop's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&n->thread, NULL, notifier_run, n);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    n->running = r == 0;
    return -r;
}

/* An inode that still waits in the queue is not queued twice: the invalidation to come covers both.
 */
void notifier_push(struct notifier *n, uint64_t ino)
{
    pthread_mutex_lock(&n->lock);
    size_t i = 0;
    while (i < n->queue.count && n->queue.items[i] != ino)
        i++;
    if (i == n->queue.count)
        vec_push(&n->queue, ino);
    pthread_cond_signal(&n->wake);
    pthread_mutex_unlock(&n->lock);
}

bool notifier_stop(struct notifier *n)
{
    if (!n->running)
        return true;
    pthread_mutex_lock(&n->lock);
    n->stop = true;
    pthread_cond_signal(&n->wake);
    pthread_mutex_unlock(&n->lock);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += STOP_PATIENCE_S;
    if (pthread_timedjoin_np(n->thread, NULL, &limit) != 0)
        return false;
    n->running = false;
    vec_done(&n->queue);
    pthread_cond_destroy(&n->wake);
    pthread_mutex_destroy(&n->lock);
    return true;
}

void kernel_notify_attr(struct kernel *k, uint64_t ino)
{
    if (!k->init_done || k->ended)
        return;
    const struct place *at = places_of(&k->places, ino);
    if (!at)
        (void)fuse_lowlevel_notify_inval_inode(k->session, ino, -1, 0);
    for (; at; at = at->older)
        (void)fuse_lowlevel_notify_inval_inode(k->session, at->node, -1, 0);
}

void kernel_notify_data(struct kernel *k, uint64_t ino)
{
    if (k->init_done && !k->ended)
        notifier_push(&k->notifier, ino);
}

/* libfuse 3.14 does not know the epoch: the 16 bytes are written here. */
void kernel_notify_names(struct kernel *k)
{
    if (!k->init_done || k->ended || !init_has_epoch(k))
        return;
    struct {
        uint32_t len;
        int32_t error;
        uint64_t unique;
    } message = {.len = sizeof message, .error = NOTIFY_INC_EPOCH, .unique = 0};
    _Static_assert(sizeof message == 16, "fuse_out_header");
    struct iovec iov = {.iov_base = &message, .iov_len = sizeof message};
    (void)!writev(fuse_session_fd(k->session), &iov, 1);
}

static void prune(struct kernel *k, uint64_t node)
{
    struct {
        uint32_t len;
        int32_t error;
        uint64_t unique;
        uint32_t count, padding;
        uint64_t spare;
        uint64_t ino;
    } message = {.len = sizeof message, .error = NOTIFY_PRUNE, .count = 1, .ino = node};
    _Static_assert(sizeof message == 40, "fuse_out_header, fuse_notify_prune_out, one nodeid");
    struct iovec iov = {.iov_base = &message, .iov_len = sizeof message};
    (void)!writev(fuse_session_fd(k->session), &iov, 1);
}

/* An older kernel refuses it, and forgets the inode when it needs the memory. */
void kernel_notify_prune(struct kernel *k, uint64_t ino)
{
    if (!k->init_done || k->ended)
        return;
    const struct place *at = places_of(&k->places, ino);
    if (!at)
        prune(k, ino);
    for (; at; at = at->older)
        prune(k, at->node);
}
