"""Folders for what can be made again: in the user's cache, or, where that cannot be written, a temporary one."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

import platformdirs

__all__ = ["KernelFolders", "kernel_folders", "user_cache"]


class KernelFolders(NamedTuple):
    """Where compiled kernels are kept."""

    read: tuple[Path, ...]
    """Folders that are looked through, in this order."""
    write: Path | None
    """The one that new kernels go into; None if there is no folder at all that can be written."""
    note: str | None
    """Why kernels are not kept where the user would expect them, and what to do about it."""


def user_cache() -> Path | None:
    """Return the folder for pyscore in the user's cache (XDG_CACHE_HOME, ~/.cache …); None without a home."""
    try:
        folder = Path(platformdirs.user_cache_dir("pyscore", appauthor=False))
    except RuntimeError:  # newer versions of platformdirs
        return None
    return folder if folder.is_absolute() else None  # "~/.cache" where the user has no home; XDG: not relative


def kernel_folders(named: str | None = None) -> KernelFolders:
    """Choose the folders for compiled kernels, and make the one that is written to.

    Parameters
    ----------
    named : str, optional
        What the user set as NUMBA_CACHE_DIR. It is used as it is, whoever owns it.

    Notes
    -----
    A compiled kernel is code that this process will run. A folder that nobody named is therefore used only if it
    belongs to this user (or to root) and no other user may write to it.
    """
    read: tuple[Path, ...] = ()
    why = "this user has no home folder"
    parent = Path(named) if named else user_cache()
    if parent is not None:
        folder = parent / ("pyscore" if named else "kernels")
        trouble = _unwritable(folder, private=not named)
        if trouble is None:
            return KernelFolders((folder,), folder, None)
        read = (folder,) if named or _trusted(folder) else ()
        why = f"{folder} cannot be used: {trouble}"
    temporary = _temporary()
    where = f"kept in {temporary} until that is emptied" if temporary else "not kept: every process makes its own"
    note = f"{why}. Compiled kernels are {where}. Set NUMBA_CACHE_DIR to a folder that this user may write to."
    return KernelFolders((*read, temporary) if temporary else read, temporary, note)


def _temporary() -> Path | None:
    """A folder of this user's own among the temporary files, which the next process finds again."""
    try:
        parent = Path(tempfile.gettempdir())
    except OSError:
        return None
    if parent == Path.cwd() and not {os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")} & {str(parent)}:
        return None  # the last resort of `tempfile`: no place for what nobody asked for
    folder = parent / f"pyscore-{os.geteuid() if hasattr(os, 'geteuid') else 'kernels'}"
    return folder if _unwritable(folder, private=True) is None else None


def _unwritable(folder: Path, *, private: bool) -> str | None:
    """Make a folder and write to it; return what stands in the way, if anything does."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700 if private else 0o777)
        if private and not _trusted(folder):
            return "it belongs to another user, or others may write to it"
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _trusted(folder: Path) -> bool:
    """Whether a folder is this user's or root's, no link, and nobody else may write to it."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    return not hasattr(os, "geteuid") or (
        found.st_uid in (os.geteuid(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
