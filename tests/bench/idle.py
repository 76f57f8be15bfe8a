#!/usr/bin/env python3
"""What a cluster costs that nobody uses: the share of a processor that each process takes, when new and after work.

    sudo tests/bench/idle.py [--seconds 60]

A lab of 2 copies and 1 witness with two mounts. What is written must be nothing, which tests/mount/test_idle.py asserts;
the shares depend on what else the machine does, so they are figures.
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.idle import quiet_times
from tests.lib.lab import Lab
from tests.lib.processes import cpu_ns


def shares(pids, seconds):
    """By name."""
    cpu, start = {name: cpu_ns(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - start
    return {name: (cpu_ns(pid) - cpu[name]) / 1e9 / took for name, pid in pids.items()}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--seconds', type=int, default=60)
    args = ap.parse_args()
    with Lab() as lab:
        for when, pids in quiet_times(lab, args.seconds):
            leader = lab.leader()
            text = ', '.join(f'{"leader " if name == leader else ""}{name} {100 * share:.3f} %'
                             for name, share in shares(pids, args.seconds).items())
            print(f'{when}: {text} of a processor in {args.seconds} s', flush=True)


main()
