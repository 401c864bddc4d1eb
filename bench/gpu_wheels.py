"""Wheels for a bare machine with CPython 3.12 and torch: fetched here, carried there in parts below 64 MiB."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pyscore.errors import InvalidInput

__all__ = ["PART_BYTES", "fetch_wheels", "in_parts"]

PART_BYTES = 56 << 20
"""Of a part: a call carries 64 MiB, and the working tree is in them."""
PINNED = (
    "numba", "llvmlite", "numpy", "numba-cuda", "cuda-bindings", "cuda-core", "cuda-pathfinder", "greenlet",
    "cyclopts", "attrs", "docstring_parser", "rich", "rich-rst", "markdown-it-py", "mdurl", "Pygments", "pooch",
    "platformdirs", "semver", "juliacall", "juliapkg", "filelock", "tomli", "tomlkit", "narwhals", "hypothesis",
    "sortedcontainers", "mpmath", "pytest", "pytest-timeout", "pytest-xdist", "execnet", "pluggy", "iniconfig",
    "threadpoolctl", "safetensors",
)  # fmt: skip
"""What pyscore and the CUDA tests import and such a machine may lack; versions as in constraints.txt."""
LARGE = ("nvidia-nvvm==13.0.*",)
"""The compiler library behind numba-cuda, for a machine without CUDA's toolkit; a part of its own."""
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_24", "manylinux_2_17",
             "manylinux_2_12", "manylinux2014", "manylinux2010", "manylinux1")  # fmt: skip


def fetch_wheels(folder: Path) -> None:
    """Fetch the wheels into part-1, part-2, … of a folder, which is made anew; print the size of each."""
    constraints = Path(__file__).resolve().parents[1] / "constraints.txt"
    pins = dict(line.split("==") for line in constraints.read_text(encoding="utf-8").splitlines() if "==" in line)
    shutil.rmtree(folder, ignore_errors=True)
    loose = folder / "all"
    loose.mkdir(parents=True)
    wanted = [f"{name}=={pins[name].strip()}" for name in PINNED if name in pins]
    platforms = [option for name in PLATFORMS for option in ("--platform", f"{name}_x86_64")]
    for names in (wanted, LARGE):
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
            "--python-version", "3.12", "--implementation", "cp", *platforms, "--dest", str(loose), *names,
        ]  # fmt: skip
        subprocess.run(command, check=True, timeout=900)
    sizes = {path.name: path.stat().st_size for path in loose.iterdir()}
    for number, names in enumerate(in_parts(sizes), 1):
        part = folder / f"part-{number}"
        part.mkdir()
        for name in names:
            (loose / name).rename(part / name)
        print(f"{part}: {len(names)} wheels, {sum(sizes[name] for name in names) / 2**20:.1f} MiB")
    loose.rmdir()


def in_parts(sizes: Mapping[str, int], limit: int = PART_BYTES) -> list[list[str]]:
    """Put files into as few parts as first-fit, largest first, finds; the small ones are in the last part.

    A file larger than a part has one of its own, as long as a call can carry it.
    """
    parts: list[tuple[int, list[str]]] = []
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if sizes[name] > 64 << 20:
            raise InvalidInput(f"`sizes` must hold files of at most 64 MiB; {name} has {sizes[name]} bytes.")
        for index, (used, names) in enumerate(parts):
            if used + sizes[name] <= limit:
                parts[index] = used + sizes[name], [*names, name]
                break
        else:
            parts.append((sizes[name], [name]))
    return [names for _, names in parts]
