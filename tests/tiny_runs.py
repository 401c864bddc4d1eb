"""Experiments of a few models on the embedded data; and, as a script, processes that run them and are killed.

python tiny_runs.py kill OUT 1 2 4     fork children that die at their first, second, fourth rename of a file
python tiny_runs.py train OUT          say so while the first stack is trained, and wait to be killed
python tiny_runs.py together OUT 2     fork two children on one folder; each writes OUT-<i>.json
python tiny_runs.py cluster OUT        two Dask workers, one of which is killed while it trains
"""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass

from pyscore.convention import ORIGINAL
from pyscore.experiment.grid import Options, StackTask
from pyscore.experiment.jobs import Job
from pyscore.experiment.runs import Place
from pyscore.experiment.schedule import execute
from pyscore.experiment.store import Store

OPTIONS = Options(steps=20, conventions=(ORIGINAL,), costly_rows=0, disc_steps=0)


def tasks(count=3, options=OPTIONS, **fields):
    """Stacks of two models, of growing width."""
    fields = {"betas": (0.1, 1.0), "cs": (0.1,), "latent_dim": 2, "n_components": 2, **fields}
    return [StackTask(dataset="breast-cancer", hidden_dim=4 + i, options=options, **fields) for i in range(count)]


def jobs(count=3, options=OPTIONS, **fields):
    return [Job(task) for task in tasks(count, options, **fields)]


def announce(store, count=3):
    """Enter the run into the manifest as the command does."""
    from pyscore.cli import reproduce

    request = reproduce.Request(datasets=["breast-cancer"], splits=[0], grid="paper", options=OPTIONS)
    reproduce._announce(store, tasks(count), request)


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


def train(out):
    def watch(job, phase, share):
        print(job.name, phase, share, flush=True)
        sys.stdin.read()  # in the midst of training: the other model is not even begun

    execute(jobs(), Store(out), place=Place(threads=1), watch=watch)


def together(out, count):
    def work(index):
        report = execute(jobs(), Store(out))
        with open(f"{out}-{index}.json", "w") as file:
            json.dump(report.finished, file)

    for pid in [in_child(lambda i=i: work(i)) for i in range(count)]:
        os.waitpid(pid, 0)


@dataclass(frozen=True)
class Traced(Job):
    """Notes who works on it; the first that works on any never comes to an end."""

    trace: str

    def work(self, *arguments):
        with open(self.trace, "a") as file:
            file.write(f"{self.name} {os.getpid()}\n")
        endless = self._first()
        result = super().work(*arguments)
        while endless:
            result = super().work(*arguments)
        return result

    def _first(self):
        try:
            os.close(os.open(f"{self.trace}-victim", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        os.symlink(str(os.getpid()), f"{self.trace}-pid")
        return True


def cluster(out):
    from pyscore.experiment.cluster import execute_on, local_cluster

    trace = f"{out}-trace"
    victims = []

    def murder():
        while not os.path.islink(f"{trace}-pid"):
            time.sleep(0.01)
        time.sleep(0.1)
        victims.append(int(os.readlink(f"{trace}-pid")))
        os.kill(victims[0], signal.SIGKILL)

    with local_cluster(2) as client:
        thread = threading.Thread(target=murder)
        thread.start()
        report = execute_on(client, [Traced(task, trace) for task in tasks(4)], Store(out))
        thread.join()
        alive = victims[0] in client.run(os.getpid).values()
    with open(trace) as file:
        work = [line.split() for line in file]
    print(json.dumps({**report.to_dict(), "victim": victims[0], "victim_alive": alive, "work": work}))


if __name__ == "__main__":
    what, out, *rest = sys.argv[1:]
    {"kill": kill, "train": train, "together": together, "cluster": cluster}[what](out, *map(int, rest))
