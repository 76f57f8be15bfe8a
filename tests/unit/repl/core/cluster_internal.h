/* The parts of the world in cluster.h, for each other. */
#ifndef TALLY_TEST_CLUSTER_INTERNAL_H
#define TALLY_TEST_CLUSTER_INTERNAL_H

#include "repl/base/vec.h"
#include "repl/wire/codec.h"
#include "tests/unit/repl/core/cluster.h"

#define NODES_MAX   6
#define BLOCK_SMALL 100u /* bytes of every block here */

/* A block in a store. Its bytes follow from its name, so only presence is kept. */
struct held {
    uint64_t n;
    uint64_t index; /* highest entry that named it here; 0: none yet */
    bool synced;
};

struct record {
    uint64_t seq;
    struct replica_effect effect; /* WRITE_*; owns the entries */
    bool unheard; /* given before the replica heard of a snapshot that was just switched to */
};

struct ensure {
    uint64_t ticket;
    uint32_t count;
    struct block_ref *refs;
};

struct node {
    struct replica *replica;
    struct replica_config config;
    struct ballot_config ballot;
    bool up, witness;
    uint64_t life; /* events of an earlier life are void */
    time_us wake_at, paused_until;
    time_us clock_offset;
    int64_t clock_ppm;
    enum replica_role role;
    uint64_t led_term;

    /* Disk. */
    uint64_t term, commit_hint;
    uint32_t vote;
    uint64_t base_index, base_term;
    uint64_t switching; /* to the snapshot of this index; the replica has not heard of it yet */
    uint64_t switched_seq;
    vec_of(struct entry *) log;
    vec_of(struct record) pending; /* not flushed yet */
    bool flushing;
    uint64_t flushing_seq;
    time_us flush_us;
    vec_of(struct held) store;
    vec_of(uint64_t) missing; /* block numbers */
    uint64_t demoted, whole_index;
    vec_of(uint64_t) applied; /* operation ids; item i is index i + 1 */
    uint64_t durable_applied;

    vec_of(struct ensure) ensures;
    uint64_t advance_to;
};

enum what {
    WHAT_TICK,
    WHAT_MESSAGE,
    WHAT_LINK,
    WHAT_FLUSHED,
    WHAT_APPLY,
    WHAT_ENSURE,
    WHAT_PULL,
    WHAT_SNAPSHOT,
    WHAT_INSTALLED,
    WHAT_PROPOSE,
    WHAT_FAULT,
    WHAT_RESTART,
    WHAT_WAKE,
};

struct happening {
    time_us at;
    uint64_t order; /* ties */
    enum what what;
    uint32_t node, peer;
    uint64_t life, number, link_epoch;
    bool flag;
    struct bytes_writer control;
    struct blob *bulk;
};

struct asked_read {
    uint64_t id, at_least;
};

struct world {
    struct cluster_options options;
    struct cluster_result result;
    uint32_t nodes_count, faults; /* f */
    struct node nodes[NODES_MAX + 1];
    bool cut[NODES_MAX + 1][NODES_MAX + 1];
    bool told_up[NODES_MAX + 1][NODES_MAX + 1];
    uint64_t link_epoch[NODES_MAX + 1][NODES_MAX + 1];
    time_us link_free_at[NODES_MAX + 1][NODES_MAX + 1];
    time_us now;
    uint64_t rng, order, next_id, next_block, next_ticket;
    vec_of(struct happening) heap;
    struct replica_update update;
    bool healed, quiet, lossy, reordering;
    uint32_t leader_of_term[4096];

    vec_of(struct entry *) committed; /* item i is index i + 1 */
    vec_of(uint64_t) dead_ids;        /* dropped before they were in any log */
    vec_of(uint64_t) ticket_ids;      /* ticket -> operation id */
    vec_of(struct asked_read) reads;
    uint64_t acknowledged; /* highest index a leader knew committed */
};

/* ---- cluster.c ------------------------------------------------------------------------------- */

time_us clock_of(const struct node *n, time_us now);
time_us true_time(const struct node *n, time_us local);
uint64_t rnd(struct world *w);
uint64_t below(struct world *w, uint64_t n);
bool chance(struct world *w, uint32_t percent);
__attribute__((format(printf, 3, 4))) void complain(struct world *w, const char *what,
                                                    const char *format, ...);
void plan(struct world *w, struct happening h);
void heap_rebuild(struct world *w);
void run_until(struct world *w, time_us until);
void heal(struct world *w);
struct world *world_new(const struct cluster_options *options);
struct cluster_result world_end(struct world *w);

/* ---- cluster_disk.c -------------------------------------------------------------------------- */

struct held *store_find(struct node *n, uint64_t block);
void store_put(struct node *n, uint64_t block, bool synced);
bool reachable(const struct world *w, uint32_t a, uint32_t b);
bool fetch(struct world *w, uint32_t id, uint64_t block, bool synced);
void demote(struct node *n);
bool missing_del(struct node *n, uint64_t block);
struct entry *disk_entry(const struct node *n, uint64_t index);
void disk_cut(struct node *n, uint64_t from);
void disk_forget(struct node *n, uint64_t index);
void disk_restart_at(struct node *n, uint64_t index, uint64_t term);
void missing_add(struct node *n, uint64_t block);
void record_done(struct record *r);
void flush_begin(struct world *w, uint32_t id);
void flush_upto(struct world *w, uint32_t id, uint64_t seq);

/* ---- cluster_step.c -------------------------------------------------------------------------- */

void step(struct world *w, uint32_t id, struct replica_event ev);
uint64_t entry_id(const struct entry *e);
void happen_apply(struct world *w, uint32_t id);
void happen_ensure(struct world *w, const struct happening *h);
void happen_pull(struct world *w, uint32_t id);
void happen_installed(struct world *w, uint32_t id, uint64_t term);
void happen_snapshot(struct world *w, const struct happening *h);
void happen_message(struct world *w, struct happening *h);

/* ---- cluster_check.c ------------------------------------------------------------------------- */

void check_commits(struct world *w, uint32_t id);
void check_leaders(struct world *w);
void check_all_durable(struct world *w, const char *when);
void check_applied(struct world *w);
void check_everything(struct world *w);

/* ---- cluster_faults.c ------------------------------------------------------------------------ */

void link_settle(struct world *w, uint32_t a, uint32_t b);
void node_start(struct world *w, uint32_t id);
void node_crash(struct world *w, uint32_t id);
void node_pause(struct world *w, uint32_t id, time_us length);
void happen_fault(struct world *w);

/* ---- cluster_mount.c ------------------------------------------------------------------------- */

uint64_t propose_form(struct world *w, uint32_t id, enum cluster_form form);
uint64_t read_from(struct world *w, uint32_t id);
void happen_wake(struct world *w, uint32_t id);
void happen_propose(struct world *w);

#endif
