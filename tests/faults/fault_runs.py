"""Runs in which the n-th call that writes a file fails: FAULTS_BELOW=OUT LD_PRELOAD=… this.py WHAT OUT [STRIDE].

Every n is tried, or every STRIDE-th, from another one on for each kind of failure.

After each, either the whole right result is there, or a PyscoreError was raised and nothing half-made is left; the
next call, on a disk that works again, completes with the right result. Prints a count of outcomes as JSON.
"""

import contextlib
import ctypes
import errno
import io
import json
import os
import shutil
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

ONCE, FULL, SHORT, OFF = 0, 1, 2, -1
MODES = {
    "full disk": (errno.ENOSPC, FULL),
    "no space once": (errno.ENOSPC, ONCE),
    "I/O error": (errno.EIO, ONCE),
    "interrupted": (errno.EINTR, ONCE),
    "short writes": (0, SHORT),
}
shim = ctypes.CDLL(None)
shim.faults_count.restype = ctypes.c_long
shim.faults_what.restype = ctypes.c_char_p
shim.faults_arm.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]


class Score:
    """Three parts, to a file or a folder."""

    def __init__(self, out, target):
        from stream_runs import scores_of, small, table, write

        from pyscore.scoring import stream as streaming

        streaming.PART_ROWS = 1024
        self.out, self.target, self.scores_of = out, out / target, scores_of
        self.folder = target.endswith("/")
        self.source = write(out.with_name("source.parquet"), table(2500))
        self.call = lambda: streaming.score_files(
            small(), self.source, f"{out}/{target}", threads=1, block_rows=1024
        )
        self.expected = (
            small().scores(table(2500).to_pandas(), ["proposed"], backend="numba")["proposed"].to_numpy()
        )

    def whole(self):
        return self.target.exists() and np.array_equal(self.scores_of(self.target), self.expected)

    def names_after_a_failure(self):
        return {f".{self.target.name}.parts"}

    def refuses_another_call(self):
        """Whether the result is a folder that is there, and finished: such a one is not written again."""
        from pyscore.scoring.resumable_output import _marked

        return self.folder and self.target.exists() and not _marked(self.target)


class Fit:
    """The command, with a checkpoint."""

    def __init__(self, out):
        import pandas as pd
        from stream_runs import table

        self.out, self.source = out, out.with_name("source.csv")
        pd.DataFrame(table(150).to_pandas()[["a", "b", "c"]]).to_csv(self.source, index=False)
        self.models = set()

    def call(self):
        from pyscore.cli.app import main
        from pyscore.errors import PyscoreError

        arguments = [
            "fit",
            self.source,
            "-o",
            self.out / "m.safetensors",
            "--detector",
            "model",
            "--steps",
            3,
            "--hidden-dim",
            4,
        ]
        arguments += ["--latent-dim", 2, "--checkpoint", self.out / "c.safetensors", "--json"]
        with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
            try:
                main([str(a) for a in arguments])
            except SystemExit as stop:
                if stop.code:
                    if "error:" not in err.getvalue() or stop.code != 2:
                        raise AssertionError(f"status {stop.code}: {err.getvalue()}") from None
                    raise PyscoreError(err.getvalue()) from None

    def whole(self):
        from pyscore.scoring.fitted import FittedModel

        if not (self.out / "m.safetensors").exists():
            return False
        self.models.add(FittedModel.load(self.out / "m.safetensors").digest())
        assert len(self.models) == 1
        return True

    def names_after_a_failure(self):
        return {"c.safetensors"}

    def refuses_another_call(self):
        return False


class Reproduce:
    """A stack of two models."""

    def __init__(self, out):
        import pandas as pd
        from tiny_runs import announce, jobs, tasks

        from pyscore.errors import PyscoreError
        from pyscore.experiment.schedule import execute
        from pyscore.experiment.store import Store

        self.out, self.rows = out, []
        self.path = out / "run" / "results" / f"{tasks()[0].name}.parquet"
        self.read = lambda: pd.read_parquet(self.path).drop(columns=["seconds_train", "seconds_score"])

        def call():
            store = Store(out / "run", tell=print)
            try:
                announce(store, 1)
            except BaseException:
                store.discard()
                raise
            report = execute(jobs(1), store)
            if not report.complete:
                raise PyscoreError(json.dumps(report.to_dict()))

        self.call = call

    def whole(self):
        if not self.path.exists():
            return False
        self.rows.append(self.read())
        return self.rows[0].equals(self.rows[-1])

    def names_after_a_failure(self):
        return {"run"}

    def refuses_another_call(self):
        return False


def outcome(run):
    """How a call ended; what is no PyscoreError is a fault."""
    from pyscore.errors import PyscoreError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run.call()
    except PyscoreError as error:
        if not str(error).strip():
            raise AssertionError("an error that says nothing") from None
        return "error"
    return "done"


def empty(folder):
    for each in folder.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


def faults_of(run, name, error, mode, first, stride):
    """Let each call fail in turn; returns counts of outcomes."""
    n, stride = (0, 3) if mode == SHORT else (first, stride)
    counts = Counter()
    empty(run.out)
    shim.faults_arm(OFF, 0, 0)
    run.call()
    total = shim.faults_count()  # of a run without a fault
    while n < (4 if mode == SHORT else total):
        empty(run.out)
        shim.faults_arm(n, error, mode)
        try:
            how = outcome(run)
        except BaseException:
            sys.stderr.write(f"call {n}, {name}:\n{traceback.format_exc()}")
            how = "FAULT"
        calls, what = shim.faults_count(), shim.faults_what().decode()
        shim.faults_arm(OFF, 0, 0)
        where = f"call {n} of {calls} ({what}), {name}"
        if how == "done" and not run.whole():
            how = "FAULT"
            sys.stderr.write(f"{where}: exit without an error, but no right result\n")
        left = {path.name for path in run.out.iterdir()}
        if how == "error" and not run.whole():
            stray = {x for x in left - run.names_after_a_failure() if what not in ("unlink", "rmdir")}
            if stray:
                how = "FAULT"
                sys.stderr.write(f"{where}: left {stray}\n")
        try:
            if not run.refuses_another_call():
                run.call()
        except BaseException:
            how = "FAULT"
            sys.stderr.write(f"{where}: the next call failed: {traceback.format_exc()}")
        if not run.whole():
            how = "FAULT"
            sys.stderr.write(f"{where}: the next call gave no right result\n")
        temporary = [p.name for p in run.out.rglob("*") if p.name.endswith((".tmp", ".parts"))]
        if temporary and what not in ("unlink", "rmdir"):
            how = "FAULT"
            sys.stderr.write(f"{where}: the next call left {temporary}\n")
        counts[how] += 1
        n += stride
    return counts


def main(what, out, stride=1):
    out = Path(out)
    out.mkdir(exist_ok=True)
    runs = {
        "score": lambda: Score(out, "s.parquet"), "score-csv": lambda: Score(out, "s.csv"),
        "score-folder": lambda: Score(out, "s/"), "fit": lambda: Fit(out), "reproduce": lambda: Reproduce(out),
    }  # fmt: skip
    run = runs[what]()
    if what == "score-csv":
        import pandas as pd

        run.scores_of = lambda path: pd.read_csv(path)["proposed"].to_numpy()
    shim.faults_arm(OFF, 0, 0)
    empty(out)
    run.call()  # whatever is imported and compiled late
    assert run.whole()
    began, found = time.perf_counter(), {}
    for first, (name, (error, mode)) in enumerate(MODES.items()):
        found[name] = dict(faults_of(run, name, error, mode, first % int(stride), int(stride)))
    print(json.dumps({"run": what, "outcomes": found, "seconds": round(time.perf_counter() - began, 1)}))


if __name__ == "__main__":
    assert os.environ["FAULTS_BELOW"] == sys.argv[2]
    main(*sys.argv[1:])
