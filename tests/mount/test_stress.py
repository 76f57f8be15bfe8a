"""Four processes change one tree through two mounts in every way there is; afterwards both mounts and all copies agree.

    SEED=N OPERATIONS=N    per process, as the first test prints them
"""
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.disturb import at_once, killing
from tests.lib.lab import ROOT, Lab, wait_until
from tests.lib.tap import figure, main, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
SEED = int(os.environ.get('SEED', '0')) or random.SystemRandom().randrange(1, 10**9)
OPERATIONS = int(os.environ.get('OPERATIONS', '20000' if NIGHTLY else '600'))
KILLS = 30 if NIGHTLY else 4  # at least so many deaths


def everything(top):
    """{path: all that can be known of it}, and {inode: its paths}."""
    found, inodes = {}, {}
    for folder, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(folder, name)
            key, st = os.path.relpath(path, top), os.lstat(path)
            inodes.setdefault(st.st_ino, []).append(key)
            xattrs = {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)}
            content = None
            if stat.S_ISREG(st.st_mode):
                with open(path, 'rb') as f:
                    content = hashlib.sha256(f.read()).hexdigest()
            elif stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            found[key] = (st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_size, st.st_blocks, st.st_mtime_ns,
                          xattrs, content)
    return found, inodes


def check_links(top, found, inodes):
    """What st_nlink says is there."""
    for key, (ino, mode, links, *_) in found.items():
        if stat.S_ISDIR(mode):
            inside = sum(stat.S_ISDIR(other[1]) for path, other in found.items() if os.path.dirname(path) == key)
            assert links == 2 + inside, f'{key}: {links} links, {inside} directories in it'
        else:
            assert links == len(inodes[ino]), f'{key}: {links} links, {inodes[ino]}'


def compare_mounts(lab):
    seen = [everything(lab.path(mount, 'tree')) for mount in ('m1', 'm2')]
    differ = [(k, seen[0][0].get(k), seen[1][0].get(k)) for k in {*seen[0][0], *seen[1][0]} if seen[0][0].get(k) != seen[1][0].get(k)]
    assert not differ, f'{len(differ)} of {len(seen[0][0])} differ: {differ[:3]}'
    check_links(lab.path('m1', 'tree'), *seen[0])
    return len(seen[0][0])


def mix(lab, seed, operations):
    """Two processes at each mount; how many calls did what was asked."""
    def one(number):
        command = [sys.executable, '-m', 'tests.mount.stress', lab.path(f'm{number % 2 + 1}', 'tree'), str(seed + number),
                   str(operations), f'process {number}']
        r = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert r.returncode == 0, f'{" ".join(command)}: {r.stderr[-3000:]}'
        return json.loads(r.stdout)
    given = at_once(*(lambda n=n: one(n) for n in range(4)))
    return sum(kind.get('fine', 0) for process in given for kind in process.values())


def settled_alike(lab):
    """Copies with equal hashes, of the tree and of the blocks; the settled state is what both mounts show."""
    lab.settle(120)
    copies = [n for n in lab.status('--verify')['nodes'] if n['role'] == 'copy']
    for hashed in ('state_hash', 'blocks_hash'):
        assert len({n[hashed] for n in copies}) == 1, [n[hashed] for n in copies]


def leaves_nothing(lab):
    """What is removed is gone: neither an inode nor a block is kept for nobody."""
    shutil.rmtree(lab.path('m2', 'tree'))

    def empty():
        st = os.statvfs(lab.path('m1'))
        blocks = [n['blocks'] for n in lab.status('--verify')['nodes'] if n['role'] == 'copy']
        return st.f_files - st.f_ffree == used and not any(blocks)
    used = lab.files_at_start
    wait_until(empty, 60, 'blocks and inodes are given back')


def prepare(lab):
    st = os.statvfs(lab.path('m1'))
    lab.files_at_start = st.f_files - st.f_ffree
    os.mkdir(lab.path('m1', 'tree'))


@test('both mounts show the same tree, and copies agree, after four processes changed it in all ways')
def _():
    with Lab() as lab:
        prepare(lab)
        fine = mix(lab, SEED, OPERATIONS)
        left = compare_mounts(lab)
        figure(f'SEED={SEED} OPERATIONS={OPERATIONS}: {fine} of {4 * OPERATIONS} calls succeeded, {left} names left')
        assert fine > OPERATIONS  # else it tries nothing
        settled_alike(lab)
        compare_mounts(lab)
        leaves_nothing(lab)


@test('namespace=sync: the same while nodes are killed and restarted')
def _():
    with Lab(options='namespace=sync') as lab:
        prepare(lab)
        with killing(lab) as kills:
            rounds = 0
            while rounds == 0 or len(kills) < KILLS:
                mix(lab, SEED + 4 * (rounds + 1), OPERATIONS // 2)
                rounds += 1
        left = compare_mounts(lab)
        figure(f'{rounds} rounds, {len(kills)} kills, {left} names left')
        settled_alike(lab)
        compare_mounts(lab)
        leaves_nothing(lab)


if __name__ == '__main__':
    main()
