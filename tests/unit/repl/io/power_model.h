/* What a store has promised, and whether it keeps it after the power was cut.
 *
 * The log is a list of steps, the first of them acknowledged. After a cut the store must be as
 * after some number of steps, the acknowledged ones at least: nothing in between, nothing else.
 * What it must hold and what it has applied follow from the entries of that state alone. */
#ifndef TESTS_UNIT_REPL_IO_POWER_MODEL_H
#define TESTS_UNIT_REPL_IO_POWER_MODEL_H

#include "repl/base/vec.h"
#include "repl/io/store.h"

enum { PAST_BLOCKS = 2, PAST_KILLS = 3, INDEX_MAX = 4096, NAMES_MAX = 4096 };

/* An entry as it was written, or what a snapshot says at its index. */
struct past {
    uint64_t index, term;
    bool inl, snapshot;
    unsigned count, kills_count;
    uint64_t names[PAST_BLOCKS];
    bool held[PAST_BLOCKS]; /* with its bytes */
    vec_of(uint64_t) kills; /* names that its apply drops */
    vec_of(uint64_t) needs; /* a snapshot's names; no bytes are promised */
};

struct state {
    struct past *at[INDEX_MAX]; /* since ever: the log's and what was applied before */
    uint64_t base, base_term, last, term;
    uint32_t vote;
};

enum step_kind { STEP_ENTRY, STEP_VOTE, STEP_BASE, STEP_SWITCH };

struct step {
    enum step_kind kind;
    struct past *past; /* ENTRY, SWITCH */
    uint64_t index, term, ticket;
    uint32_t vote;
    bool keeps; /* SWITCH: entries above stay */
};

enum name_state { NAME_NEW, NAME_USED };

struct model {
    enum store_kind kind;
    struct state surely; /* acknowledged */
    struct state now;    /* with all steps */
    vec_of(struct step) steps;
    vec_of(struct past *) pasts;
    uint64_t applied_min, applied_max; /* durable; asked for */
    uint64_t truncated;                /* highest index asked to be truncated */
    uint64_t demoted;
    uint64_t whole_max;
    uint64_t names; /* 1 .. names are known */
    struct block_ref refs[NAMES_MAX];
    bool promised[NAMES_MAX]; /* was missing and is held now, durably */
    bool gone[NAMES_MAX];     /* dropped durably, never to come back */
    bool left[NAMES_MAX];     /* may be there though dead */
    bool dying[NAMES_MAX];    /* an entry that was applied, if not durably, dropped it */
};

struct model *model_new(enum store_kind kind);
void model_free(struct model *m);

uint64_t model_name_new(struct model *m, uint64_t *random); /* with its ref */
struct blob *model_bytes(const struct model *m, uint64_t name);
struct entry *model_entry(const struct model *m, const struct past *p);
struct past *model_past_new(struct model *m, uint64_t index, uint64_t term);

void model_step(struct model *m, struct step step);
void model_acked(struct model *m, uint64_t ticket);
/* All of these are durable. */
void model_acked_all(struct model *m);

/* dead[n]: dropped by what was applied up to `applied`. */
void model_dead(const struct state *s, uint64_t applied, bool *dead);
/* The application's state at an index. */
void model_apply_keys(struct kv_batch *batch, uint64_t index);

/* What the store says of itself after an opening: "" or what is wrong with it. `settled`: it was
 * not cut off meanwhile, so that all it says is promised from now on. */
const char *model_check(struct model *m, struct store *s, const struct store_recovered *info,
                        bool settled);

#endif
