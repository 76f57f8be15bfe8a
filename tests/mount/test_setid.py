"""Set-id bits and file capabilities fall with a write as they do on a local file system, which is asked the same things."""
import contextlib
import ctypes
import errno
import mmap
import os
import pickle
import stat
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.calls import checked, error_of, libc
from tests.lib.lab import Lab
from tests.lib.tap import figure, main, test

ONE, GROUP, OTHER = 12001, 12003, 12004  # numbers that nobody has
CAPABILITY = 'security.capability'
SOME = struct.pack('<5I', 0x02000001, 1 << 13, 0, 0, 0)  # version 2, effective, CAP_NET_RAW
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
PAGE = mmap.PAGESIZE
BEFORE = b'b' * 2 * PAGE


# ---- what may change a file ---------------------------------------------------------------------------------------------

@contextlib.contextmanager
def opened(path, flags):
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def by(flags, change):
    """change(fd) through a new descriptor."""
    def run(path):
        with opened(path, flags) as fd:
            change(fd)
    return run


def write_direct(fd):
    page = mmap.mmap(-1, PAGE)  # aligned
    page.write(b'd' * PAGE)
    assert os.pwritev(fd, [page], 0) == PAGE


def write_mapped(fd):
    with mmap.mmap(fd, PAGE) as m:
        m[:1] = b'm'
        m.flush()


def fallocate(mode):
    return by(os.O_WRONLY, lambda fd: checked(libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(3 * PAGE))))


def copy(path):
    with opened(f'{os.path.dirname(path)}/source', os.O_RDONLY) as source, opened(path, os.O_WRONLY) as fd:
        assert os.copy_file_range(source, fd, 2 * PAGE + 10) == 2 * PAGE + 10


DATA = {
    'write': by(os.O_WRONLY, lambda fd: os.write(fd, b'w')),
    'pwrite': by(os.O_WRONLY, lambda fd: os.pwrite(fd, b'p', 5000)),
    'append': by(os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b'a')),
    'O_DIRECT': by(os.O_WRONLY | os.O_DIRECT, write_direct),
    'O_SYNC': by(os.O_WRONLY | os.O_SYNC, lambda fd: os.write(fd, b's')),
    'mmap': by(os.O_RDWR, write_mapped),
    'truncate': lambda path: os.truncate(path, 10),
    'ftruncate': by(os.O_WRONLY, lambda fd: os.ftruncate(fd, PAGE)),
    'longer': by(os.O_WRONLY, lambda fd: os.ftruncate(fd, 5 * PAGE)),
    'O_TRUNC': by(os.O_WRONLY | os.O_TRUNC, lambda fd: None),
    'fallocate': fallocate(0),
    'keep size': fallocate(KEEP_SIZE),
    'punch': fallocate(PUNCH_HOLE | KEEP_SIZE),
    'copy': copy,
}
OWNERS = {
    'chown': lambda path: os.chown(path, ONE, GROUP),
    'chgrp': lambda path: os.chown(path, -1, GROUP),
    'chown none': lambda path: os.chown(path, -1, -1),
    'fchown': by(os.O_WRONLY, lambda fd: os.fchown(fd, ONE, -1)),
}
HARMLESS = {  # no change of data or owner
    'utime': lambda path: os.utime(path, (1, 1)),
    'fsync': by(os.O_WRONLY, os.fsync),
    'read': by(os.O_RDONLY, lambda fd: os.read(fd, 10)),
    'nothing': by(os.O_WRONLY, lambda fd: os.write(fd, b'')),
}
CHANGES = {**DATA, **OWNERS, **HARMLESS}
BOTH = (0o6777, True)
# Not 0o2767 by who is not of the group: FUSE can't tell him from one who is, and leaves it set.
KINDS = [(0o4777, False), (0o2777, False), (0o6777, False), (0o6767, False), (0o777, False), (0o777, True), BOTH]


def cases(uid):
    """(change, mode, capable). Root's changes of what has both are another test."""
    return [(change, *kind) for change in CHANGES for kind in KINDS if uid or kind != BOTH]


# ---- asking -------------------------------------------------------------------------------------------------------------

def as_user(uid, function):
    """What function() gives, in a child that is this user, of its file's group."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            if uid:
                os.setgroups([GROUP])
                os.setresgid(OTHER, OTHER, OTHER)
                os.setresuid(uid, uid, uid)
            with os.fdopen(write, 'wb') as f:
                pickle.dump(function(), f)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, 'rb') as f:
        data = f.read()
    os.waitpid(pid, 0)
    assert data, 'the child told nothing'
    return pickle.loads(data)


def name_of(change, mode, capable):
    return f'{change}-{mode:o}{"-capable" if capable else ""}'


def make(top, names):
    os.mkdir(top)
    os.chmod(top, 0o777)
    for name in names:
        with open(f'{top}/{name}', 'xb', buffering=0) as f:
            f.write(BEFORE)
            f.write(b'more than two pages')
        os.chown(f'{top}/{name}', ONE, GROUP)
        os.chmod(f'{top}/{name}', 0o777)


def warm(top):
    """Writes by who will change them: from now on the kernel has seen that there is nothing to be dropped."""
    for name in os.listdir(top):
        with opened(f'{top}/{name}', os.O_WRONLY) as fd:
            os.write(fd, b'w')
            os.write(fd, b'x')


def empower(path, mode, capable):
    os.chmod(path, mode)
    if capable:
        os.setxattr(path, CAPABILITY, SOME)


def powers(path):
    st = os.stat(path)
    return stat.S_IMODE(st.st_mode), error_of(os.getxattr, path, CAPABILITY) == 0


def ask(uid, top, elsewhere=None):
    """{case: (errno, powers left)} of uid's changes in `top` of files that were given their powers there, or at another mount."""
    def change_all():
        return {case: (error_of(CHANGES[case[0]], f'{top}/{name_of(*case)}'), powers(f'{top}/{name_of(*case)}'))
                for case in cases(uid)}
    make(top, [*(name_of(*case) for case in cases(uid)), 'source'])
    as_user(uid, lambda: warm(top))
    for case in cases(uid):
        empower(f'{elsewhere or top}/{name_of(*case)}', *case[1:])
    seen = as_user(uid, change_all)
    for place in filter(None, (top, elsewhere)):
        for case, (_, left) in seen.items():
            assert powers(f'{place}/{name_of(*case)}') == left, f'{case}: what the caller saw is not what there is'
    return seen


def expect(got, want):
    wrong = [f'{name_of(*case)}: errno, mode and capability {got[case]}, not {want[case]}' for case in want if got[case] != want[case]]
    assert got.keys() == want.keys() and not wrong, f'{len(wrong)} of {len(want)}:\n' + '\n'.join(wrong)


@contextlib.contextmanager
def places(**more):
    with Lab(**more) as lab, tempfile.TemporaryDirectory() as local:
        for path in (lab.dir, f'{lab.dir}/mnt', lab.path('m1'), lab.path('m2'), local):
            os.chmod(path, 0o755)
        yield lab, local


# ---- tests --------------------------------------------------------------------------------------------------------------

@test('powers that were given here: a user and root, by every call that changes data or owner')
def _():
    with places() as (lab, local):
        for uid in (0, ONE):
            want = ask(uid, f'{local}/{uid}')
            expect(ask(uid, lab.path('m1', f'here{uid}')), want)
            fell = sum(left != (mode, capable) for (_, mode, capable), (_, left) in want.items())
            figure(f'{len(want)} changes by {uid}, of which {fell} took something')
            assert 30 <= fell <= len(want) - 30
        lab.settle()


@test('powers that another mount has given to a file that this one writes to')
def _():
    with places() as (lab, local):
        for uid in (0, ONE):
            want = ask(uid, f'{local}/{uid}')
            expect(ask(uid, lab.path('m1', f'd{uid}'), lab.path('m2', f'd{uid}')), want)
        lab.settle()


@test('powers that another mount has given while this one has the file open')
def _():
    with places() as (lab, local):
        for change in ('write', 'append', 'truncate', 'fallocate', 'copy'):
            for place in (local, lab.path('m1')):
                path, there = f'{place}/open-{change}', f'{place.replace("/m1", "/m2")}/open-{change}'
                for name in (path, f'{place}/source'):
                    with open(name, 'wb') as f:
                        f.write(BEFORE + b'more than two pages')
                os.chmod(path, 0o666)

                def write(path=path, there=there, change=change):
                    flags = os.O_APPEND if change == 'append' else 0
                    with opened(path, os.O_WRONLY | flags) as fd:
                        os.write(fd, b'x')
                        yield
                        left = []
                        for _ in range(2):
                            {'write': lambda: os.write(fd, b'y'), 'append': lambda: os.write(fd, b'y'),
                             'truncate': lambda: os.ftruncate(fd, 10), 'fallocate': lambda: os.posix_fallocate(fd, 0, 50000),
                             'copy': lambda: copy(path)}[change]()
                            left.append((powers(path), powers(there)))
                        yield left
                left = turns(write, lambda there=there: (os.chmod(there, 0o6777), os.setxattr(there, CAPABILITY, SOME)))
                assert left == [((0o777, False), (0o777, False))] * 2, (place, change, left)


def turns(function, between):
    """A generator as a user: its first part, then between() as root, then the rest, of which it gives the result."""
    to_child, to_parent = os.pipe(), os.pipe()

    def child():
        steps = function()
        next(steps)
        os.write(to_parent[1], b'.')
        os.read(to_child[0], 1)
        return next(steps)
    pid = os.fork()
    if pid == 0:
        os.read(to_parent[0], 1)
        between()
        os.write(to_child[1], b'.')
        os._exit(0)
    try:
        return as_user(ONE, child)
    finally:
        os.waitpid(pid, 0)
        for fd in to_child + to_parent:
            os.close(fd)


@test('root takes a capability by writing, and what set-id bits it came with; elsewhere they would stay')
def _():
    with places() as (lab, _local):
        for change, left in (('write', 0o777), ('copy', 0o777), ('append', 0o6777), ('truncate', 0o6777), ('mmap', 0o6777)):
            make(lab.path('m1', change), ('f', 'source'))
            empower(lab.path('m1', change, 'f'), *BOTH)
            CHANGES[change](lab.path('m1', change, 'f'))
            for mount in ('m1', 'm2'):
                assert powers(lab.path(mount, change, 'f')) == (left, change == 'mmap'), change


@test('what was not asked for is kept: other extended attributes')
def _():
    with places() as (lab, _local):
        path = lab.path('m1', 'f')
        with open(path, 'xb') as f:
            f.write(BEFORE)
        os.chmod(path, 0o666)
        for name, value in (('user.x', b'1'), ('security.x', b'2'), (CAPABILITY, SOME)):
            os.setxattr(lab.path('m2', 'f'), name, value)
        with opened(path, os.O_WRONLY) as fd:
            os.write(fd, b'x')
        for mount in ('m1', 'm2'):
            assert sorted(os.listxattr(lab.path(mount, 'f'))) == ['security.x', 'user.x']
            assert error_of(os.getxattr, lab.path(mount, 'f'), CAPABILITY) == errno.ENODATA


if __name__ == '__main__':
    main()
