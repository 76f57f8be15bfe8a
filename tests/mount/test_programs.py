"""What people run: git, tar, and the corners of the POSIX interface that programs rely on."""
import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.calls import error_of
from tests.lib.lab import ROOT, Lab, tree_digest
from tests.lib.programs import read_file, run, write_file
from tests.lib.tap import main, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
TREE = os.environ.get('TREE', os.path.join(ROOT, 'fs'))  # a real tree of some hundred kilobytes
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def opened(path, flags, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def with_lab(function):
    """Most tests need nothing but a mounted directory; m2 is there to compare."""
    def wrapped():
        with Lab() as lab:
            function(lab)
    return wrapped


# ---- programs ------------------------------------------------------------------------------------

GIT_ENV = {'GIT_AUTHOR_NAME': 'A', 'GIT_AUTHOR_EMAIL': 'a@example.org', 'GIT_COMMITTER_NAME': 'A',
           'GIT_COMMITTER_EMAIL': 'a@example.org', 'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_SYSTEM': '/dev/null',
           'GIT_CONFIG_COUNT': '1', 'GIT_CONFIG_KEY_0': 'safe.directory', 'GIT_CONFIG_VALUE_0': '*'}


@test('git: init, add, commit, branch, merge, gc, clone to and from the other mount, fsck')
@with_lab
def _(lab):
    work = lab.path('m1', 'work')
    run('git', 'init', '-q', '-b', 'main', work, **GIT_ENV)
    shutil.copytree(TREE, f'{work}/tree')
    run('git', 'add', '.', cwd=work, **GIT_ENV)
    run('git', 'commit', '-q', '-m', 'one', cwd=work, **GIT_ENV)
    run('git', 'checkout', '-q', '-b', 'side', cwd=work, **GIT_ENV)
    write_file(f'{work}/side', b'side\n')
    run('git', 'add', 'side', cwd=work, **GIT_ENV)
    run('git', 'commit', '-q', '-m', 'two', cwd=work, **GIT_ENV)
    run('git', 'checkout', '-q', 'main', cwd=work, **GIT_ENV)
    write_file(f'{work}/trunk', b'trunk\n')
    run('git', 'add', 'trunk', cwd=work, **GIT_ENV)
    run('git', 'commit', '-q', '-m', 'three', cwd=work, **GIT_ENV)
    run('git', 'merge', '-q', '-m', 'four', 'side', cwd=work, **GIT_ENV)
    assert run('git', 'status', '--porcelain', cwd=work, **GIT_ENV) == ''
    run('git', 'gc', '-q', cwd=work, **GIT_ENV)
    run('git', 'fsck', '--full', '--strict', cwd=work, **GIT_ENV)
    seen = lab.path('m2', 'work')
    assert run('git', 'status', '--porcelain', cwd=seen, **GIT_ENV) == ''
    run('git', 'clone', '-q', '--no-hardlinks', seen, lab.path('m2', 'clone'), **GIT_ENV)
    run('git', 'fsck', '--full', '--strict', cwd=lab.path('m1', 'clone'), **GIT_ENV)
    head = [run('git', 'rev-parse', 'HEAD', cwd=lab.path(m, d), **GIT_ENV) for m in ('m1', 'm2') for d in ('work', 'clone')]
    assert len(set(head)) == 1
    assert tree_digest(f'{lab.path("m1")}/clone/tree') == tree_digest(TREE)


@test('tar: a tree packed in one mount and unpacked in the other is equal, with owners, times, links and devices')
@with_lab
def _(lab):
    source = os.path.join(lab.dir, 'source')
    shutil.copytree(TREE, source)
    os.symlink('../no where', f'{source}/dangling')
    os.link(f'{source}/core/state.h', f'{source}/hard')
    os.mkfifo(f'{source}/fifo')
    os.mkdir(f'{source}/sticky')
    os.chmod(f'{source}/sticky', 0o1777)
    write_file(f'{source}/suid', b'#!\n')
    os.chown(f'{source}/suid', 12345, 54321)
    os.chmod(f'{source}/suid', 0o4755)
    os.utime(f'{source}/hard', ns=(10**18, 10**18 + 1))
    with contextlib.suppress(PermissionError):
        os.mknod(f'{source}/null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    run('tar', '--format=posix', '-C', source, '-cf', lab.path('m1', 'a.tar'), '.')
    os.mkdir(lab.path('m2', 'out'))
    run('tar', '--numeric-owner', '-C', lab.path('m2', 'out'), '-xpf', lab.path('m2', 'a.tar'))
    run('tar', '-C', lab.path('m1', 'out'), '--compare', '-f', lab.path('m1', 'a.tar'))

    def details(top):
        found = {}
        for folder, dirs, files in os.walk(top):
            for name in dirs + files:
                st = os.lstat(os.path.join(folder, name))
                found[os.path.relpath(os.path.join(folder, name), top)] = (
                    st.st_mode, st.st_uid, st.st_gid, st.st_rdev, 0 if stat.S_ISDIR(st.st_mode) else st.st_nlink,
                    0 if stat.S_ISDIR(st.st_mode) else st.st_size, st.st_mtime_ns)
        return found
    want = details(source)
    for mount in ('m1', 'm2'):
        got = details(lab.path(mount, 'out'))
        assert got == want, [(k, want.get(k), got.get(k)) for k in {*want, *got} if want.get(k) != got.get(k)][:3]


@test('cp -a --sparse, dd, truncate(1), cmp, find, du, mv across directories')
@with_lab
def _(lab):
    a, b = lab.path('m1'), lab.path('m2')
    run('cp', '-a', TREE, f'{a}/tree')
    assert tree_digest(f'{b}/tree') == tree_digest(TREE)
    run('truncate', '-s', '8M', f'{lab.dir}/sparse')
    run('dd', 'if=/dev/urandom', f'of={lab.dir}/sparse', 'bs=64K', 'count=3', 'seek=40', 'conv=notrunc', 'status=none')
    for how in ('always', 'auto', 'never'):
        run('cp', '-a', f'--sparse={how}', f'{lab.dir}/sparse', f'{a}/sparse-{how}')
        run('cmp', f'{lab.dir}/sparse', f'{b}/sparse-{how}')
    blocks = int(run('stat', '-c', '%b', f'{b}/sparse-always')) * 512
    assert blocks < 2**20, f'a file of 192 KiB in 8 MiB of hole takes {blocks} bytes'
    run('dd', 'if=/dev/urandom', f'of={a}/dd', 'bs=1M', 'count=5', 'conv=fsync', 'status=none')
    run('dd', f'if={b}/dd', f'of={b}/dd2', 'bs=7777', 'oflag=append', 'conv=notrunc', 'status=none')
    run('cmp', f'{a}/dd', f'{a}/dd2')
    run('truncate', '-s', '1000001', f'{b}/dd')
    run('cmp', '-n', '1000001', f'{a}/dd', f'{a}/dd2')
    assert os.path.getsize(f'{a}/dd') == 1000001
    os.mkdir(f'{a}/to')
    run('mv', f'{a}/tree', f'{a}/to/moved')
    assert tree_digest(f'{b}/to/moved') == tree_digest(TREE)
    assert int(run('find', f'{b}/to/moved', '-type', 'f', '-printf', 'x\n').count('x')) == len(
        [1 for _, _, files in os.walk(TREE) for _ in files])
    run('rm', '-rf', f'{b}/to')
    assert not os.path.exists(f'{a}/to')


# ---- the interface -------------------------------------------------------------------------------

@test('symlinks and hard links: targets up to 4095 bytes, link counts, a link to a link, no link to a directory')
@with_lab
def _(lab):
    a, b = lab.path('m1'), lab.path('m2')
    for target in ('x', 'no/where', '/' * 10 + 'abs', 'ü' * 100, 'l' * 4095):
        os.symlink(target, f'{a}/sym')
        assert os.readlink(f'{b}/sym') == target
        assert os.lstat(f'{b}/sym').st_size == len(os.fsencode(target))
        os.unlink(f'{b}/sym')
    write_file(f'{a}/one', b'1')
    os.link(f'{a}/one', f'{a}/two')
    os.link(f'{b}/two', f'{b}/three')
    assert {os.stat(f'{m}/{n}').st_nlink for m in (a, b) for n in ('one', 'two', 'three')} == {3}
    assert len({os.stat(f'{m}/{n}').st_ino for m in (a, b) for n in ('one', 'two', 'three')}) == 1
    os.unlink(f'{a}/one')
    assert os.stat(f'{b}/two').st_nlink == 2
    os.mkdir(f'{a}/d')
    os.mkdir(f'{a}/d/e')
    assert (os.stat(f'{b}/d').st_nlink, os.stat(f'{b}/d/e').st_nlink) == (3, 2)
    assert error_of(os.link, f'{a}/d', f'{a}/dd') == errno.EPERM
    os.symlink('two', f'{a}/sym')
    os.link(f'{a}/sym', f'{a}/sym2', follow_symlinks=False)
    assert os.path.islink(f'{b}/sym2') and read_file(f'{b}/sym2') == b'1'
    os.symlink('loop', f'{a}/loop')
    assert error_of(os.stat, f'{b}/loop') == errno.ELOOP


@test('extended attributes: set, get, list, replace, remove, their errors; large ones')
@with_lab
def _(lab):
    a, b = lab.path('m1', 'f'), lab.path('m2', 'f')
    write_file(a, b'')
    assert os.listxattr(b) == []
    os.setxattr(a, 'user.one', b'1')
    os.setxattr(b, 'user.two', b'')
    os.setxattr(a, 'trusted.three', b'\0\xff')
    assert sorted(os.listxattr(b)) == ['trusted.three', 'user.one', 'user.two']
    assert [os.getxattr(m, n) for m in (a, b) for n in ('user.one', 'user.two', 'trusted.three')] == [b'1', b'', b'\0\xff'] * 2
    assert error_of(os.setxattr, a, 'user.one', b'x', os.XATTR_CREATE) == errno.EEXIST
    assert error_of(os.setxattr, b, 'user.none', b'x', os.XATTR_REPLACE) == errno.ENODATA
    os.setxattr(b, 'user.one', b'new', os.XATTR_REPLACE)
    assert os.getxattr(a, 'user.one') == b'new'
    os.removexattr(a, 'user.one')
    assert error_of(os.getxattr, b, 'user.one') == errno.ENODATA
    assert error_of(os.removexattr, b, 'user.one') == errno.ENODATA
    big = os.urandom(60_000)
    code = error_of(os.setxattr, a, 'user.big', big)
    assert code in (0, errno.ENOSPC, errno.E2BIG), code
    assert code or os.getxattr(b, 'user.big') == big
    os.setxattr(a, 'user.' + 'n' * 250, b'x')
    assert os.getxattr(b, 'user.' + 'n' * 250) == b'x'
    os.mkdir(lab.path('m1', 'd'))
    os.setxattr(lab.path('m1', 'd'), 'user.dir', b'd')
    assert os.getxattr(lab.path('m2', 'd'), 'user.dir') == b'd'


@test('mmap: read, MAP_SHARED written and synced, seen through read and at the other mount')
@with_lab
def _(lab):
    a, b = lab.path('m1', 'map'), lab.path('m2', 'map')
    data = bytearray(os.urandom(300_000))
    write_file(a, data)
    with opened(b, os.O_RDONLY) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as m:
        assert m[:] == bytes(data)
    with opened(a, os.O_RDWR) as fd:
        with mmap.mmap(fd, 0) as m:
            for at in (0, 4095, 100_000, 299_990):
                m[at:at + 10] = data[at:at + 10] = os.urandom(10)
            assert os.pread(fd, 400_000, 0) == bytes(data)
            m.flush()
            assert read_file(b) == bytes(data)
            m[50_000:50_003] = data[50_000:50_003] = b'end'
        os.fsync(fd)
    assert read_file(b) == bytes(data)
    with opened(a, os.O_RDWR) as fd, mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE) as m:
        m[0:3] = b'own'
    assert read_file(b) == bytes(data)


@test('O_DIRECT, O_SYNC, O_DSYNC, O_TRUNC, O_APPEND with O_TRUNC, writev and pwritev')
@with_lab
def _(lab):
    a, b = lab.path('m1', 'f'), lab.path('m2', 'f')
    page = mmap.mmap(-1, 16384)
    page[:] = os.urandom(16384)
    code = error_of(lambda: os.close(os.open(a, os.O_RDWR | os.O_CREAT | os.O_DIRECT)))
    assert code in (0, errno.EINVAL), code
    if code == 0:
        with opened(a, os.O_RDWR | os.O_DIRECT) as fd:
            assert os.pwrite(fd, page, 4096) == 16384
            back = mmap.mmap(-1, 16384)
            assert os.preadv(fd, [back], 4096) == 16384 and back[:] == page[:]
        assert read_file(b) == bytes(4096) + page[:]
        with opened(b, os.O_WRONLY) as fd:
            os.pwrite(fd, b'new', 5000)
        with opened(a, os.O_RDONLY | os.O_DIRECT) as fd:
            assert os.preadv(fd, [back], 4096) == 16384
        assert back[904:907] == b'new'
    for flag in (os.O_SYNC, os.O_DSYNC):
        with opened(a, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flag) as fd:
            for i in range(5):
                assert os.write(fd, b'%d' % i * 3000) == 3000
            os.fdatasync(fd)
        assert read_file(b) == b''.join(b'%d' % i * 3000 for i in range(5))
    with opened(b, os.O_WRONLY | os.O_TRUNC | os.O_APPEND) as fd:
        assert os.path.getsize(a) == 0
        assert os.writev(fd, [b'a' * 5000, b'', b'b' * 5000]) == 10_000
        assert os.pwritev(fd, [b'c' * 10], 3) == 10  # Linux: O_APPEND wins over the offset
    assert read_file(a) == b'a' * 5000 + b'b' * 5000 + b'c' * 10


@test('fallocate and copy_file_range: done, or refused with EOPNOTSUPP and nothing changed; SEEK_HOLE and SEEK_DATA make sense')
@with_lab
def _(lab):
    a, b = lab.path('m1', 'f'), lab.path('m2', 'f')
    data = os.urandom(100_000)
    write_file(a, data)
    with opened(a, os.O_RDWR) as fd:
        for mode in (0, 1, 3, 0x10):  # allocate, keep size, punch, zero
            code = _libc.fallocate(fd, mode, ctypes.c_long(8192), ctypes.c_long(8192)) and ctypes.get_errno()
            assert code in (0, errno.EOPNOTSUPP), (mode, os.strerror(code))
            if mode in (3, 0x10) and code == 0:
                data = data[:8192] + bytes(8192) + data[16384:]
            assert read_file(b) == data, f'mode {mode}'
        code = error_of(os.posix_fallocate, fd, 0, 50_000)
        assert code in (0, errno.EOPNOTSUPP, errno.EINVAL), code
        assert read_file(b) == data
        with opened(f'{a}2', os.O_RDWR | os.O_CREAT) as to:
            done = os.copy_file_range(fd, to, 70_000, 1000, 500)
            assert os.pread(to, 100_000, 500) == data[1000:1000 + done]
        assert os.lseek(fd, 0, os.SEEK_DATA) == 0
        assert 0 < os.lseek(fd, 0, os.SEEK_HOLE) <= len(data)
        assert error_of(os.lseek, fd, len(data) + 1, os.SEEK_DATA) == errno.ENXIO


@test('names: 255 bytes, any byte, UTF-8 or not; 256 bytes are ENAMETOOLONG; . and .. are there')
@with_lab
def _(lab):
    a, b = os.fsencode(lab.path('m1')), os.fsencode(lab.path('m2'))
    names = [b'n' * 255, b' ', b'-rf', b'a\nb', b'\xff\xfe\x80', 'ü€😀'.encode(), b'\\', b'*?[]', b'...', b'\x01\x7f', b'a' * 127 + b'\xc3\xbc' * 64]
    for name in names:
        with opened(a + b'/' + name, os.O_CREAT | os.O_WRONLY) as fd:
            os.write(fd, name)
    assert sorted(os.listdir(b)) == sorted(names)
    for name in names:
        assert read_file(b + b'/' + name) == name
        os.rename(b + b'/' + name, b + b'/x')
        os.rename(a + b'/x', a + b'/' + name)
    long = b + b'/' + b'n' * 256
    for function in (os.stat, os.mkdir, os.unlink, os.rmdir, lambda p: os.open(p, os.O_CREAT | os.O_RDWR),
                     lambda p: os.symlink('x', p), lambda p: os.link(b + b'/ ', p), lambda p: os.rename(b + b'/ ', p), os.mkfifo):
        assert error_of(function, long) == errno.ENAMETOOLONG, function
    assert {'.', '..'} <= set(run('ls', '-a', lab.path('m1')).split('\n'))
    for name in names:
        os.unlink(b + b'/' + name)
    assert os.listdir(a) == []


@test('the usual errors: EEXIST, ENOENT, ENOTDIR, EISDIR, ENOTEMPTY, EINVAL, EBADF; RENAME_NOREPLACE and _EXCHANGE')
@with_lab
def _(lab):
    top = lab.path('m1')
    os.mkdir(f'{top}/d')
    os.mkdir(f'{top}/d/sub')
    os.mkdir(f'{top}/empty')
    write_file(f'{top}/f', b'f')
    write_file(f'{top}/g', b'g')
    for want, function, *args in (
            (errno.EEXIST, os.mkdir, f'{top}/d'), (errno.EEXIST, os.symlink, 'x', f'{top}/f'),
            (errno.EEXIST, os.link, f'{top}/f', f'{top}/g'), (errno.EEXIST, os.open, f'{top}/f', os.O_CREAT | os.O_EXCL),
            (errno.ENOENT, os.unlink, f'{top}/none'), (errno.ENOENT, os.mkdir, f'{top}/none/x'), (errno.ENOENT, os.rename, f'{top}/none', f'{top}/x'),
            (errno.ENOTDIR, os.stat, f'{top}/f/x'), (errno.ENOTDIR, os.rmdir, f'{top}/f'), (errno.ENOTDIR, os.rename, f'{top}/d', f'{top}/f'),
            (errno.EISDIR, os.unlink, f'{top}/d'), (errno.EISDIR, os.open, f'{top}/d', os.O_RDWR), (errno.EISDIR, os.rename, f'{top}/f', f'{top}/empty'),
            (errno.ENOTEMPTY, os.rmdir, f'{top}/d'), (errno.ENOTEMPTY, os.rename, f'{top}/empty', f'{top}/d'),
            (errno.EINVAL, os.rename, f'{top}/d', f'{top}/d/sub/x'), (errno.EINVAL, os.readlink, f'{top}/f')):
        got = error_of(function, *args)
        assert got == want, f'{function.__name__}{args}: {errno.errorcode.get(got, got)}, want {errno.errorcode[want]}'
    with opened(f'{top}/f', os.O_RDONLY) as fd:
        assert error_of(os.write, fd, b'x') == errno.EBADF

    def renameat2(a, b, flags):
        return _libc.renameat2(-100, os.fsencode(f'{top}/{a}'), -100, os.fsencode(f'{top}/{b}'), flags) and ctypes.get_errno()
    assert renameat2('f', 'g', RENAME_NOREPLACE) == errno.EEXIST
    assert renameat2('f', 'h', RENAME_NOREPLACE) == 0
    code = renameat2('h', 'g', RENAME_EXCHANGE)
    assert code in (0, errno.EINVAL), code
    assert (read_file(f'{top}/h'), read_file(lab.path('m2', 'g'))) == ((b'f', b'g') if code else (b'g', b'f'))


@test('big offsets: a sparse file of 1 TiB with bytes at its ends; EFBIG or EINVAL beyond what there is')
@with_lab
def _(lab):
    a, b = lab.path('m1', 'big'), lab.path('m2', 'big')
    tib = 2**40
    with opened(a, os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b'begin', 0)
        os.pwrite(fd, b'middle', tib // 2 + 4093)
        os.pwrite(fd, b'end', tib - 3)
        os.fsync(fd)
    st = os.stat(b)
    assert st.st_size == tib and st.st_blocks * 512 < 2**20, st
    with opened(b, os.O_RDWR) as fd:
        assert os.pread(fd, 10, 0) == b'begin' + bytes(5)
        assert os.pread(fd, 12, tib // 2 + 4090) == bytes(3) + b'middle' + bytes(3)
        assert os.pread(fd, 100, tib - 5) == bytes(2) + b'end'
        assert os.pread(fd, 4096, tib // 3) == bytes(4096)
        os.ftruncate(fd, tib // 2 + 4095)
        assert error_of(os.ftruncate, fd, -1) == errno.EINVAL
        os.ftruncate(fd, 2**62)
        assert os.fstat(fd).st_size == 2**62
        assert error_of(os.pwrite, fd, b'xx', 2**63 - 2) in (errno.EFBIG, errno.EINVAL)
        os.ftruncate(fd, tib)
    assert os.path.getsize(a) == tib
    with opened(a, os.O_RDONLY) as fd:
        assert os.pread(fd, 10, tib // 2 + 4093) == b'mi' + bytes(8)
        assert os.pread(fd, 10, tib - 5) == bytes(5)


@test('times: before 1970, after 2038, nanoseconds, UTIME_NOW and UTIME_OMIT; what changes them')
@with_lab
def _(lab):
    a, b = lab.path('m1', 'f'), lab.path('m2', 'f')
    write_file(a, b'x')
    for second in (-86400 * 365 * 60, -1, 0, 2**31, 2**32 + 1, 4102444800):
        for ns in (0, 1, 999_999_999):
            at, mt = second * 10**9 + ns, (second + 1) * 10**9 + ns
            os.utime(a, ns=(at, mt))
            st = os.stat(b)
            assert (st.st_atime_ns, st.st_mtime_ns) == (at, mt), (second, ns, st)
    run('touch', '-a', '-d', '2001-02-03 04:05:06 UTC', b)  # mtime: UTIME_OMIT
    assert (os.stat(a).st_atime_ns, os.stat(a).st_mtime_ns) == (981173106 * 10**9, mt)
    before = time.time_ns()
    os.utime(a)
    assert before - 10**9 <= os.stat(b).st_mtime_ns <= time.time_ns() + 10**9
    os.utime(a, ns=(0, 0))
    st = os.stat(a)
    with opened(b, os.O_WRONLY) as fd:
        os.write(fd, b'y')
    now = os.stat(a)
    assert now.st_mtime_ns > before - 10**9 and now.st_ctime_ns > st.st_ctime_ns
    os.chmod(b, 0o600)
    assert os.stat(a).st_ctime_ns > now.st_ctime_ns and os.stat(a).st_mtime_ns == now.st_mtime_ns
    top = os.stat(lab.path('m2')).st_mtime_ns
    write_file(lab.path('m1', 'g'), b'')
    assert os.stat(lab.path('m2')).st_mtime_ns > top


@test('permissions: another user is refused what the mode refuses; set-gid directories; suid bits fall at a write')
@with_lab
def _(lab):
    a, b = lab.path('m1'), lab.path('m2')
    os.chmod(a, 0o755)
    write_file(f'{a}/private', b'secret')
    os.chmod(f'{a}/private', 0o600)
    os.mkdir(f'{a}/shared')
    os.chown(f'{a}/shared', 0, 4242)
    os.chmod(f'{a}/shared', 0o2777)

    def as_nobody(script):
        os.chmod(lab.dir, 0o755)
        return subprocess.run([sys.executable, '-c', 'import os,sys\nos.setgid(65534)\nos.setuid(65534)\n' + script],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd='/').stderr
    assert 'PermissionError' in as_nobody(f'open({b!r}+"/private")')
    assert 'PermissionError' in as_nobody(f'open({b!r}+"/new", "w")')
    assert as_nobody(f'open({b!r}+"/shared/new", "w").write("x"); os.mkdir({b!r}+"/shared/sub")') == ''
    st = os.stat(f'{a}/shared/new')
    assert (st.st_uid, st.st_gid) == (65534, 4242)
    sub = os.stat(f'{a}/shared/sub')
    assert sub.st_gid == 4242 and sub.st_mode & stat.S_ISGID
    write_file(f'{a}/shared/suid', b'x')
    os.chmod(f'{a}/shared/suid', 0o6777)
    assert as_nobody(f'open({b!r}+"/shared/suid", "r+").write("y")') == ''
    assert os.stat(f'{a}/shared/suid').st_mode & 0o6000 == 0


@test('a directory with many entries is listed whole, also while entries go; statfs adds up; locks work on one mount')
@with_lab
def _(lab):
    a, b = lab.path('m1', 'many'), lab.path('m2', 'many')
    os.mkdir(a)
    count = 5000 if NIGHTLY else 1000
    for i in range(count):
        os.close(os.open(f'{a}/{i:05}', os.O_CREAT | os.O_WRONLY))
    assert sorted(os.listdir(b)) == [f'{i:05}' for i in range(count)]
    with os.scandir(b) as entries:
        for n, entry in enumerate(entries):  # removing while listing: rm -r does it
            os.unlink(entry.path)
    assert n == count - 1 and os.listdir(a) == []
    st = os.statvfs(lab.path('m1'))
    assert 0 < st.f_bavail <= st.f_bfree <= st.f_blocks and st.f_namemax == 255 and st.f_frsize > 0
    assert run('df', lab.path('m2')).count('\n') == 2
    with opened(f'{a}/lock', os.O_CREAT | os.O_RDWR) as fd, opened(f'{a}/lock', os.O_RDWR) as other:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert error_of(fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB) == errno.EWOULDBLOCK
        fcntl.flock(fd, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_SH)
        fcntl.lockf(fd, fcntl.LOCK_EX)


main()
