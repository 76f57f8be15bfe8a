/* Names: what renamed directories and listings tell of them. */
#include <string.h>

#include "repl/base/hash.h"
#include "tests/sim/check_names.h"

/* ---- directories renamed ------------------------------------------------------------------------
 */

static const char *name_in(const char *path, const char *dir)
{
    size_t size = strcmp(dir, "/") == 0 ? 0 : strlen(dir);
    if (strncmp(path, dir, size) != 0 || path[size] != '/' || !path[size + 1] ||
        strchr(path + size + 1, '/'))
        return NULL;
    return path + size + 1;
}

static bool may_have_moved(const struct history_op *op)
{
    return op->kind == H_RENAME && op->path && op->path2 && (op->err == 0 || op_unknown(op));
}

static bool overlaps(const struct step *s, const struct history_op *move)
{
    return s->start <= (op_unknown(move) ? TIME_NEVER : move->end) && s->end >= move->start;
}

static bool has_open_step(const struct path *p, const struct history_op *op)
{
    for (size_t i = 0; i < p->steps.count; i++)
        if (p->steps.items[i].op == op && p->steps.items[i].value == VALUE_OPEN)
            return true;
    return false;
}

static void add_open_step(struct path *p, time_us start, time_us end, const struct history_op *op)
{
    vec_push(&p->steps, (struct step){.start = start,
                                      .end = end,
                                      .wants = WANTS_NOTHING,
                                      .puts = true,
                                      .may_stay = true,
                                      .value = VALUE_OPEN,
                                      .op = op});
}

/* What walked through one of the directory's names before it was moved may change `name` in it
 * later, under the other: `from` has it, `p` gets it as well. */
static void take_in_walkers(struct path *p, const struct path *from, const struct history_op *move)
{
    for (size_t i = 0; i < from->steps.count; i++) {
        const struct step *s = &from->steps.items[i];
        if (s->puts && overlaps(s, move) && !has_open_step(p, s->op))
            add_open_step(p, time_max(s->start, move->start), s->end, s->op);
    }
}

/* Everything under a moved directory, and what walked through its names meanwhile. */
static void unsettle(struct path *p, const struct history_op *move)
{
    for (size_t i = 0; i < p->steps.count; i++) {
        struct step *s = &p->steps.items[i];
        if (!overlaps(s, move))
            continue;
        s->wants = WANTS_NOTHING;
        s->may_stay = s->puts;
        if (s->puts)
            s->value = VALUE_OPEN;
    }
    bool later = op_unknown(move) || move->reverted;
    add_open_step(p, move->start, later ? TIME_NEVER : move->end, move);
}

static struct path *find_in(struct names *n, const char *dir, const char *name)
{
    for (size_t i = 0; i < n->paths.count; i++) {
        const char *in = name_in(n->paths.items[i].name, dir);
        if (in && strcmp(in, name) == 0)
            return &n->paths.items[i];
    }
    return NULL;
}

void names_take_in_move(struct names *n, const struct history_op *op)
{
    if (!may_have_moved(op))
        return;
    for (size_t i = 0; i < n->paths.count; i++) {
        struct path *p = &n->paths.items[i], *other;
        const char *name = name_in(p->name, op->path);
        if (name && (other = find_in(n, op->path2, name)) != NULL) {
            take_in_walkers(other, p, op);
            take_in_walkers(p, other, op);
        }
    }
    for (size_t i = 0; i < n->paths.count; i++) {
        struct path *p = &n->paths.items[i];
        if (name_in(p->name, op->path) || name_in(p->name, op->path2))
            unsettle(p, op);
    }
}

static bool was_moved(const struct names *n, const char *dir)
{
    for (size_t i = 0; i < n->h->ops.count; i++) {
        const struct history_op *op = &n->h->ops.items[i];
        if (may_have_moved(op) && (strcmp(op->path, dir) == 0 || strcmp(op->path2, dir) == 0))
            return true;
    }
    return false;
}

/* ---- listings ----------------------------------------------------------------------------------
 */

/* Sorted, so a name that is there twice stands twice in a row. */
static size_t times_listed(const struct history_op *list, uint64_t hash)
{
    size_t low = 0, high = list->stamps_count, n = 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list->stamps[middle] < hash)
            low = middle + 1;
        else
            high = middle;
    }
    while (low + n < list->stamps_count && list->stamps[low + n] == hash)
        n++;
    return n;
}

/* The directory may have been moved while it was listed. */
static bool unsettled(const struct path *p, const struct history_op *list)
{
    for (size_t i = 0; i < p->steps.count; i++) {
        const struct step *s = &p->steps.items[i];
        if (s->puts && s->value == VALUE_OPEN && s->start <= list->end && s->end >= list->start)
            return true;
    }
    return false;
}

/* A session may see changes late, so those that ended before it listed come between two pages of
 * the listing as well. */
static bool changed_once(const struct path *p, const struct history_op *list)
{
    size_t changes = 0;
    for (size_t i = 0; i < p->steps.count; i++)
        changes += p->steps.items[i].puts && p->steps.items[i].start <= list->end;
    return changes <= 1;
}

static void list_path(struct names *n, size_t path, const char *name, const struct history_op *list)
{
    struct path *p = &n->paths.items[path];
    size_t times = times_listed(list, hash64(name, strlen(name)));
    if (times > 1 && (history_late(n->h, list) ? changed_once(p, list) : names_at_rest(p, list)))
        sim_complain("names", "%s listed %zu times at once", p->name, times);
    if (history_late(n->h, list))
        return;
    struct step s = {.start = list->start, .end = list->end, .op = list};
    if (!unsettled(p, list))
        s.wants = times ? WANTS_FILE : WANTS_NONE;
    vec_push(&p->steps, s);
}

/* docs/consistency.md: without a leader `ls` of the root answers from what was last known, after a
 * second. */
static bool may_be_late(const struct history_op *op)
{
    return strcmp(op->path, "/") == 0 && (op->leaderless || op->end - op->start >= LATE_ROOT);
}

void names_take_in_list(struct names *n, const struct history_op *op)
{
    if (op->kind != H_LIST || !op_ok(op) || !op->path || may_be_late(op))
        return;
    size_t known = 0;
    for (size_t i = 0; i < n->paths.count; i++) {
        const char *name = name_in(n->paths.items[i].name, op->path);
        if (!name)
            continue;
        known += times_listed(op, hash64(name, strlen(name)));
        list_path(n, i, name, op);
    }
    if (known < op->stamps_count && !was_moved(n, op->path))
        sim_complain("names", "a listing of %s has %zu names, %zu of them were ever made", op->path,
                     op->stamps_count, known);
}
