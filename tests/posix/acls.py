"""POSIX access control lists: who may do what, how modes and ACLs follow each other, what a directory hands down."""
import errno
import os
import stat
import struct
import subprocess

from tests.posix.permissions import GROUP, ONE, OTHER, open_and_close

ACCESS, DEFAULT = 'system.posix_acl_access', 'system.posix_acl_default'
TAGS = {'u:': 1, 'u': 2, 'g:': 4, 'g': 8, 'm:': 16, 'o:': 32}
NOBODY = 0xffffffff


def packed(*entries):
    """The attribute's bytes of ('u:', 7), ('u', 6, uid), ..."""
    out = struct.pack('<I', 2)
    for tag, perm, *of in entries:
        out += struct.pack('<HHI', TAGS[tag], perm, *of or [NOBODY])
    return out


def setfacl(v, *args):
    """Changes what the last argument, parts of a path, names."""
    r = subprocess.run(['setfacl', *args[:-1], v.at(*args[-1])], capture_output=True, text=True)
    v.check(r.returncode == 0, f'setfacl {args}: {r.stderr}')


def getfacl(v, *parts):
    """The entries, one after another, effective rights left out."""
    r = subprocess.run(['getfacl', '-cEn', v.at(*parts)], capture_output=True, text=True)
    v.check(r.returncode == 0, f'getfacl {parts}: {r.stderr}')
    return ' '.join(r.stdout.split())


def mode(v, *parts):
    return stat.S_IMODE(os.lstat(v.at(*parts)).st_mode)


def rights(v, d):
    """Named users and groups get what their entry and the mask allow; others what the mode says."""
    os.chmod(v.at(d), 0o755)
    v.make('file', d, 'f')
    os.chown(v.at(d, 'f'), OTHER, OTHER)
    callers = {'user': (ONE, ONE, ()), 'group': (ONE + 10, GROUP, ()), 'its groups': (ONE + 11, ONE + 11, (GROUP,)), 'owner': (OTHER, OTHER, ()),
               'others': (ONE + 12, ONE + 12, ())}
    for user in (0, 4, 6):
        for group in (2, 4):
            for mask in (7, 4, 0):
                setfacl(v, '-m', f'u::rw-,u:{ONE}:{user},g::---,g:{GROUP}:{group},m::{mask},o::---', (d, 'f'))
                v.same(mode(v, d, 'f'), 0o600 | mask << 3, 'the mask is the mode of the group')
                want = {'user': user & mask, 'group': group & mask, 'its groups': group & mask, 'owner': 6, 'others': 0}
                for who, (uid, gid, groups) in callers.items():
                    def attempt(v, may=want[who]):
                        for bits, flags in ((4, os.O_RDONLY), (2, os.O_WRONLY), (6, os.O_RDWR)):
                            v.gives(0 if may & bits == bits else errno.EACCES, open_and_close, v.at(d, 'f'), flags)
                    v.as_user(uid, gid, attempt, groups)
    v.make('dir', d, 'sub')
    os.chmod(v.at(d, 'sub'), 0o700)
    v.make('file', d, 'sub', 'f')
    for perm in ('---', 'r--', '--x', '-wx', 'rwx'):
        setfacl(v, '-m', f'u:{ONE}:{perm}', (d, 'sub'))

        def attempt(v, perm=perm):
            v.gives(0 if 'r' in perm else errno.EACCES, os.listdir, v.at(d, 'sub'))
            v.gives(0 if 'x' in perm else errno.EACCES, os.stat, v.at(d, 'sub', 'f'))
            v.gives(0 if 'wx' in perm else errno.EACCES, open_and_close, v.at(d, 'sub', 'new'), os.O_CREAT | os.O_WRONLY)
        v.as_user(ONE, ONE, attempt)


def in_step(v, d):
    """An access ACL sets the permission bits, chmod the owner's, the mask's and the others' entries."""
    v.make('file', d, 'f')
    os.chmod(v.at(d, 'f'), 0o640)
    v.same(getfacl(v, d, 'f'), 'user::rw- group::r-- other::---', 'of the mode')
    v.gives(errno.ENODATA, os.getxattr, v.at(d, 'f'), ACCESS)
    setfacl(v, '-m', f'u:{ONE}:rwx', (d, 'f'))
    v.same(getfacl(v, d, 'f'), f'user::rw- user:{ONE}:rwx group::r-- mask::rwx other::---', 'with a named user')
    v.same(mode(v, d, 'f'), 0o670, 'mode')
    v.check(ACCESS in os.listxattr(v.at(d, 'f')), 'it is listed')
    for bits in (0o600, 0o604, 0o751, 0o070, 0o4755, 0):
        os.chmod(v.at(d, 'f'), bits)
        v.same(mode(v, d, 'f'), bits, 'mode after a chmod')
        u, m, o = (''.join(c if bits >> shift & b else '-' for c, b in (('r', 4), ('w', 2), ('x', 1))) for shift in (6, 3, 0))
        v.same(getfacl(v, d, 'f'), f'user::{u} user:{ONE}:rwx group::r-- mask::{m} other::{o}', f'after chmod {bits:o}')
    os.setxattr(v.at(d, 'f'), ACCESS, packed(('u:', 7), ('g:', 5), ('o:', 1)))
    v.gives(errno.ENODATA, os.getxattr, v.at(d, 'f'), ACCESS)  # a mode says as much
    v.same(mode(v, d, 'f'), 0o751, 'mode of a small ACL')
    value = packed(('u:', 6), ('u', 4, ONE), ('g:', 2), ('m:', 5), ('o:', 0))
    v.gives(0, os.setxattr, v.at(d, 'f'), ACCESS, value)
    v.same(os.getxattr(v.at(d, 'f'), ACCESS), value, 'bytes')
    ctime = os.stat(v.at(d, 'f')).st_ctime_ns
    setfacl(v, '-b', (d, 'f'))
    v.same(getfacl(v, d, 'f'), 'user::rw- group::--- other::---', 'removed')
    v.check(os.stat(v.at(d, 'f')).st_ctime_ns > ctime, 'the time of change moves')
    v.gives(0, os.removexattr, v.at(d, 'f'), ACCESS)
    setfacl(v, '-m', f'u:{ONE}:r', (d, 'f'))
    os.rename(*v.both((d, 'f'), (d, 'g')))
    os.link(*v.both((d, 'g'), (d, 'h')))
    v.same(getfacl(v, d, 'h'), f'user::rw- user:{ONE}:r-- group::--- mask::r-- other::---', 'goes with the file')


def handed_down(v, d):
    """A default ACL makes the access ACL of what is new, and the umask counts no more."""
    v.make('dir', d, 'sub')
    os.chmod(v.at(d, 'sub'), 0o755)
    setfacl(v, '-dm', f'u::rwx,u:{ONE}:rwx,g::r-x,m::rwx,o::r-x', (d, 'sub'))
    v.same(mode(v, d, 'sub'), 0o755, 'says nothing of the directory itself')
    v.gives(errno.ENODATA, os.getxattr, v.at(d, 'sub'), ACCESS)
    named = f'user:{ONE}:rwx group::r-x'
    for mask in (0, 0o22, 0o77):
        before = os.umask(mask)
        try:
            os.close(os.open(v.at(d, 'sub', 'f'), os.O_CREAT | os.O_WRONLY, 0o640))
            os.mkfifo(v.at(d, 'sub', 'p'), 0o666)
            os.mknod(v.at(d, 'sub', 's'), 0o140600)
            os.mknod(v.at(d, 'sub', 'r'), 0o100644)
            os.mkdir(v.at(d, 'sub', 'd'), 0o750)
            os.symlink('x', v.at(d, 'sub', 'l'))
        finally:
            os.umask(before)
        for name, text, bits in (('f', f'user::rw- {named} mask::r-- other::---', 0o640), ('p', f'user::rw- {named} mask::rw- other::r--', 0o664),
                                 ('s', f'user::rw- {named} mask::--- other::---', 0o600), ('r', f'user::rw- {named} mask::r-- other::r--', 0o644)):
            v.same(getfacl(v, d, 'sub', name), text, f'{name} under umask {mask:o}')
            v.same(mode(v, d, 'sub', name), bits, f'mode of {name}')
        default = ' '.join('default:' + e for e in f'user::rwx user:{ONE}:rwx group::r-x mask::rwx other::r-x'.split())
        v.same(getfacl(v, d, 'sub', 'd'), f'user::rwx {named} mask::r-x other::--- {default}', 'a directory hands it on')
        v.same(mode(v, d, 'sub', 'l'), 0o777, 'a symbolic link has none')
        for name in os.listdir(v.at(d, 'sub')):
            v.remove('dir' if name == 'd' else 'file', d, 'sub', name)
    os.chmod(v.at(d, 'sub'), 0o2777)
    os.chown(v.at(d, 'sub'), 0, GROUP)
    v.make('dir', d, 'sub', 'both')
    v.same(mode(v, d, 'sub', 'both'), 0o2755, 'setgid as well')
    setfacl(v, '-k', (d, 'sub'))
    before = os.umask(0o77)
    os.mkdir(v.at(d, 'sub', 'after'), 0o777)
    os.umask(before)
    v.same(mode(v, d, 'sub', 'after'), 0o2700, 'without it the umask counts')
    os.chmod(v.at(d, 'sub'), 0o755)
    setfacl(v, '-dm', 'u::rw-,g::r--,o::---', (d, 'sub'))  # one that a mode could say
    v.make('file', d, 'sub', 'small')
    v.same(mode(v, d, 'sub', 'small'), 0o640, 'mode')
    v.gives(errno.ENODATA, os.getxattr, v.at(d, 'sub', 'small'), ACCESS)


def refused(v, d):
    v.make('file', d, 'f')
    os.chmod(v.at(d), 0o777)
    os.chown(v.at(d, 'f'), ONE, GROUP)
    good = packed(('u:', 6), ('u', 4, OTHER), ('g:', 2), ('m:', 5), ('o:', 0))
    v.gives(errno.EACCES, os.setxattr, v.at(d, 'f'), DEFAULT, good)
    for bad in (packed(('u:', 6), ('g:', 2)), packed(('u:', 6), ('u', 4, OTHER), ('g:', 2), ('o:', 0)), packed(('g:', 6), ('u:', 2), ('o:', 0)),
                packed(('u:', 9), ('g:', 2), ('o:', 0)), good[:-1], b'\1\0\0\0' + good[4:]):
        v.gives(errno.EOPNOTSUPP if bad[0] == 1 else errno.EINVAL, os.setxattr, v.at(d, 'f'), ACCESS, bad)
    os.symlink('f', v.at(d, 'link'))
    v.gives(errno.EOPNOTSUPP, os.setxattr, v.at(d, 'link'), ACCESS, good, follow_symlinks=False)
    v.gives(0, os.setxattr, v.at(d, 'f'), ACCESS, good)
    v.gives(errno.EOPNOTSUPP, os.setxattr, v.at(d, 'f'), 'system.something', b'x')

    def stranger(v):
        v.gives(errno.EPERM, os.setxattr, v.at(d, 'f'), ACCESS, good)
        v.gives(errno.EPERM, os.removexattr, v.at(d, 'f'), ACCESS)
        v.same(os.getxattr(v.at(d, 'f'), ACCESS), good, 'all may read it')
    v.as_user(OTHER, OTHER, stranger)
    os.chmod(v.at(d, 'f'), 0o2750)

    def owner(v):  # not of the group: it may not make a setgid program of it
        v.gives(0, os.setxattr, v.at(d, 'f'), ACCESS, good)
        v.same(mode(v, d, 'f'), 0o650, 'setgid after an ACL of a stranger to the group')
    v.as_user(ONE, OTHER, owner)
    os.chmod(v.at(d, 'f'), 0o2750)

    def member(v):
        v.gives(0, os.setxattr, v.at(d, 'f'), ACCESS, good)
        v.same(mode(v, d, 'f'), 0o2650, 'setgid after an ACL of a member')
    v.as_user(ONE, OTHER, member, (GROUP,))


def followed(v, d):
    """What one mount takes away the next call at the other is refused, whatever it had looked at before."""
    os.chmod(v.at(d), 0o755)
    v.make('file', d, 'f')
    os.chmod(v.at(d, 'f'), 0o600)
    for _ in range(8):
        for change, want in ((('-m', f'u:{ONE}:r'), 0), (('-m', 'm::-'), errno.EACCES), (('-m', 'm::r'), 0), (('-b',), errno.EACCES),
                             (('-m', f'u:{ONE}:rw'), 0), (('-m', f'u:{ONE}:-'), errno.EACCES)):
            setfacl(v, *change, (d, 'f'))
            v.as_user(ONE, ONE, lambda v, want=want: [v.gives(want, open_and_close, v.at(d, 'f'), os.O_RDONLY) for _ in range(4)])


subjects = [rights, in_step, handed_down, refused, followed]
