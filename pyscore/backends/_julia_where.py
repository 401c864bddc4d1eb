"""Finding a Julia that runs: which transport, which executable, and whether it starts.

An executable is started once to see that it works (`examine`); the finding is kept until the file changes. Nothing
here downloads anything.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

__all__ = ["HOW_TO_INSTALL", "Julia", "examine", "known", "resolved_executable", "why_not_juliacall"]

HOW_TO_INSTALL = (
    "Install Julia: `curl -fsSL https://install.julialang.org | sh` (juliaup) puts `julia` on the PATH; or let "
    "juliacall fetch it: `python -c 'import juliacall'`."
)
OLDEST_JULIA = (1, 5)
OLDEST_JULIACALL = (0, 9, 28)
"""Older ones ignore PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT, and may download a Julia."""
PROBE_SECONDS = 120.0
_PROGRAM = (
    'import Libdl; library = try abspath(Libdl.dlpath("libjulia")) catch; "" end; '
    r'print(VERSION, "\0", library, "\0", Sys.BINDIR, "\0")'
)


class Julia(NamedTuple):
    """What an executable said of itself, or why it does not run."""

    executable: str
    version: str = ""
    library: str = ""
    """Path of libjulia, or nothing if Julia does not find it under that name."""
    folder: str = ""
    """Folder of the executable, as Julia sees it."""
    trouble: str | None = None
    """None, or why it cannot be used."""


def examine(executable: str) -> Julia:
    """Start an executable once and return what it is; its answer is kept until the file changes."""
    found = shutil.which(executable)
    if found is None:
        return Julia(executable, trouble=f"there is no executable {executable!r}")
    return _examined(found, *_identity(found))


def known(executable: str) -> Julia | None:
    """Return what `examine` found before, without starting anything."""
    found = shutil.which(executable)
    return None if found is None else _findings.get((found, *_identity(found)))


_findings: dict[tuple[str, int, int], Julia] = {}


def _identity(path: str) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_mtime_ns, state.st_size


def _examined(path: str, changed: int, size: int) -> Julia:
    key = (path, changed, size)
    if key not in _findings:
        _findings[key] = _start(path)
    return _findings[key]


def _start(path: str) -> Julia:
    command = [path, "--startup-file=no", "--history-file=no", "--color=no", "-e", _PROGRAM]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JULIA_")}
    try:
        done = subprocess.run(
            command,
            env=environment | {"JULIA_LOAD_PATH": "@stdlib"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Julia(path, trouble=f"{path!r} did not answer within {PROBE_SECONDS:g} s")
    except OSError as error:
        return Julia(path, trouble=f"{path!r} cannot be started: {error.strerror or error}")
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip() or said.strip() or "nothing")[-300:]
        return Julia(
            path, trouble=f"{path!r} ended with status {done.returncode} when started; it printed: {last}"
        )
    version, _, rest = said.partition("\0")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or rest.count("\0") != 2:
        return Julia(path, trouble=f"{path!r} is no Julia: asked for its version, it printed {said[:100]!r}")
    if tuple(map(int, numbers.groups())) < OLDEST_JULIA:
        return Julia(path, trouble=f"{path!r} is Julia {version}; it must be 1.5 or newer")
    library, folder, _ = rest.split("\0")
    return Julia(path, version, library, folder)


# ── juliacall ────────────────────────────────────────────────────────────────────────────────────────────


@functools.cache
def _juliacall_version() -> tuple[int, ...] | None:
    try:
        text = importlib.metadata.version("juliacall")
    except importlib.metadata.PackageNotFoundError:
        return None
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def resolved_executable() -> str | None:
    """Return the Julia that juliapkg resolved before in this environment, or None; reads one file."""
    if importlib.util.find_spec("juliapkg") is None:
        return None
    path = Path(importlib.import_module("juliapkg.state").STATE["meta"])
    try:
        return str(json.loads(path.read_text()).get("executable") or "julia")
    except (OSError, ValueError, AttributeError):
        return None


def why_not_juliacall() -> str | None:
    """Return None if juliacall would start with the Julia that is named or resolved, or why not."""
    if importlib.util.find_spec("juliacall") is None:
        return "juliacall is not installed"
    version = _juliacall_version()
    if version is not None and version < OLDEST_JULIACALL:
        wanted = ".".join(map(str, OLDEST_JULIACALL))
        return f"juliacall {'.'.join(map(str, version))} is too old, it must be {wanted} or newer"
    named, project = os.environ.get("PYTHON_JULIACALL_EXE"), os.environ.get("PYTHON_JULIACALL_PROJECT")
    if not named and not project:
        resolved = resolved_executable()
        return "juliapkg has resolved no Julia yet" if resolved is None else examine(resolved).trouble
    if not (named and project):
        return "PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT must be set both or none"
    if not Path(project).exists():
        return f"PYTHON_JULIACALL_PROJECT names {project!r}, which is not there"
    trouble = examine(named).trouble
    return None if trouble is None else f"PYTHON_JULIACALL_EXE: {trouble}"
