"""A lab for tests: `tally lab` as a context manager that leaves nothing behind, and a few things to do with mounts."""
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time

from tests.lib.tap import note

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TALLY = os.environ.get('TALLY', os.path.join(ROOT, 'build/tools/cli/tally'))


class Lab:
    """`with Lab(copies=2, witnesses=1, mounts=2) as lab:`"""

    def __init__(self, copies=2, witnesses=1, mounts=2, options='', **more):
        self.dir = tempfile.mkdtemp(prefix='tally-test-')
        self.args = ['--copies', copies, '--witnesses', witnesses, '--mounts', mounts]
        options = ','.join(o for o in (os.environ.get('TALLY_TEST_OPTIONS'), options) if o)  # what a test asks for wins
        if options:
            self.args += ['-o', options]
        for key, value in more.items():
            self.args += [f'--{key.replace("_", "-")}', value]

    def __enter__(self):
        try:
            self.tally('start', *self.args)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, *_):
        fallen = self.fallen()
        if fallen or kind and kind is not SystemExit:
            note(self.logs())
        subprocess.run([TALLY, 'lab', 'stop', '--dir', self.dir, '--wipe'], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.dir, ignore_errors=True) if not self.mounted() else None
        assert kind or not fallen, f'a process fell by itself: {fallen}'

    def fallen(self):
        """The first line of a log with which a process says that it fell, which no test wants."""
        marks = ('Assertion', 'AddressSanitizer', 'runtime error:', 'free()', 'malloc()', 'double free', 'terminate called',
                 'corrupted')
        for name in sorted(os.listdir(f'{self.dir}/log')) if os.path.isdir(f'{self.dir}/log') else []:
            with open(f'{self.dir}/log/{name}', errors='replace') as f:
                for line in f:
                    if any(mark in line for mark in marks):
                        return f'{name}: {line.strip()}'
        return None

    def mounted(self):
        return self.dir in open('/proc/self/mountinfo').read()

    def logs(self, lines=15):
        out = []
        for name in sorted(os.listdir(f'{self.dir}/log')) if os.path.isdir(f'{self.dir}/log') else []:
            with open(f'{self.dir}/log/{name}', errors='replace') as f:
                out += [f'--- {name}', *f.read().splitlines()[-lines:]]
        return '\n'.join(out)

    def tally(self, verb, *args, check=True, timeout=120):
        r = subprocess.run([TALLY, 'lab', verb, '--dir', self.dir, *map(str, args)], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
        if check and r.returncode:
            raise AssertionError(f'tally lab {verb} {args}: exit code {r.returncode}: {r.stderr}')
        return r

    def path(self, mount, *parts):
        return os.path.join(self.dir, 'mnt', mount, *parts)

    def status(self, *args):
        return json.loads(self.tally('status', '--json', *args).stdout)

    def node(self, name):
        return next(n for n in self.status()['nodes'] if n['name'] == name)

    def leader(self, timeout=20):
        """The leader's name, waiting for there to be one."""
        end = time.monotonic() + timeout
        while True:
            name = self.status()['leader']
            if name:
                return name
            assert time.monotonic() < end, f'no leader after {timeout} s'

    def kill(self, name, signal='KILL'):
        self.tally('kill', name, '--signal', signal)

    def start(self, name):
        self.tally('start-node', name)

    def settle(self, timeout=60):
        self.tally('settle', '--timeout', timeout, timeout=timeout + 30)

    def settle_nodes(self, timeout=60):
        """Until there is a leader and every copy that runs is whole, whatever the mounts have in flight."""
        target = None  # what was committed when the wait began: all acknowledged by then is on every copy

        def settled():
            nonlocal target
            s = self.status()
            up = [n for n in s['nodes'] if n['state'] == 'up']
            lead = next((n for n in up if n['name'] == s['leader']), None)
            if not lead or not lead['ready']:
                return False
            target = target or lead['commit']
            return len(up) == len(s['nodes']) and all(
                n['role'] == 'witness' or (n['missing'] == 0 and n['applied'] >= target) for n in up)
        wait_until(settled, timeout, 'nodes settled')

    def pids(self):
        s = self.status()
        return [m['pid'] for m in s['nodes'] + s['mounts'] if m.get('pid')]


def tree_digest(top):
    """{relative path: (type, mode, size, content hash or link target)} of a tree."""
    found = {}
    for folder, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            key = os.path.relpath(path, top)
            if os.path.islink(path):
                found[key] = ('link', os.readlink(path))
            elif os.path.isdir(path):
                found[key] = ('dir', st.st_mode)
            else:
                with open(path, 'rb') as f:
                    found[key] = ('file', st.st_mode, st.st_size, hashlib.sha256(f.read()).hexdigest())
    return found


def wait_until(condition, timeout, what):
    """Polls a condition of the outside world that gives no event."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f'after {timeout} s still not: {what}'
        time.sleep(0.02)


@contextlib.contextmanager
def process(command, **kw):
    """A process that is gone at the end of the block."""
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, **kw)
    try:
        yield p
    finally:
        if p.poll() is None:
            p.kill()
        p.wait()
