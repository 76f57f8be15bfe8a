"""O_TMPFILE: files without a name, and linkat(2) that gives them one."""
import ctypes
import errno
import os
import stat

from tests.posix.permissions import GROUP, ONE, OTHER

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = -100, 0x400, 0x1000


def linkat(fd, old, new, flags):
    if libc.linkat(fd, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def give_name(fd, path):
    linkat(AT_FDCWD, f'/proc/self/fd/{fd}', path, AT_SYMLINK_FOLLOW)


def give_name_by_descriptor(fd, path):
    linkat(fd, '', path, AT_EMPTY_PATH)


def made(v, top, flags=os.O_RDWR, mode=0o640):
    return v.gives(0, os.open, top, os.O_TMPFILE | flags, mode)


def unnamed(v, d):
    top = v.at(d)
    mtime = os.stat(top).st_mtime_ns
    fd = made(v, top)
    st = os.fstat(fd)
    v.same((st.st_nlink, st.st_size, stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode)), (0, 0, stat.S_IFREG, 0o640), 'a new one')
    for size in (0, 10, 5000, 300000):
        v.gives(0, os.ftruncate, fd, 0)
        v.same(os.pwrite(fd, b'x' * size, 0), size, 'written')
        v.gives(0, os.fsync, fd)
        again = v.gives(0, os.open, f'/proc/self/fd/{fd}', os.O_RDONLY)
        v.check(os.read(again, size + 1) == b'x' * size, 'read by another descriptor')
        os.close(again)
    v.gives(0, os.fchmod, fd, 0o600)
    v.gives(0, os.fchown, fd, ONE, GROUP)
    v.gives(0, os.setxattr, fd, 'user.x', b'1')
    v.same(os.getxattr(fd, 'user.x'), b'1', 'attribute')
    v.same((os.fstat(fd).st_mode & 0o777, os.fstat(fd).st_uid, os.fstat(fd).st_nlink), (0o600, ONE, 0), 'changed')
    for _ in v.roots:
        v.same(os.listdir(v.at(d)), [], 'nobody sees it')
    v.same(os.stat(top).st_mtime_ns, mtime, 'the directory is as it was')
    v.gives(0, os.close, fd)
    v.gives(0, os.rmdir, top)
    v.gives(0, os.mkdir, v.at(d))


def named(v, d):
    for give in (give_name, give_name_by_descriptor):
        for size in (0, 7, 200000):
            top = v.at(d)
            fd = made(v, top)
            os.write(fd, b'y' * size)
            ino = os.fstat(fd).st_ino
            v.gives(0, give, fd, os.path.join(top, 'name'))
            st = v.gives(0, os.stat, v.at(d, 'name'))
            v.same((st.st_ino, st.st_nlink, st.st_size), (ino, 1, size), 'named')
            with open(v.at(d, 'name'), 'rb') as f:
                v.check(f.read() == b'y' * size, 'what was written before it had a name')
            v.same(os.fstat(fd).st_nlink, 1, 'links')
            os.pwrite(fd, b'z', size)
            v.gives(errno.EEXIST, give, fd, os.path.join(top, 'name'))
            v.gives(0, give, fd, os.path.join(top, 'other'))
            v.same(sorted(os.listdir(v.at(d))), ['name', 'other'], 'names')
            v.gives(0, os.close, fd)
            with open(v.at(d, 'other'), 'rb') as f:
                v.check(f.read() == b'y' * size + b'z', 'what was written after')
            v.gives(0, os.unlink, v.at(d, 'other'))
            v.same(os.stat(v.at(d, 'name')).st_nlink, 1, 'one name is left')
            v.gives(0, os.unlink, v.at(d, 'name'))
            v.gives(errno.ENOENT, os.stat, v.at(d, 'name'))
    top = v.at(d)
    fd = made(v, top)
    v.gives(0, give_name, fd, os.path.join(top, 'name'))
    v.gives(0, os.unlink, v.at(d, 'name'))  # it had one: it gets no other
    v.gives(errno.ENOENT, give_name, fd, os.path.join(top, 'again'))
    v.same(os.pwrite(fd, b'still', 0), 5, 'open all the same')
    v.same(os.pread(fd, 9, 0), b'still', 'and readable')
    os.close(fd)


def refused(v, d):
    top = v.at(d)
    fd = made(v, top, os.O_RDWR | os.O_EXCL)
    v.same(os.write(fd, b'never'), 5, 'written')
    v.gives(errno.ENOENT, give_name, fd, os.path.join(top, 'name'))
    os.close(fd)
    v.gives(errno.EINVAL, os.open, top, os.O_TMPFILE | os.O_RDONLY)
    v.make('file', d, 'file')
    v.gives(errno.ENOTDIR, os.open, v.at(d, 'file'), os.O_TMPFILE | os.O_RDWR)
    v.gives(errno.ENOENT, os.open, v.at(d, 'missing'), os.O_TMPFILE | os.O_RDWR)
    os.chmod(v.at(d), 0o755)
    v.as_user(ONE, OTHER, lambda v: v.gives(errno.EACCES, os.open, v.at(d), os.O_TMPFILE | os.O_RDWR))


def owned(v, d):
    """Mode, owner and group as of any new file: umask, setgid directory, default ACL."""
    os.chmod(v.at(d), 0o777)

    def user(v):
        before = os.umask(0o27)
        fd = made(v, v.at(d), os.O_RDWR, 0o777)
        os.umask(before)
        st = os.fstat(fd)
        v.same((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o750, ONE, OTHER), 'by the umask')
        os.close(fd)
    v.as_user(ONE, OTHER, user)
    os.chown(v.at(d), 0, GROUP)
    os.chmod(v.at(d), 0o2777)
    v.as_user(ONE, OTHER, lambda v: v.same(os.fstat(made(v, v.at(d))).st_gid, GROUP, 'of the directory'))


subjects = [unnamed, named, refused, owned]
