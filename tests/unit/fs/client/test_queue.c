/* Names that change here before the log has them, under directory leases (RULES D1). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/world.h"
#include "tests/unit/lib/run.h"

enum { RENAME_FLAG_EXCHANGE = 2 };

static struct world w;
static uint64_t home;   /* a directory that mount 0 made, with its lease */
static uint64_t shared; /* a directory that mount 1 made, which nobody has the lease of */

/* ---- short forms ----------------------------------------------------------------------------- */

struct file {
    uint64_t ino, fh;
};

static struct client_op op_make(const char *name, uint32_t mode)
{
    return (struct client_op){.kind = CLIENT_MAKE,
                              .parent = home,
                              .name = name,
                              .mode = mode,
                              .open = S_ISREG(mode),
                              .flags = O_RDWR | O_CREAT};
}

static struct client_op op_of(enum client_op_kind kind, struct file f)
{
    return (struct client_op){.kind = kind, .ino = f.ino, .fh = f.fh};
}

static struct client_op op_named(enum client_op_kind kind, const char *name)
{
    return (struct client_op){.kind = kind, .parent = home, .name = name};
}

static struct client_op op_rename(const char *from, uint64_t newparent, const char *to)
{
    return (struct client_op){
        .kind = CLIENT_RENAME, .parent = home, .name = from, .newparent = newparent, .newname = to};
}

static struct client_op op_link(struct file f, uint64_t dir, const char *name)
{
    return (struct client_op){.kind = CLIENT_LINK, .ino = f.ino, .newparent = dir, .newname = name};
}

static struct client_op op_chmod(uint64_t ino, uint32_t mode)
{
    return (struct client_op){
        .kind = CLIENT_SETATTR, .ino = ino, .set = FS_SETATTR_MODE, .mode = mode};
}

static struct client_op op_write(struct file f, const char *text)
{
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.size = strlen(text);
    op.data = blob_copy(text, strlen(text));
    return op;
}

/* By mount 0, before anything can arrive there or here. */
static const struct world_answer *at_once(struct client_op op)
{
    uint64_t id = world_start(&w, 0, op);
    const struct world_answer *a = world_find(&w, 0, id);
    ck_assert_msg(a != NULL, "operation of kind %d awaits something", (int)op.kind);
    ck_assert_int_eq(a->err, 0);
    return a;
}

static struct file make(const char *name)
{
    const struct world_answer *a = at_once(op_make(name, S_IFREG | 0644));
    return (struct file){a->attr.ino, a->fh};
}

static bool answered(uint64_t id)
{
    return world_find(&w, 0, id) != NULL;
}

static uint64_t looked_up(uint64_t dir, const char *name)
{
    Fs__Attr attr = FS__ATTR__INIT;
    return fs_lookup(w.state, dir, name, strlen(name), &attr) == 0 ? attr.ino : 0;
}

/* What is on its way into the log: its kinds, up to `max`. */
static size_t kinds_pending(Fs__Op__BodyCase *kinds, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < w.pending.count && count < max; i++) {
        const struct blob *payload = w.pending.items[i].payload;
        Fs__Op *op = fs__op__unpack(NULL, payload->size, payload->data);
        kinds[count++] = op->body_case;
        fs__op__free_unpacked(op, NULL);
    }
    return count;
}

static size_t pending(Fs__Op__BodyCase kind)
{
    Fs__Op__BodyCase kinds[32];
    size_t count = kinds_pending(kinds, 32), found = 0;
    for (size_t i = 0; i < count; i++)
        found += kinds[i] == kind;
    return found;
}

static Fs__Attr applied_attr(uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w.state, ino, &attr), 0);
    return attr;
}

static Fs__Attr attr_here(uint64_t ino)
{
    return at_once(op_of(CLIENT_GETATTR, (struct file){ino, 0}))->attr;
}

/* What stat(2) says, of a file that keeps its bytes. */
static void expect_same(const Fs__Attr *a, const Fs__Attr *b)
{
    ck_assert_uint_eq(a->ino, b->ino);
    ck_assert_uint_eq(a->mode, b->mode);
    ck_assert_uint_eq(a->nlink, b->nlink);
    ck_assert_int_eq(a->mtime, b->mtime);
    ck_assert_int_eq(a->ctime, b->ctime);
}

static uint64_t home_lease(void)
{
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w.state, home, &attr), 0);
    return attr.lease_session;
}

/* Mount 0 gets a lease, space and numbers, and makes the directory `home` by itself: all names that
 * are there are known to it. */
static void warm_up(void)
{
    static char name[] = "wa"; /* never the same again */
    for (int tries = 0; tries < 8; tries++) {
        name[1]++;
        struct client_op op = op_make(name, S_IFDIR | 0755);
        struct client_op look = op_named(CLIENT_LOOKUP, name);
        op.parent = look.parent = WORLD_ROOT;
        ck_assert_int_eq(world_do(&w, 0, look)->err, ENOENT);
        unsigned sent = w.mounts[0].sends;
        uint64_t id = world_start(&w, 0, op);
        bool here = answered(id) && w.mounts[0].sends == sent;
        world_pass(&w, 20 * TIME_MS);
        home = world_find(&w, 0, id)->attr.ino;
        ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
        if (here)
            return;
    }
    ck_abort_msg("it never changes names by itself");
}

static void setup(void)
{
    world_open(&w);
    home = WORLD_ROOT;
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
    shared = world_do(&w, 1, op_make("shared", S_IFDIR | 0755))->attr.ino;
    w.local_names = true;
    world_add_mount(&w, 0, CLIENT_LINEARIZABLE);
    warm_up();
}

static void teardown(void)
{
    world_close(&w);
}

/* ---- here first ------------------------------------------------------------------------------ */

START_TEST(answered_at_once)
{
    unsigned sent = w.mounts[0].sends;
    struct file f = make("a");
    (void)at_once(op_write(f, "bytes"));
    (void)at_once(op_chmod(f.ino, 0600));
    (void)at_once(op_of(CLIENT_FLUSH, f));
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(op_rename("a", home, "b"));
    (void)at_once(op_make("d", S_IFDIR | 0755));
    (void)at_once(op_rename("d", home, "e"));
    (void)at_once(op_named(CLIENT_RMDIR, "e"));
    ck_assert_uint_eq(at_once(op_named(CLIENT_LOOKUP, "b"))->attr.mode, S_IFREG | 0600);
    (void)at_once(op_named(CLIENT_UNLINK, "b"));
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(looked_up(home, "a") + looked_up(home, "b"), 0);
    ck_assert_uint_eq(looked_up(home, "d") + looked_up(home, "e"), 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(sent_in_order)
{
    const Fs__Op__BodyCase expected[] = {FS__OP__BODY_MAKE, FS__OP__BODY_SETATTR,
                                         FS__OP__BODY_RENAME, FS__OP__BODY_MAKE,
                                         FS__OP__BODY_UNLINK};
    w.no_commit = true;
    struct file f = make("a");
    (void)at_once(op_chmod(f.ino, 0600));
    (void)at_once(op_rename("a", home, "b"));
    (void)at_once(op_make("d", S_IFDIR | 0755));
    (void)at_once(op_named(CLIENT_RMDIR, "d"));
    world_pass(&w, 20 * TIME_MS);
    Fs__Op__BodyCase kinds[32];
    ck_assert_uint_eq(kinds_pending(kinds, 32), 5);
    for (size_t i = 0; i < 5; i++)
        ck_assert_int_eq(kinds[i], expected[i]);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
}
END_TEST

START_TEST(nothing_looks_different_afterwards)
{
    /* Goal: what was answered here is what apply makes of it. */
    struct file f = make("a");
    (void)at_once(op_chmod(f.ino, 0600));
    Fs__Attr here = at_once(op_rename("a", home, "b"))->attr, there = FS__ATTR__INIT;
    here = at_once(op_named(CLIENT_LOOKUP, "b"))->attr;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(fs_get_attr(w.state, f.ino, &there), 0);
    ck_assert_uint_eq(here.ino, there.ino);
    ck_assert_uint_eq(here.mode, there.mode);
    ck_assert_uint_eq(here.nlink, there.nlink);
    ck_assert_int_eq(here.mtime, there.mtime);
    ck_assert_int_eq(here.ctime, there.ctime);
    ck_assert_int_eq(here.btime, there.btime);
}
END_TEST

START_TEST(times_are_newer_than_what_a_read_tells)
{
    /* Goal: bytes that are read come with the attributes of the log, which does not know yet what
     * time was set here. */
    struct file f = make("a");
    (void)at_once(op_write(f, "bytes"));
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, 0);
    w.no_commit = true;
    struct client_op op = op_of(CLIENT_SETATTR, f);
    op.set = FS_SETATTR_ATIME | FS_SETATTR_MTIME;
    op.atime = INT64_C(9000000000000000000);
    op.mtime = 7;
    (void)at_once(op);
    struct client_op read = op_of(CLIENT_READ, f);
    read.size = 100;
    ck_assert_int_eq(world_do(&w, 0, read)->err, 0);
    ck_assert_int_ne(applied_attr(f.ino).mtime, 7);
    ck_assert_int_eq(attr_here(f.ino).mtime, 7);
    ck_assert_int_eq(attr_here(f.ino).atime, op.atime);
    w.no_commit = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(applied_attr(f.ino).mtime, 7);
    ck_assert_int_eq(attr_here(f.ino).atime, op.atime);
}
END_TEST

START_TEST(changes_of_what_has_no_name_are_the_leaders)
{
    /* Goal: who holds the last name's file open may change it, but not ahead of the log: the file
     * ends with its last close, and a change that comes behind that would be refused, and with it
     * all that was done after (tests/posix, data.unlinked_fifo). */
    struct file f = make("a");
    uint64_t session = client_stats(w.mounts[0].client, w.now).session;
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "a"))->err, 0);
    uint64_t id = world_start(&w, 0, op_chmod(f.ino, 0600));
    ck_assert(!answered(id));
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, f))->err, 0);
    (void)make("b");
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_ne(looked_up(home, "b"), 0);
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).session, session);
}
END_TEST

START_TEST(removed_directory_that_is_open)
{
    /* Goal: fstat(2) of a directory that was removed here goes on, whatever the log knows. */
    uint64_t ino = at_once(op_make("d", S_IFDIR | 0755))->attr.ino;
    (void)at_once(op_named(CLIENT_RMDIR, "d"));
    ck_assert_uint_eq(attr_here(ino).nlink, 0);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(attr_here(ino).nlink, 0);
}
END_TEST

START_TEST(minimal_acl_is_a_mode)
{
    /* Goal: what cp -a does to each file. user::rw-, group::r--, other::r-- */
    static const uint8_t bytes[] = {2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 4,   0,
                                    4, 0, 255, 255, 255, 255, 32, 0, 4,   0,   255, 255, 255, 255};
    struct file f = make("a");
    (void)at_once(op_chmod(f.ino, 04777));
    struct client_op op = op_of(CLIENT_SETXATTR, f);
    op.name = "system.posix_acl_access";
    op.data = blob_copy(bytes, sizeof bytes);
    (void)at_once(op);
    Fs__Attr here = attr_here(f.ino);
    ck_assert_uint_eq(here.mode, S_IFREG | 04644);
    world_pass(&w, 20 * TIME_MS);
    Fs__Attr there = applied_attr(f.ino);
    expect_same(&here, &there);
    struct client_op removal = op_of(CLIENT_REMOVEXATTR, (struct file){home, 0});
    removal.name = "system.posix_acl_default";
    w.mounts[0].silent = false;
    uint64_t d = at_once(op_make("d", S_IFDIR | 0755))->attr.ino;
    removal.ino = d;
    (void)at_once(removal);
    here = attr_here(d);
    world_pass(&w, 20 * TIME_MS);
    there = applied_attr(d);
    expect_same(&here, &there);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(more_than_a_mode_is_the_leaders)
{
    struct file f = make("a");
    struct client_op op = op_of(CLIENT_SETXATTR, f);
    op.name = "user.x";
    op.data = blob_copy("y", 1);
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, op);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert(applied_attr(f.ino).has_xattrs);
}
END_TEST

START_TEST(small_copies_are_written)
{
    /* Goal: a copy to a file that nobody asked to be safe does not wait for its name. */
    struct file f = make("a");
    (void)at_once(op_write(f, "bytes"));
    struct file g = make("b");
    struct client_op op = op_of(CLIENT_COPY, f);
    op.size = 1 << 20;
    op.to_ino = g.ino;
    op.to_fh = g.fh;
    unsigned sent = w.mounts[0].sends;
    uint64_t id = world_start(&w, 0, op);
    ck_assert(answered(id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, EOPNOTSUPP);
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0); /* that is committed */
    ck_assert_uint_eq(applied_attr(g.ino).size, 5);
}
END_TEST

/* ---- all names of a directory -----------------------------------------------------------------
 */

/* Mount 0 has the lease of a directory in which there are `count` files of mount 1. */
static void lease_of_shared(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "f%u", i);
        struct client_op op = op_make(name, S_IFREG | 0644);
        op.parent = shared;
        struct file f = {0};
        const struct world_answer *a = world_do(&w, 1, op);
        f.ino = a->attr.ino;
        f.fh = a->fh;
        (void)world_do(&w, 1, op_of(CLIENT_RELEASE, f));
    }
    world_pass(&w, 3 * TIME_S);
    home = shared;
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_LOOKUP, "new"))->err, ENOENT);
    ck_assert_int_eq(world_do(&w, 0, op_make("new", S_IFDIR | 0755))->err, 0);
    ck_assert_uint_eq(home_lease(), client_stats(w.mounts[0].client, w.now).session);
}

static struct client_op op_list(uint64_t after, uint64_t max)
{
    return (struct client_op){.kind = CLIENT_READDIR, .ino = home, .offset = after, .size = max};
}

static bool absent_at_once(const char *name)
{
    uint64_t id = world_start(&w, 0, op_named(CLIENT_LOOKUP, name));
    bool here = answered(id);
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, id)->err, ENOENT);
    return here;
}

START_TEST(listed_under_its_lease)
{
    /* Goal: what the whole listing does not have is known not to be there; of a part of it nothing
     * follows. */
    lease_of_shared(3);
    ck_assert(!absent_at_once("x"));
    ck_assert_uint_eq(world_do(&w, 0, op_list(0, 2))->entries, 2);
    ck_assert(!absent_at_once("y"));
    ck_assert_uint_eq(world_do(&w, 0, op_list(0, 100))->entries, 4);
    ck_assert(absent_at_once("z"));
    (void)make("z");
    (void)at_once(op_named(CLIENT_LOOKUP, "z"));
}
END_TEST

START_TEST(listed_from_the_middle)
{
    lease_of_shared(3);
    ck_assert_uint_eq(world_do(&w, 0, op_list(FS_COOKIE_FIRST, 100))->entries, 3);
    ck_assert(!absent_at_once("x"));
}
END_TEST

START_TEST(listed_under_the_lease_before)
{
    /* Goal: what others made meanwhile is seen. */
    lease_of_shared(1);
    ck_assert_uint_eq(world_do(&w, 0, op_list(0, 100))->entries, 2);
    ck_assert(absent_at_once("x"));
    struct client_op op = op_make("y", S_IFDIR | 0755);
    ck_assert_int_eq(world_do(&w, 1, op)->err, 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_do(&w, 0, op_make("v", S_IFDIR | 0755))->err, 0);
    ck_assert_uint_eq(home_lease(), client_stats(w.mounts[0].client, w.now).session);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_LOOKUP, "y"))->err, 0);
    ck_assert(!absent_at_once("x2"));
}
END_TEST

START_TEST(looked_ahead_until_all_is_known)
{
    lease_of_shared(40);
    char name[] = "xa";
    unsigned asked = 0;
    for (; name[1] <= 'z'; name[1]++)
        asked += !absent_at_once(name);
    ck_assert_uint_le(asked, 6);
}
END_TEST

START_TEST(made_by_the_leader_with_its_lease)
{
    /* Goal: of a directory that the leader makes for this mount all names are known as well. */
    struct client_op op = op_make("d", S_IFDIR | 0755);
    op.parent = shared;
    uint64_t other = world_do(&w, 1, op_make("busy", S_IFDIR | 0755))->attr.ino;
    (void)other;
    world_pass(&w, 10 * TIME_MS);
    home = world_do(&w, 0, op)->attr.ino;
    ck_assert_uint_eq(home_lease(), client_stats(w.mounts[0].client, w.now).session);
    ck_assert(absent_at_once("x"));
    (void)make("x");
}
END_TEST

/* In some order: names made, renamed, linked and removed. */
static void fill_home(void)
{
    struct file f = make("a");
    (void)make("b");
    (void)at_once(op_make("d", S_IFDIR | 0755));
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(op_link(f, home, "c"));
    (void)at_once(op_named(CLIENT_UNLINK, "a"));
    (void)at_once(op_rename("d", home, "e"));
    (void)make("a");
    (void)at_once(op_rename("c", home, "g"));
}

START_TEST(lists_its_own_directory_itself)
{
    /* Goal: in the order of the log, and the leader goes on with it anywhere. */
    fill_home();
    unsigned sent = w.mounts[0].sends;
    uint64_t all = at_once(op_list(0, 100))->listing;
    uint64_t rest = at_once(op_list(FS_COOKIE_FIRST + 2, 100))->listing;
    ck_assert_uint_eq(at_once(op_list(0, 100))->entries, 4);
    ck_assert_uint_eq(at_once(op_list(0, 3))->entries, 3);
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    ck_assert_uint_eq(world_do(&w, 1, op_list(0, 100))->listing, all);
    ck_assert_uint_eq(world_do(&w, 1, op_list(FS_COOKIE_FIRST + 2, 100))->listing, rest);
    ck_assert_uint_eq(home_lease(), 0);
    ck_assert_uint_eq(world_do(&w, 0, op_list(0, 100))->listing, all);
}
END_TEST

START_TEST(lists_itself_no_more_after_the_leader)
{
    /* Goal: where a name came by way of the leader its cookie is not known. */
    fill_home();
    struct client_op fifo = op_make("x", S_IFREG | 0644);
    fifo.parent = shared;
    struct file f = {world_do(&w, 1, fifo)->attr.ino, 0};
    ck_assert_int_eq(world_do(&w, 0, op_link(f, home, "x"))->err, 0);
    (void)make("y");
    uint64_t here = world_do(&w, 0, op_list(0, 100))->listing;
    ck_assert_uint_eq(world_do(&w, 1, op_list(0, 100))->listing, here);
}
END_TEST

/* ---- two names of a file ----------------------------------------------------------------------
 */

START_TEST(linked_and_unlinked_at_once)
{
    /* Goal: at each step it is here what apply makes of it. */
    unsigned sent = w.mounts[0].sends;
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    ck_assert_uint_eq(at_once(op_link(f, home, "b"))->attr.nlink, 2);
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    Fs__Attr two = attr_here(f.ino), dir = attr_here(home);
    world_pass(&w, 20 * TIME_MS);
    Fs__Attr there = applied_attr(f.ino);
    expect_same(&two, &there);
    there = applied_attr(home);
    expect_same(&dir, &there);
    (void)at_once(op_named(CLIENT_UNLINK, "a"));
    Fs__Attr one = attr_here(f.ino);
    ck_assert_uint_eq(one.nlink, 1);
    world_pass(&w, 20 * TIME_MS);
    there = applied_attr(f.ino);
    expect_same(&one, &there);
    ck_assert_uint_eq(looked_up(home, "a"), 0);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
    (void)at_once(op_named(CLIENT_UNLINK, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "b"), 0);
    ck_assert_int_ne(fs_get_attr(w.state, f.ino, &there), 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(link_follows_the_bytes)
{
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = true;
    (void)at_once(op_write(f, "bytes"));
    (void)at_once(op_link(f, home, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(pending(FS__OP__BODY_COMMIT), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_LINK), 0);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
    ck_assert_uint_eq(applied_attr(f.ino).size, 5);
}
END_TEST

START_TEST(one_of_two_names_goes_while_it_is_open)
{
    /* Goal: it stays open, and nobody is asked; the last one goes by way of the leader. */
    struct file f = make("a");
    (void)at_once(op_link(f, home, "b"));
    (void)at_once(op_named(CLIENT_UNLINK, "a"));
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, op_named(CLIENT_UNLINK, "b"));
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    (void)at_once(op_write(f, "bytes"));
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).nlink, 0);
}
END_TEST

START_TEST(renamed_among_its_own_names)
{
    struct file f = make("a"), g = make("c");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(op_of(CLIENT_RELEASE, g));
    (void)at_once(op_link(f, home, "b"));
    (void)at_once(op_rename("a", home, "b")); /* of one file: neither goes */
    ck_assert_uint_eq(attr_here(f.ino).nlink, 2);
    (void)at_once(op_rename("b", home, "d"));
    (void)at_once(op_rename("c", home, "a")); /* over one of two */
    Fs__Attr here = attr_here(f.ino);
    ck_assert_uint_eq(here.nlink, 1);
    world_pass(&w, 20 * TIME_MS);
    Fs__Attr there = applied_attr(f.ino);
    expect_same(&here, &there);
    ck_assert_uint_eq(looked_up(home, "a"), g.ino);
    ck_assert_uint_eq(looked_up(home, "b") + looked_up(home, "c"), 0);
    ck_assert_uint_eq(looked_up(home, "d"), f.ino);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(names_in_two_directories_are_the_leaders)
{
    /* Goal: whoever looks for the other name does not come by its first directory. */
    struct file f = make("a"), g = make("b");
    uint64_t other = at_once(op_make("d", S_IFDIR | 0755))->attr.ino;
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(op_of(CLIENT_RELEASE, g));
    (void)at_once(op_link(g, home, "c"));
    w.no_commit = true;
    uint64_t link = world_start(&w, 0, op_link(f, other, "a"));
    uint64_t rename = world_start(&w, 0, op_rename("b", other, "b"));
    world_settle(&w);
    ck_assert(!answered(link) && !answered(rename));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, link)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, rename)->err, 0);
    ck_assert_uint_eq(looked_up(other, "a"), f.ino);
    ck_assert_uint_eq(looked_up(other, "b"), g.ino);
    ck_assert_uint_eq(looked_up(home, "c"), g.ino);
    w.no_commit = true;
    uint64_t first = world_start(&w, 0, op_chmod(f.ino, 0600));
    uint64_t second = world_start(&w, 0, op_chmod(g.ino, 0600));
    world_settle(&w);
    ck_assert(!answered(first) && !answered(second));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
}
END_TEST

START_TEST(names_that_are_there_are_kept)
{
    struct file f = make("a"), g = make("b");
    ck_assert_int_eq(world_do(&w, 0, op_link(f, home, "b"))->err, EEXIST);
    ck_assert_uint_eq(looked_up(home, "b"), g.ino);
    ck_assert_uint_eq(applied_attr(f.ino).nlink, 1);
}
END_TEST

START_TEST(look_for_the_second_name)
{
    /* Goal: from elsewhere it comes with all that was done before. */
    struct file f = make("a");
    (void)at_once(op_write(f, "bytes"));
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(op_link(f, home, "b"));
    (void)at_once(op_named(CLIENT_UNLINK, "a"));
    const struct world_answer *a = world_do(&w, 1, op_named(CLIENT_LOOKUP, "b"));
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.ino, f.ino);
    ck_assert_uint_eq(a->attr.nlink, 1);
    ck_assert_uint_eq(a->attr.size, 5);
    ck_assert_int_eq(world_do(&w, 1, op_named(CLIENT_LOOKUP, "a"))->err, ENOENT);
}
END_TEST

/* ---- what waits ------------------------------------------------------------------------------ */

START_TEST(fsync_waits_for_name_and_bytes)
{
    /* Goal: a COMMIT of a file that is not there yet would be refused. */
    w.no_commit = true;
    struct file f = make("a");
    (void)at_once(op_write(f, "bytes"));
    uint64_t id = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_pass(&w, 20 * TIME_MS);
    ck_assert(!answered(id));
    ck_assert_uint_eq(pending(FS__OP__BODY_MAKE), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_COMMIT), 0);
    unsigned commits = w.commits_seen;
    w.no_commit = false;
    world_settle(&w);
    ck_assert_uint_eq(w.commits_seen, commits + 1);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
}
END_TEST

START_TEST(fsync_of_a_directory_waits)
{
    w.no_commit = true;
    (void)make("a");
    uint64_t id = world_start(&w, 0, op_of(CLIENT_FSYNCDIR, (struct file){home, 0}));
    world_pass(&w, 20 * TIME_MS);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_ne(looked_up(home, "a"), 0);
}
END_TEST

START_TEST(rename_follows_the_bytes)
{
    /* Goal: RULES B11: whoever sees the new name sees what had been written before. */
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = true;
    (void)at_once(op_write(f, "bytes"));
    (void)at_once(op_rename("a", home, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(pending(FS__OP__BODY_COMMIT), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_RENAME), 0);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
}
END_TEST

START_TEST(recall_waits_for_the_queue)
{
    w.no_commit = true;
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    uint64_t id = world_start(&w, 1, op_named(CLIENT_LOOKUP, "a"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert(world_find(&w, 1, id) == NULL);
    ck_assert_uint_eq(pending(FS__OP__BODY_MAKE), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_RELEASE), 0);
    w.no_commit = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_find(&w, 1, id)->err, 0);
    ck_assert_uint_eq(world_find(&w, 1, id)->attr.ino, f.ino);
    ck_assert_uint_eq(home_lease(), 0);
}
END_TEST

START_TEST(recall_waits_for_attributes)
{
    /* Goal: who looks a name up finds the attributes that were set ahead of the log. */
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "a"), f.ino);
    (void)at_once(op_chmod(f.ino, 0600));
    const struct world_answer *a = world_do(&w, 1, op_named(CLIENT_LOOKUP, "a"));
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.mode, S_IFREG | 0600);
    ck_assert_uint_eq(home_lease(), 0);
}
END_TEST

START_TEST(leader_comes_after_the_queue)
{
    /* Goal: what only the leader can do is not in the log before what was done before it. */
    w.no_commit = true;
    struct file f = make("a");
    uint64_t id = world_start(&w, 0, op_link(f, shared, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert(!answered(id));
    ck_assert_uint_eq(pending(FS__OP__BODY_MAKE), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_LINK), 0);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(looked_up(shared, "b"), f.ino);
}
END_TEST

START_TEST(end_waits_for_the_queue)
{
    struct file f = make("a");
    (void)at_once(op_write(f, "bytes"));
    (void)at_once(op_of(CLIENT_RELEASE, f));
    world_stop(&w, 0);
    world_pass(&w, 1 * TIME_S);
    ck_assert(w.mounts[0].stopped);
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_uint_eq(looked_up(home, "a"), f.ino);
    ck_assert_int_eq(fs_get_attr(w.state, f.ino, &attr), 0);
    ck_assert_uint_eq(attr.size, 5);
}
END_TEST

START_TEST(new_leader_gets_the_queue)
{
    w.no_commit = true;
    (void)make("a");
    (void)make("b");
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(pending(FS__OP__BODY_MAKE), 2);
    world_new_leader(&w, 2, false); /* it has none of them */
    w.no_commit = false;
    world_pass(&w, 5 * TIME_S);
    ck_assert_uint_ne(looked_up(home, "a"), 0);
    ck_assert_uint_ne(looked_up(home, "b"), 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

/* ---- what others know, and what is lost ------------------------------------------------------ */

START_TEST(renamed_by_the_leader_is_private_no_more)
{
    /* Goal: what got a name in a directory of which the lease is not here may be known to others:
     * its changes are the leader's (tally-sim --seed 113). */
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    ck_assert_int_eq(world_do(&w, 0, op_rename("a", shared, "a"))->err, 0);
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(shared, "a"), f.ino);
    uint64_t session = client_stats(w.mounts[0].client, w.now).session;
    ck_assert_uint_eq(home_lease(), session); /* still */
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, op_chmod(f.ino, 0600));
    world_settle(&w);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
}
END_TEST

START_TEST(exchanged_by_the_leader_is_private_no_more)
{
    struct file f = make("a"), g = make("b");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(op_of(CLIENT_RELEASE, g));
    struct client_op op = op_rename("a", home, "b");
    op.flags = RENAME_FLAG_EXCHANGE;
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
    w.no_commit = true;
    uint64_t first = world_start(&w, 0, op_chmod(f.ino, 0600));
    uint64_t second = world_start(&w, 0, op_chmod(g.ino, 0600));
    ck_assert(!answered(first) && !answered(second));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
}
END_TEST

START_TEST(lost_with_the_session)
{
    /* Goal: who asks is told once, and the log says it. */
    struct file f = make("kept");
    world_pass(&w, 20 * TIME_MS);
    w.mounts[0].silent = true;
    struct file g = make("a");
    (void)at_once(op_chmod(f.ino, 0600));
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    world_settle(&w);
    w.mounts[0].silent = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(looked_up(home, "a"), 0);
    ck_assert_uint_ge(w.mounts[0].logs, 1);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, g))->err, EIO);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, EIO);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, 0);
    struct client_op dir = op_of(CLIENT_FSYNCDIR, (struct file){home, 0});
    ck_assert_int_eq(world_do(&w, 0, dir)->err, EIO);
    ck_assert_int_eq(world_do(&w, 0, dir)->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_LOOKUP, "a"))->err, ENOENT);
    const struct world_answer *a = world_do(&w, 0, op_named(CLIENT_LOOKUP, "kept"));
    ck_assert_uint_eq(a->attr.mode, S_IFREG | 0644);
}
END_TEST

START_TEST(fsync_that_waits_when_it_is_lost)
{
    w.mounts[0].silent = true;
    struct file f = make("a");
    uint64_t id = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    world_settle(&w);
    ck_assert(!answered(id));
    w.mounts[0].silent = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert(answered(id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, EIO);
}
END_TEST

START_TEST(names_of_the_session_before)
{
    /* Goal: places count from 1 in each session; a name that was changed at a higher place in the
     * one before is not on its way (tally-sim --seed 23675). */
    uint64_t old = home;
    for (char name[] = "a"; name[0] < 'k'; name[0]++)
        (void)at_once(op_of(CLIENT_RELEASE, make(name)));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_LOOKUP, "j"))->err, 0);
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_do(&w, 1, op_named(CLIENT_UNLINK, "j"))->err, 0);
    warm_up();
    w.no_commit = true;
    (void)make("new");
    struct client_op look = op_named(CLIENT_LOOKUP, "j");
    look.parent = old;
    ck_assert_int_eq(world_do(&w, 0, look)->err, ENOENT);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
}
END_TEST

START_TEST(rename_that_waits_for_a_lease_is_done_once)
{
    /* Goal: while the lease of the new directory is asked for, the leader is not asked as well. */
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    world_pass(&w, 20 * TIME_MS);
    struct client_op op = op_make("b", S_IFREG | 0644), look = op_named(CLIENT_LOOKUP, "a");
    op.parent = look.parent = shared;
    ck_assert_int_eq(world_do(&w, 0, look)->err, ENOENT);
    w.no_commit = true;
    uint64_t making = world_start(&w, 0, op);
    uint64_t rename = world_start(&w, 0, op_rename("a", shared, "a"));
    world_settle(&w);
    ck_assert(!answered(making) && !answered(rename));
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, making)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, rename)->err, 0);
    ck_assert_uint_eq(looked_up(shared, "a"), f.ino);
    ck_assert_uint_eq(looked_up(home, "a"), 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

/* ---- removed though this mount did not make it -------------------------------------------------
 */

static uint64_t theirs[4];

/* Mount 1 made files in `shared`, and is promised nothing of them any more. */
static void files_of_the_other(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "f%u", i);
        struct client_op op = op_make(name, S_IFREG | 0644);
        op.parent = shared;
        const struct world_answer *a = world_do(&w, 1, op);
        struct file f = {a->attr.ino, a->fh};
        theirs[i] = f.ino;
        (void)world_do(&w, 1, op_of(CLIENT_RELEASE, f));
    }
    world_pass(&w, 3 * TIME_S);
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(world_do(&w, 0, op_chmod(theirs[i], 0600))->err, 0);
    home = shared;
}

/* And mount 0 listed them. */
static void made_by_the_other(unsigned count)
{
    files_of_the_other(count);
    ck_assert_uint_eq(world_do(&w, 0, op_list(0, 100))->entries, count);
}

static uint64_t session_here(void)
{
    return client_stats(w.mounts[0].client, w.now).session;
}

START_TEST(removed_when_nobody_else_knows_it)
{
    made_by_the_other(3);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    unsigned sent = w.mounts[0].sends;
    (void)at_once(op_named(CLIENT_UNLINK, "f1"));
    (void)at_once(op_named(CLIENT_UNLINK, "f2"));
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    home = WORLD_ROOT;
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_LOOKUP, "shared"))->err, 0);
    size_t leases = client_stats(w.mounts[0].client, w.now).leases;
    (void)at_once(op_named(CLIENT_RMDIR, "shared"));
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).leases, leases);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(looked_up(WORLD_ROOT, "shared"), 0);
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).leases, leases - 1);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(removed_by_the_leader_when_others_know_it)
{
    /* Goal: whoever was promised its attributes hears of it before it is gone. */
    made_by_the_other(3);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, op_named(CLIENT_UNLINK, "f1"));
    world_pass(&w, 50 * TIME_MS);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 50 * TIME_MS);
    ck_assert(answered(id));
    ck_assert_int_ne(world_do(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}))->err, 0);
}
END_TEST

START_TEST(look_through_an_old_descriptor)
{
    /* Goal: another mount has had it open all the time, and asks when it is removed here and not
     * yet in the log. It is told that it has no name, and keeps it. */
    made_by_the_other(3);
    struct client_op open = op_of(CLIENT_OPEN, (struct file){theirs[1], 0});
    open.flags = O_RDONLY;
    struct file f = {theirs[1], world_do(&w, 1, open)->fh};
    ck_assert_int_eq(world_do(&w, 0, op_chmod(f.ino, 0640))->err, 0); /* it is promised nothing */
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    w.no_commit = true;
    (void)at_once(op_named(CLIENT_UNLINK, "f1"));
    uint64_t id = world_start(&w, 1, op_of(CLIENT_GETATTR, f));
    world_pass(&w, 50 * TIME_MS);
    ck_assert(world_find(&w, 1, id) == NULL);
    w.no_commit = false;
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 1, id)->err, 0);
    ck_assert_uint_eq(world_find(&w, 1, id)->attr.nlink, 0);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_RELEASE, f))->err, 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(look_under_a_new_leader)
{
    /* Goal: the new leader knows nothing of what the old one told; the lease is in the log. */
    made_by_the_other(3);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    w.no_commit = true;
    (void)at_once(op_named(CLIENT_UNLINK, "f1"));
    world_new_leader(&w, 2, false);
    w.no_commit = false;
    w.mounts[0].silent = true;
    uint64_t id = world_start(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}));
    world_pass(&w, 500 * TIME_MS);
    ck_assert(world_find(&w, 1, id) == NULL);
    w.mounts[0].silent = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert(world_find(&w, 1, id) != NULL);
    ck_assert_int_ne(world_find(&w, 1, id)->err, 0);
    ck_assert_uint_eq(looked_up(shared, "f1"), 0);
}
END_TEST

START_TEST(not_alone_while_a_mount_is_unsure)
{
    /* Goal: RULES L8: the new leader does not know what the old one promised to a mount that it has
     * not heard of yet, and that goes on relying on it until its lease is over. */
    made_by_the_other(3);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    world_link_down(&w, 1, 1);
    world_link_down(&w, 1, 2);
    world_new_leader(&w, 2, true);
    world_pass(&w, 500 * TIME_MS);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_LOOKUP, "f1"))->err, 0);
    uint64_t id = world_start(&w, 0, op_named(CLIENT_UNLINK, "f1"));
    world_pass(&w, 500 * TIME_MS);
    ck_assert(!answered(id));
    world_pass(&w, 5 * TIME_S);
    ck_assert(answered(id));
}
END_TEST

START_TEST(look_at_a_removed_directory)
{
    /* Goal: its lease stays until its removal is committed. */
    made_by_the_other(1);
    uint64_t session = session_here();
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    home = WORLD_ROOT;
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_LOOKUP, "shared"))->err, 0);
    w.no_commit = true;
    (void)at_once(op_named(CLIENT_RMDIR, "shared"));
    uint64_t id = world_start(&w, 1, op_of(CLIENT_GETATTR, (struct file){shared, 0}));
    world_pass(&w, 50 * TIME_MS);
    ck_assert(world_find(&w, 1, id) == NULL);
    w.no_commit = false;
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 1, id)->err, 0);
    ck_assert_uint_eq(world_find(&w, 1, id)->attr.nlink, 0);
    ck_assert_uint_eq(session_here(), session);
}
END_TEST

/* The question leaves, and its answer comes later. */
static void list_with_attributes(void)
{
    struct client_op op = op_list(0, 100);
    op.plus = true;
    ck_assert(!answered(world_start(&w, 0, op)));
}

/* Of what the other mount may know by now; it waits for the log. */
static void expect_asked(uint64_t ino)
{
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, op_chmod(ino, 0640));
    world_pass(&w, 50 * TIME_MS);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
}

START_TEST(told_when_it_gets_a_name_elsewhere)
{
    /* Goal: the answer that nobody else knows it is older than the link that is under way. */
    made_by_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    world_pass(&w, 50 * TIME_MS);
    list_with_attributes();
    uint64_t id = world_start(&w, 0, op_link((struct file){theirs[1], 0}, WORLD_ROOT, "z"));
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    expect_asked(theirs[1]);
}
END_TEST

START_TEST(told_when_it_goes_elsewhere)
{
    /* Goal: ... or than its rename, by a name that was not known here. */
    files_of_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, op_make("mine", S_IFREG | 0644))->err, 0);
    world_pass(&w, 50 * TIME_MS);
    ck_assert_uint_eq(home_lease(), session_here());
    list_with_attributes();
    uint64_t id = world_start(&w, 0, op_rename("f1", WORLD_ROOT, "z"));
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    expect_asked(theirs[1]);
}
END_TEST

START_TEST(told_when_it_is_gone)
{
    /* Goal: what is done to it after that must not come behind its end. */
    made_by_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    world_pass(&w, 50 * TIME_MS);
    list_with_attributes();
    (void)at_once(op_named(CLIENT_UNLINK, "f1"));
    world_settle(&w);
    ck_assert_int_ne(world_do(&w, 0, op_chmod(theirs[1], 0640))->err, 0);
    world_pass(&w, 50 * TIME_MS);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(told_under_an_earlier_lease)
{
    /* Goal: what was told ends with the lease, and the next one of the directory says nothing. */
    made_by_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    (void)at_once(op_chmod(theirs[1], 0604));
    ck_assert_int_eq(world_do(&w, 1, op_named(CLIENT_LOOKUP, "f1"))->err, 0);
    ck_assert_uint_eq(home_lease(), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_do(&w, 0, op_make("mine", S_IFREG | 0644))->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    expect_asked(theirs[1]);
}
END_TEST

START_TEST(told_in_an_earlier_session)
{
    made_by_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "f0"))->err, 0);
    (void)at_once(op_chmod(theirs[1], 0604));
    world_pass(&w, 50 * TIME_MS);
    world_end_session(&w, session_here());
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_make("mine", S_IFREG | 0644))->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    expect_asked(theirs[1]);
}
END_TEST

START_TEST(all_names_in_one_directory)
{
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(applied_attr(f.ino).home, home);
    (void)at_once(op_link(f, home, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(applied_attr(f.ino).home, home);
    ck_assert_int_eq(world_do(&w, 0, op_link(f, shared, "c"))->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).home, 0);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "b"))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_named(CLIENT_UNLINK, "a"))->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).home, 0);
    struct client_op rename = op_rename("c", shared, "d");
    rename.parent = shared;
    ck_assert_int_eq(world_do(&w, 0, rename)->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).home, shared);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client queue");
    TCase *t = tcase_create("here first");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, answered_at_once);
    tcase_add_test(t, sent_in_order);
    tcase_add_test(t, nothing_looks_different_afterwards);
    tcase_add_test(t, times_are_newer_than_what_a_read_tells);
    tcase_add_test(t, changes_of_what_has_no_name_are_the_leaders);
    tcase_add_test(t, removed_directory_that_is_open);
    tcase_add_test(t, minimal_acl_is_a_mode);
    tcase_add_test(t, more_than_a_mode_is_the_leaders);
    tcase_add_test(t, small_copies_are_written);
    suite_add_tcase(suite, t);
    t = tcase_create("all names of a directory");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, listed_under_its_lease);
    tcase_add_test(t, listed_from_the_middle);
    tcase_add_test(t, listed_under_the_lease_before);
    tcase_add_test(t, looked_ahead_until_all_is_known);
    tcase_add_test(t, made_by_the_leader_with_its_lease);
    tcase_add_test(t, lists_its_own_directory_itself);
    tcase_add_test(t, lists_itself_no_more_after_the_leader);
    suite_add_tcase(suite, t);
    t = tcase_create("two names of a file");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, linked_and_unlinked_at_once);
    tcase_add_test(t, link_follows_the_bytes);
    tcase_add_test(t, one_of_two_names_goes_while_it_is_open);
    tcase_add_test(t, renamed_among_its_own_names);
    tcase_add_test(t, names_in_two_directories_are_the_leaders);
    tcase_add_test(t, names_that_are_there_are_kept);
    tcase_add_test(t, look_for_the_second_name);
    suite_add_tcase(suite, t);
    t = tcase_create("made by another");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, removed_when_nobody_else_knows_it);
    tcase_add_test(t, removed_by_the_leader_when_others_know_it);
    tcase_add_test(t, look_through_an_old_descriptor);
    tcase_add_test(t, look_under_a_new_leader);
    tcase_add_test(t, not_alone_while_a_mount_is_unsure);
    tcase_add_test(t, look_at_a_removed_directory);
    tcase_add_test(t, told_when_it_gets_a_name_elsewhere);
    tcase_add_test(t, told_when_it_goes_elsewhere);
    tcase_add_test(t, told_when_it_is_gone);
    tcase_add_test(t, told_under_an_earlier_lease);
    tcase_add_test(t, told_in_an_earlier_session);
    tcase_add_test(t, all_names_in_one_directory);
    suite_add_tcase(suite, t);
    t = tcase_create("what waits");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, fsync_waits_for_name_and_bytes);
    tcase_add_test(t, fsync_of_a_directory_waits);
    tcase_add_test(t, rename_follows_the_bytes);
    tcase_add_test(t, recall_waits_for_the_queue);
    tcase_add_test(t, recall_waits_for_attributes);
    tcase_add_test(t, leader_comes_after_the_queue);
    tcase_add_test(t, end_waits_for_the_queue);
    tcase_add_test(t, new_leader_gets_the_queue);
    suite_add_tcase(suite, t);
    t = tcase_create("what others know, and what is lost");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, renamed_by_the_leader_is_private_no_more);
    tcase_add_test(t, exchanged_by_the_leader_is_private_no_more);
    tcase_add_test(t, lost_with_the_session);
    tcase_add_test(t, fsync_that_waits_when_it_is_lost);
    tcase_add_test(t, names_of_the_session_before);
    tcase_add_test(t, rename_that_waits_for_a_lease_is_done_once);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
