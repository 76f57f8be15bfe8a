"""The other election strategies on real processes: the leader is killed, frozen and cut off under each of them, and a loop of
write + fsync sees no error. test_failover.py does the same at length for one strategy (ELECTION=NAME)."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import ROOT, Lab, process, wait_until
from tests.lib.tap import figure, main, test
from tests.lib.writer import longest_gap, read_record

LIMITS_S = {'killed': 0.6, 'frozen': 3.0, 'cut off': 3.0}


def others(lab, name):
    status = lab.status()
    return [m['name'] for m in status['nodes'] + status['mounts'] if m['name'] != name]


HITS = {
    'killed': (lambda lab, n: lab.kill(n), lambda lab, n: lab.start(n)),
    'frozen': (lambda lab, n: lab.kill(n, 'STOP'), lambda lab, n: lab.kill(n, 'CONT')),
    'cut off': (lambda lab, n: lab.tally('cut', n, *others(lab, n)), lambda lab, n: lab.tally('mend', n)),
}


def wait_for_write_after(record, moment):
    def written():
        return any(not err and begin > moment for _, begin, _, err in read_record(record)[-50:])
    wait_until(written, 40, 'the writer goes on')


def one_failure(lab, record, how):
    hit, undo = HITS[how]
    leader, struck = lab.leader(), time.monotonic()
    hit(lab, leader)
    wait_for_write_after(record, time.monotonic() + 0.3)
    wait_until(lambda: lab.leader() != leader, 10, 'another node leads')
    gap = longest_gap(read_record(record), struck - 0.2, time.monotonic())
    undo(lab, leader)
    lab.settle_nodes()
    return gap


for _strategy in ('bully', 'successor', 'invitation', 'ring'):
    @test(f'{_strategy}: the leader is killed, frozen, cut off; no error, another one leads')
    def _(strategy=_strategy):
        with Lab(mounts=1, election=strategy) as lab:
            assert all(n['strategy'] == strategy for n in lab.status()['nodes'])
            record = os.path.join(lab.dir, 'record')
            with process([sys.executable, '-m', 'tests.lib.writer', 'pulse', lab.path('m1', 'pulse'), record], cwd=ROOT) as writer:
                wait_until(lambda: os.path.exists(record), 20, 'the writer runs')
                wait_for_write_after(record, time.monotonic())
                gaps = {how: one_failure(lab, record, how) for how in HITS}
                writer.terminate()
                assert writer.wait(60) == 0
            errors = [r for r in read_record(record) if r[3]]
            lab.settle()
        figure(f'{strategy}: longest gap in ms: ' + ', '.join(f'{how} {gap * 1000:.0f}' for how, gap in gaps.items()))
        assert not errors, errors[:5]
        for how, gap in gaps.items():
            assert gap <= LIMITS_S[how], f'leader {how}: {gap:.3f} s, limit {LIMITS_S[how]} s'


main()
