"""Nonsense on a node's socket, full stores, wrong starts: one clear line each, and everybody else goes on."""
import ctypes
import errno
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib import frames
from tests.lib.calls import error_of
from tests.lib.frames import Stranger, frame, hello, ping
from tests.lib.lab import TALLY, Lab, process, wait_until
from tests.lib.tap import figure, main, test

SEED = int(os.environ.get('SEED', '0')) or random.SystemRandom().randrange(1, 10**9)
FUZZ = 2000 if os.environ.get('TALLY_NIGHTLY') else 150
MIB = 2**20


def put(path, data):
    with open(path, 'wb') as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def read_file(path):
    with open(path, 'rb') as f:
        return f.read()


def socket_of(lab, node):
    return f'{lab.dir}/run/{node}.sock'


def log_of(lab, name):
    with open(f'{lab.dir}/log/{name}.log', errors='replace') as f:
        return f.read()


def cluster_of(lab):
    with open(f'{lab.dir}/tally.conf') as f:
        line = next(line for line in f if line.startswith('uuid'))
    return bytes.fromhex(line.split('=')[1].strip())


def run(*args, timeout=30):
    return subprocess.run([TALLY, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


def one_line(r, *words):
    """A failure told in one line that holds the words."""
    lines = [line for line in r.stderr.splitlines() if line.strip() and not line.startswith('usage: ')]
    assert r.returncode not in (0, -6, -11, 134, 139), f'exit code {r.returncode}: {r.stderr}'
    assert len(lines) == 1, f'{len(lines)} lines: {r.stderr}'
    for word in words:
        assert word in lines[0], f'{word!r} is not in: {lines[0]}'
    return lines[0]


class Unmoved:
    """What happens inside leaves the cluster as it is: same processes, same leader's term, work goes on."""

    def __init__(self, lab):
        self.lab = lab

    def __enter__(self):
        status = self.lab.status()
        self.before = [(n['name'], n['pid']) for n in status['nodes'] + status['mounts']], status['nodes'][0]['term']
        return self

    def __exit__(self, kind, *_):
        if kind:
            return
        put(self.lab.path('m1', 'still'), b'alive %d' % time.monotonic_ns())
        assert read_file(self.lab.path('m2', 'still')) == read_file(self.lab.path('m1', 'still'))
        status = self.lab.status()
        after = [(n['name'], n['pid']) for n in status['nodes'] + status['mounts']], status['nodes'][0]['term']
        assert after == self.before, f'{self.before} -> {after}'


def answer_each(listener, data, stop):
    while True:
        link, _ = listener.accept()
        with link:
            if stop.is_set():
                return
            link.sendall(data)
            link.recv(4096)


BAD = {  # what comes after a good HELLO -> what it is
    'wrong magic': frame(frames.ADMIN_REQUEST, 2, b'{}', magic=b'HTTP'),
    'another version': frame(frames.ADMIN_REQUEST, 2, b'{}', version=99),
    'reserved bits': frame(frames.ADMIN_REQUEST, 2, b'{}', zero=1),
    'damaged checksum': frame(frames.ADMIN_REQUEST, 2, b'{}', checksum=1),
    'oversized control': frame(frames.ADMIN_REQUEST, 2, b'', sizes=(9 * MIB, 0)),
    'oversized bulk': frame(frames.BLOCK_PUT, 2, b'', sizes=(0, 0xffffffff)),
    'a frame left out': ping(3),
    'a frame played again': ping(2) + ping(2),
    'HELLO played again': hello(),
    'sequence zero': ping(0),
    'garbage': os.urandom(4096),
    'text': b'GET / HTTP/1.0\r\n\r\n' * 20,
}


@test('frames that are damaged, oversized, lost, played again, or no frames at all: each link is closed, logged, nothing else happens')
def _():
    with Lab() as lab, Unmoved(lab):
        for node in ('n1', 'w1'):
            for what, data in BAD.items():
                before = log_of(lab, node).count('bad frame')
                with Stranger(socket_of(lab, node)) as s:
                    assert s.send(hello(name=what.encode()))  # equal lines in a row are counted, not printed
                    s.send(data)
                    assert s.closed(), f'{what}: {node} keeps the link'
                wait_until(lambda: log_of(lab, node).count('bad frame') > before, 5, f'{node} logs: {what}')
            for what, data in (('garbage first', os.urandom(100)), ('no HELLO', ping(1)), ('empty HELLO', frame(frames.HELLO, 1)),
                               ('long name', hello(name=b'n' * 1000)), ('node 77', hello(frames.HELLO_NODE, node=77)),
                               ('another cluster', hello(frames.HELLO_MOUNT, cluster=b'x' * 16)),
                               ('a node of another cluster', hello(frames.HELLO_NODE, cluster=b'x' * 16, node=2))):
                with Stranger(socket_of(lab, node)) as s:
                    s.send(data)
                    assert s.closed(), f'{what}: {node} keeps the link'
        with Stranger(socket_of(lab, 'n1')) as s:  # and a well-behaved one is answered
            s.send(hello() + ping())
            kinds = [s.receive()[0], s.receive()[0]]
            assert kinds == [frames.HELLO, frames.ADMIN_REPLY], kinds


@test('builds that speak another version: each side says why, and status tells it')
def _():
    with Lab() as lab:
        with Stranger(socket_of(lab, 'n1')) as s:
            s.send(hello(version=frames.VERSION + 1))
            assert s.receive()[0] == frames.HELLO, 'n1 does not tell its version'
            assert s.closed()
        wait_until(lambda: 'frame of another version' in log_of(lab, 'n1'), 5, 'n1 logs why')
        lab.kill('w1')
        os.unlink(socket_of(lab, 'w1'))
        with socket.socket(socket.AF_UNIX) as other:  # a later build stands in its place
            other.bind(socket_of(lab, 'w1'))
            other.listen()
            stop = threading.Event()
            server = threading.Thread(target=answer_each, args=(other, hello(version=frames.VERSION + 1), stop))
            server.start()
            try:
                out = run('status', '--config', f'{lab.dir}/tally.conf').stdout
                assert 'w1     witness  other build' in out and 'w1 runs another build' in out, out
                wait_until(lambda: 'frame of another version' in log_of(lab, 'm2'), 5, 'm2 logs why')
                put(lab.path('m1', 'f'), b'served by the other two')
            finally:
                stop.set()
                Stranger(socket_of(lab, 'w1')).__exit__()
                server.join()


@test('truncated frames and silence: dropped when the other side goes, or in time when it says nothing')
def _():
    with Lab() as lab, Unmoved(lab):
        whole = hello() + ping()
        for cut in (0, 1, 31, 32, 40, len(hello()), len(hello()) + 10, len(whole) - 1):
            with Stranger(socket_of(lab, 'n1')) as s:
                s.send(whole[:cut])
        strangers = [Stranger(socket_of(lab, 'n1')) for _ in range(100)]  # that many at once
        for i, s in enumerate(strangers):
            s.send(whole[:i % 40])
        assert strangers[0].closed(), 'a link without HELLO stays open'
        for s in strangers:
            s.__exit__()
        wait_until(lambda: lab.node('n1')['clients'] == 2, 10, 'only the mounts are left')


@test(f'well-formed frames with nonsense in them ({FUZZ} of each kind): no node falls, no state is harmed (SEED={SEED})')
def _():
    rng = random.Random(SEED)
    with Lab() as lab:
        put(lab.path('m1', 'keep'), b'keep' * 50_000)
        cluster = cluster_of(lab)
        for kind in (frames.CLIENT_REQUEST, frames.BLOCK_PUT, frames.BLOCK_GET, frames.ADMIN_REQUEST, frames.REPL,
                     frames.SNAPSHOT_CHUNK, frames.SNAPSHOT_ACK, 0, 13, 255):
            with Unmoved(lab):
                for node in ('n1', 'n2', 'w1'):
                    sent = 0
                    while sent < FUZZ:
                        with Stranger(socket_of(lab, node)) as s:
                            s.send(hello(frames.HELLO_ADMIN if kind == frames.ADMIN_REQUEST else frames.HELLO_MOUNT,
                                         cluster=cluster, name=b'm9', session=rng.randrange(4)))
                            for sequence in range(2, 40):
                                sent += 1
                                control = rng.randbytes(rng.choice((0, 1, 8, 40, 300)))
                                if rng.random() < .5:  # looks more like protobuf: fields with small numbers
                                    control = b''.join(bytes((rng.randrange(1, 16) << 3 | rng.choice((0, 2)), rng.randrange(12)))
                                                       for _ in range(rng.randrange(20))) + control
                                if not s.send(frame(kind, sequence, control, rng.randbytes(rng.choice((0, 0, 100, 5000))))):
                                    break
        assert read_file(lab.path('m2', 'keep')) == b'keep' * 50_000
        lab.settle()


@test('a killed node counts as gone when its last thread is: until then it holds its store')
def _():
    with Lab(copies=1, witnesses=0, mounts=0) as lab:
        lab.kill('n1')
        dying = 'import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); ctypes.CDLL(None).syscall(60, 0)'  # exit(2), of this thread alone
        with process([sys.executable, '-c', dying]) as p:
            def stat():
                with open(f'/proc/{p.pid}/stat') as f:
                    return f.read().rpartition(')')[2].split()
            wait_until(lambda: stat()[0] == 'Z', 10, 'the main thread is gone')
            assert int(stat()[17]) == 2, stat()
            with open(f'{lab.dir}/run/n1.pid', 'w') as f:
                f.write(f'{p.pid} {stat()[19]}\n')
            assert lab.node('n1')['state'] != 'down', lab.node('n1')
            lab.kill('n1')
            assert p.wait(10) == -signal.SIGKILL
        lab.start('n1')


@test('a store that is full: ENOSPC comes from open(2) or write(2), nothing acknowledged is lost, removing files gives the space back')
def _():
    with Lab(capacity='96MiB') as lab:
        data, written, code = os.urandom(MIB), [], 0
        top = lab.path('m1')
        while code == 0 and len(written) < 200:
            path = f'{top}/f{len(written)}'
            try:
                fd = os.open(path, os.O_CREAT | os.O_WRONLY)
            except OSError as e:  # the file before took the last of it
                code = e.errno
                break
            code = error_of(lambda fd=fd: os.write(fd, data) == len(data) or None)
            after = [error_of(os.fsync, fd), error_of(os.close, fd)]
            assert after == [0, 0], f'what write(2) took must not fail later: {after}'
            if code == 0:
                written.append(path)
        assert code == errno.ENOSPC, f'{len(written)} MiB went in; {errno.errorcode.get(code, code)}'
        assert 16 <= len(written) < 96, len(written)
        for path in written:
            assert read_file(path.replace('/m1/', '/m2/')) == data, f'{path} changed'
        assert os.statvfs(top).f_bavail * os.statvfs(top).f_frsize < 24 * MIB
        for path in written:
            os.unlink(path)

        def goes_in(path):
            code = error_of(put, path, data)
            assert code in (0, errno.ENOSPC), code
            return code == 0
        start = time.monotonic()
        wait_until(lambda: goes_in(f'{top}/again'), 60, 'there is room again')
        assert read_file(lab.path('m2', 'again')) == data
        count = len(written)
        for i in range(count // 2):  # as much as half of it goes in again
            wait_until(lambda i=i: goes_in(f'{top}/g{i}'), 60, f'file {i} of {count // 2} goes in again')
        figure(f'{count} MiB went in, ENOSPC, removed; half of it was in again after {time.monotonic() - start:.1f} s')
        lab.settle()


@test('wrong starts: a bad config line, a node started twice, an unknown option, verb or node, a missing directory: one line each')
def _():
    with Lab(mounts=1) as lab, open(f'{lab.dir}/tally.conf') as f:
        good = f.read()
        conf = f'{lab.dir}/bad.conf'

        def with_config(text, *args):
            with open(conf, 'w') as out:
                out.write(text)
            return run('node', '--config', conf, *(args or ('--name', 'n1')))
        one_line(with_config(good.replace('kind = copy', 'kindd = copy', 1)), 'bad.conf:', 'kindd', 'kind')
        one_line(with_config(good.replace('kind = copy', 'kind = coffee', 1)), 'bad.conf:', 'coffee')
        one_line(with_config(good + 'no equals sign\n'), 'bad.conf:')
        one_line(with_config(good.replace('\nid = 1', '\nid = one', 1)), 'bad.conf:', 'one')
        one_line(with_config(good, '--name', 'n7'), 'n7')
        one_line(run('node', '--config', f'{lab.dir}/none.conf', '--name', 'n1'), 'none.conf', 'No such file')
        one_line(run('node', '--config', f'{lab.dir}/tally.conf', '--name', 'n1'), 'n1')  # runs already
        one_line(run('mount', '--config', f'{lab.dir}/tally.conf', '-o', 'consistensy=session', f'{lab.dir}/mnt/m1'), 'consistensy', 'consistency')
        one_line(run('mount', '--config', f'{lab.dir}/tally.conf', '-o', 'timeout=soon', f'{lab.dir}/mnt/m1'), 'timeout=soon', '30s')
        one_line(run('mount', '--config', f'{lab.dir}/tally.conf', f'{lab.dir}/nowhere'), 'nowhere')
        one_line(run('mount', '--config', f'{lab.dir}/tally.conf', f'{lab.dir}/mnt/m1'), 'already')
        one_line(run('umount', lab.dir), lab.dir)
        one_line(run('explain', lab.dir), 'not inside a tally mount')
        one_line(run('lab', 'kill', '--dir', lab.dir, 'n9'), 'n9', 'n1')
        one_line(run('lab', 'status', '--dir', f'{lab.dir}/nothing'), 'nothing')
        for args in (('statuss',), ('status', '--jsn'), ('lab', 'start', '--dirr', 'x')):
            r = run(*args)
            assert r.returncode == 2 and args[-1 if args[0] != 'lab' else 2] in r.stderr, (args, r.returncode, r.stderr)
        put(lab.path('m1', 'f'), b'still here')
        assert lab.status()['leader']


@test('a dead mount point: explain and umount say what is the matter, mounting again cleans it, and the data are there')
def _():
    with Lab(mounts=1) as lab:
        point = lab.path('m1')
        put(f'{point}/f', b'data')
        lab.kill('m1')
        assert error_of(os.listdir, point) in (errno.ENOTCONN, errno.ECONNABORTED)
        line = one_line(run('explain', point), point)
        assert 'umount' in line or 'mount it again' in line, line
        lab.start('m1')
        assert read_file(f'{point}/f') == b'data'
        lab.kill('m1')
        r = run('umount', point)
        assert r.returncode == 0, r.stderr
        assert not os.path.ismount(point) and f' {point} ' not in open('/proc/self/mountinfo').read()
        lab.start('m1')
        assert read_file(f'{point}/f') == b'data'


@test('a mount whose daemon is frozen: umount --force ends the program that waits in it, which could not be killed')
def _():
    with Lab(mounts=1) as lab:
        point = lab.path('m1')
        put(f'{point}/f', b'data')
        everybody = ('n1', 'n2', 'w1', 'm1')
        waits = None
        try:
            for name in everybody[:3]:
                lab.kill(name, 'STOP')
            waits = subprocess.Popen([sys.executable, '-c', 'import os, sys; os.stat(sys.argv[1])', f'{point}/none'],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(lambda: 'none waits' in run('explain', point).stdout, 10, 'the program waits')
            lab.kill('m1', 'STOP')
            waits.kill()
            wait_until(lambda: 'State:\tD' in open(f'/proc/{waits.pid}/status').read(), 5, 'it cannot be killed')
            one_line(run('umount', point), 'does not answer', '--force')
            assert run('umount', '--force', point).returncode == 0
            waits.wait(timeout=10)
            assert f' {point} ' not in open('/proc/self/mountinfo').read()
        finally:
            for name in everybody:
                lab.kill(name, 'CONT')
            if waits:
                waits.wait(timeout=60)


def copy_of_descriptor(pid, target):
    """Of another process: what a thread of it that can't be killed would keep open."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = next(int(fd) for fd in os.listdir(f'/proc/{pid}/fd') if os.readlink(f'/proc/{pid}/fd/{fd}') == target)
    pidfd = os.pidfd_open(pid)
    try:
        copy = libc.syscall(438, pidfd, number, 0)  # pidfd_getfd(2)
        assert copy >= 0, os.strerror(ctypes.get_errno())
        return copy
    finally:
        os.close(pidfd)


@test('a mount whose daemon is killed while something keeps its descriptor: the program that waits in it ends all the same')
def _():
    with Lab(mounts=1) as lab:
        point = lab.path('m1')
        everybody = ('n1', 'n2', 'w1')
        waits, kept = None, -1
        try:
            daemon = next(m['pid'] for m in lab.status()['mounts'])
            kept = copy_of_descriptor(daemon, '/dev/fuse')
            for name in everybody:
                lab.kill(name, 'STOP')
            waits = subprocess.Popen([sys.executable, '-c', 'import os, sys; os.stat(sys.argv[1])', f'{point}/none'],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            wait_until(lambda: 'none waits' in run('explain', point).stdout, 10, 'the program waits')
            os.kill(daemon, signal.SIGKILL)
            assert os.strerror(errno.ECONNABORTED) in waits.communicate(timeout=10)[1]
        finally:
            if kept >= 0:
                os.close(kept)
            for name in everybody:
                lab.kill(name, 'CONT')
            if waits:
                waits.wait(timeout=60)


@test('status --check of a cluster that is written to without a pause: healthy')
def _():
    with Lab(mounts=1) as lab:
        lab.kill('n1')  # so that who leads is asked last
        wait_until(lambda: lab.status()['leader'] == 'n2', 10, 'n2 leads')
        lab.start('n1')
        lab.settle()
        stop = threading.Event()

        def write():
            with open(lab.path('m1', 'f'), 'wb', buffering=0) as f:
                while not stop.is_set():
                    f.write(b'x' * 4096)
                    os.fsync(f.fileno())
        thread = threading.Thread(target=write)
        thread.start()

        def check():
            return run('status', '--check', '--config', f'{lab.dir}/tally.conf').returncode
        try:
            wait_until(lambda: check() == 0, 10, 'n1 has caught up')
            codes = [check() for _ in range(60)]
            assert codes.count(0) > 50, codes  # on a busy machine a copy may be behind indeed, for a moment
        finally:
            stop.set()
            thread.join()


@test('names of any bytes: explain tells of an operation on one, and a mount point of such a name is as any other')
def _():
    name = b'\xff\x1b[2J\n'
    with Lab(mounts=1) as lab:
        point = lab.path('m1')
        for node in ('n1', 'n2', 'w1'):
            lab.kill(node, 'STOP')
        try:
            waits = subprocess.Popen([sys.executable, '-c', 'import os, sys; os.stat(os.fsencode(sys.argv[1]))', os.fsencode(point) + b'/' + name],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(lambda: '??[2J? waits' in run('explain', point).stdout, 10, 'explain names it')
            r = subprocess.run([TALLY, 'explain', os.fsencode(point) + b'/' + name], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
            assert r.returncode == 0 and b'??[2J? waits' in r.stdout, r
            waits.kill()
            waits.wait(timeout=10)
        finally:
            for node in ('n1', 'n2', 'w1'):
                lab.kill(node, 'CONT')
        other = os.fsencode(f'{lab.dir}/mnt/') + name
        os.mkdir(other)
        options = f'state={lab.dir}/state/other,socket={lab.dir}/run/other.sock'
        r = subprocess.run([TALLY, 'mount', '--config', f'{lab.dir}/tally.conf', '-o', options, other],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, timeout=60)
        assert r.returncode == 0, r
        try:
            with Stranger(f'{lab.dir}/run/other.sock') as s:
                s.send(hello() + frame(frames.ADMIN_REQUEST, 2, b'{"cmd": "status"}'))
                assert s.receive()[0] == frames.HELLO
                kind, _, answer = s.receive()
                assert kind == frames.ADMIN_REPLY and json.loads(answer)['mountpoint'].endswith('/??[2J?'), answer
        finally:
            r = subprocess.run([TALLY, 'umount', other], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
        assert r.returncode == 0 and b'does not answer' not in r.stderr, r


@test('a lab in a directory with a blank in its name, with a mount that died: lab stop leaves nothing of it')
def _():
    with Lab(mounts=1) as lab:
        lab.tally('stop')
        lab.dir += '/my lab'
        lab.tally('start', *lab.args)
        put(lab.path('m1', 'f'), b'data')
        lab.kill('m1')
        lab.tally('stop', '--wipe')
        assert not os.path.exists(lab.dir) and 'my\\040lab' not in open('/proc/self/mountinfo').read()
        lab.dir = os.path.dirname(lab.dir)


@test('after `lab stop` no process and no mount of the lab is left: whole, with members dead or frozen, interrupted in its start')
def _():
    def left(lab):
        found = [line for line in open('/proc/self/mountinfo') if lab.dir in line]
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/cmdline', 'rb') as f:
                    command = f.read()
            except OSError:
                continue
            words = command.split(b'\0')
            if lab.dir.encode() in command and len(words) > 1 and words[1] in (b'node', b'mount', b'lab'):
                found.append(b' '.join(words))
        return found
    for how in ('whole', 'dead', 'frozen', 'no node'):
        with Lab() as lab:
            put(lab.path('m1', 'f'), b'x')
            if how == 'dead':
                lab.kill('m2')
                lab.kill('n1')
            if how == 'frozen':
                for name in ('n2', 'm1'):
                    lab.kill(name, 'STOP')
            if how == 'no node':
                for name in ('n1', 'n2', 'w1'):
                    lab.kill(name)
            start = time.monotonic()
            lab.tally('stop', check=False, timeout=60)
            assert time.monotonic() - start < 45
            assert not left(lab), f'{how}: {left(lab)}'
            if how == 'whole':
                lab.tally('start')
                assert read_file(lab.path('m2', 'f')) == b'x'
    lab = Lab()
    try:
        p = subprocess.Popen([TALLY, 'lab', 'start', '--dir', lab.dir, *map(str, lab.args)], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(f'{lab.dir}/run/n2.sock'), 10, 'the start is in its middle')
        p.send_signal(signal.SIGTERM)
        p.wait(30)
        lab.tally('stop', check=False, timeout=60)
        assert not left(lab), left(lab)
    finally:
        lab.__exit__(None, None, None)
    assert not os.path.exists(lab.dir)


main()
