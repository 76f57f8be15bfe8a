"""Programs run by tests, and files for them."""
import os
import subprocess


def run(*command, cwd=None, timeout=120, **env):
    """Runs a program that must succeed; its output."""
    r = subprocess.run([str(c) for c in command], cwd=cwd, env=dict(os.environ, **env), stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, errors='replace')
    assert r.returncode == 0, f'{" ".join(map(str, command))}: exit code {r.returncode}: {r.stdout[-2000:]}'
    return r.stdout


def write_file(path, data):
    with open(path, 'wb') as f:
        f.write(data)


def read_file(path):
    with open(path, 'rb') as f:
        return f.read()
