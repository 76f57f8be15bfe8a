"""A tree is copied in while every node is killed in turn; everything fsynced survives the death of all."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import ROOT, Lab, process, tree_digest, wait_until
from tests.lib.tap import figure, main, test
from tests.lib.writer import read_record

TREE = os.environ.get('TREE', '/usr/include')
ROUNDS = int(os.environ.get('ROUNDS', '3'))


def disk_bytes(path):
    total = 0
    for folder, _, files in os.walk(path):
        total += sum(os.lstat(os.path.join(folder, f)).st_blocks * 512 for f in files)
    return total


@test('cp -a while n1, n2 and w1 are killed and restarted in turn, several rounds; equal at m2; copies identical')
def _():
    with Lab() as lab:
        killed_leaders = 0
        with process(['cp', '-a', TREE, lab.path('m1', 'tree')], stderr=subprocess.PIPE, text=True) as cp:
            rounds = 0
            while rounds < ROUNDS or cp.poll() is None:
                for name in ('n1', 'n2', 'w1'):
                    killed_leaders += lab.status()['leader'] == name
                    lab.kill(name)
                    lab.start(name)
                    lab.settle_nodes()
                rounds += 1
                if rounds >= 30:
                    break
            said = cp.communicate(timeout=300)[1]
            assert cp.returncode == 0, f'cp failed: {said[:2000]}'
        figure(f'{rounds} rounds, {killed_leaders} times the leader')
        assert killed_leaders > 0
        r = subprocess.run(['diff', '-r', '--no-dereference', TREE, lab.path('m2', 'tree')], capture_output=True, text=True)
        assert r.returncode == 0, r.stdout[:2000] + r.stderr[:2000]
        lab.settle(120)
        nodes = {n['name']: n for n in lab.status('--verify')['nodes']}
        assert nodes['n1']['state_hash'] == nodes['n2']['state_hash']
        assert nodes['n1']['blocks_hash'] == nodes['n2']['blocks_hash'] and nodes['n1']['blocks'] > 0
        assert nodes['w1']['held_bytes'] == 0


@test('the witness holds no block bytes, and its store is at most 1 % of a copy\'s for 512 MiB of file data')
def _():
    marker = b'a marker that no header holds: ' + os.urandom(16).hex().encode()
    with Lab(mounts=1) as lab:
        page = (marker + b' ' * 4096)[:4096]
        with open(lab.path('m1', 'big'), 'wb', buffering=0) as f:
            for i in range(512):
                f.write(page * 256)
                if i == 200:
                    lab.kill('n2')  # drafts the witness: it must give the bytes back later
                if i == 300:
                    lab.start('n2')
            os.fsync(f.fileno())
        with open(lab.path('m1', 'small'), 'wb', buffering=0) as f:
            f.write(page)
            os.fsync(f.fileno())
        lab.settle(180)
        copy = min(disk_bytes(f'{lab.dir}/nodes/{n}') for n in ('n1', 'n2'))
        wait_until(lambda: disk_bytes(f'{lab.dir}/nodes/w1') <= copy / 100, 30, 'the witness gave its space back')
        witness = disk_bytes(f'{lab.dir}/nodes/w1')
        figure(f'stores: copy {copy / 2**20:.0f} MiB, witness {witness / 2**20:.2f} MiB, {100 * witness / copy:.2f} %')
        assert copy >= 512 * 2**20
        r = subprocess.run(['grep', '-rlaF', marker.decode(), f'{lab.dir}/nodes/w1'], capture_output=True, text=True)
        assert r.returncode == 1 and not r.stdout, f'bytes left in {r.stdout}'


def spoil_blocks(lab, name):
    """One bit in each 100 kB of what a node that is down has in its block segments; how many."""
    spoilt = 0
    for segment in os.scandir(f'{lab.dir}/nodes/{name}/blocks'):
        with open(segment.path, 'r+b') as f:
            for at in range(40_000, os.path.getsize(segment.path), 100_000):
                f.seek(at)
                byte = f.read(1)
                f.seek(at)
                f.write(bytes([byte[0] ^ 0x10]))
                spoilt += 1
    return spoilt


@test('rotten bytes in a copy\'s block segments: readers get the right ones from the other copy, and the copy mends itself')
def _():
    noticed = 0
    for name in ('n1', 'n2'):  # of a lab each: what no reader met stays rotten, and with both the bytes would be gone
        with Lab() as lab:
            data = os.urandom(8 * 2**20)
            with open(lab.path('m1', 'file'), 'wb') as f:
                f.write(data)
            lab.settle()
            lab.kill(name)
            spoilt = spoil_blocks(lab, name)
            assert spoilt > 50
            lab.start(name)
            lab.settle_nodes()
            for mount in ('m1', 'm2'):
                fd = os.open(lab.path(mount, 'file'), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # not from the kernel's pages
                assert os.pread(fd, len(data) + 1, 0) == data
                os.close(fd)
            wait_until(lambda lab=lab, name=name: lab.node(name)['missing'] == 0, 30, f'{name} mended what readers found')
            lab.settle()
            with open(f'{lab.dir}/log/{name}.log') as f:
                noticed += sum('TALLY-3004' in line for line in f)
    figure(f'{spoilt} bytes spoilt per copy; damaged blocks noticed: {noticed}')
    assert noticed  # which copy a mount asks is its own choice


@test('everything fsynced survives SIGKILL of all nodes and mounts at once')
def _():
    with Lab() as lab:
        record = os.path.join(lab.dir, 'record')
        os.mkdir(lab.path('m1', 'd'))
        with process([sys.executable, '-m', 'tests.lib.writer', 'pulse', lab.path('m1', 'd/pulse'), record], cwd=ROOT) as writer:
            wait_until(lambda: os.path.exists(record) and len(read_record(record)) > 50, 30, 'the writer runs')
            synced = []
            for i in range(40):
                with open(lab.path('m2', f'd/f{i}'), 'wb') as f:
                    f.write(os.urandom(3000 + i * 5000))
                    f.flush()
                    os.fsync(f.fileno())
                with open(lab.path('m2', f'd/f{i}'), 'rb') as f:
                    synced.append(f.read())
            for pid in lab.pids():
                os.kill(pid, 9)
            writer.kill()
            writer.wait()
        rows = [r for r in read_record(record) if not r[3]]
        lab.tally('start')
        for i, data in enumerate(synced):
            with open(lab.path('m1', f'd/f{i}'), 'rb') as f:
                assert f.read() == data, f'f{i} changed'
        want = {number % 256: number for number, *_ in rows}
        with open(lab.path('m2', 'd/pulse'), 'rb') as f:
            for slot, number in want.items():
                f.seek(slot * 4096)
                page = f.read(4096)
                found = int(page[:8])
                assert page == b'%08d' % found * 512, f'slot {slot} is torn'
                assert found >= number, f'slot {slot}: {found}, acknowledged {number}'
        lab.settle(60)


@test('a crash in the middle of many writes leaves each file exactly as of one commit')
def _():
    with Lab() as lab:
        top = lab.path('m1')
        script = ('import os,sys\n'
                  'fds=[os.open(f"{sys.argv[1]}/g{i}",os.O_CREAT|os.O_RDWR) for i in range(8)]\n'
                  'n=0\n'
                  'while True:\n'
                  '  n+=1\n'
                  '  for fd in fds:\n'
                  '    os.pwrite(fd,b"%08d"%n*(512*20),0)\n'  # 20 pages in one write(2)
                  '    os.fsync(fd)\n')
        with process([sys.executable, '-c', script, top]) as p:
            wait_until(lambda: os.path.exists(f'{top}/g7') and os.path.getsize(f'{top}/g7') > 0, 30, 'all files written')
            time.sleep(0.3)  # somewhere in the middle of it: any moment will do
            for pid in lab.pids():
                os.kill(pid, 9)
            p.kill()
            p.wait()
        lab.tally('start')
        for i in range(8):
            with open(lab.path('m2', f'g{i}'), 'rb') as f:
                data = f.read()
            assert len(data) == 4096 * 20, len(data)
            assert data == data[:8] * (512 * 20), f'g{i} is a mixture'


main()
