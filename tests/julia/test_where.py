"""A Julia that does not run: found out by starting it once, and said so by `doctor` and `verify`."""

import json
import os
import subprocess
import sys

import pytest

from pyscore.backends import _julia_where as where

ENDS = "#!/bin/sh\necho it is broken >&2\nexit 3\n"
OLD = "#!/bin/sh\nprintf '1.0.5\\0/lib\\0/bin\\0'\n"
OTHER = "#!/bin/sh\necho hello\n"
GOOD = "#!/bin/sh\necho x >> \"$0.started\"\nprintf '1.10.4\\0/lib/libjulia.so\\0/bin\\0'\n"


def script(folder, text, name="julia"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ENDS, "ended with status 3 when started; it printed: it is broken"),
        (OLD, "is Julia 1.0.5; it must be 1.5 or newer"),
        (OTHER, "is no Julia: asked for its version, it printed 'hello"),
        ("#!/nowhere/sh\n", "cannot be started"),
    ],
)
def test_one_that_does_not_run(tmp_path, text, said):
    assert said in where.examine(script(tmp_path, text)).trouble


def test_one_that_is_not_there():
    assert where.examine("/nowhere/julia").trouble == "there is no executable '/nowhere/julia'"
    assert where.known("/nowhere/julia") is None


def test_it_is_started_once_until_the_file_changes(tmp_path):
    path = script(tmp_path / "a folder", GOOD)
    assert where.known(path) is None
    for _ in range(3):
        found = where.examine(path)
    assert found == where.Julia(path, "1.10.4", "/lib/libjulia.so", "/bin", None)
    assert where.known(path) == found
    assert (tmp_path / "a folder" / "julia.started").read_text().count("x") == 1
    script(tmp_path / "a folder", ENDS)
    os.utime(path, ns=(1, 1))
    assert "status 3" in where.examine(path).trouble


def test_one_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(where, "PROBE_SECONDS", 0.3)
    assert "did not answer within 0.3 s" in where.examine(script(tmp_path, "#!/bin/sh\nexec sleep 1e4\n")).trouble


def pyscore(*arguments, path=None, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON_JULIA", "JULIA"))}
    clean |= environment | ({} if path is None else {"PATH": path})
    return subprocess.run(
        [sys.executable, "-m", "pyscore", *arguments], env=clean, capture_output=True, text=True, check=False
    )


def broken(tmp_path, case):
    if case == "exits 3":
        script(tmp_path / "bin", ENDS)
        return {"path": f"{tmp_path / 'bin'}:/usr/bin:/bin", "PYTHON_JULIAPKG_PROJECT": str(tmp_path / "none")}
    names = {"PYTHON_JULIACALL_EXE": "/nowhere/julia", "PYTHON_JULIACALL_PROJECT": str(tmp_path)}
    if case == "one of two":
        del names["PYTHON_JULIACALL_PROJECT"]
    return names


CASES = [
    ("exits 3", "ended with status 3"),
    ("not there", "PYTHON_JULIACALL_EXE: there is no executable '/nowhere/julia'"),
    ("one of two", "must be set both or none"),
]


@pytest.mark.parametrize(("case", "said"), CASES)
def test_doctor_says_so(tmp_path, case, said):
    result = pyscore("doctor", "--json", **broken(tmp_path, case))
    assert said in json.loads(result.stdout)["backends"]["julia"], result.stdout + result.stderr


@pytest.mark.parametrize(("case", "said"), CASES)
def test_verify_says_so_without_a_traceback(tmp_path, case, said):
    asked = pyscore(
        "verify", "--backends", "julia", "--dtype", "float64", "--seeds", "1", **broken(tmp_path, case)
    )
    text = " ".join((asked.stdout + asked.stderr).split())
    assert asked.returncode not in (0, -6, -11)
    assert said in text
    assert "Traceback" not in text


def test_a_resolved_environment_whose_julia_is_gone(tmp_path, monkeypatch):
    pytest.importorskip("juliapkg")
    from juliapkg.state import STATE

    for name in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    meta = tmp_path / "meta.json"
    meta.write_text('{"executable": "/nowhere/julia"}')
    monkeypatch.setitem(STATE, "meta", str(meta))
    assert where.why_not_juliacall() == "there is no executable '/nowhere/julia'"
    meta.write_text("{")
    assert where.why_not_juliacall() == "juliapkg has resolved no Julia yet"


def test_a_juliacall_that_ignores_the_executable_is_refused(monkeypatch):
    monkeypatch.setattr(where, "_juliacall_version", lambda: (0, 9, 27))
    monkeypatch.setattr(where.importlib.util, "find_spec", lambda name: object())
    assert where.why_not_juliacall() == "juliacall 0.9.27 is too old, it must be 0.9.28 or newer"
