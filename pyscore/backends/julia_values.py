"""What a file of Julia's holds, as plain Python: arrays, named types with their fields, tuples, dictionaries.

The types of a file are names here: nothing is looked up, built or called. `BSONFile` reads what BSON.jl writes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyscore.backends import _bson

__all__ = ["BSONFile", "BadValue", "Struct", "Symbol", "Unknown"]

_ELEMENTS = {
    "Float32": "<f4", "Float64": "<f8", "Float16": "<f2", "Int64": "<i8", "Int32": "<i4", "Int16": "<i2",
    "Int8": "i1", "UInt64": "<u8", "UInt32": "<u4", "UInt16": "<u2", "UInt8": "u1", "Bool": "?",
}  # fmt: skip


class BadValue(ValueError):
    """A part of the file is not what its description says."""


class Symbol(str):
    """A Julia symbol."""

    __slots__ = ()


@dataclass(frozen=True)
class Struct:
    """A value of a Julia type: its name with modules (``"Flux.Dense"``), its fields, and their names if told."""

    name: str
    fields: tuple[Any, ...]
    names: tuple[str, ...] | None = None

    @property
    def short(self) -> str:
        """The name without its modules."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Unknown:
    """Something that no model is made of (a method, a module …); its description, for messages."""

    what: str


class BSONFile:
    """A document of BSON.jl. `view` shows one value; what it consists of is viewed when asked for."""

    def __init__(self, data: bytes) -> None:
        document = _bson.decode(data)
        references = document.pop("_backrefs", [])
        if not isinstance(references, list):
            raise BadValue("`_backrefs` is no list")
        self._references = references
        self.root = document

    def view(self, raw: Any) -> Any:
        """Return an array, a `Struct`, a list, a tuple, a dictionary, a `Symbol`, text, a number or None."""
        raw = self._follow(raw)
        if not isinstance(raw, dict) or "tag" not in raw:
            return raw
        tag = raw["tag"]
        if tag == "array":
            return self._array(raw)
        if tag == "struct":
            return self._struct(raw)
        if tag == "tuple":
            return tuple(_list(raw.get("data"), "a tuple"))
        if tag == "symbol":
            return Symbol(raw.get("name", ""))
        return Unknown(f"a {tag}" if isinstance(tag, str) else "a document with an odd tag")

    def _follow(self, raw: Any) -> Any:
        for _ in range(len(self._references) + 1):
            if not (isinstance(raw, dict) and raw.get("tag") == "backref"):
                return raw
            number = raw.get("ref")
            if not isinstance(number, int) or not 1 <= number <= len(self._references):
                raise BadValue(f"a reference to part {number!r} of {len(self._references)}")
            raw = self._references[number - 1]
        raise BadValue("references that lead back to themselves")

    def _type(self, raw: Any) -> tuple[str, list[Any]]:
        """Return name and parameters of a type."""
        raw = self._follow(raw)
        if not isinstance(raw, dict):
            raise BadValue("a type that is no document")
        if raw.get("tag") == "jl_anonymous":
            return "(anonymous function)", []
        if raw.get("tag") != "datatype":
            return f"({raw.get('tag')})", []
        name = raw.get("name")
        if not (isinstance(name, list) and name and all(isinstance(part, str) for part in name)):
            raise BadValue("a type without a name")
        return ".".join(name), _list(raw.get("params", []), "parameters of a type")

    def _array(self, raw: dict[str, Any]) -> Any:
        name, _ = self._type(raw.get("type"))
        size = _list(self._follow(raw.get("size")), "the size of an array")
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in size):
            raise BadValue(f"an array of size {size!r}")
        data = self._follow(raw.get("data"))
        code = _ELEMENTS.get(name.rpartition(".")[2])
        if code is None or not isinstance(data, bytes):
            return Unknown(f"an array of {name}")
        element = np.dtype(code)
        if len(data) != math.prod(size) * element.itemsize:
            raise BadValue(f"an array of size {size} with {len(data)} bytes")
        return np.frombuffer(data, dtype=element).reshape(size, order="F")

    def _struct(self, raw: dict[str, Any]) -> Any:
        name, parameters = self._type(raw.get("type"))
        data = self._follow(raw.get("data"))
        if isinstance(data, bytes):  # a primitive type, such as Float32
            code = _ELEMENTS.get(name.rpartition(".")[2])
            if code is None or len(data) != np.dtype(code).itemsize:
                return Unknown(f"a {name}")
            return np.frombuffer(data, dtype=code)[0].item()
        fields = tuple(_list(data, f"the fields of a {name}"))
        if name.rpartition(".")[2] == "NamedTuple":
            names = self.view(parameters[0]) if parameters else ()
            if not isinstance(names, tuple) or len(names) != len(fields):
                raise BadValue("a NamedTuple whose names do not fit its values")
            return dict(zip((str(self.view(n)) for n in names), fields, strict=True))
        if name.rpartition(".")[2] in ("Dict", "IdDict", "OrderedDict") and len(fields) == 2:
            keys, values = (self.view(part) for part in fields)
            if isinstance(keys, list) and isinstance(values, list) and len(keys) == len(values):
                return dict(zip((str(self.view(key)) for key in keys), values, strict=True))
        return Struct(name, fields)


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadValue(f"{what} that is no list")
    return value
