"""Griffe extension: parameters that share a line of a docstring, ``hidden_dim, n_components : int``.

Griffe gives all of them the default of the first and the types of all. The signature knows better.
"""

from __future__ import annotations

from typing import Any

import griffe

__all__ = ["SharedLines"]


class SharedLines(griffe.Extension):
    """Defaults from the signature for every parameter, and types for those that share a line."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Correct all docstrings of a package; called by griffe when it is loaded."""
        self._walk(pkg)

    def _walk(self, owner: griffe.Object) -> None:
        for member in owner.members.values():
            if isinstance(member, griffe.Function | griffe.Class):
                correct(member)
            if isinstance(member, griffe.Module | griffe.Class):
                self._walk(member)


def correct(target: griffe.Function | griffe.Class) -> None:
    """Correct one docstring."""
    if target.docstring is None:
        return
    signature = target.parameters
    for section in target.docstring.parsed:
        if not isinstance(section, griffe.DocstringSectionParameters):
            continue
        said = [line.description for line in section.value]
        for line in section.value:
            if line.name not in signature:
                continue
            line.value = signature[line.name].default
            if said.count(line.description) > 1:
                line.annotation = signature[line.name].annotation
