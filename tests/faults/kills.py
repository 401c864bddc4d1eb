"""Runs that are killed at random moments: kills.py WHAT OUT COUNT [SEED], WHAT being score, folder or reproduce.

Each run is a child that SIGKILL ends at a moment drawn from as long as the run takes. After each kill, what lies
under its final name is whole and right; a run that is let go on to its end gives what one without a kill gives.
Prints counts as JSON.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
ROWS = 20_000


class Score:
    """Twenty parts, to a file or a folder."""

    def __init__(self, out, target):
        from stream_runs import scores_of, small, table, write

        self.out, self.target, self.scores_of = out, out / target, scores_of
        self.text = f"{out}/{target}"
        self.small = small
        self.source = write(out.with_name("source.parquet"), table(ROWS))
        self.expected = None

    def run(self):
        from pyscore.scoring import stream

        stream.PART_ROWS = 1024
        stream.score_files(self.small(), self.source, self.text, threads=2, block_rows=1024, keep=["id"])

    def begun(self):
        return any(self.out.glob(".*.parts/part-*"))

    def remember(self):
        self.expected = self.scores_of(self.target)
        assert len(self.expected) == ROWS

    def check(self):
        """What is there under its final name is whole; returns whether it is there."""
        if not self.target.exists():
            return False
        np.testing.assert_array_equal(self.scores_of(self.target), self.expected)
        return True

    def finished(self):
        assert self.check()
        names = {p.name for p in self.out.iterdir()}
        assert names == {self.target.name}, f"left over: {names}"


class Reproduce:
    """Three stacks of two models."""

    def __init__(self, out):
        self.out, self.expected = out, None

    def run(self):
        from tiny_runs import announce, jobs

        from pyscore.experiment.schedule import execute
        from pyscore.experiment.store import Store

        store = Store(self.out / "run")
        announce(store)
        assert execute(jobs(3), store).complete

    def begun(self):
        return any(self.out.glob("run/claims/*"))

    def rows(self):
        import pandas as pd

        frames = {p.name: pd.read_parquet(p) for p in sorted(self.out.glob("run/results/*.parquet"))}
        return {name: f.drop(columns=["seconds_train", "seconds_score"]) for name, f in frames.items()}

    def remember(self):
        self.expected = self.rows()
        assert len(self.expected) == 3

    def check(self):
        from pyscore.experiment.store import Store, load_stack

        rows = self.rows()
        for name, frame in rows.items():
            assert frame.equals(self.expected[name]), name
            load_stack(self.out / "run" / "models" / f"{name.removesuffix('.parquet')}.safetensors")
        if (self.out / "run").exists():
            Store(self.out / "run").runs()  # the manifest is whole
        return len(rows) == 3

    def finished(self):
        assert self.check()
        left = [p.name for p in self.out.rglob("*.tmp")] + [p.name for p in self.out.glob("run/claims/*")]
        assert not left, f"left over: {left}"


def child(run):
    """Fork a run; its errors end it with status 1 and stand on stderr."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            warnings.simplefilter("ignore")
            run.run()
            status = 0
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(status)
    return pid


def complete(run):
    pid = child(run)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"a run that nobody killed ended with {status}"


def clear(out):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()


def timed(run):
    """Seconds until a run begins to write, and until it ends."""
    began, first = time.monotonic(), None
    pid = child(run)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        now = time.monotonic() - began
        if first is None and run.begun():
            first = now
        if done:
            assert status == 0
            return first or now, now
        time.sleep(0.002)


def kill_runs(run, count, rng):
    counts, killed = Counter(), 0
    clear(run.out)
    complete(run)  # compiles what is to be compiled
    clear(run.out)
    first, whole = timed(run)
    run.remember()
    clear(run.out)
    while killed < count:
        if rng.random() < 0.2:
            moment, wait_for_writes = rng.uniform(0, whole), False
        else:  # while files are written
            moment, wait_for_writes = rng.uniform(0, 1.5 * (whole - first)), True
        pid = child(run)
        began = time.monotonic()
        done, status = 0, 0
        while wait_for_writes and not run.begun() and not done and time.monotonic() - began < 4 * whole:
            done, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(0.001)
        if not done:
            time.sleep(moment)
            done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, f"a run ended with {status} before it was killed"
            run.finished()
            counts["ended before"] += 1
            clear(run.out)
            continue
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        killed += 1
        if killed % 10 == 0:
            print(f"{killed} kills: {dict(counts)}", flush=True)
        counts["killed, result there" if run.check() else "killed, no result yet"] += 1
        if isinstance(run, Score) and run.check() and run.target.is_dir() and not unfinished(run.target):
            counts["the result was whole"] += 1  # a folder that is there is not written again
            clear(run.out)
        elif rng.random() < 0.4:
            complete(run)
            run.finished()
            counts["went on and completed"] += 1
            clear(run.out)
    return counts


def unfinished(target):
    from pyscore.scoring.resumable_output import _marked

    return _marked(target)


def main(what, out, count, seed="0"):
    out = Path(out)
    run = {
        "score": lambda: Score(out, "s.parquet"), "csv": lambda: Score(out, "s.csv"),
        "folder": lambda: Score(out, "s/"), "reproduce": lambda: Reproduce(out),
    }[what]()  # fmt: skip
    if what == "csv":
        import pandas as pd

        run.scores_of = lambda path: pd.read_csv(path)["proposed"].to_numpy()
    began = time.monotonic()
    counts = kill_runs(run, int(count), random.Random(int(seed)))
    print(json.dumps({"run": what, **counts, "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
