"""Runs of the experiment that are killed, run twice at once, run out of disk, or lose a worker."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_runs
from tiny_runs import OPTIONS, jobs, tasks

from pyscore.errors import BackendUnavailable, ClusterError, ModelFileError
from pyscore.experiment import cluster, runs, store
from pyscore.experiment.grid import GRIDS, Options, tasks_of
from pyscore.experiment.runs import TRAINING_SHARE, run_stack
from pyscore.experiment.schedule import execute
from pyscore.experiment.schema import SCHEMA
from pyscore.experiment.store import Store, read_results
from pyscore.reference.model import SVAE

TIMES = ["seconds_train", "seconds_score"]


def script(*arguments):
    """Run tiny_runs.py in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, tiny_runs.__file__, *map(str, arguments)],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Rows of four stacks, and the folder, computed in one go."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    report = execute(jobs(4), Store(folder))
    assert report.finished == [t.name for t in tasks(4)]
    return folder, read_results(folder).drop(columns=TIMES)


def rows_of(folder, count):
    """Rows of the first stacks, without times; every file is whole."""
    frames = [pd.read_parquet(Store(folder).result_path(task)) for task in tasks(count)]
    return pd.concat(frames, ignore_index=True).drop(columns=TIMES)


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def expect(uninterrupted, count):
    frame = uninterrupted[1]
    return frame[frame["stack"].isin([t.name for t in tasks(count)])].reset_index(drop=True)


def test_rows_of_a_run(uninterrupted):
    folder, rows = uninterrupted
    assert list(pd.read_parquet(next(folder.glob("results/*"))).columns) == SCHEMA.names
    assert len(rows) == 4 * 2 * 8  # stacks × models × cheap scores
    assert rows["failure"].isna().all()
    assert (
        rows[["auc_train", "auc_test", "auc_known1", "auc_known5"]].apply(lambda c: c.between(0, 1)).all(axis=None)
    )
    assert np.isfinite(rows[["mean_log_density", "mmd", "p_value", "width"]]).all(axis=None)
    assert rows.groupby("stack")["config_hash"].nunique().eq(2).all()


def test_a_second_call_computes_nothing(uninterrupted):
    folder, _ = uninterrupted
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    report = execute(jobs(4), Store(folder))
    assert (report.finished, len(report.skipped)) == ([], 4)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_killed_and_resumed(uninterrupted, tmp_path):
    """One dies with the models of a stack written, but not its rows; the next amid the models of a second one."""
    out = tmp_path / "out"
    script("kill", out, 2, 3)
    assert len(list(out.glob("results/*.parquet"))) == 1
    assert len(list(out.glob("*/.*.tmp"))) == 1, "what the second was writing; it swept what the first left"
    report = execute(jobs(), Store(out))
    assert (len(report.skipped), len(report.finished), report.elsewhere) == (1, 2, []), "no dead claim is left"
    pd.testing.assert_frame_equal(rows_of(out, 3), expect(uninterrupted, 3), check_exact=True)
    assert list(out.rglob("*.tmp")) == [], "what the dead left is swept"
    assert [len(e["files"]) for e in log_of(out) if e["event"] == "swept"] == [1, 1]


def test_killed_while_it_trains(uninterrupted, tmp_path):
    """The second of two models of the first stack is not begun; nothing is left but a claim that is free."""
    out, name = tmp_path / "out", tasks()[0].name
    command = [sys.executable, tiny_runs.__file__, "train", str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stack, phase, share = process.stdout.readline().split()
        assert (stack, phase) == (name, "training")
        assert 0 <= float(share) < TRAINING_SHARE
        with Store(out).claim(name) as ours:
            assert not ours, "it is at work"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert [path.name for path in out.rglob("*") if path.is_file()] == [name], "its claim"
    report = execute(jobs(2), Store(out))
    assert (len(report.finished), report.elsewhere) == (2, [])
    pd.testing.assert_frame_equal(rows_of(out, 2), expect(uninterrupted, 2), check_exact=True)


def test_only_what_nobody_writes_is_swept(tmp_path):
    mine, other = Store(tmp_path), Store(tmp_path)
    files = ("results/.dead.parquet.abc.tmp", "models/.alive.safetensors.abc.tmp", "results/.alive.parquet.abc.tmp",
             ".manifest.json.abc.tmp", "ablation/.rescored-dead.parquet.x_1.tmp", "results/dead.parquet")  # fmt: skip
    for file in files:
        (tmp_path / file).touch()
    with other.claim("alive") as held:
        assert held
        assert sorted(mine.sweep()) == sorted(Path(files[i]).name for i in (0, 3, 4))
    assert sorted(mine.sweep()) == sorted(Path(files[i]).name for i in (1, 2))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()].count("dead.parquet") == 1
    assert list((tmp_path / "claims").iterdir()) == []


def test_without_locks_nothing_is_swept(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    store = Store(tmp_path)
    (tmp_path / "results" / ".dead.parquet.abc.tmp").touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="has no locks"):
        assert store.sweep() == []
    assert (tmp_path / "results" / ".dead.parquet.abc.tmp").exists()


def test_two_processes_on_one_folder(uninterrupted, tmp_path):
    out = tmp_path / "out"
    script("together", out, 2)
    finished = [json.loads(Path(f"{out}-{i}.json").read_text()) for i in range(2)]
    assert sorted(finished[0] + finished[1]) == sorted(t.name for t in tasks()), "each stack once"
    pd.testing.assert_frame_equal(rows_of(out, 3), expect(uninterrupted, 3), check_exact=True)


def test_a_worker_is_killed(uninterrupted, tmp_path):
    pytest.importorskip("distributed")
    out = tmp_path / "out"
    report = json.loads(script("cluster", out).stdout.splitlines()[-1])
    assert not report["victim_alive"]
    (lost,) = [name for name, pid in report["work"] if int(pid) == report["victim"]]  # never ended there
    again = [int(pid) for name, pid in report["work"] if name == lost]
    assert len(again) >= 2, "its stack was begun anew"
    assert set(again) != {report["victim"]}
    assert (report["finished"], report["broken"], report["unwritten"]) == (4, {}, {})
    pd.testing.assert_frame_equal(rows_of(out, 4), expect(uninterrupted, 4), check_exact=True)


def test_claims(tmp_path):
    here, there = Store(tmp_path), Store(tmp_path)
    with here.claim("a") as ours:
        assert ours
        with there.claim("a") as theirs, there.claim("b") as other:
            assert not theirs
            assert other
    with there.claim("a") as theirs:
        assert theirs
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_claim_dies_with_its_process(tmp_path):
    mine = Store(tmp_path)
    code = f"import fcntl; f = open({str(tmp_path / 'claims' / 'a')!r}, 'w'); fcntl.flock(f, 2); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with mine.claim("a") as ours:
            assert not ours
        process.send_signal(signal.SIGKILL)
        process.wait()
    with mine.claim("a") as ours:
        assert ours


def test_no_locks_on_the_file_system(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="has no locks"), Store(tmp_path).claim("a") as ours:
        assert ours


class Disk:
    """A disk that is full for a while: `write_tensors` and `write_rows` fail so many times."""

    def __init__(self, monkeypatch, failures):
        self.failures = failures
        real = store.atomic_write

        def write(path, mode="wb"):
            if Path(path).suffix == ".parquet" and self.failures:
                self.failures -= 1
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(path, mode)

        monkeypatch.setattr(store, "atomic_write", write)


def test_out_of_disk_for_a_while(uninterrupted, tmp_path, monkeypatch):
    """The stack waits in memory, the run goes on, and the next write takes it along."""
    Disk(monkeypatch, failures=1)
    report = execute(jobs(2), Store(tmp_path))
    assert sorted(report.finished) == sorted(t.name for t in tasks(2))
    assert report.complete
    assert [(e["stack"], e["event"]) for e in log_of(tmp_path)] == [(tasks()[0].name, "not written")]
    pd.testing.assert_frame_equal(rows_of(tmp_path, 2), expect(uninterrupted, 2), check_exact=True)


def test_out_of_disk_to_the_end(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, failures=100)
    report = execute(jobs(2), Store(tmp_path))
    assert list(report.unwritten) == [t.name for t in tasks(2)]
    assert "No space left" in report.unwritten[tasks()[0].name]
    assert not report.complete
    assert list((tmp_path / "results").iterdir()) == []
    disk.failures = 0
    assert len(execute(jobs(1), Store(tmp_path)).finished) == 1


def test_what_waits_for_the_disk_stays_claimed(tmp_path, monkeypatch):
    """No other process computes it again; when the run gives it up, another may."""
    Disk(monkeypatch, failures=100)
    first, other, seen = tasks()[0].name, Store(tmp_path), []

    def watch(job, phase, share):
        if job.name != first and not seen:
            with other.claim(first) as ours:
                seen.append(ours)

    report = execute(jobs(2), Store(tmp_path), watch=watch)
    assert (seen, len(report.unwritten)) == ([False], 2)
    with other.claim(first) as ours:
        assert ours
    assert list((tmp_path / "claims").iterdir()) == []


class ClaimsDisk:
    """A disk without room for a claim, so many times."""

    def __init__(self, monkeypatch, failures):
        self.failures = failures
        real = os.open

        def opened(path, *args, **kwargs):
            if Path(path).parent.name == "claims" and self.failures:
                self.failures -= 1
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", opened)


def test_no_room_for_a_claim_for_a_while(uninterrupted, tmp_path, monkeypatch):
    """The stack is computed without, and claimed when there is room to write."""
    ClaimsDisk(monkeypatch, failures=1)
    report = execute(jobs(2), Store(tmp_path))
    assert report.complete
    assert list(report.unclaimed) == [tasks()[0].name]
    assert "No space left" in report.to_dict()["unclaimed"][tasks()[0].name]
    assert [(e["stack"], e["event"]) for e in log_of(tmp_path)] == [(tasks()[0].name, "not claimed")]
    assert list((tmp_path / "claims").iterdir()) == []
    pd.testing.assert_frame_equal(rows_of(tmp_path, 2), expect(uninterrupted, 2), check_exact=True)


def test_no_room_for_a_claim_to_the_end(tmp_path, monkeypatch):
    disk = ClaimsDisk(monkeypatch, failures=100)
    report = execute(jobs(2), Store(tmp_path))
    assert list(report.unwritten) == list(report.unclaimed) == [t.name for t in tasks(2)]
    assert not report.complete
    assert list((tmp_path / "results").iterdir()) == [], "nothing is written without a claim"
    disk.failures = 0
    assert len(execute(jobs(1), Store(tmp_path)).finished) == 1


def test_without_a_claim_nothing_is_written_over(tmp_path, monkeypatch):
    """Another process took the stack in the meantime: it is the one to write it."""
    with Store(tmp_path).claim(tasks()[0].name) as theirs:
        assert theirs
        ClaimsDisk(monkeypatch, failures=1)
        report = execute(jobs(1), Store(tmp_path))
    assert list(report.unwritten.values()) == ["another process works on it"]
    assert not Store(tmp_path).result_path(tasks()[0]).exists()


def test_another_error_of_the_disk_is_not_swallowed(tmp_path, monkeypatch):
    def write(path, mode="wb"):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(store, "atomic_write", write)
    with pytest.raises(OSError, match="Input/output"):
        execute(jobs(1), Store(tmp_path))


def test_a_loss_of_nan_is_a_failed_row(tmp_path):
    """β·MMD overflows float32: the loss is infinite in the first step."""
    (job,) = jobs(1, betas=(1.0, 1e39))
    report = execute([job], Store(tmp_path))
    assert (report.failed_models, report.complete) == (1, True)
    rows = read_results(tmp_path).set_index("beta")
    assert rows.loc[1.0, "failure"].isna().all()
    failed = rows.loc[1e39]
    assert failed["failure"].str.contains("step").all()
    assert len(failed) == 8
    assert failed[["auc_train", "auc_test", "mmd", "mean_log_density"]].isna().all(axis=None)
    assert [m is None for m in Store(tmp_path).models(job.task)] == [False, True]
    assert "failed" in (tmp_path / "log.jsonl").read_text()


def test_all_failed_models_are_counted(tmp_path, monkeypatch):
    """Those with a parameter that is not finite, too, as `--status` does."""
    real = runs.train_stack

    def spoilt(*args, **kwargs):
        first, *others = real(*args, **kwargs)
        flat = {name: np.full_like(value, np.nan) for name, value in first.model.parameters().items()}
        return [first._replace(model=SVAE.from_parameters(flat)), *others]

    monkeypatch.setattr(runs, "train_stack", spoilt)
    report = execute(jobs(1), Store(tmp_path))
    assert report.failed_models == 1
    assert runs.failed_models(read_results(tmp_path)) == {tasks()[0].name: 1}


def test_models_can_be_read_back(uninterrupted):
    folder, _ = uninterrupted
    (task, *_) = tasks()
    again = run_stack(task).models
    assert [m.digest() for m in Store(folder).models(task)] == [m.digest() for m in again]
    path = Store(folder).models_path(task)
    broken = path.with_name("broken.safetensors")
    broken.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelFileError):
        store.load_stack(broken)
    broken.unlink()


def test_a_model_does_not_depend_on_its_stack(uninterrupted):
    """One of the two alone: same seed, same model, same measures."""
    (whole, *_) = tasks()
    (alone, *_) = tasks(betas=(1.0,))
    assert alone.hash != whole.hash
    found = run_stack(alone).rows.drop(columns=[*TIMES, "stack"])
    known = uninterrupted[1]
    known = known[(known["stack"] == whole.name) & (known["beta"] == 1.0)].drop(columns="stack")
    pd.testing.assert_frame_equal(found, known.reset_index(drop=True), check_exact=True, check_dtype=False)


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BackendUnavailable, match=r"pyscore-anomaly\[dask\]"), cluster.local_cluster(2):
        pass


def test_the_command_on_a_scheduler_and_a_worker_of_their_own(tmp_path):
    """`dask scheduler`, `dask worker` and `pyscore reproduce --scheduler tcp://…`, as three programs."""
    pytest.importorskip("distributed")
    dask, where = [sys.executable, "-m", "dask"], tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    programs = [
        subprocess.Popen([*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", where], **quiet)
    ]
    try:
        while not where.exists():
            assert programs[0].poll() is None, "the scheduler ended"
            time.sleep(0.1)
        options = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", tmp_path / "scratch"]
        programs.append(subprocess.Popen([*dask, "worker", "--scheduler-file", where, *options], **quiet))
        address = json.loads(where.read_text())["address"]
        assert address.startswith("tcp://")
        command = [sys.executable, "-m", "pyscore", "reproduce", "-o", tmp_path / "out", "--datasets", "breast-cancer",
                   "--grid", "small", "--steps", "10", "--costly-rows", "0", "--disc-steps", "0", "--json"]  # fmt: skip
        there = subprocess.run([*command, "--scheduler", address], capture_output=True, text=True)
        assert there.returncode == 0, there.stderr
        assert json.loads(there.stdout)["finished"] == 2
    finally:
        for program in reversed(programs):
            program.terminate()
            program.wait()
    rows = read_results(tmp_path / "out")
    task = next(
        task
        for task in tasks_of(
            GRIDS["small"], ["breast-cancer"], [0], Options(steps=10, costly_rows=0, disc_steps=0)
        )
    )
    here = run_stack(task).rows
    sent = rows[rows["stack"] == task.name].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        sent.drop(columns=TIMES), here.drop(columns=TIMES), check_exact=True, check_dtype=False
    )


def test_no_scheduler():
    pytest.importorskip("distributed")
    with pytest.raises(ClusterError, match="no Dask scheduler"), cluster.connect("nonsense://nowhere"):
        pass


def test_options_are_part_of_the_hash():
    base = tasks(1)[0]
    other = tasks(1, options=tiny_runs.Options(steps=21, conventions=OPTIONS.conventions))[0]
    assert base.hash != other.hash
    assert base.name != other.name
