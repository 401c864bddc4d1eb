"""`pyscore doctor`: what is here, what is missing and why."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
from typing import Any

import pandas as pd

from pyscore._core.version import __version__
from pyscore.backends import available_backends
from pyscore.cli.options import Json
from pyscore.cli.output import emit, print_frame
from pyscore.data import datasets as data

__all__ = ["doctor"]

PACKAGES = (
    "numpy", "scipy", "pandas", "numba", "torch", "juliacall", "scikit-learn", "matplotlib", "pyarrow", "pooch",
    "safetensors", "rich", "cyclopts", "numba-cuda",
)  # fmt: skip


def doctor(*, json: Json = False) -> None:
    """Print what `facts` finds."""
    found = facts()
    if json:
        emit(found, json=True)
        return
    emit({key: found[key] for key in ("pyscore", "python", "platform", "cpus", "data_folder")}, json=False)
    backends = [(name, "ready" if why is None else why) for name, why in found["backends"].items()]
    print_frame(pd.DataFrame(backends, columns=["backend", "state"]), title="backends")
    packages = [(name, version or "not installed") for name, version in found["packages"].items()]
    print_frame(pd.DataFrame(packages, columns=["package", "version"]), title="packages")


def facts() -> dict[str, Any]:
    """Collect versions, backends and folders."""
    return {
        "pyscore": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": available_backends(),
        "data_folder": str(data.location()),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
