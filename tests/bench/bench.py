#!/usr/bin/env python3
"""First figures: a TallyFS lab, a local directory and a pass-through FUSE mount, side by side in one run.

    sudo tests/bench/bench.py [--rounds N] [--small] [--markdown FILE]

Rounds alternate between the three, since the machine is noisy; what counts is the ratio to the local directory.
The lab has 2 copies and 1 witness on this machine: every byte is written twice and synced twice to the same disk.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import ROOT, Lab, wait_until

PASSTHROUGH = os.path.join(os.environ.get('TALLY_BUILD', os.path.join(ROOT, 'build')), 'tests/bench/passthrough')
PAGE = os.urandom(4096)


def drop_caches(top):
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('3')


def creates(top, scale):
    """4 KiB files made, written and closed: files/s"""
    count = 1000 // scale
    for i in range(count):
        with open(f'{top}/f{i}', 'wb', buffering=0) as f:
            f.write(PAGE)
    return count


def fsyncs(top, scale):
    """4 KiB written and synced, one file: fsyncs/s"""
    count = 1000 // scale
    fd = os.open(f'{top}/sync', os.O_CREAT | os.O_RDWR)
    for i in range(count):
        os.pwrite(fd, PAGE, i % 64 * 4096)
        os.fsync(fd)
    os.close(fd)
    return count


def write_big(top, scale):
    """written sequentially and synced: MiB/s"""
    mib = 512 // scale
    chunk = os.urandom(1 << 20)
    with open(f'{top}/big', 'wb', buffering=0) as f:
        for _ in range(mib):
            f.write(chunk)
        os.fsync(f.fileno())
    return mib


def read_big(top, scale):
    size = 0
    with open(f'{top}/big', 'rb', buffering=0) as f:
        while data := f.read(1 << 20):
            size += len(data)
    return size >> 20


def read_cold(top, scale):
    """read again after dropping the caches: MiB/s"""
    return read_big(top, scale)


def read_warm(top, scale):
    """and once more: MiB/s"""
    return read_big(top, scale)


def untar(top, scale):
    """tar x of a source tree: files/s"""
    subprocess.run(['tar', 'xf', untar.archive, '-C', top], check=True)
    return untar.files


def make_archive(path, scale):
    files = 0
    with tarfile.open(path, 'w') as tar:
        for folder, _, names in os.walk('/usr/include'):
            for name in names:
                if files < 2000 // scale and os.path.isfile(f'{folder}/{name}'):
                    tar.add(f'{folder}/{name}')
                    files += 1
    return files


WORKLOADS = [creates, fsyncs, write_big, read_cold, read_warm, untar]


def run(places, rounds, scale):
    rates = {(p, w.__name__): [] for p in places for w in WORKLOADS}
    for number in range(rounds):
        for place, top in places.items():
            here = os.path.join(top, f'r{number}')
            os.mkdir(here)
            for work in WORKLOADS:
                if work is read_cold:
                    drop_caches(top)
                start = time.perf_counter()
                amount = work(here, scale)
                rates[place, work.__name__].append(amount / (time.perf_counter() - start))
            shutil.rmtree(here)
    return {key: statistics.median(values) for key, values in rates.items()}


def table(places, rates):
    lines = ['| workload | ' + ' | '.join(places) + ' | TallyFS : local | TallyFS : pass-through |',
             '|---|' + '---|' * (len(places) + 2)]
    for work in WORKLOADS:
        row = [rates[p, work.__name__] for p in places]
        tally, local, through = rates['TallyFS', work.__name__], rates['local', work.__name__], rates['pass-through', work.__name__]
        lines.append(f'| {work.__name__}: {work.__doc__ or ""} | ' + ' | '.join(f'{r:,.0f}' for r in row) +
                     f' | {tally / local:.2f} | {tally / through:.2f} |')
    return '\n'.join(lines)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--rounds', type=int, default=3)
    ap.add_argument('--small', action='store_true', help='a tenth of everything, to see that it works')
    ap.add_argument('--markdown', metavar='FILE', help='write the table there too')
    args = ap.parse_args()
    scale = 10 if args.small else 1
    work = tempfile.mkdtemp(prefix='tally-bench-')
    through = None
    try:
        untar.archive = f'{work}/tree.tar'
        untar.files = make_archive(untar.archive, scale)
        for name in ('local', 'behind', 'through'):
            os.mkdir(f'{work}/{name}')
        through = subprocess.Popen([PASSTHROUGH, f'{work}/behind', f'{work}/through', '-f', '-o', 'default_permissions'])
        wait_until(lambda: os.path.ismount(f'{work}/through'), 10, 'the pass-through mount')
        with Lab(mounts=1) as lab:
            places = {'TallyFS': lab.path('m1'), 'local': f'{work}/local', 'pass-through': f'{work}/through'}
            text = table(places, run(places, args.rounds, scale))
        print(text)
        if args.markdown:
            with open(args.markdown, 'w') as f:
                f.write(text + '\n')
    finally:
        if through:
            subprocess.run(['fusermount3', '-u', f'{work}/through'], check=False)
            through.wait(10)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == '__main__':
    main()
