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


def resident(pid):
    """Bytes of memory in use."""
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith('VmRSS:'))


def heap_flags(pid):
    """What the kernel was told of the heap: VmFlags of proc(5)."""
    with open(f'/proc/{pid}/smaps', encoding='utf-8', errors='replace') as f:
        in_heap = False
        for line in f:
            if line.rstrip().endswith('[heap]'):
                in_heap = True
            elif in_heap and line.startswith('VmFlags:'):
                return line.split()[1:]
    return []
