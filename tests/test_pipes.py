"""Commands whose stdout or stderr is closed, full or read by nobody: quiet, and with one status."""

import os
import subprocess
import sys

import pytest
from stream_runs import small, table, write


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipes")
    small().save(folder / "m.safetensors")
    write(folder / "t.parquet", table(3000))
    return folder


def shell(folder, command):
    program = f"{sys.executable} -m pyscore"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("pyscore", program)], cwd=folder, capture_output=True,
        text=True, env={**os.environ, "NUMBA_NUM_THREADS": "2"},
    )  # fmt: skip


SCORE = "pyscore score m.safetensors t.parquet --threads 2"


@pytest.mark.parametrize(
    "command", [f"{SCORE} | head -1", f"{SCORE} --json | head -1", f"{SCORE} --json | true", "pyscore --help | true",
                "pyscore doctor --json | true"],
)  # fmt: skip
def test_a_reader_that_goes_away(files, command):
    for _ in range(3):
        done = shell(files, command)
        assert done.returncode == 0, done.stderr
        assert not {"Traceback", "Broken", "Exception", "error"} & set(done.stderr.replace(":", " ").split())


def test_a_failure_stays_one_when_nobody_reads(files):
    done = shell(files, f"{SCORE} --scores nonsense | true")
    assert done.returncode == 2


@pytest.mark.parametrize("command", [SCORE, f"{SCORE} --json", "pyscore doctor --json"])
def test_a_full_disk_behind_stdout(files, command):
    done = shell(files, f"{command} > /dev/full")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_closed_streams(files):
    assert shell(files, f"{SCORE} >&-").returncode == 0
    done = shell(files, f"{SCORE} -o o.parquet 2>&-")
    assert (done.returncode, (files / "o.parquet").exists()) == (0, True)
    assert shell(files, f"{SCORE} -o o2.parquet 2>&1 | true").returncode == 0
    assert (files / "o2.parquet").exists()


INTERRUPTED = """if True:
    import signal, sys, time
    from pyscore.cli.app import main
    from pyscore.scoring import stream
    stream.PART_ROWS = 1024
    scored, count = stream.Scorer.__call__, 0
    def interrupted(self, block):
        global count
        count += 1
        if count > int(sys.argv[1]):
            signal.raise_signal(signal.SIGINT)
        return scored(self, block)
    stream.Scorer.__call__ = interrupted
    stream.BLOCK_BYTES = 8 * 3 * 1024
    main(sys.argv[2:])
"""


@pytest.mark.parametrize(("blocks", "says"), [(2, "the same command goes on from there"), (0, "No file is left")])
def test_ctrl_c_says_whether_the_run_can_go_on(files, blocks, says):
    target = files / f"stopped{blocks}.parquet"
    arguments = ["score", files / "m.safetensors", files / "t.parquet", "-o", target, "--threads", "1"]
    command = [sys.executable, "-c", INTERRUPTED, str(blocks), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 130
    assert says in " ".join(done.stderr.split())
    assert not target.exists()
    assert (files / f".{target.name}.parts").exists() == (blocks > 0)


@pytest.mark.parametrize("handles", [8, 12, 20])
def test_few_file_handles(files, handles):
    """No traceback, no hang, nothing half-made: an error in a line, or the result."""
    target = files / f"few{handles}.parquet"
    done = shell(files, f"ulimit -n {handles}; pyscore score m.safetensors t.parquet -o {target}")
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert target.exists() == (done.returncode == 0)
    assert not (files / f".{target.name}.parts").exists()
