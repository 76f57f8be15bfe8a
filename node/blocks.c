/* Blocks in and out: what mounts put here, what the log wants here, what is missing, what nobody
 * names (RULES B3, B5, B7, B12). */
#include "node/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mutant.h"
#include "repl/io/log.h"
#include "repl/wire/frame.h"

enum {
    FETCHES_MAX = 64, /* asked for at once */
    PUT_PATIENCE_US =
        20 * 1000, /* a mount's own PUT may be on its way: then nobody else is asked */
    ANSWER_PATIENCE_US = 500 * 1000, /* then the next node is asked */
    /* On a witness, a put block that no entry came for: while it is drafted one may still come;
     * after that its entry came before it, or goes to other nodes. */
    UNNAMED_DRAFTED_US = 60 * 1000000,
    UNNAMED_US = 2 * 1000000,
    DEMOTE_SHARE = 50, /* a 50th of a witness's time at most goes into demotions, but ... */
    DEMOTE_PAUSE_US = 30 * 1000000, /* ... what may go does not stay for longer */
};

/* ---- a block wanted here --------------------------------------------------------------------- */

struct node_fetch {
    struct block_ref ref;
    uint32_t sources;         /* asked first */
    uint32_t tried;           /* since the last pause */
    uint32_t asked;           /* node; 0: nobody now */
    time_us next;             /* when something is to be done about it */
    bool putting;             /* its bytes are on their way into the store */
    vec_of(uint64_t) tickets; /* ENSUREs that wait for it, or did: some may have ended */
};

struct node_ensure {
    uint64_t ticket;
    size_t left;
};

struct node_unnamed {
    struct block_name name;
    time_us since;
    bool written; /* in the store */
    bool named;   /* an entry named it before that */
};

static struct node_fetch *fetch_find(struct node *n, struct block_name name)
{
    struct node_fetch *f = map_get(&n->fetches, block_name_hash(name));
    return f && block_name_equal(f->ref.name, name) ? f : NULL;
}

static void fetch_free(struct node *n, struct node_fetch *f)
{
    (void)map_del(&n->fetches, block_name_hash(f->ref.name));
    vec_done(&f->tickets);
    free(f);
    n->fetching = n->fetches.count;
}

static void ensure_one_less(struct node *n, uint64_t ticket)
{
    struct node_ensure *e = map_get(&n->ensures, ticket);
    if (!e || --e->left)
        return;
    (void)map_del(&n->ensures, ticket);
    free(e);
    struct node_replica_event ev = {.event = {.kind = REPLICA_ENSURED}};
    ev.event.ensured.ticket = ticket;
    node_queue_replica(n, &ev);
}

/* What is wanted, and not other bytes under its name. */
static bool is_wanted(const struct node_fetch *f, const struct block_ref *ref)
{
    return f && f->ref.size == ref->size && f->ref.digest == ref->digest;
}

/* It is in the store, whoever brought it. */
static void fetch_done(struct node *n, struct block_name name)
{
    struct node_fetch *f = fetch_find(n, name);
    if (!f)
        return;
    for (size_t i = 0; i < f->tickets.count; i++)
        ensure_one_less(n, f->tickets.items[i]);
    fetch_free(n, f);
}

static struct node_fetch *fetch_new(struct node *n, const struct block_ref *ref, time_us first)
{
    if (map_get(&n->fetches, block_name_hash(ref->name)))
        return NULL; /* another block with the same hash of its name: it comes later */
    struct node_fetch *f = xcalloc(1, sizeof *f);
    f->ref = *ref;
    f->next = first;
    (void)map_put(&n->fetches, block_name_hash(ref->name), f);
    n->fetching = n->fetches.count;
    return f;
}

static uint32_t pick(const struct node *n, uint32_t among)
{
    for (uint32_t id = 1; id < NODE_IDS; id++)
        if ((among & 1u << id) && n->peers[id].link)
            return id;
    return 0;
}

static uint32_t pick_among(const struct node *n, const struct node_fetch *f, uint32_t all)
{
    uint32_t to = pick(n, f->sources & all);
    if (!to)
        to = pick(n, n->copies & all);
    return to ? to : pick(n, all);
}

/* Who did not answer comes last, or each block would wait for it anew. */
static void fetch_ask(struct node *n, struct node_fetch *f)
{
    uint32_t all = (n->copies | n->witnesses) & ~(1u << n->self->id) & ~f->tried;
    uint32_t to = pick_among(n, f, all & ~n->mute);
    if (!to)
        to = pick_among(n, f, all);
    f->asked = to;
    f->next = n->now + ANSWER_PATIENCE_US;
    if (!to) {
        f->tried = 0; /* from the beginning, after a pause */
        return;
    }
    f->tried |= 1u << to;
    Fs__BlockGet m = FS__BLOCK_GET__INIT;
    uint8_t packed[64];
    m.session = f->ref.name.session;
    m.n = f->ref.name.n;
    link_send(n->peers[to].link, FRAME_BLOCK_GET, packed, fs__block_get__pack(&m, packed), NULL, 0);
}

static void sooner_tick(struct node *n, time_us at)
{
    if (n->own_wake == 0 || at < n->own_wake)
        n->own_wake = at;
}

void node_blocks_ensure(struct node *n, uint64_t ticket, uint32_t sources,
                        const struct block_ref *refs, size_t count)
{
    struct node_ensure *e = xcalloc(1, sizeof *e);
    e->ticket = ticket;
    e->left = 1; /* for this loop */
    (void)map_put(&n->ensures, ticket, e);
    for (size_t i = 0; i < count; i++) {
        if (store_has(n->store, &refs[i]))
            continue;
        struct node_fetch *f = fetch_find(n, refs[i].name);
        if (!f)
            f = fetch_new(n, &refs[i], n->now + PUT_PATIENCE_US);
        if (!f)
            continue;
        f->sources |= sources;
        vec_push(&f->tickets, ticket);
        e->left++;
    }
    sooner_tick(n, n->now + PUT_PATIENCE_US);
    ensure_one_less(n, ticket);
}

void node_blocks_ensure_end(struct node *n, uint64_t ticket)
{
    free(map_del(&n->ensures, ticket)); /* what was asked for may still come, and is kept */
}

/* ---- into the store -------------------------------------------------------------------------- */

struct put {
    struct node *node;
    struct block_ref ref;
    uint64_t client; /* 0: fetched from a node */
};

static void note_unnamed(struct node *n, struct block_name name)
{
    uint64_t key = block_name_hash(name);
    struct node_unnamed *u = map_get(&n->unnamed, key);
    if (u && block_name_equal(u->name, name)) {
        u->since = n->now; /* it came again on its way to the disk; its entry may be here already */
        return;
    }
    if (!u) {
        u = xcalloc(1, sizeof *u);
        (void)map_put(&n->unnamed, key, u);
    }
    *u = (struct node_unnamed){.name = name, .since = n->now};
}

static struct node_unnamed *find_unnamed(const struct node *n, struct block_name name)
{
    struct node_unnamed *u = map_get(&n->unnamed, block_name_hash(name));
    return u && block_name_equal(u->name, name) ? u : NULL;
}

static void forget_unnamed(struct node *n, struct node_unnamed *u)
{
    (void)map_del(&n->unnamed, block_name_hash(u->name));
    free(u);
}

/* A witness that got the entry first has no use for the bytes: it did not answer for them. */
static void note_written(struct node *n, struct block_name name)
{
    struct node_unnamed *u = find_unnamed(n, name);
    if (!u)
        return;
    u->written = true;
    if (!u->named)
        return;
    if (n->self->witness)
        store_drop(n->store, NULL, name);
    forget_unnamed(n, u);
}

static void answer_put(struct node *n, uint64_t number, struct block_name name, int status)
{
    struct node_client *client = map_get(&n->clients, number);
    if (!client)
        return;
    Fs__BlockPutReply m = FS__BLOCK_PUT_REPLY__INIT;
    uint8_t packed[64];
    m.session = name.session;
    m.n = name.n;
    m.err = -status;
    m.store_boot = n->store_boot;
    link_send(client->link, FRAME_BLOCK_PUT_REPLY, packed, fs__block_put_reply__pack(&m, packed),
              NULL, 0);
}

static void on_put(void *ctx, int status)
{
    struct put *p = ctx;
    struct node *n = p->node;
    if (p->client)
        answer_put(n, p->client, p->ref.name, status);
    struct node_fetch *f = fetch_find(n, p->ref.name);
    if (status == 0) {
        if (is_wanted(f, &p->ref))
            fetch_done(n, p->ref.name);
        note_written(n, p->ref.name);
    } else {
        log_warn("TALLY-3005", "block %llu.%llu cannot be stored: %s",
                 (unsigned long long)p->ref.name.session, (unsigned long long)p->ref.name.n,
                 strerror(-status));
        if (is_wanted(f, &p->ref))
            f->putting = false;
        struct node_unnamed *u = find_unnamed(n, p->ref.name);
        if (u && !u->written)
            forget_unnamed(n, u);
    }
    free(p);
}

static void put(struct node *n, const struct block_ref *ref, struct blob *bytes, uint64_t client)
{
    struct put *p = xcalloc(1, sizeof *p);
    struct node_fetch *f = fetch_find(n, ref->name);
    *p = (struct put){n, *ref, client};
    if (is_wanted(f, ref))
        f->putting = true;
    store_put(n->store, ref, bytes, 0, on_put, p);
}

/* A block of the wire, checked against the bytes it came with: false when it makes no sense. */
static bool ref_of(const Fs__Block *b, const struct blob *bytes, struct block_ref *ret)
{
    if (!b || !bytes || b->size == 0 || b->size > BLOCK_SIZE_MAX || b->size != bytes->size ||
        b->n_runs != block_runs(b->size))
        return false;
    *ret = (struct block_ref){
        {b->session, b->n}, b->size, block_digest_of_runs(b->runs, (uint32_t)b->n_runs)};
    return true;
}

/* Its session ended: nothing will ever name it. One that opened later than what is applied here is
 * fine. */
static bool session_over(const struct node *n, uint64_t session)
{
    struct fs_session s;
    return n->state && session <= n->applied && !fs_session_get(n->state, session, &s);
}

void node_blocks_put_frame(struct node *n, struct link *link, const uint8_t *control, size_t size,
                           struct blob *bulk)
{
    struct node_client *client = link_data(link);
    Fs__BlockPut *m = fs__block_put__unpack(NULL, size, control);
    struct block_ref ref;
    if (!client || !m || !ref_of(m->block, bulk, &ref))
        link_close(link, "a block that does not fit its description");
    else if (session_over(n, ref.name.session))
        answer_put(n, client->number, ref.name, -ESTALE);
    else {
        /* Held: named by now, or noted when it first came; if that was before this start, it is
         * what the sweep is to find, unless its mount goes on (RULES B9). A snapshot that becomes
         * the state is followed by one. */
        bool sweeps = !n->self->witness && (!n->state || !n->swept);
        if (sweeps || !store_has(n->store, &ref))
            note_unnamed(n, ref.name);
        put(n, &ref, bulk, client->number);
    }
    if (m)
        fs__block_put__free_unpacked(m, NULL);
}

void node_blocks_data_frame(struct node *n, uint32_t from, struct link *link,
                            const uint8_t *control, size_t size, struct blob *bulk)
{
    Fs__BlockData *m = fs__block_data__unpack(NULL, size, control);
    struct block_ref ref;
    if (!m || !m->block || (m->err == 0 && !ref_of(m->block, bulk, &ref))) {
        link_close(link, "a block that does not fit its description");
        if (m)
            fs__block_data__free_unpacked(m, NULL);
        return;
    }
    struct node_fetch *f = fetch_find(n, (struct block_name){m->block->session, m->block->n});
    n->mute &= ~(1u << from);
    if (f && !f->putting && m->err == 0 && is_wanted(f, &ref)) {
        if (!store_is_missing(n->store, f->ref.name))
            note_unnamed(n, f->ref.name); /* its entry may be dead by now, or here without it */
        put(n, &f->ref, bulk, 0);
    } else if (f && f->asked == from && !f->putting)
        fetch_ask(n, f);
    fs__block_data__free_unpacked(m, NULL);
}

/* ---- out ------------------------------------------------------------------------------------- */

struct get {
    struct node *node;
    uint32_t to;
    struct block_ref ref;
    uint64_t runs[BLOCK_RUNS_MAX];
};

static void answer_get(struct node *n, uint32_t to, struct block_name name, const struct get *g,
                       struct blob *bytes, int status)
{
    Fs__BlockData m = FS__BLOCK_DATA__INIT;
    Fs__Block b = FS__BLOCK__INIT;
    uint8_t packed[1024];
    b.session = name.session;
    b.n = name.n;
    m.err = -status;
    m.block = &b;
    if (status == 0) {
        b.size = g->ref.size;
        b.runs = xmemdup(g->runs, sizeof g->runs);
        b.n_runs = block_runs(g->ref.size);
    }
    if (n->peers[to].link)
        link_send(n->peers[to].link, FRAME_BLOCK_DATA, packed, fs__block_data__pack(&m, packed),
                  &bytes, status == 0);
    free(b.runs);
}

static void on_got(void *ctx, int status, struct blob *bytes)
{
    struct get *g = ctx;
    answer_get(g->node, g->to, g->ref.name, g, bytes, status);
    free(g);
}

void node_blocks_get_frame(struct node *n, struct link *link, const uint8_t *control, size_t size)
{
    Fs__BlockGet *m = fs__block_get__unpack(NULL, size, control);
    if (!m) {
        link_close(link, "a question for a block that does not decode");
        return;
    }
    struct block_name name = {m->session, m->n};
    struct get *g = xcalloc(1, sizeof *g);
    g->node = n;
    g->to = link_peer(link)->node_id;
    fs__block_get__free_unpacked(m, NULL);
    if (store_block_get(n->store, name, &g->ref, g->runs)) {
        store_read(n->store, name, 0, g->ref.size, on_got, g);
        return;
    }
    answer_get(n, g->to, name, NULL, NULL, -ENOENT);
    free(g);
}

/* ---- what is missing (RULES B7) -------------------------------------------------------------- */

struct repair {
    struct node *node;
    size_t room; /* so many more may be asked for */
};

static bool fetch_missing(void *ctx, const struct block_ref *ref)
{
    struct repair *r = ctx;
    if (!fetch_find(r->node, ref->name)) {
        (void)fetch_new(r->node, ref, r->node->now);
        r->room--;
    }
    return r->room > 0;
}

/* Blocks that entries wait for, which nobody may have, do not keep from repairing what all have. */
static size_t room_for_repair(const struct node *n)
{
    size_t under_way = 0, cursor = 0;
    void *value;
    while (map_next(&n->fetches, &cursor, NULL, &value))
        under_way += ((const struct node_fetch *)value)->tickets.count == 0;
    return under_way < FETCHES_MAX ? FETCHES_MAX - under_way : 0;
}

/* True when some ENSURE waits for it: an entry of the log, or a proposal (RULES B3, B5). */
static bool awaited(const struct node *n, struct node_fetch *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->tickets.count; i++)
        if (map_get(&n->ensures, f->tickets.items[i]))
            f->tickets.items[kept++] = f->tickets.items[i];
    f->tickets.count = kept;
    return kept > 0;
}

static void work_on_fetches(struct node *n)
{
    vec_of(struct node_fetch *) due = {0};
    size_t cursor = 0;
    void *value;
    while (map_next(&n->fetches, &cursor, NULL, &value)) {
        struct node_fetch *f = value;
        if (!f->putting && f->next <= n->now)
            vec_push(&due, f);
        else if (!f->putting)
            sooner_tick(n, f->next);
    }
    for (size_t i = 0; i < due.count; i++) {
        struct node_fetch *f = due.items[i];
        if (store_has(n->store, &f->ref))
            fetch_done(n, f->ref.name);
        else if (!awaited(n, f) && !store_is_missing(n->store, f->ref.name))
            fetch_free(n, f); /* it died meanwhile, or its entry did */
        else {
            n->mute |= f->asked ? 1u << f->asked : 0;
            fetch_ask(n, f);
        }
    }
    vec_done(&due);
}

void node_blocks_repair(struct node *n)
{
    struct repair r = {n, store_missing_count(n->store) ? room_for_repair(n) : 0};
    if (r.room > 0)
        store_each_missing(n->store, fetch_missing, &r);
    work_on_fetches(n);
}

void node_blocks_link_changed(struct node *n, uint32_t peer)
{
    size_t cursor = 0;
    void *value;
    n->mute &= ~(1u << peer);
    while (map_next(&n->fetches, &cursor, NULL, &value)) {
        struct node_fetch *f = value;
        f->tried &= ~(1u << peer);
        if (f->asked == peer || f->asked == 0) {
            f->asked = 0;
            f->next = time_min(f->next, n->now);
        }
    }
    if (n->fetches.count)
        sooner_tick(n, n->now);
}

/* ---- what nobody names (RULES B12) ----------------------------------------------------------- */

/* What the store has by then, told yet or not, the entry counts with (RULES B3). */
void node_blocks_named(struct node *n, const struct block_ref *ref)
{
    struct node_unnamed *u = find_unnamed(n, ref->name);
    if (u && (u->written || store_has(n->store, ref)))
        forget_unnamed(n, u);
    else if (u)
        u->named = true;
}

/* Of an entry that is not applied: it may be overwritten, and then nothing ever names the block. */
void node_blocks_damaged(struct node *n, struct block_name name)
{
    if (!n->state || fs_block_named(n->state, name, NULL))
        return;
    note_unnamed(n, name);
    struct node_unnamed *u = find_unnamed(n, name);
    if (u)
        u->written = true;
}

/* By an entry that is not applied yet, or is about to be one: refused then or not, it is
 * acknowledged with its bytes (RULES B3). A witness applies nothing, and answers for no bytes of
 * what is committed. */
static bool log_names(const struct node *n, struct block_name name)
{
    if (replica_holds_block(n->replica, name))
        return true;
    uint64_t done = n->self->witness ? replica_commit(n->replica) : n->applied;
    for (uint64_t i = done + 1; i <= replica_last_index(n->replica); i++) {
        const struct entry *e = replica_entry(n->replica, i);
        for (uint32_t k = 0; e && k < e->blocks_count; k++)
            if (block_name_equal(e->blocks[k].name, name))
                return true;
    }
    return false;
}

static bool is_garbage(const struct node *n, const struct node_unnamed *u)
{
    struct fs_session s;
    if (n->self->witness) {
        bool drafted = n->draft_mask & 1u << n->self->id;
        return time_since(n->now, u->since) > (drafted ? UNNAMED_DRAFTED_US : UNNAMED_US) &&
               !log_names(n, u->name);
    }
    if (!n->state) /* a snapshot is being switched to: what is wanted is not known now */
        return false;
    bool wanted = !session_over(n, u->name.session) &&
                  !(fs_session_get(n->state, u->name.session, &s) &&
                    (u->name.n < s.lowest_wanted || MUTANT(unnamed_collected)));
    return !wanted && (!log_names(n, u->name) || MUTANT(logged_collected));
}

static void collect_garbage(struct node *n)
{
    vec_of(struct node_unnamed *) dead = {0};
    size_t cursor = 0;
    void *value;
    while (map_next(&n->unnamed, &cursor, NULL, &value))
        if (((struct node_unnamed *)value)->written && is_garbage(n, value))
            vec_push(&dead, (struct node_unnamed *)value);
    for (size_t i = 0; i < dead.count; i++) {
        struct node_unnamed *u = dead.items[i];
        if (!n->state || !fs_block_named(n->state, u->name, NULL))
            store_drop(n->store, NULL, u->name);
        forget_unnamed(n, u);
    }
    vec_done(&dead);
}

struct sweep {
    struct node *node;
    vec_of(struct block_name) dead;
};

static bool sweep_one(void *ctx, const struct block_ref *ref)
{
    struct sweep *s = ctx;
    if (!fs_block_named(s->node->state, ref->name, NULL) &&
        !map_get(&s->node->unnamed, block_name_hash(ref->name)) &&
        (!log_names(s->node, ref->name) || MUTANT(logged_collected)))
        vec_push(&s->dead, ref->name);
    return true;
}

/* Once after a start, when everything in the log is applied: a crash between the record of a block
 * and the apply that made it dead leaves its name behind, held or missing. */
static void sweep_after_start(struct node *n)
{
    struct sweep s = {.node = n};
    bool log_applied = n->applied == replica_last_index(n->replica) || MUTANT(logged_collected);
    if (n->swept || !n->state || n->applied == 0 || !log_applied)
        return;
    n->swept = true;
    store_each_block(n->store, sweep_one, &s);
    store_each_missing(n->store, sweep_one, &s);
    for (size_t i = 0; i < s.dead.count; i++)
        store_drop(n->store, NULL, s.dead.items[i]);
    if (s.dead.count)
        log_info("swept", "blocks=%zu", s.dead.count);
    vec_done(&s.dead);
}

/* A drafted witness is told again and again, and each time moves every entry that its log has: so
 * much of its time may go into that and no more. */
static void demote(struct node *n)
{
    time_us begun = n->host.clock(n->host.ctx);
    store_demote(n->store, n->demote_index);
    time_us took = time_since(n->host.clock(n->host.ctx), begun);
    n->demote_after = n->now + time_min(DEMOTE_SHARE * took, DEMOTE_PAUSE_US);
}

void node_blocks_tick(struct node *n)
{
    node_blocks_repair(n);
    collect_garbage(n);
    sweep_after_start(n);
    if (n->demote_index && n->now >= n->demote_after)
        demote(n);
}

void node_blocks_close(struct node *n)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&n->fetches, &cursor, NULL, &value)) {
        vec_done(&((struct node_fetch *)value)->tickets);
        free(value);
    }
    map_done(&n->fetches);
    for (cursor = 0; map_next(&n->ensures, &cursor, NULL, &value);)
        free(value);
    map_done(&n->ensures);
    for (cursor = 0; map_next(&n->unnamed, &cursor, NULL, &value);)
        free(value);
    map_done(&n->unnamed);
}
