#!/usr/bin/env python3
"""What one operation costs, counted and not timed: FUSE requests, and for every process of a lab system calls, those
of them that flush the disk, context switches and CPU microseconds.

    sudo tests/bench/trips.py [--dir LAB] [--mount m1] [--only WORD] [--count 200] [--calls] [--markdown]

Without --dir a lab of 2 copies and 1 witness is started. The kernel counts (tracefs and schedstat), so the
figures hardly depend on what else the machine does. --calls names the system calls of each process.
"""
import argparse
import collections
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import TALLY, Lab
from tests.lib.processes import cpu_ns, threads

TRACING = '/sys/kernel/tracing'
CALLS = 'raw_syscalls/sys_enter'
FUSE = 'fuse/fuse_request_send'
HEADER = '/usr/include/linux/fuse.h'
PAGE = os.urandom(4096)


# ---- counting ---------------------------------------------------------------------------------------------------------

def write(path, text):
    with open(path, 'w', encoding='ascii') as f:
        f.write(text)


def syscall_names():
    """Number to name, from the C library's headers."""
    code = '#include <sys/syscall.h>\n'
    out = subprocess.run(['cc', '-E', '-dM', '-'], input=code, capture_output=True, text=True, check=True).stdout
    return {int(n): name for name, n in re.findall(r'#define __NR_(\w+) (\d+)$', out, re.M)}


def opcode_names():
    """Number to name; newer opcodes than the header has keep their number."""
    with open(HEADER, encoding='ascii') as f:
        body = f.read().split('enum fuse_opcode')[1].split('};')[0]
    return {int(n): name for name, n in re.findall(r'\bFUSE_(\w+)\s*=\s*(\d+),', body)}


@contextlib.contextmanager
def traced(name, event, pids, pattern):
    """Counts what `pattern` finds in the lines of an event, of these threads or of all, while the body runs."""
    instance = f'{TRACING}/instances/tally-{os.getpid()}-{name}'
    os.mkdir(instance)
    counts = collections.Counter()
    try:
        write(f'{instance}/buffer_size_kb', '65536')
        if pids:
            write(f'{instance}/set_event_pid', ' '.join(map(str, pids)))
        write(f'{instance}/events/{event}/enable', '1')
        yield counts
        write(f'{instance}/events/{event}/enable', '0')
        with open(f'{instance}/trace', encoding='ascii', errors='replace') as f:
            for line in f:
                m = re.search(pattern, line)
                if m:
                    counts[m.groups()] += 1
    finally:
        os.rmdir(instance)


def switches(pid):
    total = 0
    for t in threads(pid):
        with open(f'/proc/{pid}/task/{t}/status', encoding='ascii') as f:
            total += sum(int(n) for n in re.findall(r'voluntary_ctxt_switches:\s+(\d+)', f.read()))
    return total


FLUSHES = ('fdatasync', 'fsync', 'pwritev2', 'msync')  # pwritev2 is used with RWF_DSYNC only


class Counter:
    """Counts at one mount and the nodes of a lab."""

    def __init__(self, directory, mount):
        self.directory, self.mount = directory, mount
        self.look()
        self.names = syscall_names()
        self.opcodes = opcode_names()

    def lab(self, *args):
        return subprocess.run([TALLY, 'lab', args[0], '--dir', self.directory, *args[1:]], stdout=subprocess.PIPE, text=True,
                              check=True).stdout

    def lab_mount(self):
        return next(m for m in json.loads(self.lab('status', '--json'))['mounts'] if m['name'] == self.mount)

    def look(self):
        """Who is there: names and pids, and the number under which the kernel knows the mount."""
        status = json.loads(self.lab('status', '--json'))
        self.nodes = [n['name'] for n in status['nodes']]
        self.processes = {m['name']: m['pid'] for m in status['mounts'] if m['name'] == self.mount}
        self.processes.update((n['name'], n['pid']) for n in status['nodes'])
        self.device = os.stat(f'{self.directory}/mnt/{self.mount}').st_dev

    def cold(self):
        """Neither the kernel nor the mount remembers anything."""
        os.sync()
        self.lab('kill', self.mount, '--signal', 'TERM')
        while self.lab_mount()['state'] != 'down':
            time.sleep(0.05)
        self.lab('start-node', self.mount)
        while not os.path.isdir(f'{self.directory}/mnt/{self.mount}/trips'):
            time.sleep(0.05)
        write('/proc/sys/vm/drop_caches', '3')
        self.look()

    def measure(self, run, count):
        """run() does `count` operations; gives what one costs."""
        mine = {t: name for name, pid in self.processes.items() for t in threads(pid)}
        with traced('fuse', FUSE, None, r'connection (\d+) .* opcode (\d+)') as requests, \
                traced('calls', CALLS, mine, r'-(\d+) +\[.*: NR (\d+)') as made:
            before = {n: (cpu_ns(p), switches(p)) for n, p in self.processes.items()}
            began = time.monotonic()
            run()
            took = time.monotonic() - began
            after = {n: (cpu_ns(p), switches(p)) for n, p in self.processes.items()}
        r = {'us': took / count * 1e6, 'fuse': collections.Counter(), 'processes': {}}
        for (device, opcode), n in requests.items():
            if int(device) == self.device:
                r['fuse'][self.opcodes.get(int(opcode), opcode)] += n / count
        for name in self.processes:
            c = collections.Counter()
            for (tid, number), n in made.items():
                if mine.get(int(tid)) == name:
                    c[self.names.get(int(number), number)] += n / count
            r['processes'][name] = {'calls': c, 'cpu_us': (after[name][0] - before[name][0]) / count / 1e3,
                                    'switches': (after[name][1] - before[name][1]) / count,
                                    'flushes': sum(c[f] for f in FLUSHES)}
        return r


# ---- operations -------------------------------------------------------------------------------------------------------

class Work:
    """The operations; each takes its number. Before a cold one the mount is made anew."""

    def __init__(self, top, count):
        self.top, self.count = top, count
        os.mkdir(top)
        self.rows = [
            ('create + write 4k + close', self.create, False), ('stat, cold', self.stat, True),
            ('stat, warm', self.stat, False), ('open + close, cold', self.open_close, True),
            ('open + close, warm', self.open_close, False),
            ('open + read 4k + close, cold', self.read, True), ('open + read 4k + close, warm', self.read, False),
            ('ls -l of all, per file, cold', None, True), ('pwrite 4k + fsync', self.pwrite, False),
            ('append 4k + fsync', self.append, False), ('pread 4k at random, cold', self.pread, True),
            ('rename', self.rename, False), ('create + rename over', self.replace, False), ('unlink', self.unlink, False),
            ('sqlite insert', self.insert, False),
            ('mkdir', self.mkdir, False), ('rmdir', self.rmdir, False),
            ('write 1m in order', self.write_big, False), ('read 1m in order, cold', self.read_big, True),
        ]

    def path(self, kind, i):
        return f'{self.top}/{kind}{i}'

    def create(self, i):
        fd = os.open(self.path('f', i), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        os.write(fd, PAGE)
        os.close(fd)

    def stat(self, i):
        os.stat(self.path('f', i))

    def open_close(self, i):
        os.close(os.open(self.path('f', i), os.O_RDONLY))

    def read(self, i):
        fd = os.open(self.path('f', i), os.O_RDONLY)
        assert len(os.read(fd, 65536)) == 4096
        os.close(fd)

    def pwrite(self, i):
        os.pwrite(self.file(), PAGE, i * 7919 % 4096 * 4096)
        os.fsync(self.file())

    def append(self, _):
        os.write(self.appended(), PAGE)
        os.fsync(self.appended())

    def pread(self, i):
        assert len(os.pread(self.file(), 4096, i * 7919 % (256 * self.count) * 4096)) == 4096

    def rename(self, i):
        os.rename(self.path('f', i), self.path('r', i))

    def replace(self, i):
        self.create(-1 - i)
        os.rename(self.path('f', -1 - i), self.path('one', ''))

    def unlink(self, i):
        os.unlink(self.path('r', i))

    def mkdir(self, i):
        os.mkdir(self.path('d', i))

    def rmdir(self, i):
        os.rmdir(self.path('d', i))

    def insert(self, i):
        if not hasattr(self, 'db'):
            self.db = sqlite3.connect(self.path('db', ''), isolation_level=None)
            self.db.execute('create table t(id integer primary key, v text)')
        self.db.execute('insert into t(v) values(?)', ('x' * 100 + str(i),))

    def write_big(self, i):
        os.pwrite(self.file(), PAGE * 256, i << 20)

    def read_big(self, i):
        assert len(os.pread(self.file(), 1 << 20, i << 20)) == 1 << 20

    def file(self):
        """A file of 16 MiB and more, all of it written and synced."""
        if not hasattr(self, 'fd'):
            self.fd = os.open(self.path('big', ''), os.O_CREAT | os.O_RDWR)
            for i in range(os.fstat(self.fd).st_size >> 20, max(16, self.count)):
                os.pwrite(self.fd, PAGE * 256, i << 20)
            os.fsync(self.fd)
        return self.fd

    def appended(self):
        if not hasattr(self, 'wal'):
            self.wal = os.open(self.path('wal', ''), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        return self.wal

    def close(self):
        if hasattr(self, 'db'):
            self.db.close()
            del self.db
        for name in ('fd', 'wal'):
            if hasattr(self, name):
                os.close(getattr(self, name))
                delattr(self, name)

    def run(self, counter, fn, cold):
        self.file(), self.appended()
        if cold:
            self.close()
            counter.cold()
            self.file(), self.appended()
        time.sleep(0.5)  # what the last row left to be done in the background
        if fn is None:
            return counter.measure(lambda: subprocess.run(['ls', '-l', self.top], stdout=subprocess.DEVNULL, check=True),
                                   self.count)
        return counter.measure(lambda: [fn(i) for i in range(self.count)], self.count)


# ---- the table --------------------------------------------------------------------------------------------------------

def show_requests(fuse):
    return ' '.join(name if 0.95 < n < 1.05 else f'{n:.2g} {name}' for name, n in fuse.most_common() if n >= 0.005) or 'none'


def show(name, r, calls):
    print(f'{name}: {r["us"]:.0f} us; {show_requests(r["fuse"])}')
    for process, p in r['processes'].items():
        total = sum(p['calls'].values())
        if total < 0.05:
            continue
        print(f'    {process:4} {total:6.1f} calls {p["flushes"]:5.2f} flushes {p["switches"]:5.1f} switches {p["cpu_us"]:6.0f} us of CPU')
        if calls:
            print('         ' + ', '.join(f'{c} {n:.2f}' for c, n in p['calls'].most_common(12)))


def sum_of(r, names, what):
    return sum(r['processes'][n][what] for n in names)


def markdown(rows, mounts, nodes):
    yield '| operation | FUSE requests | calls: mount, nodes | flushes | switches: mount, nodes | CPU us: mount, nodes |'
    yield '|---|---|---|---|---|---|'
    for name, r in rows:
        calls = [sum(sum(r['processes'][n]['calls'].values()) for n in group) for group in (mounts, nodes)]
        yield (f'| {name} | {show_requests(r["fuse"])} | {calls[0]:.1f}, {calls[1]:.1f} | {sum_of(r, nodes, "flushes"):.2f} '
               f'| {sum_of(r, mounts, "switches"):.1f}, {sum_of(r, nodes, "switches"):.1f} '
               f'| {sum_of(r, mounts, "cpu_us"):.0f}, {sum_of(r, nodes, "cpu_us"):.0f} |')


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--dir')
    ap.add_argument('--mount', default='m1')
    ap.add_argument('--only', default='')
    ap.add_argument('--count', type=int, default=200)
    ap.add_argument('--calls', action='store_true')
    ap.add_argument('--markdown', action='store_true')
    args = ap.parse_args()
    if not os.path.exists(f'{TRACING}/events'):
        subprocess.run(['mount', '-t', 'tracefs', 'nodev', TRACING], check=True)
    with contextlib.ExitStack() as stack:
        directory = args.dir or stack.enter_context(Lab(mounts=1)).dir
        top = f'{directory}/mnt/{args.mount}/trips'
        stack.callback(shutil.rmtree, top, True)
        work = Work(top, args.count)
        stack.callback(work.close)
        counter = Counter(directory, args.mount)
        rows = []
        for name, fn, cold in work.rows:
            selected = args.only in name
            if not selected and name.split(',')[0] not in ('create + write 4k + close', 'rename', 'mkdir'):
                continue  # those three make what others need
            r = work.run(counter, fn, cold)
            if selected and not args.markdown:
                show(name, r, args.calls)
            rows += [(name, r)] if selected else []
        if args.markdown:
            print('\n'.join(markdown(rows, [args.mount], counter.nodes)))


main()
