"""Two mounts are one filesystem: what returned at one is seen at the other, also while nodes die."""
import contextlib
import errno
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.calls import RENAME_NOREPLACE, error_of, rename2
from tests.lib.disturb import at_once, killing
from tests.lib.lab import Lab, wait_until
from tests.lib.tap import figure, main, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
SEED = int(os.environ.get('SEED', '0')) or random.SystemRandom().randrange(1, 10**9)
STEPS = int(os.environ.get('STEPS', '5000' if NIGHTLY else '700'))
RECORDS = 2000 if NIGHTLY else 250
ELECTIONS = 500 if NIGHTLY else 60
KILLS = 30 if NIGHTLY else 6  # at least so many deaths in each test that has them
MOUNTS = ('m1', 'm2')
SIZES = (1, 100, 4095, 4096, 4097, 16384, 20000, 65536, 65537, 200_000, 1_100_000)


def read_file(path):
    with open(path, 'rb', buffering=0) as f:
        return f.readall()


class Model:
    """The tree that must be seen at both mounts, and random steps that change both it and the real one."""

    def __init__(self, lab, seed):
        self.lab, self.random = lab, random.Random(seed)
        self.files = {}  # path -> bytearray; names of one hard-linked file share it
        self.dirs = {''}
        self.fds = {}    # (mount, path) -> descriptor kept open across steps
        self.serial = 0
        self.log = []    # the last steps, for the message of a failure

    def close(self):
        for fd in self.fds.values():
            os.close(fd)

    def new_name(self):
        self.serial += 1
        return os.path.join(self.random.choice(sorted(self.dirs)), f'f{self.serial}')

    def descriptor(self, mount, path):
        """Sometimes an old one, so that what its kernel has cached is tried too."""
        if (mount, path) not in self.fds:
            self.fds[mount, path] = os.open(self.lab.path(mount, path), os.O_RDWR)
        return self.fds[mount, path]

    def forget(self, path):
        for mount in MOUNTS:
            if (mount, path) in self.fds:
                os.close(self.fds.pop((mount, path)))

    def write_at(self, mount, path, offset, data):
        content = self.files[path]
        fd = self.descriptor(mount, path)
        assert os.pwrite(fd, data, offset) == len(data)
        if offset > len(content):
            content.extend(bytes(offset - len(content)))
        content[offset:offset + len(data)] = data

    # -- the steps; each returns the paths to look at --------------------------------------------

    def step_create(self, mount):
        path, data = self.new_name(), self.random.randbytes(self.random.choice(SIZES))
        with open(self.lab.path(mount, path), 'xb', buffering=0) as f:
            f.write(data)
        self.files[path] = bytearray(data)
        return [path]

    def step_overwrite(self, mount):
        path = self.random.choice(sorted(self.files))
        size = self.random.choice(SIZES[:8])
        self.write_at(mount, path, self.random.randrange(len(self.files[path]) + 1), self.random.randbytes(size))
        return [path]

    def step_extend(self, mount):
        path = self.random.choice(sorted(self.files))
        gap = self.random.choice((0, 0, 1, 5000, 70_000))
        self.write_at(mount, path, len(self.files[path]) + gap, self.random.randbytes(self.random.choice(SIZES[:6])))
        return [path]

    def step_truncate(self, mount):
        path = self.random.choice(sorted(self.files))
        content = self.files[path]
        size = self.random.choice((0, len(content) // 2, max(0, len(content) - 1), len(content) + 6000))
        if self.random.random() < .5:
            os.truncate(self.lab.path(mount, path), size)
        else:
            os.ftruncate(self.descriptor(mount, path), size)
        content[size:] = bytes(max(0, size - len(content)))
        return [path]

    def step_rename(self, mount):
        old, new = self.random.choice(sorted(self.files)), self.new_name()
        if self.random.random() < .3 and len(self.files) > 1:
            new = self.random.choice([p for p in sorted(self.files) if self.files[p] is not self.files[old]] or [new])
        os.rename(self.lab.path(mount, old), self.lab.path(mount, new))
        self.forget(old)
        self.forget(new)
        self.files[new] = self.files.pop(old)
        return [old, new]

    def step_unlink(self, mount):
        path = self.random.choice(sorted(self.files))
        os.unlink(self.lab.path(mount, path))
        self.forget(path)
        del self.files[path]
        return [path]

    def step_link(self, mount):
        old, new = self.random.choice(sorted(self.files)), self.new_name()
        os.link(self.lab.path(mount, old), self.lab.path(mount, new))
        self.files[new] = self.files[old]
        return [old, new]

    def step_mkdir(self, mount):
        if len(self.dirs) < 6:
            self.serial += 1
            path = os.path.join(self.random.choice(sorted(self.dirs)), f'd{self.serial}')
            os.mkdir(self.lab.path(mount, path))
            self.dirs.add(path)
            return [path]
        empty = [d for d in sorted(self.dirs) if d and not self.names(d)]
        for path in empty[:1]:
            os.rmdir(self.lab.path(mount, path))
            self.dirs.remove(path)
        return empty[:1]

    def names(self, folder):
        return sorted(os.path.basename(p) for p in [*self.files, *self.dirs] if p and os.path.dirname(p) == folder)

    # -- looking ----------------------------------------------------------------------------------

    def look(self, mount, path):
        real = self.lab.path(mount, path)
        folder = os.path.dirname(path)
        assert sorted(os.listdir(os.path.dirname(real))) == self.names(folder), f'listing of {folder!r} at {mount}'
        if path in self.dirs:
            assert os.path.isdir(real)
            return
        if path not in self.files:
            assert error_of(os.stat, real) == errno.ENOENT, f'{path} is still there at {mount}'
            return
        want = bytes(self.files[path])
        links = sum(content is self.files[path] for content in self.files.values())
        st = os.stat(real)
        assert (st.st_size, st.st_nlink) == (len(want), links), f'{path} at {mount}: {st}, want {len(want)}, {links}'
        got = os.pread(self.descriptor(mount, path), len(want) + 1, 0) if self.random.random() < .5 else read_file(real)
        if got != want:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            raise AssertionError(f'{path} at {mount}: {len(got)} of {len(want)} bytes, the first other one at {at}')

    def step(self):
        mount = self.random.choice(MOUNTS)
        kinds = ['create'] if len(self.files) < 3 else [
            'create', 'overwrite', 'overwrite', 'overwrite', 'extend', 'extend', 'truncate', 'rename', 'link', 'mkdir']
        if len(self.files) > 12:
            kinds += ['unlink'] * 4
        kind = self.random.choice(kinds)
        paths = getattr(self, f'step_{kind}')(mount)
        self.log.append((mount, kind, paths))
        other = MOUNTS[mount == 'm1']
        for path in paths:
            self.look(other, path)
            if self.random.random() < .3:
                self.look(mount, path)


def run_model(lab, seed, enough):
    model = Model(lab, seed)
    with contextlib.closing(model):
        try:
            steps = 0
            while not enough(steps):
                model.step()
                steps += 1
            for mount in MOUNTS:
                for path in [*model.files, *model.dirs - {''}]:
                    model.look(mount, path)
        except BaseException as e:
            raise AssertionError(f'SEED={seed}, step {steps}; before it {model.log[-6:]}') from e
    return steps


def check_equal_copies(lab):
    lab.settle(90)
    n1, n2 = (lab.node(n) for n in ('n1', 'n2'))
    assert n1['state_hash'] == n2['state_hash']


@test(f'{STEPS} steps (write, extend, truncate, rename, link, unlink, mkdir) at either mount, each seen at the other')
def _():
    with Lab() as lab:
        run_model(lab, SEED, lambda steps: steps >= STEPS)
        check_equal_copies(lab)


@test('the same while nodes are killed and restarted')
def _():
    with Lab() as lab:
        with killing(lab) as kills:
            steps = run_model(lab, SEED + 1, lambda steps: steps >= STEPS // 4 and len(kills) > KILLS)
        figure(f'{steps} steps, {len(kills)} kills, {sum(led for _, led in kills)} of them the leader')
        assert any(led for _, led in kills)
        check_equal_copies(lab)


@test('a page rewritten all the time at m1: what a read at m2 finds is between the last write done and the last begun')
def _():
    with Lab() as lab:
        begun, done, stop = [0], [0], threading.Event()
        a = os.open(lab.path('m1', 'register'), os.O_RDWR | os.O_CREAT)
        os.pwrite(a, b'%016d' % 0 * 256, 0)
        b = os.open(lab.path('m2', 'register'), os.O_RDONLY)

        def write():
            while not stop.is_set():
                begun[0] += 1
                os.pwrite(a, b'%016d' % begun[0] * 256, 0)
                done[0] = begun[0]

        def read():
            reads, last = 0, 0
            try:
                while reads < RECORDS or len(kills) <= KILLS:
                    low = done[0]
                    page = os.pread(b, 4096, 0)
                    high = begun[0]
                    assert page == page[:16] * 256, f'torn: {page[:16]} and others'
                    assert low <= int(page[:16]) <= high, f'read {int(page[:16])} while {low} was done, {high} begun'
                    assert int(page[:16]) >= last, 'went back'
                    last = int(page[:16])
                    reads += 1
            finally:
                stop.set()
            return reads

        with killing(lab) as kills:
            _, reads = at_once(write, read)
        figure(f'register: {begun[0]} writes, {reads} reads, {len(kills)} kills')
        os.close(a)
        os.close(b)


def append_records(lab, mount, more):
    """Appends records of mixed lengths while more(n); returns how many."""
    fd = os.open(lab.path(mount, 'log'), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    n, rng = 0, random.Random(mount)
    while more(n):
        n += 1
        record = b'%s %d ' % (mount.encode(), n)
        record += b'x' * rng.choice((0, 10, 500, 4096, 9000)) + b'\n'
        assert os.write(fd, record) == len(record)
        if rng.random() < .05:  # the file also changes hands while closed
            os.close(fd)
            fd = os.open(lab.path(mount, 'log'), os.O_WRONLY | os.O_APPEND)
    os.close(fd)
    return n


def check_records(lab, counts):
    contents = [read_file(lab.path(m, 'log')) for m in MOUNTS]
    assert contents[0] == contents[1], 'the mounts see different files'
    seen = {m: [] for m in MOUNTS}
    for line in contents[0].splitlines():
        mount, number, filling = line.split(b' ')
        assert filling.strip(b'x') == b'', f'torn: {line[:80]}'
        seen[mount.decode()].append(int(number))
    rng = {m: random.Random(m) for m in MOUNTS}
    size = 0
    for mount, count in zip(MOUNTS, counts):
        numbers = seen[mount]
        assert numbers == list(range(1, count + 1)), (
            f'{mount}: {count} appended, {len(numbers)} found; lost {sorted(set(range(1, count + 1)) - set(numbers))[:5]}, '
            f'twice {sorted({n for n in numbers if numbers.count(n) > 1})[:5]}')
        for n in numbers:
            size += len(f'{mount} {n} ') + rng[mount].choice((0, 10, 500, 4096, 9000)) + 1
            rng[mount].random()
    assert size == len(contents[0])


@test('O_APPEND from both mounts: no record lost, torn or doubled')
def _():
    with Lab() as lab:
        start = time.monotonic()
        counts = at_once(*(lambda m=m: append_records(lab, m, lambda n: n < RECORDS) for m in MOUNTS))
        figure(f'{sum(counts)} appends from two mounts at {sum(counts) / (time.monotonic() - start):.0f}/s')
        check_records(lab, counts)


@test('O_APPEND from both mounts while nodes are killed: no record lost, torn or doubled')
def _():
    with Lab() as lab:
        with killing(lab) as kills:
            counts = at_once(*(lambda m=m: append_records(lab, m, lambda n: n < 50 or len(kills) <= KILLS)
                               for m in MOUNTS))
        figure(f'{sum(counts)} appends, {len(kills)} kills')
        check_records(lab, counts)
        check_equal_copies(lab)


def make_exclusive(lab, mount, i):
    fd = os.open(lab.path(mount, f'e{i}'), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.write(fd, mount.encode())
    os.close(fd)


def make_by_link(lab, mount, i):
    own = lab.path(mount, f'own.{mount}.{i}')
    with open(own, 'w') as f:
        f.write(mount)
    try:
        os.link(own, lab.path(mount, f'e{i}'))
    finally:
        os.unlink(own)


def make_by_rename(lab, mount, i):
    own = lab.path(mount, f'own.{mount}.{i}')
    with open(own, 'w') as f:
        f.write(mount)
    rename2(own, lab.path(mount, f'e{i}'), RENAME_NOREPLACE)


def make_directory(lab, mount, i):
    os.mkdir(lab.path(mount, f'e{i}'))
    with open(lab.path(mount, f'e{i}', mount), 'w') as f:
        f.write(mount)


def elect(lab, make, more):
    """Both mounts try to make one name at the same moment, again and again; (rounds, wins of m1)."""
    i, wins = 0, 0
    while more(i):
        i += 1
        codes = at_once(*(lambda m=m: error_of(make, lab, m, i) for m in MOUNTS))
        assert sorted(codes) == [0, errno.EEXIST], f'round {i}: {codes}'
        winner = MOUNTS[codes.index(0)]
        wins += winner == 'm1'
        for m in MOUNTS:
            path = lab.path(m, f'e{i}')
            found = os.listdir(path)[0] if os.path.isdir(path) else read_file(path).decode()
            assert found == winner, f'round {i}: {winner} won, {m} sees {found!r}'
    return i, wins


for _make in (make_exclusive, make_by_link, make_by_rename, make_directory):
    @test(f'{_make.__name__} from both mounts at once, {ELECTIONS} rounds: exactly one winner')
    def _(make=_make):
        with Lab() as lab:
            rounds, wins = elect(lab, make, lambda i: i < ELECTIONS)
            figure(f'{make.__name__}: m1 won {wins} of {rounds}')


@test('O_EXCL and link() while nodes are killed: exactly one winner, told so to nobody else')
def _():
    with Lab() as lab:
        total = 0
        with killing(lab) as kills:
            for part, make in enumerate((make_exclusive, make_by_link), 1):
                os.mkdir(lab.path('m1', make.__name__))
                sub = type('Sub', (), {'path': staticmethod(
                    lambda mount, *parts, top=make.__name__: lab.path(mount, top, *parts))})
                rounds, _ = elect(sub, make, lambda i, part=part: i < 15 or len(kills) <= part * KILLS // 2)
                total += rounds
        figure(f'{total} elections, {len(kills)} kills')


@test('an open file that the other mount unlinks or replaces stays readable and writable, and is gone at its close')
def _():
    with Lab() as lab:
        before = lab.node(lab.leader())['inodes']
        data = random.Random(1).randbytes(300_000)
        for i, (holder, other) in enumerate((MOUNTS, MOUNTS[::-1])):
            for how in ('unlink', 'replace'):
                name = f'{how}{i}'
                with open(lab.path(other, name), 'wb') as f:
                    f.write(data)
                fd = os.open(lab.path(holder, name), os.O_RDWR)
                if how == 'unlink':
                    os.unlink(lab.path(other, name))
                    assert error_of(os.stat, lab.path(holder, name)) == errno.ENOENT
                else:
                    with open(lab.path(other, 'new'), 'wb') as f:
                        f.write(b'new')
                    os.rename(lab.path(other, 'new'), lab.path(other, name))
                    assert read_file(lab.path(holder, name)) == b'new'
                    os.unlink(lab.path(holder, name))
                if i == 0:
                    lab.kill(lab.leader())  # the holds are in the log, so the next leader knows them
                assert os.pread(fd, len(data) + 1, 0) == data
                assert os.fstat(fd).st_nlink == 0
                assert os.pwrite(fd, b'still mine', 100_000) == 10
                os.fsync(fd)
                assert os.pread(fd, len(data) + 1, 0) == data[:100_000] + b'still mine' + data[100_010:]
                for node in ('n1', 'n2', 'w1'):
                    if lab.node(node)['state'] != 'up':
                        lab.start(node)
                lab.settle_nodes()
                os.close(fd)
        assert os.listdir(lab.path('m1')) == []
        wait_until(lambda: lab.node(lab.leader())['inodes'] == before, 20, 'the unlinked files are freed')
        lab.settle()
        wait_until(lambda: lab.node(lab.leader())['data_bytes'] == 0, 20, 'their bytes are freed')


@test('dirty data of an unlinked file stay with its holder; a name given by rename is never a short file')
def _():
    with Lab() as lab:
        for i in range(20):
            data = os.urandom(70_000 + i)
            fd = os.open(lab.path('m1', 'held'), os.O_RDWR | os.O_CREAT)
            os.write(fd, data)
            os.unlink(lab.path('m2', 'held'))  # m1 has not committed a byte of it
            assert os.pread(fd, 100_000, 0) == data
            os.close(fd)
            with open(lab.path('m1', 'next'), 'wb') as f:
                f.write(data)
            os.rename(lab.path('m1', 'next'), lab.path('m1', 'current'))
            assert read_file(lab.path('m2', 'current')) == data


if __name__ == '__main__':
    figure(f'SEED={SEED}')
    main()
