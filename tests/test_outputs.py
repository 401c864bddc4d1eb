"""An output is never an input, and what is wrong with it is said before the work begins; for every command."""

import os
import shutil
import stat

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import run
from stream_runs import scores_of, small, table, write

from pyscore._core.output_guard import check_folder, check_output
from pyscore.errors import InvalidInput, WriteError
from pyscore.scoring import stream as streaming
from pyscore.scoring.stream import score_files


@pytest.fixture
def place(tmp_path):
    """A model, a table in every form, and every way to name it."""
    small().save(tmp_path / "m.safetensors")
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "t.parquet", table(60))
    table(60).to_pandas()[["a", "b", "c"]].to_csv(tmp_path / "in" / "t.csv", index=False)
    (tmp_path / "link.parquet").symlink_to(tmp_path / "in" / "t.parquet")
    os.link(tmp_path / "in" / "t.parquet", tmp_path / "hard.parquet")
    (tmp_path / "folder").symlink_to(tmp_path / "in")
    return tmp_path


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refuses(capsys, place, *arguments, says):
    before = contents(place)
    status, out, err = run(capsys, *arguments)
    assert status == 2, out + err
    err = " ".join(err.split())
    for text in (says,) if isinstance(says, str) else says:
        assert text in err
    assert contents(place) == before
    return err


# ── an output that is an input ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("in/t.parquet", "in/t.parquet"),
        ("in/t.parquet", "in/../in/t.parquet"),
        ("in/t.parquet", "folder/t.parquet"),
        ("in/t.parquet", "link.parquet"),
        ("link.parquet", "in/t.parquet"),
        ("in/t.parquet", "hard.parquet"),
        ("hard.parquet", "link.parquet"),
        ("in/*.parquet", "in/t.parquet"),
        ("in/*.parquet", "hard.parquet"),
        ("folder", "in/t.csv"),
        ("in", "in/t.parquet"),
        ("in/", "link.parquet"),
        ("in/t.csv", "in/t.csv"),
    ],
)
def test_score_does_not_replace_its_input(place, capsys, monkeypatch, source, output):
    monkeypatch.chdir(place)
    monkeypatch.setattr(streaming, "inspect_all", lambda *_: pytest.fail("something was read"))
    err = refuses(capsys, place, "score", "m.safetensors", source, "-o", output, says="Name another output")
    assert f"the output '{output}' is the input '" in err


def test_the_library_does_not_either(place):
    with pytest.raises(
        InvalidInput, match=r"the output '.*hard.parquet' is the input '.*t.parquet': the same file"
    ):
        score_files(small(), place / "in", place / "hard.parquet")


@pytest.mark.parametrize("output", ["in/t.csv", "link.csv", "hard.csv"])
def test_fit_and_explain_do_not_replace_their_input(place, capsys, output, monkeypatch):
    monkeypatch.chdir(place)
    (place / "link.csv").symlink_to(place / "in" / "t.csv")
    os.link(place / "in" / "t.csv", place / "hard.csv")
    for more in (["-o", output], ["--checkpoint", output]):
        refuses(
            capsys,
            place,
            "fit",
            "in/t.csv",
            "--detector",
            "model",
            "--steps",
            2,
            *more,
            says=f"the output '{output}' is the input",
        )
    explain = ["explain", "m.safetensors", "in/t.csv", "--row", 0, "-o", output]
    refuses(capsys, place, *explain, says=f"the output '{output}' is the input")


def test_a_model_is_an_input_too(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    shutil.copy("m.safetensors", "m.parquet")
    says = "the output 'm.parquet' is the input 'm.parquet'"
    refuses(capsys, place, "score", "m.parquet", "in/t.parquet", "-o", "m.parquet", says=says)
    refuses(capsys, place, "explain", "m.parquet", "in/t.csv", "--row", 0, "-o", "m.parquet", says=says)


def test_the_other_commands(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    os.mkdir("results")
    (place / "results" / "table.md").write_text("x")
    (place / "page.html").symlink_to("results/table.md")
    refuses(capsys, place, "report", "results", "-o", "page.html", says="is the input")
    refuses(capsys, place, "report", "results", "-o", "results/table.md", says="must end in .html")
    (place / "b.json").write_text("{}")
    refuses(capsys, place, "bench", "merge", "b.json", "b.json", "-o", "b.json", says="is the input 'b.json'")
    refuses(capsys, place, "bench", "table", "b.json", "--update", "b.json", says="is the input 'b.json'")
    os.makedirs("run/results")
    (place / "run" / "results" / "x.md").write_text("x")
    refuses(capsys, place, "results", "run", "-o", "run/results/x.md", "--tables", "t", says="is the input")
    refuses(
        capsys, place, "results", "run", "-o", "p.md", "--tables", "run/results", says="must not go into the run"
    )
    refuses(capsys, place, "results", "run", "-o", "p.txt", "--tables", "t", says="must end in .md")
    same = ["fit", "in/t.csv", "--detector", "model", "-o", "x.safetensors", "--checkpoint", "./x.safetensors"]
    refuses(capsys, place, *same, says="the model and the checkpoint must be two files")


# ── a result in the folder of the input ──────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("keep", [(), ("id",), ("a", "b", "c")])
@pytest.mark.parametrize("name", ["in/scores.parquet", "in/scores.arrow", "in/scores.csv", "in/scores/"])
def test_a_result_inside_the_input_folder_is_no_input(tmp_path, name, keep):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "t.parquet", table(300))
    keep = keep if name != "in/scores.csv" else keep[:2]  # a text has no other sign of a result than its columns
    for _ in range(2):
        if name.endswith("/"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        assert score_files(small(), tmp_path / "in", f"{tmp_path}/{name}", keep=keep).rows == 300
    for other in ("in/more.parquet", "in/more.csv"):
        assert score_files(small(), tmp_path / "in", tmp_path / other, ["prior"]).rows == 300


def test_a_text_with_all_features_and_scores_is_refused_rather_than_replaced(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "t.parquet", table(300))
    target = tmp_path / "in" / "scores.csv"
    score_files(small(), tmp_path / "in", target, keep=["a", "b", "c"])
    with pytest.raises(InvalidInput, match=r"the output '.*scores.csv' is the input"):
        score_files(small(), tmp_path / "in", target, keep=["a", "b", "c"])


@pytest.mark.filterwarnings("always::pyscore.data.read_options.TableNote")
def test_it_is_said_what_was_left_out(place, capsys):
    os.unlink(place / "in" / "t.csv")
    for _ in range(2):
        status, _, err = run(capsys, "score", place / "m.safetensors", place / "in", "-o", place / "in/s.parquet")
        assert status == 0
        assert pq.read_metadata(place / "in" / "s.parquet").num_rows == 60
    assert "s.parquet' left out: results of `pyscore score`" in " ".join(err.split())


@pytest.mark.filterwarnings("ignore:.*left out")
def test_results_that_are_named_are_read(tmp_path):
    """A file that is named, or a folder of results alone, is what is meant."""
    write(tmp_path / "t.parquet", table(300))
    score_files(small(), tmp_path / "t.parquet", f"{tmp_path}/kept/", keep=["a", "b", "c"])
    score_files(small(), tmp_path / "t.parquet", tmp_path / "kept.parquet", keep=["a", "b", "c"])
    for source in (tmp_path / "kept", tmp_path / "kept.parquet"):
        score_files(small(), source, tmp_path / "again.parquet")
        np.testing.assert_array_equal(scores_of(tmp_path / "again.parquet"), scores_of(source))


# ── what cannot be written ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("missing/m.safetensors", "There is no folder"),
        ("in", "It is a folder"),
        ("m.parquet", "must not end in .parquet"),
        ("m.csv", "must not end in .csv"),
        ("pipe", "a device or a pipe"),
        ("loop", "leads back to itself"),
        ("/proc/m.safetensors", "cannot write '/proc/m.safetensors'"),
        ("m.safetensors/m.safetensors", "There is no folder"),
    ],
)
@pytest.mark.parametrize("option", ["-o", "--checkpoint"])
def test_fit_says_it_before_the_training(place, capsys, monkeypatch, output, says, option):
    monkeypatch.chdir(place)
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    monkeypatch.setattr("pyscore.scoring.fitted.fit", lambda *_, **__: pytest.fail("it was trained"))
    monkeypatch.setattr("pyscore.data.tables.read_rows", lambda *_, **__: pytest.fail("it was read"))
    before = {p for p in place.rglob("*")}
    status, _, err = run(capsys, "fit", "in/t.csv", option, output)
    assert (status, says in " ".join(err.split())) == (2, True), err
    assert {p for p in place.rglob("*")} == before


@pytest.mark.parametrize(
    "command",
    [
        ["explain", "m.safetensors", "in/t.csv", "--row", 0, "-o"],
        ["verify", "--json"],
        ["bench", "kernels", "--json"],
        ["bench", "merge", "b.json", "-o"],
        ["report", "in", "-o"],
        ["score", "m.safetensors", "in/t.parquet", "-o"],
        ["results", "in", "--tables", "t", "-o"],
    ],
)
def test_a_folder_that_is_not_there_or_not_writable(place, capsys, monkeypatch, command):
    monkeypatch.chdir(place)
    suffix = {"explain": "csv", "report": "html", "score": "parquet", "results": "md"}.get(command[0], "json")
    for module in (
        "explain.FittedModel",
        "verify.verify_backends",
        "bench._run_here",
        "bench.read",
        "report.write_report",
    ):
        monkeypatch.setattr(f"pyscore.cli.{module}", lambda *_, **__: pytest.fail("work began"))
    status, _, err = run(capsys, *command, f"/proc/x.{suffix}")
    where = "/proc" if command[0] == "results" else f"/proc/x.{suffix}"
    assert (status, f"cannot write '{where}'" in " ".join(err.split())) == (2, True), err
    if command[0] != "results":  # whose folder is made
        status, _, err = run(capsys, *command, f"none/x.{suffix}")
        assert (status, "There is no folder" in " ".join(err.split())) == (2, True), err


@pytest.mark.parametrize(
    "command", [["demo", "--output-dir"], ["unreliable", "-o"], ["reproduce", "--datasets", "breast-cancer", "-o"]]
)
def test_a_folder_that_is_a_file(place, capsys, monkeypatch, command):
    monkeypatch.chdir(place)
    status, _, err = run(capsys, *command, "in/t.csv")
    assert (status, "cannot write 'in/t.csv'" in " ".join(err.split())) == (2, True), err


def test_a_page_without_markers_is_named_before_the_search(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr("pyscore.cli.unreliable.run_part", lambda *_: pytest.fail("work began"))
    (place / "page.md").write_text("x")
    for page, says in {"page.md": "must have one line", "none.md": "there is no"}.items():
        status, _, err = run(capsys, "unreliable", "linear", "-o", "u", "--page", page)
        assert (status, says in " ".join(err.split())) == (2, True), err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file(tmp_path):
    (tmp_path / "x").touch(mode=0o400)
    with pytest.raises(WriteError, match="it is read-only"):
        check_output(tmp_path / "x")


def test_a_check_leaves_nothing(tmp_path, monkeypatch):
    check_output(tmp_path / "x.json")
    check_folder(tmp_path / "new" / "deep")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["new", "new/deep"]

    def refuse(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WriteError, match=r"cannot write '.*x.json': No space left on device"):
        check_output(tmp_path / "x.json")


def test_private_outputs_stay_private(place, capsys, monkeypatch):
    """The table of `explain`, the model of `fit`, a figure: permissions of the file that was there."""
    monkeypatch.chdir(place)
    for name in ("e.csv", "e.svg", "n.safetensors"):
        (place / name).touch(mode=0o600)
        (place / name).chmod(0o600)
    for name in ("e.csv", "e.svg"):
        assert run(capsys, "explain", "m.safetensors", "in/t.csv", "--row", 0, "-o", name)[0] == 0
    assert (
        run(
            capsys,
            "fit",
            "in/t.csv",
            "--detector",
            "model",
            "--steps",
            2,
            "-o",
            "n.safetensors",
            "--hidden-dim",
            4,
        )[0]
        == 0
    )
    for name in ("e.csv", "e.svg", "n.safetensors"):
        assert (place / name).stat().st_size > 0
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o600
    assert pd.read_csv(place / "e.csv").shape[0] == 3
