"""Who may do what: modes, sticky, setuid and setgid bits, owners, umask."""
import errno
import itertools
import os
import stat

from tests.posix.rename import EXCHANGE, rename2

ONE, OTHER, GROUP = 12001, 12002, 12003  # numbers that nobody has
NOBODYS = 0xffffffff


def open_and_close(path, flags, mode=0o644):
    os.close(os.open(path, flags, mode))


def modes(v, d):
    """Read, write and execute for owner, group and others."""
    v.make('file', d, 'f')
    os.chown(v.at(d, 'f'), ONE, GROUP)
    os.chmod(v.at(d), 0o755)
    callers = (('owner', ONE, OTHER, (), 6), ('group', OTHER, GROUP, (), 3), ('its groups', OTHER, OTHER, (GROUP,), 3),
               ('others', OTHER, OTHER, (), 0))
    for who, uid, gid, groups, shift in callers:
        for bits in range(8):
            os.chmod(v.at(d, 'f'), bits << shift)

            def attempt(v, bits=bits):
                for bit, flags in ((4, os.O_RDONLY), (2, os.O_WRONLY), (6, os.O_RDWR), (2, os.O_WRONLY | os.O_APPEND)):
                    want = 0 if bits & bit == bit else errno.EACCES
                    v.gives(want, open_and_close, v.at(d, 'f'), flags)
                v.same(os.access(v.at(d, 'f'), os.X_OK), bool(bits & 1), f'{who}: execute with {bits:o}')
            v.as_user(uid, gid, attempt, groups)
    for mode in itertools.chain((1 << i for i in range(12)), (0o7777, 0o6755, 0o1777, 0)):
        v.gives(0, os.chmod, v.at(d, 'f'), mode)
        v.same(stat.S_IMODE(os.stat(v.at(d, 'f')).st_mode), mode, 'mode')


def directories(v, d):
    """Search, read and write of a directory."""
    os.chmod(v.at(d), 0o755)
    v.make('dir', d, 'sub')
    v.make('file', d, 'sub', 'f')
    os.chown(v.at(d, 'sub'), ONE, GROUP)
    for bits in range(8):
        os.chmod(v.at(d, 'sub'), bits << 6)

        def attempt(v, bits=bits):
            no = errno.EACCES
            v.gives(0 if bits & 4 else no, os.listdir, v.at(d, 'sub'))
            v.gives(0 if bits & 1 else no, os.stat, v.at(d, 'sub', 'f'))
            may = 0 if bits & 3 == 3 else no
            v.gives(may, open_and_close, v.at(d, 'sub', 'new'), os.O_CREAT | os.O_WRONLY)
            v.gives(may, os.mkdir, v.at(d, 'sub', 'dir'))
            v.gives(may, os.symlink, 'x', v.at(d, 'sub', 'link'))
            v.gives(may, os.rename, *v.both((d, 'sub', 'new' if may == 0 else 'f'), (d, 'sub', 'moved')))
            if may == 0:
                v.gives(0, os.unlink, v.at(d, 'sub', 'moved'))
                v.gives(0, os.rmdir, v.at(d, 'sub', 'dir'))
                v.gives(0, os.unlink, v.at(d, 'sub', 'link'))
            else:
                v.gives(no, os.unlink, v.at(d, 'sub', 'f'))
        v.as_user(ONE, OTHER, attempt)


def sticky(v, d):
    """In a sticky directory only owners remove and rename."""
    os.chmod(v.at(d), 0o755)
    for owner_of_dir, owner_of_file in itertools.product((ONE, OTHER), (ONE, OTHER)):
        v.make('dir', d, 'tmp')
        os.chmod(v.at(d, 'tmp'), 0o1777)
        for kind in ('file', 'fifo', 'symlink', 'dir'):
            v.make(kind, d, 'tmp', kind)
            os.chown(v.at(d, 'tmp', kind), owner_of_file, GROUP, follow_symlinks=False)
        os.chown(v.at(d, 'tmp'), owner_of_dir, GROUP)

        def attempt(v, may=ONE in (owner_of_dir, owner_of_file)):
            want = 0 if may else errno.EPERM
            for kind in ('file', 'fifo', 'symlink', 'dir'):
                v.gives(want, os.rename, *v.both((d, 'tmp', kind), (d, 'tmp', 'r' + kind)))
                name = 'r' + kind if may else kind
                v.gives(want, os.rmdir if kind == 'dir' else os.unlink, v.at(d, 'tmp', name))
        v.as_user(ONE, OTHER, attempt)
        for name in os.listdir(v.at(d, 'tmp')):
            v.remove(name if name == 'dir' else 'file', d, 'tmp', name)
        os.rmdir(v.at(d, 'tmp'))


def sticky_between(v, d):
    """A rename out of a sticky directory takes a name away there, one over a name in it as well, an exchange in both."""
    os.chmod(v.at(d), 0o755)
    for owner_of_dir, owner_of_file, flags in itertools.product((ONE, OTHER), (ONE, OTHER), (0, EXCHANGE)):
        for name, mode in (('tmp', 0o1777), ('plain', 0o777)):
            v.make('dir', d, name)
            os.chmod(v.at(d, name), mode)
        for directory, name, owner in (('tmp', 'theirs', owner_of_file), ('tmp', 'target', owner_of_file), ('plain', 'mine', ONE)):
            v.make('file', d, directory, name)
            os.chown(v.at(d, directory, name), owner, GROUP)
            os.chmod(v.at(d, directory, name), 0o666)  # else protected_hardlinks may forbid a link
        os.chown(v.at(d, 'tmp'), owner_of_dir, GROUP)

        def attempt(v, flags=flags, may=ONE in (owner_of_dir, owner_of_file)):
            want = 0 if may else errno.EPERM
            v.gives(want, rename2, *v.both((d, 'plain', 'mine'), (d, 'tmp', 'target')), flags)
            v.gives(want if not flags else errno.ENOENT, rename2, *v.both((d, 'tmp', 'theirs'), (d, 'plain', 'moved')), flags)
            v.gives(0, os.link, *v.both((d, 'tmp', 'target'), (d, 'plain', 'link')))  # adding a name takes none away
        v.as_user(ONE, OTHER, attempt)
        for name in ('tmp', 'plain'):
            for entry in os.listdir(v.at(d, name)):
                v.remove('file', d, name, entry)
            v.remove('dir', d, name)
    v.make('dir', d, 'tmp')  # a directory that is not one's own moves neither
    os.chmod(v.at(d, 'tmp'), 0o1777)
    v.make('dir', d, 'tmp', 'theirs')
    os.chown(v.at(d, 'tmp', 'theirs'), OTHER, OTHER)
    os.chmod(v.at(d), 0o777)
    v.as_user(ONE, OTHER, lambda v: v.gives(errno.EPERM, os.rename, *v.both((d, 'tmp', 'theirs'), (d, 'here'))))
    os.chmod(v.at(d, 'tmp'), 0o777)  # and who may not write a directory does not give it another parent
    v.as_user(ONE, OTHER, lambda v: v.gives(errno.EACCES, os.rename, *v.both((d, 'tmp', 'theirs'), (d, 'here'))))


def chmod_and_chown(v, d):
    os.chmod(v.at(d), 0o777)
    v.make('file', d, 'f')
    os.chown(v.at(d, 'f'), ONE, GROUP)

    def stranger(v):
        v.gives(errno.EPERM, os.chmod, v.at(d, 'f'), 0o777)
        v.gives(errno.EPERM, os.chown, v.at(d, 'f'), OTHER, -1)
        v.gives(errno.EPERM, os.chown, v.at(d, 'f'), -1, OTHER)
        v.gives(errno.EPERM, os.utime, v.at(d, 'f'), (1, 1))
        v.gives(errno.EACCES, os.utime, v.at(d, 'f'))
    v.as_user(OTHER, OTHER, stranger)

    def owner(v):
        v.gives(0, os.chmod, v.at(d, 'f'), 0o600)
        v.gives(errno.EPERM, os.chown, v.at(d, 'f'), OTHER, -1)
        v.gives(errno.EPERM, os.chown, v.at(d, 'f'), -1, OTHER)
        v.gives(0, os.chown, v.at(d, 'f'), -1, GROUP)
        v.gives(0, os.chown, v.at(d, 'f'), ONE, GROUP)
        v.gives(0, os.utime, v.at(d, 'f'), (1, 1))
    v.as_user(ONE, GROUP, owner)
    for uid, gid in ((0, 0), (ONE, -1), (-1, GROUP), (OTHER, OTHER), (-1, -1), (2**31, 2**31), (NOBODYS - 1, NOBODYS - 1)):
        before = os.stat(v.at(d, 'f'))
        v.gives(0, os.chown, v.at(d, 'f'), uid, gid)
        st = os.stat(v.at(d, 'f'))
        v.same((st.st_uid, st.st_gid), (before.st_uid if uid == -1 else uid, before.st_gid if gid == -1 else gid), 'owner')


def id_bits(v, d):
    """Who is not root loses setuid and setgid by writing, truncating and changing the owner; a directory hands setgid on."""
    os.chmod(v.at(d), 0o777)
    changes = {'write': lambda p: os.pwrite(os.open(p, os.O_WRONLY), b'x', 0), 'truncate': lambda p: os.truncate(p, 0),
               'trunc': lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC))}
    for name, change in changes.items():
        for mode in (0o4777, 0o2777, 0o6777, 0o2767, 0o1777):
            with open(v.at(d, 'f'), 'w') as f:
                f.write('data')
            os.chown(v.at(d, 'f'), OTHER, GROUP)
            os.chmod(v.at(d, 'f'), mode)
            change.__name__ = name
            v.as_user(ONE, OTHER, lambda v, change=change: v.gives(0, change, v.at(d, 'f')))
            left = stat.S_IMODE(os.stat(v.at(d, 'f')).st_mode)
            if not mode & 0o10:  # once a sign of mandatory locking, which some kernels still spare
                left &= ~0o2000
            v.same(left, mode & ~0o6000, f'{mode:o} after a {name}')
            os.unlink(v.at(d, 'f'))
    for uid, gid in ((ONE, -1), (-1, GROUP), (ONE, GROUP)):
        v.make('file', d, 'f')
        os.chmod(v.at(d, 'f'), 0o6777)
        os.chown(v.at(d, 'f'), uid, gid)
        v.same(stat.S_IMODE(os.stat(v.at(d, 'f')).st_mode), 0o777, 'after a chown')
        os.unlink(v.at(d, 'f'))
    v.make('dir', d, 'sub')
    os.chown(v.at(d, 'sub'), ONE, GROUP)
    os.chmod(v.at(d, 'sub'), 0o2777)

    def inherits(v):
        for kind in ('file', 'fifo', 'dir', 'symlink'):
            v.make(kind, d, 'sub', kind)
            st = os.lstat(v.at(d, 'sub', kind))
            v.same(st.st_gid, GROUP, f'group of a {kind}')
            v.same(bool(st.st_mode & stat.S_ISGID), kind == 'dir', f'setgid of a {kind}')
    v.as_user(OTHER, OTHER, inherits)

    def cannot_set(v):
        v.gives(0, os.chmod, v.at(d, 'sub', 'file'), 0o2755)  # not of the group: the bit goes
        v.same(stat.S_IMODE(os.stat(v.at(d, 'sub', 'file')).st_mode), 0o755, 'setgid of a foreign group')
    v.as_user(OTHER, OTHER, cannot_set)


def umasks(v, d):
    for mask in (0, 0o22, 0o77, 0o777, 0o27):
        before = os.umask(mask)
        try:
            os.close(os.open(v.at(d, 'f'), os.O_CREAT | os.O_WRONLY, 0o777))
            os.mkdir(v.at(d, 'd'), 0o777)
            os.mkfifo(v.at(d, 'p'), 0o666)
            os.symlink('x', v.at(d, 'l'))
        finally:
            os.umask(before)
        for name, mode in (('f', 0o777 & ~mask), ('d', 0o777 & ~mask), ('p', 0o666 & ~mask), ('l', 0o777)):
            v.same(stat.S_IMODE(os.lstat(v.at(d, name)).st_mode), mode, f'{name} under umask {mask:o}')
        for name in 'fpl':
            os.unlink(v.at(d, name))
        os.rmdir(v.at(d, 'd'))


subjects = [modes, directories, sticky, sticky_between, chmod_and_chown, id_bits, umasks]
