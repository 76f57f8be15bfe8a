"""Locks over two mounts: fcntl ranges, OFD, flock; waiting, signals, deadlock; a holder that dies or loses its session."""
import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import Lab, process, wait_until
from tests.lib.tap import main, test

F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
NAMES = {'r': fcntl.F_RDLCK, 'w': fcntl.F_WRLCK, 'u': fcntl.F_UNLCK}

# Another process at another mount: takes commands on stdin, answers each with a line.
ACTOR = r'''
import errno, fcntl, os, signal, struct, sys
fds = {}
kinds = {'r': fcntl.F_RDLCK, 'w': fcntl.F_WRLCK, 'u': fcntl.F_UNLCK}
class Alarm(Exception): pass
def on_alarm(*_): raise Alarm
signal.signal(signal.SIGALRM, on_alarm)
for line in sys.stdin:
    what, *a = line.split()
    try:
        r = 0
        if what == 'open':
            fds[a[0]] = os.open(a[1], os.O_RDWR)
        elif what == 'close':
            os.close(fds.pop(a[0]))
        elif what in ('set', 'wait', 'ofd', 'ofdwait'):
            cmd = {'set': fcntl.F_SETLK, 'wait': fcntl.F_SETLKW, 'ofd': 37, 'ofdwait': 38}[what]
            fcntl.fcntl(fds[a[0]], cmd, struct.pack('hhqqi', kinds[a[1]], 0, int(a[2]), int(a[3]), 0))
        elif what == 'get':
            t, _, start, length, pid = struct.unpack('hhqqi', fcntl.fcntl(fds[a[0]], fcntl.F_GETLK, struct.pack('hhqqi', kinds[a[1]], 0, int(a[2]), int(a[3]), 0))[:28])
            r = f'{[k for k in kinds if kinds[k] == t][0]},{start},{length},{pid}'
        elif what == 'flock':
            fcntl.flock(fds[a[0]], int(a[1]))
        elif what == 'alarm':
            signal.setitimer(signal.ITIMER_REAL, float(a[0]))
        elif what == 'read':
            r = os.pread(fds[a[0]], 100, 0).decode() or '-'
        elif what == 'write':
            r = os.pwrite(fds[a[0]], a[1].encode(), 0)
    except Alarm:
        r = 'ALARM'
    except OSError as e:
        r = errno.errorcode[e.errno]
    print(r, flush=True)
'''


class Actor:
    def __init__(self):
        self.p = subprocess.Popen([sys.executable, '-c', ACTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.communicate()

    def tell(self, *words):
        self.p.stdin.write(' '.join(map(str, words)) + '\n')
        self.p.stdin.flush()

    def hear(self):
        return self.p.stdout.readline().strip()

    def do(self, *words):
        self.tell(*words)
        return self.hear()


def waits(lab, mount, count=1):
    """Until so many of the mount's processes wait for locks, as `tally explain` says."""
    def seen():
        r = subprocess.run([os.environ.get('TALLY', 'build/tools/cli/tally'), 'explain', lab.path(mount)], capture_output=True, text=True)
        return r.stdout.count('a lock that another has') >= count
    wait_until(seen, 20, f'{count} wait for a lock at {mount}')


def two(lab, name='f'):
    """One actor at each mount with the file open as `a`."""
    with open(lab.path('m1', name), 'w') as f:
        f.write('data')
    actors = Actor(), Actor()
    for mount, actor in zip(('m1', 'm2'), actors):
        assert actor.do('open', 'a', lab.path(mount, name)) == '0'
    return actors


@test('ranges: shared and exclusive, split, merged, F_GETLK, released by close of any descriptor and by death')
def _():
    with Lab() as lab:
        one, other = two(lab)
        with one, other:
            assert one.do('set', 'a', 'w', 0, 100) == '0'
            assert other.do('set', 'a', 'r', 50, 1) == 'EAGAIN'
            assert other.do('set', 'a', 'w', 100, 10) == '0'
            assert other.do('get', 'a', 'w', 10, 10) == f'w,0,100,{one.p.pid}'
            assert one.do('set', 'a', 'u', 40, 20) == '0'  # a hole in it
            assert other.do('set', 'a', 'w', 40, 20) == '0'
            assert other.do('set', 'a', 'w', 39, 20) == 'EAGAIN'
            assert one.do('get', 'a', 'r', 30, 40) == f'w,40,20,{other.p.pid}'
            assert one.do('set', 'a', 'r', 0, 40) == '0'  # less
            assert other.do('set', 'a', 'r', 0, 40) == '0'
            assert one.do('set', 'a', 'w', 0, 40) == 'EAGAIN'  # and not more again
            assert other.do('set', 'a', 'w', 2**63 - 2, 1) == '0'
            assert one.do('set', 'a', 'r', 1000, 0) == 'EAGAIN'  # to the end of every file
            assert one.do('open', 'b', lab.path('m1', 'f')) == '0' and one.do('close', 'b') == '0'
            assert other.do('get', 'a', 'w', 0, 0).startswith('u,')  # one has none left
            assert other.do('set', 'a', 'w', 0, 0) == '0'
            assert one.do('set', 'a', 'r', 0, 1) == 'EAGAIN'
            other.p.kill()
            wait_until(lambda: one.do('set', 'a', 'w', 0, 0) == '0', 10, 'the locks of the dead are gone')
        lab.settle()


@test('waiting: granted when the holder lets go, ended by a signal, killed while waiting, EDEADLK over two files')
def _():
    with Lab() as lab:
        one, other = two(lab)
        third = Actor()
        with one, other, third:
            assert third.do('open', 'a', lab.path('m2', 'f')) == '0'
            assert one.do('set', 'a', 'w', 0, 10) == '0'
            other.tell('wait', 'a', 'w', 5, 10)
            third.tell('wait', 'a', 'r', 0, 1)
            waits(lab, 'm2', 2)
            third.p.kill()
            third.p.wait(10)  # SIGKILL works at once
            waits(lab, 'm2', 1)
            assert one.do('set', 'a', 'u', 0, 0) == '0'
            assert other.hear() == '0'
            assert one.do('alarm', 0.2) == '0' and one.do('wait', 'a', 'w', 0, 0) == 'ALARM'
            assert one.do('set', 'a', 'r', 5, 1) == 'EAGAIN'
            # a circle over two files: one has `a` of it and wants `b`, other the reverse
            for actor, mount in ((one, 'm1'), (other, 'm2')):
                with open(lab.path('m1', 'g'), 'w'):
                    pass
                assert actor.do('open', 'g', lab.path(mount, 'g')) == '0'
            assert one.do('set', 'g', 'w', 0, 1) == '0'
            other.tell('wait', 'g', 'w', 0, 1)
            waits(lab, 'm2', 1)
            got = one.do('wait', 'a', 'w', 0, 0)
            assert got in ('EDEADLK', 'EDEADLOCK'), got  # two names of one number
            assert one.do('set', 'g', 'u', 0, 1) == '0' and other.hear() == '0'
        lab.settle()


@test('flock and OFD locks belong to the open file; a changed flock is given up first; kinds do not meet')
def _():
    with Lab() as lab:
        one, other = two(lab)
        with one, other:
            assert one.do('flock', 'a', fcntl.LOCK_SH) == '0' and other.do('flock', 'a', fcntl.LOCK_SH | fcntl.LOCK_NB) == '0'
            assert one.do('flock', 'a', fcntl.LOCK_EX | fcntl.LOCK_NB) == 'EAGAIN'  # and has lost its shared one
            assert other.do('flock', 'a', fcntl.LOCK_EX | fcntl.LOCK_NB) == '0'
            assert one.do('set', 'a', 'w', 0, 0) == '0'  # fcntl's are others
            one.tell('flock', 'a', fcntl.LOCK_EX)
            waits(lab, 'm1')
            assert other.do('close', 'a') == '0' and one.hear() == '0'
            assert other.do('open', 'a', lab.path('m2', 'f')) == '0' and other.do('flock', 'a', fcntl.LOCK_SH | fcntl.LOCK_NB) == 'EAGAIN'
            assert one.do('set', 'a', 'u', 0, 0) == '0'
            assert one.do('open', 'b', lab.path('m1', 'f')) == '0'
            assert one.do('ofd', 'a', 'w', 0, 10) == '0' and one.do('ofd', 'b', 'w', 5, 1) == 'EAGAIN'  # also within a process
            assert other.do('set', 'a', 'r', 5, 1) == 'EAGAIN'
            assert one.do('close', 'b') == '0' and other.do('set', 'a', 'r', 5, 1) == 'EAGAIN'  # another's close does not end it
            assert one.do('close', 'a') == '0'
            wait_until(lambda: other.do('set', 'a', 'w', 0, 0) == '0', 10, 'the last close ends it')
        lab.settle()


@test('what was written under a lock is there for the next holder; leader killed while some wait')
def _():
    with Lab() as lab:
        one, other = two(lab)
        with one, other:
            for round in range(4):
                first, second = (one, other) if round % 2 == 0 else (other, one)
                assert first.do('wait', 'a', 'w', 0, 0) == '0'
                second.tell('wait', 'a', 'w', 0, 0)
                waits(lab, 'm2' if round % 2 == 0 else 'm1')
                leader = lab.leader()
                lab.kill(leader)
                assert first.do('write', 'a', f'round{round}') == '6'
                assert first.do('set', 'a', 'u', 0, 0) == '0'
                assert second.hear() == '0'
                assert second.do('read', 'a') == f'round{round}'
                assert second.do('set', 'a', 'u', 0, 0) == '0'
                lab.start(leader)
                lab.settle_nodes()
        lab.settle()


@test('a mount that is silent too long loses its locks: others get them, its descriptors fail with EIO, an event says so')
def _():
    with Lab() as lab:
        one, other = two(lab)
        with one, other:
            assert one.do('open', 'b', lab.path('m1', 'f')) == '0'
            assert one.do('open', 'g', lab.path('m1', 'f')) == '0'
            assert one.do('set', 'a', 'w', 0, 0) == '0'
            assert one.do('read', 'g') == 'data'
            lab.kill('m1', 'STOP')
            try:
                other.tell('wait', 'a', 'w', 0, 0)
                assert other.hear() == '0'  # when the session has ended
                assert other.do('write', 'a', 'other') == '5'
            finally:
                lab.kill('m1', 'CONT')
            assert one.do('read', 'a') == 'EIO'
            assert one.do('write', 'a', 'late') == 'EIO'
            assert one.do('set', 'a', 'r', 0, 1) == 'EIO'
            assert one.do('read', 'g') == 'other', 'only the descriptor that it locked through is lost'
            assert one.do('set', 'b', 'r', 0, 1) == 'EAGAIN'
            with open(f'{lab.dir}/log/m1.log') as f:
                assert 'the locks of 1 open files ended with the session' in f.read()
            assert one.do('close', 'a') == '0'
            assert other.do('close', 'a') == '0'
            assert one.do('set', 'b', 'w', 0, 0) == '0'
        lab.settle()


@test('many processes at both mounts count in one file under a lock, while nodes die: no count is lost')
def _():
    counter = ('import fcntl, os, sys\n'
               'fd = os.open(sys.argv[1], os.O_RDWR)\n'
               'for _ in range(int(sys.argv[2])):\n'
               '    fcntl.lockf(fd, fcntl.LOCK_EX)\n'
               '    n = int(os.pread(fd, 20, 0) or b"0")\n'
               '    os.pwrite(fd, b"%020d" % (n + 1), 0)\n'
               '    fcntl.lockf(fd, fcntl.LOCK_UN)\n')
    with Lab() as lab:
        with open(lab.path('m1', 'count'), 'w'):
            pass
        jobs = [subprocess.Popen([sys.executable, '-c', counter, lab.path(m, 'count'), '40'], stderr=subprocess.PIPE, text=True)
                for m in ('m1', 'm2', 'm1', 'm2')]
        try:
            for name in ('n1', 'w1', 'n2'):
                lab.kill(name)
                lab.start(name)
                lab.settle_nodes()
            for job in jobs:
                assert job.wait(120) == 0, job.stderr.read()
        finally:
            for job in jobs:
                job.kill()
                job.communicate()
        with open(lab.path('m2', 'count')) as f:
            assert f.read() == f'{160:020d}'
        lab.settle()


if __name__ == '__main__':
    main()
