"""Checks of an output before work begins: it can be written, and it is not one of the inputs."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pyscore._core.files import create_file, hidden_name, real_path, write_errors
from pyscore.errors import InvalidInput

__all__ = ["check_folder", "check_output", "refuse_input"]

PathLike = str | os.PathLike[str]


def check_output(path: PathLike, inputs: Iterable[PathLike] = (), *, suffixes: Sequence[str] = ()) -> Path:
    """Check that an output can be written and is not an input; return its path with links followed.

    Parameters
    ----------
    path : path of a file
    inputs : files that the command reads, or folders whose files it reads
    suffixes : endings that the output may have; by default any

    Raises
    ------
    InvalidInput
        If the ending is not allowed, the folder does not exist, or the output is one of the inputs (the same
        path, or the same file through a symbolic or hard link).
    WriteError
        If no file can be created there, or the existing file is read-only.
    """
    text = os.fspath(path)
    if suffixes and Path(text).suffix.lower() not in suffixes:
        raise InvalidInput(f"`path` must end in {_either(suffixes)}; got {text!r}.")
    real = real_path(path)
    refuse_input(path, inputs)
    with write_errors(path):
        if real.exists() and not os.access(real, os.W_OK):
            raise PermissionError(13, "it is read-only")
        _probe(real)
    return real


def refuse_input(path: PathLike, inputs: Iterable[PathLike]) -> None:
    """Raise an InvalidInput if an output is one of the inputs, under the same or another name."""
    output = _file_at(path)
    for each in _files(inputs):
        same = os.path.realpath(each) == os.path.realpath(path)
        if same or (output is not None and (found := _file_at(each)) and os.path.samestat(output, found)):
            raise InvalidInput(
                f"the output {os.fspath(path)!r} is the input {os.fspath(each)!r}: the same file, which would be "
                "replaced. Nothing was read or written. Name another output."
            )


def check_folder(path: PathLike) -> Path:
    """Return a folder for outputs, and create it if it is missing.

    Raises
    ------
    WriteError
        If it cannot be created, or no file can be created in it.
    """
    folder = Path(path)
    with write_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        _probe(folder / "probe")
    return folder


def _probe(path: Path) -> None:
    """Create a file beside `path` and remove it, since permissions alone do not tell whether that is possible."""
    probe = hidden_name(path, f".{secrets.token_hex(6)}.tmp")
    try:
        create_file(probe).close()
    finally:
        probe.unlink(missing_ok=True)


def _file_at(path: PathLike) -> os.stat_result | None:
    with contextlib.suppress(OSError, ValueError):
        return os.stat(path)
    return None


def _files(inputs: Iterable[PathLike]) -> Iterator[PathLike]:
    for each in inputs:
        if os.path.isdir(each):
            for folder, _, names in os.walk(each):
                yield from (os.path.join(folder, name) for name in names)
        else:
            yield each


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
