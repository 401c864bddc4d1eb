"""Disks that fail and processes that are killed, at any call that writes: see faults/; docs/reliability.md has the counts.

Here every seventh call or so and a few kills; the whole is run by hand.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parent / "faults"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-O1", "-o", library, FAULTS / "faults.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def script(name, *arguments, **environment):
    return subprocess.run(
        [sys.executable, FAULTS / name, *map(str, arguments)], capture_output=True, text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "2", **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("what", "stride"), [("score", 7), ("score-folder", 7), ("score-csv", 13), ("fit", 3), ("reproduce", 11)]
)
def test_the_nth_call_that_writes_fails(tmp_path, shim, what, stride):
    out = tmp_path / "out"
    done = script("fault_runs.py", what, out, stride, LD_PRELOAD=str(shim), FAULTS_BELOW=str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["outcomes"]
    assert "FAULT" not in {how for counts in found.values() for how in counts}, done.stderr
    assert found["full disk"]["error"] >= 2
    assert set(found["short writes"]) == {"done"}


@pytest.mark.parametrize("what", ["score", "csv", "folder", "reproduce"])
def test_runs_that_are_killed(tmp_path, what):
    done = script("kills.py", what, tmp_path / "out", 4)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts.get("killed, no result yet", 0) + counts.get("killed, result there", 0) == 4
