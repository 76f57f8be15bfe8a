"""Who sleeps and can't be woken, for how long: tasks of the test that are in state D, in whatever wait."""
import glob
import threading
import time


class Watch:
    """`with Watch(pids) as watch:` looks at all tasks of the processes `pids()` until the block ends."""

    def __init__(self, pids, interval=0.2):
        self.pids, self.interval = pids, interval
        self.longest, self.where = 0.0, ''
        self._since = {}  # (task, its number of sleeps) -> when it was first seen in this one
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(self.interval):
            self._look(time.monotonic())

    def _look(self, now):
        still = {}
        for path in (path for pid in self.pids() for path in glob.glob(f'/proc/{pid}/task/[0-9]*/stat')):
            try:
                task = path[:-len('/stat')]
                name, _, rest = read(path).rpartition(')')
                if rest.split()[0] != 'D':
                    continue
                stack = read(f'{task}/stack')
                sleeps = next(line for line in read(f'{task}/status').splitlines() if line.startswith('voluntary'))
            except (OSError, StopIteration):
                continue  # it has ended meanwhile
            still[task, sleeps] = since = self._since.get((task, sleeps), now)
            if now - since > self.longest:
                self.longest, self.where = now - since, f'{name.partition("(")[2]}:\n{stack}'
        self._since = still


def read(path):
    with open(path) as f:
        return f.read()
