"""Names of a package, and modules, that are loaded when they are first asked for: `import pyscore` stays light."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["LazyModule", "attach"]


def attach(
    package: str, names: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose modules load at their first use.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    names : mapping, optional
        Public name → module of the package that holds it. A name that cannot be had without torch says so.
    """
    public = dict(names or {})

    def modules() -> set[str]:
        found = pkgutil.iter_modules(sys.modules[package].__path__)
        return {module.name for module in found if not module.name.startswith("__")}

    def load(name: str) -> Any:
        if name in public:
            from pyscore._core.optional import needs_torch

            with needs_torch(f"{package}.{name}"):
                value = getattr(importlib.import_module(f"{package}.{public[name]}"), name)
            setattr(sys.modules[package], name, value)
            return value
        if not name.startswith("__") and name in modules():
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names_of() -> list[str]:
        return sorted({*vars(sys.modules[package]), *public, *modules()})

    return load, names_of


class LazyModule:
    """A module that is imported when something of it is first asked for: ``pd = LazyModule("pandas")``."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
