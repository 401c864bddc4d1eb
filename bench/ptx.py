"""What the compiler makes of the CUDA kernels: registers, spills, shared memory, occupancy. No GPU is needed.

    python -m pyscore.bench.ptx                       # the table, as Markdown
    python -m pyscore.bench.ptx --json ptx.json       # the same numbers for programs
    python -m pyscore.bench.ptx --write docs/gpu.md   # into the page, between its marks

numba-cuda makes PTX with NVVM and `ptxas -v` turns it into machine code:
``pip install 'pyscore-anomaly[ptx]'`` brings both.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd

from pyscore._core.files import write_json
from pyscore._core.markdown import markdown_table, replace_part

__all__ = ["Compiled", "compile_all", "hot_kernels", "occupancy", "parse_ptxas", "table"]

CAPABILITY = (9, 0)
LIMITS = {"registers": 65_536, "warps": 64, "blocks": 32, "shared": 233_472, "shared_a_block": 232_448}
"""Of a multiprocessor of compute capability 9.0 (H100, H200): CUDA's programming guide, specifications."""
D, K, H, P = 30, 9, 64, 10
"""Features, latents, hidden units and components of the benchmark."""
NO_TOOLS = "python -m pyscore.bench.ptx needs numba-cuda, NVVM and ptxas: pip install 'pyscore-anomaly[ptx]'"


class Hot(NamedTuple):
    """A kernel as it is compiled for the benchmark's sizes."""

    name: str
    kernel: Any
    signature: tuple[Any, ...]
    threads: int
    dynamic_bytes: int = 0


class Compiled(NamedTuple):
    """What ptxas says of a kernel, and how many of its warps fit on a multiprocessor."""

    name: str
    registers: int
    spilled_bytes: int
    stack_bytes: int
    shared_bytes: int
    threads: int
    blocks: int
    occupancy: float
    limit: str


def occupancy(registers: int, shared: int, threads: int) -> tuple[int, float, str]:
    """Blocks a multiprocessor, the share of its warps that they are, and the limit: NVIDIA's calculator."""
    warps = -(-threads // 32)
    a_warp = -(-registers * 32 // 256) * 256  # registers are given out in steps of 256 a warp
    by_registers = LIMITS["registers"] // 4 // a_warp * 4 // warps  # of four parts, a warp stays in its own
    by_shared = LIMITS["shared"] // (-(-(shared + 1024) // 128) * 128)  # 1 KB a block is the system's
    choices = {
        "registers": by_registers,
        "shared memory": by_shared,
        "warps": LIMITS["warps"] // warps,
        "blocks": LIMITS["blocks"],
    }
    limit = min(choices, key=lambda name: choices[name])
    return choices[limit], choices[limit] * warps / LIMITS["warps"], limit


def parse_ptxas(text: str) -> tuple[int, int, int, int]:
    """Return registers, bytes of spills (both ways), stack and shared memory from what `ptxas -v` prints."""
    used = re.search(r"Used (\d+) registers", text)
    frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", text)
    if not used or not frame:
        raise ValueError(f"`ptxas -v` printed something else than was expected:\n{text}")
    shared = re.search(r"(\d+) bytes smem", text)
    return int(used[1]), int(frame[2]) + int(frame[3]), int(frame[1]), int(shared[1]) if shared else 0


def hot_kernels(dtype: Any = np.float32) -> Iterator[Hot]:
    """Yield the kernels of the scores at the sizes of the benchmark."""
    from numba import types

    def module(name: str) -> Any:
        return importlib.import_module(f"pyscore.kernels.cuda.{name}")

    network, kind = module("_network"), np.dtype(dtype)
    real = types.float32 if kind == np.float32 else types.float64
    flat, rows, cube = real[::1], real[:, ::1], real[:, :, ::1]
    f64, wide, deep = types.float64, types.float64[::1], types.float64[:, ::1]
    i64, longs, flag = types.int64, types.int64[::1], types.boolean
    with mock.patch.object(network, "shared_limit", return_value=LIMITS["shared_a_block"]):
        sizes = (K, H, H, H, D)
        encoder, both = sizes[::-1], (*sizes, *sizes[:-1][::-1])
        inside = module("_qr").qr_bytes(D, K - 1)
        slopes = (len(sizes) - 2) * network.matrix_rows(both)
        plain = network.geometry(sizes, 1, kind)
        pushed = network.geometry(sizes, K, kind, beside=inside)
        pulled = network.geometry(
            (*encoder, *encoder[:-1][::-1]), K - 1, kind, beside=inside + (K + 1) * kind.itemsize, kept=slopes
        )
        joint = network.geometry(both, K, kind, kept=(len(sizes) - 2) * (K + 1) * network.matrix_rows(both))
        adam = network.geometry(both, 1, kind, beside=3 * K * 8, kept=slopes)
        given = module("log_volume")._geometry(D, K - 1, kind, None)

    signature: tuple[Any, ...]

    def tiled(name: str, kernel: Any, g: Any, *signature: Any) -> Hot:
        return Hot(name, kernel, (*signature, rows), g.threads, g.dynamic_bytes)

    make = module("decoder_log_volume")._make_kernel(sizes, "swish", True, pushed, dtype)
    yield tiled("decoder_log_volume", make, pushed, flat, rows, rows, wide, wide, wide)
    make = module("encoder_log_volume")._make_kernel(encoder, "swish", True, pulled, dtype)
    yield tiled("encoder_log_volume", make, pulled, flat, flat, rows, f64, rows, wide, wide, wide)
    yield tiled("mlp", module("mlp")._make_kernel(sizes, "swish", plain, dtype), plain, flat, rows, rows)
    make = module("_joint").make_joint(sizes, "swish", True, joint, dtype)
    yield tiled("newton: network", make, joint, flat, flat, rows, rows, longs, i64, deep)
    make = module("adam_descent")._make_kernel(sizes, "swish", adam, dtype)
    yield tiled("adam_descent", make, adam, flat, flat, rows, rows, f64, deep, f64, rows, wide)
    make = module("log_volume")._make_kernel(D, K - 1, given, dtype)
    yield tiled("log_volume", make, given, cube, wide, wide, wide)

    prior = deep, wide, wide
    make = module("_newton_step").make_advance(1, K, True, dtype)
    signature = (deep, longs, i64, rows, rows, rows, deep, *prior, f64, f64, f64, i64, wide, longs, longs, i64)
    yield Hot("newton: step", make, signature, 64)
    words = types.uint64[::1]
    make = module("importance")._make_draws(K, False, False, dtype)
    signature = (rows, wide, wide, words, types.uint64, types.uint64, wide, deep, i64, i64, f64, rows, longs)
    yield Hot("importance: draws", make, signature, 128)
    signature = (rows, rows, wide, rows, rows, wide, wide, f64, i64, i64, flag, wide)
    yield Hot("importance: weights", module("importance")._weigh, signature, 128)
    yield Hot("importance: sums", module("importance")._sum_rows, (wide, i64, i64, wide), 128)
    yield Hot("log_prior", module("log_prior")._kernel(), (rows, *prior, wide), 128)
    yield Hot("log_likelihood", module("log_likelihood")._kernel(), (rows, rows, wide, f64, wide), 128)
    pair_sums = module("_pairs").make_pair_sums(0, K, 1, True, 128, dtype)
    signature = (rows, flat, rows, flat, flat, flat, flat, types.float64[:, :, ::1])
    yield Hot("mmd_imq: pairs", pair_sums, signature, 128)


def ptxas() -> Path:
    """Return where the assembler is, from NVIDIA's wheels or the toolkit on the PATH."""
    import shutil

    for place in map(Path, sys.path):
        found = sorted(place.glob("nvidia/*/bin/ptxas"))
        if found:
            return found[-1]
    found_on_path = shutil.which("ptxas")
    if found_on_path is None:
        raise ModuleNotFoundError(NO_TOOLS)
    return Path(found_on_path)


def compile_one(hot: Hot, assembler: Path, folder: Path) -> Compiled:
    """Compile one kernel as the launch would."""
    from numba import cuda
    from numba.cuda import dispatcher

    device = SimpleNamespace(compute_capability=CAPABILITY)
    with mock.patch.object(dispatcher, "get_current_device", return_value=device):
        text, _ = cuda.compile_ptx(hot.kernel.py_func, hot.signature, cc=CAPABILITY)
    source = folder / "kernel.ptx"
    source.write_text(text, encoding="utf-8")
    most = hot.kernel.targetoptions.get("max_registers")
    cap = ["--maxrregcount", str(most)] if most else []
    name = "sm_{}{}".format(*CAPABILITY)
    command = [str(assembler), "-v", f"-arch={name}", *cap, str(source), "-o", str(folder / "kernel.cubin")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    registers, spilled, stack, shared = parse_ptxas(done.stderr)
    shared += hot.dynamic_bytes
    return Compiled(
        hot.name, registers, spilled, stack, shared, hot.threads, *occupancy(registers, shared, hot.threads)
    )


def compile_all(
    report: Callable[[str], None] = lambda text: None, dtype: Any = np.float32, only: str = ""
) -> list[Compiled]:
    """Compile every hot kernel whose name holds `only`; `report` is told of each."""
    assembler, results = ptxas(), []
    with tempfile.TemporaryDirectory() as folder:
        for hot in hot_kernels(dtype):
            if only not in hot.name:
                continue
            report(f"{hot.name} ...")
            results.append(compile_one(hot, assembler, Path(folder)))
    return results


def table(results: list[Compiled]) -> str:
    """Markdown of the results."""
    columns = {
        "kernel": [r.name for r in results],
        "registers": [r.registers for r in results],
        "spills, bytes": [r.spilled_bytes for r in results],
        "stack, bytes": [r.stack_bytes for r in results],
        "shared, bytes": [r.shared_bytes for r in results],
        "threads": [r.threads for r in results],
        "blocks": [r.blocks for r in results],
        "warps": [f"{100 * r.occupancy:.0f} %" for r in results],
        "limited by": [r.limit for r in results],
    }
    return str(markdown_table(pd.DataFrame(columns)))


MARKS = "<!-- ptx: made by python -m pyscore.bench.ptx -->", "<!-- /ptx -->"


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m pyscore.bench.ptx", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    parser.add_argument("--write", type=Path, help="a page with the marks between which the table stands")
    parser.add_argument("--only", default="", help="kernels whose names hold this")
    options = parser.parse_args(arguments)
    results = compile_all(lambda text: print(text, file=sys.stderr, flush=True), only=options.only)
    text = table(results)
    print(text)
    if options.json:
        write_json(options.json, [r._asdict() for r in results])
    if options.write:
        replace_part(options.write, *MARKS, text)
    spilled = [r.name for r in results if r.spilled_bytes]
    if spilled:
        print(f"spilled registers: {', '.join(spilled)}", file=sys.stderr)
    return 1 if spilled else 0


if __name__ == "__main__":
    raise SystemExit(main())
