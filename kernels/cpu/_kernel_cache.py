"""Compiled kernels on disk: one file for each kernel, types of its arguments and target, with a checksum.

Numba's own cache lies beside the source files and must find them there: it fails in a read-only installation, in a
zip, and where there are only `.pyc` files. This one lies where `_core.cache_folders` says. A kernel is found again
only if all that it was made of is the same: the files of this package, the versions of Numba, llvmlite and Python,
the types of its arguments and Numba's target, which names the processor.
"""

import hashlib
import importlib.util
import pickle
import pkgutil
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from pyscore._core import constants
from pyscore._core.cache_folders import KernelFolders, kernel_folders
from pyscore._core.files import atomic_write
from pyscore._core.version import __version__
from pyscore.errors import OutOfMemory

try:
    import resource
except ModuleNotFoundError:  # Windows has no such limits
    resource = None

__all__ = ["COMPILER_BYTES", "KernelCache"]

COMPILER_BYTES = 400_000_000
"""Address space that must be free before a kernel is compiled: twice what the largest one (training) took, 190 MB
with Numba 0.68 for AVX2."""
_OPTIONS = (
    "OPT",
    "BOUNDSCHECK",
    "USING_SVML",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "FULL_TRACEBACKS",
    "DEBUGINFO_DEFAULT",
)
"""Settings of Numba that change the code."""
_UNUSED_DAYS = 60
"""Kernels of other versions that nobody used for so long are deleted."""


def _sources() -> Iterator[bytes]:
    """What each module of this package was loaded from: a file of source, of byte code, or a part of a zip."""
    for name in sorted(info.name for info in pkgutil.iter_modules(sys.modules[__package__].__path__)):
        spec = importlib.util.find_spec(f"{__package__}.{name}")
        try:
            yield spec.loader.get_data(spec.origin)
        except (AttributeError, OSError, TypeError):  # a frozen application has no such files, and one version
            yield name.encode()


def _stamp() -> str:
    """A name for this version of the kernels: no two versions of anything that they are made of share it."""
    found = hashlib.sha256()
    compiled_in = sorted((k, repr(v)) for k, v in vars(constants).items() if k.isupper())
    for part in (__version__, llvmlite.__version__, sys.version, compiled_in):
        found.update(repr(part).encode())
    for source in _sources():
        found.update(hashlib.sha256(source).digest())
    return f"{sys.implementation.cache_tag}-numba-{numba.__version__}-{found.hexdigest()[:16]}"


@cache
def _places() -> KernelFolders:
    """Folders of this version of the kernels; tells the user where they are not the expected ones."""
    found, stamp = kernel_folders(config.CACHE_DIR), _stamp()
    if found.note:
        warnings.warn(found.note, UserWarning, stacklevel=2)
    if found.write is not None:
        _sweep(found.write, stamp)
    return KernelFolders(tuple(folder / stamp for folder in found.read), found.write and found.write / stamp, None)


def _sweep(folder: Path, stamp: str) -> None:
    """Make the folder of this version, mark it as used now, and delete those that have not been for long."""
    try:
        (folder / stamp).mkdir(mode=0o700, exist_ok=True)
        (folder / stamp).touch()
        for other in folder.glob("*-numba-*-" + "[0-9a-f]" * 16):
            if time.time() - other.stat().st_mtime > _UNUSED_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)
    except OSError:  # another process does the same
        pass


class KernelCache(NullCache):
    """Overloads of one kernel on disk; a file that is damaged, or a disk that is full, costs a compilation."""

    def __init__(self, function: Any) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        """Folder that is written to."""
        return str(_places().write)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was compiled before for a signature, or None."""
        target_context.refresh()
        for folder in _places().read:
            payload = _read(folder / self._file(sig, target_context.codegen()))
            if payload is not None:
                return CompileResult._rebuild(target_context, *pickle.loads(payload))
        _check_address_space()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write what was compiled for a signature."""
        folder = _places().write
        if folder is None or data.library.has_dynamic_globals:
            return
        payload = dumps(data._reduce())
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            with atomic_write(folder / self._file(sig, data.codegen)) as file:
                file.write(hashlib.sha256(payload).digest() + payload)
        except (OSError, ValueError) as error:
            warnings.warn(
                f"a compiled kernel is not kept for the next process: {error}", UserWarning, stacklevel=2
            )

    def _file(self, sig: Any, codegen: Any) -> str:
        """Name of the file of a signature: its hash holds types, target and settings."""
        key = (str(sig), codegen.magic_tuple(), [getattr(config, name, None) for name in _OPTIONS])
        return f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.kernel"


def _check_address_space() -> None:
    """Raise where a limit (`ulimit -v`) leaves too little to compile in: LLVM would end the whole process."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else -1
    if not resource or limit == resource.RLIM_INFINITY:
        return
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux: nobody says how much is used
        used = 0
    if limit - used < COMPILER_BYTES:
        raise OutOfMemory(
            f"the compiler of the kernels needs {COMPILER_BYTES / 1e6:.0f} MB of address space; the limit of this "
            f"process (ulimit -v) leaves {max(0, limit - used) / 1e6:.0f} MB. Raise it, or use the numpy backend."
        )


def _read(path: Path) -> bytes | None:
    """The payload of a file, or None if it is not there or any bit of it has changed."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None
