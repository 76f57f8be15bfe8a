#include "repl/io/pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "repl/base/mem.h"

enum { THREADS_MAX = 8 };

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list queue, finished;
    unsigned long unreported; /* loop's thread only */
    bool stop;
    int threads_count;
    pthread_t threads[THREADS_MAX];
    void (*wake)(void *ctx);
    void *ctx;
};

static void *pool_main(void *arg)
{
    struct pool *p = arg;
    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        struct list *item = list_pop_front(&p->queue);
        if (item == NULL && p->stop)
            break;
        if (item == NULL) {
            (void)pthread_cond_wait(&p->work, &p->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&p->lock);
        struct pool_job *job = container_of(item, struct pool_job, link);
        job->work(job);
        (void)pthread_mutex_lock(&p->lock);
        list_push_back(&p->finished, &job->link);
        (void)pthread_mutex_unlock(&p->lock);
        p->wake(p->ctx);
        (void)pthread_mutex_lock(&p->lock);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct pool *pool_new(int threads, void (*wake)(void *ctx), void *ctx)
{
    assert(threads >= 1 && threads <= THREADS_MAX);
    struct pool *p = xcalloc(1, sizeof(*p));
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->work, NULL);
    list_init(&p->queue);
    list_init(&p->finished);
    p->wake = wake;
    p->ctx = ctx;
    p->threads_count = threads;
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&p->threads[i], NULL, pool_main, p) != 0)
            abort();
    }
    return p;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->stop = true;
    (void)pthread_cond_broadcast(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->threads_count; i++)
        (void)pthread_join(p->threads[i], NULL);
    (void)pthread_cond_destroy(&p->work);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

void pool_submit(struct pool *p, struct pool_job *job)
{
    p->unreported++;
    (void)pthread_mutex_lock(&p->lock);
    list_push_back(&p->queue, &job->link);
    (void)pthread_cond_signal(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
}

void pool_poll(struct pool *p)
{
    for (;;) {
        (void)pthread_mutex_lock(&p->lock);
        struct list *item = list_pop_front(&p->finished);
        (void)pthread_mutex_unlock(&p->lock);
        if (item == NULL)
            return;
        struct pool_job *job = container_of(item, struct pool_job, link);
        p->unreported--;
        job->done(job);
    }
}

bool pool_busy(struct pool *p)
{
    return p->unreported > 0;
}
