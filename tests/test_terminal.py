"""What the commands print: text of others shown and not obeyed, on every terminal; and no traceback."""

import io
import json
import os
import subprocess
import sys
import unicodedata
import zipfile

import numpy as np
import pandas as pd
import pytest
from command_line import run

from pyscore._core import net as _foreign
from pyscore._core import text as _text
from pyscore.bench import record
from pyscore.bench.record import Row
from pyscore.cli import net, output, progress, terminal
from pyscore.errors import InvalidInput

HOSTILE = [
    "\x1b[2Jcleared", "\x9b31mred", "\x1b]0;title\x07", "a\rb", "\u202eright to left", "\u2066isolate\u2069", "\x7f",
    "\x00nul", "\u2028line", "\ufeffmark", "\U000e0041tag", "new\nline", "[red]markup[/red]", "[/]", "\udc80half",
]  # fmt: skip
"""Names that a terminal, or rich, would obey."""


def obeyed(text):
    """Characters of a text that a terminal obeys, line breaks and tabs left out."""
    return {
        c
        for c in text
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n\t\u200c\u200d"
    }


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


@pytest.mark.parametrize("name", HOSTILE)
def test_text_is_shown_and_json_reads_back(name):
    assert not obeyed(_text.printable(name))
    assert not obeyed(_text.one_line(name))
    assert "\n" not in _text.one_line(name)
    for ascii_only in (False, True):
        text = _text.as_json({name: name}, ascii_only=ascii_only)
        assert not obeyed(text)
        assert json.loads(text) == {name: name}


@pytest.mark.parametrize("name", ["κ", "Größe", "温度", "می‌خواهم", "👩‍🔬", "a b"])
def test_names_of_all_languages_stay(name):
    assert _text.printable(name) == _text.one_line(name) == name


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("json_", [False, True])
def test_everything_that_prints_escapes(name, json_, capsys):
    output.emit({name: name, "list": [name]}, json=json_)
    if "\udc80" not in name:  # pandas itself takes no half of a pair
        output.print_frame(pd.DataFrame({name: [1.5], "b": [name]}), title=name, caption=name)
    terminal.print_error(name)
    terminal.print_note(name)
    terminal.show_warning(name, UserWarning, "f", 1)
    terminal.write(name)
    with progress.spinner(name) as say:
        say(name)
    with progress.training_progress(name) as callback:
        callback(20, 20, 1.0)
    with progress.file_progress(name, [name]) as advance:
        list(advance([name]))
    with progress.task_progress(name, 1, 1.0) as (update, _):
        update(1.0, 1, name)
    out = capsys.readouterr()
    assert not obeyed(out.out + out.err)
    assert "[red]" not in name or out.out.count("[red]markup[/red]") >= 4, "rich obeyed it"


NAMES = [f"{name}{i}" for i, name in enumerate(HOSTILE[:-1])]  # a file in UTF-8 holds no half of a pair


@pytest.fixture
def hostile_table(tmp_path, rng):
    frame = pd.DataFrame(rng.normal(size=(60, len(NAMES))), columns=NAMES)
    frame.assign(y=[0, 1] * 30).to_parquet(tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_names_of_columns_never_reach_the_terminal(hostile_table, tmp_path, capsys, json_):
    t, m = hostile_table, tmp_path / "m.safetensors"
    said = [run(capsys, "fit", t, "--label", "y", "--detector", "model", "--steps", "2", "-o", m, *json_)]
    other = tmp_path / "other.parquet"
    pd.DataFrame({"a": [1.0]}).to_parquet(other)
    for arguments in (["score", m, t], ["score", m, t, "--keep", NAMES[0]], ["explain", m, t, "--row", "3"], ["score", m, other],
                      ["evaluate", t, "--model", m, "--label", "y"], ["evaluate", t, "--model", m, "--label", NAMES[1]],
                      ["fit", t, "--label", "\x1b[31m"], ["score", "\x1b[31m", t], ["score", m, t, "--scores", "\x1b"],
                      ["score", m, t, "--sigma2", "\x1b[1m"], ["report", "\x9b"], ["bench", "merge", "\x1b", "-o", "\x1b"],
                      ["reproduce", "--status", "-o", "\x1b[2J"], ["data", "fetch", "\u202e"], ["\x1b[2J"]):  # fmt: skip
        said.append(run(capsys, *arguments, *([] if arguments[0] in ("report", "bench") else json_)))
    for status, out, err in said:
        assert status in (0, 2), err
        assert not obeyed(out + err)


def test_measurements_of_others_are_shown(tmp_path, capsys):
    rows = [Row("kernels", name, name, [1.0, 1.1], base=True, notes=name, unit=name) for name in NAMES]
    record.write(tmp_path / "a.json", record.describe(rows, "\x1b[31m", {"asked": 2}, not_measured=["\x1b[31m"]))
    record.write(tmp_path / "b.json", record.describe([Row("x\x1b", "w", "c", [1.0])], "c", {"asked": 2}))
    for arguments in (["compare", tmp_path / "a.json", tmp_path / "a.json"], ["table", tmp_path / "a.json"],
                      ["compare", tmp_path / "a.json", tmp_path / "a.json", "--json"],
                      ["merge", tmp_path / "a.json", tmp_path / "b.json", "-o", tmp_path / "c.json"]):  # fmt: skip
        status, out, err = run(capsys, "bench", *arguments)
        assert status == 0, err
        assert not obeyed(out + err)


# ── encodings ──

ENVIRONMENTS = [
    {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "C"}, {"TERM": "dumb", "NO_COLOR": "1"},
]  # fmt: skip


def program(arguments, environment):
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONIOENCODING", "PYTHONUTF8")}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        env={**kept, "COLUMNS": "200", **environment},
    )


SAY = """
import pandas as pd
from pyscore.cli import output, progress, terminal
from pyscore.cli.app import app, main
from pyscore.errors import InvalidInput
def shown(self, *a, **k):
    output.emit({"κ": "5 ± σ² …"}, json=False); output.emit({"κ": "温"}, json=True)
    output.print_frame(pd.DataFrame({"κ": [float("nan")], "b": ["温"]}), title="– β", caption="μ")
    terminal.write("μ – ν")
    with progress.spinner("…") as say: say("κ")
    with progress.training_progress("κ") as callback: callback(20, 20, 1.0)
    raise InvalidInput("`κ` – wrong")
type(app).__call__ = shown
main([])
"""


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_terminals_that_lack_characters(environment, tmp_path):
    (tmp_path / "say.py").write_text(SAY, encoding="utf-8")
    done = program([tmp_path / "say.py"], environment)
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"wrong" in done.stderr
    if environment.get("PYTHONIOENCODING", "").startswith("ascii"):
        text = done.stdout.decode("ascii")
        assert "5 +- \\u03c3^2 ..." in text
        assert json.loads(text[text.index("{") : text.index("}") + 1]) == {"κ": "温"}
        assert "\\u6e29" in text
        done.stderr.decode("ascii")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["score", "--help"], ["reproduce", "--help"], ["bench", "--help"]]
)
def test_help_on_an_ascii_terminal(arguments):
    done = program(["-m", "pyscore", *arguments], {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert b"+---" in done.stdout, "boxes are drawn in ASCII"


# ── the net ──


def failing(error):
    def call(*args, **kwargs):
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InvalidInput("x\x1b"), 2, "error: x\\x1b"),
        (FileNotFoundError(2, "No such file", "f\x1b"), 2, "error: No such file: f\\x1b"),
        (MemoryError(), 2, "error: there is not enough memory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), 2, "error: 'utf-8' codec can't decode byte 0xff"),
        (TypeError("ours\nsecond"), net.CRASH, "error: pyscore crashed: TypeError: ours\nnote: This is a fault of pyscore. Please report"),
        (AssertionError(), net.CRASH, "error: pyscore crashed: AssertionError: AssertionError\n"),
        (RecursionError("deep"), net.CRASH, "error: pyscore crashed: RecursionError: deep\n"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)  # fmt: skip
def test_what_is_said_of_an_error(error, status, said, capsys, monkeypatch):
    monkeypatch.setattr("pyscore.cli.doctor.facts", failing(error))
    got, _, err = run(capsys, "doctor")
    assert got == status
    assert err.startswith(said)
    assert "Traceback" not in err
    assert len(err.splitlines()) == (2 if status == net.CRASH else 1)
    got, _, err = run(capsys, "doctor", "--debug")
    assert got == status
    assert err.startswith("Traceback")
    assert not obeyed(err)


def test_debug_by_the_environment(capsys, monkeypatch):
    monkeypatch.setattr("pyscore.cli.doctor.facts", failing(TypeError("x")))
    monkeypatch.setenv("PYSCORE_DEBUG", "1")
    assert "Traceback" in run(capsys, "doctor")[2]


def damaged_zip():
    zipfile.ZipFile(io.BytesIO(b"PK"))


def parquet(data):
    import pyarrow.parquet as pq

    pq.read_table(io.BytesIO(data))


def arrow_type():
    import pyarrow as pa

    pa.array([1, "a"])


def safetensors_file():
    from safetensors.numpy import load

    load(b"\xff" * 20)


def lazy_polars():
    import polars as pl

    pl.DataFrame({"a": [1]}).select("b")


def narwhals_frame():
    import narwhals as nw

    nw.from_native(pd.DataFrame({"a": [1]})).select("b")


def expat():
    from xml.parsers.expat import ParserCreate

    ParserCreate().Parse("<a", True)


def element_tree():
    from xml.etree.ElementTree import fromstring

    fromstring("<a")


def packed(module, data):
    import importlib

    importlib.import_module(module).decompress(data)


def csv_nul():
    import csv

    csv.field_size_limit(10)
    try:
        list(csv.reader(["a" * 50]))
    finally:
        csv.field_size_limit(131072)


CAUSES = [
    ("builtins", lambda: b"\xff".decode()), ("json", lambda: json.loads("{")), ("zipfile", damaged_zip), ("csv", csv_nul),
    ("pyarrow.lib", lambda: parquet(b"PAR1")), ("pyarrow.lib", arrow_type), ("safetensors", safetensors_file),
    ("pandas.errors", lambda: pd.read_csv(io.StringIO(""))), ("pandas.errors", lambda: pd.read_csv(io.StringIO("a\n1\n1,2,3\n"))),
    ("pandas.errors", lambda: pd.to_datetime([1e30], unit="s")), ("pandas.errors", lambda: pd.DataFrame({"a": [1]}).query("b > 1")),
    ("polars.exceptions", lazy_polars), ("narwhals.exceptions", narwhals_frame), ("xml.parsers.expat", expat),
    ("xml.etree.ElementTree", element_tree), ("zlib", lambda: packed("zlib", b"no")), ("lzma", lambda: packed("lzma", b"no")),
]  # fmt: skip


@pytest.mark.parametrize(("library", "cause"), CAUSES)
def test_what_libraries_raise_is_in_the_list(library, cause):
    with pytest.raises(InvalidInput, match="cannot read 't'") as caught, _foreign.as_invalid("cannot read 't'"):
        cause()
    raised = type(caught.value.__cause__)
    own = [getattr(sys.modules[library], name, None) for name in _foreign.FOREIGN[library]]
    assert issubclass(raised, tuple(each for each in own if each is not None))


def test_every_library_of_the_list_has_a_cause():
    assert {library for library, _ in CAUSES} == set(_foreign.FOREIGN)


def test_the_net_lets_faults_of_our_own_through():
    for error in (TypeError("x"), ValueError("x"), KeyError("x"), np.linalg.LinAlgError("x"), RuntimeError("x")):
        with pytest.raises(type(error)), _foreign.as_invalid("cannot read"):
            raise error
    with (
        pytest.raises(InvalidInput, match="cannot read: x"),
        _foreign.as_invalid("cannot read", KeyError, ValueError),
    ):
        raise ValueError("x")
