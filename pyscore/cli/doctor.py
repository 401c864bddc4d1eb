"""`pyscore doctor`: what is here, what is missing and why."""

from __future__ import annotations

import importlib.metadata as metadata
import json as jsons
import os
import platform
import subprocess
import sys
from typing import Any

import pandas as pd

from pyscore._core.cache_folders import kernel_folders
from pyscore._core.text import printable
from pyscore._core.version import __version__
from pyscore.backends import BACKENDS, why_not
from pyscore.cli.options import Json
from pyscore.cli.output import emit, print_frame
from pyscore.cli.terminal import print_note
from pyscore.data import datasets as data
from pyscore.errors import DataUnavailable

__all__ = ["doctor"]

PACKAGES = (
    "numpy", "scipy", "pandas", "numba", "torch", "juliacall", "scikit-learn", "matplotlib", "pyarrow", "pooch",
    "safetensors", "rich", "cyclopts", "numba-cuda",
)  # fmt: skip


APART = ("numba", "cuda")
"""Backends that are tried in a process of their own: Numba that is damaged must not end this command."""
_TRY = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from pyscore.backends import why_not; "
    "print(json.dumps({name: why_not(name) for name in sys.argv[2:]}))"
)
_TRY_SECONDS = 120


def doctor(*, json: Json = False) -> None:
    """Print what `facts` finds."""
    found = facts()
    if json:
        emit(found, json=True)
        return
    shown = ("pyscore", "python", "platform", "cpus", "data_folder", "kernel_folder")
    emit({key: found[key] or "none" for key in shown}, json=False)
    if found["kernel_note"]:
        print_note(found["kernel_note"])
    backends = [(name, "ready" if why is None else why) for name, why in found["backends"].items()]
    print_frame(pd.DataFrame(backends, columns=["backend", "state"]), title="backends")
    packages = [(name, version or "not installed") for name, version in found["packages"].items()]
    print_frame(pd.DataFrame(packages, columns=["package", "version"]), title="packages")


def facts() -> dict[str, Any]:
    """Collect versions, backends and folders."""
    apart = _tried_apart()
    kernels = kernel_folders(os.environ.get("NUMBA_CACHE_DIR"))
    return {
        "pyscore": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": {name: apart[name] if name in apart else why_not(name) for name in BACKENDS},
        "data_folder": _data_folder(),
        "kernel_folder": None if kernels.write is None else str(kernels.write),
        "kernel_note": kernels.note,
    }


def _tried_apart() -> dict[str, str | None]:
    """Backends of `APART` → None, or why they do not run here."""
    command = [sys.executable, "-c", _TRY, jsons.dumps(sys.path), *APART]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TRY_SECONDS, check=False)
        return dict(jsons.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        why = f"a process that tried it did not answer within {_TRY_SECONDS} s"
    except OSError as error:
        why = f"no process could be started to try it: {error.strerror or error}"
    except (ValueError, IndexError):
        said = printable(done.stderr).strip().splitlines()
        why = f"a process that tried it ended with status {done.returncode}{f': {said[-1]}' if said else ''}"
    return dict.fromkeys(APART, why)


def _data_folder() -> str | None:
    try:
        return str(data.location())
    except DataUnavailable:
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
