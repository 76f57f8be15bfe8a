"""Extended attributes: namespaces, names, sizes, who may read, set and list them."""
import errno
import os

from tests.posix.permissions import GROUP, ONE, OTHER
from tests.posix.view import KINDS


def values(v, d):
    v.make('file', d, 'f')
    v.make('dir', d, 'sub')
    for name in ('f', 'sub'):
        v.same(os.listxattr(v.at(d, name)), [], 'none at first')
        v.gives(errno.ENODATA, os.getxattr, v.at(d, name), 'user.x')
        v.gives(errno.ENODATA, os.removexattr, v.at(d, name), 'user.x')
        v.gives(errno.ENODATA, os.setxattr, v.at(d, name), 'user.x', b'1', os.XATTR_REPLACE)
        v.gives(0, os.setxattr, v.at(d, name), 'user.x', b'1', os.XATTR_CREATE)
        v.gives(errno.EEXIST, os.setxattr, v.at(d, name), 'user.x', b'2', os.XATTR_CREATE)
        v.same(os.getxattr(v.at(d, name), 'user.x'), b'1', 'not replaced')
        v.gives(0, os.setxattr, v.at(d, name), 'user.x', b'two', os.XATTR_REPLACE)
        v.same(os.getxattr(v.at(d, name), 'user.x'), b'two', 'replaced')
        for value in (b'', b'\0', bytes(range(256)), b'v' * 1000, b'1'):
            ctime = os.stat(v.at(d, name)).st_ctime_ns
            v.gives(0, os.setxattr, v.at(d, name), 'user.x', value)
            v.same(os.getxattr(v.at(d, name), 'user.x'), value, 'value')
            v.check(os.stat(v.at(d, name)).st_ctime_ns > ctime, 'the time of change moves')
        for i in range(20):
            os.setxattr(v.at(d, name), f'user.n{i}', b'%d' % i)
        v.same(sorted(os.listxattr(v.at(d, name))), sorted(['user.x', *(f'user.n{i}' for i in range(20))]), 'names')
        for i in range(20):
            v.gives(0, os.removexattr, v.at(d, name), f'user.n{i}')
        v.same(os.listxattr(v.at(d, name)), ['user.x'], 'one is left')
    os.link(*v.both((d, 'f'), (d, 'g')))
    v.same(os.getxattr(v.at(d, 'g'), 'user.x'), b'1', 'of the file, not of its name')


def names(v, d):
    v.make('file', d, 'f')
    for space in ('user.', 'trusted.', 'security.'):
        v.gives(errno.EINVAL, os.setxattr, v.at(d, 'f'), space, b'x')
        v.gives(errno.EINVAL, os.getxattr, v.at(d, 'f'), space)
        v.gives(errno.EINVAL, os.removexattr, v.at(d, 'f'), space)
        for rest in ('x', '.', 'with blank', 'ünï', 'a' * (255 - len(space))):
            v.gives(0, os.setxattr, v.at(d, 'f'), space + rest, b'x')
            v.same(os.listxattr(v.at(d, 'f')), [space + rest], 'listed')
            v.gives(0, os.removexattr, v.at(d, 'f'), space + rest)
        v.gives(errno.ERANGE, os.setxattr, v.at(d, 'f'), space + 'a' * (256 - len(space)), b'x')
    for name in ('none', 'other.x', 'user', 'system.x', '.'):
        v.gives(errno.EOPNOTSUPP, os.setxattr, v.at(d, 'f'), name, b'x')
        v.gives(errno.EOPNOTSUPP, os.getxattr, v.at(d, 'f'), name)
    v.gives(errno.ERANGE, os.setxattr, v.at(d, 'f'), '', b'x')
    v.gives(errno.E2BIG, os.setxattr, v.at(d, 'f'), 'user.x', bytes(65537))
    v.gives(errno.EINVAL, os.setxattr, v.at(d, 'f'), 'user.x', b'x', 4)


def large(v, d):
    """64 KiB, as much as Linux knows of; ext4 keeps less."""
    v.make('file', d, 'f')
    if not v.is_tally():
        return
    for size in (4096, 65535, 65536):
        value = os.urandom(size)
        v.gives(0, os.setxattr, v.at(d, 'f'), 'user.large', value)
        v.check(os.getxattr(v.at(d, 'f'), 'user.large') == value, f'{size} bytes')
    for i in range(8):
        v.gives(0, os.setxattr, v.at(d, 'f'), f'user.large{i}', bytes(65536))
    v.same(len(os.listxattr(v.at(d, 'f'))), 9, 'names')


def callers(v, d):
    """user. as the mode says, only on files and directories; trusted. for root, who alone sees it; security. for all to read."""
    os.chmod(v.at(d), 0o777)
    for kind in KINDS:
        v.make(kind, d, kind)
        plain = kind in ('file', 'dir')
        v.gives(0 if plain else errno.EPERM, os.setxattr, v.at(d, kind), 'user.x', b'x', follow_symlinks=False)
        v.gives(0 if plain else errno.ENODATA if kind == 'symlink' else errno.ENODATA, lambda p: os.getxattr(p, 'user.x', follow_symlinks=False),
                v.at(d, kind))
        v.gives(0, os.setxattr, v.at(d, kind), 'trusted.x', b'x', follow_symlinks=False)
        v.same(os.getxattr(v.at(d, kind), 'trusted.x', follow_symlinks=False), b'x', f'trusted of a {kind}')
    for name in ('trusted.x', 'security.x', 'user.x'):
        os.setxattr(v.at(d, 'file'), name, b'x')
    os.chown(v.at(d, 'file'), ONE, GROUP)
    os.chmod(v.at(d, 'file'), 0o640)

    def owner(v):
        v.same(sorted(os.listxattr(v.at(d, 'file'))), ['security.x', 'user.x'], 'trusted is not listed')
        v.gives(errno.ENODATA, os.getxattr, v.at(d, 'file'), 'trusted.x')
        v.gives(errno.EPERM, os.setxattr, v.at(d, 'file'), 'trusted.x', b'y')
        v.gives(errno.EPERM, os.removexattr, v.at(d, 'file'), 'trusted.x')
        v.same(os.getxattr(v.at(d, 'file'), 'security.x'), b'x', 'security may be read')
        v.gives(errno.EPERM, os.setxattr, v.at(d, 'file'), 'security.x', b'y')
        v.gives(0, os.setxattr, v.at(d, 'file'), 'user.y', b'y')
        v.gives(0, os.removexattr, v.at(d, 'file'), 'user.y')
    v.as_user(ONE, OTHER, owner)

    def group(v):
        v.same(os.getxattr(v.at(d, 'file'), 'user.x'), b'x', 'who may read the file')
        v.gives(errno.EACCES, os.setxattr, v.at(d, 'file'), 'user.x', b'y')
    v.as_user(OTHER, GROUP, group)

    def stranger(v):
        v.gives(errno.EACCES, os.getxattr, v.at(d, 'file'), 'user.x')
        v.gives(errno.EACCES, os.setxattr, v.at(d, 'file'), 'user.x', b'y')
    v.as_user(OTHER, OTHER, stranger)
    os.chmod(v.at(d, 'dir'), 0o1777)
    v.as_user(OTHER, OTHER, lambda v: v.gives(errno.EPERM, os.setxattr, v.at(d, 'dir'), 'user.x', b'y'))  # sticky: its owner alone


subjects = [values, names, large, callers]
