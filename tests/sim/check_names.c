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
#include "tests/sim/check_names.h"

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

/* What a mount did ahead of the log, and lost: at some moment after it the name is again what it
 * was before, which the search does not know. Once for each session that lost something here. */
static void add_revert(struct path *p, const struct history_op *op)
{
    for (size_t i = 0; i < p->steps.count; i++)
        if (p->steps.items[i].reverts == op->q_session)
            return;
    vec_push(&p->steps, ((struct step){.start = op->start,
                                       .end = TIME_NEVER,
                                       .wants = WANTS_NOTHING,
                                       .puts = true,
                                       .may_stay = true,
                                       .value = VALUE_OPEN,
                                       .reverts = op->q_session,
                                       .op = op}));
}

static void add(struct names *n, const char *path, const struct history_op *op, struct step s)
{
    if (!path)
        return;
    s.op = op;
    s.start = op->start;
    s.end = op_unknown(op) ? TIME_NEVER : op->end;
    vec_push(&path_of(n, path)->steps, s);
    if (op->reverted && s.puts)
        add_revert(path_of(n, path), op);
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

uint64_t names_some(uint64_t file)
{
    return file ? file : VALUE_ANY;
}

/* CREATE, MKDIR. */
static void make(struct names *n, const struct history_op *op)
{
    bool strict = !history_late(n->h, op);
    if (op_unknown(op))
        add_put(n, op->path, op, names_some(op->file));
    else if (op->err == EEXIST && strict)
        add_file(n, op->path, op, 0);
    else if (op->err == 0 && (op->exclusive || op->kind == H_MKDIR))
        add_put(n, op->path, op, names_some(op->file));
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
    bool strict = !history_late(n->h, op);
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
    bool strict = !history_late(n->h, op);
    if (op_unknown(op) || op->err == 0) {
        if (op->path && op->path2 && strcmp(op->path, op->path2) == 0)
            return;
        if (op->idle) { /* each name was of that file when it was looked up */
            if (strict) {
                add_file(n, op->path, op, 0);
                add_file(n, op->path2, op, 0);
            }
            return;
        }
        if (strict)
            add_take(n, op->path, op, op->file);
        else /* late lookups may find one file under both names, and then nothing is done */
            add(n, op->path, op, (struct step){.puts = true, .may_stay = true});
        if (op->exclusive)
            add_put(n, op->path2, op, names_some(op->file));
        else
            add(n, op->path2, op,
                (struct step){.puts = true, .may_stay = !strict, .value = names_some(op->file)});
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
    bool strict = !history_late(n->h, op);
    if (op_unknown(op) || op->err == 0)
        add_put(n, op->path2, op, names_some(op->file));
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
    if (history_late(n->h, op)) {
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
    case H_LOCK:
    case H_UNLOCK:
    case H_PUNCH:
    case H_COPY:
    case H_CHMOD:
    case H_CHOWN:
    case H_UTIMENS:
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

static bool session_lost(const struct history *h, const struct history_op *op)
{
    for (size_t i = 0; i < h->ops.count; i++)
        if (h->ops.items[i].kind == H_SESSION_LOST && same_life(&h->ops.items[i], op))
            return true;
    return false;
}

/* A name that was given or taken away counts from then on. What a session did ahead of the log may
 * be lost with it. */
static void check_counts(const struct history *h)
{
    char text[HISTORY_TEXT];
    for (size_t i = 0; i < h->ops.count; i++) {
        const struct history_op *op = &h->ops.items[i];
        if (op->kind == H_STAT && op->links && op_ok(op) && op->nlink != op->links &&
            !history_late(h, op) && !session_lost(h, op))
            sim_complain("names", "%llu names of a file that has %llu: %s",
                         (unsigned long long)op->nlink, (unsigned long long)op->links,
                         op_text(op, text));
    }
}

/* Nothing changed the name during the operation. */
bool names_at_rest(const struct path *p, const struct history_op *op)
{
    for (size_t i = 0; i < p->steps.count; i++)
        if (p->steps.items[i].puts && p->steps.items[i].start <= op->end &&
            p->steps.items[i].end >= op->start)
            return false;
    return true;
}

static bool looks(const struct history_op *op)
{
    return op->kind == H_STAT || op->kind == H_OPEN || op->kind == H_READLINK;
}

/* docs/consistency.md (iv): while a program changes a name, others of its mount may see it as it
 * was when that began. Steps stand in the order of their starts. */
static void look_back(struct path *p)
{
    for (size_t i = 0; i < p->steps.count; i++) {
        const struct step *change = &p->steps.items[i];
        time_us over = change->op->end ? change->op->end : TIME_NEVER;
        for (size_t k = i + 1; change->puts && k < p->steps.count; k++) {
            struct step *s = &p->steps.items[k];
            if (s->op->start > over)
                break;
            if (looks(s->op) && same_life(s->op, change->op))
                s->start = time_min(s->start, change->start);
        }
    }
}

/* ---- judging --------------------------------------------------------------------------------- */

static void check_path(struct names *n, const struct path *p)
{
    vec_of(struct moment) moments = {0};
    for (size_t i = 0; i < p->steps.count; i++) {
        const struct step *s = &p->steps.items[i];
        if ((s->wants == WANTS_NOTHING && !s->puts) || (s->at_rest && !names_at_rest(p, s->op)))
            continue; /* tells nothing */
        vec_push(&moments, (struct moment){s->start, i, false});
        if (s->end != TIME_NEVER)
            vec_push(&moments, (struct moment){s->end, i, true});
    }
    if (moments.count)
        qsort(moments.items, moments.count, sizeof moments.items[0], names_by_time);
    names_search(n, p, moments.items, moments.count);
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
    check_counts(h);
    for (size_t i = 0; i < h->ops.count; i++)
        take_in(&n, &h->ops.items[i]);
    for (size_t i = 0; i < n.paths.count; i++)
        look_back(&n.paths.items[i]);
    for (size_t i = 0; i < h->ops.count; i++)
        names_take_in_move(&n, &h->ops.items[i]);
    for (size_t i = 0; i < h->ops.count && !sim_failed(); i++)
        names_take_in_list(&n, &h->ops.items[i]);
    for (size_t i = 0; i < n.paths.count && !sim_failed(); i++)
        if (n.paths.items[i].steps.count)
            check_path(&n, &n.paths.items[i]);
    for (size_t i = 0; i < n.paths.count && !sim_failed(); i++)
        if (n.paths.items[i].late.count)
            names_check_own(&n.paths.items[i]);
    for (size_t i = 0; i < n.paths.count; i++) {
        vec_done(&n.paths.items[i].steps);
        vec_done(&n.paths.items[i].late);
    }
    vec_done(&n.paths);
    vec_done(&n.configs);
    vec_done(&n.next);
    map_done(&n.by_hash);
}
