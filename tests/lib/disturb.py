"""Nodes that die while a test works: `with killing(lab): ...` kills and restarts each in turn until the block ends."""
import contextlib
import threading


@contextlib.contextmanager
def killing(lab, names=('n1', 'n2', 'w1')):
    """Yields a list that grows by (name, was leader) per kill. One node is down at a time, and the cluster is whole
    again before the next dies. A round goes on to its end: the block's work should await len(kills) if it is short."""
    stop, kills, failure = threading.Event(), [], []

    def run():
        try:
            while not stop.is_set():
                for name in names:
                    if stop.is_set():
                        return
                    kills.append((name, lab.status()['leader'] == name))
                    lab.kill(name)
                    stop.wait(0.3)  # a little life without it
                    lab.start(name)
                    lab.settle_nodes()
        except Exception as e:
            failure.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield kills
    finally:
        stop.set()
        thread.join()
    if failure:
        raise failure[0]


def at_once(*functions):
    """Runs functions in threads that start together; their results, or the first exception."""
    barrier = threading.Barrier(len(functions))
    results, errors = [None] * len(functions), []

    def run(i, function):
        barrier.wait()
        try:
            results[i] = function()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i, f)) for i, f in enumerate(functions)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return results
