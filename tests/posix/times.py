"""Times: which operation moves which, what may be set, reads under relatime."""
import ctypes
import errno
import os
import time

from tests.posix.permissions import GROUP, ONE

libc = ctypes.CDLL(None, use_errno=True)
S = 10**9
DAY = 86400 * S
TICK = .012  # other filesystems look at the clock that often


class Timespec(ctypes.Structure):
    _fields_ = [('s', ctypes.c_long), ('ns', ctypes.c_long)]


NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2


def utimens(path, atime, mtime):
    pair = (Timespec * 2)(Timespec(*atime), Timespec(*mtime))
    if libc.utimensat(-100, os.fsencode(path), pair, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def times(path):
    st = os.lstat(path)
    return {'a': st.st_atime_ns, 'm': st.st_mtime_ns, 'c': st.st_ctime_ns}


def read(path, flags=0):
    fd = os.open(path, os.O_RDONLY | flags)
    data = os.read(fd, 100)
    os.close(fd)
    return data


def write(path, data=b'data'):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, data)
    os.fsync(fd)  # while data are on their way the time of change may move once more: docs/posix.md
    os.close(fd)


def moves(v, what, on, change):
    """`change` moves exactly the times `what` ('mc') of each of the objects `on` {path parts: 'mc'}."""
    before = {parts: times(v.at(*parts)) for parts in on}
    time.sleep(TICK)
    change()
    for parts, want in on.items():
        after = times(v.at(*parts))
        for which in 'mc':
            moved = after[which] > before[parts][which]
            v.check(moved == (which in want), f'{what}: {which}time of {parts[1:]} {"moved" if moved else "stays"}')


def moved_by(v, d):
    f, g, sub = (d, 'f'), (d, 'g'), (d, 'sub')
    v.make('dir', *sub)
    moves(v, 'create', {(d,): 'mc'}, lambda: v.make('file', *f))
    moves(v, 'write', {f: 'mc', (d,): ''}, lambda: write(v.at(*f)))
    moves(v, 'read', {f: '', (d,): ''}, lambda: read(v.at(*f)))
    moves(v, 'stat', {f: '', (d,): ''}, lambda: os.stat(v.at(*f)))
    moves(v, 'truncate', {f: 'mc'}, lambda: os.truncate(v.at(*f), 1))
    moves(v, 'extend', {f: 'mc'}, lambda: os.truncate(v.at(*f), 9))
    moves(v, 'O_TRUNC', {f: 'mc'}, lambda: os.close(os.open(v.at(*f), os.O_WRONLY | os.O_TRUNC)))
    moves(v, 'chmod', {f: 'c', (d,): ''}, lambda: os.chmod(v.at(*f), 0o600))
    moves(v, 'chown', {f: 'c', (d,): ''}, lambda: os.chown(v.at(*f), ONE, GROUP))
    moves(v, 'setxattr', {f: 'c', (d,): ''}, lambda: os.setxattr(v.at(*f), 'user.x', b'1'))
    moves(v, 'removexattr', {f: 'c', (d,): ''}, lambda: os.removexattr(v.at(*f), 'user.x'))
    moves(v, 'link', {f: 'c', (d,): 'mc'}, lambda: os.link(*v.both(f, g)))
    moves(v, 'unlink', {f: 'c', (d,): 'mc'}, lambda: os.unlink(v.at(*g)))
    moves(v, 'symlink', {f: '', (d,): 'mc'}, lambda: os.symlink('f', v.at(*g)))
    moves(v, 'readlink', {g: '', (d,): ''}, lambda: os.readlink(v.at(*g)))
    os.unlink(v.at(*g))
    moves(v, 'rename', {(d,): 'mc'}, lambda: os.rename(*v.both(f, g)))
    moves(v, 'rename away', {(d,): 'mc', sub: 'mc'}, lambda: os.rename(*v.both(g, (*sub, 'f'))))
    moves(v, 'mkdir', {sub: 'mc', (d,): ''}, lambda: os.mkdir(v.at(*sub, 'new')))
    moves(v, 'rmdir', {sub: 'mc', (d,): ''}, lambda: os.rmdir(v.at(*sub, 'new')))
    moves(v, 'failing', {sub: '', (d,): ''}, lambda: v.gives(errno.ENOTEMPTY, os.rmdir, v.at(*sub)))
    moves(v, 'listing', {sub: '', (d,): ''}, lambda: os.listdir(v.at(*sub)))
    moves(v, 'mknod', {sub: 'mc'}, lambda: os.mkfifo(v.at(*sub, 'p')))
    moves(v, 'utimes', {(*sub, 'p'): 'mc', sub: ''}, lambda: os.utime(v.at(*sub, 'p')))


def set_by_hand(v, d):
    v.make('file', d, 'f')
    v.make('dir', d, 'dir')
    os.symlink('nowhere', v.at(d, 'link'))
    values = (0, 1, S - 1, S, -1, -S, -S - 1, -2**31 * S, (2**31 - 1) * S, 2**31 * S, 2**32 * S + 5, 2**33 * S + 999999999, 1234567890123456789)
    for name in ('f', 'dir', 'link'):
        for atime in values:
            for mtime in (values[3], atime, 2**31 * S + 7):
                before = os.lstat(v.at(d, name)).st_ctime_ns
                v.gives(0, os.utime, v.at(d, name), ns=(atime, mtime), follow_symlinks=False)
                st = os.lstat(v.at(d, name))
                v.same((st.st_atime_ns, st.st_mtime_ns), (atime, mtime), f'times of {name}')
                v.check(st.st_ctime_ns >= before, 'the time of change does not go back')
    path = v.at(d, 'f')
    v.gives(0, utimens, path, (5, 6), (7, 8))
    v.gives(0, utimens, v.at(d, 'f'), (0, OMIT), (9, 10))
    v.same((times(v.at(d, 'f'))['a'], times(v.at(d, 'f'))['m']), (5 * S + 6, 9 * S + 10), 'UTIME_OMIT of atime')
    v.gives(0, utimens, v.at(d, 'f'), (11, 12), (0, OMIT))
    v.same((times(v.at(d, 'f'))['a'], times(v.at(d, 'f'))['m']), (11 * S + 12, 9 * S + 10), 'UTIME_OMIT of mtime')
    before = times(v.at(d, 'f'))
    v.gives(0, utimens, v.at(d, 'f'), (0, OMIT), (0, OMIT))
    v.same(times(v.at(d, 'f')), before, 'UTIME_OMIT of both')
    start = time.time_ns() - S
    v.gives(0, utimens, v.at(d, 'f'), (0, NOW), (13, 14))
    t = times(v.at(d, 'f'))
    v.check(start < t['a'] < time.time_ns() + S and t['m'] == 13 * S + 14, f'UTIME_NOW of atime: {t}')
    v.gives(0, utimens, v.at(d, 'f'), (15, 16), (0, NOW))
    t = times(v.at(d, 'f'))
    v.check(start < t['m'] < time.time_ns() + S and t['a'] == 15 * S + 16, f'UTIME_NOW of mtime: {t}')
    v.gives(errno.EINVAL, utimens, v.at(d, 'f'), (0, S), (0, 0))
    v.gives(errno.EINVAL, utimens, v.at(d, 'f'), (0, 0), (0, -1))
    with open(v.at(d, 'f'), 'wb') as f:  # a time set while data are on their way is not overwritten by them
        f.write(b'data')
        f.flush()
        os.utime(f.fileno(), ns=(17, 18))
    v.same((times(v.at(d, 'f'))['a'], times(v.at(d, 'f'))['m']), (17, 18), 'set before close')


def reads(v, d):
    """relatime: the first read after a change, and one a day. Another mount hears of it later: docs/posix.md."""
    with open(v.at(d, 'f'), 'wb') as f:
        f.write(b'data')
    v.make('dir', d, 'dir')
    os.symlink('f', v.at(d, 'link'))
    for name, look in (('f', read), ('dir', os.listdir), ('link', os.readlink)):
        path = v.at(d, name)
        time.sleep(TICK)
        look(path)
        first = times(path)
        v.check(first['a'] > first['m'] and first['a'] > first['c'], f'the first read of {name}: {first}')
        time.sleep(TICK)
        look(path)
        v.same(times(path)['a'], first['a'], f'the second read of {name}')
        os.utime(path, ns=(time.time_ns() - 2 * DAY, first['m']), follow_symlinks=False)
        time.sleep(TICK)
        look(path)
        if name != 'link' or not v.is_tally():  # its target is kept by the kernel
            v.check(times(path)['a'] > first['a'], f'two days later: {name}')
        later = time.time_ns() + 3600 * S
        os.utime(path, ns=(later, first['m']), follow_symlinks=False)
        look(path)
        v.same(times(path)['a'], later, f'one of the future stays: {name}')
        os.utime(path, ns=(5, 6), follow_symlinks=False)
        v.same(times(path)['a'], 5, f'set by hand, not read since: {name}')
    path = v.at(d, 'f')
    os.utime(path, ns=(5, 6))
    read(path, os.O_NOATIME)
    v.same(times(path)['a'], 5, 'O_NOATIME')
    fd = os.open(v.at(d, 'dir'), os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
    os.utime(fd, ns=(5, 6))
    os.listdir(fd)
    v.same(os.fstat(fd).st_atime_ns, 5, 'O_NOATIME of a directory')
    os.close(fd)
    read(path)
    before = times(path)
    time.sleep(TICK)
    write(path, b'other')
    v.same(times(path)['a'], before['a'], 'writing is not reading')
    time.sleep(TICK)
    v.same(read(path), b'other', 'what was written')
    v.check(times(path)['a'] > times(path)['m'], 'read after it was written')
    time.sleep(TICK)
    os.chmod(path, 0o600)
    time.sleep(TICK)
    read(path)
    v.check(times(path)['a'] > times(path)['c'], 'read after its attributes changed')


subjects = [moved_by, set_by_hand, reads]
