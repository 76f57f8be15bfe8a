"""Nodes are missing: with a copy and the witness everything goes on; with one node, operations wait with a reason, can
be killed, end at their deadline, and session reads go on."""
import contextlib
import errno
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import TALLY, Lab, process, wait_until
from tests.lib.tap import figure, main, test

DEADLINE_S = 3  # the mounts' timeout= here, so that nobody waits for the 30 s of the default
AT_ONCE_S = 2.5


def timed(function):
    start = time.monotonic()
    result = function()
    return result, time.monotonic() - start


def error_of(function, *args):
    """(errno or 0, seconds)"""
    def call():
        try:
            function(*args)
            return 0
        except OSError as e:
            return e.errno
    return timed(call)


def fill(path, data):
    with open(path, 'wb') as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def read_file(path):
    with open(path, 'rb') as f:
        return f.read()


def exercise(lab, tag):
    """All kinds of operations at both mounts; what one did is seen at the other."""
    for mount, other in (('m1', 'm2'), ('m2', 'm1')):
        top, seen = lab.path(mount, f'{tag}-{mount}'), lab.path(other, f'{tag}-{mount}')
        os.mkdir(top)
        for i, size in enumerate((0, 10, 5000, 70_000, 2_500_000)):
            data = os.urandom(size)
            fill(f'{top}/f{i}', data)
            assert read_file(f'{seen}/f{i}') == data
            with open(f'{seen}/f{i}', 'ab') as f:
                f.write(b'more')
            os.rename(f'{top}/f{i}', f'{top}/g{i}')
            assert read_file(f'{top}/g{i}') == data + b'more'
        os.link(f'{seen}/g1', f'{seen}/h')
        os.symlink('h', f'{seen}/s')
        os.setxattr(f'{top}/h', 'user.x', b'y')
        assert os.getxattr(f'{seen}/s', 'user.x') == b'y'
        os.unlink(f'{seen}/g0')
        assert sorted(os.listdir(top)) == ['g1', 'g2', 'g3', 'g4', 'h', 's']


@contextlib.contextmanager
def session_mount(lab, name='s1'):
    """A mount of the lab's cluster with -o consistency=session."""
    point = os.path.join(lab.dir, name)
    os.mkdir(point)
    options = f'consistency=session,timeout={DEADLINE_S}s,socket={lab.dir}/run/{name}.sock,state={lab.dir}/state-{name}'
    command = [TALLY, 'mount', '--config', f'{lab.dir}/tally.conf', '--name', name, '--foreground',
               '--log', f'{lab.dir}/log/{name}.log', '-o', options, point]
    with process(command) as daemon:
        try:
            wait_until(lambda: daemon.poll() is not None or f' {point} ' in open('/proc/self/mountinfo').read(),
                       20, 'mounted')
            assert daemon.poll() is None, lab.logs()
            yield point
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run([TALLY, 'umount', point], stdin=subprocess.DEVNULL, timeout=20, check=False)
            if f' {point} ' in open('/proc/self/mountinfo').read():
                subprocess.run(['umount', '-l', point], check=False)


@contextlib.contextmanager
def waiting(script, *args):
    """A process that runs a few lines of Python on its arguments."""
    with process([sys.executable, '-c', f'import os, sys\na = sys.argv[1:]\n{script}', *args],
                 stderr=subprocess.DEVNULL) as p:
        yield p


def explain(path):
    return subprocess.run([TALLY, 'explain', path], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=10, check=True).stdout


def await_reason(path):
    """What `tally explain` prints of an operation on `path`, waiting for one to wait."""
    found = []

    def there():
        found[:] = [explain(path)]
        return 'nothing waits' not in found[0] and found[0].strip()
    wait_until(there, 3, f'explain {path} has a reason')
    return found[0]


def cut_down_to(lab, survivor):
    """Everything settled, then all nodes but one die."""
    lab.settle()
    for name in ('n1', 'n2', 'w1'):
        if name != survivor:
            lab.kill(name)
    wait_until(lambda: not lab.status()['leader'], 10, 'nobody leads')


def bring_back(lab):
    for node in lab.status()['nodes']:
        if node['state'] == 'down':
            lab.start(node['name'])
    lab.settle_nodes()


@test('with one node lost, each in turn, writes and reads of all kinds go on at both mounts')
def _():
    with Lab() as lab:
        exercise(lab, 'all')
        for name in ('n1', 'n2', 'w1'):
            lab.kill(name)
            _, took = timed(lambda name=name: exercise(lab, f'no-{name}'))
            figure(f'without {name}: {took:.2f} s')
            lab.start(name)
            lab.settle()
        hashes = {lab.node(n)['state_hash'] for n in ('n1', 'n2')}
        assert len(hashes) == 1
        assert lab.node('w1')['held_bytes'] == 0


for _survivor in ('n1', 'n2', 'w1') if os.environ.get('TALLY_NIGHTLY') else ('n1', 'w1'):
    @test(f'with only {_survivor} left: operations wait, explain tells why, they end at their deadline with an error')
    def _(survivor=_survivor):
        with Lab(options=f'timeout={DEADLINE_S}s') as lab:
            top = lab.path('m1')
            os.mkdir(f'{top}/d')
            fill(f'{top}/d/old', b'old')
            fill(f'{top}/d/two', b'two')
            assert read_file(lab.path('m2', 'd/two')) == b'two'
            cut_down_to(lab, survivor)

            # changes wait, say why, and end
            for what, function, *args in (('mkdir', os.mkdir, f'{top}/d/new'), ('unlink', os.unlink, f'{top}/d/old')):
                code, took = error_of(function, *args)
                assert code in (errno.ETIMEDOUT, errno.EIO), f'{what}: {errno.errorcode.get(code, code)}'
                # the kernel may ask for a name twice, once to see whether what it knows still holds
                assert DEADLINE_S - 2 <= took <= 2 * DEADLINE_S + 2, f'{what} ended after {took:.1f} s'
            with waiting('os.close(os.open(a[0], os.O_CREAT | os.O_WRONLY))', f'{top}/d/created') as p:
                reason = await_reason(f'{top}/d')
                assert p.poll() is None
                assert 'leader' in reason, reason
                assert p.wait(2 * DEADLINE_S + 3) != 0
            figure(f'only {survivor}: ' + ' / '.join(reason.split('\n')[:2]))

            # reads that need the leader wait and end too: never an old answer
            code, took = error_of(os.stat, lab.path('m2', 'd/unseen'))
            assert code in (errno.ETIMEDOUT, errno.EIO), code
            assert took <= 2 * DEADLINE_S + 2

            # the daemon's own knowledge answers at once
            for command in (['df', top], ['ls', top], ['ls', '-ld', top], ['stat', '-f', top]):
                r, took = timed(lambda command=command: subprocess.run(command, stdin=subprocess.DEVNULL, timeout=20,
                                                                       capture_output=True, text=True))
                assert r.returncode == 0 and took < AT_ONCE_S, f'{command}: {r.returncode} after {took:.1f} s: {r.stderr}'
                assert command[0] != 'ls' or 'd' in r.stdout

            bring_back(lab)
            os.mkdir(f'{top}/d/new2')
            assert read_file(lab.path('m2', 'd/two')) == b'two'
            names = set(os.listdir(lab.path('m2', 'd')))
            # what ended with ETIMEDOUT may have happened or not, but the same at both
            assert names == set(os.listdir(f'{top}/d')) and {'two', 'new2'} <= names <= {
                'two', 'new2', 'new', 'old', 'created'}
            lab.settle()


@test('with one node left: a write is taken, its fsync ends at the deadline, and it is not lost when the nodes are back')
def _():
    with Lab(options=f'timeout={DEADLINE_S}s') as lab:
        path = lab.path('m1', 'f')
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        os.pwrite(fd, b'one', 0)  # takes the lease
        os.fsync(fd)
        cut_down_to(lab, 'n1')
        code, took = error_of(lambda: (os.pwrite(fd, b'two', 0), os.fsync(fd)))
        assert code in (errno.ETIMEDOUT, errno.EIO), code
        assert took <= 2 * DEADLINE_S + 2, took
        bring_back(lab)
        wait_until(lambda: error_of(os.fsync, fd)[0] == 0, 20, 'fsync goes through')
        found = read_file(lab.path('m2', 'f'))
        assert found == b'two' if code == errno.ETIMEDOUT else found in (b'one', b'two')
        os.close(fd)


@test('SIGKILL ends a waiting process at once: create, write, fsync, stat, mkdir, unlink, rename, read')
def _():
    with Lab(options='timeout=60s') as lab:
        top = lab.path('m1')
        for i in range(8):
            fill(f'{top}/f{i}', b'x' * 100_000)
        fill(lab.path('m2', 'foreign'), b'y' * 100_000)
        cut_down_to(lab, 'n1')
        for script in ('os.open(a[0] + "/new", os.O_CREAT | os.O_WRONLY)', 'os.mkdir(a[0] + "/d")', 'os.unlink(a[0] + "/f0")',
                       'os.rename(a[0] + "/f1", a[0] + "/g")', 'os.stat(a[0] + "/unseen")',
                       'f = open(a[0] + "/f2", "r+b"); f.write(b"z"); f.flush(); os.fsync(f.fileno())',
                       'open(a[0] + "/foreign", "rb").read()', 'os.truncate(a[0] + "/f3", 5)', 'os.chmod(a[0] + "/f4", 0o600)'):
            with waiting(script, top) as p:
                wait_until(lambda p=p: p.poll() is not None or state_of(p.pid) in 'DS' and in_request(p.pid), 10, f'waiting: {script}')
                assert p.poll() is None, f'did not wait: {script}'
                p.kill()
                _, took = timed(lambda p=p: p.wait(30))
                assert took < AT_ONCE_S, f'{script}: killed, gone after {took:.1f} s'
        bring_back(lab)
        assert read_file(f'{top}/foreign') == b'y' * 100_000
        lab.settle()


def state_of(pid):
    with open(f'/proc/{pid}/stat') as f:
        return f.read().rsplit(')', 1)[1].split()[0]


def in_request(pid):
    """Does it wait for the mount's daemon? The kernel tells by the function that it sleeps in."""
    with open(f'/proc/{pid}/wchan') as f:
        return 'fuse' in f.read() or 'request_wait' in open(f'/proc/{pid}/stack').read()


@test('a mount with consistency=session goes on reading with one copy left, and sees the writes once they go on')
def _():
    with Lab(options=f'timeout={DEADLINE_S}s') as lab, session_mount(lab) as point:
        os.mkdir(lab.path('m1', 'd'))
        data = os.urandom(400_000)
        fill(lab.path('m1', 'd/f'), data)
        fill(lab.path('m1', 'd/small'), b'small')
        os.symlink('small', lab.path('m1', 'd/link'))
        own = f'{point}/own'
        fill(own, b'own')  # read your writes: by the token
        assert read_file(own) == b'own'
        for survivor in ('n1', 'n2'):
            cut_down_to(lab, survivor)
            for check, want in ((lambda: read_file(f'{point}/d/f'), data), (lambda: read_file(f'{point}/d/link'), b'small'),
                                (lambda: read_file(own), b'own'), (lambda: sorted(os.listdir(f'{point}/d')), ['f', 'link', 'small']),
                                (lambda: os.stat(f'{point}/d/f').st_size, len(data)),
                                (lambda: error_of(os.stat, f'{point}/d/none')[0], errno.ENOENT)):
                got, took = timed(check)
                assert got == want
                assert took < AT_ONCE_S, f'took {took:.1f} s with only {survivor} left'
            code, took = error_of(os.mkdir, f'{point}/d/x')
            assert code in (errno.ETIMEDOUT, errno.EIO), code
            assert took <= 2 * DEADLINE_S + 2
            bring_back(lab)
            with contextlib.suppress(FileNotFoundError):  # it may have happened after all
                os.rmdir(f'{point}/d/x')
        fill(lab.path('m1', 'd/later'), b'later')
        wait_until(lambda: os.path.exists(f'{point}/d/later'), 10, 'the session mount sees new writes')
        assert read_file(f'{point}/d/later') == b'later'


main()
