"""What belongs to a mount as a whole: its options, its space, what it refuses, objects that vanish at another mount."""
import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.calls import RENAME_WHITEOUT, error_of, rename2
from tests.lib.lab import Lab, TALLY, wait_until
from tests.lib.tap import main, test

MiB = 1 << 20
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FIEMAP, FICLONE, FIGETBSZ = 0x80086601, 0x40086602, 0xc020660b, 0x40049409, 2


@contextlib.contextmanager
def another(lab, options):
    """One more mount, with options; its path."""
    path = lab.path('extra')
    os.makedirs(path, exist_ok=True)
    run = f'state={lab.dir}/extra-state,socket={lab.dir}/run/extra.sock'
    subprocess.run([TALLY, 'mount', '--config', f'{lab.dir}/tally.conf', '--log', f'{lab.dir}/log/extra.log', path, '-o', f'{options},{run}'],
                   check=True, stdin=subprocess.DEVNULL, timeout=60)
    try:
        yield path
    finally:
        subprocess.run([TALLY, 'umount', path], check=False, stdin=subprocess.DEVNULL, timeout=60)


def put(path, data=b'data'):
    with open(path, 'wb') as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def atime(path):
    return os.lstat(path).st_atime_ns


@test('-o ro: everything that changes gives EROFS, everything else works')
def _():
    with Lab(mounts=1) as lab:
        put(lab.path('m1', 'file'))
        os.mkdir(lab.path('m1', 'dir'))
        os.symlink('file', lab.path('m1', 'link'))
        os.setxattr(lab.path('m1', 'file'), 'user.x', b'1')
        before = os.stat(lab.path('m1', 'file'))
        with another(lab, 'ro') as top:
            f, d, new = f'{top}/file', f'{top}/dir', f'{top}/new'
            assert read(f) == b'data' and sorted(os.listdir(top)) == ['dir', 'file', 'link'] and os.readlink(f'{top}/link') == 'file'
            assert os.getxattr(f, 'user.x') == b'1' and os.listdir(d) == []
            calls = {
                'write': lambda: os.open(f, os.O_WRONLY), 'rdwr': lambda: os.open(f, os.O_RDWR), 'creat': lambda: os.open(new, os.O_CREAT | os.O_WRONLY),
                'tmpfile': lambda: os.open(top, os.O_TMPFILE | os.O_RDWR), 'trunc': lambda: os.truncate(f, 0), 'mkdir': lambda: os.mkdir(new),
                'mkfifo': lambda: os.mkfifo(new), 'symlink': lambda: os.symlink('x', new), 'link': lambda: os.link(f, new),
                'rename': lambda: os.rename(f, new), 'unlink': lambda: os.unlink(f), 'rmdir': lambda: os.rmdir(d), 'chmod': lambda: os.chmod(f, 0),
                'chown': lambda: os.chown(f, 1, 1), 'utime': lambda: os.utime(f), 'setxattr': lambda: os.setxattr(f, 'user.y', b'2'),
                'removexattr': lambda: os.removexattr(f, 'user.x'),
            }
            got = {name: error_of(call) for name, call in calls.items()}
            assert set(got.values()) == {errno.EROFS}, got
        after = os.stat(lab.path('m1', 'file'))
        assert (after.st_atime_ns, after.st_ctime_ns, after.st_mode) == (before.st_atime_ns, before.st_ctime_ns, before.st_mode)


@test('a read shows at the mount that read at once, at the other when that one is gone; noatime, nodiratime, strictatime')
def _():
    with Lab(mounts=1) as lab:
        mine = lab.path('m1', 'file')
        os.mkdir(lab.path('m1', 'dir'))
        with another(lab, 'relatime') as top:
            put(mine)
            before = atime(mine)
            time.sleep(.01)
            assert read(f'{top}/file') == b'data'
            seen = atime(f'{top}/file')
            assert seen > before and atime(mine) == before
        wait_until(lambda: atime(mine) == seen, 10, 'the read told to the other mount')  # before it went
        for option, moves in (('noatime', (False, False, False)), ('nodiratime', (True, False, False)), ('strictatime', (True, True, True))):
            with another(lab, option) as top:
                put(mine)
                os.utime(lab.path('m1', 'dir'), ns=(5, 6))
                got = []
                for look in (lambda: read(f'{top}/file'), lambda: os.listdir(f'{top}/dir'), lambda: read(f'{top}/file')):
                    before = atime(f'{top}/file'), atime(f'{top}/dir')
                    time.sleep(.01)
                    look()
                    got.append((atime(f'{top}/file'), atime(f'{top}/dir')) != before)
                assert tuple(got) == moves, (option, got)


def reserved(lab):
    """Bytes that mounts may write without asking; statfs takes them for used."""
    return next(n['reserved_bytes'] for n in lab.status()['nodes'] if n['name'] == lab.leader())


@test('statfs tells of the space of the copies: it shrinks by what is written, names and files count')
def _():
    with Lab(mounts=2, capacity='1GiB') as lab:  # less than the disk has: what others do there shows in statfs, too
        put(lab.path('m1', 'first'))
        start, promised = os.statvfs(lab.path('m1')), reserved(lab)
        assert start.f_namemax == 255 and start.f_frsize == 4096 and start.f_bavail <= start.f_bfree <= start.f_blocks, start
        used = start.f_files - start.f_ffree
        for i in range(10):
            put(lab.path('m1', f'f{i}'), os.urandom(4 * MiB))
        for mount in ('m1', 'm2'):
            def taken(mount=mount):
                left = os.statvfs(lab.path(mount))
                return (start.f_bavail - left.f_bavail) * left.f_frsize + promised - reserved(lab)
            wait_until(lambda: taken() >= 40 * MiB, 10, 'what was written counts')  # nodes tell of their space with the next answer
            assert taken() <= 200 * MiB, (mount, taken())  # and what logs take
            now = os.statvfs(lab.path(mount))
            assert now.f_files - now.f_ffree == used + 10 and now.f_blocks == start.f_blocks, now
        for i in range(10):
            os.unlink(lab.path('m2', f'f{i}'))
        now = os.statvfs(lab.path('m1'))
        assert now.f_files - now.f_ffree == used, now


@test('lab kill with SIGTERM returns when the mount has ended: it can be started again at once, with all that was written')
def _():
    with Lab(mounts=1) as lab:
        for turn in range(5):
            for i in range(20):
                with open(lab.path('m1', f'{turn}-{i}'), 'xb') as f:  # not synced: the end commits it
                    f.write(os.urandom(MiB // 4))
            lab.kill('m1', 'TERM')
            assert not os.path.ismount(lab.path('m1'))
            lab.start('m1')
            assert len(os.listdir(lab.path('m1'))) == 20 * (turn + 1)


@test('what other filesystems know and this one does not is refused')
def _():
    with Lab(mounts=1) as lab:
        put(lab.path('m1', 'file'))
        put(lab.path('m1', 'other'))
        assert error_of(rename2, lab.path('m1', 'file'), lab.path('m1', 'new'), RENAME_WHITEOUT) == errno.EINVAL
        assert sorted(os.listdir(lab.path('m1'))) == ['file', 'other']
        with open(lab.path('m1', 'file'), 'rb+') as f, open(lab.path('m1', 'other'), 'rb+') as g:
            for name, number, argument in (('GETFLAGS', FS_IOC_GETFLAGS, bytes(8)), ('SETFLAGS', FS_IOC_SETFLAGS, struct.pack('<q', 16)),
                                           ('FIEMAP', FS_IOC_FIEMAP, bytes(32)), ('FICLONE', FICLONE, g.fileno()), ('unknown', 0x5a5a, bytes(8))):
                assert error_of(fcntl.ioctl, f, number, argument) in (errno.ENOTTY, errno.EOPNOTSUPP), name
            assert struct.unpack('<i', fcntl.ioctl(f, FIGETBSZ, bytes(4)))[0] == 4096
        assert read(lab.path('m1', 'file')) == b'data'


@test('fifos and sockets connect the programs of one mount; devices are not opened')
def _():
    with Lab(mounts=2) as lab:
        os.mkfifo(lab.path('m1', 'fifo'))
        reader = os.open(lab.path('m1', 'fifo'), os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(lab.path('m1', 'fifo'), os.O_WRONLY)
        os.write(writer, b'through')
        assert os.read(reader, 100) == b'through'
        assert error_of(os.open, lab.path('m2', 'fifo'), os.O_WRONLY | os.O_NONBLOCK) == errno.ENXIO  # another machine's end
        os.close(reader), os.close(writer)
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as far:
            server.bind(lab.path('m1', 'socket'))
            server.listen()
            assert stat.S_ISSOCK(os.lstat(lab.path('m2', 'socket')).st_mode)
            client.connect(lab.path('m1', 'socket'))
            client.sendall(b'hello')
            peer, _ = server.accept()
            assert peer.recv(10) == b'hello'
            peer.close()
            assert error_of(far.connect, lab.path('m2', 'socket')) == errno.ECONNREFUSED
            assert error_of(socket.socket(socket.AF_UNIX).bind, lab.path('m2', 'socket')) == errno.EADDRINUSE
        os.mknod(lab.path('m1', 'null'), 0o020666, os.makedev(1, 3))
        assert error_of(os.open, lab.path('m2', 'null'), os.O_RDONLY) == errno.EACCES  # mounted nodev


@test('a directory that is removed at the other mount is empty to who has it open, nothing is made in it, and nobody hangs')
def _():
    with Lab(mounts=2) as lab:
        os.makedirs(lab.path('m1', 'a', 'b'))
        fd = os.open(lab.path('m1', 'a', 'b'), os.O_RDONLY | os.O_DIRECTORY)
        assert os.listdir(fd) == []
        os.rmdir(lab.path('m2', 'a', 'b'))
        assert os.listdir(fd) == [] and os.fstat(fd).st_nlink == 0
        assert error_of(os.open, 'x', os.O_CREAT | os.O_WRONLY, dir_fd=fd) == errno.ENOENT
        assert error_of(os.mkdir, 'x', dir_fd=fd) == errno.ENOENT
        assert error_of(os.stat, 'x', dir_fd=fd) == errno.ENOENT
        assert error_of(os.stat, lab.path('m1', 'a', 'b')) == errno.ENOENT
        os.mkdir(lab.path('m2', 'a', 'b'))  # another one of that name
        put(lab.path('m2', 'a', 'b', 'x'))
        assert error_of(os.stat, 'x', dir_fd=fd) == errno.ENOENT and os.listdir(fd) == []
        assert os.listdir(lab.path('m1', 'a', 'b')) == ['x']
        os.close(fd)


if __name__ == '__main__':
    main()
