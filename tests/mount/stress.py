"""A mix of everything that changes a tree, from several processes at once, in the manner of fsstress.

    python3 -m tests.mount.stress ROOT SEED OPERATIONS [WHO]

All processes use the same few names, so most calls meet what another has just made, moved or removed. Which errno a call then
gives is chance; that it gives one of those that POSIX has for a lost race is not. Prints what each kind of call gave, as JSON.
"""
import contextlib
import ctypes
import errno
import json
import mmap
import os
import random
import stat
import sys

from tests.lib.calls import RENAME_EXCHANGE, RENAME_NOREPLACE, checked, libc, rename2

AT_SYMLINK_FOLLOW = 0x400
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE = 1, 2, 16
NAMES, DEPTH = 12, 4  # per directory; of directories
SIZE_MAX = 300_000
# Lost races, and calls on what is no directory, no file, not empty, a full fifo or one whose reader has left (EPIPE).
# Anything else (EIO, ESTALE, ETIMEDOUT) is wrong.
RACES = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP, errno.EINVAL, errno.ENODATA,
         errno.EBUSY, errno.ENXIO, errno.ESPIPE, errno.EPERM, errno.EOPNOTSUPP, errno.EAGAIN, errno.EPIPE}


def fallocate(fd, mode, at, size):
    checked(libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(size)))


class Mix:
    def __init__(self, root, seed, who):
        self.root, self.random, self.who = root, random.Random(seed), who
        self.fds = []  # kept open while their names come and go
        self.given = {}
        self.folders, self.seen = [root], []

    def new(self, letter='f'):
        """A path that may exist already, in a directory that probably does."""
        return os.path.join(self.random.choice(self.folders), f'{letter}{self.random.randrange(NAMES)}')

    def old(self):
        """A path of something that was seen a moment ago, or made now by another."""
        return self.random.choice(self.seen) if self.seen and self.random.random() < 0.8 else self.new()

    def note(self, path):
        self.seen = self.seen[-30:] + [path]

    def open(self, path, flags=0):
        return os.open(path, os.O_NONBLOCK | os.O_NOFOLLOW | flags, 0o644)

    def with_file(self, flags, function):
        """On a new descriptor, or on an old one, whose file may have no name any more."""
        if self.fds and self.random.random() < 0.4:
            return function(self.random.choice(self.fds))
        fd = self.open(self.old(), flags)
        try:
            return function(fd)
        finally:
            os.close(fd)

    def some(self):
        return bytes([self.random.randrange(256)]) * self.random.choice((1, 100, 4096, 5000, 70_000))

    def create(self):
        path = self.new()
        os.close(self.open(path, os.O_CREAT | os.O_RDWR | self.random.choice((0, 0, os.O_EXCL, os.O_TRUNC))))
        self.note(path)

    def tmpfile(self):
        """A file without a name, which some are given in the end."""
        fd = os.open(self.random.choice(self.folders), os.O_TMPFILE | os.O_RDWR, 0o600)
        try:
            os.write(fd, self.some())
            if self.random.random() < 0.5:
                new = self.new()
                checked(libc.linkat(-100, f'/proc/self/fd/{fd}'.encode(), -100, os.fsencode(new), AT_SYMLINK_FOLLOW))
                self.note(new)
        finally:
            os.close(fd)

    def keep(self):
        self.fds.append(self.open(self.old(), os.O_RDWR))
        if len(self.fds) > 6:
            os.close(self.fds.pop(self.random.randrange(6)))

    def mkdir(self):
        path = self.new('d')
        if path.count('/') - self.root.count('/') <= DEPTH:
            os.mkdir(path)
            self.folders = self.folders[-6:] + [self.root, path]

    def mknod(self):
        os.mknod(self.new(), self.random.choice((stat.S_IFIFO, stat.S_IFREG, stat.S_IFSOCK)) | 0o600)

    def rename(self):
        old, new = self.old(), self.new()
        os.rename(old, new)
        self.note(new)

    def rename_directory(self):
        os.rename(self.random.choice(self.folders), self.new('d'))

    def rename_flags(self):
        rename2(self.old(), self.random.choice((self.old(), self.new())), self.random.choice((RENAME_NOREPLACE, RENAME_EXCHANGE)))

    def link(self):
        new = self.new()
        os.link(self.old(), new, follow_symlinks=False)
        self.note(new)

    def symlink(self):
        os.symlink(self.random.choice(('no/where', 'f1', '../f2', '.', 'x/' * 1500)), self.new())

    def unlink(self):
        os.unlink(self.old())

    def rmdir(self):
        folder = self.random.choice(self.folders)
        os.rmdir(folder if folder != self.root else self.old())  # the tree itself may be empty when all begin

    def write(self):
        self.with_file(os.O_WRONLY, lambda fd: os.pwrite(fd, self.some(), self.random.randrange(SIZE_MAX)))

    def append(self):
        self.with_file(os.O_WRONLY | os.O_APPEND, lambda fd: os.fstat(fd).st_size > SIZE_MAX or os.write(fd, self.some()))

    def read(self):
        self.with_file(os.O_RDONLY, lambda fd: os.pread(fd, 100_000, self.random.randrange(SIZE_MAX)))

    def read_map(self):
        def look(fd):
            size = os.fstat(fd).st_size
            if size > mmap.PAGESIZE:  # another may cut the file under us, which is SIGBUS, as everywhere: map, do not touch
                with contextlib.suppress(ValueError):  # cut it between two looks: Python's own, before it maps, is the second
                    mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ).close()
        self.with_file(os.O_RDONLY, look)

    def truncate(self):
        size = self.random.choice((0, self.random.randrange(SIZE_MAX)))
        self.with_file(os.O_WRONLY, lambda fd: os.ftruncate(fd, size))

    def allocate(self):
        mode = self.random.choice((0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE))
        at, size = self.random.randrange(SIZE_MAX), self.random.randrange(1, 70_000)
        self.with_file(os.O_WRONLY, lambda fd: fallocate(fd, mode, at, size))

    def copy(self):
        def from_one(source):
            self.with_file(os.O_WRONLY, lambda fd: os.copy_file_range(source, fd, 70_000, 0, self.random.randrange(SIZE_MAX)))
        self.with_file(os.O_RDONLY, from_one)

    def fsync(self):
        self.with_file(os.O_RDONLY, os.fsync)

    def set_xattr(self):
        os.setxattr(self.old(), f'user.{self.random.randrange(4)}', self.some()[:5000], follow_symlinks=False)

    def remove_xattr(self):
        os.removexattr(self.old(), f'user.{self.random.randrange(4)}', follow_symlinks=False)

    def list_xattr(self):
        path = self.old()
        for name in os.listxattr(path, follow_symlinks=False):
            os.getxattr(path, name, follow_symlinks=False)

    def chmod(self):
        os.chmod(self.old(), self.random.choice((0o600, 0o644, 0o755, 0o4755)))

    def chown(self):
        os.chown(self.old(), self.random.randrange(3), self.random.randrange(3), follow_symlinks=False)

    def utime(self):
        at = self.random.randrange(2**60)
        os.utime(self.old(), ns=(at, at + 1), follow_symlinks=False)

    def stat(self):
        os.lstat(self.old())

    def readlink(self):
        os.readlink(self.old())

    def list(self):
        folder = self.random.choice(self.folders)
        names = [e.name for e in os.scandir(folder)]
        self.seen = self.seen[-10:] + [os.path.join(folder, name) for name in names if name[0] == 'f'][:20]

    def sync_directory(self):
        fd = os.open(self.random.choice(self.folders), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    KINDS = (create, create, create, tmpfile, keep, mkdir, mkdir, mknod, rename, rename, rename_directory, rename_flags, link, link, symlink, unlink, unlink,
             rmdir, write, write, write, append, read, read_map, truncate, allocate, copy, fsync, set_xattr, set_xattr,
             remove_xattr, list_xattr, chmod, chown, utime, stat, readlink, list, sync_directory)

    def run(self, operations):
        for number in range(operations):
            kind = self.random.choice(self.KINDS)
            code = 0
            try:
                kind(self)
            except OSError as e:
                code = e.errno
                if code not in RACES:
                    raise AssertionError(f'{self.who}: operation {number}: {kind.__name__}: {e!r}') from e
            told = self.given.setdefault(kind.__name__, {})
            name = errno.errorcode[code] if code else 'fine'
            told[name] = told.get(name, 0) + 1
        for fd in self.fds:
            os.close(fd)


if __name__ == '__main__':
    mix = Mix(sys.argv[1], int(sys.argv[2]), sys.argv[4] if len(sys.argv) > 4 else 'stress')
    mix.run(int(sys.argv[3]))
    print(json.dumps(mix.given))
