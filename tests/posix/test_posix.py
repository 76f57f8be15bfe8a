"""POSIX, on one mount, alternating between two, and again while nodes are killed.

    [--local DIR]    the same in a directory of any filesystem: what fails there is wrong here
"""
import os
import shutil
import sys
import tempfile
import traceback

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.disturb import killing
from tests.lib.lab import Lab
from tests.lib.tap import figure, main, test
from tests.posix import acls, data, dirs, nameless, names, permissions, rename, times, xattrs
from tests.posix.view import View

MODULES = (names, nameless, rename, permissions, acls, xattrs, times, data, dirs)


def run(roots, only=None, tally=True):
    """All subjects, each in a directory of its own; how many things were expected."""
    view = View(roots, tally)
    os.umask(0o22)
    for module in MODULES:
        for subject in module.subjects:
            view.subject = f'{module.__name__.rpartition(".")[2]}.{subject.__name__}'
            if only and only not in view.subject:
                continue
            directory = f'{view.subject}-{view.count}'
            os.mkdir(view.at(directory))
            try:
                subject(view, directory)
            except Exception:
                view.check(False, f'ended early: {traceback.format_exc()}')
            shutil.rmtree(view.at(directory), ignore_errors=True)
    assert not view.failures, f'{len(view.failures)} of {view.count}:\n' + '\n'.join(view.failures[:60])
    return view.count


def open_to_all(lab):
    """Others than root must get as far as the mounts."""
    for path in (lab.dir, f'{lab.dir}/mnt'):
        os.chmod(path, 0o755)


@test('the suite objects: to a wrong errno, a wrong value, a failure in a child')
def _():
    with tempfile.TemporaryDirectory() as top:
        view = View([top])
        view.gives(0, os.rmdir, view.at('missing'))
        view.gives(17, os.mkdir, view.at('new'))
        view.same(1, 2, 'numbers')
        view.as_user(12001, 12001, lambda v: v.gives(0, os.chown, v.at(), 0, 0))
        assert len(view.failures) == 4 and view.count == 5, view.failures


if '--local' in sys.argv:
    @test('a local directory')
    def _():
        figure(f'{run([sys.argv[sys.argv.index("--local") + 1]], tally=False)} assertions')
else:
    @test('one mount')
    def _():
        with Lab(mounts=1) as lab:
            open_to_all(lab)
            count = run([lab.path('m1')])
            figure(f'{count} assertions')
            assert count >= 1500, count
            lab.settle()

    @test('each call at the other of two mounts')
    def _():
        with Lab() as lab:
            open_to_all(lab)
            figure(f'{run([lab.path("m1"), lab.path("m2")])} assertions')
            lab.settle()

    @test('namespace=sync: each call at the other of two mounts, while nodes are killed and restarted')
    def _():
        with Lab(options='namespace=sync') as lab:
            open_to_all(lab)
            with killing(lab) as kills:
                count = run([lab.path('m1'), lab.path('m2')])
            figure(f'{count} assertions, {len(kills)} kills')
            lab.settle()


if __name__ == '__main__':
    main()
