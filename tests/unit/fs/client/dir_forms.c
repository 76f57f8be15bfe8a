#include "tests/unit/fs/client/dir_forms.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/lib/run.h"

struct world w;
uint64_t home;
uint64_t shared;

struct client_op make_op(const char *name, uint32_t mode)
{
    return (struct client_op){.kind = CLIENT_MAKE,
                              .parent = home,
                              .name = name,
                              .mode = mode,
                              .open = S_ISREG(mode),
                              .flags = O_RDWR | O_CREAT};
}

struct client_op op_of(enum client_op_kind kind, struct file f)
{
    return (struct client_op){.kind = kind, .ino = f.ino, .fh = f.fh};
}

struct client_op named_op(enum client_op_kind kind, const char *name)
{
    return (struct client_op){.kind = kind, .parent = home, .name = name};
}

struct client_op rename_op(const char *from, uint64_t newparent, const char *to)
{
    return (struct client_op){
        .kind = CLIENT_RENAME, .parent = home, .name = from, .newparent = newparent, .newname = to};
}

struct client_op link_op(struct file f, uint64_t dir, const char *name)
{
    return (struct client_op){.kind = CLIENT_LINK, .ino = f.ino, .newparent = dir, .newname = name};
}

struct client_op chmod_op(uint64_t ino, uint32_t mode)
{
    return (struct client_op){
        .kind = CLIENT_SETATTR, .ino = ino, .set = FS_SETATTR_MODE, .mode = mode};
}

struct client_op write_op(struct file f, const char *text)
{
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.size = strlen(text);
    op.data = blob_copy(text, strlen(text));
    return op;
}

const struct world_answer *at_once(struct client_op op)
{
    uint64_t id = world_start(&w, 0, op);
    const struct world_answer *a = world_find(&w, 0, id);
    ck_assert_msg(a != NULL, "operation of kind %d awaits something", (int)op.kind);
    ck_assert_int_eq(a->err, 0);
    return a;
}

struct file make(const char *name)
{
    const struct world_answer *a = at_once(make_op(name, S_IFREG | 0644));
    return (struct file){a->attr.ino, a->fh};
}

bool answered(uint64_t id)
{
    return world_find(&w, 0, id) != NULL;
}

uint64_t looked_up(uint64_t dir, const char *name)
{
    Fs__Attr attr = FS__ATTR__INIT;
    return fs_lookup(w.state, dir, name, strlen(name), &attr) == 0 ? attr.ino : 0;
}

size_t kinds_pending(Fs__Op__BodyCase *kinds, size_t max)
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

size_t pending(Fs__Op__BodyCase kind)
{
    Fs__Op__BodyCase kinds[32];
    size_t count = kinds_pending(kinds, 32), found = 0;
    for (size_t i = 0; i < count; i++)
        found += kinds[i] == kind;
    return found;
}

Fs__Attr applied_attr(uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w.state, ino, &attr), 0);
    return attr;
}

Fs__Attr attr_here(uint64_t ino)
{
    return at_once(op_of(CLIENT_GETATTR, (struct file){ino, 0}))->attr;
}

void expect_same(const Fs__Attr *a, const Fs__Attr *b)
{
    ck_assert_uint_eq(a->ino, b->ino);
    ck_assert_uint_eq(a->mode, b->mode);
    ck_assert_uint_eq(a->nlink, b->nlink);
    ck_assert_int_eq(a->mtime, b->mtime);
    ck_assert_int_eq(a->ctime, b->ctime);
}

uint64_t home_lease(void)
{
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w.state, home, &attr), 0);
    return attr.lease_session;
}

void warm_up(void)
{
    static char name[] = "wa"; /* never the same again */
    for (int tries = 0; tries < 8; tries++) {
        name[1]++;
        struct client_op op = make_op(name, S_IFDIR | 0755);
        struct client_op look = named_op(CLIENT_LOOKUP, name);
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

void dirs_setup(void)
{
    world_open(&w);
    home = WORLD_ROOT;
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
    shared = world_do(&w, 1, make_op("shared", S_IFDIR | 0755))->attr.ino;
    w.local_names = true;
    world_add_mount(&w, 0, CLIENT_LINEARIZABLE);
    warm_up();
}

void dirs_teardown(void)
{
    world_close(&w);
}

struct client_op list_op(uint64_t after, uint64_t max)
{
    return (struct client_op){.kind = CLIENT_READDIR, .ino = home, .offset = after, .size = max};
}

uint64_t session_here(void)
{
    return client_stats(w.mounts[0].client, w.now).session;
}
