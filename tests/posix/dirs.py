"""Listings: complete, stable while names come and go, telldir and seekdir."""
import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.readdir64.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
for name, arguments in {'opendir': [ctypes.c_char_p], 'readdir64': [ctypes.c_void_p], 'closedir': [ctypes.c_void_p],
                        'telldir': [ctypes.c_void_p], 'seekdir': [ctypes.c_void_p, ctypes.c_long], 'rewinddir': [ctypes.c_void_p]}.items():
    getattr(libc, name).argtypes = arguments
NAME_OFFSET = 19  # of struct dirent64


class Dir:
    def __init__(self, path):
        self.dir = libc.opendir(os.fsencode(path))
        assert self.dir, os.strerror(ctypes.get_errno())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        libc.closedir(self.dir)

    def read(self):
        entry = libc.readdir64(self.dir)
        return os.fsdecode(ctypes.string_at(entry + NAME_OFFSET)) if entry else None

    def rest(self):
        return list(iter(self.read, None))

    def tell(self):
        return libc.telldir(self.dir)

    def seek(self, place):
        libc.seekdir(self.dir, place)

    def rewind(self):
        libc.rewinddir(self.dir)


def fill(v, d, count):
    names = [f'name-{i:05}' for i in range(count)]
    for name in names:
        v.make('file', d, name)
    return names


def complete(v, d):
    for count in (0, 1, 2, 10, 500):
        sub = os.path.join(d, f'of{count}')
        v.make('dir', sub)
        names = fill(v, sub, count)
        for _ in v.roots:
            with Dir(v.at(sub)) as dir:
                v.same(sorted(dir.rest()), sorted(['.', '..', *names]), f'{count} names')
        v.same(len(set(e.inode() for e in os.scandir(v.at(sub)))), count, 'inode numbers')
    v.gives(errno.ENOTDIR, os.listdir, v.at(d, 'of1', 'name-00000'))


def stable(v, d):
    """What was there throughout is seen once, whatever comes and goes."""
    kept = fill(v, d, 400)
    for i in range(200):
        v.make('file', d, f'goes-{i}')
    with Dir(v.at(d)) as dir:
        seen = [dir.read() for _ in range(50)]
        for i in range(200):
            v.remove('file', d, f'goes-{i}')
            v.make('file', d, f'comes-{i}')
        seen += dir.rest()
    for name in kept:
        v.same(seen.count(name), 1, f'{name} is seen once')
    v.check(all(seen.count(f'comes-{i}') <= 1 for i in range(200)), 'what comes is seen once at most')


def places(v, d):
    fill(v, d, 60)
    with Dir(v.at(d)) as dir:
        order, before = [], []
        while True:
            before.append(dir.tell())
            name = dir.read()
            if name is None:
                break
            order.append(name)
        for i in (0, 1, 2, 3, 17, 40, 59, 61, 20, 5):
            dir.seek(before[i])
            v.same(dir.rest(), order[i:], f'from place {i} on')
        dir.rewind()
        v.same(dir.rest(), order, 'from the beginning')
        gone = order[30]
        os.unlink(v.at(d, gone))
        dir.seek(before[30])
        v.same(dir.rest(), order[31:], 'from a place whose name is gone')
        v.make('file', d, 'new')
        dir.rewind()
        v.same(sorted(dir.rest()), sorted([n for n in order if n != gone] + ['new']), 'rewinding sees what is new')


def removed(v, d):
    v.make('dir', d, 'sub')
    fd = os.open(v.at(d, 'sub'), os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(v.at(d, 'sub'))
    v.same([e for e in os.listdir(fd) if e not in ('.', '..')], [], 'a removed directory is empty')
    v.gives(errno.ENOENT, os.open, 'x', os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    v.gives(errno.ENOENT, os.mkdir, 'x', dir_fd=fd)
    os.close(fd)
    v.gives(errno.EISDIR, os.open, v.at(d), os.O_WRONLY)
    v.gives(errno.EISDIR, os.open, v.at(d), os.O_RDWR)
    v.gives(errno.EISDIR, os.truncate, v.at(d), 0)
    fd = os.open(v.at(d), os.O_RDONLY)
    v.gives(errno.EISDIR, os.read, fd, 1)
    v.gives(0, os.fsync, fd)
    os.close(fd)


subjects = [complete, stable, places, removed]
