"""Applications that must notice nothing: processes that write, fsync and record what was acknowledged.

    python3 -m tests.lib.writer pulse FILE RECORD     4 KiB write + fsync every 10 ms until SIGTERM
RECORD gets one line per attempt: number, start, end (monotonic seconds), errno (0 fine).
"""
import os
import signal
import sys
import time


def pulse(path, record):
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    number = 0
    due = time.monotonic()
    with open(record, 'w', buffering=1) as out:
        while not stop:
            number += 1
            start, err = time.monotonic(), 0
            try:
                os.pwrite(fd, b'%08d' % number * 512, number % 256 * 4096)
                os.fsync(fd)
            except OSError as e:
                err = e.errno
            out.write(f'{number} {start:.6f} {time.monotonic():.6f} {err}\n')
            due = max(due + .01, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))
    os.close(fd)


def read_record(path):
    """[(number, start, end, errno)]"""
    with open(path) as f:
        rows = [line.split() for line in f if line.endswith('\n')]
    return [(int(a), float(b), float(c), int(d)) for a, b, c, d in rows]


def longest_gap(rows, since, until):
    """Seconds between two successes, as far as the gap overlaps [since, until]."""
    done = [end for _, _, end, err in rows if not err]
    gaps = [b - a for a, b in zip(done, done[1:]) if b > since and a < until]
    return max(gaps, default=float('inf'))


if __name__ == '__main__':
    {'pulse': pulse}[sys.argv[1]](*sys.argv[2:])
