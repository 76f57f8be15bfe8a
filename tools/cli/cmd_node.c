/* `tally node`: one node as a process, on a libuv loop. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "node/node.h"
#include "repl/io/log.h"
#include "tools/cli/command.h"
#include "tools/cli/config.h"
#include "tools/cli/daemon.h"

static const char usage[] =
    "tally node --config FILE --name NAME [--store DIR] [--create]\n"
    "\n"
    "Runs one node in the foreground until SIGTERM, when it hands its leadership over first.\n"
    "--create makes the store: at the node's first start, and only then. A node whose store was "
    "lost\n"
    "has forgotten what it promised to the others and must not come back under its old id.\n"
    "The configuration, the same on every node and for every mount:\n"
    "\n"
    "    [cluster]\n"
    "    name = home\n"
    "    uuid = 00112233445566778899aabbccddeeff\n"
    "    election = candidate          # the default; or bully, successor, invitation, ring\n"
    "    leader_lease = on             # off: every read asks a majority\n"
    "\n"
    "    [node n1]\n"
    "    id = 1\n"
    "    kind = copy                   # or witness\n"
    "    address = unix:/run/tally/n1.sock   # or tcp:127.0.0.1:7101\n"
    "    store = /var/lib/tally/n1\n"
    "    capacity = 100GiB             # default: what the disk has\n";

/* The node's place in this process: one turn of the node follows each turn of the loop that brought
 * input, in the check phase. */
struct process {
    struct node *node;
    uv_loop_t *loop;
    uv_check_t check;
    uv_idle_t idle; /* keeps the loop from sleeping while the node has something queued */
    uv_timer_t timer;
    /* The store has completions: an eventfd and whether it has been rung. uv_async_send() would
     * have the loop spin for the thread that rang, which a loaded machine may have put aside. */
    int bell;
    atomic_bool rung;
    uv_poll_t from_store;
    uv_signal_t sigterm, sigint;
    struct daemon_memory memory_use;
};

static time_us host_clock(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (time_us)t.tv_sec * TIME_S + (time_us)t.tv_nsec / 1000;
}

static int64_t host_wall_ns(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* exists so that the loop polls without sleeping and comes to the check phase */
}

static void host_wake(void *ctx)
{
    struct process *p = ctx;
    (void)uv_idle_start(&p->idle, on_idle);
}

static void on_check(uv_check_t *check)
{
    struct process *p = check->data;
    (void)uv_idle_stop(&p->idle); /* before the turn, which may ask for another */
    node_turn(p->node);
}

static void on_timer(uv_timer_t *timer)
{
    struct process *p = timer->data;
    node_timer_due(p->node);
}

static void host_wake_at(void *ctx, time_us at)
{
    struct process *p = ctx;
    if (at == 0) {
        (void)uv_timer_stop(&p->timer);
        return;
    }
    time_us now = host_clock(NULL);
    uv_update_time(p->loop);
    (void)uv_timer_start(&p->timer, on_timer, at > now ? (at - now + 999) / 1000 : 0, 0);
}

static void host_store_ready(void *ctx) /* on any thread */
{
    struct process *p = ctx;
    static const uint64_t one = 1;
    if (!atomic_exchange(&p->rung, true))
        (void)!write(p->bell, &one, sizeof one);
}

static void on_store(uv_poll_t *poll, int status, int events)
{
    struct process *p = poll->data;
    uint64_t count;
    (void)status, (void)events;
    (void)!read(p->bell, &count, sizeof count);
    atomic_store(&p->rung, false); /* before looking: what completes meanwhile rings again */
    if (p->node)
        node_poll_store(p->node);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct process *p = signal->data;
    log_info("stop", "signal=%d", number);
    node_stop(p->node);
}

static void host_ended(void *ctx)
{
    struct process *p = ctx;
    uv_stop(p->loop);
}

static void host_fall(void *ctx)
{
    (void)ctx;
    _exit(3);
}

static void init_handles(struct process *p)
{
    p->loop = uv_default_loop();
    (void)uv_check_init(p->loop, &p->check);
    (void)uv_idle_init(p->loop, &p->idle);
    (void)uv_timer_init(p->loop, &p->timer);
    p->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (p->bell < 0)
        abort();
    (void)uv_poll_init(p->loop, &p->from_store, p->bell);
    (void)uv_signal_init(p->loop, &p->sigterm);
    (void)uv_signal_init(p->loop, &p->sigint);
    p->check.data = p->idle.data = p->timer.data = p->from_store.data = p;
    p->sigterm.data = p->sigint.data = p;
}

static void trace_line(void *ctx, const char *text)
{
    (void)ctx;
    log_info("trace", "%s", text);
}

static int run_process(struct node_config *config)
{
    static struct process p;
    struct node_host host = {.ctx = &p,
                             .clock = host_clock,
                             .wall_ns = host_wall_ns,
                             .wake = host_wake,
                             .wake_at = host_wake_at,
                             .store_ready = host_store_ready,
                             .writes_log = true,
                             .ended = host_ended,
                             .fall = host_fall};
    (void)signal(SIGPIPE, SIG_IGN);
    daemon_prepare();
    if (getrandom(&config->random_seed, sizeof config->random_seed, 0) < 0)
        return EXIT_FAILED;
    if (getenv("TALLY_TRACE"))
        config->trace.line = trace_line;
    init_handles(&p);
    host.loop = p.loop;
    p.node = node_open(config, &host);
    if (!p.node)
        return EXIT_FAILED;
    (void)uv_check_start(&p.check, on_check);
    (void)uv_poll_start(&p.from_store, UV_READABLE, on_store);
    daemon_memory_start(&p.memory_use, p.loop);
    (void)uv_signal_start(&p.sigterm, on_signal, SIGTERM);
    (void)uv_signal_start(&p.sigint, on_signal, SIGINT);
    (void)uv_run(p.loop, UV_RUN_DEFAULT);
    (void)uv_check_stop(&p.check);
    daemon_memory_stop(&p.memory_use);
    struct node *n = p.node;
    p.node = NULL;
    node_close(n);
    log_info("end", "node=%u", (unsigned)config->self);
    return EXIT_DONE;
}

static int parse(int argc, char **argv, const char **config, const char **name, const char **store,
                 bool *create)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--create") == 0) {
            *create = true;
            continue;
        }
        const char **to = strcmp(argv[i], "--config") == 0  ? config
                          : strcmp(argv[i], "--name") == 0  ? name
                          : strcmp(argv[i], "--store") == 0 ? store
                                                            : NULL;
        if (!to || i + 1 == argc) {
            fprintf(stderr, "tally node: what is '%s'?\nusage: %s", argv[i], usage);
            return EXIT_USAGE;
        }
        *to = argv[++i];
    }
    if (*config && *name)
        return 0;
    fprintf(stderr, "tally node: --config and --name are needed\nusage: %s", usage);
    return EXIT_USAGE;
}

static int run_node(int argc, char **argv)
{
    static struct config config;
    const char *path = NULL, *name = NULL, *store = NULL;
    bool create = false;
    char error[1024];
    int r = parse(argc, argv, &path, &name, &store, &create);
    if (r)
        return r;
    if (config_load(path, &config, error, sizeof error) < 0) {
        fprintf(stderr, "tally node: %s\n", error);
        return EXIT_FAILED;
    }
    const struct config_node *self = config_find(&config, name);
    if (!self) {
        fprintf(stderr, "tally node: %s has no [node %s]\n", path, name);
        return EXIT_FAILED;
    }
    if (!store)
        store = self->store;
    if (!store[0]) {
        fprintf(stderr,
                "tally node: where is the store of %s? `store = DIR` in %s, or --store DIR\n", name,
                path);
        return EXIT_FAILED;
    }
    struct node_member members[CONFIG_NODES_MAX];
    for (size_t i = 0; i < config.nodes_count; i++) {
        const struct config_node *m = &config.nodes[i];
        members[i] = (struct node_member){m->id, m->witness, m->name, m->address};
    }
    struct node_config nc = {.self = self->id,
                             .members = members,
                             .members_count = config.nodes_count,
                             .store_dir = store,
                             .capacity_bytes = self->capacity_bytes,
                             .create = create,
                             .leader_lease = config.leader_lease,
                             .election = strategy_find(config.election)};
    memcpy(nc.cluster, config.uuid, sizeof nc.cluster);
    return run_process(&nc);
}

const struct command command_node = {
    .name = "node",
    .summary = "run one node of a cluster",
    .usage = usage,
    .run = run_node,
};
