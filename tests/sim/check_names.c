/* Names: each is a register that is empty or names a file, and operations happen exactly once.
 *
 * Model. A path is a register: none or an inode. CREATE, MKDIR, SYMLINK and LINK fill an empty one,
 * UNLINK and RMDIR empty a full one, RENAME does both; OPEN, STAT, READLINK and what is refused
 * with EEXIST or ENOENT tell which it was; a LIST tells for every name of the directory whether it
 * was there at some moment of the listing. Each takes effect at one moment between its start and
 * its end; one of unknown outcome later or never (Herlihy and Wing 1990). An operation that is
 * refused because its own first attempt had succeeded finds no explanation here: that is how
 * "exactly once" is judged.
 *
 * Paths are judged one by one (locality; that a RENAME changes two names at one moment is seen at
 * each of them alone). A RENAME of a directory leaves anything under both its names, and what walks
 * through one of them meanwhile may come out in either, as POSIX has it: such operations tell
 * nothing. A RENAME between two names of one file does nothing, so where files were linked the old
 * name may stay. For one path the search of Wing and Gong (1993) as Lowe (2017) has it, just
 * in time: walking over starts and ends, the set of all (register, operations that took effect)
 * that explain the history so far is kept; what must have taken effect by its end prunes it. With
 * few operations open at once the set stays small. Where it does not (many of unknown outcome), the
 * path is given up: no complaint, never a wrong one; it is counted.
 *
 * At consistency=session reads, and refusals that the kernel may take from a cached or late lookup,
 * bind only the mount itself and are left out of that search. What a mount itself made of a name it
 * must find, though (RULES L10, read your writes): the file that its last change put there, or what
 * a change puts there that may have come behind. */
#include <errno.h>
#include <string.h>

#include "repl/base/hash.h"
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

/* ---- what each operation means ------------------------------------------------------------------
 */

static struct path *path_of(struct names *n, const char *name)
{
    uint64_t hash = hash64(name, strlen(name));
    uintptr_t at = (uintptr_t)map_get(&n->by_hash, hash);
    if (!at) {
        vec_push(&n->paths, (struct path){.name = name});
        at = n->paths.count;
        (void)map_put(&n->by_hash, hash, (void *)at);
    }
    return &n->paths.items[at - 1];
}

static void add(struct names *n, const char *path, const struct history_op *op, struct step s)
{
    if (!path)
        return;
    s.op = op;
    s.start = op->start;
    s.end = op_unknown(op) ? TIME_NEVER : op->end;
    vec_push(&path_of(n, path)->steps, s);
}

static void add_none(struct names *n, const char *path, const struct history_op *op)
{
    add(n, path, op, (struct step){.wants = WANTS_NONE});
}

static void add_file(struct names *n, const char *path, const struct history_op *op, uint64_t file)
{
    add(n, path, op, (struct step){.wants = WANTS_FILE, .file = file});
}

static void add_put(struct names *n, const char *path, const struct history_op *op, uint64_t value)
{
    add(n, path, op, (struct step){.wants = WANTS_NONE, .puts = true, .value = value});
}

static void add_take(struct names *n, const char *path, const struct history_op *op, uint64_t file)
{
    bool may_stay = op->kind == H_RENAME && n->linked_at < (op->end ? op->end : TIME_NEVER);
    add(n, path, op,
        (struct step){.wants = WANTS_FILE, .file = file, .puts = true, .may_stay = may_stay});
}

/* ENOENT may be about the directory of the other name. */
static bool in_root(const char *path)
{
    return path && strrchr(path, '/') == path;
}

static uint64_t some(uint64_t file)
{
    return file ? file : VALUE_ANY;
}

/* CREATE, MKDIR. */
static void make(struct names *n, const struct history_op *op)
{
    bool strict = !n->h->session_consistency;
    if (op_unknown(op))
        add_put(n, op->path, op, some(op->file));
    else if (op->err == EEXIST && strict)
        add_file(n, op->path, op, 0);
    else if (op->err == 0 && (op->exclusive || op->kind == H_MKDIR))
        add_put(n, op->path, op, some(op->file));
    else if (op->err == 0)
        add(n, op->path, op,
            (struct step){.wants = strict ? WANTS_FILE_OR_NONE : WANTS_NOTHING,
                          .file = op->file,
                          .puts = true,
                          .may_stay = !strict, /* a late lookup may have found what is gone */
                          .value = op->file});
}

static void take(struct names *n, const struct history_op *op)
{
    bool strict = !n->h->session_consistency;
    if (op_unknown(op) || op->err == 0)
        add_take(n, op->path, op, op->file);
    else if (op->err == ENOENT && strict)
        add_none(n, op->path, op);
    else if (op->err == ENOTEMPTY && strict)
        add_file(n, op->path, op, 0);
}

/* What a RENAME puts over is whatever was there: replaced, or nothing. */
static void move(struct names *n, const struct history_op *op)
{
    bool strict = !n->h->session_consistency;
    if (op_unknown(op) || op->err == 0) {
        if (op->path && op->path2 && strcmp(op->path, op->path2) == 0)
            return;
        if (strict)
            add_take(n, op->path, op, op->file);
        else /* late lookups may find one file under both names, and then nothing is done */
            add(n, op->path, op, (struct step){.puts = true, .may_stay = true});
        if (op->exclusive)
            add_put(n, op->path2, op, some(op->file));
        else
            add(n, op->path2, op,
                (struct step){.puts = true, .may_stay = !strict, .value = some(op->file)});
    } else if (op->err == EEXIST && op->exclusive && strict) {
        add_file(n, op->path2, op, 0);
    } else if (op->err == ENOENT && strict && in_root(op->path2)) {
        add_none(n, op->path, op);
    }
}

/* The file is looked up, then linked. When it has lost its last name in between the answer is
 * ENOENT (vfs_link()), though another file may have the name by then. */
static void link_to(struct names *n, const struct history_op *op)
{
    bool strict = !n->h->session_consistency;
    if (op_unknown(op) || op->err == 0)
        add_put(n, op->path2, op, some(op->file));
    if (op->err == 0 && op->end && strict)
        add_file(n, op->path, op, op->file);
    if (!op_unknown(op) && op->err == EEXIST && strict)
        add_file(n, op->path2, op, 0);
    if (!op_unknown(op) && op->err == ENOENT && strict && in_root(op->path2))
        add(n, op->path, op, (struct step){.wants = WANTS_NONE, .at_rest = true});
}

static void look(struct names *n, const struct history_op *op)
{
    if (op_unknown(op) || !op->path)
        return;
    if (n->h->session_consistency) {
        if (op->err == 0 || (op->err == ENOENT && in_root(op->path)))
            vec_push(&path_of(n, op->path)->late, op);
        return;
    }
    if (op->err == 0)
        add_file(n, op->path, op, op->file);
    else if (op->err == ENOENT)
        add_none(n, op->path, op);
}

static void take_in(struct names *n, const struct history_op *op)
{
    switch (op->kind) {
    case H_CREATE:
    case H_MKDIR:
    case H_SYMLINK:
        make(n, op);
        break;
    case H_UNLINK:
    case H_RMDIR:
        take(n, op);
        break;
    case H_RENAME:
        move(n, op);
        break;
    case H_LINK:
        link_to(n, op);
        break;
    case H_STAT:
    case H_OPEN:
    case H_READLINK:
        look(n, op);
        break;
    case H_LIST: /* once all names are known */
    case H_SETXATTR:
    case H_GETXATTR:
    case H_WRITE:
    case H_READ:
    case H_FSYNC:
    case H_CLOSE:
    case H_TRUNCATE:
    case H_APPEND:
    case H_READ_ALL:
    case H_MOUNT_KILLED:
    case H_MOUNT_STARTED:
    case H_SESSION_LOST:
    case H_NAMED:
        break;
    }
}

/* A link says for ever what it was made with. */
static void check_targets(const struct history *h)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    struct map made; /* inode -> index of its SYMLINK + 1 */
    map_init(&made);
    for (size_t i = 0; i < h->ops.count; i++)
        if (h->ops.items[i].kind == H_SYMLINK && op_ok(&h->ops.items[i]))
            (void)map_put(&made, h->ops.items[i].file, (void *)(i + 1));
    for (size_t i = 0; i < h->ops.count; i++) {
        const struct history_op *r = &h->ops.items[i];
        uintptr_t at = r->kind == H_READLINK && op_ok(r) ? (uintptr_t)map_get(&made, r->file) : 0;
        if (at && h->ops.items[at - 1].stamp != r->stamp)
            sim_complain("names", "the target of another link: %s reads %s", op_text(r, text),
                         op_text(&h->ops.items[at - 1], other));
    }
    map_done(&made);
}

/* Nothing changed the name during the operation. */
static bool at_rest(const struct path *p, const struct history_op *op)
{
    for (size_t i = 0; i < p->steps.count; i++)
        if (p->steps.items[i].puts && p->steps.items[i].start <= op->end &&
            p->steps.items[i].end >= op->start)
            return false;
    return true;
}

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

/* Everything under a moved directory, and what walked through its names meanwhile. */
static void unsettle(struct path *p, const struct history_op *move)
{
    time_us end = op_unknown(move) ? TIME_NEVER : move->end;
    for (size_t i = 0; i < p->steps.count; i++) {
        struct step *s = &p->steps.items[i];
        if (s->start > end || s->end < move->start)
            continue;
        s->wants = WANTS_NOTHING;
        s->may_stay = s->puts;
        if (s->puts)
            s->value = VALUE_OPEN;
    }
    vec_push(&p->steps, (struct step){.start = move->start,
                                      .end = end,
                                      .wants = WANTS_NOTHING,
                                      .puts = true,
                                      .may_stay = true,
                                      .value = VALUE_OPEN,
                                      .op = move});
}

static void take_in_move(struct names *n, const struct history_op *op)
{
    if (!may_have_moved(op))
        return;
    for (size_t i = 0; i < n->paths.count; i++)
        if (name_in(n->paths.items[i].name, op->path) || name_in(n->paths.items[i].name, op->path2))
            unsettle(&n->paths.items[i], op);
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

static void list_path(struct names *n, size_t path, const char *name, const struct history_op *list)
{
    struct path *p = &n->paths.items[path];
    size_t times = times_listed(list, hash64(name, strlen(name)));
    if (times > 1 && at_rest(p, list))
        sim_complain("names", "%s listed %zu times at once", p->name, times);
    if (n->h->session_consistency)
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

static void take_in_list(struct names *n, const struct history_op *op)
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

/* ---- the search --------------------------------------------------------------------------------
 */

/* A moment of the walk: a step starts, or ends and must have taken effect. */
struct moment {
    time_us at;
    size_t step;
    bool end;
};

static int by_time(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->end != y->end)
        return x->end ? 1 : -1; /* what shares a moment is concurrent */
    return x->step < y->step ? -1 : x->step > y->step;
}

static bool allows(const struct step *s, struct config *c)
{
    switch (s->wants) {
    case WANTS_NOTHING:
        break;
    case WANTS_NONE:
        if (c->value != VALUE_NONE && c->value != VALUE_OPEN)
            return false;
        c->value = VALUE_NONE;
        break;
    case WANTS_FILE:
        if (c->value == VALUE_NONE || (s->file && c->value < VALUE_OPEN && c->value != s->file))
            return false;
        if (s->file || c->value == VALUE_OPEN)
            c->value = some(s->file);
        break;
    case WANTS_FILE_OR_NONE:
        if (c->value != VALUE_NONE && c->value < VALUE_OPEN && c->value != s->file)
            return false;
        break;
    }
    if (s->puts)
        c->value = s->value;
    return true;
}

static void add_config(struct names *n, struct config c)
{
    for (size_t i = 0; i < n->configs.count; i++)
        if (n->configs.items[i].value == c.value && n->configs.items[i].done == c.done)
            return;
    vec_push(&n->configs, c);
}

/* Lets open operations take effect in every order. False: too many. */
static bool expand(struct names *n, const struct path *p, const size_t open[OPEN_MAX],
                   uint64_t used)
{
    for (size_t i = 0; i < n->configs.count; i++) {
        for (uint64_t left = used & ~n->configs.items[i].done; left; left &= left - 1) {
            unsigned slot = (unsigned)__builtin_ctzll(left);
            struct config c = n->configs.items[i], stays = c;
            if (!allows(&p->steps.items[open[slot]], &c))
                continue;
            c.done |= 1ull << slot;
            stays.done = c.done;
            add_config(n, c);
            if (p->steps.items[open[slot]].may_stay)
                add_config(n, stays);
            if (n->configs.count > CONFIGS_MAX)
                return false;
        }
    }
    return true;
}

/* The step in `slot` ended: only what has it done goes on, and the slot is free again. */
static void keep_done(struct names *n, unsigned slot)
{
    vec_clear(&n->next);
    for (size_t i = 0; i < n->configs.count; i++) {
        struct config c = n->configs.items[i];
        if (!(c.done & 1ull << slot))
            continue;
        c.done &= ~(1ull << slot);
        vec_push(&n->next, c);
    }
    vec_clear(&n->configs);
    for (size_t i = 0; i < n->next.count; i++)
        add_config(n, n->next.items[i]);
}

static const char *anomaly(const struct step *s)
{
    if (s->op->kind == H_LIST)
        return s->wants == WANTS_FILE ? "listed, and was not there" : "not listed, and was there";
    if (s->op->err == EEXIST)
        return "EEXIST, and nobody else made it";
    if (s->op->err == ENOENT)
        return "ENOENT, and it was there";
    if (!s->puts)
        return "stale name";
    return s->wants == WANTS_FILE ? "removed, and was not there" : "made, and was there";
}

static void search(struct names *n, const struct path *p, const struct moment *moments,
                   size_t count)
{
    size_t open[OPEN_MAX];
    uint64_t used = 0;
    char text[HISTORY_TEXT];
    vec_clear(&n->configs);
    vec_push(&n->configs, (struct config){.value = VALUE_NONE});
    for (size_t i = 0; i < count; i++) {
        size_t step = moments[i].step;
        if (!moments[i].end) {
            if (~used == 0) {
                sim_count(COUNT_NAMES_GIVEN_UP, 1);
                return;
            }
            unsigned slot = (unsigned)__builtin_ctzll(~used);
            open[slot] = step;
            used |= 1ull << slot;
            continue;
        }
        unsigned slot = 0;
        while (!(used & 1ull << slot) || open[slot] != step)
            slot++;
        if (!expand(n, p, open, used)) {
            sim_count(COUNT_NAMES_GIVEN_UP, 1);
            return;
        }
        keep_done(n, slot);
        used &= ~(1ull << slot);
        if (n->configs.count == 0) {
            sim_complain("names", "%s: %s, %s", p->name, anomaly(&p->steps.items[step]),
                         op_text(p->steps.items[step].op, text));
            return;
        }
    }
}

/* ---- read your names (consistency=session) ------------------------------------------------------
 */

/* Ended, and the register is known to be `value` at some moment of it. */
static bool is_definite(const struct step *s)
{
    return s->puts && !s->may_stay && s->end != TIME_NEVER && s->value != VALUE_OPEN;
}

static bool gives(const struct step *s, uint64_t value)
{
    return s->value == value || s->value == VALUE_OPEN ||
           (s->value == VALUE_ANY && value != VALUE_NONE);
}

static bool explained(const struct path *p, const struct step *own, const struct history_op *look)
{
    uint64_t value = look->err ? VALUE_NONE : look->file;
    if (gives(own, value))
        return true;
    for (size_t i = p->steps.count; i-- > 0;) {
        const struct step *s = &p->steps.items[i];
        if (s->puts && s->end >= own->start && s->start <= look->end && gives(s, value))
            return true;
    }
    return false;
}

/* Steps and looks are in the order of their starts; of each mount the definite steps are a chain,
 * from the newest one back. */
static void check_own(const struct path *p)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    size_t newest[SIM_MOUNTS_MAX + 1] = {0}, next = 0;
    size_t *before = xcalloc(p->steps.count + 1, sizeof *before);
    for (size_t i = 0; i < p->late.count && !sim_failed(); i++) {
        const struct history_op *look = p->late.items[i];
        for (; next < p->steps.count && p->steps.items[next].start < look->start; next++)
            if (is_definite(&p->steps.items[next])) {
                size_t *head = &newest[p->steps.items[next].op->mount];
                before[next] = *head;
                *head = next + 1;
            }
        size_t at = newest[look->mount];
        while (at && p->steps.items[at - 1].end >= look->start)
            at = before[at - 1];
        const struct step *own = at ? &p->steps.items[at - 1] : NULL;
        if (own && same_life(own->op, look) && !explained(p, own, look))
            sim_complain("names", "read your writes: %s shows not what %s made of it, at %s",
                         p->name, op_text(own->op, text), op_text(look, other));
    }
    free(before);
}

static void check_path(struct names *n, const struct path *p)
{
    vec_of(struct moment) moments = {0};
    for (size_t i = 0; i < p->steps.count; i++) {
        const struct step *s = &p->steps.items[i];
        if ((s->wants == WANTS_NOTHING && !s->puts) || (s->at_rest && !at_rest(p, s->op)))
            continue; /* tells nothing */
        vec_push(&moments, (struct moment){s->start, i, false});
        if (s->end != TIME_NEVER)
            vec_push(&moments, (struct moment){s->end, i, true});
    }
    if (moments.count)
        qsort(moments.items, moments.count, sizeof moments.items[0], by_time);
    search(n, p, moments.items, moments.count);
    vec_done(&moments);
}

void check_names(const struct history *h)
{
    struct names n = {.h = h, .linked_at = TIME_NEVER};
    for (size_t i = h->ops.count; i-- > 0;)
        if (h->ops.items[i].kind == H_LINK &&
            (h->ops.items[i].err == 0 || op_unknown(&h->ops.items[i])))
            n.linked_at = h->ops.items[i].start;
    check_targets(h);
    for (size_t i = 0; i < h->ops.count; i++)
        take_in(&n, &h->ops.items[i]);
    for (size_t i = 0; i < h->ops.count; i++)
        take_in_move(&n, &h->ops.items[i]);
    for (size_t i = 0; i < h->ops.count && !sim_failed(); i++)
        take_in_list(&n, &h->ops.items[i]);
    for (size_t i = 0; i < n.paths.count && !sim_failed(); i++)
        if (n.paths.items[i].steps.count)
            check_path(&n, &n.paths.items[i]);
    for (size_t i = 0; i < n.paths.count && !sim_failed(); i++)
        if (n.paths.items[i].late.count)
            check_own(&n.paths.items[i]);
    for (size_t i = 0; i < n.paths.count; i++) {
        vec_done(&n.paths.items[i].steps);
        vec_done(&n.paths.items[i].late);
    }
    vec_done(&n.paths);
    vec_done(&n.configs);
    vec_done(&n.next);
    map_done(&n.by_hash);
}
