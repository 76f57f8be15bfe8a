"""Names: all kinds of objects, their limits, what stands in the way of making and removing them, hard links, symbolic links."""
import errno
import os
import stat

from tests.posix.view import KINDS

FORMATS = {'file': stat.S_IFREG, 'dir': stat.S_IFDIR, 'symlink': stat.S_IFLNK, 'fifo': stat.S_IFIFO, 'socket': stat.S_IFSOCK,
           'char': stat.S_IFCHR, 'block': stat.S_IFBLK}


def kinds(v, d):
    for kind, form in FORMATS.items():
        v.make(kind, d, kind)
        st = v.gives(0, os.lstat, v.at(d, kind))
        v.same(stat.S_IFMT(st.st_mode), form, f'type of a {kind}')
        v.same(st.st_nlink, 2 if kind == 'dir' else 1, f'links of a {kind}')
        v.same(st.st_uid, os.getuid(), f'owner of a {kind}')
        v.same({e.name: e.is_dir(follow_symlinks=False) for e in os.scandir(v.at(d))}[kind], kind == 'dir', f'a listing has the {kind}')
        if kind in ('char', 'block'):
            v.same(st.st_rdev, os.makedev(1, 3) if kind == 'char' else os.makedev(7, 200), f'device of a {kind}')
        for other in KINDS:  # nothing replaces it
            v.gives(errno.EEXIST, KINDS[other], v.at(d, kind))
        v.gives(errno.ENOTDIR if kind != 'dir' else errno.EISDIR, os.rmdir if kind != 'dir' else os.unlink, v.at(d, kind))
        v.remove(kind, d, kind)
        v.gives(errno.ENOENT, os.lstat, v.at(d, kind))
        v.gives(errno.ENOENT, os.unlink, v.at(d, kind))
        v.gives(errno.ENOENT, os.rmdir, v.at(d, kind))


def named(name, function):
    def call(path):
        return function(path)
    call.__name__ = name
    return call


def components(v, d):
    """Paths that lead nowhere, for everything that takes one."""
    v.make('file', d, 'plain')
    os.symlink('loop', v.at(d, 'loop'))
    os.symlink('nowhere', v.at(d, 'dangling'))
    calls = {
        'stat': os.stat, 'lstat': os.lstat, 'open': lambda p: os.close(os.open(p, os.O_RDONLY)),
        'creat': lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o644)), 'mkdir': os.mkdir, 'mkfifo': os.mkfifo,
        'symlink': lambda p: os.symlink('x', p), 'unlink': os.unlink, 'rmdir': os.rmdir, 'chmod': lambda p: os.chmod(p, 0o600),
        'chown': lambda p: os.chown(p, 0, 0), 'utime': os.utime, 'truncate': lambda p: os.truncate(p, 0),
        'rename': lambda p: os.rename(p, v.here(d, 'elsewhere')), 'link': lambda p: os.link(p, v.here(d, 'elsewhere')),
        'readlink': os.readlink, 'listdir': os.listdir, 'listxattr': os.listxattr, 'access': lambda p: os.stat(p),
    }
    for name, call in calls.items():
        call = calls[name] = named(name, call)
        v.gives(errno.ENOTDIR, call, v.at(d, 'plain', 'x'))
        v.gives(errno.ENOENT, call, v.at(d, 'missing', 'x'))
        v.gives(errno.ELOOP, call, v.at(d, 'loop', 'x'))
        v.gives(errno.ENOENT, call, v.at(d, 'dangling', 'x'))
        v.gives(errno.ENAMETOOLONG, call, v.at(d, 'n' * 256))
        v.gives(errno.ENAMETOOLONG, call, v.at(d, 'n' * 256, 'x'))
        v.gives(errno.ENAMETOOLONG, call, v.at(d, *['n' * 200] * 21))
        v.gives(errno.ENOENT, call, '')
    for name in ('stat', 'open', 'chmod', 'utime', 'truncate', 'listdir', 'listxattr'):  # follow a link at the end
        v.gives(errno.ELOOP, calls[name], v.at(d, 'loop'))
        v.gives(errno.ENOENT, calls[name], v.at(d, 'dangling'))
    v.gives(errno.ELOOP, os.open, v.at(d, 'dangling'), os.O_RDONLY | os.O_NOFOLLOW)
    v.gives(errno.EEXIST, os.open, v.at(d, 'dangling'), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)


def limits(v, d):
    for size in (1, 2, 100, 254, 255):
        for kind in KINDS:
            name = kind[0] * size
            v.make(kind, d, name)
            v.check(name in os.listdir(v.at(d)), f'a name of {size} bytes is listed')
            v.gives(0, os.rename, *v.both((d, name), (d, 'z' * size)))
            v.remove(kind, d, 'z' * size)
    top = os.fsencode(v.at(d))
    for byte in range(1, 256):
        if byte in (0x2f,):
            continue
        name = b'b' + bytes([byte])
        os.close(os.open(os.path.join(top, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        v.gives(0, os.lstat, os.path.join(os.fsencode(v.at(d)), name))
    v.same(len(os.listdir(v.at(d))), 254, 'all bytes but / and NUL make names')
    for name in os.listdir(os.fsencode(v.at(d))):
        os.unlink(os.path.join(os.fsencode(v.at(d)), name))
    v.same(os.listdir(v.at(d)), [], 'all of them are gone')


def hard_links(v, d):
    for kind in ('file', 'fifo', 'socket', 'char', 'block', 'symlink'):
        v.make(kind, d, 'a')
        for n in range(2, 6):
            v.gives(0, os.link, *v.both((d, 'a'), (d, f'l{n}')), follow_symlinks=False)
            for name in ('a', *(f'l{k}' for k in range(2, n + 1))):
                v.same(os.lstat(v.at(d, name)).st_nlink, n, f'{n} links of a {kind}')
        v.same(len({os.lstat(v.at(d, x)).st_ino for x in os.listdir(v.at(d))}), 1, 'one inode')
        v.gives(errno.EEXIST, os.link, *v.both((d, 'a'), (d, 'l2')), follow_symlinks=False)
        if kind != 'symlink':
            os.chmod(v.at(d, 'l3'), 0o600)
            v.same(os.lstat(v.at(d, 'a')).st_mode & 0o7777, 0o600, 'mode over all links')
        os.unlink(v.at(d, 'a'))
        for n in range(5, 1, -1):
            v.same(os.lstat(v.at(d, f'l{n}')).st_nlink, n - 1, 'links after an unlink')
            os.unlink(v.at(d, f'l{n}'))
    v.make('dir', d, 'dir')
    v.gives(errno.EPERM, os.link, *v.both((d, 'dir'), (d, 'other')))
    v.gives(errno.ENOENT, os.link, *v.both((d, 'missing'), (d, 'other')))
    v.gives(errno.EXDEV, os.link, '/proc/version', v.at(d, 'other'))
    os.rmdir(v.at(d, 'dir'))


def symlinks(v, d):
    for target in ('x', '.', '..', '/', '/absolute/path', 'a' * 4095, 'with blank', 'ünïcode', '../' * 20):
        os.symlink(target, v.at(d, 'link'))
        v.same(os.readlink(v.at(d, 'link')), target, 'target')
        v.same(os.lstat(v.at(d, 'link')).st_size, len(os.fsencode(target)), 'size of a link')
        os.unlink(v.at(d, 'link'))
    v.gives(errno.ENAMETOOLONG, os.symlink, 'a' * 4096, v.at(d, 'link'))
    v.gives(errno.ENOENT, os.symlink, '', v.at(d, 'link'))
    v.make('file', d, 'file')
    v.gives(errno.EINVAL, os.readlink, v.at(d, 'file'))
    v.gives(errno.EINVAL, os.readlink, v.at(d))
    previous = 'file'
    for n in range(40):  # Linux follows 40
        os.symlink(previous, v.at(d, f's{n}'))
        previous = f's{n}'
        v.gives(0, os.stat, v.at(d, previous))
    os.symlink(previous, v.at(d, 's40'))
    v.gives(errno.ELOOP, os.stat, v.at(d, 's40'))
    v.make('dir', d, 'dir')
    os.symlink('dir', v.at(d, 'to-dir'))
    v.make('file', d, 'to-dir', 'inside')
    v.gives(0, os.stat, v.at(d, 'dir', 'inside'))
    v.gives(errno.ENOTDIR, os.rmdir, v.at(d, 'to-dir'))
    v.gives(errno.ENOTDIR, os.open, v.at(d, 'to-dir'), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    os.unlink(v.at(d, 'dir', 'inside'))


def directories(v, d):
    for n in range(1, 8):
        v.make('dir', d, f'sub{n}')
        v.same(os.stat(v.at(d)).st_nlink, 2 + n, 'links of a directory count its directories')
    for name in ('.', '..'):
        v.gives(errno.EINVAL if name == '.' else errno.ENOTEMPTY, os.rmdir, v.at(d, 'sub1') + '/' + name)
    v.make('file', d, 'sub1', 'file')
    v.gives(errno.ENOTEMPTY, os.rmdir, v.at(d, 'sub1'))
    v.gives(errno.EEXIST, os.mkdir, v.at(d, 'sub1'))
    os.unlink(v.at(d, 'sub1', 'file'))
    for n in range(7, 0, -1):
        v.gives(0, os.rmdir, v.at(d, f'sub{n}'))
        v.same(os.stat(v.at(d)).st_nlink, 1 + n, 'and no longer when it is gone')
    path = ''
    for n in range(50):
        path = os.path.join(path, f'deep{n}')
        os.mkdir(v.at(d, path))
        v.gives(0, os.stat, v.at(d, path))
    v.gives(0, os.open, v.at(d, path, 'file'), os.O_CREAT | os.O_WRONLY)
    v.same(os.path.realpath(v.at(d, path, '..', 'deep49', 'file'))[-4:], 'file', 'down and up')


subjects = [kinds, components, limits, hard_links, symlinks, directories]
