/* The namespace state machine, on the in-memory key-value store. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/core/state.h"
#include "repl/base/kv_mem.h"
#include "tests/unit/lib/run.h"

struct world {
    struct kv *kv;
    struct kv_txn *txn;
    struct fs_state *state;
    uint64_t index, session, seq;
    struct fs_result result;
    bool fresh_result;
};

static void world_open(struct world *w)
{
    *w = (struct world){.kv = kv_mem_new()};
    w->txn = kv_txn_new(w->kv);
    w->state = fs_state_new(w->kv, 0);
    ck_assert(fs_state_empty(w->state));
    fs_state_format(w->state, w->txn);
    ck_assert_int_eq(kv_txn_commit(w->txn), 0);
}

static void world_close(struct world *w)
{
    if (w->fresh_result)
        fs_result_done(&w->result);
    fs_state_free(w->state);
    kv_txn_free(w->txn);
    kv_close(w->kv);
}

/* Applies at the next index; the errno of the reply. The incremental hash is checked against all
 * pairs. */
static int apply(struct world *w, Fs__Op *op)
{
    if (w->fresh_result)
        fs_result_done(&w->result);
    fs_result_init(&w->result);
    w->fresh_result = true;
    op->time = (int64_t)(w->index + 1) * 1000000;
    fs_apply(w->state, w->txn, ++w->index, op, &w->result);
    ck_assert_int_eq(kv_txn_commit(w->txn), 0);
    struct fs_hash kept = fs_state_hash(w->state), found = fs_state_rehash(w->state);
    ck_assert(kept.lo == found.lo && kept.hi == found.hi);
    return w->result.reply->err;
}

static uint64_t open_session(struct world *w, uint8_t id)
{
    uint8_t uuid[16] = {id, 1};
    Fs__Op op = FS__OP__INIT;
    Fs__OpenSession m = FS__OPEN_SESSION__INIT;
    m.uuid = (ProtobufCBinaryData){16, uuid};
    m.name = (char *)"test";
    op.body_case = FS__OP__BODY_OPEN_SESSION;
    op.open_session = &m;
    ck_assert_int_eq(apply(w, &op), 0);
    return w->result.reply->value;
}

static Fs__Op op_of(struct world *w)
{
    Fs__Op op = FS__OP__INIT;
    op.session = w->session;
    op.seq = ++w->seq;
    return op;
}

static ProtobufCBinaryData text(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static int make(struct world *w, uint64_t parent, const char *name, uint32_t mode, bool lease)
{
    Fs__Op op = op_of(w);
    Fs__Make m = FS__MAKE__INIT;
    m.parent = parent;
    m.name = text(name);
    m.mode = mode;
    m.exclusive = true;
    m.lease = lease;
    if (S_ISLNK(mode))
        m.target = text("target");
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    return apply(w, &op);
}

static uint64_t made(struct world *w, uint64_t parent, const char *name, uint32_t mode)
{
    ck_assert_int_eq(make(w, parent, name, mode, false), 0);
    return w->result.reply->attr->ino;
}

static int unlink_holding(struct world *w, uint64_t parent, const char *name, bool dir,
                          uint64_t holder)
{
    Fs__Op op = op_of(w);
    Fs__Unlink m = FS__UNLINK__INIT;
    m.parent = parent;
    m.name = text(name);
    m.directory = dir;
    m.n_holders = holder != 0;
    m.holders = &holder;
    op.body_case = FS__OP__BODY_UNLINK;
    op.unlink = &m;
    return apply(w, &op);
}

static int rename_to(struct world *w, uint64_t parent, const char *name, uint64_t newparent,
                     const char *newname, uint32_t flags)
{
    Fs__Op op = op_of(w);
    Fs__Rename m = FS__RENAME__INIT;
    m.parent = parent;
    m.name = text(name);
    m.newparent = newparent;
    m.newname = text(newname);
    m.flags = flags;
    op.body_case = FS__OP__BODY_RENAME;
    op.rename = &m;
    return apply(w, &op);
}

static uint64_t looked_up(struct world *w, uint64_t parent, const char *name)
{
    Fs__Attr attr = FS__ATTR__INIT;
    return fs_lookup(w->state, parent, name, strlen(name), &attr) == 0 ? attr.ino : 0;
}

static Fs__Attr attr_of(struct world *w, uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w->state, ino, &attr), 0);
    return attr;
}

/* ---- names ----------------------------------------------------------------------------------- */

START_TEST(names_follow_posix)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t d = made(&w, 1, "d", S_IFDIR | 0755), e = made(&w, 1, "e", S_IFDIR | 0755);
    uint64_t f = made(&w, d, "f", S_IFREG | 0644);
    ck_assert_int_eq(make(&w, d, "f", S_IFREG | 0644, false), EEXIST);
    ck_assert_int_eq(make(&w, f, "x", S_IFREG | 0644, false), ENOTDIR);
    ck_assert_int_eq(make(&w, 999, "x", S_IFREG | 0644, false), ENOENT);
    ck_assert_int_eq(make(&w, d, "a/b", S_IFREG | 0644, false), EINVAL);
    ck_assert_uint_eq(attr_of(&w, 1).nlink, 4);
    ck_assert_int_eq(unlink_holding(&w, 1, "d", true, 0), ENOTEMPTY);
    ck_assert_int_eq(unlink_holding(&w, 1, "d", false, 0), EISDIR);
    ck_assert_int_eq(unlink_holding(&w, d, "f", true, 0), ENOTDIR);
    ck_assert_int_eq(rename_to(&w, 1, "d", d, "inside", 0), EINVAL);
    ck_assert_int_eq(rename_to(&w, 1, "d", 1, "e", 1), EEXIST);
    ck_assert_int_eq(rename_to(&w, 1, "e", 1, "d", 0), ENOTEMPTY);
    ck_assert_int_eq(rename_to(&w, 1, "d", 1, "e", 0), 0);
    ck_assert_uint_eq(looked_up(&w, 1, "e"), d);
    ck_assert_uint_eq(looked_up(&w, 1, "d"), 0);
    ck_assert_int_eq(fs_get_attr(w.state, e, &(Fs__Attr)FS__ATTR__INIT), -ENOENT);
    ck_assert_uint_eq(attr_of(&w, 1).nlink, 3);
    ck_assert_uint_eq(looked_up(&w, d, "f"), f);
    ck_assert_int_eq(unlink_holding(&w, d, "f", false, 0), 0);
    ck_assert_int_eq(unlink_holding(&w, d, "f", false, 0), ENOENT);
    ck_assert_int_eq(unlink_holding(&w, 1, "e", true, 0), 0);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, 1);
    world_close(&w);
}
END_TEST

START_TEST(exchange_swaps_two_names)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t a = made(&w, 1, "a", S_IFREG | 0644), d = made(&w, 1, "d", S_IFDIR | 0755);
    ck_assert_int_eq(rename_to(&w, 1, "a", 1, "d", 2), 0);
    ck_assert_uint_eq(looked_up(&w, 1, "d"), a);
    ck_assert_uint_eq(looked_up(&w, 1, "a"), d);
    world_close(&w);
}
END_TEST

/* rename(2): of two names of one file neither goes, and the answer says that nothing was done. */
START_TEST(renaming_a_file_to_itself_does_nothing)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t a = made(&w, 1, "a", S_IFREG | 0644);
    Fs__Op op = op_of(&w);
    Fs__Link m = FS__LINK__INIT;
    m.ino = a;
    m.parent = 1;
    m.name = text("b");
    op.body_case = FS__OP__BODY_LINK;
    op.link = &m;
    ck_assert_int_eq(apply(&w, &op), 0);
    ck_assert_int_eq(rename_to(&w, 1, "a", 1, "b", 0), 0);
    ck_assert_uint_eq(looked_up(&w, 1, "a"), a);
    ck_assert_uint_eq(looked_up(&w, 1, "b"), a);
    ck_assert_ptr_nonnull(w.result.reply->other);
    ck_assert_uint_eq(w.result.reply->other->ino, a);
    ck_assert_uint_eq(w.result.reply->other->nlink, 2);
    world_close(&w);
}
END_TEST

/* RULES L7: who has it open keeps it, until the hold or the session ends. */
START_TEST(open_unlinked_files_stay)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t other = open_session(&w, 2);
    uint64_t f = made(&w, 1, "f", S_IFREG | 0644), g = made(&w, 1, "g", S_IFREG | 0644);
    ck_assert_int_eq(unlink_holding(&w, 1, "f", false, other), 0);
    ck_assert_uint_eq(w.result.reply->orphan, f);
    ck_assert_int_eq(unlink_holding(&w, 1, "g", false, w.session), 0);
    ck_assert_uint_eq(attr_of(&w, f).nlink, 0);
    uint64_t inos[] = {g};
    Fs__Op op = op_of(&w);
    Fs__DropHolds drop = FS__DROP_HOLDS__INIT;
    drop.n_inos = 1;
    drop.inos = inos;
    op.body_case = FS__OP__BODY_DROP_HOLDS;
    op.drop_holds = &drop;
    ck_assert_int_eq(apply(&w, &op), 0);
    ck_assert_int_eq(fs_get_attr(w.state, g, &(Fs__Attr)FS__ATTR__INIT), -ENOENT);
    Fs__Op end = FS__OP__INIT;
    Fs__EndSession m = FS__END_SESSION__INIT;
    m.session = other;
    end.body_case = FS__OP__BODY_END_SESSION;
    end.end_session = &m;
    ck_assert_int_eq(apply(&w, &end), 0);
    ck_assert_uint_eq(w.result.ended_session, other);
    ck_assert_int_eq(fs_get_attr(w.state, f, &(Fs__Attr)FS__ATTR__INIT), -ENOENT);
    world_close(&w);
}
END_TEST

struct listed {
    uint64_t cookie;
    int n; /* of the name "nNN" */
};

static bool take_first(void *ctx, const Fs__Entry *e)
{
    struct listed *got = ctx;
    got->cookie = e->cookie;
    got->n = (e->name.data[1] - '0') * 10 + (e->name.data[2] - '0');
    return false;
}

/* Cookies are never used again, so a listing that goes on after changes shows unchanged names once.
 */
static int set_attr(struct world *w, uint64_t ino, uint32_t valid, uint32_t mode)
{
    Fs__Op op = op_of(w);
    Fs__Setattr m = FS__SETATTR__INIT;
    m.ino = ino;
    m.valid = valid;
    m.mode = mode;
    m.uid = m.gid = 12001;
    op.body_case = FS__OP__BODY_SETATTR;
    op.setattr = &m;
    return apply(w, &op);
}

static int set_xattr(struct world *w, uint64_t ino, const char *name)
{
    Fs__Op op = op_of(w);
    Fs__Setxattr m = FS__SETXATTR__INIT;
    m.ino = ino;
    m.name = (char *)(uintptr_t)name;
    m.value = text("value");
    op.body_case = FS__OP__BODY_SETXATTR;
    op.setxattr = &m;
    return apply(w, &op);
}

START_TEST(set_id_bits_and_capabilities_fall)
{
    /* Goal: as the mode is when the entry is applied, and nothing else with them. */
    static const struct {
        uint32_t mode, left;
    } cases[] = {
        {S_IFREG | 06777, S_IFREG | 0777},  {S_IFREG | 04700, S_IFREG | 0700},
        {S_IFREG | 02710, S_IFREG | 0710},  {S_IFREG | 06767, S_IFREG | 02767},
        {S_IFREG | 01644, S_IFREG | 01644}, {S_IFIFO | 06777, S_IFIFO | 0777},
        {S_IFDIR | 06777, S_IFDIR | 06777},
    };
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char name[] = {'a' + (char)i, 0};
        uint64_t f = made(&w, FS_ROOT_INO, name, cases[i].mode);
        ck_assert_int_eq(set_attr(&w, f, FS_SETATTR_SETID | FS_SETATTR_UID, 0), 0);
        ck_assert_uint_eq(attr_of(&w, f).mode, cases[i].left);
        ck_assert_uint_eq(attr_of(&w, f).uid, 12001);
    }
    uint64_t f = made(&w, FS_ROOT_INO, "file", S_IFREG | 04755);
    ck_assert_int_eq(set_xattr(&w, f, "security.x"), 0);
    ck_assert(!attr_of(&w, f).has_capability);
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(set_xattr(&w, f, "security.capability"), 0);
        ck_assert_int_eq(set_xattr(&w, f, "security.capability"), 0); /* another one */
        ck_assert(attr_of(&w, f).has_capability);
        ck_assert_int_eq(set_attr(&w, f, FS_SETATTR_CAPS, 0), 0);
        ck_assert(!attr_of(&w, f).has_capability && attr_of(&w, f).has_xattrs);
        ck_assert_int_eq(set_attr(&w, f, FS_SETATTR_CAPS, 0), 0); /* there is none */
        ck_assert_uint_eq(attr_of(&w, f).mode, S_IFREG | 04755);
    }
    struct blob *value = NULL;
    ck_assert_int_eq(fs_getxattr(w.state, f, "security.capability", &value), -ENODATA);
    ck_assert_int_eq(fs_getxattr(w.state, f, "security.x", &value), 0);
    blob_unref(value);
    world_close(&w);
}
END_TEST

static size_t names_listed(struct world *w, uint64_t ino)
{
    struct blob *names = NULL;
    ck_assert_int_eq(fs_listxattr(w->state, ino, &names), 0);
    size_t size = names->size;
    blob_unref(names);
    return size;
}

static int remove_xattr(struct world *w, uint64_t ino, const char *name)
{
    Fs__Op op = op_of(w);
    Fs__Removexattr m = FS__REMOVEXATTR__INIT;
    m.ino = ino;
    m.name = (char *)(uintptr_t)name;
    op.body_case = FS__OP__BODY_REMOVEXATTR;
    op.removexattr = &m;
    return apply(w, &op);
}

/* As `user.000xx..`, as long as a name may be. */
static const char *long_name(unsigned i)
{
    static char name[FS_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "user.%03u", i);
    memset(name + 8, 'x', FS_NAME_MAX - 8);
    return name;
}

START_TEST(all_attributes_can_be_listed)
{
    /* Goal: there is no file whose names of attributes do not fit into one answer, which a node
     * could not send; what is there already can be set anew, and what goes makes room. */
    const unsigned many = 1000;
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t f = made(&w, FS_ROOT_INO, "f", S_IFREG | 0644);
    unsigned count = 0;
    while (count < many && set_xattr(&w, f, long_name(count)) == 0)
        count++;
    ck_assert_uint_lt(count, many);
    ck_assert_int_eq(w.result.reply->err, ENOSPC);
    ck_assert_uint_eq(names_listed(&w, f), count * (FS_NAME_MAX + 1));
    ck_assert_uint_le(names_listed(&w, f), FS_XATTR_NAMES_MAX);
    ck_assert_uint_gt(names_listed(&w, f), FS_XATTR_NAMES_MAX - 2 * (FS_NAME_MAX + 1));
    ck_assert_int_eq(set_xattr(&w, f, long_name(0)), 0);
    ck_assert_int_eq(remove_xattr(&w, f, long_name(0)), 0);
    ck_assert_int_eq(set_xattr(&w, f, long_name(count)), 0);
    ck_assert_int_eq(set_xattr(&w, f, long_name(0)), ENOSPC);
    world_close(&w);
}
END_TEST

START_TEST(listings_go_on_after_changes)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    char name[16];
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "n%02d", i);
        (void)made(&w, 1, name, S_IFREG | 0644);
    }
    uint64_t seen = 0, cookie = 0;
    for (int round = 0; round < 20; round++) {
        struct listed got = {0};
        if (fs_readdir(w.state, 1, cookie, false, take_first, &got) == 1)
            break;
        ck_assert(got.cookie > cookie);
        ck_assert_uint_eq(seen & 1ull << got.n, 0);
        seen |= 1ull << got.n;
        cookie = got.cookie;
        if (round == 5) {
            ck_assert_int_eq(unlink_holding(&w, 1, "n00", false, 0), 0);
            (void)made(&w, 1, "n00", S_IFREG | 0644); /* gets a new place at the end */
        }
    }
    ck_assert_uint_eq(seen & 0xffffe, 0xffffe);
    world_close(&w);
}
END_TEST

START_TEST(replaced_names_are_listed_once)
{
    /* Goal: a name that was there throughout is shown once, whichever file it is of: what a rename
     * puts in its place, as editors do when they save, comes in the same place. */
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t d = made(&w, 1, "d", S_IFDIR | 0755);
    for (int i = 0; i < 4; i++)
        (void)made(&w, 1, (const char *[]){"n00", "n01", "n02", "n03"}[i], S_IFREG | 0644);
    struct listed got = {0};
    ck_assert_int_eq(fs_readdir(w.state, 1, FS_COOKIE_FIRST, false, take_first, &got), 0);
    ck_assert_int_eq(got.n, 0);
    uint64_t f = made(&w, d, "new", S_IFREG | 0644);
    ck_assert_int_eq(rename_to(&w, d, "new", 1, "n00", 0), 0);
    ck_assert_int_eq(rename_to(&w, 1, "n03", 1, "n02", 0), 0);
    ck_assert_uint_eq(looked_up(&w, 1, "n00"), f);
    for (int i = 1; i <= 2; i++) {
        ck_assert_int_eq(fs_readdir(w.state, 1, got.cookie, false, take_first, &got), 0);
        ck_assert_int_eq(got.n, i);
    }
    ck_assert_int_eq(fs_readdir(w.state, 1, got.cookie, false, take_first, &got), 1);
    ck_assert_uint_eq(attr_of(&w, 1).nlink, 3);
    world_close(&w);
}
END_TEST

/* ---- exactly once ---------------------------------------------------------------------------- */

START_TEST(a_repeated_operation_is_done_once)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    Fs__Op op = op_of(&w);
    Fs__Make m = FS__MAKE__INIT;
    m.parent = 1;
    m.name = text("once");
    m.mode = S_IFREG | 0600;
    m.exclusive = true;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    ck_assert_int_eq(apply(&w, &op), 0);
    uint64_t ino = w.result.reply->attr->ino;
    ck_assert_int_eq(apply(&w, &op), 0); /* and not EEXIST */
    ck_assert(w.result.duplicate);
    ck_assert_uint_eq(w.result.reply->attr->ino, ino);
    uint64_t again = open_session(&w, 1); /* the same uuid */
    ck_assert_uint_eq(again, w.session);
    op.session = 4711;
    op.seq = 1;
    ck_assert_int_eq(apply(&w, &op), ESTALE);
    world_close(&w);
}
END_TEST

/* ---- leases and commits ---------------------------------------------------------------------- */

/* A COMMIT of `pages` pages from `first` on, in one block. */
static int commit(struct world *w, uint64_t session, uint64_t ino, uint64_t epoch, uint64_t c,
                  uint64_t size, uint64_t first, uint32_t pages, uint64_t block)
{
    uint64_t runs[BLOCK_RUNS_MAX] = {block};
    Fs__Op op = FS__OP__INIT;
    Fs__Commit m = FS__COMMIT__INIT;
    Fs__Block b = FS__BLOCK__INIT, *blocks[1] = {&b};
    Fs__Edit e = FS__EDIT__INIT, *edits[1] = {&e};
    b.session = session;
    b.n = block;
    b.size = pages * FS_PAGE_SIZE;
    b.runs = runs;
    b.n_runs = block_runs(b.size);
    e.kind = FS__EDIT__KIND__EXTENT;
    e.first_page = first;
    e.pages = pages;
    m.ino = ino;
    m.epoch = epoch;
    m.c = c;
    m.size = size;
    m.n_blocks = m.n_edits = pages != 0;
    m.blocks = blocks;
    m.edits = edits;
    op.session = session;
    op.body_case = FS__OP__BODY_COMMIT;
    op.commit = &m;
    return apply(w, &op);
}

static int lease(struct world *w, uint64_t session, uint64_t ino)
{
    Fs__Op op = op_of(w);
    Fs__Lease m = FS__LEASE__INIT;
    m.ino = ino;
    op.session = session;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &m;
    return apply(w, &op);
}

static int release(struct world *w, uint64_t session, uint64_t ino, uint64_t epoch, uint64_t last_c)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Release m = FS__RELEASE__INIT;
    Fs__LeaseEnd end = FS__LEASE_END__INIT, *ends[1] = {&end};
    end.ino = ino;
    end.epoch = epoch;
    end.last_c = last_c;
    m.n_leases = 1;
    m.leases = ends;
    op.session = session;
    op.body_case = FS__OP__BODY_RELEASE;
    op.release = &m;
    ck_assert_int_eq(apply(w, &op), 0);
    return (int)w->result.reply->value;
}

/* RULES L7: a file without a name is nobody's to write who does not hold it. */
START_TEST(no_lease_of_what_others_hold)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t other = open_session(&w, 2);
    uint64_t f = made(&w, 1, "f", S_IFREG | 0644);
    ck_assert_int_eq(unlink_holding(&w, 1, "f", false, other), 0);
    ck_assert_int_eq(lease(&w, w.session, f), ESTALE);
    ck_assert_int_eq(lease(&w, other, f), 0);
    world_close(&w);
}
END_TEST

/* RULES B2: an old holder that wakes up changes nothing. */
START_TEST(only_the_holder_in_its_epoch_commits)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t a = w.session, b = open_session(&w, 2);
    uint64_t f = made(&w, 1, "f", S_IFREG | 0644);
    ck_assert_int_eq(commit(&w, a, f, 1, 1, 4096, 0, 1, 1), EIO);
    ck_assert_int_eq(lease(&w, a, f), 0);
    uint64_t epoch = w.result.reply->value;
    ck_assert_int_eq(lease(&w, b, f), EAGAIN);
    ck_assert_int_eq(commit(&w, b, f, epoch, 1, 4096, 0, 1, 1), EIO);
    ck_assert_int_eq(commit(&w, a, f, epoch, 2, 4096, 0, 1, 1), EIO); /* a gap */
    ck_assert_int_eq(commit(&w, a, f, epoch, 1, 4096, 0, 1, 1), 0);
    ck_assert_int_eq(commit(&w, a, f, epoch, 1, 4096, 0, 1, 1), 0);
    ck_assert(w.result.duplicate);
    ck_assert_int_eq(release(&w, a, f, epoch, 0), 0); /* COMMITs to come: not now */
    ck_assert_int_eq(lease(&w, a, f), 0);
    ck_assert_uint_eq(w.result.reply->last_c, 1);
    ck_assert_int_eq(release(&w, a, f, epoch, 1), 1);
    ck_assert_int_eq(commit(&w, a, f, epoch, 2, 8192, 1, 1, 2), EIO);
    ck_assert_int_eq(lease(&w, b, f), 0);
    uint64_t later = w.result.reply->value;
    ck_assert(later > epoch);
    ck_assert_int_eq(commit(&w, a, f, later, 1, 8192, 1, 1, 2), EIO);
    ck_assert_int_eq(commit(&w, b, f, later, 1, 8192, 1, 1, 1), 0);
    ck_assert_uint_eq(attr_of(&w, f).size, 8192);
    ck_assert_uint_eq(attr_of(&w, f).pages, 2);
    world_close(&w);
}
END_TEST

enum { MODEL_PAGES = 64 };

/* Random edits against a table of pages: the same extents, and every block dead exactly when no
 * page is left of it. */
START_TEST(maps_agree_with_a_model)
{
    struct world w;
    uint32_t seed = (uint32_t)_i + 1;
    uint64_t model[MODEL_PAGES] = {0};
    uint32_t live[2048] = {0};
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t f = made(&w, 1, "f", S_IFREG | 0644);
    ck_assert_int_eq(lease(&w, w.session, f), 0);
    uint64_t epoch = w.result.reply->value, size = MODEL_PAGES * FS_PAGE_SIZE;
    for (uint64_t c = 1; c <= 300; c++) {
        seed = seed * 1103515245u + 12345u;
        uint64_t first = seed >> 16 & (MODEL_PAGES - 1);
        seed = seed * 1103515245u + 12345u;
        uint32_t pages = (seed >> 16) % 9 + 1;
        if (first + pages > MODEL_PAGES)
            pages = (uint32_t)(MODEL_PAGES - first);
        ck_assert_int_eq(commit(&w, w.session, f, epoch, c, size, first, pages, c), 0);
        size_t died = 0;
        live[c] = pages;
        for (uint64_t p = first; p < first + pages; p++) {
            if (model[p] && --live[model[p]] == 0)
                died++;
            model[p] = c;
        }
        ck_assert_uint_eq(w.result.died_count, died);
        ck_assert_uint_eq(w.result.named_count, 1);
        struct fs_extent x[MODEL_PAGES + 1];
        int n = fs_read_map(w.state, f, 0, MODEL_PAGES, x, MODEL_PAGES + 1);
        ck_assert_int_ge(n, 0);
        uint64_t found[MODEL_PAGES] = {0};
        for (int i = 0; i < n; i++)
            for (uint32_t k = 0; k < x[i].pages; k++)
                found[x[i].first_page + k] = x[i].block.name.n;
        ck_assert_int_eq(memcmp(found, model, sizeof model), 0);
    }
    ck_assert_int_eq(unlink_holding(&w, 1, "f", false, 0), 0);
    ck_assert_uint_eq(fs_state_totals(w.state).blocks, 0);
    ck_assert_uint_eq(fs_state_totals(w.state).bytes, 0);
    world_close(&w);
}
END_TEST

static int link_to(struct world *w, uint64_t ino, uint64_t parent, const char *name)
{
    Fs__Op op = op_of(w);
    Fs__Link m = FS__LINK__INIT;
    m.ino = ino;
    m.parent = parent;
    m.name = text(name);
    op.body_case = FS__OP__BODY_LINK;
    op.link = &m;
    return apply(w, &op);
}

static int make_nameless(struct world *w, uint32_t mode, const char *name)
{
    Fs__Op op = op_of(w);
    Fs__Make m = FS__MAKE__INIT;
    m.parent = 1;
    m.mode = mode;
    m.name = text(name);
    m.nameless = m.lease = true;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    return apply(w, &op);
}

/* O_TMPFILE: its session's until it is linked, and gone with it. */
START_TEST(nameless_files_are_held_until_they_are_linked)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    struct fs_totals none = fs_state_totals(w.state);
    ck_assert_int_eq(make_nameless(&w, S_IFDIR | 0755, ""), EINVAL);
    ck_assert_int_eq(make_nameless(&w, S_IFREG | 0644, "name"), EINVAL);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, none.inodes);
    Fs__Attr root = attr_of(&w, 1);
    uint64_t inos[3];
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(make_nameless(&w, S_IFREG | 0644, ""), 0);
        inos[i] = w.result.reply->attr->ino;
        ck_assert_uint_eq(w.result.reply->orphan, inos[i]);
        ck_assert_uint_eq(w.result.reply->attr->nlink, 0);
        ck_assert_uint_eq(w.result.reply->attr->lease_session, w.session);
        ck_assert(fs_holds(w.state, inos[i], w.session));
    }
    ck_assert_uint_eq(attr_of(&w, 1).version, root.version);
    ck_assert_int_eq(link_to(&w, inos[0], 1, "a"), 0);
    ck_assert_uint_eq(w.result.reply->attr->nlink, 1);
    ck_assert_uint_eq(looked_up(&w, 1, "a"), inos[0]);
    ck_assert(!fs_holds(w.state, inos[0], w.session));
    ck_assert_int_eq(link_to(&w, inos[0], 1, "b"), 0);
    ck_assert_int_eq(unlink_holding(&w, 1, "b", false, 0), 0);
    ck_assert_int_eq(link_to(&w, inos[1], 1, "c"),
                     0); /* one that was named gets no second chance */
    ck_assert_int_eq(unlink_holding(&w, 1, "c", false, w.session), 0);
    ck_assert_int_eq(link_to(&w, inos[1], 1, "c"), ENOENT);
    Fs__Op end = FS__OP__INIT;
    Fs__EndSession e = FS__END_SESSION__INIT;
    e.session = w.session;
    end.body_case = FS__OP__BODY_END_SESSION;
    end.end_session = &e;
    ck_assert_int_eq(apply(&w, &end), 0);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, none.inodes + 1);
    ck_assert_uint_eq(attr_of(&w, inos[0]).nlink, 1);
    world_close(&w);
}
END_TEST

/* Same entries, same bytes: what the copies are compared by. */
START_TEST(two_copies_hold_the_same)
{
    struct world a, b;
    world_open(&a);
    world_open(&b);
    struct world *both[] = {&a, &b};
    for (int k = 0; k < 2; k++) {
        struct world *w = both[k];
        w->session = open_session(w, 1);
        uint64_t d = made(w, 1, "d", S_IFDIR | 0755);
        (void)made(w, d, "l", S_IFLNK | 0777);
        ck_assert_int_eq(make(w, d, "f", S_IFREG | 0644, true), 0);
        Fs__Attr attr = *w->result.reply->attr;
        ck_assert_int_eq(commit(w, w->session, attr.ino, attr.lease_epoch, 1, 5000, 0, 2, 1), 0);
        ck_assert_int_eq(rename_to(w, d, "f", 1, "g", 0), 0);
    }
    struct fs_hash x = fs_state_hash(a.state), y = fs_state_hash(b.state);
    ck_assert(x.lo == y.lo && x.hi == y.hi);
    ck_assert(kv_mem_equal(a.kv, b.kv, 0));
    (void)made(&b, 1, "one more", S_IFREG | 0644);
    y = fs_state_hash(b.state);
    ck_assert(x.lo != y.lo || x.hi != y.hi); /* the comparison can fail */
    world_close(&a);
    world_close(&b);
}
END_TEST

/* RULES B13: what is reserved goes down with what is committed, and ends with the session. */
START_TEST(reservations_are_used_up)
{
    struct world w;
    world_open(&w);
    w.session = open_session(&w, 1);
    uint64_t f = made(&w, 1, "f", S_IFREG | 0644);
    Fs__Op op = op_of(&w);
    Fs__Reserve m = FS__RESERVE__INIT;
    m.bytes = 1 << 20;
    op.body_case = FS__OP__BODY_RESERVE;
    op.reserve = &m;
    ck_assert_int_eq(apply(&w, &op), 0);
    ck_assert_uint_eq(fs_state_totals(w.state).reserved, 1 << 20);
    ck_assert_int_eq(lease(&w, w.session, f), 0);
    ck_assert_int_eq(commit(&w, w.session, f, w.result.reply->value, 1, 8192, 0, 2, 1), 0);
    ck_assert_uint_eq(fs_state_totals(w.state).reserved, (1 << 20) - 2 * 4096 - 4096);
    Fs__Op end = FS__OP__INIT;
    Fs__EndSession e = FS__END_SESSION__INIT;
    e.session = w.session;
    end.body_case = FS__OP__BODY_END_SESSION;
    end.end_session = &e;
    ck_assert_int_eq(apply(&w, &end), 0);
    ck_assert_uint_eq(fs_state_totals(w.state).reserved, 0);
    ck_assert_uint_eq(attr_of(&w, f).lease_session, 0);
    world_close(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs/core");
    TCase *tc = tcase_create("state");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, names_follow_posix);
    tcase_add_test(tc, exchange_swaps_two_names);
    tcase_add_test(tc, renaming_a_file_to_itself_does_nothing);
    tcase_add_test(tc, open_unlinked_files_stay);
    tcase_add_test(tc, nameless_files_are_held_until_they_are_linked);
    tcase_add_test(tc, set_id_bits_and_capabilities_fall);
    tcase_add_test(tc, all_attributes_can_be_listed);
    tcase_add_test(tc, listings_go_on_after_changes);
    tcase_add_test(tc, replaced_names_are_listed_once);
    tcase_add_test(tc, a_repeated_operation_is_done_once);
    tcase_add_test(tc, no_lease_of_what_others_hold);
    tcase_add_test(tc, only_the_holder_in_its_epoch_commits);
    tcase_add_loop_test(tc, maps_agree_with_a_model, 0, 4);
    tcase_add_test(tc, two_copies_hold_the_same);
    tcase_add_test(tc, reservations_are_used_up);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
