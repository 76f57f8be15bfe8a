"""rename(2) and renameat2(2)."""
import errno
import os

from tests.lib.calls import RENAME_EXCHANGE as EXCHANGE
from tests.lib.calls import RENAME_NOREPLACE as NOREPLACE
from tests.lib.calls import RENAME_WHITEOUT as WHITEOUT
from tests.lib.calls import rename2

FILES = ('file', 'fifo', 'socket', 'char', 'block', 'symlink')


def inode(v, *parts):
    return os.lstat(v.at(*parts)).st_ino


def plain(v, d):
    v.make('dir', d, 'other')
    for kind in (*FILES, 'dir'):
        for target in (('b',), ('other', 'b')):
            v.make(kind, d, 'a')
            ino = inode(v, d, 'a')
            v.gives(0, os.rename, *v.both((d, 'a'), (d, *target)))
            v.gives(errno.ENOENT, os.lstat, v.at(d, 'a'))
            v.same(inode(v, d, *target), ino, f'a renamed {kind}')
            v.gives(errno.ENOENT, os.rename, *v.both((d, 'a'), (d, 'c')))
            v.remove(kind, d, *target)


def replacing(v, d):
    for old in FILES:
        for new in FILES:
            v.make(old, d, 'a')
            v.make(new, d, 'b')
            ino = inode(v, d, 'a')
            v.gives(0, os.rename, *v.both((d, 'a'), (d, 'b')))
            v.same(inode(v, d, 'b'), ino, f'a {old} over a {new}')
            v.gives(errno.ENOENT, os.lstat, v.at(d, 'a'))
            v.remove(old, d, 'b')
        v.make(old, d, 'a')
        v.make('dir', d, 'dir')
        v.gives(errno.EISDIR, os.rename, *v.both((d, 'a'), (d, 'dir')))
        v.gives(errno.ENOTDIR, os.rename, *v.both((d, 'dir'), (d, 'a')))
        v.gives(0, os.lstat, v.at(d, 'a'))
        v.gives(0, os.lstat, v.at(d, 'dir'))
        v.remove(old, d, 'a')
        v.remove('dir', d, 'dir')
    v.make('dir', d, 'from')
    v.make('dir', d, 'to')
    v.make('file', d, 'from', 'file')
    ino = inode(v, d, 'from')
    v.gives(0, os.rename, *v.both((d, 'from'), (d, 'to')))  # an empty one is replaced
    v.same(inode(v, d, 'to'), ino, 'a directory over an empty one')
    v.gives(0, os.stat, v.at(d, 'to', 'file'))
    v.make('dir', d, 'from')
    v.gives(errno.ENOTEMPTY, os.rename, *v.both((d, 'from'), (d, 'to')))
    v.same(os.stat(v.at(d)).st_nlink, 4, 'links of the directory')


def circles(v, d):
    os.makedirs(v.at(d, 'a', 'b', 'c'))
    for below in (('a',), ('a', 'b'), ('a', 'b', 'c')):
        v.gives(errno.EINVAL, os.rename, *v.both((d, 'a'), (d, *below, 'x')))
        v.gives(errno.ENOTEMPTY if below[1:] else 0, os.rename, *v.both((d, *below), (d, 'a')))
    for name in ('.', '..'):
        v.gives(errno.EBUSY, os.rename, v.at(d, 'a') + '/' + name, v.here(d, 'x'))
        v.gives(errno.EBUSY, os.rename, v.at(d, 'a'), v.here(d, 'a') + '/' + name)
    v.gives(errno.EXDEV, os.rename, v.at(d, 'a'), '/proc/nowhere')
    v.gives(0, os.rename, *v.both((d, 'a', 'b', 'c'), (d, 'c')))
    v.same(os.stat(v.at(d, 'a', 'b')).st_nlink, 2, 'a directory moved out')
    v.same(os.stat(v.at(d)).st_nlink, 4, 'and in')
    v.same(os.stat(v.at(d, 'c', '..')).st_ino, os.stat(v.at(d)).st_ino, 'its parent is another')


def links_of_one_file(v, d):
    v.make('file', d, 'a')
    os.link(*v.both((d, 'a'), (d, 'b')))
    v.gives(0, os.rename, *v.both((d, 'a'), (d, 'b')))  # nothing happens
    v.same(os.lstat(v.at(d, 'a')).st_nlink, 2, 'both names stay')
    v.gives(0, os.rename, *v.both((d, 'a'), (d, 'a')))
    v.gives(0, os.rename, *v.both((d, 'b'), (d, 'c')))
    v.same(sorted(os.listdir(v.at(d))), ['a', 'c'], 'names')


def flags(v, d):
    for old in (*FILES, 'dir'):
        for new in (*FILES, 'dir'):
            v.make(old, d, 'a')
            v.make(new, d, 'b')
            a, b = inode(v, d, 'a'), inode(v, d, 'b')
            v.gives(errno.EEXIST, rename2, *v.both((d, 'a'), (d, 'b')), NOREPLACE)
            v.gives(0, rename2, *v.both((d, 'a'), (d, 'b')), EXCHANGE)
            v.same((inode(v, d, 'a'), inode(v, d, 'b')), (b, a), f'a {old} and a {new} exchanged')
            v.remove(new, d, 'a')
            v.gives(errno.ENOENT, rename2, *v.both((d, 'a'), (d, 'b')), EXCHANGE)
            v.gives(errno.ENOENT, rename2, *v.both((d, 'b'), (d, 'a')), EXCHANGE)
            v.gives(0, rename2, *v.both((d, 'b'), (d, 'a')), NOREPLACE)
            v.same(inode(v, d, 'a'), a, 'to a free name')
            v.remove(old, d, 'a')
    v.make('file', d, 'a')
    v.gives(errno.EINVAL, rename2, *v.both((d, 'a'), (d, 'b')), NOREPLACE | EXCHANGE)
    v.gives(errno.EINVAL, rename2, *v.both((d, 'a'), (d, 'b')), 64)
    os.makedirs(v.at(d, 'x', 'y'))
    v.gives(errno.EINVAL, rename2, *v.both((d, 'x'), (d, 'x', 'y')), EXCHANGE)


def open_files(v, d):
    for mode in ('over', 'away'):
        for path, text in (('a', b'new'), ('b', b'old')):
            with open(v.at(d, path), 'wb') as f:
                f.write(text)
        fd = os.open(v.at(d, 'b' if mode == 'over' else 'a'), os.O_RDWR)
        v.gives(0, os.rename, *v.both((d, 'a'), (d, 'b')))
        v.same(os.pread(fd, 10, 0), b'old' if mode == 'over' else b'new', 'an open file keeps its bytes')
        v.gives(0, os.pwrite, fd, b'more', 3)
        v.same(os.pread(fd, 10, 0), (b'old' if mode == 'over' else b'new') + b'more', 'and takes more')
        v.same(os.fstat(fd).st_nlink, 0 if mode == 'over' else 1, 'links')
        os.close(fd)
        with open(v.at(d, 'b'), 'rb') as f:
            v.same(f.read(), b'new' if mode == 'over' else b'newmore', 'the name has the new file')
        os.unlink(v.at(d, 'b'))


subjects = [plain, replacing, circles, links_of_one_file, flags, open_files]
