"""Experiments of a few models on the embedded data; and, as a script, processes that run them and are killed.

python tiny_runs.py kill OUT 1 2 4     fork children that die at their first, second, fourth rename of a file
python tiny_runs.py together OUT 2     fork two children on one folder; each writes OUT-<i>.json
python tiny_runs.py cluster OUT        two Dask workers, one of which is killed while it works
"""

import json
import os
import signal
import sys
import threading
import time

from pyscore.convention import ORIGINAL
from pyscore.experiment.grid import Options, StackTask
from pyscore.experiment.jobs import Job
from pyscore.experiment.schedule import execute
from pyscore.experiment.store import Store

OPTIONS = Options(steps=20, conventions=(ORIGINAL,), costly_rows=0, disc_steps=0)


def tasks(count=3, options=OPTIONS, **fields):
    """Stacks of two models, of growing width."""
    fields = {"betas": (0.1, 1.0), "cs": (0.1,), "latent_dim": 2, "n_components": 2, **fields}
    return [StackTask(dataset="breast-cancer", hidden_dim=4 + i, options=options, **fields) for i in range(count)]


def jobs(count=3, options=OPTIONS, **fields):
    return [Job(task) for task in tasks(count, options, **fields)]


def in_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def kill(out, *renames):
    """One child after the other on the same folder; each dies in the middle of its n-th write."""
    for number in renames:

        def work(number=number):
            real, calls = os.replace, []

            def replace(*args):
                calls.append(args)
                if len(calls) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                real(*args)

            os.replace = replace
            execute(jobs(), Store(out))

        _, status = os.waitpid(in_child(work), 0)
        assert os.WIFSIGNALED(status), "the child was to be killed"


def together(out, count):
    def work(index):
        report = execute(jobs(), Store(out))
        with open(f"{out}-{index}.json", "w") as file:
            json.dump(report.finished, file)

    for pid in [in_child(lambda i=i: work(i)) for i in range(count)]:
        os.waitpid(pid, 0)


def cluster(out):
    from pyscore.experiment.cluster import execute_on, local_cluster

    with local_cluster(2) as client:
        victim = next(iter(client.run(os.getpid).values()))
        working = threading.Event()

        def murder():
            working.wait()
            time.sleep(0.3)  # the stacks take longer
            os.kill(victim, signal.SIGKILL)

        thread = threading.Thread(target=murder)
        thread.start()
        report = execute_on(client, jobs(4), Store(out), watch=lambda *_: working.set())
        thread.join()
        alive = victim in client.run(os.getpid).values()
    print(json.dumps({**report.to_dict(), "victim_alive": alive}))


if __name__ == "__main__":
    what, out, *rest = sys.argv[1:]
    {"kill": kill, "together": together, "cluster": cluster}[what](out, *map(int, rest))
