"""Lanes and tiles follow the processor that Numba compiles for, and no instruction goes beyond it."""

import os
import platform
import re
import subprocess
import sys

import pytest

from pyscore.kernels.cpu._simd import LANES, PAIR_SLOTS, TILE_ROWS
from pyscore.kernels.cpu._target import describe, target

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 processors")
TRIPLE = "x86_64-unknown-linux-gnu"


@x86
@pytest.mark.parametrize(
    ("name", "features", "bytes_", "registers", "fused"),
    [
        ("generic", "", 16, 16, False),
        ("x86-64-v2", "", 16, 16, False),
        ("sandybridge", "", 32, 16, False),
        ("haswell", "", 32, 16, True),
        ("znver1", "", 32, 16, True),
        ("skylake-avx512", "", 64, 32, True),
        # NUMBA_CPU_NAME alone leaves Numba the machine's features, and they count
        ("haswell", "+64bit,+avx512f,+fma", 64, 32, True),
        ("skylake-avx512", "+64bit,-avx512f,+avx2,+fma", 32, 16, True),
        ("skylake-avx512", "+64bit,-avx,-fma", 16, 16, False),
    ],
)
def test_registers_of_a_target(name, features, bytes_, registers, fused):
    assert describe(TRIPLE, name, features)[3:] == (bytes_, registers, fused)


def test_the_target_is_what_keys_the_cache():
    from numba.core.registry import cpu_target

    assert target()[:3] == cpu_target.target_context.codegen().magic_tuple()
    assert target() == describe(*target()[:3])
    assert (16 if target().register_bytes == 64 else 8) == LANES
    assert (8 if target().registers == 32 else 4) == TILE_ROWS
    assert PAIR_SLOTS % LANES == 0


COMPILE = """
import importlib
import numpy as np
from pyscore.kernels.cpu import _simd, _target, log_prior
x = np.ones((40, 3), np.float32)
log_prior(x, x[:2], np.ones(2), np.ones(2))
for text in importlib.import_module("pyscore.kernels.cpu.log_prior")._run.inspect_asm().values():
    print(text)
print("TARGET", _target.target().register_bytes, _simd.LANES, _simd.TILE_ROWS)
"""


@x86
@pytest.mark.parametrize(
    ("name", "features", "foreign"),
    [
        ("generic", "", r"[yz]mm\d|\bv[a-z0-9]+ps\b|\bvfn?m(add|sub)"),
        ("haswell", "+64bit,+cx8,+cmov,+avx,+avx2,+fma,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,-avx512f", r"zmm\d|xmm(1[6-9]|2\d|3[01])\b|%k[0-7]\b"),
    ],
)  # fmt: skip
def test_no_instruction_beyond_the_target(name, features, foreign, tmp_path):
    """What was compiled for the host before, in the same cache, is not taken."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    host = listing(environment)
    if target().register_bytes > 16:
        assert re.search(r"[yz]mm\d", host)
    other = listing(environment | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features})
    found = re.search(foreign, other)
    assert not found, other[max(0, found.start() - 300) : found.end() + 100]
    assert ("TARGET 16 8 4" if name == "generic" else "TARGET 32 8 4") in other
    assert (
        re.search(r"TARGET \d+ \d+ \d+", host).group() == f"TARGET {target().register_bytes} {LANES} {TILE_ROWS}"
    )


def listing(environment):
    clean = {k: v for k, v in environment.items() if k not in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")}
    if "NUMBA_CPU_NAME" in environment and environment is not os.environ:
        clean |= {k: environment[k] for k in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")}
    return subprocess.run(
        [sys.executable, "-c", COMPILE], env=clean, capture_output=True, text=True, check=True
    ).stdout
