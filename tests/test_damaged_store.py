"""The folder of an experiment with damaged files, a manifest that is held, a selection that has changed."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from command_line import run
from tiny_runs import jobs, tasks

from pyscore.errors import InvalidInput, WriteError
from pyscore.experiment import store as stores
from pyscore.experiment.ablation import selected_models
from pyscore.experiment.jobs import Job, Rescore
from pyscore.experiment.schedule import execute
from pyscore.experiment.store import Store, read_results


@pytest.fixture
def folder(tmp_path):
    execute(jobs(2), Store(tmp_path / "out"))
    return tmp_path / "out"


def truncated(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


DAMAGE = {
    "truncated": truncated,
    "empty": lambda data: b"",
    "a flipped bit in a page": flipped,
    "a flipped bit in the footer": lambda data: data[:-2000] + bytes([data[-2000] ^ 1]) + data[-1999:],
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_result_is_moved_aside_and_made_again(folder, capsys, damage):
    path = Store(folder).result_path(tasks()[0])
    before = pd.read_parquet(path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert Job(tasks()[0]).damage(Store(folder))[0] == path
    with pytest.raises(InvalidInput, match=rf"{tasks()[0].name}.parquet' is damaged: .*reproduce.*makes it again"):
        read_results(folder)
    report = execute(jobs(2), Store(folder))
    assert (report.finished, report.skipped) == ([tasks()[0].name], [tasks()[1].name])
    assert "was damaged" in report.to_dict()["damaged"][tasks()[0].name]
    same = before.columns.difference(["seconds_train", "seconds_score"])
    pd.testing.assert_frame_equal(pd.read_parquet(path)[same], before[same])
    assert path.with_name(f"{path.name}.damaged").exists()
    assert execute(jobs(2), Store(folder)).finished == []
    events = [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert events == ["set aside"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "zeros"])
def test_damaged_models_are_trained_again_with_their_rows(folder, damage, monkeypatch):
    store, task = Store(folder), tasks()[0]
    path = store.models_path(task)
    before = path.read_bytes()
    path.write_bytes(DAMAGE[damage](before))
    with monkeypatch.context() as patch:  # killed after it was moved aside …
        patch.setattr(Job, "work", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            execute(jobs(2), store)
    report = execute(jobs(2), store)  # … the rows without models must not count as finished
    assert report.finished == [task.name]
    assert path.read_bytes() == before


def test_models_damaged_in_one_bit_end_their_own_job_and_no_other(folder):
    store = Store(folder)
    path = store.models_path(tasks()[0])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    report = execute([Rescore(task) for task in tasks(2)], store)
    assert report.finished == [f"rescored-{tasks()[1].name}"]
    assert "its checksum does not match" in report.broken[f"rescored-{tasks()[0].name}"]
    assert not report.complete


def test_the_system_refusing_a_read_is_no_damage(folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(stores.pq, "ParquetFile", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        execute(jobs(2), Store(folder))
    assert not list(folder.rglob("*.damaged"))


def test_status_of_a_folder_with_a_damaged_file(tmp_path, capsys, monkeypatch):
    arguments = ["reproduce", "-o", tmp_path / "o", "--datasets", "breast-cancer", "--grid", "small", "--steps", 3]
    monkeypatch.setattr("pyscore.cli.reproduce.tasks_of", lambda *_: tasks(2))
    arguments += ["--costly-rows", 0, "--disc-steps", 0, "--json"]
    status, out, err = run(capsys, *arguments)
    assert status == 0, err
    assert json.loads(out)["finished"] == 2
    path = Store(tmp_path / "o").result_path(tasks()[0])
    path.write_bytes(truncated(path.read_bytes()))
    status, out, _ = run(capsys, "reproduce", "-o", tmp_path / "o", "--status", "--json")
    row = json.loads(out)["rows"][0]
    assert (status, row["done"], row["missing"], row["damaged"]) == (0, 1, 1, 1)
    status, out, _ = run(capsys, *arguments)
    assert (status, list(json.loads(out)["damaged"])) == (0, [tasks()[0].name])


def test_a_damaged_baseline_is_made_again(tmp_path):
    from pyscore.experiment.baseline_runs import write_baselines

    store = Store(tmp_path)
    assert write_baselines(tasks()[0], store)
    assert not write_baselines(tasks()[0], store)
    path = next((tmp_path / "baselines").iterdir())
    before = path.read_bytes()
    path.write_bytes(truncated(before))
    assert write_baselines(tasks()[0], store)
    assert path.read_bytes() == before


# ── the selection ────────────────────────────────────────────────────────────────────────────────────────


def test_a_rescored_stack_is_unfinished_when_a_later_stack_changes_its_selection(folder):
    store = Store(folder)

    def rescoring(task):
        rows = read_results(folder)
        fitted = frozenset(selected_models(rows)) & set(rows[rows["stack"] == task.name]["config_hash"])
        return Rescore(task, fitted, frozenset())

    one = rescoring(tasks()[0])
    assert execute([one], store).finished == [one.name]
    assert execute([one], store).skipped == [one.name]
    other = Rescore(tasks()[0], one.fitted ^ {read_results(folder)["config_hash"].iloc[0]}, one.dear)
    assert execute([other], store).finished == [one.name]
    assert execute([other], store).skipped == [one.name]
    assert execute([one], store).finished == [one.name]


def test_rescored_rows_of_a_version_that_did_not_say_their_selection_are_unfinished(folder):
    store, job = Store(folder), Rescore(tasks()[0])
    execute([job], store)
    rows = pd.read_parquet(job.path(store))
    stores.write_rows(job.path(store), rows, stores.pq.read_schema(job.path(store)).remove_metadata())
    assert execute([job], store).finished == [job.name]


# ── the manifest ─────────────────────────────────────────────────────────────────────────────────────────


HOLDER = """if True:
    import sys, time
    from pyscore.experiment.store import Store
    with Store(sys.argv[1])._manifest():
        print("held", flush=True)
        time.sleep(100)
"""


def test_a_manifest_held_by_a_stopped_process(tmp_path, monkeypatch):
    """It is said who holds it; the wait ends."""
    monkeypatch.setattr(stores, "SAY_AFTER", 0.2)
    monkeypatch.setattr(stores, "GIVE_UP_AFTER", 0.6)
    said = []
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "held\n"
            os.kill(child.pid, signal.SIGSTOP)
            store = Store(tmp_path, tell=said.append)
            with pytest.raises(WriteError, match=rf"held for 1 seconds by process {child.pid} on .*kill -CONT"):
                store.add_run("a", {})
            assert len(said) == 1
            assert f"waiting for the manifest of '{tmp_path}', held by process {child.pid} on " in said[0]
        finally:
            child.kill()
    store.add_run("a", {})


def test_a_manifest_that_is_given_back_is_waited_for(tmp_path):
    store, other = Store(tmp_path), Store(tmp_path)
    held = other.try_claim("manifest")
    import threading

    timer = threading.Timer(0.3, lambda: other.release("manifest", held))
    began = time.monotonic()
    timer.start()
    store.add_run("a", {})
    assert time.monotonic() - began >= 0.3
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"runs": {"a": {}}}
    timer.join()
    assert os.listdir(tmp_path / "claims") == []


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"runs":' * 50_000, "{", "", "3", '{"runs": 3}', '{"runs": {"a": 3}}', '{"runs": {"a": {}}}',
     '{"runs": {"a": {"options": {"steps": "x"}, "grid": {"name": 1}, "datasets": [], "stacks": []}}}', "\udcff"],
)  # fmt: skip
def test_a_damaged_manifest_is_named(tmp_path, capsys, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    for more in (["--status"], ["--datasets", "breast-cancer"]):
        status, _, err = run(capsys, "reproduce", "-o", tmp_path, *more)
        assert status == 2
        assert "manifest.json' is not a manifest of pyscore reproduce, or it is damaged" in err.replace("\n", " ")


def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "manifest.json")
    status, _, err = run(capsys, "reproduce", "-o", tmp_path, "--datasets", "breast-cancer")
    assert (status, "is not a manifest" in err.replace("\n", " ")) == (2, True)


def test_a_claim_does_not_outlive_its_process_in_a_forked_child(tmp_path):
    """A child that a holder has forked, by multiprocessing say, has the handle, too."""
    code = """if True:
        import os, sys, time
        from pyscore.experiment.store import Store
        held = Store(sys.argv[1]).try_claim("x")
        if os.fork() == 0:
            print("forked", flush=True)
            time.sleep(60)
            os._exit(0)
        time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True,
                          start_new_session=True) as parent:  # fmt: skip
        try:
            assert parent.stdout.readline() == "forked\n"
            store = Store(tmp_path)
            assert store.try_claim("x") is None
            parent.kill()
            parent.wait()
            held = store.try_claim("x")
            assert held is not None
            store.release("x", held)
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


# ── no room ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["file", "file/deeper", "plain/results"])
def test_a_folder_that_cannot_be_made(tmp_path, capsys, where):
    (tmp_path / "file").write_text("x")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "results").write_text("x")
    output = tmp_path / ("plain" if where == "plain/results" else where)
    before = sorted(map(str, tmp_path.rglob("*")))
    status, _, err = run(capsys, "reproduce", "-o", output, "--datasets", "breast-cancer")
    assert (status, "cannot write" in err) == (2, True)
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_the_log_goes_on_after_a_line_that_was_cut_off(tmp_path):
    store = Store(tmp_path)
    store.log({"event": "a"})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "b')
    store.log({"event": "c"})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(lines[i])["event"] for i in (0, 2)] == ["a", "c"]
    assert len(lines) == 3
