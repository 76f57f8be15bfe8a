/* What the sources of check_names.c share; the model stands there. */
#ifndef TALLY_TESTS_SIM_CHECK_NAMES_H
#define TALLY_TESTS_SIM_CHECK_NAMES_H

#include "tests/sim/check_history.h"

enum {
    OPEN_MAX = 64, /* operations open at once on one path: bits of a configuration */
    CONFIGS_MAX = 512,
};
#define LATE_ROOT  (900 * TIME_MS)
#define VALUE_NONE 0u
#define VALUE_ANY  UINT64_MAX       /* some file: which one is not known */
#define VALUE_OPEN (UINT64_MAX - 1) /* some file or none */

/* What an operation asks of the register and does to it. */
struct step {
    time_us start, end; /* end TIME_NEVER: unknown outcome */
    enum {
        WANTS_NOTHING,
        WANTS_NONE,
        WANTS_FILE,         /* `file`, or any when it is 0 */
        WANTS_FILE_OR_NONE, /* `file`, or none and then it makes `file` */
    } wants;
    bool puts;     /* the register becomes `value` ... */
    bool may_stay; /* ... or stays as it was */
    bool at_rest;  /* counts only if nobody else changed the name meanwhile */
    uint64_t file, value;
    uint64_t reverts; /* the session whose loss this stands for; 0: none */
    const struct history_op *op;
};

struct path {
    const char *name; /* borrowed from the history */
    vec_of(struct step) steps;
    vec_of(const struct history_op *) late; /* STAT and OPEN at consistency=session */
};

struct config {
    uint64_t value;
    uint64_t done; /* open operations that took effect */
};

struct names {
    const struct history *h;
    struct map by_hash; /* of the path -> index in paths + 1 */
    vec_of(struct path) paths;
    vec_of(struct config) configs, next;
    time_us linked_at; /* start of the first LINK that may have happened */
};

/* A moment of the walk: a step starts, or ends and must have taken effect. */
struct moment {
    time_us at;
    size_t step;
    bool end;
};

/* ---- check_names.c --------------------------------------------------------------------------- */

uint64_t names_some(uint64_t file); /* VALUE_ANY when it is not known */
/* Nobody else changed the name while it was under way. */
bool names_at_rest(const struct path *p, const struct history_op *op);

/* ---- check_names_lists.c --------------------------------------------------------------------- */

/* What is known of a directory that was renamed; what a LIST tells of each name. */
void names_take_in_move(struct names *n, const struct history_op *op);
void names_take_in_list(struct names *n, const struct history_op *op);

/* ---- check_names_search.c -------------------------------------------------------------------- */

/* Order of moments, for qsort(). */
int names_by_time(const void *a, const void *b);
/* Complains when no order of the steps explains them. */
void names_search(struct names *n, const struct path *p, const struct moment *moments,
                  size_t count);
/* Read your names, at consistency=session. */
void names_check_own(const struct path *p);

#endif
