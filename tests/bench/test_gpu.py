"""What is prepared for a machine with a GPU: its script, its wheels, and what the compiler says of the kernels."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyscore.bench import gpu_wheels, ptx
from pyscore.bench.gpu_rows import ROWS, Sizes, Work, roofline
from pyscore.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]
PRINTED = """ptxas info    : 176 bytes gmem
ptxas info    : Compiling entry function 'kernel' for 'sm_90'
ptxas info    : Function properties for kernel
    704 bytes stack frame, 472 bytes spill stores, 540 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 704 bytes cumulative stack size, 45328 bytes smem
"""


def test_what_ptxas_prints():
    assert ptx.parse_ptxas(PRINTED) == (128, 1012, 704, 45328)
    assert ptx.parse_ptxas(PRINTED.replace(", 45328 bytes smem", ""))[3] == 0
    with pytest.raises(ValueError, match="something else"):
        ptx.parse_ptxas("ptxas fatal")


@pytest.mark.parametrize(
    ("registers", "shared", "threads", "blocks", "warps", "limit"),
    [
        (32, 0, 256, 8, 64, "registers"),  # all three at once; the first is named
        (168, 45_328, 128, 3, 12, "registers"),
        (128, 45_328, 128, 4, 16, "registers"),
        (255, 0, 64, 4, 8, "registers"),
        (40, 100_000, 128, 2, 8, "shared memory"),
        (16, 0, 32, 32, 32, "blocks"),
        (16, 0, 1024, 2, 64, "warps"),
    ],
)
def test_occupancy(registers, shared, threads, blocks, warps, limit):
    """By hand: 65,536 registers in four parts, 64 warps, 32 blocks and 228 KB a multiprocessor."""
    assert ptx.occupancy(registers, shared, threads) == (blocks, warps / 64, limit)


def test_the_page_has_no_spill():
    """The table that was made last: every hot kernel is in it, and none spills."""
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([a-z_: ]+) \| (\d+) \| (\d+) \|", text.split(ptx.MARKS[0])[1].split(ptx.MARKS[1])[0], re.M
    )
    assert {name for name, *_ in rows} >= {
        "decoder_log_volume",
        "mlp",
        "newton: network",
        "newton: step",
        "mmd_imq: pairs",
    }
    assert all(spills == "0" for _, _, spills in rows)


@pytest.mark.skipif(importlib.util.find_spec("nvidia") is None, reason="the ptx extra is not installed")
def test_a_kernel_compiles():
    try:
        ptx.ptxas()
    except ModuleNotFoundError:
        pytest.skip("ptxas is not installed")
    [found] = ptx.compile_all(only="log_likelihood")
    assert found.registers > 16
    assert found.spilled_bytes == 0


def test_parts_are_small_and_complete():
    sizes = {"a": 50, "b": 30, "c": 20, "d": 5, "e": 60}
    parts = gpu_wheels.in_parts(sizes, limit=56)
    assert sorted(name for part in parts for name in part) == sorted(sizes)
    assert all(sum(sizes[name] for name in part) <= 56 or len(part) == 1 for part in parts)
    assert len(parts) == 3
    with pytest.raises(InvalidInput, match="at most 64 MiB"):
        gpu_wheels.in_parts({"huge": 65 << 20})


def test_wheels_are_pinned():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for name in gpu_wheels.PINNED:
        assert re.search(rf"^{re.escape(name)}==", pins, re.M), name


def test_roofline():
    work = Work(None, None, None, 1, "row", flops=67e12, bytes=3.35e12 / 2)
    assert roofline(work) == {"seconds": 1.0, "bound": "arithmetic", "flops": 67e12, "bytes": 3.35e12 / 2}


def test_the_limits_of_the_steps_fit_a_lease():
    from pyscore.bench.gpu import TEST_SECONDS

    assert TEST_SECONDS < 180
    assert sum(seconds for _, seconds in ROWS.values()) + TEST_SECONDS < 15 * 60
    assert Sizes()[:3] == (1_000_000, 100_000, 10_000_000)


@pytest.mark.slow
def test_rehearsal(tmp_path):
    """`bench/gpu.sh` from end to end under the simulator, with few of its rows."""
    environment = os.environ | {"PYSCORE_GPU_DRY": "1", "OUT": str(tmp_path), "PYTHON": sys.executable}
    steps = ["versions", "tests", "log_volume", "mmd_imq"]
    done = subprocess.run(
        ["sh", str(ROOT / "bench" / "gpu.sh"), *steps], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert record["dry"] is True
    assert list(record["steps"]) == steps
    assert [row["work"] for row in record["rows"]] == ["log_volume", "mmd_imq"]
    for row in record["rows"]:
        assert set(row["median"]) == {"kernel", "torch eager", "torch.compile"}
        assert row["failures"] == {}
        assert row["difference_from_torch"] < 1e-4
    assert " passed" in (tmp_path / "tests.txt").read_text(encoding="utf-8")
