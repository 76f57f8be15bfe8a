"""What the kernel counts of a process."""
import os


def threads(pid):
    return {int(t) for t in os.listdir(f'/proc/{pid}/task')}


def cpu_ns(pid):
    """Time on a CPU of all threads; what threads that ended used is missing."""
    total = 0
    for t in threads(pid):
        with open(f'/proc/{pid}/task/{t}/schedstat', encoding='ascii') as f:
            total += int(f.read().split()[0])
    return total


def written(pid):
    """Bytes that went, or will go, to a disk."""
    with open(f'/proc/{pid}/io', encoding='ascii') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('write_bytes:'))
